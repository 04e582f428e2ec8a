//! Mail that leaves, up to the queue: who may send it, in which envelopes it waits, and what comes back about it.
//!
//! Everything is routed to a port where nobody listens, so that what is queued stays there to be looked at.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use harness::server::{Server, ServerOptions};
use harness::smtp_client::SmtpClient;
use posthorn_config::{Binding, Config, Peer, PeerOptions, PolicyVerdict, Route, Speaks};
use posthorn_mail::directory::AccountChange;
use posthorn_mail::queue::{Body, Entry, Filter, Order, Selection, Suspended};
use posthorn_mail::trace::{Trace, TraceOf};
use posthorn_model::{Address, BodyType, ByMode, DeliveryState, Domain, Lane, Notify, QueueOrigin, Ret};
use posthorn_trust::{Found, KeyType, Signed};

const MESSAGE: &str = "From: bob@example.org\r\nSubject: hello\r\nMessage-ID: <m1@example.org>\r\n\r\nHello.\r\n";

async fn server_with(alter: impl FnOnce(&mut Config) + 'static) -> Server {
    let nowhere = |config: &mut Config| {
        config.route = toml::from_str::<Config>("[[route]]\nto = \"smtp://127.0.0.1:1\"").expect("a route").route;
    };
    let server = Server::start(ServerOptions::new().with(nowhere).with(alter)).await;
    server.account("bob@example.org", "right horse").await;
    server.mailbox_only("eve@example.org").await;
    server
}

async fn server() -> Server {
    server_with(|_| {}).await
}

/// One that believes strangers who claim to be of our own people.
async fn credulous() -> Server {
    server_with(|config| config.policy.sender.forged = PolicyVerdict::Off).await
}

async fn bob(server: &Server) -> SmtpClient {
    let mut client = server.smtp(Speaks::Submissions).await;
    let reply = client.login("bob@example.org", "right horse").await;
    assert!(reply.starts_with("235 2.7.0"), "{reply}");
    client
}

fn address(text: &str) -> Address {
    Address::parse(text).expect("an address")
}

