//! STORE, COPY, MOVE, EXPUNGE, CLOSE.

use crate::rig::{Rig, message, number, put, refused, says, silent};

async fn three(rig: &Rig) -> harness::imap_client::ImapClient {
    rig.holding(&[&message("one", "x"), &message("two", "x"), &message("three", "x")]).await
}

#[tokio::test]
async fn flags_are_added_taken_and_replaced() {
    let rig = Rig::new().await;
    let mut client = three(&rig).await;
    says(&client.ok("STORE 1 +FLAGS (\\Seen $Work)").await, "* 1 FETCH (FLAGS (\\Seen $Work))");
    says(&client.ok("STORE 1 FLAGS (\\Flagged \\Draft)").await, "* 1 FETCH (FLAGS (\\Flagged \\Draft))");
    says(&client.ok("STORE 1 -FLAGS \\Flagged").await, "* 1 FETCH (FLAGS (\\Draft))");
    says(&client.ok("STORE 1 FLAGS ()").await, "* 1 FETCH (FLAGS ())");
    assert!(client.ok("STORE 1:3 +FLAGS.SILENT (\\Answered)").await.untagged.is_empty());
    let uid = client.ok("UID STORE 2:3 +FLAGS (\\Seen)").await;
    assert_eq!(
        uid.lines(),
        ["* 2 FETCH (UID 2 FLAGS (\\Answered \\Seen))", "* 3 FETCH (UID 3 FLAGS (\\Answered \\Seen))"]
    );
    says(&client.ok("STORE 1 +FLAGS (\\Answered)").await, "* 1 FETCH (FLAGS (\\Answered))");
    says(&client.ok("STORE 1 +FLAGS ($wOrK)").await, "* 1 FETCH (FLAGS (\\Answered $Work))");
    says(&client.ok("STORE 1 -FLAGS (never)").await, "* 1 FETCH (FLAGS (\\Answered $Work))");
    let flags = client.ok("SELECT INBOX").await;
    says(&flags, "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Work)");
    for bad in [
        "STORE 1 +FLAGS",
        "STORE 1 FLAGS (\\Foo",
        "STORE 4 +FLAGS (\\Seen)",
        "STORE 1 *FLAGS (x)",
        "STORE 1 +FLAGS.LOUD ()",
    ] {
        refused(&client.ask(bad).await, "BAD");
    }
    assert!(client.ok("UID STORE 99 +FLAGS (\\Seen)").await.untagged.is_empty());
    client.ok("EXAMINE INBOX").await;
    for refusal in ["STORE 1 +FLAGS (\\Seen)", "EXPUNGE", "MOVE 1 Trash", "UID EXPUNGE 1"] {
        refused(&client.ask(refusal).await, "NO");
    }
    rig.sound().await;
}

#[tokio::test]
async fn fifty_seven_keywords_are_the_limit() {
    let rig = Rig::new().await;
    let mut client = three(&rig).await;
    for n in 0..57 {
        client.ok(&format!("STORE 1 +FLAGS.SILENT (k{n})")).await;
    }
    refused(&client.ask("STORE 1 +FLAGS (k57)").await, "NO [LIMIT]");
    refused(&client.ask("APPEND INBOX (k57) {1+}\r\nx").await, "NO [LIMIT]");
    client.ok("STORE 1 -FLAGS (k57)").await;
    says(&client.ok("STORE 2 +FLAGS (K56)").await, "* 2 FETCH (FLAGS (k56))");
    let line = client.ok("FETCH 1 FLAGS").await.lines().concat();
    assert!((0..57).all(|n| line.contains(&format!("k{n}"))), "{line}");
    says(&client.ok("SEARCH KEYWORD k56").await, "* SEARCH 1 2");
    says(&client.ok("SEARCH UNKEYWORD k3").await, "* SEARCH 2 3");
}

