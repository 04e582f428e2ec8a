//! Every schema that there ever was becomes today's, with what lived in it.
//!
//! `upgrades/NNNN.sql` puts into it what a server of that time would have; tables that it leaves empty get a made-up row. A
//! new migration needs such a file where made-up rows contradict an invariant.

use std::fs;
use std::path::Path;

use harness::postgres::{TestDatabase, empty};
use harness::program::run;
use harness::server::{Server, ServerOptions};
use posthorn::backup::restore::{Options, prepare};
use posthorn::backup::{Progress, read, upgrade};
use posthorn_config::{Config, DatabaseUrl};
use posthorn_store::filter::digests;
use posthorn_store::schema;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::backup::fill;

/// Made-up rows of these would keep a server from starting, as it should be.
const UNREADABLE: &[&str] = &["dkim_key"];

/// A database at an earlier schema, as a server of that time left it.
async fn of_old(version: i64) -> TestDatabase {
    let database = empty().await;
    let mut connection = PgConnection::connect(&database.url).await.expect("the database answers");
    sqlx::raw_sql(
        "create table _sqlx_migrations (version bigint primary key, description text not null,
             installed_on timestamptz not null default now(), success boolean not null, checksum bytea not null,
             execution_time bigint not null)",
    )
    .execute(&mut connection)
    .await
    .expect("made");
    for known in schema::known().into_iter().filter(|known| known.number <= version) {
        let text = schema::text(known.number).expect("its text");
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut connection).await.expect("applied");
        sqlx::query("insert into _sqlx_migrations values ($1, $2, now(), true, $3, 1)")
            .bind(known.number)
            .bind(known.name.replace('_', " "))
            .bind(&known.checksum)
            .execute(&mut connection)
            .await
            .expect("noted");
        let rows = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("integration/upgrades/{:04}.sql", known.number));
        let rows = fs::read_to_string(&rows).unwrap_or_default();
        sqlx::raw_sql(AssertSqlSafe(rows.as_str()))
            .execute(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{version}: {error}"));
    }
    connection.close().await.expect("closed");
    fill(&database.url, UNREADABLE).await;
    database
}

/// How many rows each table has that an older schema had, too.
async fn counts(url: &str, names: &[String]) -> Vec<(String, i64)> {
    let mut connection = PgConnection::connect(url).await.expect("the database answers");
    let mut counts = Vec::new();
    for name in names {
        let question = format!("select count(*) from {name}");
        let count = sqlx::query_scalar(AssertSqlSafe(question)).fetch_one(&mut connection).await.expect("a count");
        counts.push((name.clone(), count));
    }
    connection.close().await.expect("closed");
    counts
}

async fn names(url: &str) -> Vec<String> {
    let mut connection = PgConnection::connect(url).await.expect("the database answers");
    let names = sqlx::query_scalar(
        "select c.relname::text from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
           and not c.relispartition and c.relname <> '_sqlx_migrations' order by 1",
    )
    .fetch_all(&mut connection)
    .await
    .expect("names");
    connection.close().await.expect("closed");
    names
}

fn config(url: &str, data: &Path) -> Config {
    let mut config = Config::default();
    config.server.data = data.to_owned();
    config.database.url = Some(DatabaseUrl::parse(url).expect("a URL"));
    config
}

/// It serves: what was stored is there, byte for byte, and the invariants hold.
async fn serves(url: &str) {
    let server = Server::start(ServerOptions::new().on(url)).await;
    let findings = server.check().await;
    assert!(findings.is_empty(), "{findings:?}");
    let mail = server.messages("ann@example.org", "INBOX").await;
    assert_eq!(mail, [b"Subject: old\r\n\r\nFrom long ago.\r\n".to_vec()]);
    server.stop().await;
}

#[tokio::test]
async fn every_earlier_schema_becomes_todays_after_a_backup() {
    for version in 1..schema::newest() {
        let database = of_old(version).await;
        let tables = names(&database.url).await;
        let before = counts(&database.url, &tables).await;
        let empty_ones: Vec<_> =
            before.iter().filter(|(name, count)| *count == 0 && !UNREADABLE.contains(&name.as_str())).collect();
        assert!(empty_ones.is_empty(), "nothing lives in {empty_ones:?} of schema {version}");
        let data = tempfile::tempdir().expect("a folder");
        let config = config(&database.url, data.path());
        upgrade::upgrade(&config, &database.url).await.expect("upgraded");
        assert_eq!(counts(&database.url, &tables).await, before, "from {version}");
        assert!(schema::pending(&schema::applied_at(&database.url).await.expect("asked")).expect("known").is_empty());
        let backups: Vec<_> = fs::read_dir(data.path().join("backups"))
            .into_iter()
            .flatten()
            .map(|entry| entry.expect("an entry").path())
            .collect();
        assert_eq!(backups.len(), 1, "from {version}");
        serves(&database.url).await;
        // What was kept is of the old schema, and becomes today's where it is restored.
        for backup in backups {
            let (preface, _) = read::verify(&backup, &Progress::default()).await.expect("whole");
            assert_eq!(preface.schema_version(), version);
            let copy = empty().await;
            prepare(&copy.url, &backup, Options::default(), &Progress::default())
                .await
                .expect("restored")
                .commit()
                .await
                .expect("restored");
            serves(&copy.url).await;
        }
    }
}