/// Everything in the queue, oldest first, once the courier has tried what it has in hand.
async fn queued(server: &Server) -> Vec<Entry> {
    let mut all = Vec::new();
    for _ in 0..150 {
        all = server.mail().queue().list(&Selection::default(), None, 1000).await.expect("the store works");
        let settled = |entry: &Entry| entry.delivery.claim.is_none() && entry.delivery.due_at > Utc::now();
        if all.iter().all(settled) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    all
}

/// The octets of a queued message as they leave, with the fields of its envelope on top.
async fn octets(server: &Server, entry: &Entry) -> String {
    let (message, size) = (entry.outgoing.message, entry.outgoing.size);
    let body = server.mail().queue().body(message, size).await.expect("the store works").expect("octets");
    let Body::Whole(octets) = body else { panic!("a small message in parts") };
    let top = entry.outgoing.top.as_deref().unwrap_or_default();
    String::from_utf8([top, &octets.header, &octets.text].concat()).expect("text")
}

async fn inbox(server: &Server, name: &str) -> Vec<String> {
    let stored = server.messages(name, "INBOX").await;
    stored.iter().map(|octets| String::from_utf8_lossy(octets).into_owned()).collect()
}

async fn forward(server: &Server, name: &str, to: &[&str], keep: bool) {
    let forward_to = Some(to.iter().map(|to| (*to).to_owned()).collect());
    let change = AccountChange { forward_to, forward_keeps_copy: Some(keep), ..Default::default() };
    server.mail().set_account(&address(name), change).await.expect("the store works").expect("changed");
}

/// The traces of a Message-ID, once everything is written.
async fn traces(server: &Server, header_id: &str) -> Vec<Trace> {
    server.mail().store().chronicle().flush().await;
    server.mail().trace(&TraceOf::Header(header_id.to_owned()), 10).await.expect("the store works")
}

fn kinds(trace: &Trace) -> Vec<&str> {
    trace.entries.iter().map(|entry| entry.kind.as_ref()).collect()
}

#[tokio::test]
async fn what_was_asked_is_queued_with_the_message() {
    let server = server().await;
    let mut client = bob(&server).await;
    let offered = client.hello("EHLO").await;
    for extension in ["DELIVERBY", "MT-PRIORITY", "REQUIRETLS", "FUTURERELEASE 2592000 "] {
        assert!(offered.iter().any(|line| line.starts_with(extension)), "{extension} in {offered:?}");
    }
    let asked = "BODY=8BITMIME RET=HDRS ENVID=QQ+2B1 MT-PRIORITY=5 HOLDFOR=600 BY=7200;N REQUIRETLS";
    client.expect(&format!("MAIL FROM:<bob@example.org> {asked}"), "250 2.1.0").await;
    let notify = "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;X+2By@example.net";
    client.expect(&format!("RCPT TO:<x@Example.NET> {notify}"), "250 2.1.5").await;
    client.expect("RCPT TO:<y@[192.0.2.1]>", "250 2.1.5").await;
    // What is for a mailbox here waits in the queue as well.
    client.expect("RCPT TO:<eve@example.org>", "250 2.1.5").await;
    let before = Utc::now();
    let reply = client.data(MESSAGE).await;
    let entries = queued(&server).await;
    assert_eq!(entries.len(), 3);
    let (kept, of_eve) = (&entries[2].outgoing, &entries[2].delivery);
    assert_eq!((kept.origin, of_eve.recipient.as_str()), (QueueOrigin::Local, "eve@example.org"));
    let (outgoing, one) = (&entries[0].outgoing, &entries[0].delivery);
    assert_eq!(of_eve.due_at, one.due_at);
    assert_eq!(reply, format!("250 2.0.0 queued as {}", outgoing.id));
    assert_eq!(entries[1].outgoing, *outgoing, "one envelope for both");
    assert_eq!(outgoing.sender.as_deref(), Some("bob@example.org"));
    assert_eq!((outgoing.origin, outgoing.account.is_some()), (QueueOrigin::Submission, true));
    assert_eq!((outgoing.body_type, outgoing.require_tls), (BodyType::EightBit, true));
    assert_eq!((outgoing.ret, outgoing.envid.as_deref()), (Some(Ret::Headers), Some("QQ+1")));
    assert_eq!((outgoing.priority, one.lane), (5, Lane::Urgent));
    assert_eq!(outgoing.header_id.as_deref(), Some("m1@example.org"));
    let (by, mode) = outgoing.deliver_by.expect("a time");
    assert_eq!(mode, ByMode::Notify);
    assert!((TimeDelta::seconds(7190)..TimeDelta::seconds(7210)).contains(&(by - before)), "{by}");
    assert!((TimeDelta::seconds(590)..TimeDelta::seconds(610)).contains(&(one.due_at - before)), "{}", one.due_at);
    assert_eq!(outgoing.expires_at - one.due_at, TimeDelta::days(5));
    assert_eq!((one.recipient.as_str(), one.domain.as_str()), ("x@example.net", "example.net"));
    assert_eq!(one.orcpt.as_deref(), Some("rfc822;X+y@example.net"));
    assert_eq!(one.notify, Some(Notify::SUCCESS.and(Notify::FAILURE)));
    assert_eq!(one.notice_at, None, "nobody asked to hear of delays");
    let other = &entries[1].delivery;
    assert_eq!((other.domain.as_str(), other.notify), ("[192.0.2.1]", None));
    assert_eq!(other.notice_at.map(|at| at.timestamp()), Some(by.timestamp()), "before the four hours of the policy");
    let leaves = octets(&server, &entries[0]).await;
    assert!(leaves.starts_with("Received: ") && leaves.ends_with("\r\n\r\nHello.\r\n"), "{leaves}");
    assert!(!leaves.contains("Return-Path") && !leaves.contains("eve@"), "{leaves}");
    assert!(inbox(&server, "eve@example.org").await.is_empty());
    assert!(server.check().await.is_empty());
}

#[tokio::test]
async fn nobody_relays_without_a_login() {
    let server = server().await;
    for speaks in [Speaks::Smtp, Speaks::Lmtp] {
        let mut client = server.smtp(speaks).await;
        client.expect("MAIL FROM:<bob@example.org>", "250").await;
        client.expect("RCPT TO:<x@example.net>", "550 5.7.1 relaying denied").await;
        client.expect("RCPT TO:<x@example.net> NOTIFY=NEVER", "550 5.7.1 ").await;
    }
    let mut client = server.smtp(Speaks::Smtp).await;
    let offered = client.hello("EHLO").await;
    assert!(!offered.iter().any(|line| line.starts_with("FUTURERELEASE") || line == "MT-PRIORITY"), "{offered:?}");
    assert!(queued(&server).await.is_empty());
}

#[tokio::test]
async fn a_peer_that_may_relay_does() {
    let server = server_with(|config| {
        let options = PeerOptions { relay: Some(true), ..Default::default() };
        let network = "127.0.0.0/8".parse().expect("a network");
        harness::server::row(config, Speaks::Smtp).peer = vec![Peer { network, sessions: None, options }];
    })
    .await;
    let mut client = server.smtp(Speaks::Smtp).await;
    assert!(client.hello("EHLO").await.iter().any(|line| line == "MT-PRIORITY"));
    let reply = client.deliver("a@example.net", &["x@example.com", "bob@example.org"], MESSAGE).await;
    assert!(reply.starts_with("250 2.0.0 queued as "), "{reply}");
    let entries = queued(&server).await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].outgoing.origin, QueueOrigin::Relay);
    assert_eq!(entries[0].outgoing.sender.as_deref(), Some("a@example.net"));
    assert_eq!(entries[0].outgoing.body_type, BodyType::SevenBit);
    assert_eq!(inbox(&server, "bob@example.org").await.len(), 1);
    // What is more than ASCII is sent as such, said or not.
    let message = MESSAGE.replace("Hello", "Gr\u{fc}\u{df}e");
    assert!(client.deliver("a@example.net", &["x@example.com"], &message).await.starts_with("250 "));
    assert_eq!(queued(&server).await[1].outgoing.body_type, BodyType::EightBit);
}

