//! The program beside itself: commands steer the server that runs, and it keeps what was applied.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::imap_client::ImapClient;
use harness::postgres::{TestDatabase, database};
use harness::program::{Ran, posthorn, run};
use harness::smtp_client::{SmtpClient, base64};
use serde_json::Value;
use tempfile::TempDir;

/// A server process with a configuration file that a test changes.
struct Rig {
    child: Child,
    folder: TempDir,
    config: PathBuf,
    text: String,
    _database: TestDatabase,
}

impl Rig {
    async fn start() -> Self {
        Self::start_with(|text| text).await
    }

    async fn start_with(alter: impl FnOnce(String) -> String) -> Self {
        let fresh = database(posthorn_store::migrate).await;
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("posthorn.toml");
        let data = folder.path().join("data");
        std::fs::create_dir(&data).expect("made");
        let text = format!(
            "[server]\nhostname = 'localhost'\ndata = '{}'\n[database]\nurl = '{}'\nconnections = 4\n\
             [dns]\nservers = ['127.0.0.1:9']\n[checks]\nenable = false\n[smtp]\nbanner = 'one'\n\
             [[listener]]\nname = 'smtp'\nspeaks = 'smtp'\nlisten = ['127.0.0.1:0']\n\
             [[listener]]\nname = 'imap'\nspeaks = 'imap'\nlisten = ['127.0.0.1:0']\n",
            data.display(),
            fresh.url,
        );
        let text = alter(text);
        std::fs::write(&config, &text).expect("written");
        let log = std::fs::File::create(folder.path().join("log")).expect("made");
        let mut command = Command::new(posthorn());
        command.arg("--config").arg(&config).arg("serve").env_remove("RUST_LOG");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("started");
        let rig = Self { child, folder, config, text, _database: fresh };
        let began = Instant::now();
        while UnixStream::connect(rig.socket()).is_err() {
            assert!(began.elapsed() < Duration::from_secs(60), "it does not start: {}", rig.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        rig
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("data/control.sock")
    }

    /// What the control socket answers.
    fn asked(&self, request: &str) -> Value {
        let mut stream = UnixStream::connect(self.socket()).expect("it listens");
        stream.write_all(format!("{request}\n").as_bytes()).expect("written");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("an answer");
        serde_json::from_str(&line).expect("JSON")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("read")
    }

    fn write(&self, from: &str, to: &str) {
        assert!(self.text.contains(from), "{from}");
        std::fs::write(&self.config, self.text.replace(from, to)).expect("written");
    }

    fn run(&self, line: &str) -> Ran {
        let config = self.config.display().to_string();
        let mut arguments = vec!["--config", &config];
        arguments.extend(line.split_whitespace());
        run(&arguments, "")
    }

    #[track_caller]
    fn json(&self, line: &str) -> Value {
        let ran = self.run(&format!("{line} --json"));
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        serde_json::from_str(&ran.out).expect("one document")
    }

    fn hang_up(&self) {
        let killed = Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status();
        assert!(killed.expect("kill runs").success());
    }

    async fn wait_for(&self, words: &str) {
        let began = Instant::now();
        while !self.log().contains(words) {
            assert!(began.elapsed() < Duration::from_secs(30), "{words}: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}

#[tokio::test]
async fn a_reload_is_a_revision_and_can_be_taken_back() {
    let rig = Rig::start().await;
    let first = rig.json("config log");
    assert_eq!(first.as_array().map(Vec::len), Some(1), "{first}");
    assert_eq!(first[0]["author"], "start");
    let id = first[0]["id"].as_i64().expect("a number");
    assert!(rig.run("config diff").out.trim().is_empty());

    rig.write("banner = 'one'", "banner = 'two'");
    let diff = rig.run("config diff").out;
    assert!(diff.contains("-banner = \"one\"") && diff.contains("+banner = \"two\""), "{diff}");
    let reloaded = rig.json("config reload");
    assert_eq!(reloaded["changed"], serde_json::json!(["smtp.banner"]));
    let log = rig.json("config log");
    assert_eq!((log[0]["id"].as_i64(), log[0]["lines_added"].as_i64()), (reloaded["revision"].as_i64(), Some(1)));
    let me = Command::new("id").arg("-un").output().expect("id runs").stdout;
    assert_eq!(log[0]["author"].as_str(), Some(String::from_utf8_lossy(&me).trim()));
    // Nothing new is no revision.
    assert_eq!(rig.json("config reload")["revision"], Value::Null);

    let shown = rig.run(&format!("config rollback {id}"));
    assert!(shown.out.contains("+banner = 'one'") && shown.out.contains("--apply"), "{shown:?}");
    let applied = rig.json(&format!("config rollback {id} --apply"));
    assert_eq!(applied["reload"]["changed"], serde_json::json!(["smtp.banner"]));
    assert_eq!(std::fs::read_to_string(&rig.config).expect("read"), rig.text, "as it was, its password too");
    let kept = rig.folder.path().join("posthorn.toml.bak");
    assert!(std::fs::read_to_string(kept).expect("kept").contains("'two'"));
    // What is kept holds no password.
    let files = rig.run("config diff --files").out;
    assert!(!files.contains("password"), "{files}");
}

#[tokio::test]
async fn an_invalid_configuration_is_told_and_replaces_nothing() {
    let rig = Rig::start().await;
    rig.write("banner = 'one'", "baner = 'two'");
    let refused = rig.run("config reload");
    assert_eq!(refused.code, 2, "{refused:?}");
    let problem = "posthorn.toml:12: smtp.baner: unknown key \"baner\" (did you mean \"banner\"?)";
    assert!(refused.err.contains(problem), "{refused:?}");
    // The server itself said so, whom the command asked.
    let (first, by) = (rig.log(), String::from_utf8(Command::new("id").arg("-un").output().expect("runs").stdout));
    let told = first.lines().find(|line| line.contains("not reloaded")).expect("told");
    assert!(told.contains(problem) && told.contains(by.expect("a name").trim()), "{told}");
    rig.hang_up();
    rig.wait_for("SIGHUP").await;
    let log = rig.log();
    assert!(log[first.len()..].contains(problem), "{log}");
    // Where the file cannot be read at all, nobody knows whom to ask.
    rig.write("[smtp]", "[smtp");
    let refused = rig.run("config reload");
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("posthorn.toml:11: "), "{refused:?}");
    // It parses, and still cannot be used.
    let certificate = "[tls]\ncertificate = '/nowhere/c.pem'\nkey = '/nowhere/k.pem'\n[smtp]";
    rig.write("[smtp]", certificate);
    let refused = rig.run("config reload");
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("/nowhere/c.pem"), "{refused:?}");
    std::fs::write(&rig.config, &rig.text).expect("written");
    rig.hang_up();
    rig.wait_for("configuration and certificates are read again").await;
    assert_eq!(rig.json("config log").as_array().map(Vec::len), Some(1), "nothing else ever ran");
}

#[tokio::test]
async fn numbers_are_those_of_the_configuration_that_holds_now() {
    let rig = Rig::start().await;
    // Lines of a family of numbers, by what stands in the label.
    let labels = |family: &str, label: &str| -> Vec<String> {
        let answer = rig.asked(r#"{"do":"metrics"}"#);
        let text = answer["answer"].as_str().expect("a text");
        let own = |line: &&str| line.starts_with(&format!("{family}{{"));
        let of = |line: &str| line.split(&format!("{label}=\"")).nth(1)?.split('"').next().map(str::to_owned);
        text.lines().filter(own).filter_map(of).collect()
    };
    const ENDS: &str = "posthorn_certificate_not_after_seconds";
    let before = labels(ENDS, "file");
    assert_eq!(before.len(), 1, "{before:?}");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (certificate, key) = (rig.folder.path().join("other.pem"), rig.folder.path().join("other.key"));
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let tls = format!("[tls]\ncertificate = '{}'\nkey = '{}'\n[smtp]", certificate.display(), key.display());
    let text = rig.text.replace("[smtp]", &tls).replace("name = 'imap'", "name = 'reading'");
    std::fs::write(&rig.config, text).expect("written");
    rig.json("config reload");
    assert_eq!(labels(ENDS, "file"), [certificate.display().to_string()], "not {before:?}");
    let mut listeners = labels("posthorn_sessions", "listener");
    listeners.sort();
    assert_eq!(listeners, ["reading", "smtp"], "what is gone is not told of for ever");
}

#[tokio::test]
async fn verdicts_are_counted_by_category_whoever_watches() {
    const LISTENER: &str = "[[listener]]\nname = 'imap'";
    let rig = Rig::start().await;
    let watched = format!("[[listener]]\nname = 'metrics'\nspeaks = 'metrics'\nlisten = ['127.0.0.1:0']\n{LISTENER}");
    rig.write(LISTENER, &watched);
    rig.json("config reload");
    rig.json("domain add example.org");
    rig.json("account add eve@example.org --generate");
    let listed = rig.json("listener list");
    let address = |name: &str| {
        let row = listed.as_array().into_iter().flatten().find(|row| row["listener"] == name).expect("listed").clone();
        row["bound"][0].as_str().expect("an address").to_owned()
    };
    let port = address("smtp").rsplit(':').next().expect("a port").parse().expect("a number");
    let pem = std::fs::read(rig.folder.path().join("data/tls/certificate.pem")).expect("a certificate");
    let mut client = SmtpClient::raw(port, &posthorn_net::client_config(&pem).expect("usable")).await;
    assert!(client.reply().await.starts_with("220 "));
    client.hello("EHLO").await;
    let header = "From: ann@sender.test\r\nTo: eve@example.org\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\n\
        Subject: hello\r\nMessage-ID: <1@sender.test>\r\n";
    let program = "MIME-Version: 1.0\r\nContent-Type: application/octet-stream; name=a.exe\r\n\r\nx\r\n";
    let gtube = "\r\nXJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n";
    for (rest, code) in [("\r\nHello.\r\n", "250 "), (program, "554 "), ("\r\nBye.\r\n", "250 "), (gtube, "250 ")] {
        let reply = client.deliver("ann@sender.test", &["eve@example.org"], &format!("{header}{rest}")).await;
        assert!(reply.starts_with(code), "{reply}");
    }
    let answer = rig.asked(r#"{"do":"metrics"}"#);
    let text = answer["answer"].as_str().expect("a text");
    let metrics = address("metrics");
    for (category, code, count) in [("clean", 1, 2), ("banned", 8, 1), ("spam", 6, 1), ("virus", 9, 0)] {
        let line = format!("posthorn_filter_verdicts_total{{category=\"{category}\"}} {count}\n");
        assert_eq!(text.contains(&line), count > 0, "{line}{text}");
        // Over HTTP, for an agent that speaks SNMP.
        let oid = format!(".1.3.6.1.4.1.15312.2.1.1.10.{code}.1.0");
        let ran = run(&["snmp", "--from", &metrics], &format!("PING\nget\n{oid}\n"));
        assert_eq!(ran.out, format!("PONG\n{oid}\ncounter\n{count}\n"), "{ran:?}");
    }
}

#[tokio::test]
async fn rules_of_the_filter_that_cannot_be_used_are_told() {
    let rig = Rig::start().await;
    for (rule, said) in [
        ("name = 'OWL'\npoints = 1\nbody = 'marble (owl'", "filter.rule[0].body"),
        ("name = 'owl'\npoints = 1\nbody = 'owl'", "filter.rule[0].name"),
        ("name = 'OWL'\npoints = 1\nall = ['NOBODY_KNOWS_THIS']", "NOBODY_KNOWS_THIS"),
    ] {
        rig.write("[smtp]", &format!("[[filter.rule]]\n{rule}\n[smtp]"));
        let refused = rig.run("config reload");
        assert_eq!(refused.code, 2, "{rule}: {refused:?}");
        assert!(refused.err.contains(said), "{rule}: {refused:?}");
    }
    rig.write("[smtp]", "[[filter.rule]]\nname = 'OWL'\npoints = 1\nbody = 'owl'\n[smtp]");
    assert_eq!(rig.json("config reload")["changed"], serde_json::json!(["filter.rule"]));
}

#[tokio::test]
async fn a_rollback_that_the_server_refuses_is_put_back() {
    let rig = Rig::start().await;
    let file = rig.folder.path().join("secret");
    std::fs::write(&file, "a secret of some length").expect("written");
    let line = format!("[srs]\nsecret = '{}'\n[smtp]", file.display());
    rig.write("[smtp]", &line);
    let id = rig.json("config reload")["revision"].as_i64().expect("a revision");
    rig.write("banner = 'one'", "banner = 'three'");
    rig.json("config reload");
    let now = std::fs::read_to_string(&rig.config).expect("read");
    std::fs::remove_file(&file).expect("removed");
    let refused = rig.run(&format!("config rollback {id} --apply"));
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.err.contains("the files are as they were"), "{refused:?}");
    assert_eq!(std::fs::read_to_string(&rig.config).expect("read"), now);
}

#[tokio::test]
async fn a_rollback_mends_files_that_cannot_be_used() {
    let mut rig = Rig::start().await;
    let first = rig.json("config log")[0]["id"].as_i64().expect("a number");
    let secret = rig.folder.path().join("secret");
    std::fs::write(&secret, "a secret of some length").expect("written");
    rig.write("[smtp]", &format!("[srs]\nsecret = '{}'\n[smtp]", secret.display()));
    let second = rig.json("config reload")["revision"].as_i64().expect("a revision");
    rig.write("banner = 'one'", "baner = 'two'");
    let mended = rig.run(&format!("config rollback {first} --apply"));
    assert_eq!(mended.code, 0, "{mended:?}");
    assert!(mended.err.contains("smtp.baner") && mended.out.contains("reloaded: "), "{mended:?}");
    assert_eq!(std::fs::read_to_string(&rig.config).expect("read"), rig.text);
    // Where no server runs, the command judges: a revision that nothing could start with is not put in place.
    rig.child.kill().expect("killed");
    rig.child.wait().expect("gone");
    std::fs::remove_file(&secret).expect("removed");
    let refused = rig.run(&format!("config rollback {second} --apply"));
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("the files are as they were") && refused.err.contains("srs.secret"), "{refused:?}");
    assert_eq!(std::fs::read_to_string(&rig.config).expect("read"), rig.text);
    std::fs::write(&secret, "a secret of some length").expect("written");
    let done = rig.run(&format!("config rollback {second} --apply"));
    assert!(done.code == 0 && done.out.contains("no server runs: it counts from the next start on"), "{done:?}");
}

#[tokio::test]
async fn listeners_are_steered_by_name() {
    let rig = Rig::start().await;
    let state = |rows: &Value, name: &str| {
        let row = rows.as_array().into_iter().flatten().find(|row| row["listener"] == name).cloned();
        row.expect("listed")["state"].as_str().unwrap_or_default().to_owned()
    };
    let listed = rig.json("listener list");
    assert_eq!((state(&listed, "smtp"), state(&listed, "imap")), ("open".to_owned(), "open".to_owned()));
    let closed = rig.json("listener disable smtp");
    assert_eq!(state(&closed, "smtp"), "disabled");
    assert!(closed[0]["by"].is_string() && closed[0]["since"].is_string(), "{closed}");
    rig.json("config reload");
    let listed = rig.json("listener list");
    assert_eq!((state(&listed, "smtp"), state(&listed, "imap")), ("disabled".to_owned(), "open".to_owned()));
    assert_eq!(state(&rig.json("listener enable smtp"), "smtp"), "open");
    let unknown = rig.run("listener disable smpt");
    assert_eq!(unknown.code, 2, "{unknown:?}");
    assert!(unknown.err.contains("smtp"), "{unknown:?}");
    let table = rig.run("listener list");
    assert!(table.out.starts_with("LISTENER"), "{table:?}");
}

#[tokio::test]
async fn no_secret_is_logged_however_much_is() {
    let rig = Rig::start_with(|text| {
        let text = text.replace("postgres://posthorn@", "postgres://posthorn:the-url-s-own@");
        let text = text.replace("speaks = 'smtp'", "speaks = 'submission'");
        format!("{text}[log]\nlevel = 'trace'\nformat = 'json'\n")
    })
    .await;
    assert!(rig.text.contains("the-url-s-own"), "{}", rig.text);
    rig.json("domain add example.org");
    let config = rig.config.display().to_string();
    let add = ["--config", &config, "account", "add", "ann@example.org", "--password-stdin"];
    assert_eq!(run(&add, "correct horse\n").code, 0);
    let listed = rig.json("listener list");
    let port = |name: &str| -> u16 {
        let row = listed.as_array().into_iter().flatten().find(|row| row["listener"] == name).expect("listed");
        row["bound"][0].as_str().and_then(|bound| bound.rsplit(':').next()?.parse().ok()).expect("a port")
    };
    let pem = std::fs::read(rig.folder.path().join("data/tls/certificate.pem")).expect("a certificate");
    let tls = posthorn_net::client_config(&pem).expect("usable");
    for (password, is_right) in [("correct horse", true), ("wrong staple", false)] {
        let mut imap = ImapClient::plain(port("imap"), &tls).await.starttls().await;
        assert_eq!(imap.login("ann@example.org", password).await.is_ok(), is_right);
        let plain = base64(format!("\0ann@example.org\0{password}").as_bytes());
        let mut imap = ImapClient::plain(port("imap"), &tls).await.starttls().await;
        assert_eq!(imap.ask(&format!("AUTHENTICATE PLAIN {plain}")).await.is_ok(), is_right);
        let mut smtp = SmtpClient::raw(port("smtp"), &tls).await;
        assert!(smtp.reply().await.starts_with("220 "));
        smtp.hello("EHLO").await;
        let mut smtp = smtp.starttls().await;
        smtp.hello("EHLO").await;
        assert_eq!(smtp.login("ann@example.org", password).await.starts_with("235"), is_right);
    }
    rig.json("config reload");
    let log = rig.log();
    assert!(log.contains("\"TRACE\"") && log.contains("ann@example.org"), "all of it is logged");
    let mut secrets = vec!["the-url-s-own".to_owned(), "$argon2".to_owned()];
    for password in ["correct horse", "wrong staple"] {
        secrets.push(password.to_owned());
        secrets.push(base64(password.as_bytes()).trim_end_matches('=').to_owned());
        secrets.push(base64(format!("\0ann@example.org\0{password}").as_bytes()));
    }
    for line in log.lines() {
        let found: Vec<_> = secrets.iter().filter(|secret| line.contains(*secret)).collect();
        assert!(found.is_empty(), "{found:?}: {line}");
    }
}

#[tokio::test]
async fn many_commands_at_once_exhaust_nothing() {
    let rig = Rig::start().await;
    // More than are heard at once, and none of them says a word or reads an answer.
    let mut silent: Vec<_> = (0..40).filter_map(|_| UnixStream::connect(rig.socket()).ok()).collect();
    for stream in &mut silent {
        let _full = stream.write_all(&[b'x'; 100]);
    }
    let commands: Vec<_> = (0..6)
        .map(|_| {
            let config = rig.config.display().to_string();
            std::thread::spawn(move || run(&["--config", &config, "listener", "list"], "").code)
        })
        .collect();
    for command in commands {
        assert_eq!(command.join().expect("ended"), 0);
    }
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(rig.socket()).expect("there"));
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn ends_have_codes_of_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("posthorn.toml");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("made");
    let write = |more: &str| {
        let text = format!("[server]\nhostname = 'localhost'\ndata = '{}'\n{more}", data.display());
        std::fs::write(&config, text).expect("written");
    };
    let code = |line: &str| {
        let file = config.display().to_string();
        let mut arguments = vec!["--config", &file];
        arguments.extend(line.split_whitespace());
        run(&arguments, "").code
    };
    write("nonsense = 1\n");
    assert_eq!((code("config check"), code("serve")), (2, 78));
    write(
        "[database]\nurl = 'postgres://nobody@127.0.0.1:9/nothing'\n[[listener]]\nname = 'a'\nspeaks = 'lmtp'\nlisten = ['127.0.0.1:0']\n",
    );
    assert_eq!((code("domain list"), code("serve"), code("listener list")), (75, 75, 69));
}
