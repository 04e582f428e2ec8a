//! The policy port and the tables of rewritten senders, as another mail server uses them.

use std::time::{Duration, Instant};

use harness::dice::Dice;
use harness::postgres::database;
use harness::server::{Server, ServerOptions, row};
use harness::transcript::{files, glob, unescape};
use posthorn_config::{Config, Speaks};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::cable::Cable;

/// What every test here refuses, and holds.
const RULES: &str = "
[[policy.rule]]
name = 'no'
source = ['@bad.example']
action = 'REJECT not from there'
[[policy.rule]]
name = 'large'
stage = 'end-of-message'
larger = '1 KiB'
action = 'HOLD large'
";

fn options() -> ServerOptions {
    let given: Config = toml::from_str(RULES).expect("a configuration");
    ServerOptions::new().with(move |config| {
        config.policy = given.policy;
        config.server.hostname = "mx.example.org".to_owned();
    })
}

async fn server() -> Server {
    let server = Server::start(options()).await;
    server.mailbox_only("eve@example.org").await;
    server
}

/// A connection on which lines end in LF.
struct Line(BufReader<TcpStream>);

impl Line {
    async fn to(server: &Server, speaks: Speaks) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", server.port(speaks))).await.expect("the server listens");
        stream.set_nodelay(true).expect("an open socket");
        Self(BufReader::new(stream))
    }

    async fn send(&mut self, octets: impl AsRef<[u8]>) {
        // A server that has closed says so in what it is expected to say.
        let _closed = self.0.get_mut().write_all(octets.as_ref()).await;
    }

    /// The next line, without its end; `None` when the server has closed.
    async fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = tokio::time::timeout(Duration::from_secs(40), self.0.read_line(&mut line)).await;
        // Octets that nobody read make a reset of a close.
        let count = read.expect("the server answers or closes").unwrap_or(0);
        (count > 0).then(|| line.trim_end_matches('\n').to_owned())
    }

    /// The action for a request with these attributes; `None` when the server closes instead.
    async fn ask(&mut self, attributes: &str) -> Option<String> {
        self.send(format!("request=smtpd_access_policy\n{attributes}\n\n")).await;
        let action = self.hear().await?;
        assert_eq!(self.hear().await.as_deref(), Some(""), "an empty line ends an answer");
        Some(action)
    }

    async fn get(&mut self, key: &str) -> String {
        self.send(format!("get {key}\n")).await;
        self.hear().await.expect("an answer")
    }
}

#[tokio::test]
async fn conversations_go_as_they_are_written() {
    let server = server().await;
    for (folder, whole) in [("policy", true), ("policy", false), ("srs", true), ("srs", false)] {
        for (name, text) in files(folder) {
            let speaks = match (folder, text.contains("O: direction reverse")) {
                ("policy", _) => Speaks::Policy,
                (_, true) => Speaks::SrsReverse,
                (_, false) => Speaks::SrsForward,
            };
            play(&mut Line::to(&server, speaks).await, &text, whole)
                .await
                .unwrap_or_else(|why| panic!("{folder}/{name}: {why}"));
        }
    }
}

