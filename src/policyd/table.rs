//! Look-up tables over TCP (tcp_table(5)): `get key`, answered with 200, 400 or 500.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use posthorn_wire::{Machine, Secured, Step};

/// Octets of a request or an answer, line end included.
const LINE: usize = 4096;
const TOO_LONG: &str = "the request is too long";

/// What a session asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// `get`: the key, decoded. Answer with [`Server::found`], [`Server::absent`] or [`Server::later`].
    Get(String),
}

/// One session of a table that can only be read.
#[derive(Debug)]
pub struct Server {
    idle: Duration,
    buffer: BytesMut,
    out: BytesMut,
    state: State,
    looked: usize,
    answered: bool,
    closing: bool,
    since: Instant,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// The application owes an answer.
    Answer,
    Closed,
    Lines,
}

impl Server {
    /// A session that waits for its first request, and so long for the next.
    #[must_use]
    pub fn new(idle: Duration, now: Instant) -> Self {
        Self {
            idle,
            buffer: BytesMut::new(),
            out: BytesMut::new(),
            state: State::Lines,
            looked: 0,
            answered: false,
            closing: false,
            since: now,
        }
    }

    /// A session that says that it cannot answer now, and closes.
    #[must_use]
    pub fn refused(why: &str, now: Instant) -> Self {
        let mut server = Self::new(Duration::ZERO, now);
        server.say(400, why);
        server.state = State::Closed;
        server
    }

    /// The value of the key.
    pub fn found(&mut self, value: &str) {
        self.reply(200, value);
    }

    /// The key is not in the table.
    pub fn absent(&mut self) {
        self.reply(500, "not found");
    }

    /// Whether the key is in the table cannot be said now.
    pub fn later(&mut self, why: &str) {
        self.reply(400, why);
    }

    fn reply(&mut self, code: u16, text: &str) {
        if self.state == State::Answer {
            self.say(code, text);
            self.state = if self.closing { State::Closed } else { State::Lines };
            self.answered = true;
        }
    }

    fn say(&mut self, code: u16, text: &str) {
        // `200 `, the text and the line end; a value that does not fit would be another one.
        let coded = encode(text);
        let (code, coded) = if coded.len() + 5 > LINE { (400, encode("the value is too long")) } else { (code, coded) };
        // Writing to a BytesMut fails only beyond the address space.
        let _written = writeln!(self.out, "{code} {coded}");
    }

    fn read(&mut self) -> Option<Event> {
        let Some(at) = memchr::memchr(b'\n', &self.buffer[self.looked..]) else {
            self.looked = self.buffer.len();
            if self.looked >= LINE {
                self.say(400, TOO_LONG);
                self.state = State::Closed;
            }
            return None;
        };
        let end = self.looked + at;
        self.looked = 0;
        if end >= LINE {
            self.say(400, TOO_LONG);
            self.state = State::Closed;
            return None;
        }
        let line = self.buffer.split_to(end);
        self.buffer.advance(1);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        let key = line.strip_prefix(b"get ").and_then(decode);
        match key {
            Some(key) if !key.is_empty() => {
                self.state = State::Answer;
                return Some(Event::Get(key));
            }
            None if line.starts_with(b"put ") => self.say(500, "the table cannot be written"),
            // Whoever speaks something else speaks it to the end.
            _ => {
                self.say(400, "not a request");
                self.state = State::Closed;
            }
        }
        None
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
                State::Lines => {}
            }
            match self.read() {
                Some(event) => return Step::Event(event),
                None if self.out.is_empty() && self.state == State::Lines => return Step::NeedInput,
                None => {}
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        (self.state == State::Lines).then(|| self.since + self.idle)
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

/// `%` and two hexadecimal digits stand for an octet; `None` when they do not, or no text comes of it.
fn decode(coded: &[u8]) -> Option<String> {
    let mut plain = Vec::with_capacity(coded.len());
    let mut octets = coded.iter();
    let digit = |b: &u8| char::from(*b).to_digit(16);
    while let Some(octet) = octets.next() {
        plain.push(match octet {
            b'%' => (digit(octets.next()?)? * 16 + digit(octets.next()?)?) as u8,
            0 => return None,
            octet => *octet,
        });
    }
    String::from_utf8(plain).ok().filter(|text| !text.contains('\0'))
}

fn encode(plain: &str) -> String {
    let mut coded = String::with_capacity(plain.len());
    for b in plain.bytes() {
        match b {
            b'!'..=b'$' | b'&'..=b'~' => coded.push(char::from(b)),
            // Writing to a String cannot fail.
            _ => drop(write!(coded, "%{b:02X}")),
        }
    }
    coded
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a table says that knows the key `known`.
    fn play(octets: &[u8], pieces: usize) -> String {
        let now = Instant::now();
        let mut server = Server::new(Duration::from_secs(300), now);
        let mut said = String::new();
        for piece in octets.chunks(pieces) {
            server.buffer().extend_from_slice(piece);
            loop {
                match server.poll(now) {
                    Step::NeedInput => break,
                    Step::Output(bytes) => said.push_str(&String::from_utf8_lossy(&bytes)),
                    Step::Event(Event::Get(key)) => match key.as_str() {
                        "known" => server.found("a b%"),
                        "later" => server.later("in a moment"),
                        "long" => server.found(&"x".repeat(5000)),
                        _ => server.absent(),
                    },
                    Step::Closed => return said + "[closed]",
                    Step::AwaitAnswer | Step::StartTls => panic!("nobody is asked"),
                }
            }
        }
        said
    }

    #[test]
    fn keys_are_looked_up_in_order() {
        let octets = b"get known\nget %6Bnown\nget a%40example.org\r\nget later\nput known x\nget long\nget known\n";
        for pieces in [1, 3, 1000] {
            assert_eq!(
                play(octets, pieces),
                "200 a%20b%25\n200 a%20b%25\n500 not%20found\n400 in%20a%20moment\n500 the%20table%20cannot%20be%20written\n\
                 400 the%20value%20is%20too%20long\n200 a%20b%25\n"
            );
        }
    }

    #[test]
    fn garbage_is_answered_once() {
        for octets in ["GET / HTTP/1.0\r\n\r\n", "get \n", "get a%\n", "get a%00\n", "get %FF\n", "\n", "EHLO x\r\n"] {
            assert_eq!(play(octets.as_bytes(), 4), "400 not%20a%20request\n[closed]", "{octets:?}");
        }
        for pieces in [100, 10_000] {
            let said = play(&[b'x'; 10_000], pieces);
            assert_eq!(said, "400 the%20request%20is%20too%20long\n[closed]");
        }
        let long = format!("get {}\n", "x".repeat(4092));
        for pieces in [1, 5000] {
            assert_eq!(play(long.as_bytes(), pieces), "400 the%20request%20is%20too%20long\n[closed]");
        }
    }
}