#[tokio::test]
async fn a_forward_leaves_under_our_name_and_comes_back_through_it() {
    let server = server().await;
    forward(&server, "eve@example.org", &["far@example.com", "bob@example.org"], true).await;
    let mut client = server.smtp(Speaks::Smtp).await;
    client.expect("MAIL FROM:<a@example.net>", "250").await;
    client.expect("RCPT TO:<eve@example.org> NOTIFY=FAILURE", "250").await;
    assert!(client.data(MESSAGE).await.starts_with("250 2.0.0 queued as "));
    assert_eq!(inbox(&server, "eve@example.org").await.len(), 1);
    assert_eq!(inbox(&server, "bob@example.org").await.len(), 1);
    let entries = queued(&server).await;
    assert_eq!(entries.len(), 1);
    let (outgoing, delivery) = (&entries[0].outgoing, &entries[0].delivery);
    assert_eq!((outgoing.origin, delivery.recipient.as_str()), (QueueOrigin::Forward, "far@example.com"));
    assert_eq!(delivery.orcpt.as_deref(), Some("rfc822;eve@example.org"), "who wrote knows that name");
    assert_eq!(delivery.notify, Some(Notify::FAILURE));
    let sender = outgoing.sender.clone().expect("a sender");
    assert!(sender.starts_with("SRS0=") && sender.ends_with("=example.net=a@localhost"), "{sender}");
    let leaves = octets(&server, &entries[0]).await;
    assert!(leaves.starts_with("Delivered-To: eve@example.org\r\nReceived: "), "{leaves}");

    // What comes back goes to who wrote, and to nobody else.
    let bounce = "From: MAILER-DAEMON@example.com\r\nSubject: failed\r\n\r\nNo.\r\n";
    let mut client = server.smtp(Speaks::Smtp).await;
    assert!(client.deliver("", &[&sender], bounce).await.starts_with("250 2.0.0 queued as "));
    let entries = queued(&server).await;
    assert_eq!(entries.len(), 2);
    assert_eq!(
        (entries[1].outgoing.sender.as_deref(), entries[1].delivery.recipient.as_str()),
        (None, "a@example.net")
    );
    let forged = sender.replace("=a@", "=victim@");
    client.expect("MAIL FROM:<>", "250").await;
    client.expect(&format!("RCPT TO:<{forged}>"), "550 5.7.1 ").await;
    client.expect("RCPT TO:<whoever@localhost>", "550 5.7.1 relaying denied").await;
    client.expect("RCPT TO:<postmaster@localhost>", "250 2.1.5").await;
}