#[tokio::test]
async fn conditional_stores_leave_what_changed() {
    let rig = Rig::new().await;
    let mut client = three(&rig).await;
    let before = number(&client.ok("STATUS INBOX (HIGHESTMODSEQ)").await, "HIGHESTMODSEQ");
    let mut other = rig.inbox().await;
    other.ok("STORE 2 +FLAGS.SILENT (\\Flagged)").await;
    let answer = client.ok(&format!("STORE 1:3 (UNCHANGEDSINCE {before}) +FLAGS.SILENT (\\Seen)")).await;
    assert!(answer.tagged.starts_with("OK [MODIFIED 2]"), "{answer:?}");
    let told: Vec<String> = answer.lines();
    assert!(told.iter().any(|line| line.starts_with("* 1 FETCH (") && line.contains("MODSEQ (")), "{told:?}");
    silent(&client.ok("FETCH 2 FLAGS").await, "\\Seen");
    let answer = client.ok("UID STORE 1:3 (UNCHANGEDSINCE 1) +FLAGS (\\Draft)").await;
    assert!(answer.tagged.starts_with("OK [MODIFIED 1:3]"), "{answer:?}");
    let now = number(&client.ok("STATUS INBOX (HIGHESTMODSEQ)").await, "HIGHESTMODSEQ");
    let answer = client.ok(&format!("STORE 2 (UNCHANGEDSINCE {now}) FLAGS (\\Draft)")).await;
    assert!(!answer.tagged.contains("MODIFIED") && answer.find("FLAGS (\\Draft)").is_some(), "{answer:?}");
    rig.sound().await;
}

#[tokio::test]
async fn copies_and_moves_say_where_they_went() {
    let rig = Rig::new().await;
    let mut client = three(&rig).await;
    client.ok("STORE 1 +FLAGS.SILENT (\\Flagged $Work)").await;
    let validity = number(&client.ok("STATUS Archive (UIDVALIDITY)").await, "UIDVALIDITY");
    let copied = client.ok("COPY 1,3 Archive").await;
    assert!(copied.tagged.starts_with(&format!("OK [COPYUID {validity} 1,3 1:2]")), "{copied:?}");
    let moved = client.ok("UID MOVE 2:3 Archive").await;
    assert_eq!(
        moved.lines(),
        [format!("* OK [COPYUID {validity} 2:3 3:4] Moved"), "* 3 EXPUNGE".into(), "* 2 EXPUNGE".into()]
    );
    let own = client.ok("COPY 1 INBOX").await;
    says(&own, "* 2 EXISTS");
    for (command, refusal) in [
        ("COPY 1 none", "NO [TRYCREATE]"),
        ("MOVE 1 none", "NO [TRYCREATE]"),
        ("MOVE 1 INBOX", "NO [CANNOT]"),
        ("COPY 9 Archive", "BAD"),
        ("COPY 1", "BAD"),
    ] {
        refused(&client.ask(command).await, refusal);
    }
    assert!(!client.ok("UID COPY 77 Archive").await.tagged.contains("COPYUID"));
    assert!(!client.ok("UID MOVE 77 Archive").await.tagged.contains("COPYUID"));
    client.ok("SELECT Archive").await;
    let flags = client.ok("FETCH 1 FLAGS").await;
    says(&flags, "* 1 FETCH (FLAGS (\\Flagged $Work))");
    let ids = client.ok("FETCH 1:4 EMAILID").await;
    assert_eq!(ids.untagged.len(), 4);
    assert_ne!(ids.lines()[0].split(' ').next_back(), ids.lines()[1].split(' ').next_back());
    rig.sound().await;
}

#[tokio::test]
async fn expunge_removes_what_is_deleted_and_nothing_else() {
    let rig = Rig::new().await;
    let mut client = three(&rig).await;
    assert!(client.ok("EXPUNGE").await.untagged.is_empty());
    client.ok("STORE 1,3 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(client.ok("UID EXPUNGE 2:3").await.lines(), ["* 3 EXPUNGE"]);
    assert_eq!(client.ok("EXPUNGE").await.lines(), ["* 1 EXPUNGE"]);
    says(&client.ok("FETCH 1 UID").await, "* 1 FETCH (UID 2)");
    put(&mut client, "INBOX", message("four", "x")).await;
    says(&client.ok("FETCH 2 UID").await, "* 2 FETCH (UID 4)");
    refused(&client.ask("UID EXPUNGE").await, "BAD");

    client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    assert!(client.ok("CLOSE").await.untagged.is_empty(), "CLOSE says nothing of what it removes");
    refused(&client.ask("FETCH 1 UID").await, "BAD");
    assert_eq!(number(&client.ok("STATUS INBOX (MESSAGES)").await, "MESSAGES"), 1);
    client.ok("SELECT INBOX").await;
    client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    client.ok("UNSELECT").await;
    client.ok("EXAMINE INBOX").await;
    client.ok("CLOSE").await;
    assert_eq!(number(&client.ok("STATUS INBOX (MESSAGES DELETED)").await, "DELETED"), 1, "neither removes it");
    rig.sound().await;
}
