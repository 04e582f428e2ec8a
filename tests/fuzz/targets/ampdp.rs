//! AM.PDP against any stream, cut in any way.

use std::time::Instant;

use posthorn_ampdp::{Answer, Event, Request, Server, Times, Verdict};
use posthorn_wire::{Machine, Step};

use super::{parted, pieces};

/// Octets that a session keeps: a request may have half a megabyte, and inputs are shorter.
const KEPT: usize = 600 * 1024;

/// What a session came to.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    said: Vec<u8>,
    requests: Vec<String>,
    closed: bool,
}

/// Holds the conversation with the stream whole, in pieces and octet by octet: the same each time.
pub fn target(octets: &[u8]) {
    let ([manners, _, _, seed], stream) = parted(octets);
    let whole = serve(manners, &mut std::iter::once(stream));
    assert_eq!(whole, serve(manners, &mut pieces(stream, seed)), "cut otherwise, heard otherwise");
    assert_eq!(whole, serve(manners, &mut stream.chunks(1)), "octet by octet, heard otherwise");
    let ends = whole.said.windows(4).filter(|four| *four == b"\r\n\r\n").count();
    let answered = whole.requests.iter().filter(|one| !one.starts_with("garbled")).count();
    assert_eq!(ends, answered, "one answer to each request");
    for line in whole.said.split(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(line.iter().all(|octet| octet.is_ascii_graphic() || *octet == b' '), "{line:?}");
    }
}

fn serve(manners: u8, stream: &mut dyn Iterator<Item = &[u8]>) -> Heard {
    let mut heard = Heard::default();
    let now = Instant::now();
    let mut server = Server::new(Times::default(), now);
    let hear = |server: &mut Server, heard: &mut Heard| {
        while !heard.closed {
            match server.poll(now) {
                Step::Output(bytes) => heard.said.extend_from_slice(&bytes),
                Step::Event(Event::Asked(request)) => {
                    server.answer(&answer(manners, &request));
                    heard.requests.push(format!("{request:?}"));
                }
                Step::Event(Event::Garbled(fault)) => heard.requests.push(format!("garbled: {fault}")),
                Step::Closed => heard.closed = true,
                Step::NeedInput | Step::AwaitAnswer => return,
                Step::StartTls => panic!("nobody speaks of TLS"),
            }
        }
    };
    for piece in stream {
        server.buffer().extend_from_slice(piece);
        hear(&mut server, &mut heard);
        if heard.closed {
            return heard;
        }
        assert!(server.buffer().len() <= KEPT, "{} octets are kept", server.buffer().len());
    }
    server.expire();
    hear(&mut server, &mut heard);
    assert!(heard.closed, "a session whose time is over goes on");
    heard
}

/// What is answered holds what was asked, which must do no harm.
fn answer(manners: u8, request: &Request) -> Answer {
    match request {
        Request::Held(_, held) if manners & 1 == 0 => held
            .recipients
            .iter()
            .fold(Answer::new(), |answer, recipient| answer.reply(250, "2.0.0", &format!("Ok {recipient}")))
            .insert_header(0, "X-Id", &held.mail_id),
        Request::Held(_, held) => Answer::later(&held.mail_id),
        Request::Check(check) => Answer::new()
            .delete_recipient(&check.sender)
            .change_header(1, "Subject", check.helo_name.as_deref().unwrap_or_default())
            .verdict(Verdict::Continue)
            .exit_code(manners),
        Request::Unknown(name) => Answer::later(name),
    }
}
