//! The ports of the filter where something is in the way: a mail server that hangs up, a next hop with seven bits, a milter's
//! client that lets us change little.

use std::time::Duration;

use harness::server::{Server, ServerOptions, row};
use harness::smtp_client::stuffed;
use posthorn_config::{
    FilterPort, FilterWay, MilterHold, MilterPort, Scanner, ScannerKind, ServiceAddress, SmtpExtension, Span, Speaks,
};
use posthorn_filter::quarantine::Wanted;
use posthorn_filter::recipient::orders::Orders;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::filter_ports::{BANNED, Mta, filter, filter_with, next_hop, plain};
use crate::receiver::{Receiver, Seen};

/// An engine that listens and never says a word.
async fn silent() -> (TcpListener, Scanner) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = ServiceAddress::Tcp(listener.local_addr().expect("bound"));
    let mut scanner = Scanner::new("silent", ScannerKind::Clamd, address);
    scanner.time = Span::from_secs(60);
    (listener, scanner)
}

/// Whether the engine's question was given up within a few seconds.
async fn given_up(listener: &TcpListener, asked: impl Future<Output = ()>) -> bool {
    let (mut stream, _) = listener.accept().await.expect("it is asked");
    let mut first = [0; 1];
    stream.read_exact(&mut first).await.expect("a question");
    asked.await;
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await.is_ok()
}

async fn wish(server: &Server, who: &str, fields: &[(&str, &str)]) {
    let values: Vec<_> = fields.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect();
    let orders = Orders::new(server.mail(), &server.config().filter);
    orders.set(who, &values).await.expect("the store works").expect("they fit");
}

#[tokio::test]
async fn who_hangs_up_before_the_verdict_keeps_the_message() {
    let (listener, scanner) = silent().await;
    let hop = next_hop().await;
    let server = filter_with(hop.port, FilterPort::default(), |config| config.scanner = vec![scanner]).await;
    let mut client = server.smtp(Speaks::Filter).await;
    client.expect("MAIL FROM:<ann@example.net>", "250 ").await;
    client.expect("RCPT TO:<bob@example.com>", "250 ").await;
    client.expect("DATA", "354 ").await;
    client.stream.send(format!("{}.\r\n", stuffed(&plain("left")))).await;
    assert!(given_up(&listener, async { drop(client) }).await, "nobody waits for that verdict");

    let mut mta = Mta::which_allows(&server, 0x1ff).await;
    mta.tell_message(&["bob@example.com"], &plain("left")).await;
    assert!(given_up(&listener, async { drop(mta) }).await, "nor for that one");
    assert_eq!(hop.messages().len(), 0);
    // Others go on.
    let mut client = server.smtp(Speaks::Filter).await;
    client.expect("NOOP", "250 ").await;
    server.stop().await;
}

#[tokio::test]
async fn eight_bits_are_carried_where_the_next_hop_takes_them() {
    let hop = next_hop().await;
    let server = filter(hop.port, FilterPort { way: FilterWay::Originating, ..FilterPort::default() }).await;
    let mut client = server.greeted(Speaks::Filter).await;
    let offered = client.hello("EHLO").await.join("\n");
    assert!(offered.contains("8BITMIME") && offered.contains("SMTPUTF8"), "{offered}");
    client.expect("MAIL FROM:<jörg@example.org> BODY=8BITMIME SMTPUTF8", "250 ").await;
    client.expect("RCPT TO:<bob@example.com>", "250 ").await;
    assert!(client.data(&plain("ours").replace("Hello", "Grüße")).await.starts_with("250 "));
    let commands = hop.seen.commands.lock().clone();
    let mail = commands.iter().find(|line| line.starts_with("MAIL ")).expect("a sender");
    assert!(mail.contains("<jörg@example.org>") && mail.contains("BODY=8BITMIME SMTPUTF8"), "{mail}");
    assert!(hop.messages()[0].octets.contains("Grüße"));
    server.stop().await;
}

