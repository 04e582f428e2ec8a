//! Where listeners listen, and what TLS gives and refuses.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use harness::server::{Server, ServerOptions, row};
use harness::smtp_client::SmtpClient;
use harness::stream::Stream;
use harness::trace::Trace;
use posthorn_config::{ClientCertificate, Config, Endpoint, ListenAddress, Speaks};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::rows::peers;

const MESSAGE: &str = "Subject: hello\r\n\r\nHello.\r\n";

#[tokio::test]
async fn addresses_of_every_kind() {
    let options = ServerOptions::new().with(|config| {
        config.server.hostname = "of-every-kind.example".to_owned();
        let data = config.server.data.clone();
        let row = row(config, Speaks::Smtp);
        row.listen = ["127.0.0.1:0", "[::1]:0", ":0", "*:0", "[*]:0"]
            .map(|text| Endpoint::from(ListenAddress::parse(text).expect("an address")))
            .to_vec();
        let mut socket = Endpoint::from(ListenAddress::Unix(data.join("smtp.sock")));
        socket.file_mode = Some("0640".parse().expect("a mode"));
        socket.listen_backlog = Some(7);
        row.listen.push(socket);
        let mut closed = Endpoint::from(ListenAddress::parse("127.0.0.1:1").expect("an address"));
        closed.enable = false;
        row.listen.push(closed);
    });
    let server = Server::start(options).await;
    let bound: Vec<_> = server.appliance().bound().into_iter().filter(|bound| bound.speaks == Speaks::Smtp).collect();
    assert_eq!(bound.len(), 6);
    let all = server.appliance().bound();
    let is_there = |id, client: &str, port| {
        let ip: std::net::IpAddr = client.parse().expect("an address");
        all.iter().filter(|other| other.id != id).any(|other| {
            let posthorn_net::Local::Tcp(there) = &other.address else { return false };
            there.port() == port && there.is_ipv4() == ip.is_ipv4()
        })
    };
    for bound in &bound[..5] {
        let posthorn_net::Local::Tcp(address) = &bound.address else { panic!("not TCP") };
        let v6_only = address.is_ipv6();
        let mut reached = Vec::new();
        for client in ["127.0.0.1", "::1"] {
            if let Ok(stream) = tokio::net::TcpStream::connect((client, address.port())).await {
                let mut client_of = SmtpClient::over(Stream::over(stream), server.tls());
                // The kernel gives a port to both families apart: behind the other may be a listener of anybody, also of
                // ours, who greets by another name or says nothing.
                let is_own = v6_only == (client == "::1");
                let greeting =
                    tokio::time::timeout(Duration::from_secs(if is_own { 20 } else { 3 }), client_of.reply());
                let greeting = greeting.await.unwrap_or_default();
                if !is_own
                    && (!greeting.contains("of-every-kind.example") || is_there(bound.id, client, address.port()))
                {
                    continue;
                }
                assert!(greeting.starts_with("220 of-every-kind.example"), "{greeting}");
                reached.push(client);
            }
        }
        assert_eq!(reached, [if v6_only { "::1" } else { "127.0.0.1" }], "{address}");
    }
    let path = server.folder().join("smtp.sock");
    assert_eq!(std::fs::metadata(&path).expect("a socket").permissions().mode() & 0o777, 0o640);
    let mut client = SmtpClient::unix(&path, server.tls()).await;
    assert!(client.reply().await.starts_with("220 "));
    client.expect("EHLO x", "250").await;
}

#[tokio::test]
async fn internal_services_stay_internal() {
    let wide = |alter: fn(&mut Config)| async move {
        let options = ServerOptions::new().with(move |config| {
            row(config, Speaks::Lmtp).listen = vec![ListenAddress::parse("*:0").expect("an address").into()];
            alter(config);
        });
        Server::try_start(options).await.map(drop).map_err(|error| format!("{error:#}"))
    };
    let refusal = wide(|_| {}).await.expect_err("refused");
    assert!(refusal.contains("lmtp") && refusal.contains("exposed"), "{refusal}");
    let refusal = wide(|config| row(config, Speaks::Lmtp).exposed = true).await.expect_err("refused");
    assert!(refusal.contains("peer"), "{refusal}");
    wide(|config| {
        let row = row(config, Speaks::Lmtp);
        row.exposed = true;
        row.peer = peers(&["network = '10.0.0.0/8'"]);
    })
    .await
    .expect("named peers");
}

