//! The policy protocol in both roles, and tables, against any stream, cut in any way.

use std::time::{Duration, Instant};

use posthorn_model::policy::{Action, Inquiry};
use posthorn_policyd::{Client, ClientEvent, Event, Server, Times, table};
use posthorn_wire::{Machine, Step};

use super::{parted, pieces};

/// Octets that a session keeps, with room for a line end: a line that is looked at, or an answer.
const KEPT: usize = 17 * 1024;

/// What a session came to.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    said: Vec<u8>,
    events: Vec<String>,
    inquiries: Vec<Inquiry>,
    closed: bool,
}

/// Holds the conversation with the stream whole, in pieces and octet by octet: the same each time.
pub fn target(octets: &[u8]) {
    let ([kind, manners, _, seed], stream) = parted(octets);
    let stream = &stream[..stream.len().min(KEPT)];
    let converse: fn(u8, &mut dyn Iterator<Item = &[u8]>) -> Heard = match kind % 3 {
        0 => serve,
        1 => ask,
        _ => look_up,
    };
    let whole = converse(manners, &mut std::iter::once(stream));
    assert_eq!(whole, converse(manners, &mut pieces(stream, seed)), "cut otherwise, heard otherwise");
    assert_eq!(whole, converse(manners, &mut stream.chunks(1)), "octet by octet, heard otherwise");
    for inquiry in &whole.inquiries {
        is_read_as_written(inquiry);
    }
    if kind % 3 == 0 {
        let answers = whole.said.split(|octet| *octet == b'\n').collect::<Vec<_>>();
        for pair in answers.chunks(2).take(answers.len() / 2) {
            assert!(pair[0].starts_with(b"action=") && pair[1].is_empty(), "{answers:?}");
        }
    }
}

fn hold<M: Machine>(
    mut machine: M,
    stream: &mut dyn Iterator<Item = &[u8]>,
    heard: &mut Heard,
    mut event: impl FnMut(&mut M, M::Event, &mut Heard),
) {
    let now = Instant::now();
    let mut hear = |machine: &mut M, heard: &mut Heard| {
        loop {
            match machine.poll(now) {
                Step::Output(bytes) => heard.said.extend_from_slice(&bytes),
                Step::Event(one) => event(machine, one, heard),
                Step::Closed => heard.closed = true,
                Step::NeedInput | Step::AwaitAnswer => return,
                Step::StartTls => panic!("nobody speaks of TLS"),
            }
            if heard.closed {
                return;
            }
        }
    };
    hear(&mut machine, heard);
    for piece in stream {
        machine.buffer().extend_from_slice(piece);
        hear(&mut machine, heard);
        if heard.closed {
            return;
        }
        assert!(machine.buffer().len() <= KEPT, "{} octets are kept", machine.buffer().len());
    }
    machine.expire();
    machine.close();
    hear(&mut machine, heard);
    assert!(heard.closed, "a session whose time is over goes on");
}

fn serve(manners: u8, stream: &mut dyn Iterator<Item = &[u8]>) -> Heard {
    let mut heard = Heard::default();
    hold(Server::new(Times::default(), Instant::now()), stream, &mut heard, |server, event, heard| match event {
        Event::Asked(inquiry) => {
            let answer = (heard.inquiries.len() as u8).wrapping_mul(37) ^ manners;
            match answer % 7 {
                0 => server.fail(),
                1 => server.answer(&Action::Reject(inquiry.sender.clone())),
                2 => server.answer(&Action::Prepend { name: "X".to_owned(), value: inquiry.instance.clone() }),
                _ => server.answer(&Action::Dunno),
            }
            heard.inquiries.push(*inquiry);
        }
        Event::Garbled(fault) => heard.events.push(fault.to_string()),
    });
    heard
}

fn ask(manners: u8, stream: &mut dyn Iterator<Item = &[u8]>) -> Heard {
    let mut heard = Heard::default();
    let mut client = Client::new(Duration::from_secs(1), Instant::now());
    let inquiry = Inquiry { instance: manners.to_string(), ..Inquiry::default() };
    client.ask(&inquiry);
    hold(client, stream, &mut heard, |client, event, heard| {
        if let ClientEvent::Answered(action) = &event {
            assert_eq!(action.to_string().parse().as_ref(), Ok(action), "an action is written as it is read");
            client.ask(&inquiry);
        }
        heard.events.push(format!("{event:?}"));
    });
    heard
}

fn look_up(manners: u8, stream: &mut dyn Iterator<Item = &[u8]>) -> Heard {
    let mut heard = Heard::default();
    let server = table::Server::new(Duration::from_secs(1), Instant::now());
    hold(server, stream, &mut heard, |server, table::Event::Get(key), heard| {
        match (heard.events.len() as u8).wrapping_mul(37) ^ manners {
            answer if answer % 5 == 0 => server.absent(),
            answer if answer % 5 == 1 => server.later(&key),
            _ => server.found(&key),
        }
        heard.events.push(key);
    });
    for line in heard.said.split_inclusive(|octet| *octet == b'\n') {
        assert!(line.len() <= 4096 && line.ends_with(b"\n"), "{line:?}");
        assert!([&b"200 "[..], b"400 ", b"500 "].contains(&&line[..4]), "{line:?}");
        assert!(line[4..line.len() - 1].iter().all(u8::is_ascii_graphic), "{line:?}");
    }
    heard
}

/// What a client of ours asks, a server of ours understands; control characters alone are lost.
fn is_read_as_written(inquiry: &Inquiry) {
    let now = Instant::now();
    let mut client = Client::new(Duration::from_secs(1), now);
    client.ask(inquiry);
    let Step::Output(octets) = client.poll(now) else { panic!("a request") };
    if octets.contains(&b'?') {
        return;
    }
    let mut server = Server::new(Times::default(), now);
    server.buffer().extend_from_slice(&octets);
    match server.poll(now) {
        Step::Event(Event::Asked(read)) => {
            let [read, meant] = [&*read, inquiry].map(|one| Inquiry {
                sasl: None,
                encryption: None,
                certificate: None,
                sender: None,
                recipient: None,
                ..one.clone()
            });
            assert_eq!(read, meant);
        }
        other => panic!("{other:?}"),
    }
}