#[tokio::test]
async fn seven_bits_are_all_that_is_offered_where_the_next_hop_takes_no_more() {
    let hop = Receiver::new("PIPELINING", |_, _: &Seen| None).await;
    let server = filter(hop.port, FilterPort { way: FilterWay::Originating, ..FilterPort::default() }).await;
    let mut client = server.greeted(Speaks::Filter).await;
    assert!(client.hello("EHLO").await.join("\n").contains("8BITMIME"), "nobody has asked it yet");
    client.expect("MAIL FROM:<ann@example.org> BODY=8BITMIME", "250 ").await;
    client.expect("RCPT TO:<bob@example.com>", "250 ").await;
    let reply = client.data(&plain("eight").replace("Hello", "Grüße")).await;
    assert!(reply.starts_with("451 4.5.0 ") && reply.contains("seven bits"), "{reply}");
    // The mail server's next session makes seven bits of it first.
    let mut client = server.greeted(Speaks::Filter).await;
    let offered = client.hello("EHLO").await.join("\n");
    assert!(!offered.contains("8BITMIME") && !offered.contains("SMTPUTF8"), "{offered}");
    let reply = client.deliver("ann@example.org", &["bob@example.com"], &plain("seven")).await;
    assert!(reply.starts_with("250 "), "{reply}");
    assert_eq!(hop.messages().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn extensions_may_be_left_out() {
    let hop = next_hop().await;
    let server = filter_with(hop.port, FilterPort::default(), |config| {
        let seven = |one: &SmtpExtension| !matches!(one, SmtpExtension::EightBitMime);
        row(config, Speaks::Filter).options.smtp_extensions =
            Some(SmtpExtension::ALL.into_iter().filter(seven).collect());
    })
    .await;
    let mut client = server.greeted(Speaks::Filter).await;
    let offered = client.hello("EHLO").await.join("\n");
    assert!(!offered.contains("8BITMIME") && !offered.contains("SMTPUTF8"), "{offered}");
    client.expect("MAIL FROM:<ann@example.org> BODY=8BITMIME", "555 ").await;
    server.stop().await;
}

async fn milter(hold: MilterHold) -> Server {
    let options = ServerOptions::new().with(move |config| {
        config.filter.enable = true;
        row(config, Speaks::Milter).milter = Some(MilterPort { hold });
    });
    Server::start(options).await
}

/// What was said with these letters.
fn said(all: &[(u8, String)], letters: &[u8]) -> Vec<String> {
    let chosen = all.iter().filter(|(letter, _)| letters.contains(letter));
    chosen.map(|(letter, text)| format!("{}{text}", char::from(*letter))).collect()
}

#[tokio::test]
async fn a_milter_takes_recipients_away_and_gives_them_other_addresses() {
    let server = milter(MilterHold::Here).await;
    wish(&server, "bob@example.com", &[("banned", "hold")]).await;
    wish(&server, "eve@example.com", &[("banned", "deliver"), ("extension_banned", "files")]).await;
    wish(&server, "joe@example.com", &[("banned", "deliver")]).await;
    let all = ["bob@example.com", "eve@example.com", "joe@example.com"];
    let mut mta = Mta::which_allows(&server, 0x1ff).await;
    let heard = mta.message(&all, BANNED).await;
    let expected = ["-<bob@example.com>|", "-<eve@example.com>|", "+<eve+files@example.com>|", "c"];
    assert_eq!(said(&heard, b"-+2crtdyq"), expected, "{heard:?}");
    assert_eq!(held(&server).await, 1);
    // Held for all of them: Postfix throws away what lies here.
    let heard = mta.message(&all[..1], BANNED).await;
    assert_eq!(said(&heard, b"-+2crtdyq"), ["d"], "{heard:?}");
    assert_eq!(held(&server).await, 2);

    // 0x8 is for taking recipients away: without it nobody gets what one of them is not to have.
    let mut mta = Mta::which_allows(&server, 0x1ff - 0x8).await;
    let heard = mta.message(&all, BANNED).await;
    let [refusal] = &said(&heard, b"-+2crtdyq")[..] else { panic!("{heard:?}") };
    assert!(refusal.starts_with("y554 5.7.0 "), "{refusal}");
    assert_eq!(held(&server).await, 2);
    // 0x4 is for new ones: the address stays as it is.
    let mut mta = Mta::which_allows(&server, 0x1ff - 0x4).await;
    let heard = mta.message(&all, BANNED).await;
    assert_eq!(said(&heard, b"-+2crtdyq"), ["-<bob@example.com>|", "c"], "{heard:?}");
    server.stop().await;
}

#[tokio::test]
async fn the_mail_servers_own_hold_is_used_where_it_has_one() {
    let server = milter(MilterHold::There).await;
    wish(&server, "bob@example.com", &[("banned", "hold")]).await;
    let mut mta = Mta::which_allows(&server, 0x1ff).await;
    let heard = mta.message(&["bob@example.com"], BANNED).await;
    let [why, goes_on] = &said(&heard, b"-+2crtdyq")[..] else { panic!("{heard:?}") };
    assert!(why.starts_with('q') && why.len() > 2 && goes_on == "c", "{heard:?}");
    assert_eq!(held(&server).await, 0);
    // 0x20 is for that: who has none must not deliver it.
    let mut mta = Mta::which_allows(&server, 0x1ff - 0x20).await;
    let heard = mta.message(&["bob@example.com"], BANNED).await;
    assert_eq!(said(&heard, b"-+2crtdyq"), ["d"], "{heard:?}");
    assert_eq!(held(&server).await, 1);
    server.stop().await;
}

/// How many messages lie in the quarantine.
async fn held(server: &Server) -> u64 {
    server.appliance().filter().quarantine().count(&Wanted::default()).await.expect("the store works")
}
