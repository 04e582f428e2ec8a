use posthorn_config::{PeerOptions, Span, Speaks};
use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::client_config;
use crate::dial::secure;
use crate::rig::{Client, Rig, row};

fn smtp() -> Vec<posthorn_config::Listener> {
    vec![row("smtp", Speaks::Smtp)]
}

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Connection>() <= 640, "{}", size_of::<Connection>());
}

#[tokio::test]
async fn pipelined_lines_are_answered_in_order() {
    let rig = Rig::start(smtp());
    let mut client = rig.client("smtp").await;
    let lines: Vec<String> = (0..2000).map(|n| format!("line {n}")).collect();
    client.send(&(lines.join("\r\n") + "\r\n")).await;
    for line in &lines {
        client.expect(line).await;
    }
    assert_eq!(client.ask("QUIT").await, "221 bye");
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn an_end_from_the_client_comes_after_all_answers() {
    let mut rig = Rig::start(smtp());
    let mut client = rig.client("smtp").await;
    client.send("one\r\ntwo\r\nthr").await;
    client.stream.shutdown().await.expect("shut");
    assert_eq!(client.rest().await, b"one\r\ntwo\r\n");
    assert_eq!(rig.ended.recv().await, Some(Ended::Eof));
}

#[tokio::test]
async fn an_end_is_seen_behind_what_was_sent_ahead() {
    let mut rig = Rig::start(smtp());
    let mut client = rig.client("smtp").await;
    client.send("LINGER\r\n").await;
    client.send(&"ahead\r\n".repeat(5000)).await;
    assert!(rig.ended.try_recv().is_err(), "it is still there");
    drop(client);
    assert_eq!(rig.ended.recv().await, Some(Ended::Eof));
}

#[tokio::test]
async fn silence_ends_in_the_machines_words() {
    let mut rig = Rig::with(smtp(), Duration::from_millis(50), |_| {});
    let mut client = rig.client("smtp").await;
    client.expect("421 too slow").await;
    assert!(client.rest().await.is_empty());
    drop(client);
    assert_eq!(rig.ended.recv().await, Some(Ended::Finished));
}

#[tokio::test]
async fn the_total_time_holds_for_busy_sessions_too() {
    let mut rows = smtp();
    rows[0].options = PeerOptions { total_time: Some(Span::from_millis(200)), ..PeerOptions::default() };
    let mut rig = Rig::start(rows);
    let mut client = rig.client("smtp").await;
    let last = loop {
        let answer = client.ask("busy").await;
        if answer != "busy" {
            break answer;
        }
    };
    assert_eq!(last, "421 closing");
    drop(client);
    assert_eq!(rig.ended.recv().await, Some(Ended::Finished));
}

#[tokio::test]
async fn a_wake_reaches_a_waiting_session() {
    let rig = Rig::start(smtp());
    let mut client = rig.client("smtp").await;
    client.send("BELL\r\nafter\r\n").await;
    while rig.listeners.sessions().iter().all(|session| session.received < 13) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    rig.bell.notify_one();
    client.expect("200 the bell rang").await;
    client.expect("after").await;
}

#[tokio::test]
async fn large_answers_wait_for_the_reader() {
    let rig = Rig::start(smtp());
    let mut client = rig.client("smtp").await;
    client.send("BIG 2000\r\n").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let sent = rig.listeners.sessions()[0].sent;
    assert!(sent < 19_000_000, "{sent} octets went to a client that reads nothing");
    assert_eq!(client.line().await.len(), 20_000_000);
    assert_eq!(client.ask("next").await, "next");
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_read_is_left() {
    let mut rig = Rig::start(smtp());
    let mut client = rig.raw("smtp").await;
    client.send("BIG 20000\r\n").await;
    assert_eq!(rig.ended.recv().await, Some(Ended::Unread));
}

#[tokio::test]
async fn starttls_upgrades() {
    let rig = Rig::start(smtp());
    let mut client = rig.client("smtp").await;
    assert_eq!(client.ask("TLS").await, "None");
    assert_eq!(client.ask("STARTTLS").await, "220 go ahead");
    let ca = std::fs::read(rig.folder.path().join("tls/certificate.pem")).expect("certificate");
    let config = client_config(&ca).expect("config");
    let stream = secure(client.stream.into_inner(), "localhost", &config).await.expect("handshake");
    let mut exported = vec![0; 32];
    stream.get_ref().1.export_keying_material(&mut exported, b"EXPORTER-Channel-Binding", Some(b"")).expect("exported");
    let mut client = Client::new(stream);
    let tls = client.ask("TLS").await;
    assert!(tls.contains("TLSv1.3") && tls.contains("TLS13_AES_256_GCM_SHA384") && tls.contains("localhost"), "{tls}");
    assert_eq!(client.ask("BINDING").await, format!("Some({exported:?})"));
    assert_eq!(client.ask("QUIT").await, "221 bye");
}

#[tokio::test]
async fn bytes_behind_starttls_end_the_session() {
    let mut rig = Rig::start(smtp());
    let mut client = rig.client("smtp").await;
    client.send("STARTTLS\r\nINJECTED\r\n").await;
    client.expect("220 go ahead").await;
    assert!(client.rest().await.is_empty());
    assert_eq!(rig.ended.recv().await, Some(Ended::Injected));
}

#[tokio::test]
async fn plain_text_instead_of_a_handshake_ends_the_session() {
    let mut rig = Rig::start(smtp());
    let mut client = rig.client("smtp").await;
    assert_eq!(client.ask("STARTTLS").await, "220 go ahead");
    client.send("INJECTED\r\n").await;
    assert!(!String::from_utf8_lossy(&client.rest().await).contains("INJECTED"));
    assert_eq!(rig.ended.recv().await, Some(Ended::Handshake));
}

#[tokio::test]
async fn a_silent_handshake_ends_in_time() {
    let mut rig = Rig::with(smtp(), Duration::from_secs(60), |config| {
        config.limits.handshake_time = Span::from_millis(50);
    });
    let mut client = rig.client("smtp").await;
    assert_eq!(client.ask("STARTTLS").await, "220 go ahead");
    assert!(client.rest().await.is_empty());
    assert_eq!(rig.ended.recv().await, Some(Ended::Handshake));
}

#[tokio::test]
async fn last_words_arrive_although_input_is_unread() {
    let rig = Rig::start(smtp());
    let mut client = rig.client("smtp").await;
    client.send(&format!("QUIT\r\n{}", "x\r\n".repeat(50_000))).await;
    client.expect("221 bye").await;
}

#[tokio::test]
async fn whoever_never_pauses_hears_the_stop() {
    let rig = Rig::start(smtp());
    let client = rig.client("smtp").await;
    let (read, mut write) = client.stream.into_inner().into_split();
    let flood = tokio::spawn(async move { while write.write_all(&b"more\r\n".repeat(1000)).await.is_ok() {} });
    let mut reader = Client { stream: tokio::io::BufReader::new(tokio::io::join(read, tokio::io::sink())) };
    for _ in 0..1000 {
        reader.expect("more").await;
    }
    rig.shutdown.stop();
    let last = loop {
        let line = reader.line().await;
        if line != "more" {
            break line;
        }
    };
    assert_eq!(last, "421 closing");
    drop(reader);
    rig.serving.await.expect("stopped");
    assert!(!rig.shutdown.is_cutting());
    flood.await.expect("ended");
}

#[tokio::test]
async fn a_body_of_many_megabytes_streams_through() {
    let mut rig = Rig::start(smtp());
    let mut client = rig.client("smtp").await;
    assert_eq!(client.ask("BODY").await, "354 go on");
    let block = format!("{}\r\n", "b".repeat(998)).repeat(1000);
    for _ in 0..30 {
        client.send(&block).await;
    }
    assert_eq!(client.ask(".").await, "250 stored");
    assert_eq!(rig.listeners.sessions()[0].received, 30_000_000 + 9);
    drop(client);
    assert_eq!(rig.ended.recv().await, Some(Ended::Eof));
}
