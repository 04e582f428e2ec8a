//! The server: one request, one answer, in order, on a connection that stays.

use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use posthorn_model::policy::{Action, Inquiry};
use posthorn_wire::{Machine, Secured, Step};

use crate::answer;
use crate::request::{Fault, LINE, Request, Whole};

/// What a session tells and asks.
#[derive(Debug)]
pub enum Event {
    /// A request. Answer with [`Server::answer`], or with [`Server::fail`] when there is none.
    Asked(Box<Inquiry>),
    /// What came is no request; the session closes without an answer. News.
    Garbled(Fault),
}

/// How long a session waits.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// For the next request. Postfix closes after 300 seconds itself.
    pub idle: Duration,
    /// For the rest of a request that has begun.
    pub request: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { idle: Duration::from_secs(330), request: Duration::from_secs(60) }
    }
}

/// One session of the policy protocol.
#[derive(Debug)]
pub struct Server {
    times: Times,
    buffer: BytesMut,
    out: BytesMut,
    request: Request,
    state: State,
    /// Octets at the front of the buffer that hold no line end.
    looked: usize,
    /// A request has begun, at `since`.
    begun: bool,
    /// An answer went since the last poll.
    answered: bool,
    closing: bool,
    since: Instant,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// The application owes an answer.
    Answer,
    Closed,
    /// Something else than requests came.
    Garbled(Fault),
    Lines,
    /// The rest of a line that nobody looks at.
    Skip,
}