async fn play(line: &mut Line, text: &str, whole: bool) -> Result<(), String> {
    let mut dice = Dice::new(7);
    let mut input = Vec::new();
    for step in text.lines().filter(|line| !line.starts_with('#') && !line.starts_with("O:")) {
        let (kind, rest) = step.split_at(2);
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        if let "C:" | "C<" = kind {
            input.extend(unescape(rest));
            input.extend_from_slice(if kind == "C:" { b"\n" } else { b"" });
            continue;
        }
        let sent = std::mem::take(&mut input);
        let mut left = &sent[..];
        while !left.is_empty() {
            let piece = if whole { left.len() } else { (1 + dice.below(1 + sent.len() / 50)).min(left.len()) };
            line.send(&left[..piece]).await;
            left = &left[piece..];
            tokio::task::yield_now().await;
        }
        let heard = line.hear().await;
        let right = match (kind, heard.as_deref()) {
            ("X:", None) => true,
            ("S:", Some(heard)) => heard == rest,
            ("S~", Some(heard)) => glob(rest, heard),
            _ => false,
        };
        if !right {
            return Err(format!("expected {step:?}, got {heard:?}"));
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_thousand_requests_have_a_thousand_answers() {
    let server = server().await;
    let mut line = Line::to(&server, Speaks::Policy).await;
    let mut dice = Dice::new(1000);
    let mut sent = Vec::new();
    let mut expected = Vec::new();
    for _ in 0..1000 {
        let bad = dice.below(2) == 0;
        let from = if bad { "bad.example" } else { "example.net" };
        let more = "x-new=y\n".repeat(dice.below(5));
        sent.extend_from_slice(
            format!(
                "request=smtpd_access_policy\nprotocol_state=RCPT\n{more}sender=a@{from}\nrecipient=eve@example.org\n\n"
            )
            .as_bytes(),
        );
        expected.push(if bad { "action=REJECT not from there" } else { "action=DUNNO" });
    }
    let (read, mut write) = line.0.into_inner().into_split();
    let talk = async move {
        let mut left = &sent[..];
        while !left.is_empty() {
            let (piece, rest) = left.split_at((1 + dice.below(300)).min(left.len()));
            write.write_all(piece).await.expect("the server reads");
            left = rest;
        }
        write
    };
    let listen = async move {
        let mut lines = BufReader::new(read).lines();
        for expected in expected {
            assert_eq!(lines.next_line().await.expect("an answer").as_deref(), Some(expected));
            assert_eq!(lines.next_line().await.expect("its end").as_deref(), Some(""));
        }
    };
    let both = async { tokio::join!(talk, listen) };
    tokio::time::timeout(Duration::from_secs(60), both).await.expect("in time");
    line = Line::to(&server, Speaks::Policy).await;
    assert_eq!(line.ask("protocol_state=RCPT").await.as_deref(), Some("action=DUNNO"));
}

#[tokio::test]
async fn our_own_smtp_can_be_asked_by_our_own_smtp() {
    let policy = server().await;
    let port = policy.port(Speaks::Policy);
    let text = format!("[[policy.service]]\nname = 'us'\naddress = '127.0.0.1:{port}'\nstages = ['rcpt']\n");
    let given: Config = toml::from_str(&text).expect("a configuration");
    let asking = Server::start(ServerOptions::new().with(move |config| config.policy = given.policy)).await;
    asking.mailbox_only("eve@example.org").await;
    let mut client = asking.smtp(Speaks::Smtp).await;
    client.expect("MAIL FROM:<a@bad.example>", "250").await;
    client.expect("RCPT TO:<eve@example.org>", "554 5.7.1 not from there").await;
    client.expect("RSET", "250").await;
    client.expect("MAIL FROM:<a@example.net>", "250").await;
    client.expect("RCPT TO:<eve@example.org>", "250").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_postgresql_there_is_an_answer_or_an_end_but_no_waiting() {
    let database = database(posthorn_store::migrate).await;
    let cable = Cable::to(&database);
    let server = Server::start(options().on(&cable.url)).await;
    server.mailbox_only("eve@example.org").await;
    let request = |at: usize| {
        format!("protocol_state=RCPT\nsender=a@d{at}.example\nrecipient=eve@example.org\nclient_address=192.0.2.7")
    };
    let mut line = Line::to(&server, Speaks::Policy).await;
    assert_eq!(line.ask(&request(0)).await.as_deref(), Some("action=DUNNO"));
    for cut in [Cable::freeze, Cable::cut] {
        cut(&cable);
        let begun = Instant::now();
        for at in 1..3 {
            let answer = line.ask(&request(at)).await;
            assert!(answer.as_deref().is_none_or(|action| action == "action=DUNNO"), "{answer:?}");
            if answer.is_none() {
                line = Line::to(&server, Speaks::Policy).await;
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        // What needs no database is told as ever.
        assert_eq!(
            line.ask("protocol_state=RCPT\nsender=a@bad.example").await.as_deref(),
            Some("action=REJECT not from there")
        );
    }
    cable.mend();
    for _ in 0..200 {
        let mut line = Line::to(&server, Speaks::Policy).await;
        if line.ask(&request(9)).await.as_deref() == Some("action=DUNNO") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it does not come back");
}

#[tokio::test]
async fn rewritten_senders_lead_back() {
    let server = server().await;
    let mut forward = Line::to(&server, Speaks::SrsForward).await;
    let mut reverse = Line::to(&server, Speaks::SrsReverse).await;
    for sender in ["a@example.net", "John.Doe+x@example.com", "SRS0=abcd=ef=example.net=c@example.com"] {
        let rewritten = forward.get(sender).await;
        let address = rewritten.strip_prefix("200 ").expect(sender).to_owned();
        assert!(address.ends_with("@mx.example.org"), "{address}");
        let back = reverse.get(&address).await;
        assert!(back.strip_prefix("200 ").is_some_and(|back| back.eq_ignore_ascii_case(sender)), "{sender}: {back}");
        // Hosts on the way change the case.
        assert!(reverse.get(&address.to_lowercase()).await.starts_with("200 "), "{address}");
        let forged = address.replace("SRS0=", "SRS0=Z").replace("SRS1=", "SRS1=Z");
        assert_eq!(reverse.get(&forged).await, "500 not%20found");
    }
    // What is rewritten already stays as it is.
    let rewritten = forward.get("a@example.net").await;
    assert_eq!(forward.get(rewritten.trim_start_matches("200 ")).await, "500 not%20found");
}

#[tokio::test]
async fn senders_stay_where_nobody_rewrites() {
    let server = Server::start(ServerOptions::new().with(|config| {
        config.srs.enable = false;
        row(config, Speaks::SrsForward).options.idle_time = Some(posthorn_config::Span::from_millis(200));
    }))
    .await;
    let mut forward = Line::to(&server, Speaks::SrsForward).await;
    assert_eq!(forward.get("a@example.net").await, "500 not%20found");
    assert_eq!(forward.hear().await, None, "who is silent for too long is left");
}

#[tokio::test]
async fn wide_addresses_are_refused() {
    for speaks in [Speaks::Policy, Speaks::SrsForward, Speaks::SrsReverse] {
        let wide = ServerOptions::new().with(move |config| {
            row(config, speaks).listen =
                vec!["0.0.0.0:0".parse::<posthorn_config::ListenAddress>().expect("one").into()];
        });
        let error = Server::try_start(wide).await.err().expect("refused").to_string();
        assert!(error.contains(speaks.name()) && error.contains("trusts its clients"), "{error}");
    }
}