#[tokio::test]
async fn senders_that_need_no_rewriting_stay() {
    let server = credulous().await;
    server.alias("team@example.org", &["eve@example.org", "far@example.com", "far@example.com"]).await;
    let mut client = server.smtp(Speaks::Smtp).await;
    assert!(client.deliver("", &["team@example.org"], MESSAGE).await.starts_with("250 "));
    let reply = bob(&server).await.deliver("bob@example.org", &["team@example.org", "far@example.com"], MESSAGE).await;
    assert!(reply.starts_with("250 "), "{reply}");
    let entries = queued(&server).await;
    let senders: Vec<_> = entries.iter().map(|entry| entry.outgoing.sender.as_deref()).collect();
    assert_eq!(senders, [None, Some("bob@example.org")], "and one copy for one address");
    assert_eq!(entries[1].outgoing.origin, QueueOrigin::Submission);
    // One of us who has not shown it is rewritten like everybody else.
    assert!(client.deliver("bob@example.org", &["team@example.org"], MESSAGE).await.starts_with("250 "));
    let entries = queued(&server).await;
    assert!(entries[2].outgoing.sender.as_deref().is_some_and(|sender| sender.starts_with("SRS0=")));
}

#[tokio::test]
async fn what_was_here_before_is_not_sent_on_again() {
    let server = server().await;
    forward(&server, "eve@example.org", &["far@example.com"], false).await;
    let mut client = server.smtp(Speaks::Smtp).await;
    let back = format!("Delivered-To: eve@example.org\r\n{MESSAGE}");
    let reply = client.deliver("a@example.net", &["eve@example.org"], &back).await;
    assert!(reply.starts_with("554 5.4.6 "), "{reply}");
    forward(&server, "eve@example.org", &["far@example.com"], true).await;
    assert!(client.deliver("a@example.net", &["eve@example.org"], &back).await.starts_with("250 2.0.0 stored as "));
    assert_eq!(inbox(&server, "eve@example.org").await.len(), 1);
    assert!(queued(&server).await.is_empty());
}

#[tokio::test]
async fn what_one_recipient_cannot_take_leaves_for_nobody() {
    let server = server().await;
    let change = AccountChange { quota_messages: Some(1), ..Default::default() };
    server.mail().set_account(&address("eve@example.org"), change).await.expect("works").expect("changed");
    let mut early = bob(&server).await;
    for line in ["MAIL FROM:<bob@example.org>", "RCPT TO:<eve@example.org>", "RCPT TO:<x@example.net>"] {
        early.expect(line, "250").await;
    }
    // Somebody else is faster.
    let mut other = server.smtp(Speaks::Smtp).await;
    assert!(other.deliver("a@example.net", &["eve@example.org"], MESSAGE).await.starts_with("250 "));
    let reply = early.data(MESSAGE).await;
    assert!(reply.starts_with("452 4.2.2 "), "{reply}");
    assert!(queued(&server).await.is_empty());
    // An LMTP client is told of each alone.
    forward(&server, "bob@example.org", &["far@example.com"], false).await;
    let mut client = server.smtp(Speaks::Lmtp).await;
    client.expect("MAIL FROM:<a@example.net>", "250").await;
    client.expect("RCPT TO:<bob@example.org>", "250").await;
    client.expect("RCPT TO:<eve@example.org>", "452 4.2.2").await;
    assert!(client.data(MESSAGE).await.starts_with("250 "));
    assert_eq!(queued(&server).await.len(), 1);
}

#[tokio::test]
async fn suppressed_recipients_are_refused_with_when_and_why() {
    let server = server().await;
    let recipient = address("gone@example.net");
    let until = Utc::now() + TimeDelta::days(1);
    server.mail().suppress(Some("example.org"), &recipient, "550 5.1.1 gone", Some(until)).await.expect("works");
    let mut client = bob(&server).await;
    client.expect("MAIL FROM:<bob@example.org>", "250").await;
    let reply = client.expect("RCPT TO:<GONE@example.net>", "550 5.1.1 ").await;
    let today = Utc::now().format("%Y-%m-%d").to_string();
    assert!(reply.contains(&today) && reply.contains("550 5.1.1 gone"), "{reply}");
    assert_eq!(server.mail().forgive(None, "gone@example.net").await.expect("works"), 1);
    client.expect("RCPT TO:<gone@example.net>", "250").await;
}

