//! CONDSTORE and QRESYNC (RFC 7162): what a client missed while it was away.

use harness::imap_client::{Answer, ImapClient};

use crate::rig::{Rig, idle, message, number, put, refused, says, silent};

async fn filled(rig: &Rig, count: usize) -> ImapClient {
    let mut client = rig.user().await;
    client.ok("ENABLE QRESYNC").await;
    client.ok("SELECT INBOX").await;
    for n in 0..count {
        put(&mut client, "INBOX", message(&format!("{n}"), "x")).await;
    }
    client
}

/// UIDVALIDITY and HIGHESTMODSEQ.
async fn memory(client: &mut ImapClient) -> (u64, u64) {
    let status = client.ok("STATUS INBOX (UIDVALIDITY HIGHESTMODSEQ)").await;
    (number(&status, "UIDVALIDITY"), number(&status, "HIGHESTMODSEQ"))
}

fn fetched(answer: &Answer) -> Vec<String> {
    answer.lines().into_iter().filter(|line| line.contains(" FETCH (")).collect()
}

#[tokio::test]
async fn enabling_is_told() {
    let rig = Rig::new().await;
    let mut client = rig.user().await;
    says(&client.ok("ENABLE CONDSTORE X-UNKNOWN").await, "* ENABLED CONDSTORE");
    says(&client.ok("ENABLE QRESYNC UTF8=ACCEPT IMAP4rev2").await, "* ENABLED QRESYNC UTF8=ACCEPT IMAP4rev2");
    refused(&client.ask("ENABLE").await, "BAD");
    let mut client = rig.user().await;
    refused(&client.ask("SELECT INBOX (QRESYNC (1 1))").await, "BAD");
    client.ok("SELECT INBOX (CONDSTORE)").await;
    refused(&client.ask("UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)").await, "BAD");
}

#[tokio::test]
async fn condstore_shows_modseq_in_every_change_from_then_on() {
    let rig = Rig::new().await;
    let mut client = rig.holding(&[&message("one", "x"), &message("two", "x")]).await;
    silent(&client.ok("STORE 1 +FLAGS (\\Seen)").await, "MODSEQ");
    let first = client.ok("FETCH 1 (MODSEQ)").await;
    assert!(first.find("[HIGHESTMODSEQ ").is_some(), "{first:?}");
    let before = number(&first, "FETCH (MODSEQ");
    let stored = client.ok("STORE 1 +FLAGS (\\Flagged)").await;
    assert!(number(&stored, "MODSEQ") > before, "{stored:?}");
    let quiet = client.ok("STORE 1 +FLAGS.SILENT (\\Draft)").await;
    assert!(quiet.find("MODSEQ").is_some() && quiet.find("FLAGS").is_none(), "{quiet:?}");
    let mut other = rig.inbox().await;
    other.ok("STORE 2 +FLAGS (\\Seen)").await;
    let news = client.ok("NOOP").await;
    assert!(news.find("UID 2 MODSEQ (").is_some(), "{news:?}");
    let highest = number(&client.ok("STATUS INBOX (HIGHESTMODSEQ)").await, "HIGHESTMODSEQ");
    let changed = client.ok(&format!("FETCH 1:2 (FLAGS) (CHANGEDSINCE {})", highest - 1)).await;
    assert_eq!(fetched(&changed), [format!("* 2 FETCH (FLAGS (\\Seen) MODSEQ ({highest}))")]);
    assert!(client.ok(&format!("FETCH 1:2 (FLAGS) (CHANGEDSINCE {highest})")).await.untagged.is_empty());
}

#[tokio::test]
async fn whatever_enables_condstore_tells_where_it_stands() {
    let rig = Rig::new().await;
    for command in [
        "STORE 1 (UNCHANGEDSINCE 1) +FLAGS (\\Seen)",
        "SEARCH MODSEQ 1",
        "STATUS INBOX (HIGHESTMODSEQ)",
        "FETCH 1 (MODSEQ)",
    ] {
        let mut client = rig.holding(&[&message("one", "x")]).await;
        let first = client.ok(command).await;
        assert!(first.lines()[0].starts_with("* OK [HIGHESTMODSEQ "), "{command}: {first:?}");
        silent(&client.ok(command).await, "* OK [");
    }
    let mut client = rig.inbox().await;
    let again = client.ok("SELECT INBOX (CONDSTORE)").await;
    assert_eq!(again.lines().iter().filter(|line| line.contains("HIGHESTMODSEQ")).count(), 1, "{again:?}");
}

