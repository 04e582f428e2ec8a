//! The milter protocol in both roles against any stream, cut in any way.

use std::time::Instant;

use posthorn_milter::{
    Answer, Change, Client, ClientEvent, ClientOptions, Peer, Reply, Server, ServerEvent, ServerOptions,
};
use posthorn_wire::{Machine, Step};

use super::{parted, pieces};

/// Octets that a session keeps: one packet that is not whole yet.
const KEPT: usize = (1 << 20) + 8;

/// What a session came to.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    said: Vec<u8>,
    events: Vec<String>,
    closed: bool,
}

/// Holds the conversation with the stream whole, in pieces and octet by octet: the same each time.
pub fn target(octets: &[u8]) {
    let ([role, manners, _, seed], stream) = parted(octets);
    let converse = if role.is_multiple_of(2) { serve } else { call };
    let whole = converse(manners, &mut std::iter::once(stream));
    assert_eq!(whole, converse(manners, &mut pieces(stream, seed)), "cut otherwise, heard otherwise");
    assert_eq!(whole, converse(manners, &mut stream.chunks(1)), "octet by octet, heard otherwise");
    are_whole_packets(&whole.said);
}

/// What we say ourselves has true lengths.
fn are_whole_packets(mut said: &[u8]) {
    while let Some((length, rest)) = said.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        assert!(length > 0 && length <= rest.len(), "a packet of {length} octets with {} there", rest.len());
        said = &rest[length..];
    }
    assert!(said.is_empty(), "a packet that is cut off");
}

fn hold<M: Machine>(
    mut machine: M,
    stream: &mut dyn Iterator<Item = &[u8]>,
    mut event: impl FnMut(&mut M, M::Event, &mut Heard),
) -> Heard {
    let mut heard = Heard::default();
    let now = Instant::now();
    let mut hear = |machine: &mut M, heard: &mut Heard| {
        while !heard.closed {
            match machine.poll(now) {
                Step::Output(bytes) => heard.said.extend_from_slice(&bytes),
                Step::Event(one) => event(machine, one, heard),
                Step::Closed => heard.closed = true,
                Step::NeedInput | Step::AwaitAnswer => return,
                Step::StartTls => panic!("nobody speaks of TLS"),
            }
        }
    };
    hear(&mut machine, &mut heard);
    for piece in stream {
        machine.buffer().extend_from_slice(piece);
        hear(&mut machine, &mut heard);
        if heard.closed {
            return heard;
        }
        assert!(machine.buffer().len() <= KEPT, "{} octets are kept", machine.buffer().len());
    }
    heard
}

fn serve(manners: u8, stream: &mut dyn Iterator<Item = &[u8]>) -> Heard {
    let server = Server::new(ServerOptions::default(), Instant::now());
    hold(server, stream, |server, event, heard| {
        let number = (heard.events.len() as u8).wrapping_mul(37) ^ manners;
        heard.events.push(format!("{event:?}"));
        match event {
            ServerEvent::Connect { .. } | ServerEvent::Helo(_) | ServerEvent::Mail(_) | ServerEvent::Rcpt(_) => {
                server.answer(&verdict(number));
            }
            ServerEvent::EndOfMessage => {
                let told = server.macros().text("i").unwrap_or_default();
                server.progress();
                server.change(&Change::InsertHeader(u32::from(number), "X-Id".into(), told.into()));
                server.change(&Change::Body(vec![number; usize::from(number) * 700].into()));
                server.change(&Change::Quarantine("why\0not".into()));
                server.answer(&verdict(number));
                assert!(!server.change(&Change::Quarantine("late".into())), "the message is over");
            }
            _ => {}
        }
    })
}

fn verdict(number: u8) -> Answer {
    match number % 7 {
        0 => Answer::Reject,
        1 => Answer::Accept,
        2 => Reply::parse("451 4.7.1 later").map_or(Answer::Tempfail, Answer::Reply),
        3 => Answer::Discard,
        _ => Answer::Continue,
    }
}

fn call(manners: u8, stream: &mut dyn Iterator<Item = &[u8]>) -> Heard {
    let client = Client::new(ClientOptions::default(), Instant::now());
    let mut step = 0;
    hold(client, stream, move |client, event, heard| {
        heard.events.push(format!("{event:?}"));
        if matches!(event, ClientEvent::Failed(_)) {
            return;
        }
        if matches!(event, ClientEvent::Done(_)) {
            step = 1;
        }
        step += 1;
        match step {
            1 => client.connect("mx.example.org", Peer::Unknown),
            2 => client.helo("client"),
            3 => client.mail(vec!["<a@example.org>".into()]),
            4 => client.rcpt(vec!["<b@example.org>".into(), "NOTIFY=NEVER".into()]),
            5 if manners & 1 == 0 => {
                client.macros(b'E', &[("i", "4Q1")]);
                client.message(vec![("Subject".into(), " x\r\n y".into())], vec![b'x'; 70_000].into());
            }
            5 => {
                client.abort();
                client.quit();
            }
            _ => client.quit(),
        }
    })
}