#[tokio::test]
async fn our_mail_is_signed_with_all_keys() {
    let server = server().await;
    let domain = Domain::parse("example.org").expect("a domain");
    let kinds = [KeyType::Rsa, KeyType::Ed25519];
    let made = server.mail().create_dkim_keys(&domain, &kinds, None, Utc::now()).await.expect("works").expect("keys");
    assert_eq!(made.len(), 2);
    let again = server.mail().create_dkim_keys(&domain, &kinds, None, Utc::now()).await.expect("works");
    assert!(again.is_err_and(|unfit| unfit.to_string().contains("already: posthorn dkim rotate")));
    let mut client = bob(&server).await;
    let message = "From: Bob <bob@example.org>\r\nSubject: hello\r\n\r\nHello.\r\n";
    assert!(client.deliver("bob@example.org", &["x@example.net"], message).await.starts_with("250 "));
    assert!(client.deliver("bob@example.org", &["eve@example.org"], message).await.starts_with("250 "));
    let entries = queued(&server).await;
    let leaves = octets(&server, &entries[0]).await;
    assert!(leaves.starts_with("DKIM-Signature: "), "{leaves}");
    let record = |key: &posthorn_mail::dkim::KeyView| (key.record_name(), Found::Some(vec![key.record.clone()]));
    let keys = made.iter().map(record).collect();
    let verified = Signed::parse(leaves.as_bytes()).expect("a header").verify(&keys, Utc::now());
    assert_eq!(verified.results().matches("dkim=pass header.d=example.org").count(), 2, "{}", verified.results());
    assert!(!inbox(&server, "eve@example.org").await[0].contains("DKIM-Signature"), "nobody checks it here");

    // Rotation: new keys sign, old ones stay published for a while.
    let now = Utc::now();
    let published = server.mail().rotate_dkim_keys(&domain, now).await.expect("works").expect("rotated");
    assert_eq!(published.len(), 4, "{published:?}");
    assert!(client.deliver("bob@example.org", &["x@example.net"], message).await.starts_with("250 "));
    let entries = queued(&server).await;
    let leaves = octets(&server, &entries[1]).await;
    assert!(made.iter().all(|key| !leaves.contains(&format!("s={};", key.selector))), "{leaves}");
    assert_eq!(leaves.matches("DKIM-Signature: ").count(), 2);
}

#[tokio::test]
async fn a_binding_may_leave_mail_unsigned() {
    let server = server_with(|config| {
        config.binding = vec![Binding { dkim: false, ..Binding::new("bare") }];
        let bare = Route {
            recipients: vec!["example.net".parse().expect("a domain")],
            binding: Some("bare".to_owned()),
            ..config.route[0].clone()
        };
        config.route.push(bare);
    })
    .await;
    let domain = Domain::parse("example.org").expect("a domain");
    let made = server.mail().create_dkim_keys(&domain, &[KeyType::Ed25519], None, Utc::now()).await;
    made.expect("works").expect("a key");
    let mut client = bob(&server).await;
    let message = "From: Bob <bob@example.org>\r\nSubject: hello\r\n\r\nHello.\r\n";
    for (to, signed) in
        [(&["x@example.net"][..], false), (&["x@example.com"], true), (&["x@example.net", "x@example.com"], true)]
    {
        assert!(client.deliver("bob@example.org", to, message).await.starts_with("250 "));
        let leaves = octets(&server, queued(&server).await.last().expect("queued")).await;
        assert_eq!(leaves.contains("DKIM-Signature"), signed, "{to:?}");
    }
}

