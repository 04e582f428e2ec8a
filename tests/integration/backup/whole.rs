//! Everything comes back: each table, each row, each sequence, index and partition.

use std::path::Path;

use harness::postgres::{database, empty};
use harness::server::{Server, ServerOptions};
use posthorn::backup::restore::Options;
use posthorn_config::Speaks;

use super::{backed_up, fill, findings, number, restored, run, schema, tables};

/// A server's database with something of everything.
async fn lived_in() -> (Server, String) {
    let server = Server::start(ServerOptions::new()).await;
    server.account("ann@example.org", "a password").await;
    server.alias("info@example.org", &["ann@example.org"]).await;
    let mut client = server.smtp(Speaks::Smtp).await;
    let long = "x".repeat(900) + "\r\n";
    let large = format!("Subject: large\r\n\r\n{}", long.repeat(3000));
    for text in ["Subject: one\r\n\r\nOne.\r\n", large.as_str()] {
        let reply = client.deliver("eve@example.com", &["info@example.org"], text).await;
        assert!(reply.starts_with("250"), "{reply}");
    }
    let url = server.config().database.url.as_ref().expect("a URL").reveal().to_owned();
    (server, url)
}

#[tokio::test]
async fn every_table_comes_back_as_it_was() {
    let (server, url) = lived_in().await;
    run(
        &url,
        "insert into white_domain (domain, added_at) values ('example.com', now());
         insert into white_network (domain, network) values ('example.com', '192.0.2.0/24');
         insert into list_access (alias_id, access) select id, 3 from alias;
         insert into delegate (account_id, address) select id, 'x@example.net' from account",
    )
    .await;
    fill(&url, &[]).await;
    let before = tables(&url).await;
    for (name, (rows, _)) in &before {
        assert!(*rows > 0, "table {name} has no rows, so that nothing is proved about it");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (path, manifest) = backed_up(&url, folder.path()).await;
    // The unlogged ones are empty after a crash, too; the list of migrations is made anew.
    let left_out = ["_sqlx_migrations", "courier_view"];
    for name in before.keys().filter(|name| !left_out.contains(&name.as_str())) {
        assert!(manifest.tables.iter().any(|sum| sum.name == *name), "table {name} is left out");
    }
    let copy = empty().await;
    let options = Options { exact: true, ..Options::default() };
    restored(&copy.url, &path, options).await.expect("restored");
    let mut after = tables(&copy.url).await;
    let mut before = before;
    assert_eq!(after.remove("courier_view").map(|(rows, _)| rows), Some(0));
    before.remove("courier_view");
    assert_eq!(after, before);
    assert_eq!(schema(&copy.url).await, schema(&url).await);
    // What defaults to the transaction's number is of this server.
    let foreign = "select count(*) from greylist_triplet where revision > pg_current_xact_id()::text::bigint";
    assert_eq!(number(&copy.url, foreign).await, 0);
    // The planner knows of our tables; PostgreSQL's own are not ours to look at.
    let analyzed = |of: &str| format!("select count(*) from pg_stat_{of}_tables where last_analyze is not null");
    while number(&copy.url, &analyzed("user")).await == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(number(&copy.url, &(analyzed("sys") + " and relname = 'pg_attribute'")).await, 0);
    drop(server);
}

#[tokio::test]
async fn a_restored_server_goes_on_and_gives_no_uid_twice() {
    let (server, url) = lived_in().await;
    let mut imap = server.imap().await;
    imap.login("ann@example.org", "a password").await;
    let selected = imap.ok("SELECT INBOX (CONDSTORE)").await;
    let modseq = |line: &str| -> u64 {
        line.split("HIGHESTMODSEQ ")
            .nth(1)
            .expect(line)
            .trim_end_matches(|c: char| !c.is_ascii_digit())
            .split(']')
            .next()
            .expect(line)
            .parse()
            .expect(line)
    };
    let before = modseq(&selected.find("HIGHESTMODSEQ").expect("told"));
    let folder = tempfile::tempdir().expect("a folder");
    let (path, _) = backed_up(&url, folder.path()).await;
    // Lost with the server: the client saw UID 3.
    server
        .smtp(Speaks::Smtp)
        .await
        .deliver("eve@example.com", &["ann@example.org"], "Subject: lost\r\n\r\nx\r\n")
        .await;
    let octets = server.messages("ann@example.org", "INBOX").await;
    server.stop().await;
    let copy = empty().await;
    restored(&copy.url, &path, Options::default()).await.expect("restored");
    assert!(findings(&copy.url).await.is_empty(), "{:?}", findings(&copy.url).await);
    let again = Server::start(ServerOptions::new().on(&copy.url)).await;
    assert_eq!(again.messages("ann@example.org", "INBOX").await, octets[..2]);
    again.smtp(Speaks::Smtp).await.deliver("eve@example.com", &["ann@example.org"], "Subject: new\r\n\r\nx\r\n").await;
    let mut imap = again.imap().await;
    assert!(imap.login("ann@example.org", "a password").await.is_ok(), "passwords are restored");
    let selected = imap.ok("SELECT INBOX (CONDSTORE)").await;
    assert!(modseq(&selected.find("HIGHESTMODSEQ").expect("told")) > before + 1000);
    let found = imap.ok("UID SEARCH ALL").await.find("SEARCH").expect("found");
    let uids: Vec<u64> = found.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert_eq!((uids.len(), &uids[..2]), (3, &[1, 2][..]), "{found}");
    assert!(uids[2] > 1000, "{found}");
    assert!(again.check().await.is_empty());
    again.stop().await;
}

#[tokio::test]
async fn what_waits_to_leave_can_be_held() {
    let database = database(posthorn_store::migrate).await;
    run(
        &database.url,
        "insert into body (message_id, part, header, text) values (1, 0, '\\x00', '\\x00');
         insert into outgoing (id, message_id, sender, origin, body_type, smtputf8, require_tls, priority, accepted_at, expires_at,
             size, remaining) values (2, 1, 'a@example.org', 1, 1, false, false, 0, now(), now() + '5 days', 0, 1);
         insert into delivery (id, outgoing_id, recipient, domain, lane, state, due_at) values
             (3, 2, 'b@example.com', 'example.com', 1, 1, now())",
    )
    .await;
    let folder = tempfile::tempdir().expect("a folder");
    let (path, _) = backed_up(&database.url, folder.path()).await;
    let copy = empty().await;
    let options = Options { hold_queue: true, ..Options::default() };
    assert_eq!(restored(&copy.url, &path, options).await.expect("restored").held, 1);
    let held = "select count(*) from delivery where state = 2 and note like 'restored from the backup of %'";
    assert_eq!(number(&copy.url, held).await, 1);
    let other = empty().await;
    assert_eq!(restored(&other.url, &path, Options::default()).await.expect("restored").held, 0);
    assert_eq!(number(&other.url, "select count(*) from delivery where state = 1").await, 1);
}

/// The archive needs no Posthorn: tar and zstd and psql read it.
#[tokio::test]
async fn other_programs_can_look_into_it() {
    let (server, url) = lived_in().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (path, _) = backed_up(&url, folder.path()).await;
    let listed = std::process::Command::new("tar").arg("tf").arg(&path).output().expect("tar is part of every system");
    let listed = String::from_utf8(listed.stdout).expect("names");
    assert!(listed.starts_with("preface.json\n") && listed.ends_with("manifest.json\nseal\n"), "{listed}");
    assert!(listed.contains("\ntables/body/000000.copy.zst\n"), "{listed}");
    assert!(Path::new(&path).exists());
    drop(server);
}
