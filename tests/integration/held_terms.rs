//! Held mail leaves the quarantine on the terms that it came on: who is told of it and how, SMTPUTF8, REQUIRETLS.

use chrono::Utc;
use harness::server::{Server, ServerOptions, row};
use harness::smtp_client::SmtpClient;
use posthorn_config::{Config, FilterPort, Speaks};
use posthorn_filter::quarantine::{Again, Held, Quarantine, Release, Wanted};
use posthorn_filter::recipient::orders::Orders;
use posthorn_mail::queue::{Entry, Selection};
use posthorn_model::{BodyType, ByMode, Lane, Notify};

use crate::filter_ports::{BANNED, Mta, filter_with, next_hop};
use crate::office::until;
use crate::receiver::Receiver;
use crate::rows::peers;

const ASKED: &str = "NOTIFY=NEVER ORCPT=rfc822;Bob+2B@example.com";

/// Everything for others goes to this port.
fn routed(config: &mut Config, port: u16) {
    let text = format!("[[route]]\nto = \"smtp://127.0.0.1:{port}\"");
    config.route = toml::from_str::<Config>(&text).expect("a route").route;
}

/// Our own port 25, whose clients may relay, in front of this receiver.
async fn server(port: u16) -> Server {
    let options = ServerOptions::new().with(move |config| {
        config.filter.enable = true;
        config.dkim.sign = false;
        row(config, Speaks::Smtp).peer = peers(&["network = '127.0.0.1'\nrelay = true"]);
        routed(config, port);
    });
    let server = Server::start(options).await;
    for who in ["@example.org", "@example.com"] {
        wish(&server, who, "banned", "hold").await;
    }
    server
}

async fn wish(server: &Server, who: &str, field: &str, value: &str) {
    let orders = Orders::new(server.mail(), &server.config().filter);
    let values = [(field.to_owned(), Some(value.to_owned()))];
    orders.set(who, &values).await.expect("the store works").expect("they fit");
    server.appliance().filter().reload().await.expect("the store works");
}

fn quarantine(server: &Server) -> Quarantine {
    server.appliance().filter().quarantine().clone()
}

/// The one message that is held.
async fn held(server: &Server) -> Held {
    let all = quarantine(server).list(&Wanted::default(), 10).await.expect("the store works");
    let [one] = <[Held; 1]>::try_from(all).expect("one message is held");
    one
}

async fn release(server: &Server, one: &Held, sender: Option<&str>) {
    let order = Release { sender: sender.map(str::to_owned), by: "test".to_owned(), ..Release::default() };
    let released = quarantine(server).release(one, &order).await.expect("the store works");
    assert!(!released.is_empty() && released.iter().all(|one| one.outcome.is_ok()), "{released:?}");
}

async fn queued(server: &Server) -> Vec<Entry> {
    server.mail().queue().list(&Selection::default(), None, 100).await.expect("the store works")
}

/// The last MAIL and RCPT that a receiver heard, once it has so many messages.
async fn heard(receiver: &Receiver, messages: usize) -> [String; 2] {
    until("it leaves", async || receiver.messages().len() == messages).await;
    let commands = receiver.seen.commands.lock().clone();
    ["MAIL ", "RCPT "].map(|verb| commands.iter().rfind(|line| line.starts_with(verb)).expect("said").clone())
}