#[tokio::test]
async fn a_forward_is_sealed_where_there_is_a_key() {
    let server = server().await;
    let domain = Domain::parse("example.org").expect("a domain");
    let made = server.mail().create_dkim_keys(&domain, &[KeyType::Rsa], Some("k1"), Utc::now()).await;
    made.expect("works").expect("a key");
    forward(&server, "eve@example.org", &["far@example.com"], false).await;
    let mut client = server.smtp(Speaks::Smtp).await;
    assert!(client.deliver("a@example.net", &["eve@example.org"], MESSAGE).await.starts_with("250 "));
    let leaves = octets(&server, &queued(&server).await[0]).await;
    assert!(leaves.starts_with("ARC-Seal: i=1; a=rsa-sha256; cv=none;"), "{leaves}");
    assert!(!leaves.contains("DKIM-Signature"), "it is not ours: {leaves}");
}

#[tokio::test]
async fn a_courier_is_handed_fresh_mail() {
    let server = server().await;
    let mail = server.mail();
    let claim = mail.queue().enlist("here", Duration::from_secs(60)).await.expect("works");
    let mut departures = mail.depart_to(claim, 1, 1 << 20);
    let mut client = bob(&server).await;
    for recipient in ["x@example.net", "y@example.net"] {
        assert!(client.deliver("bob@example.org", &[recipient], MESSAGE).await.starts_with("250 "));
    }
    let departure = departures.recv().await.expect("a departure");
    assert_eq!(departure.deliveries[0].recipient, "x@example.net");
    assert!(departure.octets.header.starts_with(b"Received: ") && departure.octets.text.as_ref() == b"Hello.\r\n");
    let (stored, rows) = mail.queue().show(departure.outgoing.id).await.expect("works").expect("it is queued");
    assert_eq!((&stored, &rows), (&departure.outgoing, &departure.deliveries), "as it lies in the database");
    assert_eq!(rows[0].claim, Some(claim));
    mail.depart_no_more(claim);
    // There was room for one; the other waits for whoever comes.
    assert!(departures.recv().await.is_none());
    assert!(client.deliver("bob@example.org", &["z@example.net"], MESSAGE).await.starts_with("250 "));
    assert_eq!(mail.queue().retire(claim).await.expect("works"), 1);
    assert_eq!(queued(&server).await.len(), 3);
}

#[tokio::test]
async fn operators_hold_release_reroute_and_fail() {
    let server = server().await;
    let queue = server.mail().queue();
    let mut client = bob(&server).await;
    for recipient in ["x@example.net", "y@example.com"] {
        assert!(client.deliver("bob@example.org", &[recipient], MESSAGE).await.starts_with("250 "));
    }
    let net = Selection {
        filter: Filter { domain: Some("example.net".to_owned()), ..Filter::default() },
        ..Selection::default()
    };
    let hold = Order::Hold { note: "looked at".to_owned() };
    let dry = queue.order(&net, &hold, true, 5).await.expect("works");
    assert_eq!((dry.count, dry.sample.len()), (1, 1));
    assert_eq!(queued(&server).await[0].delivery.state, DeliveryState::Due, "nothing was done");
    assert_eq!(queue.order(&net, &hold, false, 5).await.expect("works").count, 1);
    let held = &queued(&server).await[0].delivery;
    assert_eq!((held.state, held.note.as_deref()), (DeliveryState::Held, Some("looked at")));
    assert_eq!(queue.order(&net, &Order::Release, false, 0).await.expect("works").count, 1);
    let route = Some("smtp://127.0.0.1:1".to_owned());
    queue.order(&net, &Order::Reroute { route: route.clone() }, false, 0).await.expect("works");
    assert_eq!(queued(&server).await[0].delivery.route, route);
    let header = posthorn_mail::queue::HeaderFilter { name: "Subject".to_owned(), contains: "HELLO".to_owned() };
    let by_subject = Selection { header: Some(header), ..Selection::default() };
    assert_eq!(queue.count(&by_subject).await.expect("works"), 2);

    let fail = Order::Fail { reason: "550 5.7.1 the customer asked for it".to_owned() };
    assert_eq!(queue.order(&net, &fail, false, 0).await.expect("works").count, 1);
    assert_eq!(queued(&server).await.len(), 1, "only the other is left");
    let told = inbox(&server, "bob@example.org").await;
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("Return-Path: <>\r\n"), "{}", told[0]);
    for part in ["multipart/report", "Action: failed", "Final-Recipient: rfc822; x@example.net", "the customer asked"] {
        assert!(told[0].contains(part), "{part} in {}", told[0]);
    }
    let traces = traces(&server, "m1@example.org").await;
    let of_net = traces.iter().find(|trace| trace.queued.is_empty()).expect("the one that failed");
    let kinds = kinds(of_net);
    assert_eq!(&kinds[..2], ["taken", "queued"]);
    assert!(kinds.contains(&"ordered") && kinds.contains(&"reported"), "{kinds:?}");
    assert!(server.check().await.is_empty());
}

