//! Port 25: mail from other servers (RFC 5321), for our own people alone.

use harness::server::{Server, ServerOptions};
use posthorn_config::Speaks;

const MESSAGE: &str = "From: a@example.net\r\nSubject: hello\r\n\r\nHello.\r\n";

async fn server() -> Server {
    let server = Server::start(ServerOptions::new()).await;
    server.mailbox_only("bob@example.org").await;
    server
}

#[tokio::test]
async fn a_message_is_stored_before_its_250() {
    let server = server().await;
    let mut client = server.smtp(Speaks::Smtp).await;
    let reply = client.deliver("a@example.net", &["bob@example.org"], MESSAGE).await;
    assert!(reply.starts_with("250 2.0.0 stored as "), "{reply}");
    let stored = server.messages("bob@example.org", "INBOX").await;
    assert_eq!(stored.len(), 1);
    assert!(stored[0].ends_with(MESSAGE.as_bytes()));
    assert!(server.check().await.is_empty());
}

#[tokio::test]
async fn there_is_no_login() {
    let server = server().await;
    let client = server.smtp(Speaks::Smtp).await;
    for mut client in [server.smtp(Speaks::Smtp).await, client.starttls().await] {
        let offered = client.hello("EHLO").await;
        assert!(!offered.iter().any(|line| line.starts_with("AUTH")), "{offered:?}");
        client.expect("AUTH PLAIN AGJvYgBib2I=", "502 5.5.1").await;
    }
}

#[tokio::test]
async fn nobodies_are_refused_at_rcpt() {
    let server = server().await;
    let mut client = server.smtp(Speaks::Smtp).await;
    client.expect("MAIL FROM:<a@example.net>", "250 2.1.0").await;
    client.expect("RCPT TO:<nobody@example.org>", "550 5.1.1 ").await;
    client.expect("RCPT TO:<bob@example.org>", "250 2.1.5").await;
    // Names are found in any case, and with a detail.
    client.expect("RCPT TO:<BOB@EXAMPLE.ORG>", "250 2.1.5").await;
    client.expect("RCPT TO:<bob+shop@example.org>", "250 2.1.5").await;
    assert!(client.data(MESSAGE).await.starts_with("250 "));
    assert_eq!(server.messages("bob@example.org", "INBOX").await.len(), 1, "one copy for one person");
}

#[tokio::test]
async fn nothing_is_relayed_whatever_the_network() {
    // This client is on loopback, and allowed by name.
    let options = ServerOptions::new().with(|config| {
        let row = harness::server::row(config, Speaks::Smtp);
        let options = posthorn_config::PeerOptions { allow: Some(true), ..Default::default() };
        let network = "127.0.0.0/8".parse().expect("a network");
        row.peer = vec![posthorn_config::Peer { network, sessions: None, options }];
    });
    let server = Server::start(options).await;
    let mut client = server.smtp(Speaks::Smtp).await;
    for sender in ["a@example.net", "", "bob@example.org"] {
        client.expect(&format!("MAIL FROM:<{sender}>"), "250").await;
        for recipient in ["x@example.com", "x@[192.0.2.1]", "x%example.com@example.com", "@example.org:x@example.com"] {
            client.expect(&format!("RCPT TO:<{recipient}>"), "550 5.7.1 ").await;
        }
        client.expect("RSET", "250").await;
    }
}

#[tokio::test]
async fn the_null_sender_is_welcome() {
    let server = server().await;
    let mut client = server.smtp(Speaks::Smtp).await;
    assert!(client.deliver("", &["bob@example.org"], MESSAGE).await.starts_with("250 "));
    let stored = server.messages("bob@example.org", "INBOX").await;
    assert!(stored[0].starts_with(b"Return-Path: <>\r\nDelivered-To: bob@example.org\r\nReceived: from "));
}

#[tokio::test]
async fn postmaster_always_gets_mail() {
    let server = server().await;
    let mut client = server.smtp(Speaks::Smtp).await;
    for recipient in ["postmaster", "Postmaster", "postmaster@example.org", "POSTMASTER@Example.Org"] {
        assert!(client.deliver("a@example.net", &[recipient], MESSAGE).await.starts_with("250 "), "{recipient}");
    }
    // Nobody bears the name, so it is for the oldest account.
    assert_eq!(server.messages("bob@example.org", "INBOX").await.len(), 4);
    server.mailbox_only("postmaster@example.org").await;
    for recipient in ["postmaster", "postmaster@example.org"] {
        assert!(client.deliver("a@example.net", &[recipient], MESSAGE).await.starts_with("250 "));
    }
    assert_eq!(server.messages("postmaster@example.org", "INBOX").await.len(), 2);
}

