//! A running appliance takes another configuration: sessions go on, new ones meet it, and what cannot be used changes
//! nothing.

use std::time::{Duration, Instant};

use harness::server::{Server, ServerOptions, listener, row};
use harness::smtp_client::SmtpClient;
use posthorn_config::{Config, FilterPoints, FilterRule, ListenAddress, Listener, Size, Speaks};

const MESSAGE: &str = "Subject: hello\r\n\r\nHello.\r\n";

async fn server() -> Server {
    let server = Server::start(ServerOptions::new()).await;
    server.account("bob@example.org", "right horse").await;
    server
}

/// What `SIZE` a client is offered.
async fn size(client: &mut SmtpClient) -> String {
    let hello = client.hello("EHLO").await;
    hello.iter().find_map(|line| line.strip_prefix("SIZE ")).expect("SIZE").to_owned()
}

fn altered(server: &Server, alter: impl FnOnce(&mut Config)) -> Config {
    let mut config = server.appliance().config().clone();
    alter(&mut config);
    config
}

#[tokio::test]
async fn sessions_go_on_and_new_ones_meet_the_new_configuration() {
    let mut server = server().await;
    let mut imap = server.imap().await;
    imap.login("bob@example.org", "right horse").await;
    imap.ok("SELECT INBOX").await;
    let mut old = server.greeted(Speaks::Smtp).await;
    let before = size(&mut old).await;
    old.expect("MAIL FROM:<a@example.com>", "250").await;

    let next = altered(&server, |config| {
        config.mail.max_message_size = Size::mebibytes(3);
        config.smtp.banner = "renewed".to_owned();
    });
    let ports = server.appliance().bound();
    let reloaded = server.appliance_mut().reload(&next).await.expect("reloaded");
    assert_eq!(reloaded.changed, ["mail.max_message_size", "smtp.banner"]);
    assert!(reloaded.restart.is_empty(), "{reloaded:?}");
    assert_eq!((reloaded.endpoints.opened, reloaded.endpoints.closed), (0, 0));
    assert_eq!(server.appliance().bound(), ports, "no socket moved");

    // The transaction that was open ends as it began.
    old.expect("RCPT TO:<bob@example.org>", "250").await;
    assert!(old.data(MESSAGE).await.starts_with("250 "));
    assert_eq!(size(&mut old).await, before);
    let mut new = SmtpClient::raw(server.port(Speaks::Smtp), server.tls()).await;
    let greeting = new.reply().await;
    assert!(greeting.contains("renewed"), "{greeting}");
    assert_eq!(size(&mut new).await, (3 << 20).to_string());
    assert!(new.deliver("a@example.com", &["bob@example.org"], MESSAGE).await.starts_with("250 "));
    // The session from before sees what either of them delivered.
    let seen = imap.ok("NOOP").await;
    assert!(seen.find("2 EXISTS").is_some(), "{:?}", seen.lines());
    assert_eq!(server.messages("bob@example.org", "INBOX").await.len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_used_changes_nothing() {
    let mut server = server().await;
    let before = server.appliance().bound();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = ListenAddress::Tcp(taken.local_addr().expect("an address"));
    for (what, next) in [
        ("a certificate", altered(&server, |config| config.tls.certificate = Some("/nowhere/a.pem".into()))),
        ("a port", altered(&server, |config| config.listener.push(Listener::new("new", Speaks::Smtp, [address])))),
        ("a secret", altered(&server, |config| config.srs.secret = Some("/nowhere/secret".into()))),
    ] {
        let next = Config { smtp: posthorn_config::Smtp { banner: "never".to_owned(), ..next.smtp.clone() }, ..next };
        let error = server.appliance_mut().reload(&next).await.expect_err(what);
        assert!(!error.to_string().is_empty());
        assert_eq!(server.appliance().bound(), before, "{what}");
        assert_ne!(server.appliance().config().smtp.banner, "never", "{what}");
        let mut client = SmtpClient::raw(server.port(Speaks::Smtp), server.tls()).await;
        assert!(!client.reply().await.contains("never"), "{what}");
        client.hello("EHLO").await;
        assert!(client.deliver("a@example.com", &["bob@example.org"], MESSAGE).await.starts_with("250 "), "{what}");
    }
    assert!(server.appliance().courier().is_at_work());
    server.stop().await;
}

#[tokio::test]
async fn listeners_come_go_and_move_and_their_sessions_stay() {
    let mut server = server().await;
    let mut session = server.smtp(Speaks::Submission).await;
    let gone = server.port(Speaks::Submission);
    let next = altered(&server, |config| {
        config.listener.retain(|row| row.speaks != Speaks::Submission);
        config.listener.push(Listener { name: "second".to_owned(), ..listener(Speaks::Smtp) });
        row(config, Speaks::Imap).enable = false;
    });
    let reloaded = server.appliance_mut().reload(&next).await.expect("reloaded");
    assert_eq!((reloaded.endpoints.opened, reloaded.endpoints.closed), (1, 2), "{reloaded:?}");
    assert!(std::net::TcpStream::connect(("127.0.0.1", gone)).is_err(), "it is closed");
    session.expect("NOOP", "250").await;
    let mut second = SmtpClient::raw(server.port_of("second"), server.tls()).await;
    assert!(second.reply().await.starts_with("220 "));
    // Back again: the configuration before, on sockets of its own.
    let next = altered(&server, |config| {
        config.listener.retain(|row| row.name != "second");
        config.listener.push(listener(Speaks::Submission));
        row(config, Speaks::Imap).enable = true;
    });
    server.appliance_mut().reload(&next).await.expect("reloaded");
    server.imap_plain().await;
    assert!(server.greeted(Speaks::Submission).await.ask("NOOP").await.starts_with("250"));
    session.expect("NOOP", "250").await;
    second.expect("NOOP", "250").await;
    server.stop().await;
}

#[tokio::test]
async fn one_address_becomes_all_and_one_again_in_one_reload() {
    let mut server = server().await;
    let port = server.port(Speaks::Smtp);
    let mut session = server.smtp(Speaks::Smtp).await;
    for address in [format!("0.0.0.0:{port}"), format!("127.0.0.1:{port}")] {
        let address = ListenAddress::parse(&address).expect("an address");
        let next = altered(&server, |config| row(config, Speaks::Smtp).listen = vec![address.clone().into()]);
        server.appliance_mut().reload(&next).await.expect("reloaded");
        assert_eq!(server.port(Speaks::Smtp), port);
        assert!(SmtpClient::raw(port, server.tls()).await.reply().await.starts_with("220 "), "{address}");
        session.expect("NOOP", "250").await;
    }
    server.stop().await;
}

#[tokio::test]
async fn another_certificate_reaches_new_handshakes_alone() {
    let mut server = server().await;
    let mut session = server.imap().await;
    session.login("bob@example.org", "right horse").await;
    let folder = server.folder().join("other");
    let other = posthorn_config::Tls::default().pair(&folder);
    // Another server of the same name makes one.
    let next = altered(&server, |config| {
        config.tls.certificate = Some(other.certificate.clone());
        config.tls.key = Some(other.key.clone());
    });
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::create_dir_all(folder.join("tls")).expect("made");
    std::fs::write(&other.certificate, made.cert.pem()).expect("written");
    std::fs::write(&other.key, made.signing_key.serialize_pem()).expect("written");
    server.appliance_mut().reload(&next).await.expect("reloaded");
    let trusts_new = posthorn_net::client_config(made.cert.pem().as_bytes()).expect("authorities");
    let mut new = harness::imap_client::ImapClient::secure(server.port(Speaks::Imaps), &trusts_new).await;
    new.login("bob@example.org", "right horse").await;
    session.ok("NOOP").await;
    server.stop().await;
}

/// The status field of the last message.
async fn status(server: &Server) -> String {
    let stored = server.messages("bob@example.org", "INBOX").await.pop().expect("a message");
    let text = String::from_utf8(stored).expect("text").replace("\r\n\t", " ");
    text.lines().find(|line| line.starts_with("X-Spam-Status: ")).expect("a status").to_owned()
}

#[tokio::test]
async fn rules_of_the_filter_come_change_and_go() {
    const OWL: &str = "From: a@example.com\r\nSubject: hello\r\n\r\nA marble owl.\r\n";
    let mut server = Server::start(ServerOptions::new().with(|config| {
        config.filter.enable = true;
        config.filter.levels.tag = FilterPoints::thousandths(-100_000);
    }))
    .await;
    server.account("bob@example.org", "right horse").await;
    let mut old = server.smtp(Speaks::Smtp).await;
    assert!(old.deliver("a@example.com", &["bob@example.org"], OWL).await.starts_with("250 "));
    assert!(!status(&server).await.contains("OWL"));
    let rule = |points| FilterRule {
        name: "OWL".to_owned(),
        points: FilterPoints::thousandths(points),
        body: Some("(?i)marble owl".to_owned()),
        ..FilterRule::default()
    };
    // One of its own; the same with other points, in a second session; and none again.
    for (rules, said) in
        [(vec![rule(1500)], Some("OWL=1.5")), (vec![rule(-250)], Some("OWL=-0.25")), (Vec::new(), None)]
    {
        let next = altered(&server, |config| config.filter.rule = rules);
        let reloaded = server.appliance_mut().reload(&next).await.expect("reloaded");
        assert_eq!(reloaded.changed, ["filter.rule"]);
        let mut new = server.smtp(Speaks::Smtp).await;
        assert!(new.deliver("a@example.com", &["bob@example.org"], OWL).await.starts_with("250 "));
        let found = status(&server).await;
        assert!(said.map_or(!found.contains("OWL"), |said| found.contains(said)), "{said:?}: {found}");
        // Who was there before is judged as it was then.
        assert!(old.deliver("a@example.com", &["bob@example.org"], OWL).await.starts_with("250 "));
        assert!(!status(&server).await.contains("OWL"));
    }
    server.stop().await;
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_stays() {
    let mut server = server().await;
    let running = server.appliance().config().clone();
    let next = altered(&server, |config| {
        config.database.connections += 3;
        config.log.format = posthorn_config::LogFormat::Json;
        config.smtp.banner = "renewed".to_owned();
    });
    let reloaded = server.appliance_mut().reload(&next).await.expect("reloaded");
    assert_eq!(reloaded.restart, ["database.connections", "log.format"]);
    let now = server.appliance().config();
    assert_eq!((&now.database, now.log), (&running.database, running.log));
    assert_eq!(now.smtp.banner, "renewed");
    server.stop().await;
}

#[tokio::test]
async fn the_courier_and_the_engines_are_relieved_while_mail_flows() {
    let mut server = server().await;
    let (port, tls) = (server.port(Speaks::Smtp), server.tls().clone());
    let load = tokio::spawn(async move {
        let (began, mut taken) = (Instant::now(), 0_usize);
        while began.elapsed() < Duration::from_secs(4) {
            let mut client = SmtpClient::raw(port, &tls).await;
            let greeting = client.reply().await;
            assert!(greeting.starts_with("220 "), "{greeting}");
            client.hello("EHLO").await;
            for _ in 0..5 {
                let reply = client.deliver("a@example.com", &["bob@example.org"], MESSAGE).await;
                assert!(reply.starts_with("250 "), "{reply}");
                taken += 1;
            }
        }
        taken
    });
    let first = server.appliance().courier();
    for round in 0..8_u32 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let next = altered(&server, |config| {
            config.delivery.options.connections = Some(5 + round);
            config.policy.fail_open = round % 2 == 1;
        });
        server.appliance_mut().reload(&next).await.expect("reloaded");
    }
    let taken = load.await.expect("every connection was served");
    assert!(taken > 0);
    assert!(!first.is_at_work(), "the first courier ended");
    assert!(server.appliance().courier().is_at_work());
    assert_eq!(server.messages("bob@example.org", "INBOX").await.len(), taken, "what was accepted is there");
    server.stop().await;
}
