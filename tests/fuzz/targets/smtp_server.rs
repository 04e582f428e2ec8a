//! The SMTP, submission and LMTP server machine against any stream, cut in any way.

use std::time::Instant;

use posthorn_model::{EnhancedCode, Refusal};
use posthorn_smtp::{Dialect, Event, Extension, Options, Server};
use posthorn_wire::{Machine, Secured, Step};

use super::{parted, pieces};

/// The longest line that a session waits for the end of, with room for a line end.
const KEPT: usize = 13_000;
/// The most octets of a message in these sessions.
const MAX_SIZE: u64 = 20_000;

/// What a session came to.
#[derive(Debug, Default, Eq, PartialEq)]
struct Heard {
    said: String,
    events: Vec<String>,
    messages: Vec<Vec<u8>>,
    closed: bool,
}

/// Holds the conversation with the stream whole, in pieces and octet by octet: the same each time.
pub fn target(octets: &[u8]) {
    let ([kind, extensions, manners, seed], stream) = parted(octets);
    let options = options(kind, extensions);
    let secured = kind & 0x80 != 0;
    let whole = converse(&options, (secured, manners), std::iter::once(stream));
    well_formed(&whole.said);
    let cut = converse(&options, (secured, manners), pieces(stream, seed));
    assert_eq!(whole, cut, "cut otherwise, heard otherwise");
    if stream.len() < 2000 {
        let single = converse(&options, (secured, manners), stream.chunks(1));
        assert_eq!(whole, single, "octet by octet, heard otherwise");
    }
}

fn options(kind: u8, extensions: u8) -> Options {
    let dialect = [Dialect::Smtp, Dialect::Submission, Dialect::Lmtp][usize::from(kind & 3) % 3];
    let mut options = Options::new(dialect, "mx.example.org");
    if extensions & 1 == 0 {
        options.extensions = Extension::ALL.into_iter().collect();
    }
    options.auth = if extensions & 2 == 0 { vec!["PLAIN".to_owned(), "LOGIN".to_owned()] } else { Vec::new() };
    options.auth_needs_tls = extensions & 4 != 0;
    options.auth_required = extensions & 8 != 0;
    options.require_ehlo = extensions & 16 != 0;
    options.require_tls = extensions & 32 != 0;
    options.tls_available = kind & 4 != 0;
    options.max_size = MAX_SIZE;
    options.limits.text_line = (kind & 8 == 0).then_some(998);
    options.limits.header_bytes = if kind & 16 == 0 { 1 << 20 } else { 500 };
    options.limits.recipients = if kind & 32 == 0 { 1000 } else { 2 };
    options.limits.bad_commands = 50;
    options.limits.swallow = if extensions & 64 == 0 { 1 << 20 } else { 1000 };
    options
}

fn converse<'s>(options: &Options, (secured, manners): (bool, u8), pieces: impl Iterator<Item = &'s [u8]>) -> Heard {
    let now = Instant::now();
    let mut server = Server::new(options.clone(), now);
    if secured {
        server.secured(Secured { channel_binding: Some(vec![7; 32]), ..Secured::default() });
    }
    let mut heard = Heard::default();
    let mut body = Vec::new();
    hear(&mut server, now, manners, &mut heard, &mut body);
    for piece in pieces {
        server.buffer().extend_from_slice(piece);
        hear(&mut server, now, manners, &mut heard, &mut body);
        assert!(server.buffer().len() <= KEPT, "{} octets are kept", server.buffer().len());
        if heard.closed {
            return heard;
        }
    }
    server.expire();
    hear(&mut server, now, manners, &mut heard, &mut body);
    assert!(heard.closed, "a session whose time is over goes on");
    heard
}

/// Polls until there is nothing more to do.
fn hear(server: &mut Server, now: Instant, manners: u8, heard: &mut Heard, body: &mut Vec<u8>) {
    loop {
        match server.poll(now) {
            Step::Output(bytes) => heard.said.push_str(std::str::from_utf8(&bytes).expect("replies are text")),
            Step::Event(Event::Body(bytes)) => {
                assert!(!bytes.is_empty(), "an empty piece of body");
                body.extend_from_slice(&bytes);
                assert!(body.len() as u64 <= MAX_SIZE, "a message beyond the limit");
            }
            Step::Event(event) => {
                heard.events.push(format!("{event:?}"));
                // Every question gets its answer from its place in the conversation, whatever it asks.
                let no = (heard.events.len() as u8).wrapping_mul(37) ^ manners;
                if let Some(message) = answer(server, event, no % 7 == 3, body) {
                    heard.messages.push(message);
                }
            }
            // Whether it comes before what follows in plaintext is noticed depends on the cut; the end does not.
            Step::StartTls => {}
            Step::Closed => {
                heard.closed = true;
                return;
            }
            Step::NeedInput | Step::AwaitAnswer => return,
        }
    }
}

/// Answers, and returns the message that an answer ends.
fn answer(server: &mut Server, event: Event, refuse: bool, body: &mut Vec<u8>) -> Option<Vec<u8>> {
    let refusal = Refusal::new(550, EnhancedCode(5, 1, 1), "no, not this\r\none");
    match event {
        Event::BodyEnd { size } => {
            assert_eq!(size, body.len() as u64);
            if refuse {
                server.replies(vec![Ok("one".to_owned()), Err(refusal)])
            } else {
                server.accept()
            }
            return Some(std::mem::take(body));
        }
        Event::BodyAborted(_) | Event::Reset => body.clear(),
        Event::Auth { .. } | Event::AuthResponse(_) if refuse => server.auth_failure(refusal),
        Event::Auth { initial: None, .. } => server.auth_challenge(b"more"),
        Event::Auth { .. } => server.auth_success(None),
        Event::AuthResponse(_) => server.auth_success(Some(b"v=final")),
        Event::Mail(_) | Event::Rcpt(_) | Event::BodyStart | Event::Xclient(_) | Event::Xforward(_) if refuse => {
            server.refuse(refusal);
        }
        Event::Xclient(_) => server.accept_xclient(),
        Event::Mail(_) | Event::Rcpt(_) | Event::BodyStart | Event::Xforward(_) => server.accept(),
        Event::Body(_) | Event::Hello { .. } | Event::AuthCancelled | Event::Misbehaved(_) => {}
    }
    None
}

/// RFC 5321 §4.2: three digits and a hyphen or space on each line, the same code on all lines of a reply.
fn well_formed(said: &str) {
    assert!(said.is_empty() || said.ends_with("\r\n"), "{said:?}");
    let mut begun: Option<&str> = None;
    for line in said.split_terminator("\r\n") {
        assert!(line.len() <= 510, "{} octets in a reply line", line.len());
        assert!(!line.contains(char::is_control), "{line:?}");
        let (code, rest) = line.split_at_checked(3).expect("a reply code");
        assert!(code.starts_with(['2', '3', '4', '5']) && code.bytes().all(|octet| octet.is_ascii_digit()), "{line:?}");
        assert!(begun.is_none_or(|first| first == code), "{line:?} in a reply of {begun:?}");
        begun = match rest.as_bytes().first() {
            Some(b'-') => Some(code),
            Some(b' ') | None => None,
            Some(_) => panic!("{line:?}"),
        };
    }
    assert_eq!(begun, None, "a reply without its last line");
}
