//! The conversations of `tests/transcripts/smtp`, spoken to the whole server.
//!
//! Left out are those that need an application which answers by script (`A:`), a clock that is moved or a signal that
//! is given (`T:`), a TLS session that is only claimed (`secured`, `tls_available`, `X: tls`) or certificates that are not
//! there, or a limit that is not configurable; what they show is shown by other tests here, or by the bare machine alone.

use std::collections::BTreeMap;

use harness::server::{Server, ServerOptions, row};
use harness::stream::Stream;
use harness::transcript::{files, glob, unescape};
use posthorn_config::{Config, Size, SmtpExtension, Span, Speaks, TlsMode};

struct Transcript {
    name: String,
    options: Vec<String>,
    steps: Vec<Step>,
}

enum Step {
    Closed,
    Expect { pattern: String, kind: char },
    Send(Vec<u8>),
}

/// What makes a transcript fit for the bare machine alone.
const SCRIPTED: [&str; 16] = [
    "A:",
    "T:",
    "X: tls",
    "C: STARTTLS",
    "C: starttls",
    "S: 214 2.0.0 EHLO HELO STARTTLS",
    "O: secured",
    "O: tls_available",
    "O: require_ehlo",
    "O: refused",
    "O: hold",
    "O: auth",
    "O: limit recipient_domains",
    "O: limit text_line",
    "O: limit swallow",
    "O: limit session",
];