#[tokio::test]
async fn a_disabled_account_and_a_disabled_domain_receive_nothing() {
    let server = server().await;
    let mut client = server.smtp(Speaks::Smtp).await;
    let bob = posthorn_model::Address::parse("bob@example.org").expect("an address");
    let change = posthorn_mail::directory::AccountChange { enabled: Some(false), ..Default::default() };
    server.mail().set_account(&bob, change).await.expect("the store works").expect("changed");
    client.expect("MAIL FROM:<a@example.net>", "250").await;
    client.expect("RCPT TO:<bob@example.org>", "551 5.7.1 ").await;
    server.mail().set_domain(bob.domain(), None, Some(false)).await.expect("the store works").expect("changed");
    client.expect("RCPT TO:<bob@example.org>", "550 5.7.1 ").await;
}

#[tokio::test]
async fn the_received_field_says_who_and_how() {
    let server = server().await;
    let mut client = server.smtp(Speaks::Smtp).await;
    assert!(client.deliver("a@example.net", &["bob@example.org"], MESSAGE).await.starts_with("250 "));
    let mut client = server.smtp(Speaks::Smtp).await.starttls().await;
    assert!(client.deliver("a@example.net", &["bob@example.org"], MESSAGE).await.starts_with("250 "));
    let stored = server.messages("bob@example.org", "INBOX").await;
    let text: Vec<_> =
        stored.iter().map(|one| String::from_utf8_lossy(one).replace("\r\n", "").replace('\t', " ")).collect();
    assert!(text[0].contains("Received: from client.example.net ([127.0.0.1])"), "{}", text[0]);
    assert!(text[0].contains(" with ESMTP id "), "{}", text[0]);
    assert!(text[1].contains(" with ESMTPS ") && text[1].contains("TLSv1.3"), "{}", text[1]);
}

#[tokio::test]
async fn a_looping_message_is_refused() {
    let server = Server::start(ServerOptions::new().with(|config| config.smtp.max_hops = 3)).await;
    server.mailbox_only("bob@example.org").await;
    let mut client = server.smtp(Speaks::Smtp).await;
    let hops = |count| format!("{}{MESSAGE}", "Received: by somebody\r\n".repeat(count));
    assert!(client.deliver("a@example.net", &["bob@example.org"], &hops(3)).await.starts_with("250 "));
    let reply = client.deliver("a@example.net", &["bob@example.org"], &hops(4)).await;
    assert!(reply.starts_with("554 5.4.6 "), "{reply}");
}

#[tokio::test]
async fn helo_can_be_refused() {
    let server = Server::start(ServerOptions::new().with(|config| config.smtp.require_ehlo = true)).await;
    let mut client = server.greeted(Speaks::Smtp).await;
    client.expect("HELO client.example.net", "550 5.5.1").await;
    client.expect("MAIL FROM:<>", "503 5.5.1").await;
    client.expect("EHLO client.example.net", "250").await;
    client.expect("MAIL FROM:<>", "250").await;
}

#[tokio::test]
async fn odd_names_do_not_break_the_trace_fields() {
    let server = server().await;
    let names = ["a)(b", "x;by=evil", "[127.0.0.1]", "\"quoted\\\"", "<>", "b\u{fc}cher.example"];
    for name in names {
        let mut client = server.greeted(Speaks::Smtp).await;
        client.expect(&format!("EHLO {name}"), "250").await;
        assert!(
            client.deliver("\"o d)d\"@example.net", &["bob@example.org"], MESSAGE).await.starts_with("250"),
            "{name}"
        );
    }
    let stored = server.messages("bob@example.org", "INBOX").await;
    for (octets, name) in stored.iter().zip(names) {
        let text = String::from_utf8_lossy(octets).into_owned();
        let fields = text.split("\r\nFrom: a@").next().expect("a header");
        assert_eq!(fields.matches("Received: ").count(), 1, "{name}: {fields}");
        let unfolded = fields.replace("\r\n\t", " ");
        assert_eq!(unfolded.lines().count(), 3, "{name}: {unfolded}");
        let received = unfolded.lines().last().expect("a line");
        assert_eq!(received.matches(" by localhost with ESMTP id ").count(), 1, "{name}: {received}");
        assert!(unfolded.starts_with("Return-Path: <\"o d)d\"@example.net>"), "{unfolded}");
    }
    assert_eq!(stored.len(), names.len());
}