#[tokio::test]
async fn an_exposed_internal_service_is_for_its_peers() {
    let options = ServerOptions::new().with(|config| {
        let row = row(config, Speaks::Lmtp);
        row.listen = vec![ListenAddress::parse("*:0").expect("an address").into()];
        row.exposed = true;
        row.peer = peers(&["network = '127.0.0.2'\nproxy_protocol = true", "network = '192.0.2.0/24'"]);
    });
    let server = Server::start(options).await;
    let port = server.port(Speaks::Lmtp);
    for (client, let_in) in [("192.0.2.1", true), ("198.51.100.1", false)] {
        let mut session = crate::rows::client_from(&server, 2, port).await;
        session.stream.send(format!("PROXY TCP4 {client} 127.0.0.1 4711 24\r\n")).await;
        let greeting = session.reply().await;
        assert!(greeting.starts_with(if let_in { "220 " } else { "554 5.7.1" }), "{client}: {greeting}");
    }
}

#[tokio::test]
async fn the_name_that_is_asked_for_chooses_the_certificate() {
    let key = rcgen::KeyPair::generate().expect("a key");
    let parameters = rcgen::CertificateParams::new(vec!["mail.example.com".to_owned()]).expect("parameters");
    let certificate = parameters.self_signed(&key).expect("a certificate").pem();
    let trusted = posthorn_net::client_config(certificate.as_bytes()).expect("usable");
    let options = ServerOptions::new().with(move |config| {
        let (chain, secret) = (config.server.data.join("second.pem"), config.server.data.join("second.key"));
        std::fs::write(&chain, certificate).expect("written");
        std::fs::write(&secret, key.serialize_pem()).expect("written");
        let second = posthorn_config::Certificate { names: Vec::new(), certificate: chain, key: secret };
        config.tls.certificates.push(second);
    });
    let server = Server::start(options).await;
    let to = ("127.0.0.1", server.port(Speaks::Imaps));
    assert!(posthorn_net::dial_tls(to, "mail.example.com", &trusted).await.is_ok());
    assert!(posthorn_net::dial_tls(to, "localhost", &trusted).await.is_err());
    assert!(posthorn_net::dial_tls(to, "localhost", server.tls()).await.is_ok());
    assert!(posthorn_net::dial_tls(to, "mail.example.com", server.tls()).await.is_err());
}

#[tokio::test]
async fn bytes_behind_starttls_end_the_session() {
    let trace = Trace::listen();
    let server = Server::start(ServerOptions::new()).await;
    server.mailbox_only("bob@example.org").await;
    for speaks in [Speaks::Smtp, Speaks::Submission] {
        let mut client = server.smtp(speaks).await;
        client.stream.send("STARTTLS\r\nMAIL FROM:<evil@example.net>\r\nRCPT TO:<bob@example.org>\r\n").await;
        let first = client.reply().await;
        assert!(first.is_empty() || first.starts_with("220"), "{first}");
        assert_eq!(client.reply().await, "");
    }
    let mut imap = server.imap_plain().await;
    imap.stream.send("a STARTTLS\r\nb LOGIN x y\r\n").await;
    while let Some(line) = imap.line().await {
        assert!(!line.starts_with(b"b "), "the injected command was answered");
    }
    let log = trace.text();
    assert!(log.contains("BytesBehindStartTls") || log.contains("bytes behind STARTTLS"), "{log}");
}

#[tokio::test]
async fn what_was_said_before_tls_is_forgotten() {
    let server = Server::start(ServerOptions::new()).await;
    server.mailbox_only("bob@example.org").await;
    let mut client = server.smtp(Speaks::Smtp).await;
    client.expect("MAIL FROM:<a@example.net>", "250").await;
    client.expect("STARTTLS", "503 5.5.1").await;
    client.expect("RSET", "250").await;
    client.expect("STARTTLS", "220").await;
    let stream = client.stream.secure(server.tls()).await;
    let mut client = SmtpClient::over(stream, server.tls());
    client.expect("MAIL FROM:<a@example.net>", "503 5.5.1").await;
    client.expect("EHLO x", "250").await;
    client.expect("STARTTLS", "503 5.5.1").await;
}

