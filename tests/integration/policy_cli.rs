//! The commands about policy, as people run them beside a server, and what is taken over from other programs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use harness::postgres;
use harness::program::{Ran, run};
use harness::server::{Server, ServerOptions};
use posthorn_model::policy::{ClientFacts, Inquiry, Stage};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

/// A server, and a configuration file for commands on its database.
struct Desk {
    server: Server,
    _folder: TempDir,
    config: PathBuf,
}

impl Desk {
    async fn new() -> Self {
        let server = Server::start(ServerOptions::new()).await;
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("posthorn.toml");
        // No look-up leaves this machine: nobody answers at this port.
        let text = format!(
            "[server]\ndata = '{}'\n[database]\nurl = '{}'\n[dns]\nservers = ['127.0.0.1:9']\ntimeout = '100ms'\n\
             [[policy.service]]\nname = 'postgrey'\naddress = '127.0.0.1:10023'\n",
            server.config().server.data.display(),
            server.appliance().database().url()
        );
        std::fs::write(&config, text).expect("written");
        server.account("bob@example.org", "right horse").await;
        Self { server, _folder: folder, config }
    }

    fn run(&self, arguments: &[&str], input: &str) -> Ran {
        let config = self.config.display().to_string();
        run(&[&["--config", &config], arguments].concat(), input)
    }

    #[track_caller]
    fn done(&self, line: &str) -> String {
        let arguments: Vec<_> = line.split_whitespace().collect();
        let ran = self.run(&arguments, "");
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        ran.out
    }

    #[track_caller]
    fn refused(&self, line: &str, code: i32) -> String {
        let arguments: Vec<_> = line.split_whitespace().collect();
        let ran = self.run(&arguments, "");
        assert_eq!(ran.code, code, "{line}: {ran:?}");
        ran.err
    }

