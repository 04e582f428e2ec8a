//! SCRAM-SHA-256 and -PLUS from end to end (RFC 5802, RFC 7677, RFC 9266).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use harness::server::{Server, ServerOptions};
use harness::smtp_client::SmtpClient;
use posthorn_config::Speaks;
use posthorn_sasl::Secret;
use posthorn_sasl::client::{Binding, Scram};

async fn server() -> Server {
    let server = Server::start(ServerOptions::new()).await;
    server.account("bob@example.org", "right horse").await;
    server
}

fn decoded(reply: &str) -> Vec<u8> {
    BASE64.decode(reply.strip_prefix("334 ").unwrap_or_else(|| panic!("no challenge: {reply}"))).expect("base64")
}

/// The reply to the proof, after the server's own proof was checked.
async fn log_in(client: &mut SmtpClient, user: &str, password: &str, binding: Binding<'_>) -> String {
    let mut scram = Scram::new(user, Secret::new(password.to_owned()), binding, [7; 18]).expect("a name");
    let begin = format!("AUTH {} {}", scram.mechanism().name(), BASE64.encode(scram.first()));
    let first = client.ask(&begin).await;
    if !first.starts_with("334") {
        return first;
    }
    let last = client.ask(&BASE64.encode(scram.respond(&decoded(&first)).expect("a fair challenge"))).await;
    if !last.starts_with("334") {
        return last;
    }
    scram.confirm(&decoded(&last)).expect("the server knows the keys");
    client.ask("").await
}

#[tokio::test]
async fn without_binding() {
    let server = server().await;
    // A client that cannot bind at all.
    let mut client = server.smtp(Speaks::Submissions).await;
    let reply = log_in(&mut client, "bob@example.org", "right horse", Binding::Unsupported).await;
    assert!(reply.starts_with("235 2.7.0"), "{reply}");
    client.expect("MAIL FROM:<bob@example.org>", "250").await;
    // One that could, but believes that it was not offered: somebody took it out of the list.
    let mut client = server.smtp(Speaks::Submissions).await;
    let reply = log_in(&mut client, "bob@example.org", "right horse", Binding::NotOffered).await;
    assert!(reply.starts_with("535 5.7.8"), "{reply}");
}

#[tokio::test]
async fn bound_to_the_session() {
    let server = server().await;
    for starttls in [false, true] {
        let mut client = if starttls {
            server.smtp(Speaks::Submission).await.starttls().await
        } else {
            server.smtp(Speaks::Submissions).await
        };
        let value = client.stream.channel_binding.clone().expect("TLS 1.3");
        let reply = log_in(&mut client, "bob@example.org", "right horse", Binding::Exporter(&value)).await;
        assert!(reply.starts_with("235 2.7.0"), "{reply}");
        // Somebody in between has another session.
        let mut client = server.smtp(Speaks::Submissions).await;
        let reply = log_in(&mut client, "bob@example.org", "right horse", Binding::Exporter(&[1; 32])).await;
        assert!(reply.starts_with("535 5.7.8"), "{reply}");
    }
}

#[tokio::test]
async fn wrong_and_unknown_sound_the_same() {
    let server = server().await;
    let mut replies = Vec::new();
    for (user, password) in [("bob@example.org", "wrong"), ("nobody@example.org", "wrong"), ("no address", "wrong")] {
        let mut client = server.smtp(Speaks::Submissions).await;
        replies.push(log_in(&mut client, user, password, Binding::Unsupported).await);
    }
    assert!(replies[0].starts_with("535 5.7.8"), "{replies:?}");
    assert!(replies.iter().all(|reply| *reply == replies[0]), "{replies:?}");
    // The salt of somebody unknown stays the same, as a known one's does.
    let mut salts = Vec::new();
    for _ in 0..2 {
        let mut client = server.smtp(Speaks::Submissions).await;
        let first = BASE64.encode("n,,n=nobody@example.org,r=abcdefghijkl");
        let challenge = decoded(&client.ask(&format!("AUTH SCRAM-SHA-256 {first}")).await);
        salts.push(String::from_utf8(challenge).expect("text").split_once(",s=").expect("a salt").1.to_owned());
    }
    assert_eq!(salts[0], salts[1]);
}

#[tokio::test]
async fn tls_that_cannot_bind_is_not_offered_plus() {
    let server = server().await;
    let pem = std::fs::read(server.config().tls.pair(&server.config().server.data).certificate).expect("readable");
    let mut roots = rustls::RootCertStore::empty();
    for der in <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::pem_slice_iter(&pem) {
        roots.add(der.expect("a certificate")).expect("usable");
    }
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS12]).expect("TLS 1.2");
    let old = std::sync::Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
    for speaks in [Speaks::Submission, Speaks::Submissions] {
        let mut client = SmtpClient::raw(server.port(speaks), &old).await;
        if speaks == Speaks::Submission {
            client.reply().await;
            client.hello("EHLO").await;
            client.expect("STARTTLS", "220").await;
        }
        let mut client = SmtpClient::over(client.stream.secure(&old).await, &old);
        if speaks == Speaks::Submissions {
            client.reply().await;
        }
        let offered = client.hello("EHLO").await;
        assert!(offered.iter().any(|line| line == "AUTH SCRAM-SHA-256 PLAIN LOGIN"), "{speaks:?} {offered:?}");
        let reply = log_in(&mut client, "bob@example.org", "right horse", Binding::NotOffered).await;
        assert!(reply.starts_with("235"), "{reply}");
    }
}
