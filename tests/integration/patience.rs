//! What the courier does with receivers that make it wait, and what senders and operators see of that.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use harness::dns::DnsServer;
use posthorn_config::{Config, Next, NextHost, Route};
use posthorn_mail::envelope::Terms;
use posthorn_mail::queue::{Filter, Order, Selection, Suspended};
use posthorn_model::Address;

use crate::office::{Office, until};
use crate::receiver::{Receiver, said};

/// A route to a port on loopback.
fn route(recipients: &str, port: u16) -> Route {
    let host = NextHost::Address([127, 0, 0, 1].into());
    let mut route = Route::to(Next::Smtp { host, port, implicit_tls: false });
    route.recipients = vec![recipients.parse().expect("a range")];
    route
}

async fn dead_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port()
}

/// What the trace tells of a kind.
async fn told(office: &Office, kind: &str) -> Vec<String> {
    let trace = office.trace().await;
    trace.into_iter().filter(|(_, what, _)| what == kind).map(|(.., detail)| detail).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_depends_on_the_sender_depends_on_who_wrote() {
    let (everybody, own) = (Receiver::willing().await, Receiver::willing().await);
    let dead = dead_port().await;
    let office = Office::new(everybody.port, |config| {
        let rest: Config = toml::from_str(
            "[queue]\nverp = true\n[[queue.policy]]\nname = 'own'\nsenders = ['own.test']\nretry_first = '7 min'\nverp = true\n",
        )
        .expect("a configuration");
        config.queue = rest.queue;
        config.queue.options.retry_jitter = Some(posthorn_config::Ratio::thousandths(0));
        let mut bulk = route("*", own.port);
        bulk.senders = vec!["own.test".parse().expect("a range")];
        config.route.push(bulk);
        config.route.push(route("dead.example", dead));
    })
    .await;
    office.accept("anna@own.test", &["a@one.example", "b@one.example"], Terms::default()).await;
    office.accept("otto@else.test", &["c@one.example"], Terms::default()).await;
    office.settled().await;
    let messages = own.messages();
    assert_eq!(messages.len(), 2, "each recipient has a message of its own");
    assert!(messages.iter().all(|message| message.sender.starts_with("bounce-")), "{messages:?}");
    assert_eq!(everybody.messages().len(), 1);
    let delivered = told(&office, "delivered").await;
    let why = |recipient: &str| delivered.iter().find(|detail| detail.contains(recipient)).expect("delivered").clone();
    assert!(why("a@one.example").contains("route 2: recipients *; senders own.test → smtp://"), "{delivered:?}");
    assert!(why("c@one.example").contains("\"route 1 → smtp://"), "{delivered:?}");

    // The policy of the sender's domain, and what operators look for.
    office.accept("anna@own.test", &["a@dead.example"], Terms::default()).await;
    office.settled().await;
    let rows = office.rows().await;
    assert_eq!(rows.iter().map(|row| (row.0.as_str(), row.4)).collect::<Vec<_>>(), [("a@dead.example", 7)]);
    let selection = Selection {
        filter: Filter { sender: Some("Anna@own.test".to_owned()), ..Filter::default() },
        ..Selection::default()
    };
    let found = office.mail.queue().list(&selection, None, 10).await.expect("the store works");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].outgoing.author(), Some("anna@own.test"));
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_tried_says_so_and_counts_nothing() {
    let dead = dead_port().await;
    let office = Office::new(dead, |_| {}).await;
    office.send(&["a@one.example"]).await;
    office.settled().await;
    // Half a minute: the host is left alone.
    office.send(&["b@one.example"]).await;
    office.settled().await;
    let rows = office.rows().await;
    let shown: Vec<_> = rows.iter().map(|row| (row.0.as_str(), row.1, row.4)).collect();
    assert_eq!(shown, [("a@one.example", 1, 20), ("b@one.example", 0, 20)]);
    assert!(rows[1].2.contains("connection refused"), "{rows:?}");
    let deferred = told(&office, "deferred").await;
    assert_eq!(deferred.len(), 2);
    assert!(deferred[0].contains("\"attempt\":1") && !deferred[0].contains("not tried"), "{deferred:?}");
    assert!(deferred[1].contains("not tried: [127.0.0.1] failed a moment ago"), "{deferred:?}");
    assert!(!deferred[1].contains("\"attempt\""), "{deferred:?}");
    office.step(TimeDelta::minutes(20)).await;
    until("both were tried", async || {
        let rows = office.rows().await;
        rows.iter().map(|row| row.1).sum::<i32>() >= 3 && rows.iter().all(|row| !row.3 && row.4 >= 20)
    })
    .await;
    // One job may have found the host down again; it waits no longer than before.
    for row in office.rows().await {
        assert_eq!(row.4, if row.1 == 2 { 40 } else { 20 }, "{row:?}");
    }
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_its_sender_schedules_is_not_brought_forward() {
    let receiver = Receiver::willing().await;
    let office = Office::new(receiver.port, |_| {}).await;
    let what = Suspended::Domain("one.example".to_owned());
    office.mail.queue().suspend(&what, None, "a test").await.expect("the store works");
    until("the courier heard it", async || {
        office.send(&["probe@one.example"]).await;
        office.settled().await;
        office.rows().await.iter().any(|row| row.4 == 10)
    })
    .await;
    let before = receiver.messages().len();
    let hold_until = Some(office.mail.now() + TimeDelta::hours(2));
    office.accept("sender@example.net", &["later@one.example"], Terms { hold_until, ..Terms::default() }).await;
    office.send(&["held@one.example"]).await;
    office.settled().await;
    let held = Selection {
        filter: Filter { recipient: Some("held@one.example".to_owned()), ..Filter::default() },
        ..Selection::default()
    };
    let hold = Order::Hold { note: "a look".to_owned() };
    office.mail.queue().order(&held, &hold, false, 0).await.expect("the store works");
    office.mail.queue().resume(&what, "a test").await.expect("the store works");
    until("what was put off is delivered", async || {
        office.rows().await.len() == 2 && receiver.messages().len() > before
    })
    .await;
    let rows = office.rows().await;
    let waits: Vec<_> = rows.iter().map(|row| (row.0.as_str(), row.4)).collect();
    assert_eq!(waits, [("held@one.example", 0), ("later@one.example", 120)]);
    office.mail.queue().order(&held, &Order::Release, false, 0).await.expect("the store works");
    until("what was released is delivered", async || office.rows().await.len() == 1).await;
    office.step(TimeDelta::hours(2)).await;
    until("what was scheduled is delivered", async || office.rows().await.is_empty()).await;
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_refuses_everything_is_left_alone_and_probed() {
    let busy = Arc::new(AtomicBool::new(true));
    let still = Arc::clone(&busy);
    let receiver = Receiver::new("PIPELINING", move |line, _| {
        (line.starts_with("MAIL") && still.load(Ordering::Relaxed)).then(|| "451 4.3.2 not now".to_owned())
    })
    .await;
    let office = Office::new(receiver.port, |_| {}).await;
    let asked = || receiver.seen.commands.lock().iter().filter(|line| line.starts_with("MAIL")).count();
    for number in 0..40 {
        office.send(&[&format!("u{number}@one.example")]).await;
        if number % 10 == 9 {
            office.settled().await;
        }
    }
    let first = asked();
    assert!((20..=30).contains(&first), "{first}: twenty in a row, and what was on the wire meanwhile");
    let suspended = office.courier().sites()[0].suspended_until.expect("suspended");
    assert_eq!(suspended, office.mail.now() + TimeDelta::minutes(15));
    let adapted = told(&office, "adapted").await;
    assert!(adapted.len() == 1 && adapted[0].contains("any: refuses everything for now"), "{adapted:?}");
    assert!(adapted[0].contains("451 4.3.2 not now"), "{adapted:?}");

    // One is told no, and that is enough.
    office.step(TimeDelta::minutes(15)).await;
    until("a probe", async || asked() > first && office.courier().sites()[0].suspended_until.is_some()).await;
    office.settled().await;
    assert!(asked() <= first + 3, "{}", asked());
    busy.store(false, Ordering::Relaxed);
    until("everything is delivered", async || {
        office.step(TimeDelta::minutes(15)).await;
        office.rows().await.is_empty()
    })
    .await;
    // This receiver also takes the empty message behind a sender that it refused (RFC 2920 §3.1).
    let taken = receiver.messages();
    assert_eq!(taken.iter().filter(|message| message.octets.contains("hello")).count(), 40);
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_greylists_may_name_the_time() {
    let receiver = Receiver::new("", |line, seen| {
        let tried = seen.commands.lock().iter().filter(|line| line.starts_with("RCPT")).count();
        let later = "451-4.7.1 Greylisted\r\n451 4.7.1 please come back in 00:04:55";
        (line.starts_with("RCPT") && tried == 1).then(|| later.to_owned())
    })
    .await;
    let office = Office::new(receiver.port, |_| {}).await;
    office.send(&["a@one.example"]).await;
    office.settled().await;
    assert_eq!(office.rows().await.iter().map(|row| (row.1, row.4)).collect::<Vec<_>>(), [(1, 4)]);
    let deferred = told(&office, "deferred").await;
    assert!(deferred[0].contains("Greylisted\\u000aplease come back"), "its lines stay lines: {deferred:?}");
    office.step(TimeDelta::seconds(294)).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(office.rows().await.len(), 1, "not yet");
    office.step(TimeDelta::seconds(1)).await;
    until("it is delivered", async || office.rows().await.is_empty()).await;
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_notice_tells_of_all_that_is_late_when_it_is_due() {
    let home = Receiver::willing().await;
    let quick = Receiver::new("", |line, _| line.starts_with("RCPT").then(|| "451 4.2.0 later".to_owned())).await;
    let slow = Receiver::new("", |line, _| {
        line.starts_with("RCPT").then(|| {
            #[expect(
                clippy::disallowed_methods,
                reason = "the receiver is slow, and other tasks have a second thread"
            )]
            std::thread::sleep(Duration::from_millis(400));
            "451 4.2.0 much later".to_owned()
        })
    })
    .await;
    let office = Office::new(home.port, |config| {
        config.route.push(route("quick.example", quick.port));
        config.route.push(route("slow.example", slow.port));
        config.queue.options.delay_notice = Some(posthorn_config::Span::from_secs(3600));
    })
    .await;
    office.send(&["a@quick.example", "b@slow.example"]).await;
    office.settled().await;
    office.step(TimeDelta::minutes(20)).await;
    until("a second attempt", async || office.rows().await.iter().all(|row| row.1 == 2 && !row.3)).await;
    assert!(
        office.rows().await.iter().all(|row| row.4 == 40),
        "not 40 minutes later than that, but when notice is due"
    );
    assert_eq!(home.messages().len(), 0);
    office.step(TimeDelta::minutes(40)).await;
    until("a notice", async || !home.messages().is_empty()).await;
    until("both wait again", async || office.rows().await.iter().all(|row| row.1 == 3 && !row.3)).await;
    office.settled().await;
    let messages = home.messages();
    let notices = said(&messages, "sender@example.net");
    assert_eq!(notices.len(), 1, "{notices:?}");
    let octets = &notices[0].octets;
    assert!(octets.contains("Action: delayed"), "{octets}");
    assert!(octets.contains("a@quick.example") && octets.contains("b@slow.example"), "{octets}");
    assert!(office.rows().await.iter().all(|row| row.4 == 80), "{:?}", office.rows().await);
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_that_would_come_back_to_us_fails_at_once() {
    // At every address of this machine: 127.0.0.5 is one.
    let everywhere = tokio::net::TcpListener::bind("0.0.0.0:0").await.expect("a port");
    let port = everywhere.local_addr().expect("bound").port();
    let namesake =
        Receiver::new("", |line, _| line.starts_with("EHLO").then(|| "250 Posthorn.example".to_owned())).await;
    let home = Receiver::willing().await;
    let dns = DnsServer::start().await;
    dns.zone("example", "here A 127.0.0.5\nnamesake A 127.0.0.1\na MX 10 here\nb MX 10 namesake\n");
    for (recipient, port, everywhere) in [("x@a.example", port, true), ("x@b.example", namesake.port, false)] {
        let office = Office::asking(dns.options(), port, |config| {
            config.route = vec![route("example.net", home.port)];
            if everywhere {
                config.listener =
                    toml::from_str::<Config>("[[listener]]\nname = 'smtp'\nspeaks = 'smtp'\nlisten = ['*:25']\n")
                        .expect("a listener")
                        .listener;
            }
        })
        .await;
        let before = home.messages().len();
        office.send(&[recipient]).await;
        until("a report", async || home.messages().len() > before).await;
        office.settled().await;
        let report = &home.messages()[before].octets;
        assert!(report.contains("Status: 5.4.6") && report.contains("loops back to this server"), "{report}");
        assert_eq!(office.rows().await, []);
        office.stop().await;
    }
    drop(everywhere);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_the_sites_of_every_courier() {
    let dead = dead_port().await;
    let office = Office::new(dead, |_| {}).await;
    office.send(&["a@one.example"]).await;
    office.settled().await;
    let views = office.mail.queue().views(Duration::from_secs(10)).await.expect("the store works");
    assert_eq!(views.len(), 1);
    let sites: Vec<posthorn_courier::SiteView> =
        serde_json::from_str(views[0].sites.as_deref().expect("an answer")).expect("sites");
    assert_eq!(sites, office.courier().sites());
    assert_eq!(sites[0].hosts, [IpAddr::from([127, 0, 0, 1]).to_string()]);
    assert!(sites[0].down.as_ref().is_some_and(|why| why.contains("connection refused")), "{sites:?}");
    assert_eq!(sites[0].down_until, Some(office.mail.now() + TimeDelta::seconds(30)));
    assert!(sites[0].last_refusal.is_some() && sites[0].connections == 0 && sites[0].in_delivery == 0, "{sites:?}");
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_that_takes_no_mail_is_remembered() {
    let home = Receiver::willing().await;
    let dns = DnsServer::start().await;
    dns.zone("example", "null MX 0 .\n");
    let office = Office::asking(dns.options(), home.port, |config| {
        config.route = vec![route("example.net", home.port)];
    })
    .await;
    office.send(&["a@null.example"]).await;
    until("a report", async || !home.messages().is_empty()).await;
    office.settled().await;
    let failed = told(&office, "failed").await;
    assert!(failed[0].contains("\"class\":\"10 "), "{failed:?}");
    let address = Address::parse("a@null.example").expect("an address");
    let known = office.mail.find_suppression("example.net", &address).await.expect("the store works");
    assert!(known.is_some_and(|known| known.class == 10 && known.reason.contains("null MX")));
    office.stop().await;
}