#[tokio::test]
async fn a_domain_is_suspended_and_resumed() {
    let server = server().await;
    let queue = server.mail().queue();
    let what = Suspended::Domain("Example.NET".to_owned());
    queue.suspend(&what, Some(Duration::from_secs(3600)), "an operator").await.expect("works");
    let suspended = queue.suspensions().await.expect("works");
    assert_eq!(suspended.len(), 1);
    assert_eq!(suspended[0].0, Suspended::Domain("example.net".to_owned()));
    assert!(queue.resume(&what, "an operator").await.expect("works"));
    assert!(queue.suspensions().await.expect("works").is_empty());
    assert!(!queue.resume(&what, "an operator").await.expect("works"));
}

#[tokio::test]
async fn success_is_reported_where_it_was_asked_for() {
    let server = credulous().await;
    let mut client = bob(&server).await;
    client.expect("MAIL FROM:<bob@example.org> RET=HDRS ENVID=mine", "250").await;
    client.expect("RCPT TO:<eve@example.org> NOTIFY=SUCCESS ORCPT=rfc822;Eve@example.org", "250").await;
    assert!(client.data(MESSAGE).await.starts_with("250 2.0.0 stored as "));
    let told = inbox(&server, "bob@example.org").await;
    assert_eq!(told.len(), 1);
    for part in ["Action: delivered", "Original-Envelope-Id: mine", "Original-Recipient: rfc822; Eve@example.org"] {
        assert!(told[0].contains(part), "{part} in {}", told[0]);
    }
    // Who wrote from elsewhere is told there; who only claims to be one of us is not told at all.
    let mut client = server.smtp(Speaks::Smtp).await;
    for sender in ["a@example.net", "bob@example.org", ""] {
        client.expect(&format!("MAIL FROM:<{sender}>"), "250").await;
        client.expect("RCPT TO:<eve@example.org> NOTIFY=SUCCESS", "250").await;
        assert!(client.data(MESSAGE).await.starts_with("250 "));
    }
    assert_eq!(inbox(&server, "bob@example.org").await.len(), 1);
    let entries = queued(&server).await;
    assert_eq!(entries.len(), 1);
    let (outgoing, delivery) = (&entries[0].outgoing, &entries[0].delivery);
    assert_eq!((outgoing.origin, outgoing.sender.as_deref()), (QueueOrigin::Report, None));
    assert_eq!((delivery.recipient.as_str(), delivery.notify), ("a@example.net", Some(Notify::NEVER)));
    assert!(octets(&server, &entries[0]).await.contains("Action: delivered"));
}

/// A report of somebody else about a message of ours.
fn report(recipient: &str, message_id: &str) -> String {
    format!(
        "From: MAILER-DAEMON@mx.example.net\r\nSubject: failed\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nNo such user.\r\n\
         --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n\r\n\
         Final-Recipient: rfc822; {recipient}\r\nAction: failed\r\nStatus: 5.1.1\r\n\
         Diagnostic-Code: smtp; 550 5.1.1 <{recipient}>: user unknown\r\n\r\n\
         --b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: <{message_id}>\r\n\r\n--b--\r\n"
    )
}