#[tokio::test]
async fn a_server_upgrades_by_itself_and_keeps_what_was() {
    let database = of_old(2).await;
    let server = Server::start(ServerOptions::new().on(&database.url)).await;
    assert_eq!(fs::read_dir(server.folder().join("backups")).expect("a folder").count(), 1);
    server.stop().await;
    let database = of_old(2).await;
    let server =
        Server::start(ServerOptions::new().on(&database.url).with(|config| config.backup.before_upgrade = false)).await;
    assert!(!server.folder().join("backups").exists());
    server.stop().await;
    // Without the backup, no upgrade.
    let database = of_old(2).await;
    let impossible = |config: &mut Config| config.backup.folder = Some("/proc/nowhere/backups".into());
    let error =
        Server::try_start(ServerOptions::new().on(&database.url).with(impossible)).await.err().expect("refused");
    let error = format!("{error:#}");
    assert!(error.contains("the backup before the upgrade failed, so nothing was upgraded"), "{error}");
    assert_eq!(schema::applied_at(&database.url).await.expect("asked").len(), 2);
}

#[tokio::test]
async fn what_people_were_told_of_is_not_told_again() {
    let database = of_old(6).await;
    let mut connection = PgConnection::connect(&database.url).await.expect("the database answers");
    sqlx::raw_sql(
        "insert into held (message_id, mail_id, secret, at, category, score, why, sender, author, subject, size, originating)
             values (6000, 'mnopqrstuvwx', 'secret', now(), 5, 9.5, 'spam', 'eve@example.com', 'Eve', 'new', 0, false);
         insert into held_recipient (message_id, place, at, recipient, folded, status)
             values (6000, 0, now(), 'ann@example.org', 'ann@example.org', 1);
         insert into digest_told (folded, up_to, told_at) values ('ann@example.org', 5000, now())",
    )
    .execute(&mut connection)
    .await
    .expect("told");
    posthorn_store::migrate(&database.url).await.expect("upgraded");
    let untold = digests::untold(&mut connection, "ann@example.org", 10).await.expect("the store works");
    assert_eq!(untold.iter().map(|row| row.subject.as_str()).collect::<Vec<_>>(), ["new"]);
    connection.close().await.expect("closed");
}

#[tokio::test]
async fn the_command_tells_before_it_does() {
    let database = of_old(3).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("posthorn.toml");
    let text = format!("[server]\ndata = '{}'\n[database]\nurl = '{}'\n", folder.path().display(), database.url);
    fs::write(&path, text).expect("written");
    let path = path.display().to_string();
    let migrate = |arguments: &[&str]| run(&[&["--config", path.as_str(), "migrate"], arguments].concat(), "");
    let status: serde_json::Value = serde_json::from_str(&migrate(&["status", "--json"]).out).expect("one document");
    let states: Vec<_> =
        status.as_array().expect("rows").iter().map(|row| row["state"].as_str().expect("a state").to_owned()).collect();
    assert_eq!(states[..4], ["applied", "applied", "applied", "pending"]);
    let would = migrate(&["--dry-run", "--sql"]);
    assert!(
        would.out.contains("a backup would be made in") && would.out.contains("0004_policy would be applied"),
        "{would:?}"
    );
    assert!(would.out.contains("create table greylist_triplet"), "{would:?}");
    assert_eq!(schema::applied_at(&database.url).await.expect("asked").len(), 3, "nothing is done");
    let done = migrate(&[]);
    assert!(done.code == 0 && done.out.contains("0004_policy was applied"), "{done:?}");
    assert_eq!(fs::read_dir(folder.path().join("backups")).expect("a folder").count(), 1);
    let again = migrate(&[]);
    assert!(again.out.contains("as this program needs it"), "{again:?}");
    // A newer one is left alone by everybody.
    let mut connection = PgConnection::connect(&database.url).await.expect("the database answers");
    sqlx::raw_sql("insert into _sqlx_migrations values (9999, 'later', now(), true, '\\x00', 1)")
        .execute(&mut connection)
        .await
        .expect("noted");
    connection.close().await.expect("closed");
    for arguments in [&["migrate"][..], &["account", "list"], &["serve"]] {
        let ran = run(&[&["--config", path.as_str()], arguments].concat(), "");
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains("schema version 9999, this program knows up to"), "{ran:?}");
        assert!(ran.err.contains("run the newer Posthorn, or restore a backup made before the upgrade"), "{ran:?}");
    }
    assert!(migrate(&["status"]).out.contains("newer"));
}
