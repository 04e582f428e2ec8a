//! TLS that makes no sense.

use harness::dice::Dice;
use std::sync::Arc;

use posthorn_config::Speaks;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::program::{Program, shout};

const PORTS: [Speaks; 2] = [Speaks::Imaps, Speaks::Submissions];

/// The first flight of a client that asks for this name.
fn client_hello(program: &Program, name: &str) -> Vec<u8> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut connection = ClientConnection::new(Arc::clone(program.tls()), name).expect("a client");
    let mut flight = Vec::new();
    connection.write_tls(&mut flight).expect("a first flight");
    flight
}

/// Nothing but handshake, alerts and what looks like either may come back.
fn no_session(heard: &[u8], what: &str) {
    let first = heard.first().copied();
    assert!(matches!(first, None | Some(0x14..=0x16)), "{what}: {}", heard[..heard.len().min(40)].escape_ascii());
}

#[tokio::test]
async fn handshakes_that_are_broken_in_any_place_end() {
    let mut program = Program::start().await;
    program.works().await;
    let files = program.open_files();
    let hello = client_hello(&program, "localhost");
    let mut dice = Dice::new(0x7150);
    for round in 0..120 {
        let port = program.port(PORTS[round % 2]);
        no_session(&shout(port, &dice.damaged(&hello)).await, "a damaged hello");
        let half = &hello[..1 + dice.below(hello.len() - 1)];
        no_session(&shout(port, half).await, "half a hello");
        let twice = [&hello[..], &dice.octets(300)].concat();
        no_session(&shout(port, &twice).await, "noise behind the hello");
    }
    program.closes_all_but(files).await;
    program.works().await;
}

#[tokio::test]
async fn records_that_make_no_sense_end_the_handshake() {
    let mut program = Program::start().await;
    let before = program.peak();
    let empty_handshakes = b"\x16\x03\x01\0\0".repeat(20_000);
    let one_octet_each: Vec<u8> =
        client_hello(&program, "localhost")[5..].iter().flat_map(|octet| [0x16, 3, 1, 0, 1, *octet]).collect();
    // A handshake message of 16 MiB in records that never complete it.
    let endless = [&b"\x16\x03\x01\x40\0\x01\xff\xff\xff"[..], &[0; 0x3ffc]].concat().repeat(200);
    let records: [&[u8]; 8] = [
        b"\xff\x03\x03\x00\x05hello",
        b"\x16\x03\x01\xff\xff",
        b"\x17\x03\x03\x00\x05hello",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x14\x03\x03\x00\x01\x01",
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
        &empty_handshakes,
        &endless,
    ];
    for speaks in PORTS {
        for record in records.into_iter().chain([&one_octet_each[..]]) {
            no_session(&shout(program.port(speaks), record).await, "a senseless record");
        }
    }
    let grown = program.peak().saturating_sub(before);
    assert!(grown < 24 << 20, "{grown} octets more than before at the peak");
    program.works().await;
}

#[tokio::test]
async fn any_server_name_gets_a_certificate_or_an_end() {
    let mut program = Program::start().await;
    let long = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
    for name in ["x.invalid", "_", "127.0.0.1", "::1", "xn--0.example", "LOCALHOST", &long] {
        for speaks in PORTS {
            let to = ("127.0.0.1", program.port(speaks));
            let dialled = posthorn_net::dial_tls(to, name, program.tls()).await;
            assert!(dialled.is_err() || matches!(name, "LOCALHOST" | "127.0.0.1" | "::1"), "{name} is somebody else");
        }
    }
    // The name itself with octets that no name has.
    let hello = client_hello(&program, "localhost");
    let at = hello.windows(9).position(|window| window == b"localhost").expect("the name in the hello");
    for octet in [0, b'\n', b' ', b'/', b'*', b'.', 0x80, 0xff] {
        let mut hello = hello.clone();
        hello[at..at + 9].fill(octet);
        no_session(&shout(program.port(Speaks::Imaps), &hello).await, "a senseless name");
    }
    program.works().await;
}

#[tokio::test]
async fn whoever_stops_in_the_middle_of_a_handshake_is_left() {
    let mut program = Program::with("handshake_time = '1 s'", "").await;
    program.works().await;
    let files = program.open_files();
    let hello = client_hello(&program, "localhost");
    let mut halves = Vec::new();
    for round in 0..100 {
        let port = program.port(PORTS[round % 2]);
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the server listens");
        stream.write_all(&hello[..hello.len() * round / 100]).await.expect("sent");
        halves.push(stream);
    }
    // Our ends stay open: it is the server that goes.
    program.closes_all_but(files).await;
    drop(halves);
    program.works().await;
}
