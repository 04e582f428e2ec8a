//! A Maildir becomes an account's mail: as it was, once, and however often it is asked for.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use harness::imap_client::ImapClient;
use harness::program::{Ran, run};
use harness::server::{Server, ServerOptions};
use serde_json::Value;
use tempfile::TempDir;

/// A server, the configuration of its database, and a Maildir.
struct Desk {
    server: Server,
    folder: TempDir,
    maildir: PathBuf,
}

impl Desk {
    async fn new() -> Self {
        let server = Server::start(ServerOptions::new()).await;
        server.account("ann@example.org", "a password").await;
        let folder = tempfile::tempdir().expect("a folder");
        let url = server.config().database.url.as_ref().expect("a URL").reveal();
        let text = format!("[server]\ndata = '{}'\n[database]\nurl = '{url}'\n", folder.path().display());
        fs::write(folder.path().join("posthorn.toml"), text).expect("written");
        let maildir = folder.path().join("Maildir");
        Self { server, folder, maildir }
    }

    /// Puts a file there, with this moment.
    fn put(&self, file: &str, seconds: u64, octets: &[u8]) {
        let path = self.maildir.join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(&path, octets).expect("written");
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        File::options().write(true).open(path).expect("there").set_modified(at).expect("set");
    }

    fn import(&self, more: &[&str]) -> Ran {
        let config = self.folder.path().join("posthorn.toml").display().to_string();
        let maildir = self.maildir.display().to_string();
        let fixed = ["--config", &config, "import", "maildir", &maildir, "--account", "ann@example.org"];
        run(&[&fixed, more].concat(), "")
    }

