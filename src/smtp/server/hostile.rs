//! What an attacker sends: any order of fragments in any cut gives the same conversation, within bounds.

use std::time::{Duration, Instant};

use posthorn_wire::{Machine, Secured, Step};

use super::Server;
use crate::{Dialect, Event, Extension, Extensions, Options};

/// Small pseudo-random numbers from a seed (xorshift64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

const FRAGMENTS: [&[u8]; 52] = [
    b"EHLO c.example\r\n",
    b"LHLO c.example\r\n",
    b"HELO c\r\n",
    b"MAIL FROM:<a@c.example>\r\n",
    b"MAIL FROM:<> BODY=BINARYMIME\r\n",
    b"RCPT TO:<b@example.org>\r\n",
    b"RCPT TO:<x@example.org>\r\n",
    b"DATA\r\n",
    b"BDAT 5\r\n",
    b"BDAT 7 LAST\r\n",
    b"BDAT 0 LAST\r\n",
    b"BDAT 99999999999\r\n",
    b"BDAT x\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"QUIT\r\n",
    b"STARTTLS\r\n",
    b"AUTH PLAIN\r\n",
    b"AUTH PLAIN AGEAYg==\r\n",
    b"*\r\n",
    b"AGEAYg==\r\n",
    b"XCLIENT ADDR=192.0.2.1\r\n",
    b"XFORWARD NAME=x\r\n",
    b"HELP\r\n",
    b"VRFY b\r\n",
    b"GET / HTTP/1.1\r\n",
    b"\r\n.\r\n",
    b".\r\n",
    b"..\r\n",
    b"\n.\n",
    b"\r.\r",
    b"\r\n",
    b"\n",
    b"\r",
    b".",
    b"\0",
    b"\xff\xfe",
    b"\x16\x03",
    b"A: b\r\n",
    b"text without end",
    &[b'x'; 600],
    &[b' '; 13_000],
    b"MAIL FROM:<",
    b"RCPT TO:<\"",
    b"> NOTIFY=NEVER ORCPT=rfc822;+4",
    b"TO",
    b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n",
    b"LHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n",
    b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\n",
    b"LHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\n",
    b"RSET\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<c@example.org>\r\n",
    b"Subject: one\r\n\r\n.\r\n",
];

/// What was said, and the messages that came to their end.
fn converse(options: &Options, pieces: impl Iterator<Item = Vec<u8>>) -> (String, Vec<Vec<u8>>) {
    let now = Instant::now();
    let mut server = Server::new(options.clone(), now);
    let (mut said, mut messages, mut message) = (String::new(), Vec::new(), Vec::new());
    for piece in pieces {
        server.buffer().extend_from_slice(&piece);
        loop {
            match server.poll(now) {
                Step::Output(bytes) => said.push_str(std::str::from_utf8(&bytes).expect("replies are text")),
                Step::Event(Event::Body(bytes)) => message.extend_from_slice(&bytes),
                Step::Event(Event::BodyEnd { size }) => {
                    assert_eq!(size, message.len() as u64);
                    messages.push(std::mem::take(&mut message));
                    server.accept();
                }
                Step::Event(Event::BodyAborted(_) | Event::Reset) => message.clear(),
                Step::Event(Event::Rcpt(one)) if one.target.to_string().starts_with('x') => {
                    server.refuse(posthorn_model::Refusal::new(550, posthorn_model::EnhancedCode(5, 1, 1), "no"));
                }
                Step::Event(Event::Auth { initial: None, .. }) => server.auth_challenge(b""),
                Step::Event(Event::Auth { .. } | Event::AuthResponse(_)) => server.auth_success(None),
                Step::Event(Event::Xclient(_)) => server.accept_xclient(),
                Step::Event(Event::Mail(_) | Event::Rcpt(_) | Event::BodyStart | Event::Xforward(_)) => server.accept(),
                Step::Event(_) | Step::StartTls => {}
                Step::Closed => return (said, messages),
                Step::NeedInput | Step::AwaitAnswer => break,
            }
        }
        assert!(server.buffer().len() <= 13_000, "{} octets are kept", server.buffer().len());
    }
    (said, messages)
}

