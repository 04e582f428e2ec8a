use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use posthorn_config::{ListenAddress, Listener, PeerOptions, Span, Speaks};
use proxy_header::{ProxiedAddress, ProxyHeader};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UnixStream};

use super::*;
use crate::rig::{Client, Rig, block, row};
use crate::{client_config, secure};

fn behind_proxy(speaks: Speaks) -> Vec<Listener> {
    let mut row = row("front", speaks);
    row.peer.push(block("127.0.0.0/8", PeerOptions { proxy_protocol: Some(true), ..PeerOptions::default() }));
    let context = BTreeMap::from([("from".to_owned(), "afar".to_owned())]);
    row.peer.push(block("2001:db8::/32", PeerOptions { context, ..PeerOptions::default() }));
    row.peer.push(block("192.0.2.66", PeerOptions { deny: Some(true), ..PeerOptions::default() }));
    vec![row]
}

#[tokio::test]
async fn proxied_clients_are_who_the_proxy_says() {
    let rig = Rig::start(behind_proxy(Speaks::Smtp));
    let mut client = rig.raw("front").await;
    client.send("PROXY TCP4 192.0.2.7 10.0.0.1 4711 25\r\nPEER\r\n").await;
    client.expect("220 hello").await;
    client.expect("192.0.2.7 4711 Some(127.0.0.1) front").await;

    let mut client = rig.raw("front").await;
    let pair = ("[2001:db8::7]:4711".parse().expect("address"), "[::1]:25".parse().expect("address"));
    let mut header = Vec::new();
    let encoder = ProxyHeader::with_address(ProxiedAddress::stream(pair.0, pair.1));
    encoder.encode_v2(&mut header).expect("encoded");
    client.stream.write_all(&header).await.expect("written");
    client.expect("220 hello").await;
    assert_eq!(client.ask("PEER").await, "2001:db8::7 4711 Some(127.0.0.1) front");
    assert_eq!(client.ask("CONTEXT").await, r#"{"from": "afar"}"#, "the options are those of the asserted client");

    let mut client = rig.raw("front").await;
    client.send("PROXY UNKNOWN\r\n").await;
    client.expect("220 hello").await;
    assert!(client.ask("PEER").await.starts_with("127.0.0.1 "));
}

#[tokio::test]
async fn an_asserted_client_can_be_denied() {
    let rig = Rig::start(behind_proxy(Speaks::Smtp));
    let mut client = rig.raw("front").await;
    client.send("PROXY TCP4 192.0.2.66 10.0.0.1 4711 25\r\n").await;
    client.expect("421 Denied").await;
}

#[tokio::test]
async fn tls_may_follow_the_header_in_one_packet() {
    let rig = Rig::start(behind_proxy(Speaks::Imaps));
    let ca = std::fs::read(rig.folder.path().join("tls/certificate.pem")).expect("certificate");
    let mut stream = TcpStream::connect(("127.0.0.1", rig.port("front"))).await.expect("connected");
    stream.write_all(b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 993\r\n").await.expect("written");
    let stream = secure(stream, "127.0.0.1", &client_config(&ca).expect("config")).await.expect("handshake");
    let mut client = Client::new(stream);
    client.expect("220 hello").await;
    assert!(client.ask("PEER").await.starts_with("192.0.2.7 "));
    assert!(client.ask("TLS").await.contains("TLSv1.3"));
}

#[tokio::test]
async fn garbage_and_late_headers_are_closed_without_a_word() {
    let rig = Rig::with(behind_proxy(Speaks::Smtp), Duration::from_secs(60), |config| {
        config.limits.proxy_time = Span::from_millis(50);
    });
    for bytes in ["EHLO client.example\r\n", "PROXY TCP9 a b c d\r\n", "PROXY TCP4 192.0", ""] {
        let mut client = rig.raw("front").await;
        client.send(bytes).await;
        assert!(client.rest().await.is_empty(), "{bytes:?}");
    }
}

#[tokio::test]
async fn a_header_from_anybody_else_is_dialogue() {
    let mut rows = behind_proxy(Speaks::Smtp);
    rows[0].peer.remove(0);
    let rig = Rig::start(rows);
    let mut client = rig.raw("front").await;
    client.send("PROXY TCP4 192.0.2.7 10.0.0.1 4711 25\r\nPEER\r\n").await;
    client.expect("220 hello").await;
    client.expect("500 unknown command").await;
    assert!(client.line().await.starts_with("127.0.0.1 "));
}

#[tokio::test]
async fn every_cap_refuses_in_words_and_frees_its_place() {
    type Change = fn(&mut Listener);
    let levels: [(Overload, Change); 5] = [
        (Overload::Service, |row| row.service_sessions = 2),
        (Overload::Listener, |row| row.listener_sessions = 2),
        (Overload::Endpoint, |row| row.listen[0].sessions = 2),
        (Overload::Block, |row| {
            row.peer.push(block("127.0.0.0/30", PeerOptions::default()));
            row.peer[0].sessions = Some(2);
        }),
        (Overload::Address, |row| row.options.sessions_per_address = Some(2)),
    ];
    for (why, change) in levels {
        let mut smtp = row("smtp", Speaks::Smtp);
        change(&mut smtp);
        let rig = Rig::start(vec![smtp, row("other", Speaks::Imap)]);
        let mut first = rig.client("smtp").await;
        let _second = rig.client("smtp").await;
        let mut third = rig.raw("smtp").await;
        third.expect(&format!("421 {why:?}")).await;
        assert!(third.rest().await.is_empty());
        assert_eq!(rig.listeners.caps().refused[&why], 1);
        let _elsewhere = rig.client("other").await;
        assert_eq!(rig.listeners.caps().held[&Scope::Server], 3);
        assert_eq!(first.ask("QUIT").await, "221 bye");
        drop(first);
        while rig.listeners.caps().held[&Scope::Server] > 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let _again = rig.client("smtp").await;
    }
}

#[tokio::test]
async fn the_server_has_a_cap_of_its_own() {
    let rows = vec![row("smtp", Speaks::Smtp), row("imap", Speaks::Imap)];
    let rig = Rig::with(rows, Duration::from_secs(60), |config| config.limits.sessions = 1);
    let _first = rig.client("smtp").await;
    rig.raw("imap").await.expect("421 Server").await;
}

#[tokio::test]
async fn full_memory_puts_new_sessions_off() {
    let rows = vec![row("smtp", Speaks::Smtp)];
    let rig = Rig::with(rows, Duration::from_secs(60), |config| {
        config.limits.memory = Some(posthorn_config::Size::bytes(1));
    });
    let mut few = Vec::new();
    for _ in 0..ALWAYS_ADMITTED {
        few.push(rig.client("smtp").await);
    }
    rig.raw("smtp").await.expect("421 Memory").await;
    // A server that is full of itself still serves who comes when others have left.
    drop(few.pop());
    while rig.raw("smtp").await.line().await == "421 Memory" {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn the_denied_hear_it() {
    let mut smtp = row("smtp", Speaks::Smtp);
    let both = PeerOptions { deny: Some(true), allow: Some(true), ..PeerOptions::default() };
    smtp.peer.push(block("127.0.0.1", both));
    let rig = Rig::start(vec![smtp]);
    rig.raw("smtp").await.expect("421 Denied").await;
}

#[tokio::test]
async fn floods_of_refusals_are_bounded_in_number_and_time() {
    let mut smtp = row("smtp", Speaks::Submissions);
    smtp.listener_sessions = 1;
    let rig = Rig::start(vec![smtp]);
    let _first = rig.raw("smtp").await;
    while rig.listeners.caps().held.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // None of these ever shakes hands, so each would hold its refusal for five seconds.
    let mut silent = Vec::new();
    for _ in 0..REFUSALS_AT_ONCE + 20 {
        silent.push(rig.raw("smtp").await);
    }
    while rig.listeners.caps().refused.values().sum::<u64>() < REFUSALS_AT_ONCE as u64 + 20 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(rig.listeners.sessions().len() <= REFUSALS_AT_ONCE + 1);
    assert!(silent.last_mut().expect("one").rest().await.is_empty(), "closed at once");
}

#[tokio::test]
async fn unix_clients_count_as_loopback() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("lmtp.sock");
    let mut lmtp = Listener::new("lmtp", Speaks::Lmtp, [ListenAddress::Unix(path.clone())]);
    lmtp.file_mode = "0600".parse().expect("a mode");
    let context = BTreeMap::from([("near".to_owned(), "yes".to_owned())]);
    lmtp.peer.push(block("127.0.0.1", PeerOptions { context, ..PeerOptions::default() }));
    let rig = Rig::start(vec![lmtp]);
    assert_eq!(std::fs::metadata(&path).expect("file").permissions().mode() & 0o777, 0o600);
    let mut client = Client::new(UnixStream::connect(&path).await.expect("connected"));
    client.expect("220 hello").await;
    assert_eq!(client.ask("PEER").await, "127.0.0.1 0 None lmtp");
    assert_eq!(client.ask("CONTEXT").await, r#"{"near": "yes"}"#);
    rig.shutdown.stop();
    client.expect("421 closing").await;
    drop(client);
    rig.serving.await.expect("stopped");
    assert!(!path.exists(), "the file goes with the server");
}
