//! Mailboxes: made, named, removed, listed, subscribed, counted.

use crate::rig::{Rig, done, hear, idle, message, number, put, refused, says, silent};

#[tokio::test]
async fn a_new_account_is_furnished() {
    let rig = Rig::new().await;
    let mut client = rig.user().await;
    let all = client.ok("LIST \"\" *").await;
    assert_eq!(
        all.lines(),
        [
            "* LIST (\\HasNoChildren \\Archive) \"/\" Archive",
            "* LIST (\\HasNoChildren \\Drafts) \"/\" Drafts",
            "* LIST (\\HasNoChildren) \"/\" INBOX",
            "* LIST (\\HasNoChildren \\Junk) \"/\" Junk",
            "* LIST (\\HasNoChildren \\Sent) \"/\" Sent",
            "* LIST (\\HasNoChildren \\Trash) \"/\" Trash",
        ]
    );
    let special = client.ok("LIST (SPECIAL-USE) \"\" \"*\"").await;
    assert_eq!(special.untagged.len(), 5, "{:?}", special.lines());
    silent(&special, "INBOX");
    says(&client.ok("LIST \"\" \"\"").await, "* LIST (\\Noselect) \"/\" \"\"");
    says(&client.ok("NAMESPACE").await, "* NAMESPACE ((\"\" \"/\")) NIL NIL");
    says(&client.ok("LIST \"\" inbox").await, "* LIST (\\HasNoChildren) \"/\" INBOX");
    client.ok("SELECT iNbOx").await;
}

#[tokio::test]
async fn mailboxes_are_made_with_their_parents_and_uses() {
    let rig = Rig::new().await;
    let mut client = rig.user().await;
    let made = client.ok("CREATE a/b/c").await;
    assert!(made.tagged.starts_with("OK [MAILBOXID (M"), "{made:?}");
    says(&client.ok("LIST \"\" a*").await, "* LIST (\\HasChildren) \"/\" a");
    says(&client.ok("LIST \"\" a/%").await, "* LIST (\\HasChildren) \"/\" a/b");
    says(&client.ok("LIST a/b/ %").await, "* LIST (\\HasNoChildren) \"/\" a/b/c");
    assert!(client.ok("LIST \"\" A").await.untagged.is_empty());
    client.ok("CREATE later/").await;
    says(&client.ok("LIST \"\" later").await, "* LIST (\\HasNoChildren) \"/\" later");
    refused(&client.ask("CREATE a/b").await, "NO [ALREADYEXISTS]");
    refused(&client.ask("CREATE inbox").await, "NO [ALREADYEXISTS]");
    for bad in ["CREATE a//b", "CREATE /a", "CREATE \"a*\"", "CREATE \" x\""] {
        refused(&client.ask(bad).await, "NO [CANNOT]");
    }
    for bad in ["CREATE", "CREATE \"\""] {
        refused(&client.ask(bad).await, "BAD");
    }
    refused(&client.ask("CREATE x (FOO (y))").await, "BAD");

    refused(&client.ask("CREATE x (USE (\\Sent))").await, "NO [USEATTR]");
    refused(&client.ask("CREATE x (USE (\\Flagged))").await, "NO [USEATTR]");
    refused(&client.ask("CREATE x (USE (\\Drafts \\Junk))").await, "NO [USEATTR]");
    assert!(client.ok("LIST \"\" x").await.untagged.is_empty(), "a refused use makes nothing");
    client.ok("DELETE Sent").await;
    client.ok("CREATE Gesendet (USE (\\Sent))").await;
    says(&client.ok("LIST (SPECIAL-USE) \"\" G*").await, "* LIST (\\HasNoChildren \\Sent) \"/\" Gesendet");
    rig.sound().await;
}

#[tokio::test]
async fn mailboxes_are_removed_from_below() {
    let rig = Rig::new().await;
    let mut client = rig.user().await;
    client.ok("CREATE a/b").await;
    put(&mut client, "a/b", message("one", "x")).await;
    refused(&client.ask("DELETE a").await, "NO [HASCHILDREN]");
    refused(&client.ask("DELETE none").await, "NO [NONEXISTENT]");
    refused(&client.ask("DELETE INBOX").await, "NO [CANNOT]");
    let before = number(&client.ok("STATUS a/b (UIDVALIDITY)").await, "UIDVALIDITY");
    client.ok("DELETE a/b").await;
    client.ok("DELETE a").await;
    refused(&client.ask("STATUS a/b (MESSAGES)").await, "NO [NONEXISTENT]");
    refused(&client.ask("SELECT a/b").await, "NO [NONEXISTENT]");
    client.ok("CREATE a/b").await;
    let fresh = client.ok("STATUS a/b (UIDVALIDITY MESSAGES)").await;
    assert!(number(&fresh, "UIDVALIDITY") > before && number(&fresh, "MESSAGES") == 0, "{fresh:?}");
    rig.sound().await;
}

