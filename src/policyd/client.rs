//! The client: asks one thing after the other on one connection.

use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use posthorn_model::policy::{Action, Inquiry};
use posthorn_wire::{Machine, Secured, Step};

use crate::{answer, request};

/// What a client session tells its owner.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientEvent {
    /// The answer to [`Client::ask`]. The next question may come.
    Answered(Action),
    /// There is no answer, and the session closes.
    Failed(ClientFailure),
}

/// Why there is no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ClientFailure {
    /// It answered something that is no action.
    #[error("the policy server answered \"{0}\"")]
    NoAction(String),
    /// It answered without end.
    #[error("the policy server's answer is too long")]
    TooLong,
    /// It said something that nobody asked for.
    #[error("the policy server speaks unasked")]
    Unasked,
    /// It was silent.
    #[error("the policy server did not answer in time")]
    Silent,
}

/// One client session of the policy protocol.
#[derive(Debug)]
pub struct Client {
    time: Duration,
    buffer: BytesMut,
    out: BytesMut,
    state: State,
    action: Option<String>,
    looked: usize,
    /// Octets of the answer so far.
    seen: usize,
    event: Option<ClientEvent>,
    /// A question was put since the last poll.
    asked: bool,
    since: Instant,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Closed,
    /// Nothing is asked.
    Owner,
    Waiting,
}

/// Octets of one answer: its action is a line of SMTP, with room for what others may add.
const ANSWER: usize = 16 * 1024;

impl Client {
    /// A session; each answer may take so long.
    #[must_use]
    pub fn new(time: Duration, now: Instant) -> Self {
        Self {
            time,
            buffer: BytesMut::new(),
            out: BytesMut::new(),
            state: State::Owner,
            action: None,
            looked: 0,
            seen: 0,
            event: None,
            asked: false,
            since: now,
        }
    }

    /// Asks, when nothing else is asked.
    pub fn ask(&mut self, inquiry: &Inquiry) {
        if self.state == State::Owner {
            request::write(inquiry, &mut self.out);
            self.state = State::Waiting;
            self.asked = true;
        }
    }

    /// Closes, when nothing is asked.
    pub fn quit(&mut self) {
        if self.state == State::Owner {
            self.state = State::Closed;
        }
    }

    fn read(&mut self) -> Option<ClientEvent> {
        let failed = |failure| Some(ClientEvent::Failed(failure));
        if self.state == State::Owner && !self.buffer.is_empty() {
            return failed(ClientFailure::Unasked);
        }
        while let Some(at) = memchr::memchr(b'\n', &self.buffer[self.looked..]) {
            let end = self.looked + at;
            self.looked = 0;
            self.seen += end + 1;
            if self.seen > ANSWER {
                return failed(ClientFailure::TooLong);
            }
            let line = &self.buffer[..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                self.buffer.advance(end + 1);
                self.seen = 0;
                let action = self.action.take().unwrap_or_default();
                return match action.parse() {
                    Ok(action) => Some(ClientEvent::Answered(action)),
                    Err(_) => failed(ClientFailure::NoAction(shown(&action))),
                };
            }
            // What else is said belongs to versions to come.
            if self.action.is_none() {
                self.action = answer::action(line);
                if self.action.is_none() && memchr::memchr(b'=', line).is_none() {
                    let said = String::from_utf8_lossy(line).into_owned();
                    return failed(ClientFailure::NoAction(shown(&said)));
                }
            }
            self.buffer.advance(end + 1);
        }
        self.looked = self.buffer.len();
        if self.seen + self.looked > ANSWER { failed(ClientFailure::TooLong) } else { None }
    }
}

/// What a stranger said, for a log.
fn shown(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { '?' } else { c }).collect()
}

impl Machine for Client {
    type Event = ClientEvent;

    fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    fn poll(&mut self, now: Instant) -> Step<ClientEvent> {
        if std::mem::take(&mut self.asked) {
            self.since = now;
        }
        if let Some(event) = self.event.take() {
            return Step::Event(event);
        }
        if !self.out.is_empty() {
            return Step::Output(self.out.split().freeze());
        }
        if self.state == State::Closed {
            self.buffer.clear();
            return Step::Closed;
        }
        match self.read() {
            Some(event) => {
                let failed = matches!(event, ClientEvent::Failed(_));
                self.state = if failed { State::Closed } else { State::Owner };
                Step::Event(event)
            }
            None if self.state == State::Owner => Step::AwaitAnswer,
            None => Step::NeedInput,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        (self.state == State::Waiting && !self.asked).then(|| self.since + self.time)
    }

    fn expire(&mut self) {
        if self.state == State::Waiting {
            self.state = State::Closed;
            self.out.clear();
            self.event = Some(ClientEvent::Failed(ClientFailure::Silent));
        }
    }

    fn close(&mut self) {
        self.state = State::Closed;
    }

    fn secured(&mut self, _: Secured) {
        self.buffer.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, Server, Times};

    fn asked() -> Client {
        let mut client = Client::new(Duration::from_secs(10), Instant::now());
        client.ask(&Inquiry::default());
        assert!(matches!(client.poll(Instant::now()), Step::Output(_)));
        client
    }

    /// What comes of these octets.
    fn answer(octets: &[u8], pieces: usize) -> Option<ClientEvent> {
        let mut client = asked();
        for piece in octets.chunks(pieces) {
            client.buffer().extend_from_slice(piece);
            if let Step::Event(event) = client.poll(Instant::now()) {
                return Some(event);
            }
        }
        None
    }

    #[test]
    fn a_client_asks_our_server() {
        let now = Instant::now();
        let (mut client, mut server) = (Client::new(Duration::from_secs(10), now), Server::new(Times::default(), now));
        for at in 0..10 {
            let inquiry = Inquiry { instance: at.to_string(), sender: Some(String::new()), ..Inquiry::default() };
            client.ask(&inquiry);
            let Step::Output(octets) = client.poll(now) else { panic!("a request") };
            assert!(matches!(client.poll(now), Step::NeedInput));
            server.buffer().extend_from_slice(&octets);
            let Step::Event(Event::Asked(heard)) = server.poll(now) else { panic!("a question") };
            assert_eq!(heard.instance, inquiry.instance);
            server.answer(&Action::Defer(Some("later".to_owned())));
            let Step::Output(octets) = server.poll(now) else { panic!("an answer") };
            client.buffer().extend_from_slice(&octets);
            let Step::Event(event) = client.poll(now) else { panic!("an answer") };
            assert_eq!(event, ClientEvent::Answered(Action::Defer(Some("later".to_owned()))));
        }
    }

    #[test]
    fn answers_are_read_in_any_pieces() {
        let octets = b"action=450 4.7.1 wait\r\nlater_attribute=x\n\n";
        for pieces in [1, 5, 100] {
            let expected = Action::Code { code: 450, text: "4.7.1 wait".to_owned() };
            assert_eq!(answer(octets, pieces), Some(ClientEvent::Answered(expected)));
        }
    }

    #[test]
    fn what_is_no_answer_is_a_failure() {
        for octets in
            [&b"\n"[..], b"action=\n\n", b"action=Bad words here\n\n", b"HTTP/1.1 400\r\n\r\n", b"actions=OK\n\n"]
        {
            let event = answer(octets, 100);
            assert!(matches!(event, Some(ClientEvent::Failed(ClientFailure::NoAction(_)))), "{event:?}");
        }
        let endless = vec![b'x'; 1 << 20];
        assert_eq!(answer(&endless, 4096), Some(ClientEvent::Failed(ClientFailure::TooLong)));
        let many = b"a=b\n".repeat(100_000);
        for pieces in [1, 1000, many.len()] {
            assert_eq!(answer(&many, pieces), Some(ClientEvent::Failed(ClientFailure::TooLong)));
        }
    }

    #[test]
    fn silence_and_words_unasked_end_it() {
        let mut client = asked();
        assert!(matches!(client.poll(Instant::now()), Step::NeedInput));
        assert!(client.deadline().is_some());
        client.expire();
        assert!(matches!(client.poll(Instant::now()), Step::Event(ClientEvent::Failed(ClientFailure::Silent))));
        assert!(matches!(client.poll(Instant::now()), Step::Closed));
        let mut idle = Client::new(Duration::from_secs(1), Instant::now());
        assert!(matches!(idle.poll(Instant::now()), Step::AwaitAnswer));
        assert_eq!(idle.deadline(), None);
        idle.buffer().extend_from_slice(b"action=OK\n\n");
        assert!(matches!(idle.poll(Instant::now()), Step::Event(ClientEvent::Failed(ClientFailure::Unasked))));
    }
}
