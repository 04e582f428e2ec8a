//! The courier over a real database, scripted receivers and a clock that tests step.

use std::time::Duration;

use chrono::TimeDelta;
use harness::dns::DnsServer;
use posthorn_config::{Config, Next, NextHost, Route, Span};
use posthorn_mail::envelope::{Envelope, Recipient, Source};
use posthorn_mail::queue::{Order, Selection};
use posthorn_model::{Address, Notify};
use posthorn_store::tls_reports;
use tokio::time::sleep;

use crate::office::{Office, until};
use crate::receiver::{Receiver, said};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recipients_share_a_transaction_and_messages_a_connection() {
    let receiver = Receiver::willing().await;
    let office = Office::new(receiver.port, |config| config.delivery.options.connections = Some(1)).await;
    for _ in 0..3 {
        office.send(&["a@one.example", "b@one.example", "c@two.example"]).await;
    }
    office.settled().await;
    let messages = receiver.messages();
    assert_eq!(messages.len(), 3, "one transaction for all recipients: they share a site");
    assert_eq!(receiver.connections(), 1);
    assert_eq!(messages[0].sender, "sender@example.net");
    assert_eq!(messages[0].recipients, ["a@one.example", "b@one.example", "c@two.example"]);
    assert!(messages[0].octets.ends_with("\r\n\r\n..dotted\r\nhello\r\n"), "{:?}", messages[0].octets);
    assert_eq!(office.rows().await, []);
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_recipient_hurts_nobody_else_and_its_sender_is_told() {
    let receiver = Receiver::new("PIPELINING", |line, _| {
        line.starts_with("RCPT TO:<nobody@").then(|| "550 5.1.1 no such user".to_owned())
    })
    .await;
    let office = Office::new(receiver.port, |_| {}).await;
    office.send(&["a@one.example", "nobody@one.example", "b@one.example"]).await;
    until("a report", async || !said(&receiver.messages(), "sender@example.net").is_empty()).await;
    office.settled().await;
    let messages = receiver.messages();
    assert_eq!(said(&messages, "a@one.example")[0].recipients, ["a@one.example", "b@one.example"]);
    let report = said(&messages, "sender@example.net")[0];
    assert_eq!(report.sender, "");
    assert!(report.octets.contains("Final-Recipient: rfc822; nobody@one.example"), "{}", report.octets);
    assert!(report.octets.contains("Status: 5.1.1"), "{}", report.octets);
    assert_eq!(office.rows().await, []);
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deferred_is_tried_again_as_the_schedule_says() {
    let receiver = Receiver::new("", |line, seen| {
        let tries = seen.commands.lock().iter().filter(|line| line.starts_with("RCPT")).count();
        (line.starts_with("RCPT") && tries < 3).then(|| "451 4.2.0 later".to_owned())
    })
    .await;
    let office = Office::new(receiver.port, |_| {}).await;
    office.send(&["a@one.example"]).await;
    office.settled().await;
    assert_eq!(office.rows().await, [("a@one.example".to_owned(), 1, "451 4.2.0 later".to_owned(), false, 20)]);
    office.step(TimeDelta::minutes(19)).await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(office.rows().await[0].1, 1, "not yet");
    office.step(TimeDelta::minutes(1)).await;
    until("a second attempt", async || office.rows().await[0].1 == 2).await;
    assert_eq!(office.rows().await[0].4, 40);
    office.step(TimeDelta::minutes(40)).await;
    until("a third attempt", async || office.rows().await.is_empty()).await;
    assert_eq!(receiver.messages().len(), 1);
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_lost_behind_the_final_dot_loses_nothing() {
    let receiver = Receiver::new("PIPELINING", |line, seen| {
        let first = seen.commands.lock().iter().filter(|line| line.starts_with("DATA")).count() == 1;
        (line.starts_with(". ") && first).then(|| "close".to_owned())
    })
    .await;
    let office = Office::new(receiver.port, |_| {}).await;
    office.send(&["a@one.example"]).await;
    office.settled().await;
    let rows = office.rows().await;
    assert_eq!((rows.len(), rows[0].1, rows[0].4), (1, 1, 20));
    assert!(rows[0].2.contains("whether the message was taken is not known"), "{rows:?}");
    office.step(TimeDelta::minutes(20)).await;
    until("another attempt", async || office.rows().await.is_empty()).await;
    assert_eq!(receiver.messages().len(), 1);
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_reached_expires_and_its_sender_is_told() {
    let receiver = Receiver::willing().await;
    let dead = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    let office = Office::new(receiver.port, |config| {
        let host = NextHost::Address([127, 0, 0, 1].into());
        let mut route = Route::to(Next::Smtp { host, port: dead, implicit_tls: false });
        route.recipients = vec!["dead.example".parse().expect("a range")];
        config.route.push(route);
        config.queue.options.delay_notice = Some(Span::from_secs(0));
    })
    .await;
    office.send(&["a@dead.example", "b@dead.example"]).await;
    office.settled().await;
    let rows = office.rows().await;
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row.1 == 1 && row.4 == 20), "{rows:?}");
    assert!(rows[0].2.contains("4.4.1") && rows[0].2.contains("connection refused"), "{rows:?}");
    office.step(TimeDelta::days(6)).await;
    until("a report", async || !said(&receiver.messages(), "sender@example.net").is_empty()).await;
    office.settled().await;
    let messages = receiver.messages();
    assert_eq!(messages.len(), 1, "one report for both recipients");
    assert!(messages[0].octets.contains("a@dead.example") && messages[0].octets.contains("b@dead.example"));
    assert_eq!(office.rows().await, []);
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_s_retry_tries_a_host_that_failed_a_moment_ago() {
    let receiver = Receiver::new("", |line, seen| {
        let first = seen.connections.load(std::sync::atomic::Ordering::Relaxed) == 1;
        (line.starts_with("EHLO") && first).then(|| "421 4.3.2 down".to_owned())
    })
    .await;
    let office = Office::new(receiver.port, |_| {}).await;
    office.send(&["a@one.example"]).await;
    until("a failure", async || office.rows().await.iter().any(|row| row.1 == 1)).await;
    // The clock stands still: the host failed a moment ago.
    let everything = Selection::default();
    office.mail.queue().order(&everything, &Order::Retry, false, 0).await.expect("the store works");
    until("another attempt", async || office.rows().await.is_empty()).await;
    assert_eq!((receiver.connections(), receiver.messages().len()), (2, 1));
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_has_enough_is_left_alone_and_then_probed() {
    let receiver = Receiver::new("PIPELINING", |line, seen| {
        let early = seen.messages.lock().is_empty() && seen.connections.load(std::sync::atomic::Ordering::Relaxed) == 1;
        (line.starts_with("MAIL") && early).then(|| "421 4.7.0 stop it for now".to_owned())
    })
    .await;
    let office = Office::new(receiver.port, |config| {
        config.delivery_rule = toml::from_str::<Config>(
            "[[delivery_rule]]\nname = 'enough'\nwhen = 'stop it'\naction = 'suspend'\nfor = '1 h'\n",
        )
        .expect("rules")
        .delivery_rule;
    })
    .await;
    office.send(&["a@one.example"]).await;
    office.settled().await;
    let view = office.courier().sites();
    assert!(view[0].suspended_until.is_some(), "{view:?}");
    office.send(&["b@one.example"]).await;
    office.settled().await;
    assert_eq!(receiver.connections(), 1, "nothing is tried while it is suspended");
    assert_eq!(office.rows().await.iter().map(|row| (row.1, row.4)).collect::<Vec<_>>(), [(0, 60), (0, 60)]);
    office.step(TimeDelta::minutes(61)).await;
    until("everything is delivered", async || {
        office.courier().wake().await;
        office.rows().await.is_empty()
    })
    .await;
    assert_eq!(receiver.messages().len(), 2);
    assert_eq!(receiver.connections(), 2, "a probe is one connection");
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lmtp_answers_for_each_recipient() {
    let receiver =
        Receiver::new("PIPELINING", |line, _| line.starts_with(". full@").then(|| "452 4.2.2 mailbox full".to_owned()))
            .await;
    let office = Office::new(receiver.port, |config| {
        let Next::Smtp { host, port, .. } = config.route[0].to.clone() else { panic!("SMTP") };
        config.route[0].to = Next::Lmtp { host, port };
    })
    .await;
    office.send(&["a@one.example", "full@one.example"]).await;
    office.settled().await;
    let rows = office.rows().await;
    assert_eq!(rows.iter().map(|row| (row.0.as_str(), row.1)).collect::<Vec<_>>(), [("full@one.example", 1)]);
    assert_eq!(receiver.messages().len(), 1);
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_goes_away_in_the_middle_is_asked_once_more() {
    let receiver = Receiver::new("PIPELINING", |line, seen| {
        let first = seen.connections.load(std::sync::atomic::Ordering::Relaxed) == 1;
        (line.starts_with("MAIL") && first).then(|| "421 4.3.2 restarting".to_owned())
    })
    .await;
    let office = Office::new(receiver.port, |_| {}).await;
    office.send(&["a@one.example"]).await;
    office.settled().await;
    assert_eq!((receiver.messages().len(), receiver.connections()), (1, 2));
    assert_eq!(office.rows().await, []);
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn success_is_reported_as_relayed_where_the_next_host_will_not_report() {
    let receiver = Receiver::willing().await;
    let office = Office::new(receiver.port, |_| {}).await;
    let address = Address::parse("a@one.example").expect("an address");
    let route = office.mail.route(&address).await.expect("the store works");
    let notify = Some(Notify::SUCCESS);
    let recipient = Recipient { address: address.to_string(), route, orcpt: None, notify };
    let envelope = Envelope {
        sender: Some(Address::parse("sender@example.net").expect("an address")),
        recipients: vec![recipient],
        source: Source::Relay,
        ..Envelope::default()
    };
    office.take(&envelope).await;
    until("a report", async || !said(&receiver.messages(), "sender@example.net").is_empty()).await;
    let messages = receiver.messages();
    let report = said(&messages, "sender@example.net")[0];
    assert!(report.octets.contains("Action: relayed"), "{}", report.octets);
    office.settled().await;
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_courier_leaves_another_takes_up() {
    let receiver =
        Receiver::new("", |line, _| line.starts_with("greeting").then(|| "421 4.3.2 not now".to_owned())).await;
    let mut office = Office::new(receiver.port, |_| {}).await;
    office.send(&["a@one.example"]).await;
    office.settled().await;
    office.courier.take().expect("it runs").stop(Duration::from_secs(5)).await;
    office.send(&["b@one.example"]).await;
    let rows = office.rows().await;
    assert!(rows.iter().all(|row| !row.3), "nobody has anything in hand: {rows:?}");
    let willing = Receiver::willing().await;
    let host = NextHost::Address([127, 0, 0, 1].into());
    office.config.route = vec![Route::to(Next::Smtp { host, port: willing.port, implicit_tls: false })];
    office.courier = Some(office.start().await);
    until("the second one", async || !said(&willing.messages(), "b@one.example").is_empty()).await;
    office.step(TimeDelta::minutes(30)).await;
    until("the first one", async || office.rows().await.is_empty()).await;
    assert_eq!(willing.messages().len(), 2);
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_suspended_waits_and_nobody_is_asked() {
    let receiver = Receiver::willing().await;
    let office = Office::new(receiver.port, |config| {
        // Without a route the DNS would have to be asked, and this domain does not exist.
        config.route.clear();
        config.delivery.options.suspend = Some(true);
    })
    .await;
    office.send(&["a@nowhere.invalid"]).await;
    office.settled().await;
    let rows = office.rows().await;
    assert_eq!(rows.iter().map(|row| (row.1, row.4)).collect::<Vec<_>>(), [(0, 10)]);
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_suspend_and_resume() {
    let receiver = Receiver::willing().await;
    let office = Office::new(receiver.port, |_| {}).await;
    let what = posthorn_mail::queue::Suspended::Domain("one.example".to_owned());
    office.mail.queue().suspend(&what, None, "a test").await.expect("the store works");
    office.step(TimeDelta::seconds(10)).await;
    sleep(Duration::from_millis(1500)).await;
    office.send(&["a@one.example", "b@two.example"]).await;
    office.settled().await;
    assert_eq!(
        office.rows().await.iter().map(|row| (row.0.as_str(), row.1)).collect::<Vec<_>>(),
        [("a@one.example", 0)]
    );
    assert_eq!(receiver.messages()[0].recipients, ["b@two.example"]);
    office.mail.queue().resume(&what, "a test").await.expect("the store works");
    office.step(TimeDelta::seconds(10)).await;
    until("delivery", async || {
        office.step(TimeDelta::minutes(1)).await;
        sleep(Duration::from_millis(100)).await;
        office.rows().await.is_empty()
    })
    .await;
    assert_eq!(receiver.messages().len(), 2);
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dns_says_where_mail_goes_and_where_not() {
    let receiver = Receiver::willing().await;
    let dns = DnsServer::start().await;
    dns.zone(
        "example",
        "
mx       A 127.0.0.1
dead     A 127.0.0.2
first    MX 10 dead
first    MX 20 mx
backup   MX 10 mx
backup   MX 20 us
loop     MX 10 us
loop     MX 20 mx
us       A 192.0.2.1
null     MX 0 .
bad      MX 10 mx
",
    );
    dns.zone("example.net", "@ MX 10 mx.example.\n");
    dns.fail("bad.example", "MX");
    let office = Office::asking(dns.options(), receiver.port, |config| {
        config.route.clear();
        config.server.hostname = "us.example".to_owned();
    })
    .await;
    let recipients =
        ["a@first.example", "a@backup.example", "a@loop.example", "a@null.example", "a@bad.example", "a@none.example"];
    for recipient in recipients {
        office.send(&[recipient]).await;
    }
    until("three reports", async || said(&receiver.messages(), "sender@example.net").len() == 3).await;
    office.settled().await;
    let messages = receiver.messages();
    assert_eq!(said(&messages, "a@first.example").len(), 1, "the second host takes it");
    assert_eq!(said(&messages, "a@backup.example").len(), 1, "to the host that is better than us");
    assert_eq!(messages.len(), 5);
    let reports: String = said(&messages, "sender@example.net").iter().map(|report| report.octets.as_str()).collect();
    for (recipient, status) in [("loop", "5.4.6"), ("null", "5.1.10"), ("none", "5.1.2")] {
        assert!(reports.contains(&format!("a@{recipient}.example")), "{reports}");
        assert!(reports.contains(&format!("Status: {status}")), "{status}: {reports}");
    }
    let rows = office.rows().await;
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].0.as_str(), rows[0].1, rows[0].4), ("a@bad.example", 1, 20));
    assert!(rows[0].2.starts_with("450 4.4.3"), "{rows:?}");
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_for_our_own_reports_are_not_counted() {
    let receiver = Receiver::willing().await;
    let dns = DnsServer::start().await;
    dns.zone("example", "mx1 A 127.0.0.1\nmx2 A 127.0.0.1\nmail MX 10 mx1\nreports MX 10 mx2\n");
    let mut office = Office::asking(dns.options(), receiver.port, |config| config.route.clear()).await;
    let envelope = async |recipient: &str| {
        let address = Address::parse(recipient).expect("an address");
        let route = office.mail.route(&address).await.expect("the store works");
        let recipient = Recipient { address: address.to_string(), route, orcpt: None, notify: None };
        Envelope { recipients: vec![recipient], source: Source::Relay, ..Envelope::default() }
    };
    let id = "20260102.tls.reports.example@posthorn.example";
    for (to, id) in [("a@mail.example", "one@posthorn.example"), ("a@reports.example", id)] {
        let octets = format!("Subject: a letter from the null path\r\nMessage-ID: <{id}>\r\n\r\nhello\r\n");
        office.take_octets(&envelope(to).await, octets.as_bytes()).await;
    }
    office.settled().await;
    assert_eq!(receiver.messages().len(), 2);
    office.courier.take().expect("it runs").stop(Duration::from_secs(5)).await;
    let mut connection = office.mail.store().acquire().await.expect("the store works");
    let counts = tls_reports::of_day(&mut connection, office.mail.now().date_naive(), None).await.expect("read");
    let seen: Vec<_> = counts.iter().map(|count| (count.domain.as_str(), count.result.as_str())).collect();
    assert_eq!(seen, [("mail.example", "starttls-not-supported")], "a report would have the next one to tell of");
}
