//! Letters about held mail, and the links in them: once a day from one server, single use, and nothing happens by reading.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use harness::server::{Server, ServerOptions, row};
use posthorn::circumstances::Circumstances;
use posthorn_config::{Config, HeldCategory, Span, Speaks, TlsMode};
use posthorn_filter::quarantine::{Again, Held, Quarantine, Release, Status, Wanted};
use posthorn_filter::recipient::orders::Orders;
use posthorn_mail::directory::AccountChange;
use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::office::Stepped;

const BOB: &str = "bob@example.org";
const EVE: &str = "eve@example.org";

/// A server whose clock is stepped, and what leads to its links.
struct Rig {
    server: Server,
    clock: Stepped,
}

fn message(subject: &str) -> String {
    format!(
        "From: Ann <ann@sender.test>\r\nTo: eve@example.org\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\n\
         Subject: {subject}\r\nMessage-ID: <{subject}@sender.test>\r\n\r\nHello.\r\n"
    )
}

async fn rig(url: Option<&str>, alter: impl FnOnce(&mut Config) + 'static) -> Rig {
    let clock = Stepped::new();
    let server = start(&clock, url, alter).await;
    for address in [BOB, EVE] {
        server.mailbox_only(address).await;
    }
    let orders = Orders::new(server.mail(), &server.config().filter);
    let hold = |field: &str| (field.to_owned(), Some("hold".to_owned()));
    orders.set("@example.org", &[hold("spam"), hold("spammy")]).await.expect("the store works").expect("they fit");
    orders.list_sender("@example.org", "@sender.test", 50.0, "").await.expect("the store works").expect("patterns");
    server.appliance().filter().reload().await.expect("the store works");
    Rig { server, clock }
}

async fn start(clock: &Stepped, url: Option<&str>, alter: impl FnOnce(&mut Config) + 'static) -> Server {
    let change = |config: &mut Config| {
        config.filter.enable = true;
        config.quarantine.digest.enable = true;
        config.quarantine.digest.url = Some("https://mail.example.org/held/".to_owned());
        alter(config);
    };
    let world = Circumstances { clock: Box::new(clock.clone()), ..Circumstances::default() };
    let options = ServerOptions::new().with(change).under(world);
    Server::start(match url {
        Some(url) => options.on(url),
        None => options,
    })
    .await
}

impl Rig {
    fn now(&self) -> DateTime<Utc> {
        posthorn_model::Clock::now(&self.clock)
    }

    fn quarantine(&self) -> Quarantine {
        self.server.appliance().filter().quarantine().clone()
    }

    async fn send(&self, to: &[&str], subject: &str) {
        let reply = self.server.smtp(Speaks::Smtp).await.deliver("ann@sender.test", to, &message(subject)).await;
        assert!(reply.starts_with("250 "), "{reply}");
    }

    async fn held(&self, subject: &str) -> Held {
        let wanted = Wanted { settled: true, ..Wanted::default() };
        let all = self.quarantine().list(&wanted, 100).await.expect("the store works");
        all.into_iter().find(|held| held.row.subject == subject).expect("it is held")
    }

    /// What lies in somebody's inbox.
    async fn inbox(&self, address: &str) -> Vec<String> {
        let stored = self.server.messages(address, "INBOX").await;
        stored.into_iter().map(|one| String::from_utf8(one).expect("text")).collect()
    }

