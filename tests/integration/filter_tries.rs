//! Messages that come again, or must not be given away twice: one recipient waits, a copy cannot be stored, a content filter
//! elsewhere is silent.

use std::time::Duration;

use bytes::Bytes;
use harness::server::{Server, ServerOptions};
use harness::smtp_client::stuffed;
use posthorn_config::{FilterPort, Scanner, ScannerFailure, ScannerKind, ServiceAddress, Span, Speaks};
use posthorn_filter::Errand;
use posthorn_filter::quarantine::Wanted;
use posthorn_filter::recipient::orders::Orders;

use crate::filter_ports::{BANNED, filter, plain};
use crate::office::until;
use crate::receiver::{Receiver, Seen, said};

async fn wish(server: &Server, who: &str, fields: &[(&str, &str)]) {
    let values: Vec<_> = fields.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect();
    let orders = Orders::new(server.mail(), &server.config().filter);
    orders.set(who, &values).await.expect("the store works").expect("they fit");
    server.appliance().filter().reload().await.expect("the store works");
}

async fn held(server: &Server) -> u64 {
    server.appliance().filter().quarantine().count(&Wanted::default()).await.expect("the store works")
}

async fn send(server: &Server, speaks: Speaks, to: &[&str], message: &str) -> String {
    server.smtp(speaks).await.deliver("ann@example.net", to, message).await
}

/// Says this to this recipient until the gate is opened.
async fn defers(line: &'static str, reply: &'static str) -> Receiver {
    Receiver::new("PIPELINING", move |said, seen: &Seen| {
        (said == line && !*seen.gate.borrow()).then(|| reply.to_owned())
    })
    .await
}

fn recipients(receiver: &Receiver) -> Vec<Vec<String>> {
    receiver.messages().into_iter().map(|message| message.recipients).collect()
}

#[tokio::test]
async fn while_one_waits_the_others_get_one_copy() {
    let hop = defers("RCPT TO:<eve@example.com>", "452 4.2.2 full").await;
    let server = filter(hop.port, FilterPort::default()).await;
    let all = ["bob@example.com", "eve@example.com", "joe@example.com"];
    // What the mail server puts on top differs from try to try.
    let tried = |number: u8| format!("Received: by mx; try {number}\r\n{}", plain("again"));
    for number in 0..2 {
        let reply = send(&server, Speaks::Filter, &all, &tried(number)).await;
        assert!(reply.starts_with("452 4.2.2 "), "{reply}");
    }
    assert_eq!(recipients(&hop), [[all[0], all[2]]]);
    hop.seen.gate.send_replace(true);
    let reply = send(&server, Speaks::Filter, &all, &tried(2)).await;
    assert!(reply.starts_with("250 2.0.0 from MTA(smtp:"), "{reply}");
    assert_eq!(recipients(&hop)[1..], [[all[1]]]);
    // Its sender has heard yes: the same once more is another message.
    assert!(send(&server, Speaks::Filter, &all, &tried(3)).await.starts_with("250 "));
    assert_eq!(recipients(&hop)[2..], [all]);
    server.stop().await;
}

#[tokio::test]
async fn who_is_refused_for_good_beside_one_who_waits_is_held_in_the_end() {
    let hop = Receiver::new("PIPELINING", |line, seen: &Seen| match line {
        "RCPT TO:<eve@example.com>" if !*seen.gate.borrow() => Some("451 4.7.1 later".to_owned()),
        "RCPT TO:<gone@example.com>" => Some("550 5.1.1 nobody".to_owned()),
        _ => None,
    })
    .await;
    let server = filter(hop.port, FilterPort::default()).await;
    let all = ["gone@example.com", "bob@example.com", "eve@example.com"];
    let reply = send(&server, Speaks::Filter, &all, &plain("mixed")).await;
    assert!(reply.starts_with("451 4.7.1 "), "{reply}");
    assert_eq!(held(&server).await, 0);
    hop.seen.gate.send_replace(true);
    // Of all that is left one is refused, and bob has it: no reply may say no for him.
    for left in [&all[..2], &all[..]] {
        let reply = send(&server, Speaks::Filter, left, &plain("mixed")).await;
        assert!(reply.starts_with("250 "), "{reply}");
    }
    assert_eq!(recipients(&hop), [vec![all[1]], vec![all[1], all[2]]]);
    assert_eq!(held(&server).await, 2);
    server.stop().await;
}