    #[track_caller]
    fn taken_over(&self, more: &[&str]) -> Value {
        let ran = self.import(&[more, &["--json"]].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        serde_json::from_str(&ran.out).expect("one document")
    }

    async fn imap(&self) -> ImapClient {
        let mut imap = self.server.imap().await;
        imap.login("ann@example.org", "a password").await;
        imap
    }

    async fn subjects(&self, mailbox: &str) -> Vec<String> {
        let all = self.server.messages("ann@example.org", mailbox).await;
        let subject = |octets: &Vec<u8>| {
            let text = String::from_utf8_lossy(octets).into_owned();
            text.strip_prefix("Subject: ").and_then(|rest| rest.lines().next()).expect("a subject").to_owned()
        };
        all.iter().map(subject).collect()
    }
}

fn letter(subject: &str) -> Vec<u8> {
    format!("Subject: {subject}\n\nThis is {subject}.\n").into_bytes()
}

fn counts(report: &Value) -> [u64; 4] {
    ["taken", "present", "gone", "failed"].map(|key| report[key].as_u64().expect(key))
}

#[tokio::test]
async fn folders_flags_dates_and_order_come_over_and_nothing_twice() {
    let desk = Desk::new().await;
    desk.put("cur/1700000003.M1.host,S=20:2,RSa", 1_600_000_000, &letter("second"));
    desk.put("cur/1700000001.M2.host:2,F", 1_700_000_001, &letter("third"));
    desk.put("cur/1700000002.M3.host:2,", 1_700_000_002, &letter("first"));
    desk.put("new/1700000009.M4.host", 1_800_000_000, &letter("last"));
    desk.put("tmp/1700000010.M5.host", 1_700_000_010, b"Subject: half");
    desk.put("dovecot-keywords", 1, b"0 $Label1\n");
    let uids = b"3 V1 N9 G0\n1 :1700000002.M3.host\n2 S20 :1700000003.M1.host,S=20\n3 :1700000001.M2.host\n";
    desk.put("dovecot-uidlist", 1, uids);
    desk.put(".Sent Messages/cur/1700000004.M1.host:2,S", 1_700_000_004, &letter("sent"));
    desk.put(".Work.2026/cur/1700000005.M1.host:2,S", 1_700_000_005, &letter("twin"));
    desk.put(".Work.2026/cur/1700000006.M1.host:2,S", 1_700_000_006, &letter("twin"));
    desk.put(".Entw&APw-rfe/new/1700000007.M1.host:2,D", 1_700_000_007, &letter("draft"));
    fs::create_dir_all(desk.maildir.join(".Empty/cur")).expect("made");
    desk.put("subscriptions", 1, b"INBOX.Work.2026\nSent Messages\n");

    let dry = desk.taken_over(&["--dry-run"]);
    assert_eq!((counts(&dry), &dry["dry_run"]), ([8, 0, 0, 0], &Value::Bool(true)), "{dry}");
    assert!(desk.subjects("INBOX").await.is_empty());

    let done = desk.taken_over(&[]);
    assert_eq!((counts(&done), &done["made"]), ([8, 0, 0, 0], &serde_json::json!(["Empty", "Work/2026"])), "{done}");
    assert_eq!(desk.subjects("INBOX").await, ["first", "second", "third", "last"]);
    assert_eq!(desk.subjects("Sent").await, ["sent"]);
    assert_eq!(desk.subjects("Drafts").await, ["draft"]);
    let mut imap = desk.imap().await;
    imap.ok("SELECT INBOX").await;
    let fetched = imap.ok("FETCH 1:* (FLAGS INTERNALDATE BODY.PEEK[])").await.lines();
    assert!(fetched[1].contains("(\\Answered \\Seen $Label1)"), "{fetched:?}");
    assert!(fetched[1].contains("13-Sep-2020 12:26:40 +0000"), "the file's own moment is the earlier one: {fetched:?}");
    assert!(fetched[1].contains("Subject: second\r\n\r\nThis is second.\r\n"), "{fetched:?}");
    assert!(fetched[2].contains("\\Flagged"), "{fetched:?}");
    assert!(fetched[3].contains("14-Nov-2023 22:13:29 +0000"), "its name's is: {fetched:?}");
    let subscribed = imap.ok("LIST (SUBSCRIBED) \"\" *").await.lines().concat();
    assert!(subscribed.contains("Work/2026") && !subscribed.contains("Empty"), "{subscribed}");

    // What was moved here stays where it is, what came there since comes over, and so does a third twin.
    imap.ok("MOVE 1 Work/2026").await;
    desk.put(".Work.2026/cur/1700000008.M1.host:2,S", 1_700_000_008, &letter("twin"));
    desk.put("new/1700000011.M6.host", 1_700_000_011, &letter("new"));
    assert_eq!(counts(&desk.taken_over(&["--dry-run"])), [2, 8, 0, 0]);
    assert_eq!(counts(&desk.taken_over(&[])), [2, 8, 0, 0]);
    assert_eq!(counts(&desk.taken_over(&[])), [0, 10, 0, 0]);
    assert_eq!(desk.subjects("INBOX").await, ["second", "third", "last", "new"]);
    assert_eq!(desk.subjects("Work/2026").await, ["twin", "twin", "first", "twin"]);
    assert!(desk.server.check().await.is_empty());
    desk.server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_taken_is_named_and_keeps_nothing_else_back() {
    let desk = Desk::new().await;
    desk.put("cur/1.sealed:2,S", 1_700_000_000, b"CRYPTED\x03\x07\x02...");
    desk.put("cur/2.empty:2,S", 1_700_000_000, b"");
    desk.put("cur/3.good:2,S", 1_700_000_000, &letter("good"));
    let ran = desk.import(&[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    for words in ["cur/1.sealed:2,S  is encrypted, which only", "cur/2.empty:2,S   is empty", "1 messages taken into"] {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
    assert_eq!(desk.subjects("INBOX").await, ["good"]);
    let refused = |path: &Path, account: &str| {
        let config = desk.folder.path().join("posthorn.toml").display().to_string();
        let ran =
            run(&["--config", &config, "import", "maildir", &path.display().to_string(), "--account", account], "");
        assert_eq!(ran.code, 1, "{ran:?}");
        ran.err
    };
    assert!(
        refused(&desk.maildir, "eve@example.org").contains("there is no account eve@example.org here: make it first")
    );
    let told = refused(desk.folder.path(), "ann@example.org");
    assert!(told.contains("is no Maildir: it has neither cur nor new") && told.contains("Maildir is one"), "{told}");
    desk.server.stop().await;
}

#[tokio::test]
async fn a_quota_stops_it_and_the_next_run_goes_on() {
    let desk = Desk::new().await;
    for number in 0..120 {
        desk.put(&format!("cur/{number}.x:2,"), 1_700_000_000 + number, &letter(&format!("m{number:03}")));
    }
    let config = desk.folder.path().join("posthorn.toml").display().to_string();
    let quota = |messages: &str| {
        let ran = run(&["--config", &config, "account", "set", "ann@example.org", "--quota-messages", messages], "");
        assert_eq!(ran.code, 0, "{ran:?}");
    };
    quota("70");
    let ran = desk.import(&["--json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let stopped: Value = serde_json::from_str(&ran.out).expect("one document");
    assert!(stopped["stopped"].as_str().is_some_and(|why| why.contains("the quota is used up")), "{stopped}");
    let taken = stopped["taken"].as_u64().expect("a number");
    assert_eq!(desk.subjects("INBOX").await.len() as u64, taken, "what is told is there");
    assert!(taken > 0, "{stopped}");
    quota("0");
    assert_eq!(counts(&desk.taken_over(&[])), [120 - taken, taken, 0, 0]);
    let expected: Vec<_> = (0..120).map(|number| format!("m{number:03}")).collect();
    assert_eq!(desk.subjects("INBOX").await, expected);
    desk.server.stop().await;
}
