//! Quota in octets and messages, at RCPT and at the end of the message.

use harness::server::{Server, ServerOptions};
use posthorn_config::Speaks;
use posthorn_mail::directory::AccountChange;
use posthorn_model::Address;

async fn server(bytes: i64, messages: i64) -> Server {
    let server = Server::start(ServerOptions::new()).await;
    for name in ["bob@example.org", "eve@example.org"] {
        server.mailbox_only(name).await;
    }
    limit(&server, bytes, messages).await;
    server
}

async fn limit(server: &Server, bytes: i64, messages: i64) {
    let change = AccountChange { quota_bytes: Some(bytes), quota_messages: Some(messages), ..Default::default() };
    let bob = Address::parse("bob@example.org").expect("an address");
    server.mail().set_account(&bob, change).await.expect("the store works").expect("changed");
}

fn message(octets: usize) -> String {
    let line = format!("{}\r\n", "x".repeat(70));
    format!("Subject: size\r\n\r\n{}", line.repeat(octets / line.len() + 1))
}

#[tokio::test]
async fn octets() {
    let server = server(20_000, 0).await;
    let mut client = server.smtp(Speaks::Smtp).await;
    // Announced as too large: refused at RCPT, for good.
    client.expect("MAIL FROM:<a@example.net> SIZE=30000", "250").await;
    client.expect("RCPT TO:<bob@example.org>", "552 5.2.2").await;
    client.expect("RCPT TO:<eve@example.org>", "250").await;
    client.expect("RSET", "250").await;
    // Not announced: refused at the end.
    let reply = client.deliver("a@example.net", &["bob@example.org"], &message(30_000)).await;
    assert!(reply.starts_with("552 5.2.2"), "{reply}");
    assert!(client.deliver("a@example.net", &["bob@example.org"], &message(15_000)).await.starts_with("250"));
    assert!(client.deliver("a@example.net", &["bob@example.org"], &message(8_000)).await.starts_with("552 5.2.2"));
    assert!(client.deliver("a@example.net", &["bob@example.org"], &message(2_000)).await.starts_with("250"));
    // Full to the last octet: refused at RCPT, for now.
    let used = used(&server).await;
    limit(&server, used, 0).await;
    client.expect("MAIL FROM:<a@example.net>", "250").await;
    client.expect("RCPT TO:<bob@example.org>", "452 4.2.2").await;
    assert_eq!(server.messages("bob@example.org", "INBOX").await.len(), 2);
    assert!(server.messages("eve@example.org", "INBOX").await.is_empty());
    assert!(server.check().await.is_empty());
}

async fn used(server: &Server) -> i64 {
    let listed = server.mail().accounts(None).await.expect("the store works");
    listed.iter().find(|one| one.account.address.local() == "bob").expect("bob").used_bytes
}

#[tokio::test]
async fn messages() {
    let server = server(0, 2).await;
    let mut client = server.smtp(Speaks::Smtp).await;
    for _ in 0..2 {
        assert!(client.deliver("a@example.net", &["bob@example.org"], &message(10)).await.starts_with("250"));
    }
    client.expect("MAIL FROM:<a@example.net> SIZE=10", "250").await;
    client.expect("RCPT TO:<bob@example.org>", "452 4.2.2").await;
}

#[tokio::test]
async fn a_message_for_many_is_not_stored_for_some() {
    let server = server(20_000, 0).await;
    let mut client = server.smtp(Speaks::Smtp).await;
    // All share one reply, so one who may run full is taken alone.
    client.expect("MAIL FROM:<a@example.net>", "250").await;
    client.expect("RCPT TO:<eve@example.org>", "250").await;
    client.expect("RCPT TO:<bob@example.org>", "452 4.5.3").await;
    assert!(client.data(&message(30_000)).await.starts_with("250"));
    // With a size that fits there is no doubt.
    client.expect("MAIL FROM:<a@example.net> SIZE=5000", "250").await;
    client.expect("RCPT TO:<eve@example.org>", "250").await;
    client.expect("RCPT TO:<bob@example.org>", "250").await;
    assert!(client.data(&message(3_000)).await.starts_with("250"));
    // With one that was a lie, nobody gets it.
    client.expect("MAIL FROM:<a@example.net> SIZE=5000", "250").await;
    client.expect("RCPT TO:<eve@example.org>", "250").await;
    client.expect("RCPT TO:<bob@example.org>", "250").await;
    let reply = client.data(&message(30_000)).await;
    assert!(reply.starts_with("552 5.2.2"), "{reply}");
    assert_eq!(server.messages("eve@example.org", "INBOX").await.len(), 2);
    assert_eq!(server.messages("bob@example.org", "INBOX").await.len(), 1);
}

#[tokio::test]
async fn lmtp_says_it_for_each() {
    let server = server(20_000, 0).await;
    let mut client = server.smtp(Speaks::Lmtp).await;
    client.expect("MAIL FROM:<a@example.net>", "250").await;
    client.expect("RCPT TO:<eve@example.org>", "250").await;
    client.expect("RCPT TO:<nobody@example.org>", "550 5.1.1").await;
    client.expect("RCPT TO:<bob@example.org>", "250").await;
    assert!(client.data(&message(30_000)).await.starts_with("250 2.0.0"));
    let reply = client.reply().await;
    assert!(reply.starts_with("552 5.2.2"), "{reply}");
    client.expect("NOOP", "250 2.0.0 Ok").await;
    assert_eq!(server.messages("eve@example.org", "INBOX").await.len(), 1);
    assert!(server.messages("bob@example.org", "INBOX").await.is_empty());
    assert!(server.check().await.is_empty());
}

#[tokio::test]
async fn the_default_is_for_new_accounts() {
    let server = Server::start(ServerOptions::new().with(|config| {
        config.mail.quota = posthorn_config::Size::bytes(5_000);
        config.mail.quota_messages = 1;
    }))
    .await;
    server.mailbox_only("bob@example.org").await;
    let mut client = server.smtp(Speaks::Smtp).await;
    assert!(client.deliver("", &["bob@example.org"], &message(9_000)).await.starts_with("552 5.2.2"));
    assert!(client.deliver("", &["bob@example.org"], &message(10)).await.starts_with("250"));
    assert!(client.deliver("", &["bob@example.org"], &message(10)).await.starts_with("452 4.2.2"));
}
