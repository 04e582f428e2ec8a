//! Several sessions, in one server and in two.

use harness::imap_client::ImapClient;

use crate::rig::{Rig, done, hear, idle, inbox, message, put, refused, says, silent, user};

#[tokio::test]
async fn idling_sessions_hear_everything_at_once() {
    let rig = Rig::new().await;
    let mut client = rig.inbox().await;
    let (mut one, mut two) = (rig.inbox().await, rig.inbox().await);
    let tags = [idle(&mut one).await, idle(&mut two).await];
    put(&mut client, "INBOX", message("first", "x")).await;
    put(&mut client, "INBOX", message("second", "x")).await;
    for other in [&mut one, &mut two] {
        hear(other, "* 2 EXISTS").await;
    }
    client.ok("STORE 1 +FLAGS (\\Flagged $New)").await;
    for other in [&mut one, &mut two] {
        hear(other, "* 1 FETCH (FLAGS (\\Flagged $New))").await;
    }
    client.ok("MOVE 2 Trash").await;
    for other in [&mut one, &mut two] {
        hear(other, "* 2 EXPUNGE").await;
    }
    client.ok("STORE 1 +FLAGS (\\Deleted)").await;
    client.ok("EXPUNGE").await;
    for other in [&mut one, &mut two] {
        hear(other, "* 1 EXPUNGE").await;
    }
    assert!(done(&mut one, &tags[0]).await.untagged.is_empty());
    two.stream.send(b"NONSENSE\r\n").await;
    refused(&two.answer(&tags[1]).await, "BAD");
    // Delivered mail as well.
    let tag = idle(&mut one).await;
    let mut sender = rig.server.smtp(posthorn_config::Speaks::Lmtp).await;
    sender.deliver("", &[crate::rig::USER], &message("delivered", "x")).await;
    hear(&mut one, "* 1 EXISTS").await;
    done(&mut one, &tag).await;
    rig.sound().await;
}

#[tokio::test]
async fn numbers_hold_while_a_command_uses_them() {
    let rig = Rig::new().await;
    let mut client = rig.holding(&[&message("one", "x"), &message("two", "x"), &message("three", "x")]).await;
    let mut other = rig.inbox().await;
    other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    other.ok("EXPUNGE").await;
    put(&mut other, "INBOX", message("four", "x")).await;

    let fetch = client.ok("FETCH 1:* UID").await;
    silent(&fetch, "EXPUNGE");
    assert!(fetch.find("* 2 FETCH (UID 2)").is_some() && fetch.find("* 1 FETCH").is_none(), "{fetch:?}");
    let store = client.ok("STORE 2 +FLAGS (\\Seen)").await;
    silent(&store, "EXPUNGE");
    says(&store, "* 2 FETCH (FLAGS (\\Seen))");
    let search = client.ok("SEARCH ALL").await;
    silent(&search, "EXPUNGE");
    says(&search, "* SEARCH 2 3 4");
    says(&client.ok("COPY 3 Trash").await, "* 1 EXPUNGE");
    says(&client.ok("FETCH 1 UID").await, "* 1 FETCH (UID 2)");
    rig.sound().await;
}

#[tokio::test]
async fn a_silent_store_does_not_hide_what_others_changed() {
    let rig = Rig::new().await;
    let mut client = rig.holding(&[&message("one", "x"), &message("two", "x")]).await;
    let mut other = rig.inbox().await;
    other.ok("STORE 1 +FLAGS.SILENT (\\Flagged)").await;
    let stored = client.ok("STORE 1:2 +FLAGS.SILENT (\\Seen)").await;
    assert_eq!(stored.lines(), ["* 1 FETCH (FLAGS (\\Flagged \\Seen))"]);
    assert!(client.ok("NOOP").await.untagged.is_empty());
}

#[tokio::test]
async fn expunges_are_told_to_uid_commands_and_numbers_follow() {
    let rig = Rig::new().await;
    let mut client = rig.holding(&[&message("one", "x"), &message("two", "x")]).await;
    let mut other = rig.inbox().await;
    other.ok("MOVE 1 Trash").await;
    let news = client.ok("NOOP").await;
    assert_eq!(news.lines(), ["* 1 EXPUNGE"]);
    assert!(client.ok("NOOP").await.untagged.is_empty());
    says(&client.ok("UID FETCH 2 UID").await, "* 1 FETCH (UID 2)");
    refused(&client.ask("FETCH 2 UID").await, "BAD");
}

#[tokio::test]
async fn another_server_on_the_same_database_hears_too() {
    let rig = Rig::new().await;
    let twin = rig.twin().await;
    let mut here = rig.inbox().await;
    let mut there = inbox(&twin).await;
    let tag = idle(&mut there).await;
    put(&mut here, "INBOX", message("one", "x")).await;
    hear(&mut there, "* 1 EXISTS").await;
    here.ok("STORE 1 +FLAGS (\\Seen $Unheard)").await;
    hear(&mut there, "* 1 FETCH (FLAGS (\\Seen $Unheard))").await;
    done(&mut there, &tag).await;
    there.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    let tag = idle(&mut here).await;
    there.ok("EXPUNGE").await;
    hear(&mut here, "* 1 EXPUNGE").await;
    done(&mut here, &tag).await;
    // Without IDLE, a NOOP reads what was committed elsewhere.
    put(&mut there, "INBOX", message("two", "x")).await;
    says(&here.ok("NOOP").await, "* 1 EXISTS");
    there.ok("CREATE shared/new").await;
    assert_eq!(here.ok("LIST \"\" shared/%").await.untagged.len(), 1);
    rig.sound().await;
}

/// Whoever has a mailbox selected that another session deletes is told to go.
async fn dismissed(client: &mut ImapClient) {
    hear(client, "* BYE The selected mailbox was deleted").await;
    assert_eq!(client.line().await, None);
}

#[tokio::test]
async fn a_mailbox_that_is_deleted_while_selected() {
    let rig = Rig::new().await;
    let twin = rig.twin().await;
    let mut owner = rig.user().await;
    owner.ok("CREATE doomed").await;
    put(&mut owner, "doomed", message("one", "x")).await;
    let (mut idling, mut busy, mut elsewhere) = (rig.user().await, rig.user().await, user(&twin).await);
    for client in [&mut owner, &mut idling, &mut busy, &mut elsewhere] {
        client.ok("SELECT doomed").await;
    }
    idle(&mut idling).await;
    idle(&mut elsewhere).await;
    let deleted = owner.ok("DELETE doomed").await;
    assert!(deleted.find("[CLOSED]").is_some(), "{deleted:?}");
    refused(&owner.ask("FETCH 1 UID").await, "BAD");
    owner.ok("SELECT INBOX").await;
    dismissed(&mut idling).await;
    dismissed(&mut elsewhere).await;
    let answer = busy.ask("FETCH 1 (UID BODY[])").await;
    assert!(answer.find("FETCH").is_none(), "{answer:?}");
    dismissed(&mut busy).await;
    owner.ok("CREATE doomed").await;
    assert!(owner.ok("SELECT doomed").await.find("* 0 EXISTS").is_some());
    rig.sound().await;
}

#[tokio::test]
async fn a_renamed_mailbox_stays_selected() {
    let rig = Rig::new().await;
    let mut client = rig.user().await;
    client.ok("CREATE before").await;
    client.ok("SELECT before").await;
    rig.user().await.ok("RENAME before after").await;
    let answer = client.append("after", message("one", "x").as_bytes()).await;
    says(&answer, "* 1 EXISTS");
    says(&client.ok("FETCH 1 UID").await, "* 1 FETCH (UID 1)");
}
