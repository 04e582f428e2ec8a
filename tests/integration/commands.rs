//! The program's commands, as people run them.

use std::path::PathBuf;

use harness::postgres::{TestDatabase, empty};
use harness::program::{Ran, run};
use harness::server::{Server, ServerOptions};
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

/// A folder with a configuration file.
struct Desk {
    folder: TempDir,
    config: PathBuf,
}

impl Desk {
    fn with(text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("posthorn.toml");
        let data = format!("[server]\ndata = '{}'\n", folder.path().display());
        std::fs::write(&config, if text.contains("[server]") { text.to_owned() } else { format!("{data}{text}") })
            .expect("written");
        Self { folder, config }
    }

    fn on(database: &TestDatabase) -> Self {
        Self::with(&format!("[database]\nurl = '{}'\nconnections = 2\n", database.url))
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.fed("", arguments)
    }

    fn fed(&self, input: &str, arguments: &[&str]) -> Ran {
        let config = self.config.display().to_string();
        run(&[&["--config", &config], arguments].concat(), input)
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
}

/// Line 1 is `[server]`, line 2 its data folder.
#[test]
fn a_bad_configuration_is_told_with_file_line_key_and_the_nearest_name() {
    let cases: &[(&str, &str)] = &[
        ("[smtp]\nmax_hop = 3\n", ":4: smtp.max_hop: unknown key \"max_hop\" (did you mean \"max_hops\"?)"),
        ("[smpt]\n", ":3: smpt: unknown key \"smpt\" (did you mean \"smtp\"?)"),
        ("[smtp]\nmax_hops = 'many'\n", ":4: smtp.max_hops: expected an integer"),
        (
            "[[listener]]\nname = 'a'\nspeaks = 'smpt'\nlisten = ['127.0.0.1:2525']\n",
            ":5: listener[0].speaks: unknown protocol \"smpt\"; known: smtp, submission, submissions, lmtp, imap, imaps, policy, srs-forward, srs-reverse, filter, reinject, reinject-expand, am-pdp, milter, metrics, release (did you mean \"smtp\"?)",
        ),
        (
            "[[listener]]\nname = 'a'\nspeaks = 'smtp'\nlisten = ['*:2525']\n[[listener]]\nname = 'b'\nspeaks = 'smtp'\nlisten = ['127.0.0.1:2525']\n",
            ":10: listener[1].listen[0]: the address 127.0.0.1:2525 overlaps *:2525 of listener \"a\" at ",
        ),
        (
            "[[filter.rule]]\nname = 'OWN'\npoints = 1\nfact = 'no-dat'\n",
            ":6: filter.rule[0].fact: there is no fact \"no-dat\"; known: no-from, ",
        ),
        (
            "[[filter.rule]]\nname = 'OWN'\nany = ['GTUBE', 'NOBODY']\n",
            ":5: filter.rule[0].any: there is no rule NOBODY",
        ),
        (
            "[[filter.rule]]\nname = 'OWN'\nbody = 'a('\n",
            ":5: filter.rule[0].body: \"a(\" is not a regular expression: ",
        ),
        ("[[filter.rule]]\nname = 'own'\nbody = 'a'\n", ":4: filter.rule[0].name: \"own\" is no name"),
        (
            "[[filter.rule]]\nname = 'OWN'\nbody = 'a'\n[[filter.rule]]\nname = 'OWN'\nbody = 'b'\n",
            ":7: filter.rule[1].name: there are several rules OWN",
        ),
        ("[tls]\ncertificate = '/nonexistent/cert.pem'\nkey = '/nonexistent/key.pem'\n", ":4: tls.certificate: "),
        ("[[listener]]\nname = 'a'\nspeaks = 'lmtp'\nlisten = ['*:2424']\n", ":6: listener[0].listen[0]: "),
        (
            "[[listener]]\nname = 'a'\nspeaks = 'smtp'\nlisten = ['fd82:7796:815b:af9d:230:48ff:fef2:aa4a:587']\n",
            ":6: listener[0].listen[0]: an IPv6 address needs brackets: write \"[fd82:7796:815b:af9d:230:48ff:fef2:aa4a]:587\"",
        ),
    ];
    for (text, expected) in cases {
        let desk = Desk::with(text);
        let told = desk.refused(2, &["config", "check"]);
        let expected = format!("{}{expected}", desk.config.display());
        assert!(told.contains(&expected), "expected {expected}\ntold {told}");
        let document = desk.run(&["config", "check", "--json"]);
        let document: Value = serde_json::from_str(&document.out).expect("JSON");
        assert_eq!(document["ok"], false);
        let problem = &document["problems"][0];
        assert!(problem["line"].is_u64() && problem["key"].is_string() && problem["file"].is_string(), "{problem}");
        // Nothing runs on such a file.
        assert_eq!(desk.run(&["serve"]).code, 78, "{text}");
    }
}

#[test]
fn a_good_configuration_is_fine() {
    let desk = Desk::with("[[listener]]\nname = 'a'\nspeaks = 'smtp'\nlisten = ['127.0.0.1:0', '[::1]:0']\n");
    assert!(desk.done(&["config", "check"]).contains("fine, 1 listener on 2 addresses"));
    assert_eq!(desk.json(&["config", "check"])["ok"], true);
    let gone = run(&["--config", "/nonexistent.toml", "config", "check"], "");
    assert_eq!(gone.code, 2, "{gone:?}");
    assert!(gone.err.contains("/nonexistent.toml"), "{gone:?}");
}

#[test]
fn what_holds_for_a_client_is_explained_with_its_origin() {
    let desk = Desk::with(
        "[[listener]]\nname = 'smtp'\nspeaks = 'smtp'\nlisten = ['127.0.0.1:0']\nmax_recipients = 7\n\
         [[listener.peer]]\nnetwork = '10.0.0.0/8'\nxclient = true\nmax_message_size = '1 MiB'\n\
         [[listener.peer]]\nnetwork = '10.0.0.1'\nmax_message_size = '2 MiB'\n",
    );
    for peer in ["10.0.0.1", "::ffff:10.0.0.1", "::ffff:a00:1"] {
        let told = desk.done(&["config", "explain", "--listener", "smtp", "--peer", peer]);
        let line = |option: &str| {
            told.lines().find(|line| line.starts_with(option)).unwrap_or_else(|| panic!("{option}: {told}"))
        };
        assert!(line("max_message_size").contains("2 MiB") && line("max_message_size").contains(".toml:14"), "{told}");
        assert!(line("xclient").contains("true") && line("xclient").contains(".toml:10"), "{told}");
        assert!(line("max_recipients").contains('7') && line("max_recipients").contains(".toml:7"), "{told}");
        assert!(line("idle_time").contains("default"), "{told}");
    }
    assert_eq!(desk.json(&["config", "explain", "--listener", "smtp", "--peer", "::1"])["listener"], "smtp");
    assert!(desk.refused(2, &["config", "explain", "--listener", "smpt", "--peer", "::1"]).contains("smpt"));
}

#[tokio::test(flavor = "multi_thread")]
async fn domains_accounts_and_aliases() {
    let database = empty().await;
    let desk = Desk::on(&database);
    desk.done(&["domain", "add", "example.org"]);
    desk.done(&["domain", "add", "example.com", "--alias-of", "example.org"]);
    assert!(desk.refused(1, &["domain", "add", "EXAMPLE.org"]).contains("exists already"));
    let ran = desk.fed("right horse\n", &["account", "add", "Bob@example.org", "--password-stdin", "--quota", "1GiB"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let file = desk.write("password", "other horse\n");
    desk.done(&["account", "add", "eve@example.org", "--password-file", &file, "--display-name", "Eve"]);
    let made = desk.json(&["account", "add", "joe@example.org", "--generate"]);
    let generated = made["password"].as_str().expect("shown once").to_owned();
    assert!(desk.json(&["account", "show", "joe@example.org"])["password"].is_null());
    // Never as an argument.
    assert_eq!(desk.run(&["account", "add", "x@example.org", "--password", "secret"]).code, 2);
    assert_eq!(desk.run(&["account", "add", "x@example.org", "secret"]).code, 2);

    assert!(desk.refused(1, &["account", "add", "bob@example.com"]).contains("alias of example.org"));
    assert!(desk.refused(1, &["account", "add", "x@example.net"]).contains("no domain example.net"));
    assert!(desk.refused(1, &["account", "add", "BOB@example.org"]).contains("exists already"));
    desk.done(&["alias", "add", "team@example.org", "bob@example.org", "eve@example.org"]);
    assert!(desk.refused(1, &["alias", "add", "bob@example.org", "eve@example.org"]).contains("exists already"));
    assert!(desk.refused(1, &["account", "add", "team@example.org"]).contains("exists already"));
    desk.done(&["alias", "set", "team@example.org", "--targets", "bob@example.org"]);
    desk.done(&["account", "set", "bob@example.org", "--forward-to", "eve@example.org", "--no-keep-copy"]);
    desk.done(&["account", "set", "bob@example.org", "--delegate", "boss@example.net"]);
    desk.done(&["domain", "set", "example.org", "--catch-all", "eve@example.org"]);

    let shown = desk.json(&["account", "show", "BOB@example.org"]);
    assert_eq!(shown["address"], "Bob@example.org");
    assert_eq!((shown["quota_bytes"].as_i64(), shown["keep_copy"].as_bool()), (Some(1 << 30), Some(false)));
    assert_eq!(
        (&shown["forward_to"][0], &shown["delegate"][0]),
        (&"eve@example.org".into(), &"boss@example.net".into())
    );
    let names = |value: Value, key: &str| -> Vec<String> {
        let rows = value.as_array().expect("a list").iter();
        rows.map(|row| row[key].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(desk.json(&["account", "list"]), "address").len(), 3);
    assert_eq!(names(desk.json(&["alias", "list"]), "address"), ["team@example.org"]);
    assert_eq!(names(desk.json(&["domain", "list"]), "name"), ["example.com", "example.org"]);
    assert_eq!(desk.json(&["alias", "show", "team@example.org"])["targets"], serde_json::json!(["bob@example.org"]));
    assert_eq!(desk.json(&["domain", "show", "example.com"])["alias_of"], "example.org");

    // What the commands made is what the server serves.
    let server = Server::start(ServerOptions::new().on(&database.url)).await;
    for (user, password) in
        [("bob@example.org", "right horse"), ("eve@example.com", "other horse"), ("joe@example.org", &generated)]
    {
        assert!(server.imap().await.login(user, password).await.is_ok(), "{user}");
    }
    let mut smtp = server.smtp(posthorn_config::Speaks::Smtp).await;
    assert!(smtp.deliver("", &["team@example.org"], "Subject: x\r\n\r\n").await.starts_with("250"));
    assert_eq!(server.messages("eve@example.org", "INBOX").await.len(), 1);
    // A change by command reaches the running server.
    desk.done(&["account", "set", "bob@example.org", "--no-forward", "--keep-copy"]);
    let began = std::time::Instant::now();
    while server.messages("bob@example.org", "INBOX").await.is_empty() {
        assert!(began.elapsed() < std::time::Duration::from_secs(10), "it does not hear of it");
        assert!(smtp.deliver("", &["team@example.org"], "Subject: x\r\n\r\n").await.starts_with("250"));
    }
    assert!(desk.done(&["check"]).contains("invariants"), "{}", desk.done(&["check"]));
    server.stop().await;

    assert!(desk.refused(1, &["domain", "remove", "example.org"]).contains("remove them first"));
    assert_eq!(desk.run(&["account", "remove", "bob@example.org"]).code, 2, "it asks, and nobody is there");
    desk.done(&["account", "remove", "bob@example.org", "--yes"]);
    desk.done(&["alias", "remove", "team@example.org"]);
    assert!(desk.refused(1, &["alias", "show", "team@example.org"]).contains("no alias"));
    assert_eq!(desk.json(&["check"])["ok"], true);
}

const DECLARED: &str = "
[[domain]]
name = 'example.org'
catch_all = ['bob@example.org']
[[domain]]
name = 'example.com'
alias_of = 'example.org'
[[account]]
address = 'bob@example.org'
password_hash = '{SSHA}9+cGu9BeIfIesfgCD54w0IpkC1tzYWx0c2FsdA=='
quota = '1 GiB'
[[account]]
address = 'eve@example.org'
forward_to = ['bob@example.org']
[[alias]]
address = 'team@example.org'
targets = ['bob@example.org', 'eve@example.org']
";

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_applied() {
    let database = empty().await;
    let desk = Desk::on(&database);
    let file = desk.write("people.toml", DECLARED);
    let plan = desk.done(&["apply", &file, "--dry-run"]);
    assert!(
        plan.contains("+ account bob@example.org") && plan.contains("would be 5 added, 0 changed, 0 removed"),
        "{plan}"
    );
    assert!(desk.json(&["account", "list"]).as_array().expect("a list").is_empty(), "a dry run changes nothing");
    assert!(desk.done(&["apply", &file]).contains("5 added, 0 changed, 0 removed"));
    assert!(desk.done(&["apply", &file]).contains("nothing to do"), "the second time");
    // Somebody logs in, which replaces the hash: still nothing to do.
    let server = Server::start(ServerOptions::new().on(&database.url)).await;
    assert!(server.imap().await.login("bob@example.org", "right horse").await.is_ok());
    server.stop().await;
    assert!(desk.done(&["apply", &file]).contains("nothing to do"), "after a login");

    desk.done(&["account", "add", "joe@example.org"]);
    let changed = DECLARED.replace("quota = '1 GiB'", "quota = '2 GiB'").replace("'bob@example.org', 'eve", "'eve");
    let file = desk.write("people.toml", &changed);
    let plan = desk.done(&["apply", &file, "--dry-run"]);
    assert!(plan.contains("~ account bob@example.org") && plan.contains("~ alias team@example.org"), "{plan}");
    assert!(plan.contains("account joe@example.org (not in the file, kept; --prune removes it)"), "{plan}");
    desk.done(&["apply", &file]);
    assert_eq!(desk.json(&["account", "list"]).as_array().map(Vec::len), Some(3));
    let report = desk.json(&["apply", &file, "--prune"]);
    assert_eq!(report["changes"][0]["change"], "remove", "{report}");
    assert_eq!(desk.json(&["account", "list"]).as_array().map(Vec::len), Some(2));
    assert_eq!(desk.json(&["account", "show", "bob@example.org"])["quota_bytes"], 2_i64 << 30);

    let wrong = desk.write("wrong.toml", "[[account]]\naddress = 'bob@example.org'\npasword_file = 'x'\n");
    let told = desk.refused(2, &["apply", &wrong]);
    assert!(told.contains("wrong.toml:3: account[0].pasword_file: unknown key \"pasword_file\""), "{told}");
    assert_eq!(desk.json(&["check"])["ok"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_a_newer_version_is_left_alone() {
    let database = empty().await;
    let desk = Desk::on(&database);
    desk.done(&["domain", "add", "example.org"]);
    let mut connection = PgConnection::connect(&database.url).await.expect("a connection");
    sqlx::raw_sql(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
         values (9999, 'of the future', true, '', 0)",
    )
    .execute(&mut connection)
    .await
    .expect("a row");
    for arguments in [&["domain", "list"][..], &["serve"], &["check"], &["domain", "add", "example.com"]] {
        let told = desk.refused(1, arguments);
        assert!(told.contains("the database is at schema version 9999, this program knows up to"), "{told}");
    }
    let count: i64 =
        sqlx::query_scalar("select count(*) from domain").fetch_one(&mut connection).await.expect("a number");
    assert_eq!(count, 1);
    connection.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_run_once_whoever_comes_first() {
    let database = empty().await;
    let desk = Desk::on(&database);
    let runs: Vec<_> = (0..4)
        .map(|number| {
            let config = desk.config.display().to_string();
            tokio::task::spawn_blocking(move || {
                run(&["--config", &config, "domain", "add", &format!("d{number}.example")], "")
            })
        })
        .collect();
    for one in runs {
        let ran = one.await.expect("it ran");
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    assert_eq!(desk.json(&["domain", "list"]).as_array().map(Vec::len), Some(4));
}

#[test]
fn a_database_that_is_away_is_named_without_its_password() {
    let desk = Desk::with("[database]\nurl = 'postgres://posthorn:geheim@127.0.0.1:1/posthorn'\n");
    let ran = desk.run(&["domain", "list"]);
    assert_eq!(ran.code, 75, "{ran:?}");
    assert!(ran.err.contains("127.0.0.1:1") && !ran.err.contains("geheim"), "{ran:?}");
    let shown = desk.done(&["config", "show"]);
    assert!(!shown.contains("geheim"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_reported_and_repaired() {
    let database = empty().await;
    let desk = Desk::on(&database);
    desk.done(&["domain", "add", "example.org"]);
    desk.done(&["account", "add", "bob@example.org"]);
    let mut connection = PgConnection::connect(&database.url).await.expect("a connection");
    sqlx::raw_sql("update mailbox set messages = 7 where name = 'INBOX'")
        .execute(&mut connection)
        .await
        .expect("damaged");
    connection.close().await.expect("closed");
    let ran = desk.run(&["check"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(desk.run(&["check", "--json"]).code, 1);
    let ran = desk.run(&["check", "--repair"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(desk.json(&["check"])["ok"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_is_told_when_it_is_ready_and_alive() {
    let database = empty().await;
    let desk = Desk::on(&database);
    let text = std::fs::read_to_string(&desk.config).expect("readable");
    let path = desk.folder.path().join("smtp.sock");
    let row = format!("[[listener]]\nname = 'smtp'\nspeaks = 'smtp'\nlisten = ['{}']\n", path.display());
    std::fs::write(&desk.config, text + &row).expect("written");
    let notify = desk.folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&notify).expect("a socket");
    socket.set_read_timeout(Some(std::time::Duration::from_secs(30))).expect("set");
    let mut child = std::process::Command::new(harness::program::posthorn())
        .args(["serve", "--config"])
        .arg(&desk.config)
        .env("NOTIFY_SOCKET", &notify)
        .env("WATCHDOG_USEC", "200000")
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    let heard = |wanted: &str| loop {
        let mut words = [0; 1024];
        let count = socket.recv(&mut words).expect("word from the server");
        if String::from_utf8_lossy(&words[..count]).lines().any(|line| line == wanted) {
            return;
        }
    };
    heard("READY=1");
    assert!(std::os::unix::net::UnixStream::connect(&path).is_ok(), "ready means that it listens");
    heard("WATCHDOG=1");
    heard("WATCHDOG=1");
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").arg(&pid).status().expect("kill").success());
    heard("STOPPING=1");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}
