//! The commands, as people run them: what they refuse, what they say, and what a kill leaves behind.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::postgres::{TestDatabase, database, empty};
use harness::program::{Ran, posthorn, run};
use harness::server::{Server, ServerOptions};
use serde_json::Value;
use tempfile::TempDir;

use super::{number, run as run_sql};

/// A folder with a configuration for a database.
struct Desk {
    folder: TempDir,
    config: String,
}

impl Desk {
    fn on(database: &TestDatabase) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        fs::create_dir(&data).expect("a folder");
        let config = folder.path().join("posthorn.toml").display().to_string();
        let text = format!(
            "[server]\nhostname = 'mail.example.org'\ndata = '{}'\n[database]\nurl = '{}'\n[srs]\nsecret = '{}'\n",
            data.display(),
            database.url,
            folder.path().join("srs").display()
        );
        fs::write(&config, text).expect("written");
        fs::write(folder.path().join("srs"), "a secret of sixteen").expect("written");
        Self { folder, config }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        run(&[&["--config", self.config.as_str()], arguments].concat(), "")
    }

    #[track_caller]
    fn done(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        ran.out
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let out = self.done(&[arguments, &["--json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    #[track_caller]
    fn refused(&self, code: i32, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
        ran.err
    }

    fn backups(&self) -> String {
        let path = self.path("backups");
        fs::create_dir_all(&path).expect("a folder");
        path.display().to_string()
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[tokio::test]
async fn a_backup_is_for_its_owner_alone_and_says_what_is_inside() {
    let database = database(posthorn_store::migrate).await;
    let desk = Desk::on(&database);
    desk.done(&["domain", "add", "example.org"]);
    desk.done(&["dkim", "create", "example.org", "--algorithm", "ed25519"]);
    let folder = desk.backups();
    let report = desk.json(&["backup", &folder]);
    let path = PathBuf::from(report["path"].as_str().expect("a path"));
    assert!(path.file_name().expect("a name").to_string_lossy().starts_with("posthorn-mail.example.org-2"));
    assert_eq!(fs::metadata(&path).expect("the file").permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&path).expect("the file").len(), report["size"].as_u64().expect("a size"));
    assert_eq!(fs::read_dir(&folder).expect("read").count(), 1, "nothing half written stays");
    let whats: Vec<_> = report["files"].as_array().expect("files").iter().map(|file| file["what"].clone()).collect();
    assert_eq!(whats, ["configuration in force, without passwords", "configuration", "master key", "srs.secret"]);
    let said = desk.done(&["backup", "show", &text(&path)]);
    assert!(
        said.contains("dkim.key (master key, secret)") && said.contains("whoever can read it can read all mail"),
        "{said}"
    );
    let secret = fs::read(desk.path("data/dkim.key")).expect("the key");
    let without = desk.json(&["backup", &folder, "--without-secrets"]);
    assert_eq!(without["secrets"], false);
    assert_eq!(without["files"].as_array().expect("files").len(), 1);
    // On another machine, where a first start already made a key.
    let copy = empty().await;
    let there = Desk::on(&copy);
    fs::write(there.path("data/dkim.key"), [1; 32]).expect("written");
    let restored = there.json(&["restore", &text(&path), "--files", &text(&there.path("files"))]);
    assert!(restored["master_key"].as_str().expect("told").starts_with("written to"), "{restored}");
    assert_eq!(fs::read(there.path("data/dkim.key")).expect("the key"), secret);
    assert_eq!(restored["written"].as_array().expect("files").len(), 4);
    assert_eq!(there.json(&["dkim", "list"]).as_array().expect("keys").len(), 1);
    // The folder is full of files by now.
    let again = there.refused(2, &["restore", &text(&path), "--files", &text(&there.path("files"))]);
    assert!(again.contains("is not empty"), "{again}");
}

#[tokio::test]
async fn a_database_in_use_is_not_overwritten() {
    let server = Server::start(ServerOptions::new()).await;
    server.mailbox_only("ann@example.org").await;
    let url = server.config().database.url.as_ref().expect("a URL").reveal().to_owned();
    let folder = tempfile::tempdir().expect("a folder");
    let (path, _) = super::backed_up(&url, folder.path()).await;
    let path = text(&path);
    let database = database(posthorn_store::migrate).await;
    let desk = Desk::on(&database);
    // Made by a first start, and nobody lives in it.
    desk.done(&["restore", &path]);
    assert_eq!(number(&database.url, "select count(*) from account").await, 1);
    let error = desk.refused(1, &["restore", &path]);
    assert!(
        error.contains("the database is not empty: it has 1 accounts and 0 messages. Restore into an empty one"),
        "{error}"
    );
    assert!(error.contains("--replace"), "{error}");
    desk.done(&["domain", "add", "other.example"]);
    desk.done(&["restore", &path, "--replace"]);
    assert_eq!(number(&database.url, "select count(*) from domain").await, 1);
    // Somebody is at work on it.
    let busy = Server::start(ServerOptions::new().on(&database.url)).await;
    let error = desk.refused(1, &["restore", &path, "--replace"]);
    assert!(error.contains("at work on this database") && error.contains("stop it first"), "{error}");
    busy.stop().await;
    let foreign = empty().await;
    run_sql(&foreign.url, "create table somebody_elses (id int)").await;
    let error = Desk::on(&foreign).refused(1, &["restore", &path, "--replace"]);
    assert!(error.contains("tables that are not Posthorn's"), "{error}");
    assert_eq!(number(&foreign.url, "select count(*) from somebody_elses").await, 0);
    drop(server);
}

#[tokio::test]
async fn what_is_not_ours_is_never_dropped() {
    let source = database(posthorn_store::migrate).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (path, _) = super::backed_up(&source.url, folder.path()).await;
    let path = text(&path);
    // A table of somebody else's beside ours; then another program's list of migrations.
    let beside = database(posthorn_store::migrate).await;
    run_sql(&beside.url, "create table invoice (id int); insert into invoice values (1)").await;
    let other = database(posthorn_store::migrate).await;
    run_sql(&other.url, "update _sqlx_migrations set checksum = 'x'").await;
    for (database, named) in [(&beside, "invoice"), (&other, "_sqlx_migrations")] {
        let tables = "select count(*) from pg_class where relnamespace = current_schema()::regnamespace";
        let before = number(&database.url, tables).await;
        for replace in [&[][..], &["--replace"]] {
            let error = Desk::on(database).refused(1, &[&["restore", path.as_str()], replace].concat());
            assert!(error.contains("not Posthorn's") && error.contains(named), "{error}");
        }
        assert_eq!(number(&database.url, tables).await, before);
    }
    assert_eq!(number(&beside.url, "select count(*) from invoice").await, 1);
    // An installation that only answers another server's questions has neither accounts nor mail.
    let policy = database(posthorn_store::migrate).await;
    run_sql(&policy.url, "insert into setting values ('a', 'b')").await;
    Desk::on(&policy).done(&["restore", &path]);
    run_sql(&policy.url, "insert into white_domain (domain, added_at) values ('example.com', now())").await;
    let error = Desk::on(&policy).refused(1, &["restore", &path]);
    assert!(error.contains("the database is not empty"), "{error}");
}

#[tokio::test]
async fn it_goes_through_a_pipe_and_is_verified() {
    let database = database(posthorn_store::migrate).await;
    let desk = Desk::on(&database);
    desk.done(&["domain", "add", "example.org"]);
    let copy = empty().await;
    let there = Desk::on(&copy);
    let script = format!(
        "set -o pipefail; '{0}' --config '{1}' backup - --json 2>'{3}' | '{0}' --config '{2}' restore -",
        posthorn().display(),
        desk.config,
        there.config,
        desk.path("told").display()
    );
    let done = Command::new("bash").args(["-c", &script]).output().expect("bash");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(number(&copy.url, "select count(*) from domain").await, 1);
    let told: Value = serde_json::from_slice(&fs::read(desk.path("told")).expect("told")).expect("one document");
    assert_eq!(told["path"], Value::Null);
    let report = desk.json(&["backup", &desk.backups()]);
    let path = report["path"].as_str().expect("a path").to_owned();
    let quick = desk.json(&["backup", "verify", &path, "--quick"]);
    assert_eq!((&quick["ok"], &quick["restored"]), (&Value::Bool(true), &Value::Bool(false)));
    let databases = "select count(*) from pg_database where datname like 'posthorn_verify_%'";
    let verified = desk.json(&["backup", "verify", &path]);
    assert_eq!((&verified["ok"], &verified["restored"]), (&Value::Bool(true), &Value::Bool(true)));
    assert_eq!(number(&database.url, databases).await, 0, "the database is dropped again");
    // Mail that is damaged already is told, and is no reason to refuse the backup.
    run_sql(&database.url, "insert into membership values (1, 2, 3, 4, 0, 1, 1, now(), now())").await;
    let report = desk.json(&["backup", &desk.path("backups").display().to_string()]);
    let path = report["path"].as_str().expect("a path").to_owned();
    let ran = desk.run(&["backup", "verify", &path]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("every membership has a mailbox"), "{ran:?}");
    let ran = desk.run(&["backup", "verify", &desk.config]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("truncated") || ran.err.contains("no backup of Posthorn"), "{ran:?}");
    assert_eq!(number(&database.url, databases).await, 0, "the database is dropped again");
    what_is_left_behind_goes_and_what_is_in_use_stays(&database, &desk, &path).await;
}

/// Part of the test above, as every verification looks at the same server's databases.
async fn what_is_left_behind_goes_and_what_is_in_use_stays(database: &TestDatabase, desk: &Desk, path: &str) {
    run_sql(&database.url, "delete from membership").await;
    let whole = fs::read(desk.json(&["backup", &desk.backups()])["path"].as_str().expect("a path")).expect("read");
    let verifying = async || {
        let before = scratches(&database.url).await;
        let mut child = Command::new(posthorn())
            .args(["--config", &desk.config, "backup", "verify", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        // All but the end, so that it waits for more.
        child.stdin.as_mut().expect("a pipe").write_all(&whole[..whole.len() - 600]).expect("taken");
        let began = Instant::now();
        loop {
            let names = scratches(&database.url).await;
            match names.iter().find(|name| !before.contains(name)) {
                Some(name) => return (child, name.clone()),
                None => assert!(began.elapsed() < Duration::from_secs(30), "it never began"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (mut dead, left) = verifying().await;
    dead.kill().expect("killed");
    dead.wait().expect("gone");
    assert_eq!(scratches(&database.url).await, [left]);
    let (mut live, in_use) = verifying().await;
    assert_eq!(scratches(&database.url).await, std::slice::from_ref(&in_use), "the one of the dead run is dropped");
    assert_eq!(desk.run(&["backup", "verify", path]).code, 1, "what is damaged is told as before");
    assert_eq!(scratches(&database.url).await, [in_use], "the one that is in use is not");
    // As long as this is open, it waits.
    let _pipe = live.stdin.take();
    let asked = Command::new("kill").args(["-TERM", &live.id().to_string()]).status().expect("kill runs");
    assert!(asked.success());
    let ended = live.wait_with_output().expect("gone");
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(String::from_utf8_lossy(&ended.stderr).contains("interrupted"), "{ended:?}");
    assert!(scratches(&database.url).await.is_empty(), "whoever is asked to end cleans up");
}

/// The databases that verifications made.
async fn scratches(url: &str) -> Vec<String> {
    let mut connection = super::connect(url).await;
    sqlx::query_scalar("select datname::text from pg_database where datname like 'posthorn_verify_%' order by 1")
        .fetch_all(&mut connection)
        .await
        .expect("names")
}

#[tokio::test]
async fn old_backups_of_this_host_are_removed() {
    let database = database(posthorn_store::migrate).await;
    let desk = Desk::on(&database);
    let folder = desk.backups();
    for name in [
        "posthorn-mail.example.org-20250101T000000Z.tar",
        "posthorn-mail.example.org-20250102T000000Z.tar",
        "posthorn-other-20240101T000000Z.tar",
    ] {
        fs::write(desk.path("backups").join(name), "").expect("written");
    }
    let report = desk.json(&["backup", &folder, "--keep", "2"]);
    let removed = report["removed"].as_array().expect("paths");
    assert_eq!(removed.len(), 1);
    assert!(removed[0].as_str().expect("a path").ends_with("20250101T000000Z.tar"));
    assert_eq!(fs::read_dir(&folder).expect("read").count(), 3);
    assert!(desk.refused(2, &["backup", &text(&desk.path("nowhere"))]).contains("is no folder: make it first"));
    // A disk without room, for which a limit of the process stands: nothing looks like a backup, and no other one goes.
    let full = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 32; exec \"$@\"", "sh"])
        .args([&posthorn().display().to_string(), "--config", &desk.config, "backup", &folder, "--keep", "1"])
        .output()
        .expect("sh");
    assert_eq!(full.status.code(), Some(1), "{full:?}");
    assert!(String::from_utf8_lossy(&full.stderr).contains("the archive cannot be written"), "{full:?}");
    assert_eq!(fs::read_dir(&folder).expect("read").count(), 3);
    fs::remove_file(desk.path("srs")).expect("removed");
    assert!(
        desk.refused(1, &["backup", &folder])
            .contains("srs (srs.secret) cannot be read (--without-secrets leaves it out)")
    );
    assert_eq!(fs::read_dir(&folder).expect("read").count(), 3);
}

#[tokio::test]
async fn a_restore_that_is_killed_leaves_nothing_and_the_next_one_works() {
    let database = database(posthorn_store::migrate).await;
    run_sql(
        &database.url,
        "insert into body (message_id, part, header, text)
             select n, 0, '\\x00', ('\\x00' || repeat(md5(n::text), 2000))::bytea from generate_series(1, 500) n;
         insert into orphan select generate_series(1, 500)",
    )
    .await;
    let folder = tempfile::tempdir().expect("a folder");
    let (path, _) = super::backed_up(&database.url, folder.path()).await;
    let whole = fs::read(&path).expect("read");
    let copy = empty().await;
    let there = Desk::on(&copy);
    let mut child = Command::new(posthorn())
        .args(["--config", &there.config, "restore", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    // All but the end, so that it waits for more with its rows in the database.
    let mut pipe = child.stdin.take().expect("a pipe");
    pipe.write_all(&whole[..whole.len() - 600]).expect("taken");
    let began = Instant::now();
    let at_work =
        "select count(*) from pg_stat_activity where datname = current_database() and state = 'idle in transaction'";
    while number(&copy.url, at_work).await == 0 {
        assert!(began.elapsed() < Duration::from_secs(30), "it never began");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    child.kill().expect("killed");
    child.wait().expect("gone");
    drop(pipe);
    let tables = "select count(*) from pg_class where relnamespace = 'public'::regnamespace";
    let sessions =
        "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
    while number(&copy.url, sessions).await > 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "its sessions stay");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(number(&copy.url, tables).await, 0, "nothing is half there");
    there.done(&["restore", &text(&path)]);
    assert_eq!(number(&copy.url, "select count(*) from body").await, 500);
    // A backup that is killed leaves no file that looks like one.
    let backups = there.backups();
    let mut child = Command::new(posthorn())
        .args(["--config", &there.config, "backup", &backups, "--level", "19"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    while fs::read_dir(&backups).expect("read").count() == 0 {
        assert!(child.try_wait().expect("asked").is_none(), "it ended too early");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    child.kill().expect("killed");
    child.wait().expect("gone");
    let names: Vec<_> =
        fs::read_dir(&backups).expect("read").map(|entry| entry.expect("an entry").file_name()).collect();
    assert!(names.iter().all(|name| name.to_string_lossy().ends_with(".partial")), "{names:?}");
}
