//! Days on which everything around goes wrong: what waits, what is said about it, and that it comes right again.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use harness::dns::DnsServer;
use harness::postgres::database;
use harness::server::{Server, ServerOptions, row};
use harness::smtp_client::SmtpClient;
use posthorn_config::{Config, Peer, PeerOptions, Span, Speaks};
use posthorn_mail::envelope::{Envelope, Recipient, Source};
use posthorn_mail::queue::Selection;
use posthorn_model::Address;
use posthorn_net::Roots;
use posthorn_net::dns::DnsOptions;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::watch;

use crate::cable::Cable;
use crate::office::{Office, Setup, until};
use crate::receiver::{Receiver, said};

fn route(text: &str) -> Vec<posthorn_config::Route> {
    toml::from_str::<Config>(&format!("[[route]]\n{text}\n")).expect("a route").route
}

/// The detail of the first entry of this kind about this recipient.
async fn told(office: &Office, kind: &str, recipient: &str) -> String {
    let trace = office.trace().await;
    let found = trace.into_iter().find(|(_, what, detail)| what == kind && detail.contains(recipient));
    found.unwrap_or_else(|| panic!("nothing is {kind} for {recipient}")).2
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_dns_mail_waits_and_nothing_bounces() {
    let receiver = Receiver::willing().await;
    let dns = DnsServer::start().await;
    dns.zone("example", "mx A 127.0.0.1\none MX 10 mx\n").zone("example.net", "@ MX 10 mx.example.\n");
    dns.down(true);
    let options = DnsOptions { timeout: Duration::from_millis(50), attempts: 1, ..dns.options() };
    let mut office = Office::asking(options, receiver.port, |config| config.route.clear()).await;
    office.send(&["a@one.example"]).await;
    // The first try, and those after 20, 60, 140 and 240 minutes: after four hours the sender is told.
    for (attempts, minutes) in [20, 40, 80, 100, 320].into_iter().enumerate() {
        office.settled().await;
        let rows = office.rows().await;
        let row = rows.iter().find(|row| row.0 == "a@one.example").expect("it waits");
        assert_eq!((row.1, row.4), (attempts as i32 + 1, minutes), "{rows:?}");
        assert!(row.2.starts_with("450 4.4.3 "), "{rows:?}");
        if minutes < 320 {
            office.step(TimeDelta::minutes(minutes)).await;
            until("another try", async || {
                office.rows().await.iter().any(|row| row.0 == "a@one.example" && row.1 > attempts as i32 + 1)
            })
            .await;
        }
    }
    assert_eq!(office.rows().await.len(), 2, "the mail, and a word about its delay that cannot leave either");
    assert!(told(&office, "deferred", "a@one.example").await.contains("4.4.3"));
    assert!(office.trace().await.iter().all(|(_, kind, _)| kind != "failed" && kind != "expired"));
    assert_eq!(receiver.connections(), 0);

    dns.down(false);
    // What the DNS failed to say is believed for some seconds of the world's time; a new courier believes nothing.
    office.courier.take().expect("it runs").stop(Duration::from_secs(5)).await;
    office.dns = dns.options();
    office.courier = Some(office.start().await);
    office.step(TimeDelta::minutes(320)).await;
    until("both are delivered", async || office.rows().await.is_empty()).await;
    let messages = receiver.messages();
    assert_eq!((messages.len(), said(&messages, "a@one.example").len()), (2, 1));
    assert!(said(&messages, "sender@example.net")[0].octets.contains("Action: delayed"));
    office.stop().await;
}

/// A server that sends everything to this port, and takes mail for others from everybody on loopback.
fn relaying(port: u16) -> ServerOptions {
    ServerOptions::new().with(move |config| {
        config.route = route(&format!("to = 'smtp://127.0.0.1:{port}'"));
        let options = PeerOptions { relay: Some(true), ..PeerOptions::default() };
        let network = "127.0.0.0/8".parse().expect("a network");
        row(config, Speaks::Smtp).peer = vec![Peer { network, sessions: None, options }];
    })
}

async fn deliver(client: &mut SmtpClient, number: u32) -> String {
    let message = format!("Subject: {number}\r\nMessage-ID: <{number}@example.net>\r\n\r\nHello.\r\n");
    client.deliver("s@example.net", &[&format!("u{number}@one.example")], &message).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_postgresql_clients_are_put_off_and_what_was_sent_is_not_sent_again() {
    let receiver = Receiver::new("PIPELINING", |line, _| line.starts_with(". ").then(|| "wait".to_owned())).await;
    let database = database(posthorn_store::migrate).await;
    let cable = Cable::to(&database);
    let server = Server::start(relaying(receiver.port).on(&cable.url)).await;
    let (mut first, mut second) = (server.smtp(Speaks::Smtp).await, server.smtp(Speaks::Smtp).await);
    let reply = deliver(&mut first, 1).await;
    assert!(reply.starts_with("250 2.0.0"), "{reply}");
    until("it is on the wire", async || receiver.seen.commands.lock().iter().any(|line| line == "DATA")).await;

    // Of what was under way when the connection went nobody knows the outcome: the client must try again.
    second.expect("MAIL FROM:<s@example.net>", "250").await;
    second.expect("RCPT TO:<u2@one.example>", "250").await;
    second.expect("DATA", "354").await;
    cable.freeze();
    second.stream.send("Subject: 2\r\n\r\nHello.\r\n.\r\n").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    cable.cut();
    let reply = second.reply().await;
    assert!(reply.starts_with("451 4.3.0"), "{reply}");

    // The same where it was stored, which the server cannot know; it leaves, and the client may send it again.
    cable.mend();
    let mut number = 100;
    until("the database is at hand again", async || {
        number += 1;
        deliver(&mut server.smtp(Speaks::Smtp).await, number).await.starts_with("250")
    })
    .await;
    let mut third = server.smtp(Speaks::Smtp).await;
    third.expect("MAIL FROM:<s@example.net>", "250").await;
    third.expect("RCPT TO:<u4@one.example>", "250").await;
    third.expect("DATA", "354").await;
    cable.mute_behind(b"m4@example.net");
    third.stream.send("Subject: 4\r\nMessage-ID: <m4@example.net>\r\n\r\nHello.\r\n.\r\n").await;
    let mut beside = PgConnection::connect(&database.url).await.expect("the other way to the database");
    until("it is stored", async || {
        let stored = "select count(*) from outgoing where header_id = 'm4@example.net'";
        let count = sqlx::query_scalar(stored).fetch_one(&mut beside).await;
        count.is_ok_and(|count: i64| count == 1)
    })
    .await;
    cable.cut();
    let reply = third.reply().await;
    assert!(reply.starts_with("451 4.3.0"), "{reply}");

    // What was on the wire has ended when it is back.
    receiver.seen.gate.send_replace(true);
    until("the receiver has it", async || !receiver.messages().is_empty()).await;
    cable.mend();
    until("clients are served again", async || {
        deliver(&mut server.smtp(Speaks::Smtp).await, 3).await.starts_with("250")
    })
    .await;
    until("everything is recorded", async || {
        let left = server.mail().queue().list(&Selection::default(), None, 10).await;
        left.expect("the store works").is_empty()
    })
    .await;
    let mut taken: Vec<String> = receiver.messages().into_iter().flat_map(|message| message.recipients).collect();
    taken.retain(|recipient| recipient.len() == "u1@one.example".len());
    taken.sort();
    assert_eq!(taken, ["u1@one.example", "u3@one.example", "u4@one.example"], "each once; the second is not there");
    assert!(server.check().await.is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_longer_than_the_lease_makes_nobody_send_twice() {
    let receiver = Receiver::new("PIPELINING", |line, _| line.starts_with(". ").then(|| "wait".to_owned())).await;
    let office = Office::new(receiver.port, |config| config.queue.lease = Span::from_secs(1)).await;
    office.send(&["a@one.example"]).await;
    until("it is on the wire", async || receiver.seen.commands.lock().iter().any(|line| line == "DATA")).await;
    office.cable.cut();
    office.clock.step(TimeDelta::minutes(1));
    receiver.seen.gate.send_replace(true);
    until("the receiver has it", async || !receiver.messages().is_empty()).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    office.cable.mend();
    until("it is recorded", async || office.rows().await.is_empty()).await;
    office.send(&["b@one.example"]).await;
    office.settled().await;
    assert_eq!(receiver.messages().len(), 2, "each once");
    assert_eq!(office.rows().await, []);
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_claimed_when_postgresql_went_is_not_forgotten() {
    let receiver = Receiver::new("PIPELINING", |line, seen| {
        let first = seen.commands.lock().iter().filter(|line| line.starts_with("RCPT")).count() == 1;
        (line.starts_with("RCPT") && first).then(|| "451 4.2.0 later".to_owned())
    })
    .await;
    let office = Office::new(receiver.port, |_| {}).await;
    office.send(&["a@one.example"]).await;
    office.settled().await;
    office.cable.mute_behind(b"commit\0");
    office.step(TimeDelta::minutes(20)).await;
    let mut beside = office.beside().await;
    until("it is claimed", async || {
        let count = sqlx::query_scalar("select count(*) from delivery where claim is not null").fetch_one(&mut beside);
        let claimed = count.await.is_ok_and(|count: i64| count == 1);
        if !claimed && office.cable.is_mute() {
            // A look at the queue that found nothing came first.
            office.cable.cut();
            office.cable.mute_behind(b"commit\0");
        }
        claimed && office.cable.is_mute()
    })
    .await;
    office.cable.cut();
    office.cable.mend();
    until("it is delivered", async || office.rows().await.is_empty()).await;
    assert_eq!(receiver.messages().len(), 1);
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_jump_and_nothing_is_lost_or_sent_twice() {
    let receiver = Receiver::new("PIPELINING", |line, seen| {
        let later = seen.commands.lock().iter().filter(|line| line.starts_with("RCPT TO:<b@")).count() == 1;
        match line {
            _ if line.starts_with("RCPT TO:<b@") && later => Some("451 4.2.0 later".to_owned()),
            _ if line.starts_with(". ") => Some("wait".to_owned()),
            _ => None,
        }
    })
    .await;
    let office = Office::new(receiver.port, |config| {
        // Renewed each third of a second.
        config.queue.lease = Span::from_secs(1);
        config.delivery.options.messages_per_second = Some(1000);
    })
    .await;
    let me = office.mail.queue().courier().expect("a courier");
    office.send(&["a@one.example"]).await;
    until("it is on the wire", async || receiver.seen.commands.lock().iter().any(|line| line == "DATA")).await;
    let leased = lease(&office).await;
    office.step(TimeDelta::days(1)).await;
    until("the lease is renewed after the jump", async || lease(&office).await > leased).await;
    receiver.seen.gate.send_replace(true);
    office.settled().await;
    assert_eq!(office.rows().await, []);
    assert_eq!(office.mail.queue().courier(), Some(me), "the same life goes on");

    office.send(&["b@one.example"]).await;
    office.settled().await;
    assert_eq!(office.rows().await[0].4, 20);
    office.step(TimeDelta::hours(-1)).await;
    office.send(&["c@one.example"]).await;
    until("what comes now is sent now", async || !said(&receiver.messages(), "c@one.example").is_empty()).await;
    office.settled().await;
    assert_eq!(office.rows().await.iter().map(|row| (row.1, row.4)).collect::<Vec<_>>(), [(1, 80)], "it waits longer");
    office.step(TimeDelta::minutes(80)).await;
    until("and is sent", async || office.rows().await.is_empty()).await;
    let messages = receiver.messages();
    assert_eq!(messages.len(), 3, "each once, and no reports");
    assert!(["a", "b", "c"].iter().all(|name| said(&messages, &format!("{name}@one.example")).len() == 1));
    office.stop().await;
}

async fn lease(office: &Office) -> DateTime<Utc> {
    let mut connection = office.mail.store().acquire().await.expect("the store works");
    let until = sqlx::query_scalar("select max(alive_until) from courier").fetch_one(&mut *connection).await;
    until.expect("a courier")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_server_should_say_harms_nobody() {
    let receiver = Receiver::new("PIPELINING", |line, _| {
        let who = line.strip_prefix("RCPT TO:<")?.split('@').next()?;
        let line = "x".repeat(1 << 20);
        match who {
            "line" => Some(format!("550 5.1.1 {line}")),
            "lines" => Some(format!("raw:{}550 5.1.1 end\r\n", "550-5.1.1 and on it goes\r\n".repeat(40_000))),
            "binary" => Some("raw:550 5.1.1 \0\u{1}\u{1b}[2J\u{ff}\u{fe}\u{80} nobody\r\n".to_owned()),
            "noise" => Some("raw:\u{ff}\u{0}\u{80}\u{16}\u{3}\u{1}\r\n".to_owned()),
            _ => None,
        }
    })
    .await;
    let office = Office::new(receiver.port, |_| {}).await;
    for who in ["line", "lines", "binary", "noise", "good"] {
        office.send(&[&format!("{who}@one.example")]).await;
    }
    office.settled().await;
    let messages = receiver.messages();
    assert_eq!(said(&messages, "good@one.example").len(), 1);
    let rows = office.rows().await;
    let left: Vec<_> = rows.iter().map(|row| (row.0.as_str(), row.1, row.4)).collect();
    let waits = |who| (who, 1, 20);
    assert_eq!(left, [waits("line@one.example"), waits("lines@one.example"), waits("noise@one.example")], "no answers");
    for row in &rows {
        assert!(row.2.starts_with("451 5.5.0 ") || row.2.starts_with("451 4.5.0 "), "{row:?}");
        let told = told(&office, "deferred", &row.0).await;
        let why = if row.0.starts_with("noise") { "no SMTP reply" } else { "its reply is too long" };
        assert!(told.contains(why) && told.len() < 2000, "{told}");
    }
    let failed = told(&office, "failed", "binary@one.example").await;
    assert!(failed.contains("550 5.1.1") && failed.contains("nobody") && !failed.contains("\\u001b"), "{failed}");
    let report = said(&messages, "sender@example.net");
    assert_eq!(report.len(), 1);
    assert!(report[0].octets.contains("Final-Recipient: rfc822; binary@one.example"), "{}", report[0].octets);
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_closes_amid_a_message_gets_all_of_it_later() {
    let receiver = Receiver::new("PIPELINING", |line, seen| {
        let early = seen.connections.load(std::sync::atomic::Ordering::Relaxed) <= 3;
        (line == "DATA" && early).then(|| "cut".to_owned())
    })
    .await;
    let office = Office::new(receiver.port, |_| {}).await;
    // More than sockets hold, and so large that it is read piece by piece.
    let text = "Each line of this text is as long as the others are.\r\n".repeat(150_000);
    let octets = format!("Subject: large\r\nMessage-ID: <large@example.net>\r\n\r\n{text}");
    let address = Address::parse("a@one.example").expect("an address");
    let to = office.mail.route(&address).await.expect("the store works");
    let envelope = Envelope {
        sender: Some(Address::parse("sender@example.net").expect("an address")),
        recipients: vec![Recipient { address: address.to_string(), route: to, orcpt: None, notify: None }],
        source: Source::Relay,
        ..Envelope::default()
    };
    office.take_octets(&envelope, octets.as_bytes()).await;
    office.settled().await;
    let rows = office.rows().await;
    assert_eq!((rows[0].1, rows[0].4), (1, 20), "{rows:?}");
    assert!(rows[0].2.starts_with("451 4.4.2 ") && !rows[0].2.contains("not known"), "{rows:?}");
    assert_eq!(receiver.connections(), 3, "a host that goes away is asked twice more at once");
    assert!(told(&office, "deferred", "a@one.example").await.contains("4.4.2"));
    office.step(TimeDelta::minutes(20)).await;
    until("it is delivered", async || office.rows().await.is_empty()).await;
    let messages = receiver.messages();
    assert_eq!(messages.len(), 1);
    assert!(messages[0].octets.ends_with(&octets), "all of it");
    office.stop().await;
}

/// A server's TLS with a certificate for 127.0.0.1.
fn certified(issuer: &CertifiedIssuer<'_, KeyPair>, expired: bool) -> Arc<ServerConfig> {
    let mut parameters = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    if expired {
        parameters.not_after = rcgen::date_time_ymd(2020, 2, 1);
    }
    let key = KeyPair::generate().expect("a key");
    let chain = vec![parameters.signed_by(&key, issuer).expect("a certificate").der().clone()];
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    Arc::new(builder.expect("versions").with_no_client_auth().with_single_cert(chain, key).expect("a pair"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_defers_where_it_must_be_verified() {
    let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().expect("a key")).expect("an authority");
    let (certificate, shown) = watch::channel(certified(&issuer, true));
    let receiver = Receiver::secure(shown).await;
    let roots = Roots::from_pem(issuer.pem().as_bytes()).expect("roots");
    let office = Office::of(Setup { roots, ..Setup::new(receiver.port) }, |config| {
        config.route = route(&format!("to = 'smtps://127.0.0.1:{}'\ntls = 'verified'", receiver.port));
    })
    .await;
    office.send(&["a@one.example"]).await;
    office.settled().await;
    let rows = office.rows().await;
    assert_eq!((rows.len(), rows[0].1, rows[0].4), (1, 1, 20), "{rows:?}");
    assert!(rows[0].2.starts_with("451 4.7.5 "), "{rows:?}");
    let why = told(&office, "deferred", "a@one.example").await;
    assert!(why.contains("expired on 2020-02-01"), "{why}");
    certificate.send_replace(certified(&issuer, false));
    office.step(TimeDelta::minutes(20)).await;
    until("it is delivered", async || office.rows().await.is_empty()).await;
    assert_eq!(receiver.messages().len(), 1);
    let how = told(&office, "delivered", "a@one.example").await;
    assert!(how.contains("TLSv1.3"), "{how}");
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_nobody_can_read_are_set_aside_and_stop_nobody() {
    let receiver = Receiver::willing().await;
    let mut office = Office::new(receiver.port, |_| {}).await;
    office.courier.take().expect("it runs").stop(Duration::from_secs(5)).await;
    let of = |who: &str| format!("outgoing_id from delivery where recipient = '{who}@one.example'");
    let body = |who: &str| format!("message_id from outgoing where id = (select {})", of(who));
    let poisons = [
        (
            "recipient",
            "update delivery set recipient = 'nobody at all' where id = (select id ".to_owned()
                + "from delivery where recipient = 'recipient@one.example')",
        ),
        ("notify", "update delivery set notify = 99 where recipient = 'notify@one.example'".to_owned()),
        ("origin", format!("update outgoing set origin = 99 where id = (select {})", of("origin"))),
        ("priority", format!("update outgoing set priority = 1000 where id = (select {})", of("priority"))),
        ("sender", format!("update outgoing set sender = 'nobody' where id = (select {})", of("sender"))),
        ("lonely", format!("delete from outgoing where id = (select {})", of("lonely"))),
        ("garbled", format!("update body set text = '\\xdeadbeef' where message_id = (select {})", body("garbled"))),
        ("short", format!("update outgoing set size = size + 1 where id = (select {})", of("short"))),
        ("lost", format!("delete from body where message_id = (select {})", body("lost"))),
    ];
    for who in poisons.iter().map(|(who, _)| *who).chain(["good"]) {
        office.send(&[&format!("{who}@one.example")]).await;
    }
    let mut connection = office.mail.store().acquire().await.expect("the store works");
    for (who, statement) in &poisons {
        let done = sqlx::query(sqlx::AssertSqlSafe(statement.as_str())).execute(&mut *connection).await.expect(who);
        assert_eq!(done.rows_affected(), 1, "{who}");
    }
    office.courier = Some(office.start().await);
    until("the good one", async || !said(&receiver.messages(), "good@one.example").is_empty()).await;
    office.settled().await;
    let left: Vec<(String, i16, Option<String>)> =
        sqlx::query_as("select recipient, state, note from delivery order by recipient")
            .fetch_all(&mut *connection)
            .await
            .expect("rows");
    assert_eq!(left.len(), poisons.len(), "{left:?}");
    for (recipient, state, note) in &left {
        assert_eq!(*state, 3, "{recipient}: {note:?}");
        assert!(note.as_ref().is_some_and(|note| note.len() > 10), "{recipient}: {note:?}");
    }
    assert_eq!(receiver.messages().len(), 1);
    office.stop().await;
}