impl Server {
    /// A session that waits for its first request.
    #[must_use]
    pub fn new(times: Times, now: Instant) -> Self {
        Self {
            times,
            buffer: BytesMut::new(),
            out: BytesMut::new(),
            request: Request::default(),
            state: State::Lines,
            looked: 0,
            begun: false,
            answered: false,
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
    pub fn answer(&mut self, action: &Action) {
        if self.state == State::Answer {
            answer::write(action, &mut self.out);
            self.state = if self.closing { State::Closed } else { State::Lines };
            self.answered = true;
        }
    }

    /// There is no answer: the session closes, and whoever asked does as it is configured.
    pub fn fail(&mut self) {
        if self.state == State::Answer {
            self.state = State::Closed;
        }
    }

    /// Reads on until a request is whole, or more octets are needed.
    fn read(&mut self) -> Result<Option<Whole>, Fault> {
        while let Some(at) = memchr::memchr(b'\n', &self.buffer[self.looked..]) {
            let end = self.looked + at;
            self.looked = 0;
            if self.state == State::Skip {
                self.request.count_octets(end)?;
                self.buffer.advance(end + 1);
                self.state = State::Lines;
                continue;
            }
            let line = &self.buffer[..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                self.buffer.advance(end + 1);
                self.begun = false;
                return std::mem::take(&mut self.request).end().map(Some);
            }
            self.request.count(end)?;
            if end > LINE {
                skippable(line)?;
            } else {
                self.request.take(line)?;
            }
            self.buffer.advance(end + 1);
        }
        self.looked = self.buffer.len();
        if self.state == State::Lines && self.looked > LINE {
            skippable(&self.buffer)?;
            self.request.count(0)?;
            self.state = State::Skip;
        }
        if self.state == State::Skip {
            // A NUL may hide here: the value is thrown away unseen.
            self.request.count_octets(self.looked)?;
            self.buffer.clear();
            self.looked = 0;
        }
        Ok(None)
    }
}

/// Whether a line that is too long may be left out: attributes that mean nothing here must be ignored, however long.
fn skippable(line: &[u8]) -> Result<(), Fault> {
    let line = &line[..line.len().min(LINE)];
    match memchr::memchr(b'=', line) {
        None => Err(Fault::NoAttribute),
        Some(at) if Request::knows(&line[..at]) => Err(Fault::LongValue),
        Some(_) => Ok(()),
    }
}

impl Machine for Server {
    type Event = Event;

    fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    fn poll(&mut self, now: Instant) -> Step<Event> {
        loop {
            if std::mem::take(&mut self.answered) {
                self.since = now;
            }
            if !self.out.is_empty() {
                return Step::Output(self.out.split().freeze());
            }
            match self.state {
                State::Answer => return Step::AwaitAnswer,
                State::Closed => {
                    self.buffer.clear();
                    return Step::Closed;
                }
                State::Garbled(fault) => {
                    self.state = State::Closed;
                    return Step::Event(Event::Garbled(fault));
                }
                State::Lines | State::Skip => {}
            }
            match self.read() {
                Ok(None) => {
                    if self.closing {
                        self.state = State::Closed;
                        continue;
                    }
                    if !self.begun && (self.request.has_begun() || !self.buffer.is_empty()) {
                        self.begun = true;
                        self.since = now;
                    }
                    return Step::NeedInput;
                }
                Ok(Some(Whole::Inquiry(inquiry))) => {
                    self.state = State::Answer;
                    return Step::Event(Event::Asked(inquiry));
                }
                Ok(Some(Whole::NewStage)) => {
                    self.state = State::Answer;
                    self.answer(&Action::Dunno);
                }
                Err(fault) => self.state = State::Garbled(fault),
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Lines | State::Skip if self.begun => Some(self.since + self.times.request),
            State::Lines | State::Skip => Some(self.since + self.times.idle),
            State::Answer | State::Closed | State::Garbled(_) => None,
        }
    }

    fn expire(&mut self) {
        self.state = State::Closed;
    }

    fn close(&mut self) {
        self.closing = true;
        if !matches!(self.state, State::Answer | State::Garbled(_)) {
            self.state = State::Closed;
        }
    }

    fn secured(&mut self, _: Secured) {
        self.buffer.clear();
    }
}

#[cfg(test)]
mod tests {
    use posthorn_model::policy::Stage;

    use super::*;

    const REQUEST: &str = "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=SMTP\nsender=a@example.org\n\
                           recipient=b@example.net\nclient_address=192.0.2.1\nnew_attribute=what=ever\n\n";

    /// What a session does with these octets, each question answered with its recipient.
    fn play(server: &mut Server, octets: &[u8], pieces: usize) -> String {
        let now = Instant::now();
        let mut said = String::new();
        for piece in octets.chunks(pieces) {
            server.buffer().extend_from_slice(piece);
            loop {
                match server.poll(now) {
                    Step::NeedInput => break,
                    Step::Output(bytes) => said.push_str(&String::from_utf8_lossy(&bytes)),
                    Step::Event(Event::Asked(inquiry)) => {
                        server.answer(&Action::Reject(inquiry.recipient.clone()));
                    }
                    Step::Event(Event::Garbled(fault)) => said.push_str(&format!("[{fault}]")),
                    Step::Closed => return said + "[closed]",
                    Step::AwaitAnswer | Step::StartTls => panic!("nobody is asked"),
                }
            }
        }
        said
    }

    fn server() -> Server {
        Server::new(Times::default(), Instant::now())
    }

    #[test]
    fn answers_come_in_order_however_the_octets_come() {
        let octets: String = (0..50).map(|at| REQUEST.replace("b@", &format!("b{at}@"))).collect();
        let expected: String = (0..50).map(|at| format!("action=REJECT b{at}@example.net\n\n")).collect();
        for pieces in [1, 2, 7, 100, 1000, octets.len()] {
            assert_eq!(play(&mut server(), octets.as_bytes(), pieces), expected, "{pieces}");
            let crlf = octets.replace('\n', "\r\n");
            assert_eq!(play(&mut server(), crlf.as_bytes(), pieces), expected, "{pieces}");
        }
    }

    #[test]
    fn a_stage_of_the_future_is_no_opinion() {
        let octets = REQUEST.replace("RCPT", "QUIT");
        assert_eq!(play(&mut server(), octets.as_bytes(), 10), "action=DUNNO\n\n");
    }

    #[test]
    fn a_long_value_counts_only_where_nobody_reads_it() {
        let long = "x".repeat(1 << 20);
        for pieces in [1000, 65_536, 4 << 20] {
            let mut server = server();
            let octets = REQUEST.replace("what=ever", &long);
            assert_eq!(play(&mut server, octets.as_bytes(), pieces), "action=REJECT b@example.net\n\n");
            assert!(server.buffer.is_empty());
            let octets = REQUEST.replace("a@example.org", &long);
            assert_eq!(play(&mut server, octets.as_bytes(), pieces), "[a value is too long][closed]");
        }
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        let mut endless = server();
        let mut closed = false;
        for _ in 0..100 {
            let said = play(&mut endless, format!("a={}", "x".repeat(65_536)).as_bytes(), 65_536);
            assert!(endless.buffer.capacity() <= 1 << 20);
            closed |= said == "[the request does not end][closed]";
        }
        assert!(closed);
        assert_eq!(play(&mut server(), "a=b\n".repeat(1001).as_bytes(), 100), "[the request does not end][closed]");
    }

    #[test]
    fn garbage_closes_without_an_answer() {
        for (octets, said) in [
            ("GET / HTTP/1.0\r\n\r\n", "[a line is no attribute][closed]"),
            ("\n", "[not a request of the policy protocol][closed]"),
            ("request=smtpd_access_policy\n\n", "[the request says no protocol_state][closed]"),
            ("request=smtpd_access_policy\nsender=a\0\n\n", "[a NUL][closed]"),
            ("\0\0\0\0", ""),
        ] {
            assert_eq!(play(&mut server(), octets.as_bytes(), 3), said, "{octets:?}");
        }
    }

    #[test]
    fn a_session_without_an_answer_closes() {
        let mut server = server();
        let now = Instant::now();
        server.buffer().extend_from_slice(REQUEST.as_bytes());
        server.buffer().extend_from_slice(REQUEST.as_bytes());
        assert!(matches!(server.poll(now), Step::Event(Event::Asked(inquiry)) if inquiry.stage == Stage::Rcpt));
        assert!(matches!(server.poll(now), Step::AwaitAnswer));
        server.fail();
        assert!(matches!(server.poll(now), Step::Closed));
    }

    #[test]
    fn slow_clients_have_their_time() {
        let begin = Instant::now();
        let mut server = Server::new(Times::default(), begin);
        assert!(matches!(server.poll(begin), Step::NeedInput));
        assert_eq!(server.deadline(), Some(begin + Duration::from_secs(330)));
        let later = begin + Duration::from_secs(100);
        server.buffer().extend_from_slice(b"request=");
        assert!(matches!(server.poll(later), Step::NeedInput));
        assert_eq!(server.deadline(), Some(later + Duration::from_secs(60)));
        // A trickle buys no more.
        server.buffer().extend_from_slice(b"smtpd_access_policy\nproto");
        assert!(matches!(server.poll(later + Duration::from_secs(50)), Step::NeedInput));
        assert_eq!(server.deadline(), Some(later + Duration::from_secs(60)));
        server.expire();
        assert!(matches!(server.poll(later), Step::Closed));
    }

    #[test]
    fn a_goodbye_waits_for_the_answer() {
        let mut server = server();
        let now = Instant::now();
        server.buffer().extend_from_slice(REQUEST.as_bytes());
        assert!(matches!(server.poll(now), Step::Event(_)));
        server.close();
        assert!(matches!(server.poll(now), Step::AwaitAnswer));
        server.answer(&Action::Dunno);
        assert!(matches!(server.poll(now), Step::Output(bytes) if bytes == "action=DUNNO\n\n"));
        assert!(matches!(server.poll(now), Step::Closed));
    }
}