/// An authority, and a client's certificate of it.
struct Papers {
    authority: String,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

fn papers(name: &str) -> Papers {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
    let authority = parameters.self_signed(&key).expect("an authority");
    let issuer = rcgen::Issuer::new(parameters, key);
    let client_key = rcgen::KeyPair::generate().expect("a key");
    let mut parameters = rcgen::CertificateParams::new(vec!["client.example.net".to_owned()]).expect("parameters");
    parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
    parameters.extended_key_usages.push(rcgen::ExtendedKeyUsagePurpose::ClientAuth);
    let certificate = parameters.signed_by(&client_key, &issuer).expect("a certificate");
    Papers {
        authority: authority.pem(),
        certificate: certificate.der().clone(),
        key: PrivateKeyDer::from_pem_slice(client_key.serialize_pem().as_bytes()).expect("a key"),
    }
}

fn with_certificate(server: &Server, papers: &Papers) -> Arc<rustls::ClientConfig> {
    let config = server.config();
    let pem = std::fs::read(config.tls.pair(&config.server.data).certificate).expect("readable");
    let mut roots = rustls::RootCertStore::empty();
    for der in CertificateDer::pem_slice_iter(&pem) {
        roots.add(der.expect("a certificate")).expect("usable");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let builder = builder.with_root_certificates(roots);
    Arc::new(builder.with_client_auth_cert(vec![papers.certificate.clone()], papers.key.clone_key()).expect("usable"))
}

async fn asking(papers: &Papers, how: ClientCertificate) -> Server {
    let authority = papers.authority.clone();
    let options = ServerOptions::new().with(move |config| {
        let path = config.server.data.join("authority.pem");
        std::fs::write(&path, authority).expect("written");
        config.tls.client_ca = Some(path);
        row(config, Speaks::Smtp).client_certificate = how;
    });
    let server = Server::start(options).await;
    server.mailbox_only("bob@example.org").await;
    server
}

#[tokio::test]
async fn a_clients_certificate_is_in_the_trace() {
    let ours = papers("relay one");
    let theirs = papers("impostor");
    let trace = Trace::listen();
    let server = asking(&ours, ClientCertificate::Optional).await;
    let mut taken = Vec::new();
    for config in [with_certificate(&server, &ours), with_certificate(&server, &theirs), Arc::clone(server.tls())] {
        let mut client = SmtpClient::over(server.smtp(Speaks::Smtp).await.stream, &config);
        client.hello("EHLO").await;
        let mut client = client.starttls().await;
        assert!(client.deliver("", &["bob@example.org"], MESSAGE).await.starts_with("250"));
        taken.push(trace.text().lines().rfind(|line| line.contains("message taken")).expect("a line").to_owned());
    }
    assert!(taken[0].contains(r#"tls.client_certificate="CN=relay one""#), "{}", taken[0]);
    assert!(taken[0].contains(r#"tls.version="TLSv1.3""#), "{}", taken[0]);
    for untrusted in &taken[1..] {
        assert!(!untrusted.contains("tls.client_certificate"), "{untrusted}");
    }
}

#[tokio::test]
async fn a_required_certificate_is_required() {
    let ours = papers("relay one");
    let server = asking(&ours, ClientCertificate::Required).await;
    let config = with_certificate(&server, &ours);
    let mut client = SmtpClient::over(server.smtp(Speaks::Smtp).await.stream, &config);
    client.hello("EHLO").await;
    client.starttls().await.expect("NOOP", "250").await;
    for config in [with_certificate(&server, &papers("impostor")), Arc::clone(server.tls())] {
        let mut client = server.smtp(Speaks::Smtp).await;
        client.expect("STARTTLS", "220").await;
        // In TLS 1.3 the client learns of it with its first words.
        if let Ok(stream) = client.stream.try_secure(&config).await {
            let mut client = SmtpClient::over(stream, &config);
            let _closed = client.stream.try_send("EHLO x\r\n").await;
            assert_eq!(client.reply().await, "");
        }
    }
}

#[tokio::test]
async fn a_new_certificate_is_used_without_a_restart() {
    let server = Server::start(ServerOptions::new()).await;
    let old = Arc::clone(server.tls());
    let pair = server.config().tls.pair(&server.config().server.data);
    let key = rcgen::KeyPair::generate().expect("a key");
    let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    let certificate = parameters.self_signed(&key).expect("a certificate");
    std::fs::write(&pair.key, key.serialize_pem()).expect("written");
    std::fs::write(&pair.certificate, certificate.pem()).expect("written");
    let new = posthorn_net::client_config(certificate.pem().as_bytes()).expect("usable");
    let began = std::time::Instant::now();
    loop {
        let stream = Stream::tcp(server.port(Speaks::Submissions)).await;
        if stream.try_secure(&new).await.is_ok() {
            break;
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "the old one is still shown");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert!(Stream::tcp(server.port(Speaks::Submissions)).await.try_secure(&old).await.is_err());
}