    #[track_caller]
    fn json(&self, line: &str) -> Value {
        let out = self.done(&format!("{line} --json"));
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    /// What the running server says to RCPT, as soon as it is what is wanted.
    async fn says(&self, client: &str, sender: &str, wanted: &str) {
        let inquiry = Inquiry {
            stage: Stage::Rcpt,
            protocol: "ESMTP".to_owned(),
            client: ClientFacts { address: client.parse().ok(), ..ClientFacts::default() },
            helo: Some("mail.example.test".to_owned()),
            sender: Some(sender.to_owned()),
            recipient: Some("bob@example.org".to_owned()),
            ..Inquiry::default()
        };
        let began = Instant::now();
        loop {
            let decision = self.server.appliance().policy().decide(&inquiry).await.expect("it can be told");
            let reply = decision.reply().to_string();
            if reply.starts_with(wanted) {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(5), "{reply}, not {wanted}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn greylisting_is_ordered_beside_a_server() {
    let desk = Desk::new().await;
    let stranger = ("203.0.113.5", "ann@stranger.example");
    desk.says(stranger.0, stranger.1, "DUNNO").await;
    assert!(desk.done("policy greylist enable --to example.org").contains("posthorn policy greylist held"));
    desk.says(stranger.0, stranger.1, "45").await;
    // Written behind, within a second.
    let began = Instant::now();
    while !desk.done("policy greylist held").contains("ann@stranger.example") {
        assert!(began.elapsed() < Duration::from_secs(5), "it is never seen");
    }
    let held = desk.json("policy greylist held --to BOB@example.org");
    assert_eq!(held[0]["recipient"], "bob@example.org");
    assert_eq!(desk.json("policy greylist held --to eve@example.org"), Value::Array(Vec::new()));

    desk.done("policy greylist pass ann@stranger.example");
    desk.says(stranger.0, stranger.1, "DUNNO").await;
    assert_eq!(desk.json("policy greylist whitelist list")[0]["from"], "ann@stranger.example");
    desk.done("policy greylist whitelist remove ann@stranger.example");
    desk.says(stranger.0, stranger.1, "45").await;
    desk.done("policy greylist disable --to bob@example.org");
    desk.says(stranger.0, stranger.1, "DUNNO").await;
    let said = desk.refused("policy greylist delete --to bop@example.org", 1);
    assert!(said.contains("did you mean \"bob@example.org *\"?"), "{said}");
    desk.done("policy greylist delete --to bob@example.org");
    desk.says(stranger.0, stranger.1, "45").await;
    let ran = desk.run(&["policy", "greylist", "enable", "--to", "exampel.org"], "");
    assert!(ran.code == 0 && ran.err.contains("did you mean \"example.org\"?"), "{ran:?}");
    assert!(desk.refused("policy greylist whitelist remove bop@example.com", 1).contains("nothing is said"));

    // The records cannot be read, and it says so.
    let added = desk.json("policy greylist domains add example.net");
    assert!(added[0]["problem"].is_string(), "{added}");
    assert!(desk.refused("policy greylist domains refresh example.ned", 1).contains("did you mean \"example.net\"?"));
    assert!(desk.refused("policy greylist domains add example.net", 1).contains("already"));
    desk.done("policy greylist domains remove example.net");
    assert_eq!(desk.json("policy greylist domains list"), Value::Array(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_limits_and_reasons_are_ordered_beside_a_server() {
    let desk = Desk::new().await;
    desk.done("policy list in add bad.example 203.0.113.0/24 --black --note spam");
    desk.says("198.51.100.1", "ann@bad.example", "554").await;
    desk.says("203.0.113.9", "ann@good.example", "554").await;
    desk.done("policy list in add ann@bad.example --white --for bob@example.org");
    desk.says("198.51.100.1", "ann@bad.example", "DUNNO").await;
    assert_eq!(desk.json("policy list in list --white").as_array().map(Vec::len), Some(1));
    assert_eq!(desk.json("policy list in list --for *").as_array().map(Vec::len), Some(2));
    assert_eq!(desk.json("policy list out list").as_array().map(Vec::len), Some(0));
    assert!(desk.refused("policy list in remove bat.example", 1).contains("did you mean \"@bad.example\"?"));
    assert!(desk.done("policy list in remove --all").contains("2 entries"));
    assert!(desk.refused("policy list out add 192.0.2.1 --black", 2).contains("is a client"));

    let began = Instant::now();
    while !desk.done("policy why --from ann@bad.example").contains("black list") {
        assert!(began.elapsed() < Duration::from_secs(5), "nobody knows why");
    }
    let why = desk.json("policy why --client 203.0.113.9 --to bob@example.org --newer-than 1h");
    assert_eq!((&why[0]["rule"], &why[0]["sender"]), (&"access".into(), &"ann@good.example".into()));
    let ran = desk.run(&["policy", "why", "--to", "nobody@example.org"], "");
    assert!(ran.err.contains("posthorn policy explain"), "{ran:?}");

    desk.done("policy throttle set external * --period 1h --size 1KiB");
    assert_eq!(desk.json("policy throttle list")[0]["size"], "1 KiB");
    let said = desk.refused("policy throttle delete external example.org", 1);
    assert!(said.contains("no external limit"), "{said}");
    assert!(desk.refused("policy throttle set external * --period 1h", 2).contains("needs a number"));
    assert!(desk.refused("policy throttle set extrenal * --period 1h --size 1", 2).contains("external"));
    assert!(desk.refused("policy throttle reset", 2).contains("--all"));
    desk.done("policy throttle reset --all");
    let explained =
        desk.json("policy explain --client 198.51.100.1 --from a@b.example --to bob@example.org --size 2KiB");
    assert_eq!(explained["decided_by"], "throttle", "{explained}");
    desk.done("policy throttle delete external *");

    desk.done("policy list in add bad.example --black");
    let request = "request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=198.51.100.1\nhelo_name=x.example\n\
                   sender=eve@bad.example\nrecipient=bob@example.org\n";
    let ran = desk.run(&["policy", "explain"], request);
    assert!(ran.code == 0 && ran.out.contains("(by access)") && ran.out.contains("action=554"), "{ran:?}");
    assert_eq!(desk.run(&["policy", "explain"], "hello\n").code, 2);

    desk.done("alias add all@example.org bob@example.org");
    desk.done("policy access set all@example.org members --moderator Eve@example.org");
    let access = desk.json("policy access list");
    assert_eq!((&access[0]["access"], &access[0]["moderators"][0]), (&"members".into(), &"eve@example.org".into()));
    assert!(desk.refused("policy access set al@example.org members", 1).contains("did you mean \"all@example.org\"?"));
    desk.done("policy access open all@example.org");
    assert!(desk.refused("policy access open all@example.org", 1).contains("already"));

    assert_eq!(desk.json("policy banned list"), Value::Array(Vec::new()));
    assert!(desk.refused("policy banned forgive 192.0.2.1", 1).contains("posthorn policy banned list"));
    assert!(desk.done("policy service list").contains("127.0.0.1:10023"));
}

/// The tables as they are documented, with a row of each sort.
const IREDAPD: &str = "
create table greylisting (id serial primary key, account varchar(100) not null default '', priority smallint not null default 0,
    sender varchar(100) not null default '', sender_priority smallint not null default 0, comment varchar(255) not null default '',
    active smallint not null default 1);
create table greylisting_whitelists (id serial primary key, account varchar(100) not null default '', sender varchar(100) not null,
    comment varchar(255) not null default '');
create table greylisting_whitelist_domains (id serial primary key, domain varchar(255) not null);
create table greylisting_tracking (id serial primary key, sender varchar(255) not null, recipient varchar(255) not null,
    client_address varchar(40) not null, init_time bigint not null, block_expired bigint not null, record_expired bigint not null,
    blocked_count bigint not null default 0, passed smallint not null default 0);
create table throttle (id serial primary key, account varchar(255) not null, kind varchar(10) not null default 'outbound',
    priority smallint not null default 0, period int not null, msg_size bigint not null default -1, max_msgs bigint not null default -1,
    max_quota bigint not null default -1, max_rcpts bigint not null default -1);
create table wblist_rdns (id serial primary key, rdns varchar(255) not null, wb char(1) not null default 'B');
create table users (id serial primary key, priority int not null default 7, email bytea not null unique);
create table mailaddr (id serial primary key, priority int not null default 7, email bytea not null unique);
create table wblist (rid int not null, sid int not null, wb varchar(10) not null);
create table outbound_wblist (rid int not null, sid int not null, wb varchar(10) not null);
insert into greylisting (account, sender, active) values ('@.', '@.', 1), ('bob@example.org', '@.', 0), ('a+b@example.org', '@.', 0);
insert into greylisting_whitelists (account, sender) values ('@.', '192.168.1.*'), ('@.', '2001:db8::/32'), ('', 'ann@example.com');
insert into greylisting_whitelist_domains (domain) values ('example.com'), ('not a domain');
insert into greylisting_tracking (sender, recipient, client_address, init_time, block_expired, record_expired, passed) values
    ('a@b.example', 'bob@example.org', '203.0.113.7', 1, 2, 99999999999, 1), ('a@b.example', 'bob@example.org', '203.0.114.8', 1, 2, 99999999999, 0);
insert into throttle (account, kind, period, max_msgs, max_quota, msg_size) values
    ('@.', 'outbound', 3600, 100, -1, 10485760), ('@example.org', 'outbound', 3600, 200, 0, -1), ('@ip', 'external', 60, 30, -1, -1);
insert into wblist_rdns (rdns, wb) values ('.dyn.example.net', 'B'), ('mx.example.com', 'W');
insert into users (email) values ('@.'), ('bob@example.org');
insert into mailaddr (email) values ('bad@example.com'), ('@.example.net'), ('10.1.*.*');
insert into wblist values (1, 1, 'B'), (2, 2, 'W'), (2, 3, 'B'), (2, 1, '3.5'), (9, 9, 'B');
insert into outbound_wblist values (1, 2, 'B');
";

#[tokio::test(flavor = "multi_thread")]
async fn iredapds_tables_are_taken_over_once() {
    let desk = Desk::new().await;
    let foreign = postgres::empty().await;
    let mut connection = PgConnection::connect(&foreign.url).await.expect("a database");
    sqlx::raw_sql(IREDAPD).execute(&mut connection).await.expect("the tables");
    let import = format!("import iredapd {} --triplets", foreign.url);

    let dry = desk.json(&format!("{import} --dry-run"));
    assert_eq!(desk.json("policy greylist list"), Value::Array(Vec::new()));
    let first = desk.json(&import);
    assert_eq!(dry["tables"], first["tables"]);
    let counts = |report: &Value, table: &str| -> Vec<u64> {
        let all = report["tables"].as_array().expect("tables");
        let one = all.iter().find(|one| one["table"] == table).unwrap_or_else(|| panic!("{table}: {report}"));
        ["read", "taken", "unchanged", "skipped"].map(|what| one[what].as_u64().expect("a count")).to_vec()
    };
    for (table, numbers) in [
        ("greylisting", [3, 2, 0, 1]),
        ("greylisting_whitelists", [3, 3, 0, 0]),
        ("greylisting_whitelist_domains", [2, 1, 0, 1]),
        ("greylisting_tracking", [2, 1, 0, 1]),
        ("throttle", [3, 3, 0, 0]),
        ("wblist_rdns", [2, 2, 0, 0]),
        // What holds below a domain is two entries here.
        ("wblist", [5, 4, 0, 2]),
        ("outbound_wblist", [1, 1, 0, 0]),
    ] {
        assert_eq!(counts(&first, table), numbers, "{table}: {first}");
    }
    assert!(first["remarks"].as_array().is_some_and(|all| all.iter().any(|one| one["what"] == "changed")));

    // They hold at once in the server that runs.
    desk.says("198.51.100.1", "bad@example.com", "554").await;
    desk.says("10.1.2.3", "x@elsewhere.example", "554").await;
    let limits = desk.json("policy throttle list");
    assert_eq!(limits.as_array().map(Vec::len), Some(3), "{limits}");
    assert_eq!(desk.json("policy list out list")[0]["peer"], "bad@example.com");

    let before =
        desk.done("policy greylist list") + &desk.done("policy list in list") + &desk.done("policy throttle list");
    let second = desk.json(&import);
    assert!(second["tables"].as_array().is_some_and(|all| all.iter().all(|one| one["taken"] == 0)), "{second}");
    let after =
        desk.done("policy greylist list") + &desk.done("policy list in list") + &desk.done("policy throttle list");
    assert_eq!(before, after);

    // What was ordered here since then stays.
    desk.done("policy greylist enable --to bob@example.org");
    let third = desk.done(&import);
    assert!(third.contains("is on here"), "{third}");

    assert!(desk.refused("import iredapd postgresql://me:secret@127.0.0.1/x", 2).contains("POSTHORN_IMPORT_PASSWORD"));
    assert!(desk.refused("import iredapd oracle://x/y", 2).contains("postgresql://"));
    let empty = postgres::empty().await;
    assert!(desk.refused(&format!("import iredapd {}", empty.url), 1).contains("greylisting_whitelists"));
}
