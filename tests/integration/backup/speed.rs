//! How fast a backup is, beside PostgreSQL's own dump of the same database: `cargo test -p posthorn-tests --test integration
//! backup::speed -- --ignored --nocapture`.

use std::process::Command;
use std::time::Instant;

use harness::dice::Dice;
use harness::postgres::empty;
use harness::server::{Server, ServerOptions};
use posthorn::backup::restore::Options;
use posthorn_mail::accept::Append;
use posthorn_model::Flags;

use super::{backed_up, restored};

const MESSAGES: usize = 20_000;
const BATCH: usize = 50;

/// Text that compresses like text, and every tenth time an attachment that does not.
fn message(dice: &mut Dice, number: usize) -> String {
    const WORDS: &[&str] = &[
        "the",
        "meeting",
        "invoice",
        "on",
        "Tuesday",
        "please",
        "find",
        "attached",
        "regards",
        "server",
        "mail",
        "and",
        "with",
        "project",
        "report",
        "we",
        "could",
        "not",
        "reach",
        "you",
        "yesterday",
        "offer",
        "holiday",
        "number",
        "contract",
    ];
    let mut text = format!(
        "From: Eve {number} <eve{number}@example.com>\r\nTo: ann@example.org\r\nSubject: about {number}\r\n\
         Date: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{number}.{}@example.com>\r\n\r\n",
        dice.roll()
    );
    for _ in 0..20 + dice.below(120) {
        for _ in 0..10 {
            text.push_str(dice.one::<&str>(WORDS));
            text.push_str(&format!("{} ", dice.below(1000)));
        }
        text.push_str("\r\n");
    }
    if number.is_multiple_of(10) {
        for _ in 0..1 + dice.below(1000) {
            text.push_str(&harness::smtp_client::base64(&dice.octets(57)));
            text.push_str("\r\n");
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints numbers"]
#[expect(clippy::print_stderr, reason = "numbers are what it is for")]
async fn a_backup_beside_a_dump() {
    let server = Server::start(ServerOptions::new()).await;
    let account = server.mailbox_only("ann@example.org").await;
    let inbox = server.mail().find_mailbox(account, "INBOX").await.expect("the store works").expect("an INBOX").id;
    let mut dice = Dice::new(1);
    let mut octets = 0;
    for batch in 0..MESSAGES / BATCH {
        let mut messages = Vec::new();
        for number in 0..BATCH {
            let text = message(&mut dice, batch * BATCH + number);
            octets += text.len();
            let mut body = server.mail().intake();
            body.push(text.as_bytes()).expect("room");
            messages.push(Append { body, flags: Flags::none(), internal_date: None });
        }
        server.mail().append(account, inbox, messages).await.expect("stored");
    }
    let url = server.config().database.url.as_ref().expect("a URL").reveal().to_owned();
    let folder = tempfile::tempdir().expect("a folder");
    let mebibytes = |octets: u64| octets as f64 / f64::from(1 << 20);
    eprintln!("{MESSAGES} messages, {:.1} MiB as they came", mebibytes(octets as u64));
    let tell = |what: &str, began: Instant, size: u64| {
        let took = began.elapsed().as_secs_f64();
        eprintln!(
            "{what}: {took:.2} s, {:.1} MiB/s of mail, {:.1} MiB",
            mebibytes(octets as u64) / took,
            mebibytes(size)
        );
    };
    for _ in 0..2 {
        let began = Instant::now();
        let (path, _) = backed_up(&url, folder.path()).await;
        tell("posthorn backup", began, std::fs::metadata(path).expect("the file").len());
        for compress in ["pg_dump -Fc", "pg_dump -Fc --compress=0 | zstd -3 -T2", "pg_dump -Fc --compress=zstd:3"] {
            let dump = folder.path().join("dump");
            let (program, rest) = compress.split_once(" -Fc").expect("options");
            let script = format!("set -o pipefail; {program} '{url}' -Fc{rest} > '{}'", dump.display());
            let began = Instant::now();
            let done = Command::new("bash").args(["-c", &script]).output().expect("bash");
            if done.status.success() {
                tell(compress, began, std::fs::metadata(&dump).expect("the file").len());
            } else {
                eprintln!("{compress}: {}", String::from_utf8_lossy(&done.stderr).lines().next().unwrap_or_default());
            }
        }
    }
    let path = folder.path().join("backup.tar");
    let copy = empty().await;
    let began = Instant::now();
    restored(&copy.url, &path, Options::default()).await.expect("restored");
    tell("posthorn restore", began, std::fs::metadata(&path).expect("the file").len());
    let dump = folder.path().join("dump");
    let script = format!("pg_dump '{url}' -Fc > '{}'", dump.display());
    assert!(Command::new("bash").args(["-c", &script]).status().expect("bash").success());
    let other = empty().await;
    let began = Instant::now();
    let script = format!("pg_restore --single-transaction --no-owner --dbname '{}' '{}'", other.url, dump.display());
    assert!(Command::new("bash").args(["-c", &script]).status().expect("bash").success());
    tell("pg_restore", began, std::fs::metadata(&dump).expect("the file").len());
    server.stop().await;
}