#[tokio::test]
async fn the_whole_server_speaks_as_the_machine_does() {
    let mut groups: BTreeMap<Vec<String>, Vec<Transcript>> = BTreeMap::new();
    let (mut played, mut left_out) = (0, 0);
    for (name, text) in files("smtp") {
        if text.lines().any(|line| SCRIPTED.iter().any(|word| line.starts_with(word))) {
            left_out += 1;
            continue;
        }
        let transcript = parse(name, &text);
        groups.entry(transcript.options.clone()).or_default().push(transcript);
        played += 1;
    }
    assert!(played > left_out && played > 70, "{played} played, {left_out} left out");
    let mut failures = Vec::new();
    for (options, transcripts) in groups {
        let speaks = dialect(&options);
        let server = Server::start(ServerOptions::new().with(move |config| configure(config, &options))).await;
        for transcript in transcripts {
            welcome(&server, &transcript).await;
            if let Err(why) = play(&server, speaks, &transcript).await {
                failures.push(format!("{}: {why}", transcript.name));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn dialect(options: &[String]) -> Speaks {
    match options.iter().find_map(|option| option.strip_prefix("dialect ")) {
        Some("lmtp") => Speaks::Lmtp,
        Some("submission") => Speaks::Submission,
        _ => Speaks::Smtp,
    }
}

fn configure(config: &mut Config, options: &[String]) {
    config.server.hostname = "mx.example.org".to_owned();
    let speaks = dialect(options);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for option in options {
        let (name, value) = option.split_once(' ').unwrap_or((option, ""));
        let number = || value.rsplit(' ').next().and_then(|digits| digits.parse::<u32>().ok()).expect("a number");
        match (name, value.split(' ').next().unwrap_or_default()) {
            ("dialect", _) => {}
            ("with", word) => with.push(word.to_owned()),
            ("without", word) => without.push(word.to_owned()),
            ("max_size", _) => config.mail.max_message_size = Size::bytes(u64::from(number())),
            ("banner_delay", _) => config.smtp.banner_delay = Span::from_millis(number() * 100),
            ("require_tls", _) => row(config, speaks).options.require_tls = Some(true),
            ("limit", "recipients") => config.smtp.max_recipients = number(),
            ("limit", "messages") => config.smtp.max_messages = number(),
            ("limit", "bad_commands") => config.smtp.max_errors = number(),
            ("limit", "junk") => config.smtp.max_junk = number(),
            ("limit", "header_bytes") => config.smtp.max_header_size = Size::bytes(u64::from(number())),
            _ => panic!("unknown option {option}"),
        }
    }
    let row = row(config, speaks);
    // The bare machine of the transcripts has neither TLS nor logins.
    row.tls = Some(TlsMode::None);
    row.options.auth = Some(false);
    row.peer = crate::rows::peers(&["network = '127.0.0.0/8'", "network = '::/0'"]);
    for peer in &mut row.peer {
        peer.options.xclient = Some(with.iter().any(|word| word == "XCLIENT"));
        peer.options.xforward = Some(with.iter().any(|word| word == "XFORWARD"));
    }
    if !without.is_empty() {
        let offered = |extension: &SmtpExtension| !without.contains(&extension.keyword().to_owned());
        row.options.smtp_extensions = Some(SmtpExtension::ALL.into_iter().filter(offered).collect());
    }
}

/// Adds everybody whom the transcript writes to: the bare machine takes all recipients.
async fn welcome(server: &Server, transcript: &Transcript) {
    for step in &transcript.steps {
        let Step::Send(octets) = step else { continue };
        for line in String::from_utf8_lossy(octets).lines() {
            let Some((_, rest)) = line.split_once("RCPT TO:<").or_else(|| line.split_once("rcpt to:<")) else {
                continue;
            };
            let Some((path, _)) = rest.rsplit_once('>') else { continue };
            // A source route is not part of the address (RFC 5321 §C).
            let path = path.rsplit(':').next().unwrap_or_default();
            let Ok(address) = posthorn_model::Address::parse(path) else { continue };
            let mail = server.mail();
            let _present = mail.add_domain(address.domain(), None).await.expect("the store works");
            let _present = mail.add_account(&address, Default::default()).await.expect("the store works");
        }
    }
}

async fn play(server: &Server, speaks: Speaks, transcript: &Transcript) -> Result<(), String> {
    let mut stream = Stream::tcp(server.port(speaks)).await;
    let mut ahead: Option<String> = None;
    for step in &transcript.steps {
        match step {
            Step::Send(octets) => {
                if let Some(line) = ahead.take() {
                    return Err(format!("nobody expected {line:?}"));
                }
                // A server that has closed says so in what it is expected to say.
                let _closed = stream.try_send(octets).await;
            }
            Step::Closed => {
                let line = next(&mut stream, &mut ahead).await;
                if let Some(line) = line {
                    return Err(format!("expected the end, got {line:?}"));
                }
            }
            Step::Expect { pattern, kind: '*' } => loop {
                match next(&mut stream, &mut ahead).await {
                    Some(line) if line.starts_with(pattern) => {}
                    other => {
                        ahead = other;
                        break;
                    }
                }
            },
            Step::Expect { pattern, kind } => {
                let line = next(&mut stream, &mut ahead).await.unwrap_or_else(|| "the end".to_owned());
                let stored = pattern == "250 2.0.0 Ok" && line.starts_with("250 2.0.0 stored as ")
                    || pattern == "250 Ok" && line.starts_with("250 stored as ");
                if !(stored || if *kind == '~' { glob(pattern, &line) } else { *pattern == line }) {
                    return Err(format!("expected {pattern:?}, got {line:?}"));
                }
            }
        }
    }
    match ahead {
        Some(line) => Err(format!("nobody expected {line:?}")),
        None => Ok(()),
    }
}

async fn next(stream: &mut Stream, ahead: &mut Option<String>) -> Option<String> {
    if let Some(line) = ahead.take() {
        return Some(line);
    }
    stream.line().await.map(|line| String::from_utf8(line).expect("replies are text"))
}

fn parse(name: String, text: &str) -> Transcript {
    let mut transcript = Transcript { name, options: Vec::new(), steps: Vec::new() };
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (kind, rest) = line.split_at(2);
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        match kind {
            "O:" => transcript.options.push(rest.to_owned()),
            "C:" | "C<" => {
                let mut octets = unescape(rest);
                octets.extend_from_slice(if kind == "C:" { b"\r\n" } else { b"" });
                match transcript.steps.last_mut() {
                    Some(Step::Send(before)) => before.extend(octets),
                    _ => transcript.steps.push(Step::Send(octets)),
                }
            }
            "S:" | "S~" | "S*" => {
                let kind = kind.chars().nth(1).expect("two characters");
                transcript.steps.push(Step::Expect { pattern: rest.to_owned(), kind });
            }
            "X:" => transcript.steps.push(Step::Closed),
            "E:" => {}
            other => panic!("{}: unknown kind {other}", transcript.name),
        }
    }
    transcript
}