#[tokio::test]
async fn renaming_takes_everything_along() {
    let rig = Rig::new().await;
    let mut client = rig.user().await;
    client.ok("CREATE a/b/c").await;
    client.ok("CREATE ab").await;
    put(&mut client, "a/b/c", message("deep", "x")).await;
    let before = client.ok("STATUS a/b/c (MAILBOXID UIDVALIDITY UIDNEXT MESSAGES)").await;
    client.ok("RENAME a new/place").await;
    let after = client.ok("STATUS new/place/b/c (MAILBOXID UIDVALIDITY UIDNEXT MESSAGES)").await;
    assert_eq!(before.lines()[0].replace("a/b/c", "new/place/b/c"), after.lines()[0]);
    assert!(client.ok("LIST \"\" a/*").await.untagged.is_empty());
    says(&client.ok("LIST \"\" ab").await, "* LIST (\\HasNoChildren) \"/\" ab");
    says(&client.ok("LIST \"\" new").await, "* LIST (\\HasChildren) \"/\" new");
    refused(&client.ask("RENAME none x").await, "NO [NONEXISTENT]");
    refused(&client.ask("RENAME ab new").await, "NO [ALREADYEXISTS]");
    refused(&client.ask("RENAME ab ab").await, "NO [ALREADYEXISTS]");
    refused(&client.ask("RENAME ab inbox").await, "NO [ALREADYEXISTS]");
    refused(&client.ask("RENAME new new/place/below").await, "NO [CANNOT]");
    refused(&client.ask("RENAME ab").await, "BAD");
    rig.sound().await;
}

#[tokio::test]
async fn renaming_the_inbox_empties_it() {
    let rig = Rig::new().await;
    let mut client = rig.user().await;
    client.ok("CREATE INBOX/below").await;
    put(&mut client, "INBOX", message("old", "x")).await;
    let mut watcher = rig.inbox().await;
    let tag = idle(&mut watcher).await;
    let before = number(&client.ok("STATUS INBOX (HIGHESTMODSEQ)").await, "HIGHESTMODSEQ");
    client.ok("RENAME INBOX \"Old mail/2025\"").await;
    // One transaction: nobody sees the new mailbox before the messages are in it.
    assert_eq!(number(&client.ok("STATUS INBOX (HIGHESTMODSEQ)").await, "HIGHESTMODSEQ"), before + 1);
    hear(&mut watcher, "* 1 EXPUNGE").await;
    done(&mut watcher, &tag).await;
    assert_eq!(number(&client.ok("STATUS INBOX (MESSAGES)").await, "MESSAGES"), 0);
    assert_eq!(number(&client.ok("STATUS \"Old mail/2025\" (MESSAGES)").await, "MESSAGES"), 1);
    says(&client.ok("LIST \"\" INBOX/%").await, "* LIST (\\HasNoChildren) \"/\" INBOX/below");
    refused(&client.ask("RENAME INBOX Trash").await, "NO [ALREADYEXISTS]");
    rig.sound().await;
}

#[tokio::test]
async fn names_have_two_spellings_on_the_wire_and_one_in_the_store() {
    let rig = Rig::new().await;
    let mut old = rig.user().await;
    let mut new = rig.user().await;
    new.ok("ENABLE IMAP4rev2").await;
    let mut utf8 = rig.user().await;
    utf8.ok("ENABLE UTF8=ACCEPT").await;

    old.ok("CREATE Entw&APw-rfe/&ZeVnLIqe-").await;
    says(&new.ok("LIST \"\" \"Entwürfe/*\"").await, "* LIST (\\HasNoChildren) \"/\" \"Entwürfe/日本語\"");
    says(&utf8.ok("LIST \"\" \"*日本語\"").await, "* LIST (\\HasNoChildren) \"/\" \"Entwürfe/日本語\"");
    new.ok("CREATE \"Grüße & Küsse\"").await;
    says(&old.ok("LIST \"\" Gr*").await, "* LIST (\\HasNoChildren) \"/\" \"Gr&APwA3w-e &- K&APw-sse\"");
    old.ok("SELECT \"Gr&APwA3w-e &- K&APw-sse\"").await;
    let selected = new.ok("SELECT \"Grüße & Küsse\"").await;
    says(&selected, "* LIST () \"/\" \"Grüße & Küsse\"");
    says(&new.ok("STATUS \"Entwürfe\" (MESSAGES)").await, "* STATUS \"Entwürfe\" (MESSAGES 0)");
    for bad in ["CREATE a&b", "CREATE &AGE-", "CREATE \"Entwürfe2\""] {
        refused(&old.ask(bad).await, "BAD");
    }
}