    /// Waits until so many messages lie in somebody's inbox.
    async fn inbox_of(&self, address: &str, count: usize) -> Vec<String> {
        for _ in 0..100 {
            let all = self.inbox(address).await;
            if all.len() >= count {
                return all;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{address} has {} messages instead of {count}", self.inbox(address).await.len());
    }

    /// The next time letters are due.
    fn tomorrow(&self) {
        self.clock.step(TimeDelta::days(1));
    }

    /// An HTTP exchange on a connection of its own: status and everything.
    async fn http(&self, request: &str) -> (u16, String) {
        let mut stream =
            TcpStream::connect(("127.0.0.1", self.server.port(Speaks::Release))).await.expect("it listens");
        let whole =
            format!("{request} HTTP/1.1\r\nHost: mail.example.org\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(whole.as_bytes()).await.expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
        (status, answer)
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.http(&format!("GET {path}")).await
    }

    async fn post(&self, path: &str) -> (u16, String) {
        self.http(&format!("POST {path}")).await
    }
}

/// The paths of the links in a letter's text, as the listener sees them behind its proxy.
fn links(letter: &str) -> Vec<String> {
    let text = letter.split("Content-Type: text/html").next().unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("release  https://mail.example.org/held"));
    lines.map(|path| path.trim().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_lists_what_is_new_and_its_links_release_once() {
    let rig = rig(None, |_| {}).await;
    rig.send(&[BOB, EVE], "first").await;
    rig.send(&[EVE], "second").await;
    rig.tomorrow();
    let eves = rig.inbox_of(EVE, 1).await;
    let bobs = rig.inbox_of(BOB, 1).await;
    let letter = &eves[0];
    assert!(letter.contains("Subject: 2 messages are held for you\r\n"), "{letter}");
    assert!(letter.contains("From: Quarantine <postmaster@localhost>\r\n") && letter.starts_with("Return-Path: <>"));
    assert!(letter.contains("\r\nfirst\r\n  from     ann@sender.test\r\n") && letter.contains("spam, 5"), "{letter}");
    assert!(bobs[0].contains("Subject: 1 message is held for you\r\n") && !bobs[0].contains("second"));
    let [first, second] = &links(letter)[..] else { panic!("two links: {letter}") };
    let [bobs_link] = &links(&bobs[0])[..] else { panic!("one link") };

    // Reading releases nothing, however often it is done.
    for _ in 0..3 {
        let (status, page) = rig.get(first).await;
        assert_eq!(status, 200);
        assert!(page.contains("Release this message?") && page.contains("<dd>first</dd>"), "{page}");
        for field in [
            "cache-control: no-store",
            "referrer-policy: no-referrer",
            "content-security-policy: default-src 'none'",
            "x-frame-options: DENY",
        ] {
            assert!(page.contains(field), "{field}: {page}");
        }
        assert!(!page.contains(EVE) && !page.contains(BOB), "who has the link learns of no account");
    }
    assert_eq!(rig.http(&format!("HEAD {first}")).await.0, 200);
    assert_eq!(rig.inbox(EVE).await.len(), 1);

    // Of two who press the button at once, one releases.
    let (one, other) = tokio::join!(rig.post(first), rig.post(first));
    let mut codes = [one.0, other.0];
    codes.sort_unstable();
    assert_eq!(codes, [200, 410], "{one:?} {other:?}");
    let eves = rig.inbox_of(EVE, 2).await;
    assert_eq!(eves.len(), 2);
    let released = eves.iter().find(|one| one.contains("Subject: first\r\n")).expect("it was released");
    let held = rig.held("first").await;
    assert!(released.contains(&format!("X-Quarantine-ID: <{}>\r\n", held.row.mail_id)), "{released}");
    let status = |who: &str| held.recipients.iter().find(|row| row.recipient == who).expect("a row").status;
    assert_eq!((status(EVE), status(BOB)), (Status::Released, Status::Held), "nobody else's copy moved");
    assert_eq!(rig.inbox(BOB).await.len(), 1);
    let (status, page) = rig.get(first).await;
    assert!(status == 410 && page.contains("released already"), "{page}");
    assert_eq!(rig.post(first).await.0, 410);

    // Links that were never made, and other people's.
    for wrong in ["/release/x", "/release/", "/", "/metrics", &format!("{second}A"), &second[..second.len() - 1]] {
        let (status, page) = rig.post(wrong).await;
        assert!(status == 404 && page.contains("There is nothing here"), "{wrong}: {page}");
    }
    let mut forged = second.clone().into_bytes();
    let last = forged.len() - 2;
    forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
    assert_eq!(rig.post(&String::from_utf8(forged).expect("text")).await.0, 404);
    assert_eq!(rig.get(bobs_link).await.0, 200);

    // What was deleted is told to be gone.
    let held = rig.held("second").await;
    rig.quarantine().delete(&held, &[], "test").await.expect("the store works");
    assert_eq!(rig.get(second).await.0, 410);

    // The next letter has what is new only.
    rig.send(&[EVE], "third").await;
    rig.tomorrow();
    let eves = rig.inbox_of(EVE, 3).await;
    let letter = eves.iter().find(|one| one.contains("third")).expect("a second letter");
    assert!(letter.contains("Subject: 1 message is held for you\r\n") && links(letter).len() == 1, "{letter}");
    rig.tomorrow();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((rig.inbox(EVE).await.len(), rig.inbox(BOB).await.len()), (3, 1), "no news, no letter");
    assert!(rig.server.check().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_judged_for_long_is_told_and_nothing_twice() {
    let rig = rig(None, |_| {}).await;
    rig.send(&[EVE], "first").await;
    rig.tomorrow();
    assert_eq!(links(&rig.inbox_of(EVE, 1).await[0]).len(), 1);

    // It came before the first, and its scanner took until now.
    let mut beside = PgConnection::connect(rig.server.appliance().database().url()).await.expect("the database");
    for table in ["held", "held_recipient"] {
        let changed = match table {
            "held" => "'subject', 'late', 'mail_id', 'latelatelate'",
            _ => "'told_at', null",
        };
        let copy = format!(
            "insert into {table} select (jsonb_populate_record(t, jsonb_build_object('message_id', message_id - 1, {changed}))).*
             from {table} t"
        );
        sqlx::query(sqlx::AssertSqlSafe(copy)).execute(&mut beside).await.expect("copied");
    }
    rig.tomorrow();
    let eves = rig.inbox_of(EVE, 2).await;
    let letter = eves.iter().find(|one| one.contains("late")).expect("it is told");
    assert!(letter.contains("Subject: 1 message is held for you\r\n") && !letter.contains("first"), "{letter}");

    // A server that died between a letter and its note: the letter comes again, with nothing else in it.
    let told = "update held_recipient set told_at = null where message_id = (select message_id from held where subject = 'first')";
    assert_eq!(sqlx::query(told).execute(&mut beside).await.expect("forgotten").rows_affected(), 1);
    rig.tomorrow();
    let eves = rig.inbox_of(EVE, 3).await;
    let again = eves.iter().filter(|one| one.contains("first")).count();
    assert_eq!((again, eves.iter().filter(|one| one.contains("late")).count()), (2, 1));
    rig.tomorrow();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(rig.inbox(EVE).await.len(), 3, "no news, no letter");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_expire_and_some_mail_has_none() {
    let rig = rig(None, |config| config.quarantine.digest.links = Span::from_secs(3600)).await;
    rig.send(&[EVE], "late").await;
    rig.tomorrow();
    let letter = rig.inbox_of(EVE, 1).await.remove(0);
    let [link] = &links(&letter)[..] else { panic!("one link: {letter}") };
    assert_eq!(rig.get(link).await.0, 200);
    rig.clock.step(TimeDelta::minutes(61));
    for (status, page) in [rig.get(link).await, rig.post(link).await] {
        assert!(status == 410 && page.contains("The link has expired"), "{page}");
    }
    assert_eq!(rig.inbox(EVE).await.len(), 1);
    // What is released elsewhere is told before what the clock says.
    let held = rig.held("late").await;
    let order = Release { by: "test".to_owned(), ..Release::default() };
    assert_eq!(rig.quarantine().release(&held, &order).await.expect("the store works").len(), 1);
    assert!(rig.get(link).await.1.contains("released already"));

    let rig = self::rig(None, |config| config.quarantine.digest.release = vec![HeldCategory::Virus]).await;
    rig.send(&[EVE], "sealed").await;
    rig.tomorrow();
    let letter = rig.inbox_of(EVE, 1).await.remove(0);
    assert!(links(&letter).is_empty() && letter.contains("sealed") && letter.contains("administrator"), "{letter}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_servers_one_writes_and_tls_serves_the_links() {
    let rig = rig(None, |config| row(config, Speaks::Release).tls = Some(TlsMode::Implicit)).await;
    let url = rig.server.appliance().database().url().to_owned();
    let second = start(&rig.clock, Some(&url), |_| {}).await;
    rig.send(&[EVE], "once").await;
    rig.tomorrow();
    let letter = rig.inbox_of(EVE, 1).await.remove(0);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(rig.inbox(EVE).await.len(), 1, "one letter from two servers");
    let [link] = &links(&letter)[..] else { panic!("one link") };
    let port = rig.server.port(Speaks::Release);
    let mut stream = posthorn_net::dial_tls(("127.0.0.1", port), "localhost", rig.server.tls()).await.expect("TLS");
    let request = format!("POST {link} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("The message is released"), "{answer}");
    assert_eq!(rig.inbox_of(EVE, 2).await.len(), 2);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_mailbox_keeps_it_held_and_the_link_works_again() {
    let rig = rig(None, |_| {}).await;
    rig.send(&[EVE], "large").await;
    rig.tomorrow();
    let letter = rig.inbox_of(EVE, 1).await.remove(0);
    let [link] = &links(&letter)[..] else { panic!("one link") };
    quota(&rig, 10).await;
    let (status, page) = rig.post(link).await;
    assert!(status == 409 && page.contains("It stays held"), "{page}");
    assert_eq!(rig.held("large").await.recipients[0].status, Status::Held);
    quota(&rig, 0).await;
    assert_eq!(rig.post(link).await.0, 200);
    assert_eq!(rig.inbox_of(EVE, 2).await.len(), 2);
    assert!(rig.server.check().await.is_empty());
}

async fn quota(rig: &Rig, octets: i64) {
    let address = posthorn_model::Address::parse(EVE).expect("an address");
    let change = AccountChange { quota_bytes: Some(octets), ..AccountChange::default() };
    rig.server.mail().set_account(&address, change).await.expect("the store works").expect("there is one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn judged_anew_what_passes_today_is_delivered() {
    let rig = rig(None, |_| {}).await;
    rig.send(&[BOB, EVE], "again").await;
    let filter = rig.server.appliance().filter();
    let held = rig.held("again").await;
    let still = filter.requeue(&held, &[], "test", false).await.expect("the store works");
    assert!(
        still.len() == 2 && still.iter().all(|one| matches!(&one.outcome, Again::Held(why) if why.contains("spam")))
    );

    let orders = Orders::new(rig.server.mail(), &rig.server.config().filter);
    orders.list_sender(EVE, "@sender.test", -100.0, "").await.expect("the store works").expect("patterns");
    filter.reload().await.expect("the store works");
    let dry = filter.requeue(&held, &[], "test", true).await.expect("the store works");
    assert!(dry.iter().any(|one| one.recipient == EVE && one.outcome == Again::Delivered), "{dry:?}");
    assert!(rig.inbox(EVE).await.is_empty(), "a dry run delivers nothing");
    let done = filter.requeue(&held, &[], "test", false).await.expect("the store works");
    let outcome = |who: &str| done.iter().find(|one| one.recipient == who).map(|one| one.outcome.clone());
    assert!(outcome(EVE) == Some(Again::Delivered) && matches!(outcome(BOB), Some(Again::Held(_))), "{done:?}");
    let [got] = &rig.inbox_of(EVE, 1).await[..] else { panic!("one message") };
    assert!(got.contains("Subject: again\r\n") && got.contains("Resent-To: <eve@example.org>\r\n"), "{got}");
    assert!(rig.inbox(BOB).await.is_empty());
    let once =
        filter.requeue(&rig.held("again").await, &[EVE.to_owned()], "test", false).await.expect("the store works");
    assert!(once.is_empty(), "it comes once");
    // A copy that is handed out says for whom it is held still.
    let copy = rig.quarantine().copy(&rig.held("again").await).await.expect("the store works").expect("a body");
    let copy = String::from_utf8(copy).expect("text");
    assert!(copy.starts_with(&format!("X-Quarantine-ID: <{}>\r\n", held.row.mail_id)), "{copy}");
    assert!(copy.contains("X-Envelope-From: <ann@sender.test>\r\n"), "{copy}");
    assert!(
        copy.contains(
            "X-Envelope-To: <bob@example.org>,\r\n\t<eve@example.org>\r\nX-Envelope-To-Blocked: <bob@example.org>\r\n"
        ),
        "{copy}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_old_is_forgotten_by_the_day() {
    let rig = rig(None, |config| config.quarantine.lasts = Span::from_secs(3 * 86_400)).await;
    let filter = rig.server.appliance().filter();
    rig.send(&[EVE], "old").await;
    let old = rig.held("old").await;
    // Ids are of the machine's clock, and days are counted in UTC.
    let day = Utc::now().date_naive();
    let noon = |days: i64| day.and_hms_opt(12, 0, 0).expect("noon").and_utc() + TimeDelta::days(days);
    let mut beside = PgConnection::connect(rig.server.appliance().database().url()).await.expect("the database");
    let mut partitions = async || {
        let name = format!("held_recipient_{}", day.format("%Y%m%d"));
        let count = "select count(*) from pg_inherits i join pg_class c on c.oid = i.inhrelid where c.relname = $1";
        let count: i64 = sqlx::query_scalar(count).bind(name).fetch_one(&mut beside).await.expect("counted");
        count
    };
    let subjects = async || {
        let all = rig.quarantine().list(&Wanted::default(), 10).await.expect("the store works");
        all.into_iter().map(|held| held.row.subject).collect::<Vec<_>>()
    };
    rig.clock.step(noon(3) - rig.now());
    filter.forget().await.expect("the store works");
    assert_eq!((subjects().await, partitions().await), (vec!["old".to_owned()], 1), "three days are kept whole");
    rig.clock.step(noon(4) - rig.now());
    filter.forget().await.expect("the store works");
    assert_eq!((subjects().await, partitions().await), (Vec::<String>::new(), 0), "its day is over");
    assert!(rig.quarantine().find(&old.row.mail_id).await.expect("the store works").is_none());
    let mut rounds = 0;
    while rig.quarantine().octets(&old).await.expect("the store works").is_some() {
        rounds += 1;
        assert!(rounds < 300, "its body is reaped");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(rig.server.check().await.is_empty());
}
