//! The IMAP server machine against any stream, cut in any way.

use std::sync::Arc;
use std::time::Instant;

use posthorn_imap::{Command, Completion, Event, Limits, Options, ResponseCode, Server};
use posthorn_wire::{Machine, Secured, Step};

use super::{parted, pieces};

const LIMITS: Limits = Limits {
    command: 4096,
    command_unauthenticated: 1024,
    append: 10_000,
    append_messages: 4,
    faults: 30,
    search_depth: 8,
};

/// What a session came to.
#[derive(Debug, Default, Eq, PartialEq)]
struct Heard {
    said: Vec<u8>,
    events: Vec<String>,
    /// The octets of all messages, each ended by what became of it.
    bodies: Vec<u8>,
    over: bool,
}

/// Holds the conversation with the stream whole, in pieces and octet by octet: the same each time.
pub fn target(octets: &[u8]) {
    let ([kind, manners, _, seed], stream) = parted(octets);
    let whole = converse(kind, manners, std::iter::once(stream));
    well_formed(&whole.said);
    let cut = converse(kind, manners, pieces(stream, seed));
    assert_eq!(whole, cut, "cut otherwise, heard otherwise");
    if stream.len() < 2000 {
        assert_eq!(whole, converse(kind, manners, stream.chunks(1)), "octet by octet, heard otherwise");
    }
}

fn converse<'s>(kind: u8, manners: u8, pieces: impl Iterator<Item = &'s [u8]>) -> Heard {
    let now = Instant::now();
    let id = vec![("name".to_owned(), "Post\"horn\\".to_owned())];
    let (tls_available, require_tls) = (kind & 1 != 0, kind & 2 != 0);
    let options = Options { tls_available, require_tls, id, limits: LIMITS, ..Options::default() };
    let mut server = Server::new(Arc::new(options), now);
    if kind & 4 != 0 {
        server.secured(Secured { channel_binding: Some(vec![7; 32]), ..Secured::default() });
    }
    let mut heard = Heard::default();
    if kind & 8 == 0 {
        // Most of the grammar is behind the login.
        server.secured(Secured::default());
        server.buffer().extend_from_slice(b"l LOGIN u p\r\n");
    }
    hear(&mut server, now, 0, &mut heard);
    for piece in pieces {
        server.buffer().extend_from_slice(piece);
        hear(&mut server, now, manners, &mut heard);
        if heard.over {
            return heard;
        }
        assert!(server.buffer().len() <= LIMITS.command, "{} octets are kept", server.buffer().len());
        assert_eq!(server.pending_output(), 0);
    }
    server.expire();
    hear(&mut server, now, manners, &mut heard);
    assert!(heard.over, "a session whose time is over goes on");
    heard
}

/// Polls until there is nothing more to do.
fn hear(server: &mut Server, now: Instant, manners: u8, heard: &mut Heard) {
    loop {
        match server.poll(now) {
            Step::Output(bytes) => heard.said.extend_from_slice(&bytes),
            Step::Event(Event::AppendData(data)) => {
                assert!(!data.is_empty(), "an empty piece of message");
                heard.bodies.extend_from_slice(&data);
            }
            Step::Event(event) => {
                heard.events.push(format!("{event:?}"));
                // Every question gets its answer from its place in the conversation, whatever it asks.
                let refuse = ((heard.events.len() as u8).wrapping_mul(37) ^ manners) % 7 == 3;
                answer(server, event, refuse, &mut heard.bodies);
            }
            Step::NeedInput => return,
            Step::StartTls | Step::Closed => {
                heard.over = true;
                return;
            }
            Step::AwaitAnswer => panic!("everything was answered"),
        }
    }
}