#[tokio::test]
async fn subscriptions_are_a_list_of_their_own() {
    let rig = Rig::new().await;
    let mut client = rig.user().await;
    for name in ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"] {
        says(&client.ok("LSUB \"\" *").await, &format!("* LSUB () \"/\" {name}"));
        client.ok(&format!("UNSUBSCRIBE {name}")).await;
    }
    for name in ["work", "work/deep", "away/below"] {
        client.ok(&format!("SUBSCRIBE {name}")).await;
    }
    client.ok("CREATE work/deep").await;
    client.ok("CREATE idle").await;
    let lsub = client.ok("LSUB \"\" *").await;
    assert_eq!(lsub.lines(), ["* LSUB () \"/\" away/below", "* LSUB () \"/\" work", "* LSUB () \"/\" work/deep"]);
    says(&client.ok("LSUB \"\" %").await, "* LSUB (\\Noselect) \"/\" away");
    let listed = client.ok("LIST (SUBSCRIBED) \"\" *").await;
    assert_eq!(
        listed.lines(),
        [
            "* LIST (\\NonExistent \\HasNoChildren \\Subscribed) \"/\" away/below",
            "* LIST (\\HasChildren \\Subscribed) \"/\" work",
            "* LIST (\\HasNoChildren \\Subscribed) \"/\" work/deep",
        ]
    );
    silent(&client.ok("LIST \"\" *").await, "away");

    client.ok("DELETE work/deep").await;
    says(
        &client.ok("LIST (SUBSCRIBED) \"\" work/*").await,
        "* LIST (\\NonExistent \\HasNoChildren \\Subscribed) \"/\" work/deep",
    );
    client.ok("CREATE work/deep").await;
    says(&client.ok("LIST (SUBSCRIBED) \"\" work/*").await, "* LIST (\\HasNoChildren \\Subscribed) \"/\" work/deep");
    client.ok("UNSUBSCRIBE work/deep").await;
    client.ok("UNSUBSCRIBE never").await;
    assert!(client.ok("LIST (SUBSCRIBED) \"\" work/*").await.untagged.is_empty());
    client.ok("DELETE work/deep").await;
    assert!(client.ok("LSUB \"\" work/*").await.untagged.is_empty());
    rig.sound().await;
}

#[tokio::test]
async fn extended_lists_select_and_tell_more() {
    let rig = Rig::new().await;
    let mut client = rig.user().await;
    for name in ["foo", "foo/bar", "foo/baz", "eps/mamba"] {
        client.ok(&format!("CREATE {name}")).await;
    }
    client.ok("SUBSCRIBE foo/bar").await;
    client.ok("SUBSCRIBE eps/mamba").await;
    let several = client.ok("LIST \"\" (INBOX \"eps/%\" nothing)").await;
    assert_eq!(several.lines(), ["* LIST (\\HasNoChildren) \"/\" INBOX", "* LIST (\\HasNoChildren) \"/\" eps/mamba"]);
    let returned = client.ok("LIST () \"\" (foo foo/%) RETURN (SUBSCRIBED CHILDREN)").await;
    assert_eq!(
        returned.lines(),
        [
            "* LIST (\\HasChildren) \"/\" foo",
            "* LIST (\\HasNoChildren \\Subscribed) \"/\" foo/bar",
            "* LIST (\\HasNoChildren) \"/\" foo/baz",
        ]
    );
    let recursive = client.ok("LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (e% f%)").await;
    assert_eq!(
        recursive.lines(),
        [
            "* LIST (\\HasChildren) \"/\" eps (\"CHILDINFO\" (\"SUBSCRIBED\"))",
            "* LIST (\\HasChildren) \"/\" foo (\"CHILDINFO\" (\"SUBSCRIBED\"))",
        ]
    );
    client.ok("SUBSCRIBE far/away").await;
    says(
        &client.ok("LIST (RECURSIVEMATCH SUBSCRIBED) \"\" f%r").await,
        "* LIST (\\NonExistent \\HasNoChildren) \"/\" far (\"CHILDINFO\" (\"SUBSCRIBED\"))",
    );
    put(&mut client, "foo", message("one", "x")).await;
    let status = client.ok("LIST \"\" foo% RETURN (STATUS (MESSAGES UNSEEN SIZE))").await;
    let size = message("one", "x").len();
    assert_eq!(
        status.lines(),
        ["* LIST (\\HasChildren) \"/\" foo".to_owned(), format!("* STATUS foo (MESSAGES 1 UNSEEN 1 SIZE {size})"),]
    );
    for bad in
        ["LIST (RECURSIVEMATCH) \"\" *", "LIST (FOO) \"\" *", "LIST \"\" * RETURN (FOO)", "LIST \"\" ()", "LIST *"]
    {
        refused(&client.ask(bad).await, "BAD");
    }
}

