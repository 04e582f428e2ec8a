//! Ports 587 and 465: mail from our own people (RFC 6409).

use harness::server::{Server, ServerOptions};
use harness::smtp_client::SmtpClient;
use posthorn_config::Speaks;
use posthorn_mail::directory::AccountChange;
use posthorn_model::Address;

const MESSAGE: &str = "From: bob@example.org\r\nSubject: hello\r\n\r\nHello.\r\n";

async fn server() -> Server {
    let server = Server::start(ServerOptions::new()).await;
    server.account("bob@example.org", "right horse").await;
    server.mailbox_only("eve@example.org").await;
    server
}

async fn bob(server: &Server) -> SmtpClient {
    let mut client = server.smtp(Speaks::Submissions).await;
    let reply = client.login("bob@example.org", "right horse").await;
    assert!(reply.starts_with("235 2.7.0"), "{reply}");
    client
}

#[tokio::test]
async fn a_login_needs_tls() {
    let server = server().await;
    let mut client = server.smtp(Speaks::Submission).await;
    let offered = client.hello("EHLO").await;
    assert!(offered.iter().any(|line| line == "STARTTLS"));
    assert!(!offered.iter().any(|line| line.starts_with("AUTH")), "{offered:?}");
    assert!(client.login("bob@example.org", "right horse").await.starts_with("538 5.7.11"));
    client.expect("MAIL FROM:<bob@example.org>", "530 5.7.0").await;
    let mut client = client.starttls().await;
    let offered = client.hello("EHLO").await;
    assert!(offered.iter().any(|line| line == "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"), "{offered:?}");
    assert!(!offered.iter().any(|line| line == "STARTTLS"));
    client.expect("MAIL FROM:<bob@example.org>", "530 5.7.0").await;
    assert!(client.login("bob@example.org", "right horse").await.starts_with("235"));
    assert!(client.deliver("bob@example.org", &["eve@example.org"], MESSAGE).await.starts_with("250"));
}

#[tokio::test]
async fn login_the_older_way() {
    let server = server().await;
    let mut client = server.smtp(Speaks::Submissions).await;
    client.expect("AUTH LOGIN", "334 VXNlcm5hbWU6").await;
    client.expect(&harness::smtp_client::base64(b"bob@example.org"), "334 UGFzc3dvcmQ6").await;
    client.expect(&harness::smtp_client::base64(b"right horse"), "235 2.7.0").await;
    client.expect("AUTH LOGIN", "503 5.5.1").await;
}

#[tokio::test]
async fn senders_must_be_ones_own() {
    let server = server().await;
    server.domain("example.com", Some("example.org")).await;
    server.alias("sales@example.org", &["bob@example.org", "eve@example.org"]).await;
    server.alias("team@example.org", &["sales@example.org"]).await;
    server.alias("press@example.org", &["BOB@Example.com"]).await;
    server.alias("shop@example.org", &["bob+shop@example.org"]).await;
    server.alias("other@example.org", &["eve@example.org"]).await;
    let change = AccountChange { delegated: Some(vec!["boss@example.net".to_owned()]), ..Default::default() };
    let address = Address::parse("bob@example.org").expect("an address");
    server.mail().set_account(&address, change).await.expect("the store works").expect("changed");
    let forward = AccountChange { forward_to: Some(vec!["bob@example.org".to_owned()]), ..Default::default() };
    let eve = Address::parse("eve@example.org").expect("an address");
    server.mail().set_account(&eve, forward).await.expect("the store works").expect("changed");
    let mut client = bob(&server).await;
    for sender in [
        "bob@example.org",
        "BOB@EXAMPLE.ORG",
        "bob+shop@example.org",
        "bob@example.com",
        "bob+shop@example.com",
        "sales@example.org",
        "Sales@example.com",
        "team@example.org",
        "press@example.org",
        "shop@example.org",
        "shop+sale@example.org",
        "boss@example.net",
        "",
    ] {
        client.expect(&format!("MAIL FROM:<{sender}>"), "250 2.1.0").await;
        client.expect("RSET", "250").await;
    }
    for sender in ["eve@example.org", "other@example.org", "bob@example.net", "x+bob@example.org", "sales@example.net"]
    {
        client.expect(&format!("MAIL FROM:<{sender}>"), "553 5.7.1").await;
    }
    // What is taken away counts at once.
    let change = AccountChange { delegated: Some(Vec::new()), ..Default::default() };
    server.mail().set_account(&address, change).await.expect("the store works").expect("changed");
    client.expect("MAIL FROM:<boss@example.net>", "553 5.7.1").await;
}

