//! The verdict model over the whole server: levels, destinies, lovers, details, letters, rules for files, disclaimers,
//! scanners that die, and what the trace says of it all.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::archives::{self, Member, tar, zip};
use harness::program::run;
use harness::server::{Server, ServerOptions};
use posthorn_config::{
    Config, Destiny, FileRuleAction, FilterDisclaimer, FilterFileRule, Scanner, ScannerFailure, ScannerKind, Span,
    Speaks,
};
use posthorn_filter::quarantine::Wanted;
use posthorn_filter::recipient::orders::{Orders, Unfit};
use posthorn_mail::queue::Selection;
use posthorn_model::Address;
use posthorn_store::{accounts, mailboxes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const BOB: &str = "bob@example.org";
const EVE: &str = "eve@example.org";
const PASSWORD: &str = "a long enough password";

fn message(header: &str, text: &str) -> String {
    format!(
        "From: Ann <ann@sender.test>\r\nTo: eve@example.org\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\n\
         Subject: hello\r\nMessage-ID: <m1@sender.test>\r\n{header}\r\n{text}"
    )
}

/// With a file attached.
fn attached(name: &str, octets: &[u8]) -> String {
    let header = message("", "");
    archives::attached(&format!("{}\r\n", header.trim_end()), name, octets)
}

async fn server(options: ServerOptions) -> Server {
    let server = Server::start(options.with(|config| config.filter.enable = true)).await;
    for address in [BOB, EVE] {
        server.account(address, PASSWORD).await;
    }
    server
}

fn pairs(fields: &[(&str, &str)]) -> Vec<(String, Option<String>)> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect()
}

async fn set(server: &Server, who: &str, fields: &[(&str, &str)]) {
    let orders = Orders::new(server.mail(), &server.config().filter);
    orders.set(who, &pairs(fields)).await.expect("the store works").expect("they fit");
    server.appliance().filter().reload().await.expect("the store works");
}

/// What mail of the sender scores for somebody.
async fn weigh(server: &Server, who: &str, score: f64) {
    let orders = Orders::new(server.mail(), &server.config().filter);
    orders.list_sender(who, "@sender.test", score, "").await.expect("the store works").expect("patterns");
    server.appliance().filter().reload().await.expect("the store works");
}

async fn send(server: &Server, to: &[&str], message: &str) -> String {
    server.smtp(Speaks::Smtp).await.deliver("ann@sender.test", to, message).await
}

async fn texts(server: &Server, address: &str, folder: &str) -> Vec<String> {
    let stored = server.messages(address, folder).await;
    stored.into_iter().map(|one| String::from_utf8_lossy(&one).into_owned()).collect()
}

async fn only(server: &Server, address: &str, folder: &str) -> String {
    let mut all = texts(server, address, folder).await;
    assert_eq!(all.len(), 1, "{address} has one message in {folder}: {all:?}");
    all.remove(0)
}

async fn held(server: &Server) -> Vec<(i16, Vec<String>)> {
    let list = server.appliance().filter().quarantine().list(&Wanted::default(), 100).await.expect("the store works");
    list.iter()
        .map(|one| (one.row.category, one.recipients.iter().map(|row| row.recipient.clone()).collect()))
        .collect()
}

