//! What people teach the filter by what they do: moving messages into Junk and out of it, marking them, answering.

use std::time::Duration;

use chrono::TimeDelta;
use harness::imap_client::ImapClient;
use harness::server::{Server, ServerOptions};
use posthorn::circumstances::Circumstances;
use posthorn_config::{Config, FilterPoints, Speaks};
use posthorn_model::AccountId;
use posthorn_store::filter::words::{self, EVERYBODY};

use crate::office::Stepped;

const BOB: &str = "bob@example.org";
const EVE: &str = "eve@example.org";
const PASSWORD: &str = "a long enough password";

/// Marks that no rule knows: only what was learned tells them apart.
const OFFER: &str = "Quarterly crystal auction: velvet lanterns, amber chess sets and marble owls await collectors";
const LETTER: &str = "The choir rehearses on Wednesday behind the church, please bring pencils and the green folder";

struct Rig {
    server: Server,
    eve: AccountId,
}

async fn rig(alter: impl FnOnce(&mut Config) + 'static) -> Rig {
    rig_under(Circumstances::default(), alter).await
}

async fn rig_under(world: Circumstances, alter: impl FnOnce(&mut Config) + 'static) -> Rig {
    let options = ServerOptions::new().under(world).with(|config| {
        config.filter.enable = true;
        // Everything says what it scored.
        config.filter.levels.tag = FilterPoints::thousandths(-100_000);
        config.filter.classifier.least_own = 8;
        config.policy.enable = false;
    });
    let server = Server::start(options.with(alter)).await;
    let eve = server.account(EVE, PASSWORD).await;
    server.account(BOB, PASSWORD).await;
    Rig { server, eve }
}

fn message(id: &str, text: &str) -> String {
    format!(
        "From: Ann <ann@sender.test>\r\nTo: eve@example.org\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\nSubject: news {id}\r\n\
         Message-ID: <{id}@sender.test>\r\n\r\n{text}, number {id}.\r\n"
    )
}

impl Rig {
    async fn deliver(&self, to: &str, message: &str) {
        let reply = self.server.smtp(Speaks::Smtp).await.deliver("ann@sender.test", &[to], message).await;
        assert!(reply.starts_with("250 "), "{reply}");
    }

    async fn imap(&self) -> ImapClient {
        let mut client = self.server.imap().await;
        client.login(EVE, PASSWORD).await;
        client.ok("SELECT INBOX").await;
        client
    }

    /// What an account, or everybody, taught: messages of spam, and others.
    async fn taught(&self, account: i64) -> (i64, i64) {
        let mut connection = self.server.mail().store().acquire().await.expect("a connection");
        let all = words::corpora(&mut connection).await.expect("the store works");
        all.iter().find(|one| one.account == account).map_or((0, 0), |one| (one.spam, one.ham))
    }

