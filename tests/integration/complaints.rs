//! Complaints that come back (RFC 5965), and servers that share a database but not their keys.

use chrono::Utc;
use harness::postgres::database;
use harness::server::{Server, ServerOptions};
use posthorn_config::{Config, Speaks};
use posthorn_mail::trace::TraceOf;
use posthorn_model::Domain;
use posthorn_trust::KeyType;

const MESSAGE: &str = "From: bob@example.org\r\nSubject: hello\r\nMessage-ID: <m1@example.org>\r\n\r\nHello.\r\n";

async fn server(verp: bool) -> Server {
    let nowhere = move |config: &mut Config| {
        config.route = toml::from_str::<Config>("[[route]]\nto = \"smtp://127.0.0.1:1\"").expect("a route").route;
        config.queue.options.verp = Some(verp);
    };
    let server = Server::start(ServerOptions::new().with(nowhere)).await;
    server.account("bob@example.org", "right horse").await;
    let mut client = server.smtp(Speaks::Submissions).await;
    assert!(client.login("bob@example.org", "right horse").await.starts_with("235 "));
    assert!(client.deliver("bob@example.org", &["x@example.net", "y@example.net"], MESSAGE).await.starts_with("250 "));
    server
}

/// A complaint; `who` complained, if the provider tells.
fn complaint(kind: &str, who: Option<&str>, message_id: &str) -> String {
    let who = who.map(|who| format!("Original-Rcpt-To: <{who}>\r\n")).unwrap_or_default();
    format!(
        "From: feedback@provider.example\r\nSubject: complaint\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nThis is a complaint.\r\n\
         --b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: {kind}\r\nUser-Agent: Test/1\r\n\
         Version: 1\r\n{who}\r\n\
         --b\r\nContent-Type: message/rfc822\r\n\r\nFrom: bob@example.org\r\nMessage-ID: <{message_id}>\r\n\r\nHello.\r\n--b--\r\n"
    )
}

async fn suppressed(server: &Server) -> Vec<String> {
    let known = server.mail().suppressions(None, "", 10).await.expect("works");
    known.into_iter().map(|entry| format!("{} {}: {}", entry.sender_domain, entry.recipient, entry.reason)).collect()
}

async fn kinds(server: &Server) -> Vec<String> {
    server.mail().store().chronicle().flush().await;
    let traces = server.mail().trace(&TraceOf::Header("m1@example.org".to_owned()), 10).await.expect("works");
    traces.into_iter().flat_map(|trace| trace.entries).map(|entry| entry.kind.into_owned()).collect()
}

#[tokio::test]
async fn who_complains_gets_no_more_mail() {
    let server = server(false).await;
    let mut client = server.smtp(Speaks::Smtp).await;
    for (from, report) in [
        // About nobody whom we wrote to, about nothing that we wrote, and what is no complaint.
        ("fbl@provider.example", complaint("abuse", Some("victim@example.net"), "m1@example.org")),
        ("fbl@provider.example", complaint("abuse", Some("x@example.net"), "other@example.org")),
        ("fbl@provider.example", complaint("abuse", None, "m1@example.org")),
        ("fbl@provider.example", complaint("not-spam", Some("y@example.net"), "m1@example.org")),
    ] {
        assert!(client.deliver(from, &["bob@example.org"], &report).await.starts_with("250 "));
    }
    assert_eq!(suppressed(&server).await, [""; 0]);
    let report = complaint("abuse", Some("X@example.net"), "m1@example.org");
    assert!(client.deliver("fbl@provider.example", &["bob@example.org"], &report).await.starts_with("250 "));
    assert_eq!(suppressed(&server).await, ["example.org x@example.net: the recipient complained (abuse)"]);
    assert!(kinds(&server).await.iter().any(|kind| kind == "complained"));
    assert_eq!(server.messages("bob@example.org", "INBOX").await.len(), 5, "they are there to be read");
    let mut client = server.smtp(Speaks::Submissions).await;
    assert!(client.login("bob@example.org", "right horse").await.starts_with("235 "));
    client.expect("MAIL FROM:<bob@example.org>", "250").await;
    client.expect("RCPT TO:<x@example.net>", "550").await;
    client.expect("RCPT TO:<y@example.net>", "250").await;
    server.stop().await;
}

#[tokio::test]
async fn a_return_path_tells_who_complained() {
    let server = server(true).await;
    let all = server.mail().queue().list(&posthorn_mail::queue::Selection::default(), None, 10).await.expect("works");
    let entry = all.iter().find(|entry| entry.delivery.recipient == "y@example.net").expect("queued");
    let path = entry.outgoing.sender.clone().expect("a return path");
    let mut client = server.smtp(Speaks::Smtp).await;
    let report = complaint("abuse", None, "unknown@example.org");
    assert!(client.deliver("fbl@provider.example", &[&path], &report).await.starts_with("250 "));
    assert_eq!(suppressed(&server).await, ["example.org y@example.net: the recipient complained (abuse)"]);
    server.stop().await;
}

#[tokio::test]
async fn servers_that_share_a_database_share_the_master_key() {
    let database = database(posthorn_store::migrate).await;
    let url = database.url.clone();
    let first = Server::start(ServerOptions::new().on(&url)).await;
    let domain = Domain::parse("example.org").expect("a domain");
    let key = first.folder().join("data/dkim.key");
    let key = if key.exists() { key } else { first.config().server.data.join("dkim.key") };
    let octets = std::fs::read(&key).expect("a master key");
    // Nothing is sealed yet: another key is taken with a warning.
    let second = Server::start(ServerOptions::new().on(&url)).await;
    second.stop().await;
    let made = first.mail().create_dkim_keys(&domain, &[KeyType::Ed25519], None, Utc::now()).await.expect("works");
    assert!(made.is_ok_and(|made| made.len() == 1));
    first.stop().await;
    // Sealed with the first one's: a server with another key says so, and does not start.
    let refused = Server::try_start(ServerOptions::new().on(&url)).await;
    let text = format!("{:#}", refused.err().expect("refused"));
    assert!(text.contains("dkim.master_key") && text.contains("1 DKIM key"), "{text}");
    let folder = tempfile::tempdir().expect("a folder");
    let shared = folder.path().join("shared.key");
    std::fs::write(&shared, octets).expect("written");
    let third =
        Server::start(ServerOptions::new().on(&url).with(move |config| config.dkim.master_key = Some(shared))).await;
    third.stop().await;
}