#[tokio::test]
async fn of_copies_that_differ_none_is_held_or_handed_on_twice() {
    let hop = defers("RCPT TO:<joe+files@example.com>", "451 4.3.0 later").await;
    let server = filter(hop.port, FilterPort::default()).await;
    let all = ["bob@example.com", "eve@example.com", "joe@example.com"];
    wish(&server, all[0], &[("banned", "deliver")]).await;
    wish(&server, all[1], &[("banned", "hold")]).await;
    wish(&server, all[2], &[("banned", "deliver"), ("extension_banned", "files")]).await;
    for _ in 0..2 {
        let reply = send(&server, Speaks::Filter, &all, BANNED).await;
        assert!(reply.starts_with("451 4.3.0 "), "{reply}");
    }
    assert_eq!(held(&server).await, 1);
    hop.seen.gate.send_replace(true);
    let reply = send(&server, Speaks::Filter, &all, BANNED).await;
    assert!(reply.starts_with("250 2.0.0 from "), "{reply}");
    assert_eq!(
        (recipients(&hop), held(&server).await),
        (vec![vec![all[0].to_owned()], vec!["joe+files@example.com".to_owned()]], 1)
    );
    server.stop().await;
}

#[tokio::test]
async fn a_mail_server_that_hangs_up_while_copies_go_on_has_none_go_twice() {
    let hop = Receiver::new("PIPELINING", |line, seen: &Seen| {
        let last = |seen: &Seen| seen.commands.lock().iter().rev().find(|line| line.starts_with("RCPT")).cloned();
        let waits = line.starts_with(". ") && last(seen).is_some_and(|line| line.contains("joe+files"));
        waits.then(|| "wait".to_owned())
    })
    .await;
    let server = filter(hop.port, FilterPort::default()).await;
    let all = ["bob@example.com", "joe@example.com"];
    wish(&server, all[0], &[("banned", "deliver")]).await;
    wish(&server, all[1], &[("banned", "deliver"), ("extension_banned", "files")]).await;
    let mut client = server.smtp(Speaks::Filter).await;
    client.expect("MAIL FROM:<ann@example.net>", "250 ").await;
    for recipient in all {
        client.expect(&format!("RCPT TO:<{recipient}>"), "250 ").await;
    }
    client.expect("DATA", "354 ").await;
    client.stream.send(format!("{}.\r\n", stuffed(BANNED))).await;
    let datas = || hop.seen.commands.lock().iter().filter(|line| *line == "DATA").count();
    until("the second copy is on its way", async || datas() == 2).await;
    drop(client);
    seen_to_go().await;
    hop.seen.gate.send_replace(true);
    remembered(&server, BANNED, &format!("smtp:127.0.0.1:{}", hop.port), all[1]).await;
    let reply = send(&server, Speaks::Filter, &all, BANNED).await;
    assert!(reply.starts_with("250 "), "{reply}");
    let messages = hop.messages();
    assert_eq!((said(&messages, all[0]).len(), said(&messages, "joe+files@example.com").len()), (1, 1));
    server.stop().await;
}

/// Gives a server time to see that its client has gone.
async fn seen_to_go() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// Waits until it is remembered that this one has the message.
async fn remembered(server: &Server, message: &str, next: &str, recipient: &str) {
    let octets = Bytes::copy_from_slice(message.as_bytes());
    let errand = Errand::of(&octets, "ann@example.net", next).await;
    let served = server.appliance().filter().served();
    until("it is remembered", async || served.find(&errand, recipient).is_some()).await;
}

const BOB: &str = "bob@example.org";
const EVE: &str = "eve@example.org";

/// A server of our own with a content filter elsewhere that has these addresses.
async fn behind(kind: ScannerKind, filters: &[&Receiver]) -> Server {
    let address = |port: u16| ServiceAddress::Tcp(([127, 0, 0, 1], port).into());
    let mut row = Scanner::new("amavis", kind, address(filters[0].port));
    row.address = filters.iter().map(|filter| address(filter.port)).collect();
    row.on_failure = ScannerFailure::Pass;
    row.time = Span::from_secs(3);
    let options = ServerOptions::new().with(move |config| {
        (config.filter.enable, config.filter.lmtp) = (true, true);
        config.scanner = vec![row];
    });
    let server = Server::start(options).await;
    for who in [BOB, EVE] {
        server.mailbox_only(who).await;
    }
    server
}