    async fn teaches(&self, account: i64, wanted: (i64, i64)) {
        let mut taught = (0, 0);
        for _ in 0..100 {
            taught = self.taught(account).await;
            if taught == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{account} taught {taught:?}, not {wanted:?}");
    }

    /// The last message of a folder.
    async fn last(&self, who: &str, folder: &str) -> String {
        let message = self.server.messages(who, folder).await.pop().expect("a message");
        String::from_utf8(message).expect("text").replace("\r\n\t", " ")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_moved_into_junk_scores_higher_for_that_account_from_then_on() {
    let rig = rig(|_| {}).await;
    for n in 0..10 {
        rig.deliver(EVE, &message(&format!("s{n}"), OFFER)).await;
    }
    for n in 0..8 {
        rig.deliver(EVE, &message(&format!("h{n}"), LETTER)).await;
    }
    let eve = rig.eve.0;
    let mut client = rig.imap().await;
    client.ok("MOVE 1:10 Junk").await;
    // By another client, the other way of saying it: RFC 9051 keywords.
    client.ok("STORE 1:8 +FLAGS.SILENT ($NotJunk)").await;
    rig.teaches(eve, (10, 8)).await;
    rig.teaches(EVERYBODY, (10, 8)).await;
    rig.server.appliance().filter().write().await.expect("the store works");

    for who in [EVE, BOB] {
        rig.deliver(who, &message("s11", OFFER)).await;
    }
    let (hers, his) = (rig.last(EVE, "INBOX").await, rig.last(BOB, "INBOX").await);
    let score = |message: &str| -> f64 {
        let (_, behind) = message.split_once("X-Spam-Score: ").expect("a score");
        behind.split("\r\n").next().expect("a line").parse().expect("a number")
    };
    assert!(hers.contains(" OWN_WORDS_SPAM=") || hers.contains("[OWN_WORDS_SPAM="), "{hers}");
    assert!(!his.contains("WORDS_SPAM"), "everybody's words are too few yet: {his}");
    assert!(score(&hers) > score(&his) + 2.0, "{} {}", score(&hers), score(&his));
    rig.deliver(EVE, &message("h11", LETTER)).await;
    let wanted = rig.last(EVE, "INBOX").await;
    assert!(wanted.contains("OWN_WORDS_HAM=-"), "{wanted}");

    // Once for each message and direction; and back again unlearns.
    client.ok("NOOP").await;
    client.ok("STORE 1:8 +FLAGS.SILENT ($NotJunk)").await;
    client.ok("SELECT Junk").await;
    client.ok("STORE 1:10 +FLAGS.SILENT ($Junk)").await;
    client.ok("MOVE 1:3 Trash").await;
    client.ok("MOVE 1:4 INBOX").await;
    rig.teaches(eve, (6, 12)).await;
    rig.teaches(EVERYBODY, (6, 12)).await;
    // COPY says it, too.
    client.ok("COPY 1:1 INBOX").await;
    rig.teaches(eve, (5, 13)).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(rig.taught(eve).await, (5, 13), "nothing more comes");
    assert_eq!(rig.server.appliance().filter().untaught(), 0);
    assert!(rig.server.check().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_accounts_opinion_can_be_its_own_alone() {
    let rig = rig(|config| config.filter.classifier.share_moves = false).await;
    let mut client = rig.imap().await;
    let text = message("a1", OFFER);
    client.send(format!("APPEND INBOX ($Junk) {{{}+}}\r\n{text}\r\n", text.len()).as_bytes()).await;
    rig.teaches(rig.eve.0, (1, 0)).await;
    assert_eq!(rig.taught(EVERYBODY).await, (0, 0));
    // Without a keyword it is only stored, even in Junk: nobody says that of it.
    let text = message("a2", OFFER);
    client.send(format!("APPEND Junk {{{}+}}\r\n{text}\r\n", text.len()).as_bytes()).await;
    client.ok("SELECT Junk").await;
    // A flag that says nothing, and both that say the contrary of each other.
    client.ok("STORE 1 +FLAGS.SILENT (\\Seen $Junk $NotJunk)").await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(rig.taught(rig.eve.0).await, (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_that_is_not_to_learn_does_not() {
    let rig = rig(|config| config.filter.classifier.learn_from_moves = false).await;
    rig.deliver(EVE, &message("s1", OFFER)).await;
    let mut client = rig.imap().await;
    client.ok("MOVE 1 Junk").await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!((rig.taught(rig.eve.0).await, rig.taught(EVERYBODY).await), ((0, 0), (0, 0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_to_what_was_sent_are_welcome_and_answers_to_what_was_refused_are_not() {
    let rig = rig(|_| {}).await;
    let from_eve = |id: &str, body: &str| {
        format!(
            "From: Eve <eve@example.org>\r\nTo: bob@example.org\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\nSubject: {id}\r\n\
             Message-ID: <{id}@example.org>\r\nMIME-Version: 1.0\r\n{body}"
        )
    };
    let program = "Content-Type: application/octet-stream; name=a.exe\r\nContent-Transfer-Encoding: base64\r\n\r\n\
        TVqQAAMAAAAEAAAA//8AALgAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAgAAAAA4fug4=\r\n";
    let mut client = rig.server.smtp(Speaks::Submissions).await;
    assert!(client.login(EVE, PASSWORD).await.starts_with("235 "));
    let refused = client.deliver(EVE, &[BOB], &from_eve("refused", program)).await;
    assert!(refused.starts_with("554 5.7.0 "), "{refused}");
    let taken = client.deliver(EVE, &[BOB], &from_eve("sent", "\r\nHello.\r\n")).await;
    assert!(taken.starts_with("250 "), "{taken}");

    let answer = |id: &str| {
        message(&format!("re-{id}"), LETTER).replace("To: ", &format!("In-Reply-To: <{id}@example.org>\r\nTo: "))
    };
    rig.deliver(EVE, &answer("refused")).await;
    let unwelcome = rig.last(EVE, "INBOX").await;
    assert!(!unwelcome.contains("ANSWERS_OURS"), "it was never sent: {unwelcome}");
    rig.deliver(EVE, &answer("sent")).await;
    let welcome = rig.last(EVE, "INBOX").await;
    assert!(welcome.contains("ANSWERS_OURS=-2"), "{welcome}");
    // What answers us is what mail that is wanted looks like.
    rig.teaches(rig.eve.0, (0, 1)).await;
    rig.teaches(EVERYBODY, (0, 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_written_to_is_welcome_for_a_while_and_returns_of_what_was_never_sent_are_not() {
    let clock = Stepped::new();
    let world = Circumstances { clock: Box::new(clock.clone()), ..Circumstances::default() };
    let rig = rig_under(world, |config| {
        config.route = toml::from_str::<Config>("[[route]]\nto = \"smtp://127.0.0.1:1\"").expect("a route").route;
    })
    .await;
    let own = "From: Eve <eve@example.org>\r\nTo: ann@sender.test\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\n\
        Subject: hello\r\nMessage-ID: <asked@example.org>\r\n\r\nHow are you?\r\n";
    let mut client = rig.server.smtp(Speaks::Submissions).await;
    assert!(client.login(EVE, PASSWORD).await.starts_with("235 "));
    assert!(client.deliver(EVE, &["ann@sender.test"], own).await.starts_with("250 "));
    for who in [EVE, BOB] {
        rig.deliver(who, &message("fresh", LETTER)).await;
    }
    let (hers, his) = (rig.last(EVE, "INBOX").await, rig.last(BOB, "INBOX").await);
    assert!(hers.contains("PEN_PAL=-3") && !his.contains("PEN_PAL"), "{hers}\n{his}");
    let returned = |id: &str| {
        format!(
            "From: MAILER-DAEMON@sender.test\r\nTo: eve@example.org\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\n\
             Subject: returned {id}\r\nMessage-ID: <report-{id}@sender.test>\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status; boundary=r\r\n\r\n--r\r\n\r\nIt came back.\r\n\
             --r\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.sender.test\r\n\r\n\
             Final-Recipient: rfc822; ann@sender.test\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n\
             --r\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: <{id}@example.org>\r\n--r--\r\n"
        )
    };
    for (id, point) in [("asked", "RETURNS_OURS=-2"), ("never", "RETURNS_NOT_OURS=3")] {
        let reply = rig.server.smtp(Speaks::Smtp).await.deliver("", &[EVE], &returned(id)).await;
        assert!(reply.starts_with("250 "), "{reply}");
        let got = rig.last(EVE, "INBOX").await;
        assert!(got.contains(point) && got.contains(&format!("Subject: returned {id}")), "{got}");
    }
    // Half of it is left after a week.
    clock.step(TimeDelta::days(7));
    rig.deliver(EVE, &message("later", LETTER)).await;
    let later = rig.last(EVE, "INBOX").await;
    assert!(later.contains("PEN_PAL=-1.5"), "{later}");
}