fn answer(server: &mut Server, event: Event, refuse: bool, bodies: &mut Vec<u8>) {
    let no = || Completion::no("No, not\r\n* this {7}").with(ResponseCode::TryCreate);
    match event {
        Event::AppendMessage { .. } if refuse => server.refuse_append(no()),
        Event::AppendMessage { size, .. } => {
            assert!(size <= LIMITS.append);
            server.accept_literal();
        }
        Event::AppendMessageEnd => bodies.push(b'|'),
        Event::AppendAborted => bodies.push(b'!'),
        Event::AuthenticateResponse(response) if response.expose().is_empty() => server.challenge(b"again"),
        Event::AuthenticateResponse(_) if !refuse => {
            server.authenticated();
            server.finish(Completion::ok("Logged in"));
        }
        Event::Command { command, .. } if !refuse => execute(server, &command),
        Event::Idle { .. } if !refuse => {
            server.start_idle();
            server.out().exists(4);
        }
        Event::AppendEnd | Event::IdleDone => server.finish(Completion::ok("Done")),
        Event::AuthenticateResponse(_) | Event::Command { .. } | Event::Idle { .. } => server.finish(no()),
        Event::AppendBegin { .. }
        | Event::AppendData(_)
        | Event::AuthenticateCancelled
        | Event::ClientId(_)
        | Event::SearchLost => {}
    }
}

/// Repeats to the client what it named, since that is what a stranger controls of an answer.
fn execute(server: &mut Server, command: &Command) {
    match command {
        Command::Authenticate { initial: None, .. } => return server.challenge(b""),
        Command::Authenticate { .. } | Command::Login { .. } => server.authenticated(),
        Command::Select(select) => {
            server.out().exists(3);
            server.selected(select.read_only);
        }
        Command::Create { mailbox, .. } | Command::Delete { mailbox } => {
            server.out().list(&["\\NonExistent"], Some('/'), mailbox, &[]);
        }
        Command::GetQuota { root } => server.out().quota_root(root, &[root]),
        Command::Fetch(_) => {
            let mut fetch = server.out().fetch(1);
            fetch.uid(7).preview(Some("a \"b\"\r\n\u{e4}\0")).end();
        }
        _ => {}
    }
    server.finish(Completion::ok("Done"));
}

/// RFC 9051 §2.2: lines that begin with `*`, `+` or a tag, literals inside them as long as they say.
fn well_formed(said: &[u8]) {
    let mut rest = said;
    while !rest.is_empty() {
        let (line, more) = response(rest);
        rest = more;
        let begins = |start: &str| line.starts_with(start.as_bytes());
        if begins("* ") || begins("+ ") {
            continue;
        }
        let tag = line.iter().position(|octet| *octet == b' ').expect("a tag");
        assert!(tag > 0 && line[..tag].iter().all(u8::is_ascii_graphic), "{}", line.escape_ascii());
        let status = &line[tag + 1..];
        let known = [&b"OK "[..], b"NO ", b"BAD "].iter().any(|known| status.starts_with(known));
        assert!(known, "{}", line.escape_ascii());
    }
}

/// The first response with its literals, and what follows.
fn response(said: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    loop {
        let length = said[at..].windows(2).position(|pair| pair == b"\r\n").expect("a line end");
        let end = at + length;
        let line = &said[at..end];
        assert!(!line.contains(&b'\r') && !line.contains(&b'\n') && !line.contains(&0), "{}", line.escape_ascii());
        at = end + 2;
        match literal_size(line) {
            // The text of a status response may look like a literal, but nothing there is ours to count.
            Some(size) if !is_status(&said[..end]) => at += size,
            _ => return said.split_at(at),
        }
        assert!(at <= said.len(), "a literal longer than the output");
    }
}

fn is_status(line: &[u8]) -> bool {
    let mut words = line.split(|octet| *octet == b' ');
    words.next();
    words.next().is_some_and(|word| [&b"OK"[..], b"NO", b"BAD", b"BYE"].contains(&word))
}

fn literal_size(line: &[u8]) -> Option<usize> {
    let inner = line.strip_suffix(b"}")?;
    let begin = inner.iter().rposition(|octet| *octet == b'{')?;
    std::str::from_utf8(&inner[begin + 1..]).ok()?.parse().ok()
}
