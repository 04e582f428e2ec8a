//! The server: one request, one answer, in order, on a connection that stays.

use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes, BytesMut};
use posthorn_wire::{Machine, Secured, Step};

use crate::answer::Answer;
use crate::request::{Attributes, Fault, Request};

/// What a session tells and asks.
#[derive(Debug)]
pub enum Event {
    /// A request. Answer with [`Server::answer`].
    Asked(Request),
    /// What came is no request; the session closes without an answer. News.
    Garbled(Fault),
}

/// How long a session waits.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// For the next request.
    pub idle: Duration,
    /// For the rest of a request that has begun.
    pub request: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { idle: Duration::from_mins(10), request: Duration::from_secs(60) }
    }
}

/// One session.
#[derive(Debug)]
pub struct Server {
    times: Times,
    buffer: BytesMut,
    out: Option<Bytes>,
    attributes: Attributes,
    state: State,
    /// Octets at the front of the buffer that hold no line end.
    looked: usize,
    begun: bool,
    closing: bool,
    since: Instant,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// The owner owes an answer.
    Answer,
    Closed,
    Lines,
}

impl Server {
    /// A session that waits for its first request.
    #[must_use]
    pub fn new(times: Times, now: Instant) -> Self {
        Self {
            times,
            buffer: BytesMut::new(),
            out: None,
            attributes: Attributes::default(),
            state: State::Lines,
            looked: 0,
            begun: false,
            closing: false,
            since: now,
        }
    }

    /// A session that closes without a word.
    #[must_use]
    pub fn refused(now: Instant) -> Self {
        Self { state: State::Closed, ..Self::new(Times::default(), now) }
    }

    /// Answers the last request.
    pub fn answer(&mut self, answer: &Answer) {
        if self.state == State::Answer {
            self.out = Some(answer.octets());
            self.state = if self.closing { State::Closed } else { State::Lines };
        }
    }

    fn read(&mut self) -> Result<Option<Request>, Fault> {
        while let Some(at) = memchr::memchr(b'\n', &self.buffer[self.looked..]) {
            let mut line = self.buffer.split_to(self.looked + at).freeze();
            self.buffer.advance(1);
            self.looked = 0;
            if line.ends_with(b"\r") {
                line.truncate(line.len() - 1);
            }
            if line.is_empty() {
                self.begun = false;
                return std::mem::take(&mut self.attributes).end().map(Some);
            }
            self.attributes.take(line)?;
        }
        self.looked = self.buffer.len();
        if self.looked > LINE { Err(Fault::TooLong) } else { Ok(None) }
    }
}

impl Machine for Server {
    type Event = Event;

    fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    fn poll(&mut self, now: Instant) -> Step<Event> {
        if let Some(octets) = self.out.take() {
            self.since = now;
            return Step::Output(octets);
        }
        match self.state {
            State::Answer => return Step::AwaitAnswer,
            State::Closed => {
                self.buffer.clear();
                return Step::Closed;
            }
            State::Lines => {}
        }
        match self.read() {
            Ok(Some(request)) => {
                self.state = State::Answer;
                Step::Event(Event::Asked(request))
            }
            Ok(None) if self.closing => {
                self.state = State::Closed;
                Step::Closed
            }
            Ok(None) => {
                if !self.begun && (self.attributes.has_begun() || !self.buffer.is_empty()) {
                    self.begun = true;
                    self.since = now;
                }
                Step::NeedInput
            }
            Err(fault) => {
                self.state = State::Closed;
                Step::Event(Event::Garbled(fault))
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let time = if self.begun { self.times.request } else { self.times.idle };
        (self.state == State::Lines).then(|| self.since + time)
    }

    fn expire(&mut self) {
        self.state = State::Closed;
    }

    fn close(&mut self) {
        self.closing = true;
        if self.state == State::Lines {
            self.state = State::Closed;
        }
    }

    fn secured(&mut self, _: Secured) {
        self.buffer.clear();
    }
}

/// The longest line: values have no limit of their own, so that of a whole request bounds them.
const LINE: usize = 512 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Demand;

    fn play(octets: &[u8], pieces: usize) -> String {
        let now = Instant::now();
        let mut server = Server::new(Times::default(), now);
        let mut said = String::new();
        for piece in octets.chunks(pieces) {
            server.buffer().extend_from_slice(piece);
            loop {
                match server.poll(now) {
                    Step::NeedInput => break,
                    Step::Output(bytes) => said.push_str(&String::from_utf8_lossy(&bytes)),
                    Step::Event(Event::Asked(Request::Held(Demand::Release, held))) => {
                        server.answer(&Answer::new().reply(250, "2.0.0", &held.mail_id));
                    }
                    Step::Event(Event::Asked(_)) => server.answer(&Answer::later("unknown")),
                    Step::Event(Event::Garbled(fault)) => said.push_str(&format!("[{fault}]")),
                    Step::Closed => return said + "[closed]",
                    Step::AwaitAnswer | Step::StartTls => panic!("nobody is asked"),
                }
            }
        }
        said
    }

    #[test]
    fn requests_are_answered_in_order_however_they_come() {
        let text = "request=release\r\nmail_id=a\r\n\r\nrequest=release\nmail_id=b\n\n";
        for pieces in [1, 3, 100] {
            assert_eq!(play(text.as_bytes(), pieces), "setreply=250 2.0.0 a\r\n\r\nsetreply=250 2.0.0 b\r\n\r\n");
        }
    }

    #[test]
    fn lines_without_end_and_nonsense_close() {
        assert_eq!(play(&vec![b'x'; LINE + 1], 4096), "[a request without end][closed]");
        assert_eq!(play(b"EHLO x\r\n", 4096), "[a line that is no attribute][closed]");
        assert_eq!(play(b"\r\n", 4096), "[a request that does not say what it asks][closed]");
    }

    #[test]
    fn a_request_has_its_time() {
        let begin = Instant::now();
        let mut server = Server::new(Times::default(), begin);
        assert!(matches!(server.poll(begin), Step::NeedInput));
        assert_eq!(server.deadline(), Some(begin + Times::default().idle));
        server.buffer().extend_from_slice(b"request=release\r\n");
        assert!(matches!(server.poll(begin), Step::NeedInput));
        assert_eq!(server.deadline(), Some(begin + Times::default().request));
        server.buffer().extend_from_slice(b"mail_id=x\r\n");
        assert!(matches!(server.poll(begin + Duration::from_secs(50)), Step::NeedInput));
        assert_eq!(server.deadline(), Some(begin + Times::default().request), "a trickle buys no more");
        server.expire();
        assert!(matches!(server.poll(begin), Step::Closed));
    }

    #[test]
    fn a_goodbye_waits_for_the_answer() {
        let now = Instant::now();
        let mut server = Server::new(Times::default(), now);
        server.buffer().extend_from_slice(b"request=x\n\n");
        assert!(matches!(server.poll(now), Step::Event(Event::Asked(_))));
        server.close();
        assert!(matches!(server.poll(now), Step::AwaitAnswer));
        server.answer(&Answer::later("no"));
        assert!(matches!(server.poll(now), Step::Output(_)));
        assert!(matches!(server.poll(now), Step::Closed));
    }
}
