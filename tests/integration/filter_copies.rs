//! Copies that differ: one for each mailbox, whoever leads there, and memory for what differs alone.

use harness::server::{Server, ServerOptions};
use posthorn_config::{Config, Speaks};
use posthorn_filter::quarantine::Wanted;
use posthorn_filter::recipient::orders::Orders;
use posthorn_mail::Mail;
use posthorn_mail::accept::Completion;
use posthorn_mail::copies::{Change, Edit, Treatment};
use posthorn_mail::directory::{AccountChange, NewAccount};
use posthorn_mail::envelope::{Envelope, Recipient};
use posthorn_mail::trace::TraceOf;
use posthorn_model::{Address, Domain};

const BOB: &str = "bob@example.org";
const EVE: &str = "eve@example.org";
/// Leads to both.
const INFO: &str = "info@example.org";
/// Leads to Bob alone.
const SALES: &str = "sales@example.org";

const PLAIN: &str = "From: Ann <ann@sender.test>\r\nTo: eve@example.org\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\n\
    Subject: hello\r\nMessage-ID: <m1@sender.test>\r\n\r\nHello.\r\n";

async fn server(options: ServerOptions) -> Server {
    let server = Server::start(options.with(|config| config.filter.enable = true)).await;
    for address in [BOB, EVE] {
        server.account(address, "a long enough password").await;
    }
    server.alias(INFO, &[BOB, EVE]).await;
    server.alias(SALES, &[BOB]).await;
    server
}

/// What mail of the sender scores for somebody.
async fn weigh(server: &Server, who: &str, score: f64) {
    let orders = Orders::new(server.mail(), &server.config().filter);
    orders.list_sender(who, "@sender.test", score, "").await.expect("the store works").expect("patterns");
    server.appliance().filter().reload().await.expect("the store works");
}

async fn set(server: &Server, who: &str, field: &str, value: &str) {
    let values = [(field.to_owned(), Some(value.to_owned()))];
    let orders = Orders::new(server.mail(), &server.config().filter);
    orders.set(who, &values).await.expect("the store works").expect("they fit");
    server.appliance().filter().reload().await.expect("the store works");
}

async fn send(server: &Server, to: &[&str], message: &str) {
    let reply = server.smtp(Speaks::Smtp).await.deliver("ann@sender.test", to, message).await;
    assert!(reply.starts_with("250 "), "{reply}");
}

