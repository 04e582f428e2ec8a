//! The program as a child process, watched from outside.

use std::collections::HashMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::imap_client::ImapClient;
use harness::postgres::{TestDatabase, database};
use harness::program;
use harness::smtp_client::SmtpClient;
use harness::stream::Stream;
use posthorn_config::Speaks;
use rustls::ClientConfig;
use tempfile::TempDir;

pub(crate) const USER: &str = "bob@example.org";
pub(crate) const PASSWORD: &str = "correct horse";
pub(crate) const MIB: u64 = 1 << 20;

/// A running `posthorn serve` with the domain `example.org`, one account, and a listener for each protocol.
pub(crate) struct Program {
    process: Process,
    ports: HashMap<&'static str, u16>,
    tls: Arc<ClientConfig>,
    // Last: dropped when nobody uses it any more.
    _database: TestDatabase,
}

impl Program {
    pub(crate) async fn start() -> Self {
        Self::with("", "").await
    }

    /// Started with further lines of `[limits]`, and with further lines in every listener.
    pub(crate) async fn with(limits: &str, listener: &str) -> Self {
        Self::run("[filter]\nenable = false\n", limits, listener).await
    }

    /// Started with these sections, such as that of the filter.
    pub(crate) async fn judging(sections: &str) -> Self {
        Self::run(sections, "", "").await
    }

