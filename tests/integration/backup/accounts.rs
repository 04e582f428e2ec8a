//! One account's mail comes back beside what the account has today, and nothing twice.

use std::path::Path;

use harness::imap_client::ImapClient;
use harness::server::{Server, ServerOptions};
use posthorn::backup::Progress;
use posthorn::backup::account::{Account, Restored, restore};
use posthorn_model::Address;

use super::backed_up;

fn address(text: &str) -> Address {
    Address::parse(text).expect("an address")
}

fn message(subject: &str) -> String {
    format!("From: eve@example.com\r\nSubject: {subject}\r\n\r\nThis is {subject}.\r\n")
}

async fn append(imap: &mut ImapClient, mailbox: &str, flags: &str, subject: &str) {
    // One second for all: only the octets tell them apart.
    let text = message(subject);
    let tag = imap
        .send(
            format!("APPEND {mailbox} ({flags}) \"01-Mar-2026 10:00:00 +0000\" {{{}+}}\r\n{text}\r\n", text.len())
                .as_bytes(),
        )
        .await;
    let answer = imap.answer(&tag).await;
    assert!(answer.is_ok(), "{answer:?}");
}

async fn subjects(server: &Server, who: &str, mailbox: &str) -> Vec<String> {
    let mut subjects: Vec<String> = server
        .messages(who, mailbox)
        .await
        .iter()
        .map(|octets| {
            String::from_utf8_lossy(octets)
                .split("Subject: ")
                .nth(1)
                .expect("a subject")
                .lines()
                .next()
                .expect("a line")
                .to_owned()
        })
        .collect();
    subjects.sort();
    subjects
}

async fn back(server: &Server, path: &Path, (from, into): (&str, &str), folders: &[&str]) -> anyhow::Result<Restored> {
    let url = server.config().database.url.as_ref().expect("a URL").reveal();
    let folders: Vec<String> = folders.iter().map(|folder| (*folder).to_owned()).collect();
    let (from, into) = (address(from), address(into));
    let wanted = Account { from: &from, into: &into, folders: &folders };
    restore(server.mail(), url, path, &wanted, &Progress::default()).await
}

async fn with_mail() -> (Server, ImapClient) {
    let server = Server::start(ServerOptions::new()).await;
    server.account("ann@example.org", "a password").await;
    server.account("joe@example.org", "a password").await;
    let mut imap = server.imap().await;
    imap.login("ann@example.org", "a password").await;
    imap.ok("CREATE Work/2026").await;
    for number in 1..=5 {
        append(&mut imap, "INBOX", "\\Seen $Later", &format!("in{number}")).await;
    }
    append(&mut imap, "Work/2026", "\\Flagged", "work1").await;
    append(&mut imap, "Work/2026", "", "work2").await;
    // Twice the same.
    append(&mut imap, "INBOX", "", "twice").await;
    append(&mut imap, "INBOX", "", "twice").await;
    let mut joe = server.imap().await;
    joe.login("joe@example.org", "a password").await;
    append(&mut joe, "INBOX", "", "joe's own").await;
    (server, imap)
}

#[tokio::test]
async fn what_is_gone_comes_back_and_nothing_twice() {
    let (server, mut imap) = with_mail().await;
    let url = server.config().database.url.as_ref().expect("a URL").reveal().to_owned();
    let folder = tempfile::tempdir().expect("a folder");
    let (path, _) = backed_up(&url, folder.path()).await;
    imap.ok("SELECT INBOX").await;
    // in1 and in2 are deleted, in3 is moved, one of the twins is deleted, the folder is removed.
    imap.ok("UID MOVE 3 Work").await;
    imap.ok("UID STORE 1,2,7 +FLAGS (\\Deleted)").await;
    imap.ok("EXPUNGE").await;
    imap.ok("DELETE Work/2026").await;
    append(&mut imap, "INBOX", "", "new").await;
    let restored = back(&server, &path, ("ann@example.org", "ann@example.org"), &[]).await.expect("restored");
    assert_eq!((restored.restored, restored.present, restored.lost), (5, 4, 0), "{restored:?}");
    assert_eq!(restored.made, ["Work/2026"]);
    assert_eq!(
        subjects(&server, "ann@example.org", "INBOX").await,
        ["in1", "in2", "in4", "in5", "new", "twice", "twice"]
    );
    assert_eq!(subjects(&server, "ann@example.org", "Work").await, ["in3"], "what was moved stays where it is");
    assert_eq!(subjects(&server, "ann@example.org", "Work/2026").await, ["work1", "work2"]);
    assert_eq!(subjects(&server, "joe@example.org", "INBOX").await, ["joe's own"]);
    // With their flags and dates, and byte for byte.
    imap.ok("SELECT INBOX").await;
    let found = imap.ok("UID SEARCH SUBJECT in1").await.find("SEARCH").expect("found");
    let uid = found.split_whitespace().last().expect("a UID");
    let fetched = imap.ok(&format!("UID FETCH {uid} (FLAGS INTERNALDATE BODY.PEEK[])")).await;
    let line = String::from_utf8_lossy(&fetched.untagged.concat()).into_owned();
    assert!(line.contains("\\Seen") && line.contains("$Later") && line.contains("1-Mar-2026 10:00:00 +0000"), "{line}");
    assert!(line.contains(&message("in1")), "{line}");
    assert!(server.check().await.is_empty());
    // Once more: everything is there.
    let again = back(&server, &path, ("ann@example.org", "ann@example.org"), &[]).await.expect("restored");
    assert_eq!((again.restored, again.present), (0, 9), "{again:?}");
    server.stop().await;
}

#[tokio::test]
async fn into_another_account_only_some_folders_as_far_as_its_quota_goes() {
    let (server, _imap) = with_mail().await;
    let url = server.config().database.url.as_ref().expect("a URL").reveal().to_owned();
    let folder = tempfile::tempdir().expect("a folder");
    let (path, _) = backed_up(&url, folder.path()).await;
    let both = ("ann@example.org", "joe@example.org");
    let error = back(&server, &path, both, &["Nowhere"]).await.expect_err("refused").to_string();
    assert!(error.contains("no folder \"Nowhere\"") && error.contains("Work/2026"), "{error}");
    let error =
        back(&server, &path, ("eve@example.org", "joe@example.org"), &[]).await.expect_err("refused").to_string();
    assert!(error.contains("the backup has no account eve@example.org"), "{error}");
    let error =
        back(&server, &path, ("ann@example.org", "eve@example.org"), &[]).await.expect_err("refused").to_string();
    assert!(error.contains("there is no account eve@example.org here: make it first"), "{error}");
    let restored = back(&server, &path, both, &["Work"]).await.expect("restored");
    assert_eq!(restored.folders.into_iter().collect::<Vec<_>>(), [("Work/2026".to_owned(), 2)]);
    assert_eq!(subjects(&server, "joe@example.org", "INBOX").await, ["joe's own"]);
    // A quota that has no room for all of it.
    super::run(&url, "update mail_state set quota_messages = used_messages + 1 where account_id = (select id from account where local = 'joe')").await;
    let stopped = back(&server, &path, both, &[]).await.expect("told");
    assert!(stopped.stopped.as_deref().is_some_and(|why| why.contains("quota is used up")), "{stopped:?}");
    super::run(&url, "update mail_state set quota_messages = null").await;
    let rest = back(&server, &path, both, &[]).await.expect("restored");
    assert_eq!((rest.restored, rest.stopped), (7, None));
    assert_eq!(subjects(&server, "joe@example.org", "INBOX").await.len(), 8);
    assert!(server.check().await.is_empty());
    server.stop().await;
}