#[tokio::test]
async fn reports_that_come_back_are_remembered_if_they_are_about_our_mail() {
    let server = server().await;
    assert!(bob(&server).await.deliver("bob@example.org", &["x@example.net"], MESSAGE).await.starts_with("250 "));
    let mut client = server.smtp(Speaks::Smtp).await;
    for (recipient, message_id) in [
        ("victim@example.net", "m1@example.org"),
        ("x@example.net", "other@example.org"),
        ("X@example.net", "m1@example.org"),
    ] {
        let report = report(recipient, message_id);
        assert!(client.deliver("", &["bob@example.org"], &report).await.starts_with("250 2.0.0 stored as "));
    }
    assert_eq!(inbox(&server, "bob@example.org").await.len(), 3, "whoever sent it reads them all");
    let known = server.mail().suppressions(None, "", 10).await.expect("works");
    assert_eq!(known.len(), 1, "{known:?}");
    assert_eq!((known[0].sender_domain.as_str(), known[0].recipient.as_str()), ("example.org", "x@example.net"));
    assert_eq!(known[0].class, 10);
    assert!(known[0].reason.contains("user unknown"));
    let left = known[0].expires_at.expect("an end") - Utc::now();
    assert!((TimeDelta::days(13)..=TimeDelta::days(14)).contains(&left), "{left}");
    let traces = traces(&server, "m1@example.org").await;
    assert!(traces.iter().any(|trace| kinds(trace).contains(&"returned")), "{traces:?}");
}

#[tokio::test]
async fn each_recipient_has_a_return_path_of_its_own() {
    let server = server_with(|config| config.queue.options.verp = Some(true)).await;
    let recipients = ["x@example.net", "y@example.net"];
    assert!(bob(&server).await.deliver("bob@example.org", &recipients, MESSAGE).await.starts_with("250 "));
    let entries = queued(&server).await;
    assert_eq!(entries.len(), 2);
    let senders: Vec<String> = entries.iter().filter_map(|entry| entry.outgoing.sender.clone()).collect();
    assert!(
        senders.iter().all(|sender| sender.starts_with("bounce-") && sender.ends_with("@example.org")),
        "{senders:?}"
    );
    assert_ne!(senders[0], senders[1]);
    assert!(entries.iter().all(|entry| entry.outgoing.author() == Some("bob@example.org")), "{entries:?}");
    // A report in free words is told apart by the path alone.
    let prose = "From: <>\r\nSubject: Undelivered Mail Returned to Sender\r\nAuto-Submitted: auto-replied\r\n\r\n\
                 <somebody@inside.example>: host mx said: 550 5.1.1 user unknown\r\n";
    let mut client = server.smtp(Speaks::Smtp).await;
    assert!(client.deliver("", &[&senders[1]], prose).await.starts_with("250 2.0.0 stored as "));
    assert_eq!(inbox(&server, "bob@example.org").await.len(), 1);
    let known = server.mail().suppressions(None, "", 10).await.expect("works");
    assert!(known.iter().all(|entry| entry.recipient == "y@example.net"), "{known:?}");
    let sent = traces(&server, "m1@example.org").await;
    assert!(sent.iter().any(|trace| kinds(trace).contains(&"returned")), "{sent:?}");
}

#[tokio::test]
async fn the_trace_tells_how_a_message_came() {
    let server = server().await;
    assert!(
        bob(&server)
            .await
            .deliver("bob@example.org", &["x@example.net", "eve@example.org"], MESSAGE)
            .await
            .starts_with("250 ")
    );
    let traces = traces(&server, "<m1@example.org>").await;
    assert_eq!(traces.len(), 1);
    let trace = &traces[0];
    assert_eq!(kinds(trace), ["taken", "stored", "queued"]);
    let taken: serde_json::Value = serde_json::from_str(&trace.entries[0].detail).expect("JSON");
    assert_eq!(taken["login"], "bob@example.org");
    assert_eq!(taken["peer"], "127.0.0.1");
    assert_eq!(taken["protocol"], "ESMTPSA");
    assert!(taken["tls"].as_str().is_some_and(|tls| tls.starts_with("TLSv1.3")), "{taken}");
    assert_eq!(trace.entries[0].sender.as_deref(), Some("bob@example.org"));
    assert_eq!(trace.entries[0].recipients, ["eve@example.org", "x@example.net"]);
    assert_eq!(trace.queued.len(), 1);
    for of in [TraceOf::To(address("X@example.net")), TraceOf::Id(trace.queued[0].0), TraceOf::Id(trace.message.0)] {
        let found = server.mail().trace(&of, 10).await.expect("works");
        assert_eq!(found.first().map(|found| found.message), Some(trace.message), "{of:?}");
    }
}