    async fn run(sections: &str, limits: &str, listener: &str) -> Self {
        let database = database(posthorn_store::migrate).await;
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        fs::create_dir(&data).expect("a folder");
        let mut text = format!(
            "[server]\ndata = {data:?}\nhostname = 'localhost'\n[database]\nurl = '{}'\nconnections = 4\n\
             [imap]\nsessions_per_account = 0\n[checks]\nenable = false\n{sections}[limits]\nsessions_per_address = 0\n{limits}\n",
            database.url
        );
        for speaks in Speaks::ALL {
            let name = speaks.name();
            text += &format!("[[listener]]\nname = '{name}'\nspeaks = '{name}'\nlisten = ['127.0.0.1:0']\n");
            // Where nobody else offers STARTTLS, it is asked for.
            text += if speaks == Speaks::Lmtp { "tls = 'starttls'\n" } else { "" };
            text += &format!("{listener}\n");
        }
        let config = folder.path().join("posthorn.toml");
        fs::write(&config, text).expect("written");
        let config = config.to_str().expect("UTF-8");
        for (arguments, input) in [
            (&["domain", "add", "example.org", "--config", config][..], ""),
            (&["account", "add", USER, "--password-stdin", "--config", config], PASSWORD),
        ] {
            let ran = program::run(arguments, input);
            assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.err);
        }
        let log = fs::File::create(folder.path().join("log")).expect("a file");
        let child = Command::new(program::posthorn())
            .args(["serve", "--config", config])
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program starts");
        // From here on, a panic ends it.
        let mut process = Process { child, folder };
        let ports = process.listening().await;
        let pem = fs::read(data.join("tls/certificate.pem")).expect("a certificate");
        let tls = posthorn_net::client_config(&pem).expect("usable");
        Self { process, ports, tls, _database: database }
    }

    /// What it wrote about its work.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until it has written this about its work.
    pub(crate) async fn says(&self, text: &str) {
        let began = Instant::now();
        while !self.log().contains(text) {
            assert!(began.elapsed() < Duration::from_secs(20), "not said: {text:?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn port(&self, speaks: Speaks) -> u16 {
        self.ports[speaks.name()]
    }

    pub(crate) fn tls(&self) -> &Arc<ClientConfig> {
        &self.tls
    }

    /// Octets of memory in use at the moment.
    pub(crate) fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most octets of memory that were ever in use. Growth is told from an earlier peak, not from what is in use:
    /// a login takes 19 MiB for a moment, and the allocator returns it sooner or later.
    pub(crate) fn peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
        line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number") * 1024
    }

    /// How many files and sockets it has open.
    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.child.id())).expect("it runs").count()
    }

    /// Waits until no more files are open than `before`, but for the pool's connections that come and go.
    pub(crate) async fn closes_all_but(&self, before: usize) {
        let began = Instant::now();
        while self.open_files() > before + 4 {
            assert!(began.elapsed() < Duration::from_secs(20), "{} files, {before} before", self.open_files());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A stream to this listener, under TLS where that is implicit.
    pub(crate) async fn stream(&self, speaks: Speaks) -> Stream {
        let stream = Stream::tcp(self.port(speaks)).await;
        if is_implicit(speaks) { stream.secure(&self.tls).await } else { stream }
    }

    /// An SMTP or LMTP client that was greeted and has said hello.
    pub(crate) async fn smtp(&self, speaks: Speaks) -> SmtpClient {
        let mut client = SmtpClient::over(self.stream(speaks).await, &self.tls);
        let greeting = client.reply().await;
        assert!(greeting.starts_with("220 "), "{greeting}");
        client.hello(if speaks == Speaks::Lmtp { "LHLO" } else { "EHLO" }).await;
        client
    }

    /// An IMAP client that has logged in.
    pub(crate) async fn user(&self) -> ImapClient {
        let mut client = ImapClient::secure(self.port(Speaks::Imaps), &self.tls).await;
        let answer = client.login(USER, PASSWORD).await;
        assert!(answer.is_ok(), "{answer:?}");
        client
    }

    /// It runs, and nothing in it has panicked.
    pub(crate) fn runs(&mut self) {
        assert_eq!(self.process.child.try_wait().expect("a child"), None, "{}", self.log());
        assert!(!self.log().contains("panicked"), "{}", self.log());
    }

    /// It runs, takes a message, and shows it.
    pub(crate) async fn works(&mut self) {
        self.runs();
        let mut sender = self.smtp(Speaks::Smtp).await;
        let reply = sender.deliver("a@example.net", &[USER], "Subject: as ever\r\n\r\nHello.\r\n").await;
        assert!(reply.starts_with("250"), "{reply}");
        let mut reader = self.user().await;
        let answer = reader.ok("STATUS INBOX (MESSAGES)").await;
        assert!(answer.find("MESSAGES 0").is_none(), "{answer:?}");
        self.runs();
    }
}

/// The process and the folder that it works in.
struct Process {
    child: Child,
    folder: TempDir,
}

impl Process {
    /// Waits until every listener has said where it listens.
    async fn listening(&mut self) -> HashMap<&'static str, u16> {
        let began = Instant::now();
        loop {
            let log = self.log();
            let port_of = |speaks: &Speaks| {
                let start = format!("listening listener={} ", speaks.name());
                let line = log.lines().find(|line| line.contains(&start))?;
                Some((speaks.name(), line.rsplit_once(':')?.1.trim().parse().ok()?))
            };
            let ports: HashMap<_, _> = Speaks::ALL.iter().filter_map(port_of).collect();
            if ports.len() == Speaks::ALL.len() {
                return ports;
            }
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none() && began.elapsed() < Duration::from_secs(30), "{ended:?}:\n{log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What it wrote about its work.
    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("a log")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Whether TLS comes before the first word.
pub(crate) fn is_implicit(speaks: Speaks) -> bool {
    matches!(speaks, Speaks::Submissions | Speaks::Imaps)
}

/// Whether the server says the first word.
pub(crate) fn greets(speaks: &Speaks) -> bool {
    !matches!(
        speaks,
        Speaks::Policy
            | Speaks::SrsForward
            | Speaks::SrsReverse
            | Speaks::AmPdp
            | Speaks::Milter
            | Speaks::Metrics
            | Speaks::Release
    )
}

/// Whether HTTP is spoken.
pub(crate) fn is_http(speaks: Speaks) -> bool {
    matches!(speaks, Speaks::Metrics | Speaks::Release)
}

/// Whether IMAP is spoken.
pub(crate) fn is_imap(speaks: Speaks) -> bool {
    matches!(speaks, Speaks::Imap | Speaks::Imaps)
}

/// Sends, closes the sending side, and returns all that comes back before the server closes.
///
/// # Panics
/// When the server keeps a session whose client has gone.
pub(crate) async fn shout(port: u16, octets: &[u8]) -> Vec<u8> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("the server listens");
    let (mut reader, mut writer) = stream.into_split();
    let talk = async {
        // A server that has heard enough closes or resets in the middle.
        let _cut = writer.write_all(octets).await;
        let _cut = writer.shutdown().await;
    };
    let mut heard = Vec::new();
    let listen = async {
        let _reset = reader.read_to_end(&mut heard).await;
    };
    let both = async { tokio::join!(talk, listen) };
    tokio::time::timeout(Duration::from_secs(30), both).await.expect("the server closes");
    heard
}