#[tokio::test]
async fn a_returning_client_hears_what_it_missed() {
    let rig = Rig::new().await;
    let mut client = filled(&rig, 6).await;
    let (validity, modseq) = memory(&mut client).await;
    client.ok("CLOSE").await;

    let mut other = rig.inbox().await;
    other.ok("STORE 2,4 +FLAGS.SILENT (\\Deleted)").await;
    other.ok("EXPUNGE").await;
    other.ok("STORE 1 +FLAGS.SILENT (\\Seen)").await;
    let uid = put(&mut other, "INBOX", message("new", "x")).await;
    other.ok("UID MOVE 6 Trash").await;

    let back = client.ok(&format!("SELECT INBOX (QRESYNC ({validity} {modseq}))")).await;
    says(&back, "* VANISHED (EARLIER) 2,4,6");
    says(&back, "* 4 EXISTS");
    let lines = fetched(&back);
    assert!(lines.len() == 2 && lines[0].starts_with("* 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ ("), "{back:?}");
    assert!(lines[1].starts_with(&format!("* 4 FETCH (UID {uid} FLAGS () MODSEQ (")), "{back:?}");
    let order: Vec<usize> = back
        .lines()
        .iter()
        .enumerate()
        .filter(|(_, l)| l.contains("VANISHED") || l.contains("FETCH"))
        .map(|(at, _)| at)
        .collect();
    assert!(back.lines()[order[0]].contains("VANISHED"), "what vanished comes first");

    let some = client.ok(&format!("SELECT INBOX (QRESYNC ({validity} {modseq} 3:5))")).await;
    says(&some, "* VANISHED (EARLIER) 4");
    assert!(fetched(&some).is_empty(), "{some:?}");
    let paired = client.ok(&format!("SELECT INBOX (QRESYNC ({validity} {modseq} 1:6 (1,3 1,3)))")).await;
    assert!(paired.find("VANISHED (EARLIER)").is_some(), "{paired:?}");
    let other_life = client.ok(&format!("SELECT INBOX (QRESYNC ({} {modseq}))", validity + 1)).await;
    assert!(fetched(&other_life).is_empty() && other_life.find("VANISHED").is_none());
    let now = memory(&mut client).await.1;
    let nothing = client.ok(&format!("SELECT INBOX (QRESYNC ({validity} {now}))")).await;
    assert!(fetched(&nothing).is_empty() && nothing.find("VANISHED").is_none(), "{nothing:?}");

    let fetch = client.ok(&format!("UID FETCH 1:* (FLAGS) (CHANGEDSINCE {modseq} VANISHED)")).await;
    says(&fetch, "* VANISHED (EARLIER) 2,4,6");
    assert_eq!(fetched(&fetch).len(), 2);
    refused(&client.ask("SELECT INBOX (QRESYNC (1 0))").await, "BAD");
    refused(&client.ask("SELECT INBOX (QRESYNC (1 1 1:* ))").await, "BAD");
    rig.sound().await;
}

#[tokio::test]
async fn vanished_takes_the_place_of_expunge() {
    let rig = Rig::new().await;
    let mut client = filled(&rig, 4).await;
    let mut idling = rig.user().await;
    idling.ok("ENABLE QRESYNC").await;
    idling.ok("SELECT INBOX").await;
    let tag = idle(&mut idling).await;
    client.ok("STORE 2:3 +FLAGS.SILENT (\\Deleted)").await;
    let gone = client.ok("EXPUNGE").await;
    assert_eq!(gone.lines(), ["* VANISHED 2:3"]);
    assert!(gone.tagged.starts_with("OK [HIGHESTMODSEQ "), "{gone:?}");
    crate::rig::hear(&mut idling, "* VANISHED 2:3").await;
    crate::rig::done(&mut idling, &tag).await;
    let moved = client.ok("MOVE 1 Trash").await;
    assert!(moved.find("COPYUID").is_some(), "{moved:?}");
    says(&moved, "* VANISHED 1");
    client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    let closed = client.ok("CLOSE").await;
    assert!(closed.untagged.is_empty() && closed.tagged.starts_with("OK [HIGHESTMODSEQ "), "{closed:?}");
    let highest = number(&closed, "HIGHESTMODSEQ");
    assert_eq!(number(&client.ok("STATUS INBOX (HIGHESTMODSEQ)").await, "HIGHESTMODSEQ"), highest);
}

#[tokio::test]
async fn close_does_not_promise_what_was_not_told() {
    let rig = Rig::new().await;
    let mut client = filled(&rig, 2).await;
    client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    rig.inbox().await.ok("STORE 2 +FLAGS (\\Flagged)").await;
    let closed = client.ok("CLOSE").await;
    assert!(!closed.tagged.contains("HIGHESTMODSEQ"), "{closed:?}");
}

#[tokio::test]
async fn a_cut_log_is_made_up_for() {
    let rig = Rig::new().await;
    let mut client = filled(&rig, 9).await;
    let (validity, modseq) = memory(&mut client).await;
    client.ok("STORE 2:4 +FLAGS.SILENT (\\Deleted)").await;
    client.ok("EXPUNGE").await;
    client.ok("STORE 1 +FLAGS.SILENT (\\Seen)").await;
    client.ok("UNSELECT").await;
    let mut connection = rig.server.mail().store().acquire().await.expect("the store works");
    let cut = posthorn_store::orphans::cut_changes(&mut connection, 1).await;
    cut.expect("the store works");
    drop(connection);
    let back = client.ok(&format!("SELECT INBOX (QRESYNC ({validity} {modseq}))")).await;
    says(&back, "* VANISHED (EARLIER) 2:4");
    let known = client.ok(&format!("SELECT INBOX (QRESYNC ({validity} {modseq} 1:9 (1,2 1,5)))")).await;
    assert!(known.find("VANISHED").is_none(), "what matched up to UID 5 need not be told again: {known:?}");
    assert_eq!(fetched(&known).len(), 1);
    let fetch = client.ok(&format!("UID FETCH 1:9 (FLAGS) (CHANGEDSINCE {modseq} VANISHED)")).await;
    says(&fetch, "* VANISHED (EARLIER) 2:4");
}