/// How many messages lie in INBOX and Junk.
async fn counts(server: &Server, who: &str) -> (usize, usize) {
    (server.messages(who, "INBOX").await.len(), server.messages(who, "Junk").await.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_gets_one_copy_and_ones_own_address_says_which() {
    let server = server(ServerOptions::new()).await;
    for who in [INFO, SALES] {
        weigh(&server, who, -50.0).await;
    }
    weigh(&server, BOB, 50.0).await;
    send(&server, &[INFO, BOB, SALES], PLAIN).await;
    assert_eq!(counts(&server, BOB).await, (0, 1), "what Bob wants decides");
    assert_eq!(counts(&server, EVE).await, (1, 0), "who has no wishes here gets what the alias gets");
    server.mail().store().chronicle().flush().await;
    let id = TraceOf::Header("m1@sender.test".to_owned());
    let traces = server.mail().trace(&id, 10).await.expect("the store works");
    let told = &traces[0].entries[0].detail;
    for from in [INFO, SALES] {
        assert!(told.contains(&format!("{from}: its mailbox has the copy of {BOB}")), "{told}");
    }

    for (who, score) in [(BOB, -50.0), (INFO, 50.0), (SALES, 50.0)] {
        weigh(&server, who, score).await;
    }
    send(&server, &[SALES, BOB], PLAIN).await;
    assert_eq!(counts(&server, BOB).await, (1, 1));
    // Where only aliases lead to him, it is the one that reaches his inbox.
    weigh(&server, SALES, -50.0).await;
    send(&server, &[INFO, SALES], PLAIN).await;
    assert_eq!(counts(&server, BOB).await, (2, 1));
    assert_eq!(counts(&server, EVE).await, (1, 1));
    assert!(server.check().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_for_somebody_does_not_come_by_an_alias() {
    let server = server(ServerOptions::new()).await;
    set(&server, BOB, "banned", "hold").await;
    for who in [INFO, SALES] {
        set(&server, who, "bypass_banned", "true").await;
    }
    let program = PLAIN.replace(
        "\r\n\r\nHello.",
        "\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream; name=invoice.exe\r\n\r\nHello.",
    );
    send(&server, &[INFO, SALES, BOB], &program).await;
    assert_eq!(counts(&server, BOB).await, (0, 0));
    assert_eq!(server.messages(EVE, "INBOX").await.len() + server.messages(EVE, "Junk").await.len(), 1);
    let held = server.appliance().filter().quarantine().list(&Wanted::default(), 10).await.expect("the store works");
    let whose: Vec<&str> = held.iter().flat_map(|one| &one.recipients).map(|row| row.recipient.as_str()).collect();
    assert_eq!(whose, [BOB]);
    assert!(server.check().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_finds_no_room_is_not_said_to_be_there() {
    let server = server(ServerOptions::new().with(|config| config.filter.lmtp = true)).await;
    let bob = Address::parse(BOB).expect("an address");
    let change = AccountChange { quota_bytes: Some(20_000), ..AccountChange::default() };
    server.mail().set_account(&bob, change).await.expect("the store works").expect("changed");
    weigh(&server, SALES, -50.0).await;
    let mut client = server.smtp(Speaks::Lmtp).await;
    client.expect("MAIL FROM:<ann@sender.test>", "250").await;
    for to in [SALES, BOB, EVE] {
        client.expect(&format!("RCPT TO:<{to}>"), "250").await;
    }
    let first = client.data(&format!("{PLAIN}{}", "A line of a large message.\r\n".repeat(1500))).await;
    let replies = [first, client.reply().await, client.reply().await];
    let codes: Vec<&str> = replies.iter().map(|reply| &reply[..3]).collect();
    assert_eq!(codes, ["552", "552", "250"], "{replies:?}");
    assert_eq!(counts(&server, BOB).await, (0, 0));
    assert!(server.check().await.is_empty());
}

/// Octets of the message, and of all memory for such.
const SIZE: usize = 1 << 20;
const MEMORY: usize = 5 * SIZE / 2;

#[tokio::test]
async fn copies_that_differ_in_their_headers_share_the_memory_of_the_text() {
    let settings = posthorn_mail::Settings { body_memory: MEMORY, ..posthorn_mail::Settings::of(&Config::default()) };
    let database = harness::postgres::database(posthorn_store::migrate).await;
    let options = posthorn_store::Options { url: database.url.clone(), connections: 2, writers: 1, batch: 10 };
    let store = posthorn_store::Store::open(&options).await.expect("open");
    let mail = Mail::new(store, settings).await.expect("the duties");
    mail.add_domain(&Domain::parse("example.org").expect("a domain"), None).await.expect("works").expect("new");
    let mut envelope = Envelope::default();
    for at in 0..6 {
        let address = Address::parse(&format!("n{at}@example.org")).expect("an address");
        mail.add_account(&address, NewAccount::default()).await.expect("works").expect("new");
        let route = mail.route(&address).await.expect("the store works");
        envelope.recipients.push(Recipient { address: address.to_string(), route, orcpt: None, notify: None });
    }
    let text = "A line of a large message, one of many such.\r\n".repeat(SIZE / 46);
    let take = async |treatments: &[Treatment]| {
        let mut body = mail.intake();
        body.push(format!("Subject: large\r\n\r\n{text}").as_bytes()).expect("room");
        let completion = Completion { max_hops: 50, max_header: 65536, ..Completion::default() };
        let examined = mail.examine(&envelope, body, completion).await.expect("works").expect("sound");
        mail.take(&envelope, examined, treatments, false).await.expect("the store works")
    };
    let marked = |at: usize| Edit { top: format!("X-Copy: {at}\r\n").into_bytes(), ..Edit::default() };
    let headers: Vec<_> = (0..6).map(|at| Treatment { edit: marked(at), ..Treatment::default() }).collect();
    let taken = take(&headers).await.expect("there is memory enough");
    assert!(taken.outcomes.iter().all(Result::is_ok) && taken.places.len() == 6, "{taken:?}");

    let rewritten = |at: usize| {
        let body = format!("{at}\r\n{text}").into_bytes().into();
        Treatment { edit: Edit { changes: vec![Change::Body(body)], ..Edit::default() }, ..Treatment::default() }
    };
    let texts: Vec<_> = (0..6).map(rewritten).collect();
    let refused = take(&texts).await.expect_err("these are six messages");
    assert_eq!((refused.code, refused.enhanced.to_string().as_str()), (452, "4.3.1"));
    assert!(mail.reserve().grow(MEMORY), "all is given back");
    mail.store().close().await;
}
