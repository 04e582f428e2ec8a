//! The filter behind our own SMTP: copies that differ by recipient, an honest refusal, what is held and how it gets out.

use harness::program::run;
use harness::server::{Server, ServerOptions};
use posthorn_config::{FilterPoints, FilterRule, Speaks};
use posthorn_filter::quarantine::{Release, Status, Wanted};
use posthorn_filter::recipient::orders::Orders;
use posthorn_model::Address;

const BOB: &str = "bob@example.org";
const EVE: &str = "eve@example.org";

const PLAIN: &str = "From: Ann <ann@sender.test>\r\nTo: eve@example.org\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\n\
    Subject: hello\r\nMessage-ID: <m1@sender.test>\r\nX-Spam-Flag: NO\r\n\r\nHello.\r\n";

/// A program by another name: `MZ` and a header of MS-DOS.
const PROGRAM: &str = "From: Ann <ann@sender.test>\r\nTo: eve@example.org\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\n\
    Subject: invoice\r\nMessage-ID: <m2@sender.test>\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nSee.\r\n\
    --b\r\nContent-Type: application/octet-stream; name=invoice.exe\r\n\
    Content-Disposition: attachment; filename=invoice.exe\r\nContent-Transfer-Encoding: base64\r\n\r\n\
    TVqQAAMAAAAEAAAA//8AALgAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAgAAAAA4fug4=\r\n--b--\r\n";

async fn server() -> Server {
    let server = Server::start(ServerOptions::new().with(|config| config.filter.enable = true)).await;
    for address in [BOB, EVE] {
        server.account(address, "a long enough password").await;
    }
    server
}

async fn set(server: &Server, who: &str, fields: &[(&str, &str)]) {
    let values: Vec<_> = fields.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect();
    let section = &server.config().filter;
    Orders::new(server.mail(), section).set(who, &values).await.expect("the store works").expect("they fit");
    server.appliance().filter().reload().await.expect("the store works");
}

/// What mail of the sender scores for somebody.
async fn weigh(server: &Server, who: &str, score: f64) {
    let orders = Orders::new(server.mail(), &server.config().filter);
    orders.list_sender(who, "@sender.test", score, "").await.expect("the store works").expect("patterns");
    server.appliance().filter().reload().await.expect("the store works");
}

async fn send(server: &Server, to: &[&str], message: &str) -> String {
    server.smtp(Speaks::Smtp).await.deliver("ann@sender.test", to, message).await
}