async fn until(what: &str, check: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !check().await {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}: never");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Makes or removes a folder behind the server's back, as another one does.
async fn folder(server: &Server, address: &str, name: &str, there: bool) {
    let mut connection = server.mail().store().acquire().await.expect("the store works");
    let address = Address::parse(address).expect("an address");
    let account = accounts::find_login(&mut connection, &address).await.expect("works").expect("an account").id;
    let found = mailboxes::find(&mut connection, account, name).await.expect("the store works");
    match (found, there) {
        (Some(found), false) => mailboxes::delete(&mut connection, account, found.id).await.expect("deleted"),
        (None, true) => {
            drop(connection);
            let mut imap = server.imap().await;
            imap.ok(&format!("LOGIN {address} \"{PASSWORD}\"")).await;
            imap.ok(&format!("CREATE {name}")).await;
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn levels_say_what_is_shown_and_where_it_goes() {
    let server = server(ServerOptions::new()).await;
    let plain = message("", "Hello.\r\n");
    set(&server, "@example.org", &[("subject_tag", "[SPAM] "), ("subject_tag3", "[SPAM!] "), ("tag3", "9")]).await;
    weigh(&server, EVE, 3.0).await;
    assert!(send(&server, &[EVE], &plain).await.starts_with("250 "));
    let got = only(&server, EVE, "INBOX").await;
    assert!(got.contains("X-Spam-Status: No, score=") && got.contains("X-Spam-Level: ***"), "{got}");
    assert!(!got.contains("X-Spam-Flag") && got.contains("Subject: hello\r\n"), "{got}");

    for (score, subject) in [(7.0, "Subject: [SPAM] hello\r\n"), (9.5, "Subject: [SPAM!] hello\r\n")] {
        weigh(&server, EVE, score).await;
        assert!(send(&server, &[EVE], &plain).await.starts_with("250 "));
        let got = texts(&server, EVE, "Junk").await.pop().expect("it is in Junk");
        assert!(got.contains("X-Spam-Flag: YES\r\n") && got.contains(subject), "{got}");
    }

    weigh(&server, EVE, 20.0).await;
    set(&server, EVE, &[("spam", "hold")]).await;
    assert!(send(&server, &[EVE], &plain).await.starts_with("250 "));
    assert_eq!(held(&server).await, [(6, vec![EVE.to_owned()])]);
    let quarantine = server.appliance().filter().quarantine().clone();
    let list = quarantine.list(&Wanted::default(), 2).await.expect("the store works");
    assert_eq!(list[0].row.subject, "hello", "what may be released as no spam has its own subject");
    // So bad that nobody wants to look at it: it is refused, not kept.
    set(&server, EVE, &[("hold_cutoff", "15")]).await;
    let reply = send(&server, &[EVE], &plain).await;
    assert!(reply.starts_with("554 5.7.0 the message looks like spam"), "{reply}");
    assert_eq!(held(&server).await.len(), 1);
    // Where the one reply is a yes, it is held still: nothing is dropped.
    assert!(send(&server, &[BOB, EVE], &plain).await.starts_with("250 "));
    assert_eq!(held(&server).await.len(), 2);
    // A lover gets it whatever it scores.
    set(&server, EVE, &[("spam", "deliver"), ("spammy", "deliver")]).await;
    assert!(send(&server, &[EVE], &plain).await.starts_with("250 "));
    assert!(texts(&server, EVE, "INBOX").await.pop().expect("there").contains("X-Spam-Flag: YES\r\n"));
    // Who wants nothing scored sees nothing of it.
    set(&server, EVE, &[("bypass_spam", "true")]).await;
    assert!(send(&server, &[EVE], &plain).await.starts_with("250 "));
    assert!(!texts(&server, EVE, "INBOX").await.pop().expect("there").contains("X-Spam-"));
    assert!(server.check().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_of_what_is_surely_spam_get_no_reports() {
    let options = ServerOptions::new().with(|config| {
        let routes = "[[route]]\nrecipients = [\"far.test\"]\nto = \"reject: no such user\"\n[[route]]\nto = \"smtp://127.0.0.1:1\"";
        config.route = toml::from_str::<Config>(routes).expect("routes").route;
    });
    let server = server(options).await;
    server.alias("on@example.org", &["somebody@far.test"]).await;
    set(&server, "@example.org", &[("spam", "deliver"), ("spammy", "deliver"), ("report_cutoff", "8")]).await;
    let queued = async || {
        let entries = server.mail().queue().list(&Selection::default(), None, 10).await.expect("the store works");
        entries.into_iter().map(|entry| entry.delivery.recipient).collect::<Vec<_>>()
    };
    let settled = async |kind: &str| {
        for _ in 0..200 {
            server.mail().store().chronicle().flush().await;
            let mut connection = server.mail().store().acquire().await.expect("the store works");
            let count = "select count(*) from trace where kind = $1";
            let count: i64 = sqlx::query_scalar(count).bind(kind).fetch_one(&mut *connection).await.expect("counted");
            if count > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nothing is {kind}");
    };
    // It goes on, and comes to nothing: its sender is hardly the one that it names.
    weigh(&server, "@example.org", 8.5).await;
    assert!(send(&server, &["on@example.org"], &message("", "Hello.\r\n")).await.starts_with("250 "));
    settled("unreported").await;
    assert_eq!(queued().await, [""; 0]);
    weigh(&server, "@example.org", 5.0).await;
    assert!(send(&server, &["on@example.org"], &message("", "Hello.\r\n")).await.starts_with("250 "));
    settled("reported").await;
    assert_eq!(queued().await, ["ann@sender.test"], "a report");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn details_lead_into_folders() {
    let server = server(ServerOptions::new()).await;
    folder(&server, EVE, "suspicious", true).await;
    folder(&server, EVE, "lists", true).await;
    let love = [("spam", "deliver"), ("spammy", "deliver"), ("extension_spam", "suspicious")];
    set(&server, "@example.org", &love).await;
    for who in [BOB, EVE] {
        weigh(&server, who, 8.0).await;
    }
    let reply = send(&server, &[EVE, BOB], &message("", "Hello.\r\n")).await;
    assert!(reply.starts_with("250 "), "{reply}");
    assert_eq!(texts(&server, EVE, "suspicious").await.len(), 1);
    assert!(texts(&server, EVE, "INBOX").await.is_empty());
    // Who has no such folder finds it where everything is.
    assert_eq!(texts(&server, BOB, "INBOX").await.len(), 1);
    // Who was written to with a detail keeps it.
    let reply = send(&server, &["eve+lists@example.org"], &message("", "Hello.\r\n")).await;
    assert!(reply.starts_with("250 "), "{reply}");
    assert_eq!(texts(&server, EVE, "lists").await.len(), 1);
    set(&server, EVE, &[("extension_spam", "none")]).await;
    assert!(send(&server, &[EVE], &message("", "Hello.\r\n")).await.starts_with("250 "));
    assert_eq!(texts(&server, EVE, "INBOX").await.len(), 1);
    assert!(server.check().await.is_empty());
}

/// A program for MS-DOS by its first octets.
const PROGRAM: &[u8] = b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0\xb8\0\0\0\0\0\0\0@\0\0\0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recipients_and_administrators_are_told_and_senders_are_not() {
    let server = server(ServerOptions::new().with(|config| {
        config.policy.enable = false;
        config.filter.destiny.banned = Destiny::Hold;
        config.filter.notices.warn_banned = true;
        config.filter.notices.admin_banned = BOB.to_owned();
        config.filter.notices.per_hour = 2;
    }))
    .await;
    server.mailbox_only("ann@example.org").await;
    let bad = attached("filename=invoice.exe", PROGRAM);
    for _ in 0..4 {
        // The sender is one of ours by name: a forged one would be told here, if anybody were.
        let mut client = server.smtp(Speaks::Smtp).await;
        let reply = client.deliver("ann@example.org", &[EVE], &bad).await;
        assert!(reply.starts_with("250 "), "{reply}");
    }
    until("both are told", async || {
        texts(&server, EVE, "INBOX").await.len() == 2 && texts(&server, BOB, "INBOX").await.len() == 2
    })
    .await;
    let warning = texts(&server, EVE, "INBOX").await.remove(0);
    assert!(warning.contains("A message for you is held, because it is of a kind that is not allowed"), "{warning}");
    assert!(
        warning.contains("Subject:    hello\r\n") && warning.contains("Auto-Submitted: auto-generated"),
        "{warning}"
    );
    assert!(warning.starts_with("Return-Path: <>\r\n"), "{warning}");
    let letter = texts(&server, BOB, "INBOX").await.remove(0);
    assert!(
        letter.contains("To:         eve@example.org\r\n") && letter.contains("Client:     127.0.0.1\r\n"),
        "{letter}"
    );
    // Four messages, two letters each.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((texts(&server, EVE, "INBOX").await.len(), texts(&server, BOB, "INBOX").await.len()), (2, 2));
    assert!(texts(&server, "ann@example.org", "INBOX").await.is_empty(), "the sender is told nothing");
    assert_eq!(held(&server).await.len(), 4);

    // A setting of one's own ends it; what is refused is told as well.
    set(&server, EVE, &[("warn_banned", "false"), ("admin_banned", "ann@example.org"), ("banned", "refuse")]).await;
    assert!(send(&server, &[EVE], &bad).await.starts_with("554 "));
    until("another administrator is told", async || texts(&server, "ann@example.org", "INBOX").await.len() == 1).await;
    assert!(only(&server, "ann@example.org", "INBOX").await.contains("A message was refused, because"));
    assert_eq!(texts(&server, EVE, "INBOX").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_for_files_have_sets_of_ones_own() {
    let rule = |set: &str, name: &str| FilterFileRule {
        set: set.to_owned(),
        name: name.to_owned(),
        ..FilterFileRule::default()
    };
    let rules = vec![
        FilterFileRule {
            action: FileRuleAction::AllowAll,
            extensions: vec!["exe".to_owned()],
            ..rule("developers", "programs")
        },
        FilterFileRule { attributes: vec!["encrypted".to_owned()], ..rule("no-secrets", "locked") },
    ];
    let server = server(ServerOptions::new().with(move |config| config.filter.file_rule = rules)).await;
    let bad = attached("filename=tool.exe", PROGRAM);
    assert!(send(&server, &[EVE], &bad).await.contains("a file that is not allowed"));
    set(&server, EVE, &[("banned_sets", "developers,default")]).await;
    assert!(send(&server, &[EVE], &bad).await.starts_with("250 "));
    assert_eq!(texts(&server, EVE, "INBOX").await.len(), 1);
    // Only what the set allows: a program by another name is banned still.
    assert!(send(&server, &[EVE], &attached("filename=photo.jpg", PROGRAM)).await.starts_with("554 "));
    let reply = send(&server, &[BOB], &attached("filename=a.zip", &locked_zip())).await;
    assert!(reply.starts_with("250 "), "an encrypted archive passes unless a rule says otherwise: {reply}");
    set(&server, BOB, &[("banned_sets", "no-secrets")]).await;
    let reply = send(&server, &[BOB], &attached("filename=a.zip", &locked_zip())).await;
    assert!(reply.contains("locked of no-secrets"), "{reply}");
    let orders = Orders::new(server.mail(), &server.config().filter);
    let unknown = orders.set(BOB, &pairs(&[("banned_sets", "default,nonsense")])).await.expect("the store works");
    let known = "default, office, archive, everything, developers, no-secrets".to_owned();
    assert_eq!(unknown, Err(Unfit::Set("nonsense".to_owned(), known)));
}

/// A ZIP of one file that says that it is encrypted.
fn locked_zip() -> Vec<u8> {
    zip(&[Member { locked: true, ..Member::stored("secret.txt", b"0123456789abcdef") }])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tricks_do_not_hide_programs() {
    let server = server(ServerOptions::new()).await;
    let inner = zip(&[Member::stored("holiday.txt", PROGRAM)]);
    let nested = zip(&[Member::packed("inner.tar", &tar("inner.zip", b'0', "", &inner))]);
    for (name, octets) in [
        ("filename=photos.zip", nested.as_slice()),
        ("filename=harmless.txt", PROGRAM),
        ("filename=\"invoice.exe. .\"", b"text"),
        ("filename=\"invoice.pdf                    .exe\"", b"text"),
        // The end is shown first: "invoicefdp.exe" reads "invoiceexe.pdf".
        ("filename*=utf-8''invoice%E2%80%AEfdp.exe", b"text"),
        ("filename*0=\"invoice.e\"; filename*1=xe", b"text"),
        ("filename*0*=utf-8''invoice%2e; filename*1*=e%78e", b"text"),
        ("filename=\"=?utf-8?B?aW52b2ljZS5leGU=?=\"", b"text"),
    ] {
        let reply = send(&server, &[EVE], &attached(name, octets)).await;
        assert!(reply.starts_with("554 5.7.0 the message contains a file that is not allowed"), "{name}: {reply}");
    }
    let reply =
        send(&server, &[EVE], &attached("filename=photos.zip", &zip(&[Member::stored("a.txt", b"text")]))).await;
    assert!(reply.starts_with("250 "), "{reply}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_class_of_bad_headers_is_named() {
    let server = server(ServerOptions::new().with(|config| {
        config.filter.destiny.bad_header = Destiny::Hold;
    }))
    .await;
    let usual = "From: ann@sender.test\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\n";
    let broken = [
        format!("{usual}MIME-Version: 1.0\r\nContent-Type: multipart/mixed\r\n\r\nHello.\r\n"),
        format!("{usual}Subject: Grüße\r\n\r\nHello.\r\n"),
        format!("{usual}Subject: a\0b\r\n\r\nHello.\r\n"),
        format!("{usual}Subject: a\r\n \r\n b\r\n\r\nHello.\r\n"),
        format!("{usual}Subject: {}\r\n\r\nHello.\r\n", "x".repeat(1000)),
        format!("{usual}this is no field\r\n\r\nHello.\r\n"),
        "From: ann@sender.test\r\nSubject: no date\r\n\r\nHello.\r\n".to_owned(),
        format!("{usual}Subject: one\r\nSubject: two\r\n\r\nHello.\r\n"),
    ];
    for (class, message) in (1..).zip(&broken) {
        let reply = send(&server, &[EVE], message).await;
        if !reply.starts_with("250 ") {
            // What no line of mail may be is refused before anybody judges it.
            assert!(reply.starts_with("5") && matches!(class, 3 | 5), "{class}: {reply}");
            continue;
        }
        let traced = trace(&server, &reply).await;
        assert!(traced.contains(&format!("bad header {class}")), "{class}: {traced}");
    }
    assert!(held(&server).await.iter().all(|(category, _)| *category == 4));
    assert!(held(&server).await.len() >= 6);
    set(&server, EVE, &[("bypass_header", "true")]).await;
    assert!(send(&server, &[EVE], &broken[7]).await.starts_with("250 "));
    assert_eq!(texts(&server, EVE, "INBOX").await.len(), 1);
}

/// What `posthorn trace` prints of the message that a reply names.
async fn trace(server: &Server, reply: &str) -> String {
    let id = reply.split_whitespace().last().expect("an id");
    let config = server.folder().join("trace.toml");
    let text = format!(
        "[server]\ndata = '{}'\n[database]\nurl = '{}'\n",
        server.config().server.data.display(),
        server.appliance().database().url()
    );
    std::fs::write(&config, text).expect("written");
    let config: PathBuf = config;
    let began = Instant::now();
    loop {
        let ran = run(&["--config", &config.display().to_string(), "trace", id], "");
        // The trace is written a moment behind.
        if (ran.code == 0 && ran.out.contains("filter")) || began.elapsed() > Duration::from_secs(10) {
            return format!("{}{}", ran.out, ran.err);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A clamd that finds what says `EICAR`, or never answers.
pub(crate) struct Clamd {
    port: u16,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Clamd {
    pub(crate) async fn new(answers: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut sessions = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                sessions.spawn(session(stream, answers, Arc::clone(&counter)));
            }
        });
        Self { port, asked, task }
    }

    pub(crate) fn row(&self) -> Scanner {
        let address = format!("127.0.0.1:{}", self.port).parse().expect("an address");
        Scanner::new("clamd", ScannerKind::Clamd, address)
    }
}

async fn session(mut stream: tokio::net::TcpStream, answers: bool, counter: Arc<AtomicUsize>) {
    let mut number = 0;
    loop {
        let mut command = Vec::new();
        while !command.ends_with(b"zINSTREAM\0") {
            match stream.read_u8().await {
                Ok(octet) => command.push(octet),
                Err(_) => return,
            }
        }
        let mut message = Vec::new();
        loop {
            let Ok(size) = stream.read_u32().await else { return };
            if size == 0 {
                break;
            }
            let start = message.len();
            message.resize(start + size as usize, 0);
            if stream.read_exact(&mut message[start..]).await.is_err() {
                return;
            }
        }
        counter.fetch_add(1, Ordering::Relaxed);
        number += 1;
        if !answers {
            std::future::pending::<()>().await;
        }
        let found = message.windows(5).any(|window| window == b"EICAR");
        let said = if found { "Test.EICAR FOUND" } else { "OK" };
        if stream.write_all(format!("{number}: stream: {said}\0").as_bytes()).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viruses_are_refused_traced_and_delivered_to_who_wants_them() {
    let clamd = Clamd::new(true).await;
    let row = clamd.row();
    let server = server(ServerOptions::new().with(move |config| config.scanner = vec![row])).await;
    let bad = message("", "EICAR\r\n");
    let reply = send(&server, &[BOB, EVE], &bad).await;
    assert!(reply.starts_with("554 5.7.0 the message contains malware: ") && reply.contains("Test.EICAR"), "{reply}");
    assert!(held(&server).await.is_empty() && texts(&server, EVE, "INBOX").await.is_empty());
    let clean = message("", "Hello.\r\n");
    let reply = send(&server, &[EVE], &clean).await;
    assert!(reply.starts_with("250 "), "{reply}");
    assert!(only(&server, EVE, "INBOX").await.contains("X-Virus-Scanned: clamd\r\n"));

    // A lover gets it, another has it held; the trace says why to both.
    set(&server, BOB, &[("virus", "deliver")]).await;
    let reply = send(&server, &[BOB, EVE], &bad).await;
    assert!(reply.starts_with("250 "), "{reply}");
    assert_eq!(held(&server).await, [(9, vec![EVE.to_owned()])]);
    assert_eq!(texts(&server, BOB, "INBOX").await.len(), 1);
    let traced = trace(&server, &reply).await;
    for words in
        ["virus", "bob@example.org: deliver: virus", "eve@example.org: refuse 554 5.7.0", "clamd: ", "Test.EICAR"]
    {
        assert!(traced.contains(words), "{words}: {traced}");
    }

    // Where everybody bypasses the check, nobody is asked.
    set(&server, "@example.org", &[("bypass_virus", "true")]).await;
    let asked = clamd.asked.load(Ordering::Relaxed);
    assert!(send(&server, &[EVE], &message("", "EICAR again\r\n")).await.starts_with("250 "));
    assert_eq!(clamd.asked.load(Ordering::Relaxed), asked);
    assert_eq!(texts(&server, EVE, "INBOX").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_scanner_costs_bounded_time_and_what_follows_is_configured() {
    let silent = Clamd::new(false).await;
    let row = Scanner {
        time: Span::from_secs(1),
        on_failure: ScannerFailure::Pass,
        on_failure_originating: Some(ScannerFailure::Defer),
        ..silent.row()
    };
    let server = server(ServerOptions::new().with(move |config| config.scanner = vec![row])).await;
    let began = Instant::now();
    let reply = send(&server, &[EVE], &message("", "Hello.\r\n")).await;
    assert!(reply.starts_with("250 "), "inbound mail passes: {reply}");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    let traced = trace(&server, &reply).await;
    assert!(traced.contains("unchecked"), "{traced}");
    let mut client = server.smtp(Speaks::Submissions).await;
    assert!(client.login(BOB, PASSWORD).await.starts_with("235 "));
    let own = "From: bob@example.org\r\nSubject: x\r\n\r\nHello.\r\n";
    let reply = client.deliver(BOB, &[EVE], own).await;
    assert!(reply.starts_with("451 4.5.0 "), "our own people's waits: {reply}");
    // One who bypasses the check does not wait for it.
    set(&server, EVE, &[("bypass_virus", "true")]).await;
    assert!(client.deliver(BOB, &[EVE], own).await.starts_with("250 "));
    // Who wants what cannot be looked at held has it held.
    set(&server, BOB, &[("unchecked", "hold")]).await;
    assert!(send(&server, &[BOB], &message("", "Hello again.\r\n")).await.starts_with("250 "));
    assert_eq!(held(&server).await, [(7, vec![BOB.to_owned()])]);
    // Nobody listens any more: it is noticed at once.
    silent.task.abort();
    let began = Instant::now();
    assert!(send(&server, &[EVE], &message("", "Hello once more.\r\n")).await.starts_with("250 "));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lmtp_is_judged_where_it_is_to_be_and_each_has_a_reply() {
    for judged in [false, true] {
        let server = server(ServerOptions::new().with(move |config| config.filter.lmtp = judged)).await;
        set(&server, BOB, &[("bypass_banned", "true")]).await;
        let mut client = server.smtp(Speaks::Lmtp).await;
        client.expect("MAIL FROM:<ann@sender.test>", "250").await;
        for to in [BOB, EVE] {
            client.expect(&format!("RCPT TO:<{to}>"), "250").await;
        }
        let first = client.data(&attached("filename=invoice.exe", PROGRAM)).await;
        let second = client.reply().await;
        assert!(first.starts_with("250 "), "{first}");
        assert_eq!(second.starts_with("554 5.7.0 "), judged, "{second}");
        assert_eq!(texts(&server, BOB, "INBOX").await.len(), 1);
        assert_eq!(texts(&server, EVE, "INBOX").await.len(), usize::from(!judged));
        assert!(held(&server).await.is_empty() && server.check().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_vanishes_meanwhile_loses_nothing() {
    let server = server(ServerOptions::new()).await;
    weigh(&server, EVE, 8.0).await;
    let plain = message("", "Hello.\r\n");
    // From now on it is remembered where Eve's Junk is.
    assert!(send(&server, &[EVE, BOB], &plain).await.starts_with("250 "));
    assert_eq!(texts(&server, EVE, "Junk").await.len(), 1);
    folder(&server, EVE, "Junk", false).await;
    let before = server.check().await.len();
    let reply = send(&server, &[BOB, EVE], &plain).await;
    assert!(reply.starts_with("250 "), "{reply}");
    assert_eq!(texts(&server, EVE, "INBOX").await.len(), 1, "there is no Junk any more");
    assert_eq!(texts(&server, BOB, "INBOX").await.len(), 2, "and Bob has it once");
    assert_eq!(server.check().await.len(), before, "no more is amiss than the folder that somebody tore out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_back_goes_into_junk_when_its_time_has_come() {
    let server = server(ServerOptions::new()).await;
    set(&server, EVE, &[("banned", "junk")]).await;
    let mut client = server.smtp(Speaks::Submissions).await;
    assert!(client.login(BOB, PASSWORD).await.starts_with("235 "));
    client.expect("MAIL FROM:<bob@example.org> HOLDFOR=1", "250").await;
    client.expect("RCPT TO:<eve@example.org>", "250").await;
    let reply = client.data(&attached("filename=invoice.exe", PROGRAM)).await;
    assert!(reply.starts_with("250 "), "{reply}");
    until("it is there", async || !texts(&server, EVE, "Junk").await.is_empty()).await;
    assert!(texts(&server, EVE, "INBOX").await.is_empty());
    let got = only(&server, EVE, "Junk").await;
    assert!(!got.contains("X-Kept-For"), "{got}");
    assert!(server.check().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disclaimers_stand_below_what_our_own_people_send() {
    let server = server(ServerOptions::new().with(|config| {
        config.filter.disclaimer = vec![FilterDisclaimer {
            domains: vec!["example.org".parse().expect("a domain")],
            text: "Example Ltd, Größe 1".to_owned(),
            html: String::new(),
            inside: true,
        }];
    }))
    .await;
    let mut client = server.smtp(Speaks::Submissions).await;
    assert!(client.login(BOB, PASSWORD).await.starts_with("235 "));
    let plain = "From: bob@example.org\r\nSubject: x\r\n\r\nHello.\r\n";
    assert!(client.deliver(BOB, &[EVE], plain).await.starts_with("250 "));
    let got = only(&server, EVE, "INBOX").await;
    assert!(got.contains("Content-Transfer-Encoding: quoted-printable\r\n"), "{got}");
    assert!(got.ends_with("\r\n\r\nHello.\r\n\r\nExample Ltd, Gr=C3=B6=C3=9Fe 1\r\n"), "{got}");
    let signed = "From: bob@example.org\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/signed; protocol=\"application/pgp-signature\"; boundary=s\r\n\r\n--s\r\n\r\nHello.\r\n--s\r\n\
        Content-Type: application/pgp-signature\r\n\r\nx\r\n--s--\r\n";
    assert!(client.deliver(BOB, &[EVE], signed).await.starts_with("250 "));
    let got = texts(&server, EVE, "INBOX").await.pop().expect("there");
    assert!(got.contains("Hello.\r\n--s\r\n") && !got.contains("Example Ltd"), "{got}");
    // Strangers' mail is not ours to write in.
    assert!(send(&server, &[EVE], &message("", "Hello.\r\n")).await.starts_with("250 "));
    assert!(!texts(&server, EVE, "INBOX").await.pop().expect("there").contains("Example Ltd"));
}