#[tokio::test]
async fn a_content_filter_that_is_silent_behind_the_dot_is_not_gone_round() {
    let silent = defers(". ", "wait").await;
    let second = Receiver::willing().await;
    let server = behind(ScannerKind::Smtp, &[&silent, &second]).await;
    let reply = send(&server, Speaks::Smtp, &[BOB], &plain("silent")).await;
    assert!(reply.starts_with("451 "), "{reply}");
    assert_eq!(second.connections(), 0);
    assert!(server.messages(BOB, "INBOX").await.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_content_filter_has_nothing_twice_because_the_client_hung_up() {
    let slow = defers(". ", "wait").await;
    let server = behind(ScannerKind::Smtp, &[&slow]).await;
    let message = plain("slow");
    let mut client = server.smtp(Speaks::Smtp).await;
    client.expect("MAIL FROM:<ann@example.net>", "250 ").await;
    client.expect(&format!("RCPT TO:<{BOB}>"), "250 ").await;
    client.expect("DATA", "354 ").await;
    client.stream.send(format!("{}.\r\n", stuffed(&message))).await;
    until("it is asked", async || slow.seen.commands.lock().iter().any(|line| line == "DATA")).await;
    drop(client);
    seen_to_go().await;
    slow.seen.gate.send_replace(true);
    remembered(&server, &message, "amavis", BOB).await;
    let reply = send(&server, Speaks::Smtp, &[BOB], &message).await;
    assert!(reply.starts_with("250 "), "{reply}");
    assert_eq!(slow.messages().len(), 1);
    assert!(server.appliance().filter().served().is_empty(), "its sender has heard");
    server.stop().await;
}

#[tokio::test]
async fn a_content_filter_has_nothing_twice_because_one_recipient_waits() {
    let elsewhere = defers(". eve@example.org", "451 4.3.0 later").await;
    let server = behind(ScannerKind::Lmtp, &[&elsewhere]).await;
    for _ in 0..2 {
        let reply = send(&server, Speaks::Smtp, &[BOB, EVE], &plain("waits")).await;
        assert!(reply.starts_with("451 4.3.0 "), "{reply}");
    }
    let bob: Vec<_> = recipients(&elsewhere).into_iter().filter(|to| to.iter().any(|one| one == BOB)).collect();
    assert_eq!(bob, [[BOB, EVE]]);
    elsewhere.seen.gate.send_replace(true);
    let reply = send(&server, Speaks::Smtp, &[BOB, EVE], &plain("waits")).await;
    assert!(reply.starts_with("250 "), "{reply}");
    assert_eq!(recipients(&elsewhere).last().map(Vec::as_slice), Some(&[EVE.to_owned()][..]));
    assert_eq!(held(&server).await, 0, "who waits is not held");
    // All have heard yes: what comes now is another message.
    assert!(send(&server, Speaks::Smtp, &[BOB, EVE], &plain("waits")).await.starts_with("250 "));
    assert_eq!(said(&elsewhere.messages(), BOB).len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn a_content_filter_has_nothing_twice_because_the_rest_cannot_be_held() {
    let elsewhere = Receiver::willing().await;
    let server = behind(ScannerKind::Smtp, &[&elsewhere]).await;
    wish(&server, BOB, &[("banned", "deliver")]).await;
    wish(&server, EVE, &[("banned", "hold")]).await;
    let mut connection = server.mail().store().acquire().await.expect("the store works");
    let shut = sqlx::query("alter table held add constraint shut check (false) not valid");
    shut.execute(&mut *connection).await.expect("the table is there");
    let reply = send(&server, Speaks::Smtp, &[BOB, EVE], BANNED).await;
    assert!(reply.starts_with("451 "), "{reply}");
    sqlx::query("alter table held drop constraint shut").execute(&mut *connection).await.expect("it is there");
    drop(connection);
    let reply = send(&server, Speaks::Smtp, &[BOB, EVE], BANNED).await;
    assert!(reply.starts_with("250 "), "{reply}");
    assert_eq!((recipients(&elsewhere), held(&server).await), (vec![vec![BOB.to_owned()]], 1));
    server.stop().await;
}

#[tokio::test]
async fn with_lmtp_who_is_served_elsewhere_hears_nothing_of_the_others() {
    let elsewhere = Receiver::willing().await;
    let server = behind(ScannerKind::Smtp, &[&elsewhere]).await;
    wish(&server, BOB, &[("banned", "deliver")]).await;
    wish(&server, EVE, &[("banned", "hold")]).await;
    let mut connection = server.mail().store().acquire().await.expect("the store works");
    let shut = sqlx::query("alter table held add constraint shut check (false) not valid");
    shut.execute(&mut *connection).await.expect("the table is there");
    let mut client = server.greeted(Speaks::Lmtp).await;
    client.hello("LHLO").await;
    let first = client.deliver("ann@example.net", &[BOB, EVE], BANNED).await;
    let replies = [first, client.reply().await];
    assert!(replies[0].starts_with("250 ") && replies[1].starts_with("451 "), "{replies:?}");
    drop(connection);
    server.stop().await;
}
