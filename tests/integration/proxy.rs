//! The PROXY protocol, versions 1 and 2, from listed peers alone.

use std::time::{Duration, Instant};

use harness::server::{Server, ServerOptions, row};
use posthorn_config::{Span, Speaks};

use crate::rows::{client_from, greeted_from, peers};

async fn server() -> Server {
    let options = ServerOptions::new().with(|config| {
        config.limits.proxy_time = Span::from_millis(300);
        for speaks in [Speaks::Smtp, Speaks::Submissions] {
            row(config, speaks).peer = peers(&[
                "network = '127.0.0.2'\nproxy_protocol = true",
                "network = '10.0.0.0/8'\nmax_message_size = '10 KiB'",
                "network = '192.0.2.66'\ndeny = true",
                "network = '2001:db8::/32'\nmax_message_size = '20 KiB'",
            ]);
        }
    });
    let server = Server::start(options).await;
    server.mailbox_only("bob@example.org").await;
    server
}

fn v2(source: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    header.extend(source);
    header.extend([127, 0, 0, 1, 0x12, 0x34, 0, 25]);
    header
}

#[tokio::test]
async fn both_versions_are_told_apart_by_themselves() {
    let server = server().await;
    let headers: [(&[u8], &str); 6] = [
        (b"PROXY TCP4 10.1.2.3 127.0.0.1 4711 25\r\n", "SIZE 10240"),
        (b"PROXY TCP6 ::ffff:10.1.2.3 ::ffff:127.0.0.1 4711 25\r\n", "SIZE 10240"),
        (b"PROXY TCP6 2001:db8::9 2001:db8::1 4711 25\r\n", "SIZE 20480"),
        (b"PROXY UNKNOWN\r\n", "SIZE 52428800"),
        (&v2([10, 1, 2, 3]), "SIZE 10240"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00", "SIZE 52428800"),
    ];
    for (header, size) in headers {
        let mut client = client_from(&server, 2, server.port(Speaks::Smtp)).await;
        client.stream.send(header).await;
        assert!(client.reply().await.starts_with("220 "));
        let offered = client.hello("EHLO").await;
        assert!(offered.iter().any(|line| line == size), "{}: {offered:?}", header.escape_ascii());
        assert!(client.deliver("", &["bob@example.org"], "Subject: x\r\n\r\n").await.starts_with("250"));
    }
    let stored = server.messages("bob@example.org", "INBOX").await;
    for (octets, shown) in
        stored.iter().zip(["10.1.2.3", "10.1.2.3", "IPv6:2001:db8::9", "127.0.0.2", "10.1.2.3", "127.0.0.2"])
    {
        let text = String::from_utf8_lossy(octets).into_owned();
        assert!(text.contains(&format!("([{shown}])")), "{shown}: {text}");
    }
}

#[tokio::test]
async fn a_denied_client_is_denied_behind_a_proxy_too() {
    let server = server().await;
    let mut client = client_from(&server, 2, server.port(Speaks::Smtp)).await;
    client.stream.send(v2([192, 0, 2, 66])).await;
    assert!(client.reply().await.starts_with("554 5.7.1"));
}

#[tokio::test]
async fn tls_comes_behind_the_header() {
    let server = server().await;
    let mut client = client_from(&server, 2, server.port(Speaks::Submissions)).await;
    client.stream.send(v2([10, 1, 2, 3])).await;
    let mut client = harness::smtp_client::SmtpClient::over(client.stream.secure(server.tls()).await, server.tls());
    assert!(client.reply().await.starts_with("220 "));
    assert!(client.hello("EHLO").await.iter().any(|line| line == "SIZE 10240"));
}

#[tokio::test]
async fn without_a_header_the_door_closes_in_silence() {
    let server = server().await;
    let port = server.port(Speaks::Smtp);
    for wrong in
        [&b"EHLO client.example.net\r\n"[..], b"PROXY TCP4 nonsense\r\n", b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x0c"]
    {
        let mut client = client_from(&server, 2, port).await;
        client.stream.send(wrong).await;
        assert_eq!(client.reply().await, "", "{}", wrong.escape_ascii());
    }
    let mut silent = client_from(&server, 2, port).await;
    let began = Instant::now();
    assert_eq!(silent.reply().await, "");
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_header_from_anybody_else_changes_nothing() {
    let server = server().await;
    let mut client = greeted_from(&server, 3, server.port(Speaks::Smtp)).await;
    let reply = client.ask("PROXY TCP4 10.1.2.3 127.0.0.1 4711 25").await;
    assert!(reply.starts_with('5'), "{reply}");
    let mut client = client_from(&server, 3, server.port(Speaks::Submissions)).await;
    client.stream.send("PROXY TCP4 10.1.2.3 127.0.0.1 4711 25\r\n").await;
    assert!(!client.reply().await.contains("220"));
}

#[tokio::test]
async fn nine_spellings_are_one_client() {
    const SPELLINGS: [&str; 9] = [
        "fd82:7796:815b:af9d:230:48ff:fef2:aa4a",
        "FD82:7796:815B:AF9D:230:48FF:FEF2:AA4A",
        "fd82:7796:815b:af9d:0230:48ff:fef2:aa4a",
        "Fd82:7796:815B:aF9d:0230:48Ff:fEf2:Aa4A",
        "fd82:7796:815b:af9d:230:48ff:254.242.170.74",
        "fd82:7796:815b:af9d:0230:48FF:254.242.170.74",
        "fd82:7796:815b:af9d:230:48ff:fef2:aa4a/128",
        "FD82:7796:815b:af9d:0230:48ff:fef2:aa4a/128",
        "fd82:7796:815b:af9d:230:48ff:254.242.170.74/128",
    ];
    let options = ServerOptions::new().with(|config| {
        config.listener.clear();
        for (number, spelling) in SPELLINGS.into_iter().enumerate() {
            let mut row = harness::server::listener(Speaks::Smtp);
            row.name = format!("smtp{number}");
            let block = format!("network = '{spelling}'\nmax_message_size = '{} KiB'", number + 1);
            row.peer = peers(&["network = '127.0.0.2'\nproxy_protocol = true", &block]);
            config.listener.push(row);
        }
    });
    let server = Server::start(options).await;
    for (number, spelling) in SPELLINGS.into_iter().enumerate() {
        let mut client = client_from(&server, 2, server.port_of(&format!("smtp{number}"))).await;
        client.stream.send("PROXY TCP6 fd82:7796:815b:af9d:230:48ff:fef2:aa4a ::1 4711 25\r\n").await;
        client.reply().await;
        let size = format!("SIZE {}", (number + 1) << 10);
        let offered = client.hello("EHLO").await;
        assert!(offered.contains(&size), "{spelling}: {offered:?}");
    }
}

#[tokio::test]
async fn what_the_proxy_adds_is_in_the_trace() {
    let trace = harness::trace::Trace::listen();
    let server = server().await;
    let mut header = v2([10, 1, 2, 3]);
    let name = b"mail.example.org";
    header[15] += 3 + name.len() as u8;
    header.extend([2, 0, name.len() as u8]);
    header.extend(name);
    let mut client = client_from(&server, 2, server.port(Speaks::Smtp)).await;
    client.stream.send(header).await;
    assert!(client.reply().await.starts_with("220 "));
    client.hello("EHLO").await;
    assert!(client.deliver("", &["bob@example.org"], "Subject: x\r\n\r\n").await.starts_with("250"));
    let line = trace.line("message taken");
    for part in ["peer.ip=10.1.2.3", "proxied_by=127.0.0.2", "mail.example.org"] {
        assert!(line.contains(part), "{part}: {line}");
    }
}