#[tokio::test]
async fn missing_fields_are_added_and_the_client_is_not_shown() {
    let server = server().await;
    let mut client = bob(&server).await;
    assert!(client.deliver("bob@example.org", &["eve@example.org"], MESSAGE).await.starts_with("250"));
    let complete = format!("Date: Fri, 02 Jan 2026 03:04:05 +0000\r\nMessage-ID: <own@example.org>\r\n{MESSAGE}");
    assert!(client.deliver("bob@example.org", &["eve@example.org"], &complete).await.starts_with("250"));
    let stored = server.messages("eve@example.org", "INBOX").await;
    let text: Vec<_> = stored.iter().map(|octets| String::from_utf8_lossy(octets).into_owned()).collect();
    for text in &text {
        assert_eq!(text.matches("\r\nDate: ").count(), 1, "{text}");
        assert_eq!(text.matches("\r\nMessage-ID: <").count(), 1, "{text}");
        assert!(text.contains(" with ESMTPSA"), "{text}");
        assert!(!text.contains("127.0.0.1") && !text.contains("client.example.net"), "{text}");
    }
    assert!(text[0].contains("@localhost>\r\n"), "{}", text[0]);
    assert!(text[1].contains("Message-ID: <own@example.org>"));
}

#[tokio::test]
async fn the_client_is_shown_where_that_is_configured() {
    let server = Server::start(ServerOptions::new().with(|config| config.smtp.received_shows_client = true)).await;
    server.account("bob@example.org", "right horse").await;
    let mut client = bob(&server).await;
    assert!(client.deliver("bob@example.org", &["bob@example.org"], MESSAGE).await.starts_with("250"));
    let stored = server.messages("bob@example.org", "INBOX").await;
    assert!(String::from_utf8_lossy(&stored[0]).contains("from client.example.net ([127.0.0.1])"));
}

#[tokio::test]
async fn fields_are_not_added_to_others_mail() {
    let server = server().await;
    let mut client = server.smtp(Speaks::Smtp).await;
    assert!(client.deliver("a@example.net", &["eve@example.org"], MESSAGE).await.starts_with("250"));
    let stored = String::from_utf8_lossy(&server.messages("eve@example.org", "INBOX").await[0]).into_owned();
    assert!(!stored.contains("Date: ") && !stored.contains("Message-ID: "), "{stored}");
}

#[tokio::test]
async fn other_hosts_are_for_those_who_logged_in() {
    let server = server().await;
    let mut client = bob(&server).await;
    client.expect("MAIL FROM:<bob@example.org>", "250").await;
    client.expect("RCPT TO:<x@example.net>", "250 2.1.5").await;
    client.expect("RCPT TO:<nobody@example.org>", "550 5.1.1").await;
}

#[tokio::test]
async fn starttls_forgets_a_login() {
    // Only where logins in the clear are allowed can there be one before.
    let server = Server::start(ServerOptions::new().with(|config| {
        harness::server::row(config, Speaks::Submission).options.require_tls = Some(false);
    }))
    .await;
    server.account("bob@example.org", "right horse").await;
    let mut client = server.smtp(Speaks::Submission).await;
    let offered = client.hello("EHLO").await;
    assert!(offered.iter().any(|line| line == "AUTH SCRAM-SHA-256 PLAIN LOGIN"), "nothing to bind to: {offered:?}");
    assert!(client.login("bob@example.org", "right horse").await.starts_with("235"));
    let mut client = client.starttls().await;
    client.expect("MAIL FROM:<bob@example.org>", "530 5.7.0").await;
}
