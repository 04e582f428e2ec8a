//! Port 25: mail from other servers (RFC 5321), for our own people alone.

use harness::server::{Server, ServerOptions};
use posthorn_config::Speaks;

const MESSAGE: &str = "From: a@example.net\r\nSubject: hello\r\n\r\nHello.\r\n";

#[tokio::test]
async fn a_message_is_stored_before_its_250() {
    let server = Server::start(ServerOptions::new()).await;
    server.mailbox_only("bob@example.org").await;
    let mut client = server.smtp(Speaks::Smtp).await;
    let reply = client.deliver("a@example.net", &["bob@example.org"], MESSAGE).await;
    assert!(reply.starts_with("250 2.0.0"), "{reply}");
    let stored = server.messages("bob@example.org", "INBOX").await;
    assert_eq!(stored.len(), 1);
    assert!(stored[0].ends_with(MESSAGE.as_bytes()));
    assert_eq!(server.check().await.len(), 0);
}