#[test]
fn any_cut_of_any_stream_is_the_same_conversation() {
    let mut dice = Dice(0x5eed);
    let mut delivered = 0;
    for round in 0..3000 {
        let dialect = [Dialect::Smtp, Dialect::Submission, Dialect::Lmtp][round % 3];
        let mut options = Options::new(dialect, "mx.example.org");
        options.extensions = Extension::ALL.into_iter().collect::<Extensions>();
        options.auth = vec!["PLAIN".to_owned()];
        options.auth_needs_tls = false;
        options.tls_available = dice.roll(2) == 0;
        options.limits.text_line = Some(500);
        options.limits.bad_commands = 40;
        let mut stream = Vec::new();
        for _ in 0..2 + dice.roll(25) {
            // Half of the fragments begin or end messages: else hardly one would come through.
            let from = if dice.roll(2) == 0 { FRAGMENTS.len() - 6 } else { 0 };
            stream.extend_from_slice(FRAGMENTS[from + dice.roll(FRAGMENTS.len() - from)]);
        }
        let whole = converse(&options, std::iter::once(stream.clone()));
        let single = converse(&options, stream.iter().map(|b| vec![*b]));
        assert_eq!(whole, single, "round {round}: {}", stream.escape_ascii());
        let mut rest = &stream[..];
        let cut = converse(
            &options,
            std::iter::from_fn(|| {
                let (piece, more) = rest.split_at((1 + dice.roll(40)).min(rest.len()));
                rest = more;
                (!piece.is_empty()).then(|| piece.to_vec())
            }),
        );
        assert_eq!(whole, cut, "round {round}: {}", stream.escape_ascii());
        delivered += whole.1.len();
        for line in whole.0.split_terminator("\r\n") {
            assert!(line.len() <= 510 && line.as_bytes()[..3].iter().all(u8::is_ascii_digit), "{line}");
        }
    }
    assert!(delivered > 300, "only {delivered} messages came through: the streams are too wild to test much");
}

#[test]
fn noise_never_panics() {
    let mut dice = Dice(7);
    for _ in 0..300 {
        let noise: Vec<u8> = (0..4096).map(|_| dice.roll(256) as u8).collect();
        converse(&Options::new(Dialect::Smtp, "mx.example.org"), noise.chunks(97).map(<[u8]>::to_vec));
    }
}

#[test]
fn dripping_bytes_do_not_buy_time() {
    let begin = Instant::now();
    let mut server = Server::new(Options::new(Dialect::Smtp, "mx.example.org"), begin);
    let output = server.poll(begin);
    assert!(matches!(output, Step::Output(_)));
    let deadline = server.deadline();
    assert_eq!(deadline, Some(begin + Duration::from_mins(5)));
    for second in 1..100 {
        server.buffer().extend_from_slice(b"N");
        assert!(matches!(server.poll(begin + Duration::from_secs(second)), Step::NeedInput));
        assert_eq!(server.deadline(), deadline);
    }
    server.buffer().extend_from_slice(b"\r\n");
    while !matches!(server.poll(begin + Duration::from_secs(100)), Step::NeedInput) {}
    assert_eq!(server.deadline(), Some(begin + Duration::from_secs(400)));
}

#[test]
fn the_session_has_an_end_however_busy() {
    let begin = Instant::now();
    let mut options = Options::new(Dialect::Smtp, "mx.example.org");
    options.limits.session = Some(Duration::from_mins(6));
    let mut server = Server::new(options, begin);
    for minute in 1..5 {
        server.buffer().extend_from_slice(b"NOOP\r\n");
        while !matches!(server.poll(begin + Duration::from_mins(minute)), Step::NeedInput) {}
    }
    assert_eq!(server.deadline(), Some(begin + Duration::from_mins(6)));
}

#[test]
fn nobody_is_late_while_we_think() {
    let now = Instant::now();
    let mut server = Server::new(Options::new(Dialect::Smtp, "mx.example.org"), now);
    server.secured(Secured::default());
    server.buffer().extend_from_slice(b"EHLO c\r\nMAIL FROM:<>\r\n");
    while !matches!(server.poll(now), Step::AwaitAnswer) {}
    assert_eq!(server.deadline(), None);
    server.expire();
    server.accept();
    let later = now + Duration::from_mins(20);
    assert!(matches!(server.poll(later), Step::Output(_)));
    assert_eq!(server.deadline(), Some(later + Duration::from_mins(5)));
}