#[tokio::test]
async fn status_counts() {
    let rig = Rig::new().await;
    let mut client = rig.user().await;
    for n in 0..3 {
        put(&mut client, "Trash", message(&format!("{n}"), "x")).await;
    }
    client.ok("SELECT Trash").await;
    client.ok("STORE 1 +FLAGS.SILENT (\\Seen \\Deleted)").await;
    let items = "MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE HIGHESTMODSEQ MAILBOXID APPENDLIMIT";
    let status = client.ok(&format!("STATUS Trash ({items})")).await;
    assert_eq!((number(&status, "MESSAGES"), number(&status, "UNSEEN"), number(&status, "DELETED")), (3, 2, 1));
    assert_eq!((number(&status, "UIDNEXT"), number(&status, "SIZE")), (4, 3 * message("0", "x").len() as u64));
    assert!(number(&status, "APPENDLIMIT") > 1 << 20 && number(&status, "HIGHESTMODSEQ") > 1);
    assert!(status.find("MAILBOXID (M").is_some());
    refused(&client.ask("STATUS none (MESSAGES)").await, "NO [NONEXISTENT]");
    refused(&client.ask("STATUS Trash ()").await, "BAD");
    refused(&client.ask("STATUS Trash (FOO)").await, "BAD");
}

#[tokio::test]
async fn quotas_are_told_but_not_set() {
    let rig = Rig::new().await;
    rig.quota(Some(10 * 1024), Some(3)).await;
    let mut client = rig.user().await;
    put(&mut client, "INBOX", message("one", &"x".repeat(1500))).await;
    says(&client.ok("GETQUOTA \"\"").await, "* QUOTA \"\" (STORAGE 2 10 MESSAGE 1 3)");
    let root = client.ok("GETQUOTAROOT Trash").await;
    assert_eq!(root.lines(), ["* QUOTAROOT Trash \"\"", "* QUOTA \"\" (STORAGE 2 10 MESSAGE 1 3)"]);
    refused(&client.ask("GETQUOTA other").await, "NO [NONEXISTENT]");
    refused(&client.ask("GETQUOTAROOT none").await, "NO [NONEXISTENT]");
    refused(&client.ask("SETQUOTA \"\" (STORAGE 99999)").await, "NO [NOPERM]");
}

#[tokio::test]
async fn select_tells_what_clients_of_each_revision_need() {
    let rig = Rig::new().await;
    let mut client = rig.user().await;
    put(&mut client, "INBOX", message("one", "x")).await;
    put(&mut client, "INBOX", message("two", "x")).await;
    let old = client.ok("SELECT INBOX").await;
    for line in ["* 2 EXISTS", "* 0 RECENT", "* OK [UNSEEN 1] First unseen message", "* OK [UIDNEXT 3] Next UID"] {
        says(&old, line);
    }
    says(&old, "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)");
    says(&old, "* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] Flags permitted");
    assert!(old.tagged.starts_with("OK [READ-WRITE]") && old.find("[UIDVALIDITY ").is_some());
    let read = client.ok("EXAMINE INBOX").await;
    says(&read, "* OK [CLOSED] Previous mailbox is closed");
    says(&read, "* OK [PERMANENTFLAGS ()] Flags permitted");
    assert!(read.tagged.starts_with("OK [READ-ONLY]"));

    let mut client = rig.user().await;
    client.ok("ENABLE IMAP4rev2").await;
    let new = client.ok("SELECT INBOX").await;
    silent(&new, "RECENT");
    silent(&new, "UNSEEN");
    says(&new, "* LIST () \"/\" INBOX");
    refused(&client.ask("SELECT none").await, "NO [NONEXISTENT]");
    refused(&client.ask("FETCH 1 UID").await, "BAD");
    refused(&client.ask("SELECT").await, "BAD");
    refused(&client.ask("SELECT INBOX (FOO)").await, "BAD");
}
