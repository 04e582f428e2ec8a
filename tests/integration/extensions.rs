//! What senders ask of a message's way, and hosts that cannot give it: octets beyond ASCII, a time by which it is to arrive,
//! a time before which it is not to.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use harness::server::{Server, ServerOptions};
use posthorn_config::{Config, Speaks};
use posthorn_mail::directory::{AccountChange, NewAccount};
use posthorn_mail::envelope::{Envelope, Recipient, Source, Terms};
use posthorn_mail::kept_back::Arrival;
use posthorn_mail::queue::Wanted;
use posthorn_model::{Address, BodyType, ByMode, Domain, Notify};
use posthorn_trust::{Found, KeyType, Signed};

use crate::office::{Office, until};
use crate::receiver::{Receiver, said};

const WIDE: &str = "From: Bob <bob@example.org>\r\nSubject: Gr\u{fc}\u{df}e\r\nMIME-Version: 1.0\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSch\u{f6}ne Gr\u{fc}\u{df}e aus K\u{f6}ln, auch an alle anderen.\r\n";

/// Accepts octets for one recipient.
async fn take(office: &Office, recipient: &str, notify: Option<Notify>, terms: Terms, octets: &str) {
    let address = Address::parse(recipient).expect("an address");
    let route = office.mail.route(&address).await.expect("the store works");
    let envelope = Envelope {
        sender: Some(Address::parse("sender@example.net").expect("an address")),
        recipients: vec![Recipient { address: address.to_string(), route, orcpt: None, notify }],
        source: Source::Relay,
        terms,
        ..Envelope::default()
    };
    office.take_octets(&envelope, octets.as_bytes()).await;
}