async fn texts(server: &Server, address: &str, folder: &str) -> Vec<String> {
    let stored = server.messages(address, folder).await;
    stored.into_iter().map(|one| String::from_utf8(one).expect("text")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_recipient_has_a_copy_of_its_own() {
    let server = server().await;
    set(&server, EVE, &[("subject_tag", "[SPAM] ")]).await;
    weigh(&server, EVE, 50.0).await;
    weigh(&server, BOB, -50.0).await;
    let reply = send(&server, &[BOB, EVE], PLAIN).await;
    assert!(reply.starts_with("250 "), "{reply}");
    let [clean] = &texts(&server, BOB, "INBOX").await[..] else { panic!("Bob has one message") };
    assert!(clean.contains("Subject: hello\r\n") && !clean.contains("X-Spam-"), "{clean}");
    let [junk] = &texts(&server, EVE, "Junk").await[..] else { panic!("Eve finds it in Junk") };
    assert!(junk.contains("X-Spam-Flag: YES\r\n") && !junk.contains("X-Spam-Flag: NO"), "{junk}");
    assert!(junk.contains("Subject: [SPAM] hello\r\n") && junk.contains("RECIPIENT_UNWANTED=50"), "{junk}");
    assert!(texts(&server, EVE, "INBOX").await.is_empty());
    assert!(server.check().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_all_refuse_is_refused_and_what_some_refuse_is_held() {
    let server = server().await;
    let reply = send(&server, &[BOB, EVE], PROGRAM).await;
    assert!(reply.starts_with("554 5.7.0 "), "{reply}");
    assert!(texts(&server, BOB, "INBOX").await.is_empty());
    let quarantine = server.appliance().filter().quarantine().clone();
    assert!(quarantine.list(&Wanted::default(), 10).await.expect("the store works").is_empty());

    set(&server, BOB, &[("bypass_banned", "true")]).await;
    let reply = send(&server, &[BOB, EVE], PROGRAM).await;
    assert!(reply.starts_with("250 "), "{reply}");
    assert_eq!(texts(&server, BOB, "INBOX").await.len(), 1);
    assert!(texts(&server, EVE, "INBOX").await.is_empty());
    let held = quarantine.list(&Wanted::default(), 10).await.expect("the store works");
    let [one] = &held[..] else { panic!("one message is held: {held:?}") };
    assert_eq!(
        (one.row.category, one.row.sender.as_str(), one.row.subject.as_str()),
        (8, "ann@sender.test", "invoice")
    );
    assert_eq!(one.waiting(&[]).iter().map(|row| row.recipient.as_str()).collect::<Vec<_>>(), [EVE]);
    assert!(one.is_secret(&one.row.secret) && !one.is_secret("guess"));
    assert!(server.check().await.is_empty(), "the body of what is held is no orphan");

    let order = Release { by: "test".to_owned(), ..Release::default() };
    let (first, second) = tokio::join!(quarantine.release(one, &order), quarantine.release(one, &order));
    let released = [first.expect("the store works"), second.expect("the store works")].concat();
    assert!(matches!(&released[..], [only] if only.outcome.is_ok()), "it arrives once: {released:?}");
    let [got] = &texts(&server, EVE, "INBOX").await[..] else { panic!("it was released") };
    assert!(got.contains("Resent-To: <eve@example.org>\r\n") && got.contains("Subject: invoice\r\n"), "{got}");
    let now = quarantine.find(&one.row.mail_id).await.expect("the store works").expect("it is there");
    assert_eq!(now.recipients[0].status, Status::Released);
    assert!(server.check().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_mail_leaves_nothing() {
    let server = server().await;
    set(&server, "@example.org", &[("banned", "hold")]).await;
    let reply = send(&server, &[BOB, EVE], PROGRAM).await;
    assert!(reply.starts_with("250 2.0.0 taken as "), "{reply}");
    let quarantine = server.appliance().filter().quarantine().clone();
    let wanted = Wanted { recipient: Some(BOB.to_owned()), ..Wanted::default() };
    let held = quarantine.list(&wanted, 10).await.expect("the store works");
    let [one] = &held[..] else { panic!("both share one: {held:?}") };
    assert_eq!(one.recipients.len(), 2);
    assert_eq!(quarantine.delete(one, &[BOB.to_owned()], "test").await.expect("the store works"), 1);
    let rest = quarantine.find(&one.row.mail_id).await.expect("the store works").expect("Eve may want it");
    assert_eq!(quarantine.delete(&rest, &[], "test").await.expect("the store works"), 1);
    assert!(quarantine.find(&one.row.mail_id).await.expect("the store works").is_none());
    assert!(server.check().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_is_inherited_by_itself() {
    let server = server().await;
    set(&server, "@example.org", &[("kill", "20"), ("tag2", "3")]).await;
    set(&server, EVE, &[("kill", "9")]).await;
    let orders = Orders::new(server.mail(), &server.config().filter);
    let shown = orders.show(&Address::parse("eve+x@example.org").expect("an address")).await.expect("the store works");
    let of = |name: &str| {
        let one = shown.iter().find(|one| one.field == name).expect("a field");
        (one.value.clone().unwrap_or_default(), one.from.clone())
    };
    assert_eq!(of("kill"), ("9".to_owned(), Some(EVE.to_owned())));
    assert_eq!(of("tag2"), ("3".to_owned(), Some("@example.org".to_owned())));
    assert_eq!(of("virus"), ("refuse".to_owned(), None));
    let refused = orders.set(EVE, &[("virus".to_owned(), Some("explode".to_owned()))]).await.expect("the store works");
    assert!(refused.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ones_own_level_and_ones_own_friends_are_nobody_elses() {
    let options = ServerOptions::new().with(|config| {
        config.filter.enable = true;
        config.filter.rule = vec![FilterRule {
            name: "OFFER".to_owned(),
            points: FilterPoints::thousandths(15_000),
            body: Some("marble owl".to_owned()),
            ..FilterRule::default()
        }];
    });
    let server = Server::start(options).await;
    for address in [BOB, EVE] {
        server.account(address, "a long enough password").await;
    }
    set(&server, "@example.org", &[("spam", "hold"), ("tag2", "5")]).await;
    set(&server, EVE, &[("kill", "20"), ("spammy", "deliver")]).await;
    let orders = Orders::new(server.mail(), &server.config().filter);
    orders.list_sender(EVE, "ann@friend.test", -100.0, "").await.expect("the store works").expect("patterns");
    server.appliance().filter().reload().await.expect("the store works");
    let held = async || {
        let list =
            server.appliance().filter().quarantine().list(&Wanted::default(), 10).await.expect("the store works");
        list.iter().flat_map(|one| &one.recipients).map(|row| row.recipient.clone()).collect::<Vec<_>>()
    };
    let offer = PLAIN.replace("Hello.", "A marble owl.");
    let reply = send(&server, &[BOB, EVE], &offer).await;
    assert!(reply.starts_with("250 "), "{reply}");
    assert_eq!(held().await, [BOB]);
    let [spam] = &texts(&server, EVE, "INBOX").await[..] else { panic!("Eve wants more before she gives it up") };
    assert!(spam.contains("X-Spam-Flag: YES\r\n") && spam.contains(" required=5\r\n"), "{spam}");

    let friendly = offer.replace("ann@sender.test", "ann@friend.test");
    let mut client = server.smtp(Speaks::Smtp).await;
    let reply = client.deliver("ann@friend.test", &[BOB, EVE], &friendly).await;
    assert!(reply.starts_with("250 "), "{reply}");
    assert_eq!(held().await, [BOB, BOB]);
    let wanted = texts(&server, EVE, "INBOX").await.pop().expect("a second one");
    assert!(!wanted.contains("X-Spam-"), "{wanted}");

    // As programs read it: each field from the row that says it, and from nobody where none does.
    let config = server.folder().join("show.toml");
    let text = format!(
        "[server]\ndata = '{}'\n[database]\nurl = '{}'\n",
        server.config().server.data.display(),
        server.appliance().database().url()
    );
    std::fs::write(&config, text).expect("written");
    let config = config.display().to_string();
    let shown = |who: &str| -> Vec<serde_json::Value> {
        let ran = run(&["--config", &config, "--json", "filter", "settings", "show", who], "");
        assert_eq!(ran.code, 0, "{ran:?}");
        serde_json::from_str(&ran.out).expect("a list")
    };
    let of = |rows: &[serde_json::Value], field: &str| {
        let row = rows.iter().find(|row| row["field"] == field).expect("a field").clone();
        (row["value"].clone(), row["from"].clone())
    };
    let (eves, bobs) = (shown(EVE), shown(BOB));
    let null = serde_json::Value::Null;
    assert_eq!(of(&eves, "kill"), ("20".into(), EVE.into()));
    assert_eq!(of(&eves, "tag2"), ("5".into(), "@example.org".into()));
    assert_eq!(of(&eves, "virus"), ("refuse".into(), null.clone()));
    assert_eq!(of(&bobs, "kill"), ("12".into(), null));
    assert_eq!(of(&bobs, "spam"), ("hold".into(), "@example.org".into()));
}