async fn hand_in(client: &mut SmtpClient, mail: &str, rcpt: &str) {
    client.expect(&format!("MAIL FROM:{mail}"), "250 ").await;
    client.expect(&format!("RCPT TO:{rcpt}"), "250 ").await;
    let reply = client.data(BANNED).await;
    assert!(reply.starts_with("250 "), "{reply}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_behind_another_server_leaves_as_it_came() {
    let hop = next_hop().await;
    let port = hop.port;
    let server = filter_with(port, FilterPort::default(), move |config| routed(config, port)).await;
    let mut client = server.smtp(Speaks::Filter).await;
    let mail = "<jörg@example.net> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ+2B1";
    hand_in(&mut client, mail, &format!("<bob@example.com> {ASKED}")).await;
    assert!(hop.messages().is_empty());
    release(&server, &held(&server).await, None).await;
    let [mail, rcpt] = heard(&hop, 1).await;
    assert_eq!(rcpt, format!("RCPT TO:<bob@example.com> {ASKED}"));
    for word in ["FROM:<jörg@example.net>", "BODY=8BITMIME", "SMTPUTF8", "RET=HDRS", "ENVID=QQ+2B1"] {
        assert!(mail.contains(word), "{word}: {mail}");
    }

    // Judged anew, too.
    let mail = "<ann@example.net> RET=FULL ENVID=again";
    hand_in(&mut client, mail, "<eve@example.com> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;e@example.com").await;
    wish(&server, "eve@example.com", "bypass_banned", "true").await;
    let one = held(&server).await;
    let again = server.appliance().filter().requeue(&one, &[], "test", false).await.expect("the store works");
    assert!(matches!(&again[..], [only] if only.outcome == Again::Delivered), "{again:?}");
    let [mail, rcpt] = heard(&hop, 2).await;
    assert_eq!(rcpt, "RCPT TO:<eve@example.com> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;e@example.com");
    assert!(mail.contains("RET=FULL ENVID=again") && !mail.contains("SMTPUTF8"), "{mail}");

    // Another sender has asked for nothing.
    hand_in(&mut client, "<ann@example.net> RET=HDRS ENVID=x", &format!("<bob@example.com> {ASKED}")).await;
    release(&server, &held(&server).await, Some("postmaster@example.org")).await;
    let [mail, rcpt] = heard(&hop, 3).await;
    assert_eq!(rcpt, "RCPT TO:<bob@example.com> ORCPT=rfc822;Bob+2B@example.com");
    assert!(mail.contains("<postmaster@example.org>") && !mail.contains("ENVID") && !mail.contains("RET="), "{mail}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hop_without_reports_is_asked_for_none() {
    let hop = Receiver::willing().await;
    let server = server(hop.port).await;
    let mut client = server.smtp(Speaks::Smtp).await;
    hand_in(&mut client, "<ann@example.net> RET=HDRS ENVID=x", &format!("<bob@example.com> {ASKED}")).await;
    release(&server, &held(&server).await, None).await;
    let [mail, rcpt] = heard(&hop, 1).await;
    assert_eq!((mail.as_str(), rcpt.as_str()), ("MAIL FROM:<ann@example.net>", "RCPT TO:<bob@example.com>"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_milter_holds_leaves_as_it_came() {
    let hop = next_hop().await;
    let server = server(hop.port).await;
    let mut mta = Mta::which_allows(&server, 0x1ff).await;
    mta.tell(b'M', b"<ann@example.net>\0SIZE=1000\0RET=HDRS\0ENVID=QQ+2B1\0XUNKNOWN=1\0").await;
    assert_eq!(mta.hear().await.0, b'c');
    mta.tell(b'R', format!("<bob@example.com>\0{}\0", ASKED.replace(' ', "\0")).as_bytes()).await;
    assert_eq!(mta.hear().await.0, b'c');
    mta.tell_body(BANNED).await;
    let (mut letter, mut words) = mta.hear().await;
    while !b"acrtdy".contains(&letter) {
        (letter, words) = mta.hear().await;
    }
    assert_eq!(letter, b'd', "{}", String::from_utf8_lossy(&words));
    release(&server, &held(&server).await, None).await;
    let [mail, rcpt] = heard(&hop, 1).await;
    assert_eq!(rcpt, format!("RCPT TO:<bob@example.com> {ASKED}"));
    assert!(mail.contains("RET=HDRS") && mail.contains("ENVID=QQ+2B1"), "{mail}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wanted_to_know_of_a_delivery_is_told_when_it_is_released() {
    let hop = next_hop().await;
    let server = server(hop.port).await;
    for address in ["bob@example.org", "eve@example.org"] {
        server.mailbox_only(address).await;
    }
    let mut client = server.smtp(Speaks::Smtp).await;
    client.expect("MAIL FROM:<ann@example.net> RET=HDRS ENVID=QQ+2B1", "250 ").await;
    client.expect("RCPT TO:<bob@example.org> NOTIFY=SUCCESS ORCPT=rfc822;Bobby@example.org", "250 ").await;
    client.expect("RCPT TO:<eve@example.org> NOTIFY=NEVER", "250 ").await;
    assert!(client.data(BANNED).await.starts_with("250 "));
    let one = held(&server).await;
    assert!(queued(&server).await.is_empty(), "nothing has arrived yet");
    release(&server, &one, None).await;
    until("a report", async || !hop.messages().is_empty()).await;
    let [report] = &hop.messages()[..] else { panic!("one report") };
    assert_eq!((report.sender.as_str(), &report.recipients[..]), ("", &["ann@example.net".to_owned()][..]));
    for line in ["Original-Envelope-Id: QQ+1", "Original-Recipient: rfc822; Bobby@example.org", "Action: delivered"] {
        assert!(report.octets.contains(&format!("\r\n{line}\r\n")), "{line}: {}", report.octets);
    }
    assert!(!report.octets.contains("eve@example.org"), "{}", report.octets);
    for address in ["bob@example.org", "eve@example.org"] {
        assert_eq!(server.messages(address, "INBOX").await.len(), 1);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_to_go_under_tls_only_waits_rather_than_go_without() {
    let hop = Receiver::new("PIPELINING DSN REQUIRETLS MT-PRIORITY DELIVERBY", |_, _| None).await;
    let server = server(hop.port).await;
    let mut client = server.smtp(Speaks::Smtp).await.starttls().await;
    let mail = "<ann@example.net> BODY=BINARYMIME REQUIRETLS MT-PRIORITY=5 BY=7200;N";
    client.expect(&format!("MAIL FROM:{mail}"), "250 ").await;
    client.expect("RCPT TO:<bob@example.com> NOTIFY=FAILURE", "250 ").await;
    client.stream.send(format!("BDAT {} LAST\r\n{BANNED}", BANNED.len())).await;
    let reply = client.reply().await;
    assert!(reply.starts_with("250 "), "{reply}");
    let before = Utc::now();
    release(&server, &held(&server).await, None).await;
    let [Entry { outgoing, delivery }] = &queued(&server).await[..] else { panic!("it is queued") };
    assert!(outgoing.require_tls);
    assert_eq!((outgoing.body_type, outgoing.priority, delivery.lane), (BodyType::Binary, 5, Lane::Urgent));
    let (by, mode) = outgoing.deliver_by.expect("a time");
    assert!(mode == ByMode::Notify && (by - before).num_seconds() > 7000, "{by}");
    assert_eq!(delivery.notify, Some(Notify::FAILURE));
    until("it is tried", async || queued(&server).await.iter().all(|entry| entry.delivery.attempts > 0)).await;
    assert!(hop.messages().is_empty());
    server.stop().await;
}