fn wide() -> Terms {
    Terms { body_type: BodyType::EightBit, ..Terms::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_take_seven_bits_get_seven_bits() {
    let old = Receiver::willing().await;
    let office = Office::new(old.port, |_| {}).await;
    take(&office, "a@one.example", None, wide(), WIDE).await;
    until("it is there", async || !old.messages().is_empty()).await;
    let octets = &old.messages()[0].octets;
    assert!(octets.is_ascii(), "{octets}");
    for part in [
        "Content-Transfer-Encoding: quoted-printable",
        "Sch=C3=B6ne Gr=C3=BC=C3=9Fe aus K=C3=B6ln, auch an alle anderen.\r\n",
        "=?utf-8?B?",
    ] {
        assert!(octets.contains(part), "{part} in {octets}");
    }
    assert!(old.seen.commands.lock().iter().all(|line| !line.contains("BODY=")));
    office.settled().await;
    let trace = office.trace().await;
    let told = trace.iter().find(|(_, kind, _)| kind == "converted").expect("told");
    assert!(told.2.contains("127.0.0.1") && told.2.contains("seven bits"), "{told:?}");
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_take_eight_bits_get_them_as_they_are() {
    let modern = Receiver::new("PIPELINING 8BITMIME", |_, _| None).await;
    let office = Office::new(modern.port, |_| {}).await;
    take(&office, "a@one.example", None, wide(), WIDE).await;
    until("it is there", async || !modern.messages().is_empty()).await;
    assert_eq!(modern.messages()[0].octets, WIDE);
    assert!(modern.seen.commands.lock().iter().any(|line| line.contains(" BODY=8BITMIME")));
    // Binary is too much for it.
    let binary = Terms { body_type: BodyType::Binary, ..Terms::default() };
    let octets = "Content-Type: text/plain\r\nContent-Transfer-Encoding: binary\r\n\r\none\ntwo";
    take(&office, "b@one.example", None, binary, octets).await;
    until("it is there", async || modern.messages().len() == 2).await;
    assert!(
        modern.messages()[1].octets.ends_with("quoted-printable\r\n\r\none=0Atwo=\r\n"),
        "{:?}",
        modern.messages()[1]
    );
    office.settled().await;
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_converted_comes_back() {
    let old = Receiver::willing().await;
    let office = Office::new(old.port, |_| {}).await;
    let odd = "Content-Type: message/partial; id=x; number=1\r\n\r\n\u{fc}\r\n";
    take(&office, "a@one.example", None, wide(), odd).await;
    until("a report", async || !said(&old.messages(), "sender@example.net").is_empty()).await;
    let report = &said(&old.messages(), "sender@example.net")[0].octets.clone();
    assert!(report.contains("Status: 5.6.3") && report.contains("cannot be converted"), "{report}");
    assert!(report.contains("cannot take a message of this form"), "{report}");
    office.settled().await;
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_converted_is_signed_anew() {
    let old = Receiver::willing().await;
    let port = old.port;
    let server = Server::start(ServerOptions::new().with(move |config| {
        let route = format!("[[route]]\nto = \"smtp://127.0.0.1:{port}\"");
        config.route = toml::from_str::<Config>(&route).expect("a route").route;
    }))
    .await;
    server.account("bob@example.org", "right horse").await;
    let domain = Domain::parse("example.org").expect("a domain");
    let kinds = [KeyType::Rsa, KeyType::Ed25519];
    let made = server.mail().create_dkim_keys(&domain, &kinds, None, Utc::now()).await.expect("works").expect("keys");
    let mut client = server.smtp(Speaks::Submissions).await;
    assert!(client.login("bob@example.org", "right horse").await.starts_with("235 "));
    client.expect("MAIL FROM:<bob@example.org> BODY=8BITMIME", "250").await;
    client.expect("RCPT TO:<x@example.net>", "250").await;
    assert!(client.data(WIDE).await.starts_with("250 "));
    until("it is there", async || !old.messages().is_empty()).await;
    let octets = old.messages()[0].octets.clone();
    assert!(octets.is_ascii() && octets.matches("DKIM-Signature: ").count() == 2, "{octets}");
    let record = |key: &posthorn_mail::dkim::KeyView| (key.record_name(), Found::Some(vec![key.record.clone()]));
    let keys = made.iter().map(record).collect();
    let verified = Signed::parse(octets.as_bytes()).expect("a header").verify(&keys, Utc::now());
    assert_eq!(verified.results().matches("dkim=pass header.d=example.org").count(), 2, "{}", verified.results());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_that_the_next_host_does_not_promise_is_told_or_not_sent() {
    let old = Receiver::willing().await;
    let office = Office::new(old.port, |_| {}).await;
    let by = |mode| Terms { deliver_by: Some((office.mail.now() + TimeDelta::hours(1), mode)), ..Terms::default() };
    let plain = "Subject: x\r\n\r\nx\r\n";
    // RFC 2852 §4.1.4: the sender hears that nobody promises the time any more, unless they want to hear nothing.
    take(&office, "quiet@one.example", Some(Notify::NEVER), by(ByMode::Notify), plain).await;
    take(&office, "told@one.example", None, by(ByMode::Notify), plain).await;
    until("a report", async || !said(&old.messages(), "sender@example.net").is_empty()).await;
    office.settled().await;
    let reports = old.messages();
    let reports = said(&reports, "sender@example.net");
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert!(reports[0].octets.contains("Action: relayed") && reports[0].octets.contains("told@one.example"));
    // What is to come back when it is late is not given to who would not send it back.
    take(&office, "strict@one.example", None, by(ByMode::Return), plain).await;
    until("another", async || said(&old.messages(), "sender@example.net").len() == 2).await;
    let messages = old.messages();
    let report = &said(&messages, "sender@example.net")[1].octets;
    assert!(report.contains("Action: failed") && report.contains("Status: 5.3.3"), "{report}");
    assert!(said(&messages, "strict@one.example").is_empty());
    office.settled().await;
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_late_is_told_at_its_time() {
    let busy =
        Receiver::new("PIPELINING DELIVERBY", |line, _| line.contains("late@").then(|| "451 4.3.2 not now".to_owned()))
            .await;
    let office = Office::new(busy.port, |_| {}).await;
    let deliver_by = Some((office.mail.now() + TimeDelta::minutes(7), ByMode::Notify));
    take(&office, "late@one.example", None, Terms { deliver_by, ..Terms::default() }, "A: b\r\n\r\nx\r\n").await;
    until("it was tried", async || office.rows().await.iter().any(|row| row.1 == 1 && !row.3)).await;
    assert_eq!(office.rows().await[0].4, 7, "the next attempt is at that time");
    office.step(TimeDelta::minutes(7)).await;
    until("a report", async || !said(&busy.messages(), "sender@example.net").is_empty()).await;
    assert!(said(&busy.messages(), "sender@example.net")[0].octets.contains("Action: delayed"));
    office.settled().await;
    office.stop().await;
}

/// An office with a mailbox of its own.
async fn with_mailbox() -> (Receiver, Office) {
    let receiver = Receiver::willing().await;
    let office = Office::new(receiver.port, |_| {}).await;
    let domain = Domain::parse("own.example").expect("a domain");
    office.mail.add_domain(&domain, None).await.expect("works").expect("added");
    let new = NewAccount::default();
    office.mail.add_account(&eve(), new).await.expect("works").expect("added");
    (receiver, office)
}

fn eve() -> Address {
    Address::parse("eve@own.example").expect("an address")
}

async fn stored(office: &Office) -> i64 {
    let mut connection = office.beside().await;
    sqlx::query_scalar("select count(*) from membership").fetch_one(&mut connection).await.expect("a number")
}

fn held(until: DateTime<Utc>) -> Terms {
    Terms { hold_until: Some(until), ..Terms::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_for_a_colleague_comes_at_its_time() {
    let (receiver, office) = with_mailbox().await;
    let at = office.mail.now() + TimeDelta::hours(3);
    let octets = "Subject: later\r\nMessage-ID: <later@own.example>\r\n\r\nGood morning.\r\n";
    take(&office, "eve@own.example", Some(Notify::SUCCESS), held(at), octets).await;
    office.settled().await;
    assert_eq!((stored(&office).await, office.rows().await.len()), (0, 1));
    office.step(TimeDelta::minutes(179)).await;
    office.settled().await;
    assert_eq!(stored(&office).await, 0, "not before its time");
    office.step(TimeDelta::minutes(1)).await;
    until("it is placed", async || stored(&office).await == 1).await;
    // It is one commit: nothing is left in the queue but the report that was asked for.
    until("a report", async || !said(&receiver.messages(), "sender@example.net").is_empty()).await;
    office.settled().await;
    assert_eq!(office.rows().await, []);
    let report = &said(&receiver.messages(), "sender@example.net")[0].octets.clone();
    assert!(
        report.contains("Action: delivered") && report.contains("Final-Recipient: rfc822; eve@own.example"),
        "{report}"
    );
    assert_eq!(receiver.messages().len(), 1, "it went to no host");
    let kinds: Vec<String> = office.trace().await.into_iter().map(|(_, kind, _)| kind).collect();
    for kind in ["taken", "held", "placed", "reported"] {
        assert!(kinds.iter().any(|known| known == kind), "{kind} in {kinds:?}");
    }
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_that_was_kept_back_waits_while_the_mailbox_is_full_and_comes_back_in_the_end() {
    let (receiver, office) = with_mailbox().await;
    let octets = "Subject: later\r\n\r\nGood morning.\r\n";
    let hour = TimeDelta::hours(1);
    take(&office, "eve@own.example", None, Terms::default(), octets).await;
    take(&office, "eve@own.example", None, held(office.mail.now() + hour), octets).await;
    let full = AccountChange { quota_messages: Some(1), ..AccountChange::default() };
    office.mail.set_account(&eve(), full).await.expect("works").expect("changed");
    office.step(hour).await;
    until("it was tried", async || office.rows().await.iter().any(|row| row.1 == 1 && !row.3)).await;
    let rows = office.rows().await;
    assert!(rows[0].2.contains("mailbox") && stored(&office).await == 1, "{rows:?}");
    office.step(TimeDelta::days(6)).await;
    until("a report", async || !said(&receiver.messages(), "sender@example.net").is_empty()).await;
    let report = &said(&receiver.messages(), "sender@example.net").last().expect("one").octets.clone();
    assert!(report.contains("Action: failed") || report.contains("Action: delayed"), "{report}");
    office.settled().await;
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_that_was_kept_back_is_placed_once_whatever_fails() {
    let (_receiver, mut office) = with_mailbox().await;
    let hour = TimeDelta::hours(1);
    for number in 0..20 {
        let octets = format!("Subject: {number}\r\n\r\nx\r\n");
        take(&office, "eve@own.example", None, held(office.mail.now() + hour), &octets).await;
    }
    // A courier that is stopped in the middle, with the database going away under it.
    office.clock.step(hour);
    office.courier().wake().await;
    office.cable.cut();
    tokio::time::sleep(Duration::from_millis(50)).await;
    office.cable.mend();
    office.courier.take().expect("it runs").stop(Duration::from_secs(1)).await;
    office.courier = Some(office.start().await);
    office.step(TimeDelta::minutes(5)).await;
    until("all are placed", async || {
        office.courier().wake().await;
        office.rows().await.is_empty()
    })
    .await;
    assert_eq!(stored(&office).await, 20);
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submitter_may_send_to_a_colleague_later() {
    let server = Server::start(ServerOptions::new()).await;
    server.account("bob@example.org", "right horse").await;
    server.mailbox_only("eve@example.org").await;
    let mut client = server.smtp(Speaks::Submissions).await;
    assert!(client.login("bob@example.org", "right horse").await.starts_with("235 "));
    client.expect("MAIL FROM:<bob@example.org> HOLDFOR=1", "250").await;
    client.expect("RCPT TO:<eve@example.org>", "250").await;
    let reply = client.data("From: bob@example.org\r\nSubject: later\r\n\r\nHello.\r\n").await;
    assert!(reply.starts_with("250 2.0.0 queued as "), "{reply}");
    assert!(server.check().await.is_empty(), "what waits is in order");
    until("it is there", async || !server.messages("eve@example.org", "INBOX").await.is_empty()).await;
    let stored = server.messages("eve@example.org", "INBOX").await;
    let text = String::from_utf8_lossy(&stored[0]);
    assert!(text.starts_with("Return-Path: <bob@example.org>\r\n") && text.contains("Subject: later"), "{text}");
    assert!(server.check().await.is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_damaged_in_the_middle_is_set_aside_at_once() {
    let receiver = Receiver::willing().await;
    let gate = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let open = Arc::clone(&gate);
    let receiver_of = move |line: &str, _: &crate::receiver::Seen| {
        let shut = line == "greeting" && !open.load(std::sync::atomic::Ordering::Relaxed);
        shut.then(|| "421 4.3.2 not now".to_owned())
    };
    let slow = Receiver::new("PIPELINING", receiver_of).await;
    drop(receiver);
    let office = Office::new(slow.port, |_| {}).await;
    let octets =
        format!("Subject: large\r\n\r\n{}", "0123456789abcdef0123456789abcdef0123456789abcdef\r\n".repeat(130_000));
    take(&office, "a@one.example", None, Terms::default(), &octets).await;
    until("it was tried", async || office.rows().await.iter().any(|row| row.1 == 1 && !row.3)).await;
    sqlx::query("delete from body where part = 3").execute(&mut office.beside().await).await.expect("damaged");
    gate.store(true, std::sync::atomic::Ordering::Relaxed);
    office.step(TimeDelta::hours(1)).await;
    let state = async || {
        let states = sqlx::query_as::<_, (i16, Option<String>)>("select state, note from delivery");
        states.fetch_all(&mut office.beside().await).await.expect("rows")
    };
    until("it is set aside", async || state().await.iter().any(|row| row.0 == 3)).await;
    assert!(state().await[0].1.as_deref().is_some_and(|note| note.contains("its octets")), "{:?}", state().await);
    assert!(slow.messages().is_empty(), "half a message was not ended");
    office.settled().await;
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hands_place_one_copy() {
    let (_receiver, mut office) = with_mailbox().await;
    office.courier.take().expect("it runs").stop(Duration::from_secs(1)).await;
    let hour = TimeDelta::hours(1);
    take(&office, "eve@own.example", None, held(office.mail.now() + hour), "Subject: later\r\n\r\nx\r\n").await;
    office.clock.step(hour);
    let queue = office.mail.queue();
    let me = queue.enlist("here", Duration::from_secs(600)).await.expect("enlisted");
    let wanted = Wanted { per_domain: 10, limit: 10, after: None, skip: &[] };
    let claimed = queue.claim(me, &wanted).await.expect("claimed").work.pop().expect("one");
    let (outgoing, delivery) = (&claimed.0, &claimed.1[0]);
    // Whose claim it is not places nothing; of two at once, one does.
    let stranger = queue.enlist("there", Duration::from_secs(600)).await.expect("enlisted");
    let nothing = office.mail.arrive(outgoing, delivery, stranger).await.expect("the store works");
    assert!(matches!(nothing, Arrival::Refused(_)), "{nothing:?}");
    assert_eq!(stored(&office).await, 0);
    let (one, other) =
        tokio::join!(office.mail.arrive(outgoing, delivery, me), office.mail.arrive(outgoing, delivery, me));
    let placed = [one, other].into_iter().filter(|arrival| matches!(arrival, Ok(Arrival::Placed))).count();
    assert_eq!((placed, stored(&office).await), (1, 1));
    assert_eq!(office.rows().await, []);
}
