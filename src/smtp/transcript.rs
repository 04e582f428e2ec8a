//! Runs the conversations in `tests/transcripts/smtp` over the bare machine; their page there explains the format.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use posthorn_model::{EnhancedCode, Refusal};
use posthorn_wire::{Machine, Secured, Step};

use crate::{Dialect, Event, Extension, Options, Server};

/// One input (or happening) and what must come of it.
#[derive(Default)]
struct Scene {
    line: usize,
    input: Vec<u8>,
    happening: Option<String>,
    output: Vec<String>,
    events: Vec<String>,
}

struct Transcript {
    options: Options,
    secured: bool,
    refused: Option<Refusal>,
    answers: VecDeque<(String, String)>,
    scenes: Vec<Scene>,
}

/// A machine, its scripted application, and what they did since last asked.
struct Stage {
    server: Server,
    now: Instant,
    answers: VecDeque<(String, String)>,
    output: String,
    events: Vec<String>,
    body: String,
    upgrading: bool,
    over: bool,
}

#[test]
fn every_transcript_runs_whole_and_byte_by_byte() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts/smtp");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder of transcripts")
        .map(|entry| entry.expect("a folder entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    assert!(files.len() >= 40, "only {} transcripts", files.len());
    let mut failures = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).expect("a transcript");
        for piece in [usize::MAX, 1, 3] {
            if let Err(why) = play(&text, piece) {
                failures.push(format!("{} in pieces of {piece}: {why}", file.display()));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_wrong_transcript_fails() {
    assert_eq!(play("S~ 220 *\nC: NOOP\nS: 250 2.0.0 Ok", 1), Ok(()));
    assert!(play("S~ 220 *\nC: NOOP\nS: 250 2.0.0 No", 1).is_err());
    assert!(play("S~ 220 *\nC: NOOP", 1).is_err());
    assert!(play("S~ 220 *\nC: QUIT\nS~ 221 *", 1).is_err());
    assert!(play("S~ 220 *\nE: mail *\nC: NOOP\nS: 250 2.0.0 Ok", 1).is_err());
    assert!(play("A: rcpt accept\nS~ 220 *", 1).is_err());
}

fn play(text: &str, piece: usize) -> Result<(), String> {
    let transcript = parse(text);
    let now = Instant::now();
    let server = match transcript.refused {
        Some(refusal) => Server::refused(refusal),
        None => Server::new(transcript.options, now),
    };
    let mut stage = Stage {
        server,
        now,
        answers: transcript.answers,
        output: String::new(),
        events: Vec::new(),
        body: String::new(),
        upgrading: false,
        over: false,
    };
    if transcript.secured {
        stage.server.secured(Secured::default());
    }
    for scene in transcript.scenes {
        stage.run(&scene, piece);
        let said: Vec<&str> = stage.output.split_terminator("\r\n").collect();
        if !alike(&scene.output, &said) {
            return Err(format!("line {}: expected {:#?}, got {said:#?}", scene.line, scene.output));
        }
        let seen = &stage.events;
        let told: Vec<&str> = seen.iter().map(String::as_str).collect();
        if !scene.events.is_empty() && !alike(&scene.events, &told) {
            return Err(format!("line {}: expected events {:#?}, saw {seen:#?}", scene.line, scene.events));
        }
        stage.output.clear();
        stage.events.clear();
    }
    match stage.answers.pop_front() {
        Some((event, _)) => Err(format!("nobody asked for the answer to {event}")),
        None => Ok(()),
    }
}

impl Stage {
    fn run(&mut self, scene: &Scene, piece: usize) {
        match scene.happening.as_deref().map(|what| what.split_once(' ').unwrap_or((what, ""))) {
            Some(("secured", _)) => self.server.secured(Secured::default()),
            Some(("close", _)) => self.server.close(),
            Some(("expire", _)) => {
                self.now = self.server.deadline().expect("a deadline to pass");
                self.server.expire();
            }
            Some(("wait", seconds)) => self.now += Duration::from_secs(seconds.parse().expect("seconds")),
            Some((other, _)) => panic!("unknown happening {other}"),
            None => {}
        }
        self.poll();
        for bytes in scene.input.chunks(piece.min(scene.input.len().max(1))) {
            if self.over {
                break;
            }
            self.server.buffer().extend_from_slice(bytes);
            self.poll();
        }
        self.end_body();
        // Only here: an upgrade that further bytes of the same input prevent never happens.
        if std::mem::take(&mut self.upgrading) && !self.over {
            self.output.push_str("[tls]\r\n");
        }
    }

    fn poll(&mut self) {
        while !self.over {
            match self.server.poll(self.now) {
                Step::NeedInput => return,
                Step::AwaitAnswer => return,
                Step::Output(bytes) => self.output.push_str(std::str::from_utf8(&bytes).expect("replies are text")),
                Step::StartTls => self.upgrading = true,
                Step::Closed => {
                    self.output.push_str("[closed]\r\n");
                    self.over = true;
                }
                Step::Event(Event::Body(bytes)) => {
                    assert!(!bytes.is_empty(), "an empty piece of body");
                    self.body.push_str(&String::from_utf8_lossy(&bytes).escape_debug().to_string());
                }
                Step::Event(event) => {
                    self.end_body();
                    let (name, told) = summary(&event);
                    self.events.push(told);
                    if let Some(name) = name {
                        self.answer(name);
                    }
                }
            }
        }
    }

    fn end_body(&mut self) {
        if !self.body.is_empty() {
            self.events.push(format!("body {}", std::mem::take(&mut self.body)));
        }
    }

    fn answer(&mut self, event: &str) {
        let scripted = self.answers.iter().position(|(name, _)| name == event);
        let answer = scripted.and_then(|at| self.answers.remove(at)).map(|(_, answer)| answer);
        let answer = answer.as_deref().unwrap_or("accept");
        let (verb, rest) = answer.split_once(' ').unwrap_or((answer, ""));
        let server = &mut self.server;
        match verb {
            "accept" if event == "xclient" => server.accept_xclient(),
            "accept" if event == "auth" => server.auth_success(None),
            "accept" if rest.is_empty() => server.accept(),
            "accept" => server.accept_with(rest),
            "refuse" => server.refuse(refusal(rest)),
            "replies" => server.replies(
                rest.split('|')
                    .map(|one| one.trim().strip_prefix("250 ").map(str::to_owned).ok_or_else(|| refusal(one.trim())))
                    .collect(),
            ),
            "challenge" => server.auth_challenge(rest.as_bytes()),
            "success" => server.auth_success((!rest.is_empty()).then_some(rest.as_bytes())),
            "failure" => server.auth_failure(refusal(rest)),
            "misfit" => server.auth_challenge(b""),
            other => panic!("unknown answer {other}"),
        }
    }
}

/// The name that answers are scripted under, where there is a question, and how `E:` lines spell the event.
fn summary(event: &Event) -> (Option<&'static str>, String) {
    match event {
        Event::Hello { ehlo, name } => (None, format!("hello {} {name}", if *ehlo { "ehlo" } else { "helo" })),
        Event::Auth { mechanism, initial } => {
            let initial = initial.as_ref().map(|bytes| String::from_utf8_lossy(bytes).escape_debug().to_string());
            (Some("auth"), format!("auth {mechanism} {}", initial.unwrap_or_else(|| "-".to_owned())))
        }
        Event::AuthResponse(bytes) => {
            (Some("auth"), format!("response {}", String::from_utf8_lossy(bytes).escape_debug()))
        }
        Event::AuthCancelled => (None, "cancelled".to_owned()),
        Event::Mail(sender) => {
            let path = sender.path.as_ref().map(ToString::to_string).unwrap_or_default();
            let ret = sender.ret.map(|ret| format!(" {ret:?}")).unwrap_or_default();
            let size = sender.size.map(|size| format!(" size {size}")).unwrap_or_default();
            let envid = sender.envid.as_ref().map(|id| format!(" envid {id}")).unwrap_or_default();
            let auth = sender.auth.as_ref().map(|name| format!(" auth {name}")).unwrap_or_default();
            let utf8 = if sender.smtputf8 { " utf8" } else { "" };
            let by = sender.by.map(|by| format!(" by {} {:?} {}", by.seconds, by.late, by.trace)).unwrap_or_default();
            let hold = sender.hold.map(|hold| format!(" hold {hold:?}")).unwrap_or_default();
            let priority = sender.priority.map(|priority| format!(" priority {priority}")).unwrap_or_default();
            let tls = if sender.require_tls { " requiretls" } else { "" };
            let courier = format!("{by}{hold}{priority}{tls}");
            (Some("mail"), format!("mail <{path}> {:?}{size}{utf8}{ret}{envid}{auth}{courier}", sender.body))
        }
        Event::Rcpt(recipient) => {
            let notify = recipient.notify.map(|n| {
                let words = [(n.success, "success"), (n.failure, "failure"), (n.delay, "delay")];
                let set: Vec<_> = words.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
                format!(" notify {}", if set.is_empty() { "never".to_owned() } else { set.join(",") })
            });
            let orcpt = recipient.orcpt.as_ref().map(|o| format!(" orcpt {} {}", o.kind, o.address));
            let (notify, orcpt) = (notify.unwrap_or_default(), orcpt.unwrap_or_default());
            (Some("rcpt"), format!("rcpt <{}>{notify}{orcpt}", recipient.target))
        }
        Event::BodyStart => (Some("start"), "start".to_owned()),
        Event::Body(_) => unreachable!("bodies are gathered"),
        Event::BodyEnd { size } => (Some("end"), format!("end {size}")),
        Event::BodyAborted(fault) => (None, format!("aborted {fault:?}")),
        Event::Reset => (None, "reset".to_owned()),
        Event::Xclient(attributes) => (Some("xclient"), format!("xclient {attributes:?}")),
        Event::Xforward(attributes) => (Some("xforward"), format!("xforward {attributes:?}")),
        Event::Misbehaved(how) => (None, format!("misbehaved {how:?}")),
    }
}

fn parse(text: &str) -> Transcript {
    let mut transcript = Transcript {
        options: Options::new(Dialect::Smtp, "mx.example.org"),
        secured: false,
        refused: None,
        answers: VecDeque::new(),
        scenes: vec![Scene { line: 1, ..Scene::default() }],
    };
    let mut fresh = false;
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (kind, rest) = line.split_at_checked(2).unwrap_or_else(|| panic!("line {}: {line}", number + 1));
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        let scene = transcript.scenes.last_mut().expect("never empty");
        match kind {
            "O:" => option(&mut transcript, rest),
            "C:" | "C<" if fresh => {
                scene.input.extend(unescape(rest));
                scene.input.extend(if kind == "C:" { &b"\r\n"[..] } else { b"" });
            }
            "C:" | "C<" => {
                let mut input = unescape(rest);
                input.extend(if kind == "C:" { &b"\r\n"[..] } else { b"" });
                transcript.scenes.push(Scene { line: number + 1, input, ..Scene::default() });
            }
            "S:" => scene.output.push(rest.replace('*', "\u{1}")),
            "S*" => scene.output.push(format!("\u{2}{rest}")),
            "S~" => scene.output.push(rest.to_owned()),
            "X:" => scene.output.push(format!("[{rest}]")),
            "E:" => scene.events.push(rest.to_owned()),
            "A:" => {
                let (event, answer) = rest.split_once(' ').expect("an event and an answer");
                transcript.answers.push_back((event.to_owned(), answer.to_owned()));
            }
            "T:" => {
                transcript.scenes.push(Scene { line: number + 1, happening: Some(rest.to_owned()), ..Scene::default() })
            }
            other => panic!("line {}: unknown kind {other}", number + 1),
        }
        fresh = matches!(kind, "C:" | "C<");
    }
    transcript
}

fn option(transcript: &mut Transcript, text: &str) {
    let options = &mut transcript.options;
    let (name, value) = text.split_once(' ').unwrap_or((text, ""));
    let number = || value.rsplit(' ').next().and_then(|digits| digits.parse::<u64>().ok()).expect("a number");
    let extension = || Extension::from_keyword(value).expect("an extension");
    match name {
        "dialect" => {
            let dialect = match value {
                "smtp" => Dialect::Smtp,
                "submission" => Dialect::Submission,
                "lmtp" => Dialect::Lmtp,
                other => panic!("unknown dialect {other}"),
            };
            *options = Options::new(dialect, "mx.example.org");
        }
        "with" => options.extensions = options.extensions.with(extension()),
        "without" => options.extensions = options.extensions.without(extension()),
        "auth" => options.auth = value.split(' ').map(str::to_owned).collect(),
        "auth_in_plaintext" => options.auth_needs_tls = false,
        "auth_required" => options.auth_required = true,
        "tls_available" => options.tls_available = true,
        "require_tls" => options.require_tls = true,
        "require_ehlo" => options.require_ehlo = true,
        // Seconds, and the last moment in seconds of 1970.
        "hold" => {
            let (seconds, until) = value.split_once(' ').expect("two numbers");
            options.hold = Some(crate::LongestHold {
                seconds: seconds.parse().expect("seconds"),
                until: until.parse().ok().and_then(|at| chrono::DateTime::from_timestamp(at, 0)).expect("a moment"),
            });
        }
        "secured" => transcript.secured = true,
        "banner_delay" => options.banner_delay = Duration::from_secs(number()),
        "max_size" => options.max_size = number(),
        "refused" => transcript.refused = Some(refusal(value)),
        "limit" => {
            let limits = &mut options.limits;
            let count = number() as u32;
            match value.split(' ').next() {
                Some("recipients") => limits.recipients = count as usize,
                Some("recipient_domains") => limits.recipient_domains = Some(count as usize),
                Some("messages") => limits.messages = Some(count),
                Some("bad_commands") => limits.bad_commands = count,
                Some("junk") => limits.junk = count,
                Some("refused_recipients") => limits.refused_recipients = count,
                Some("auth_failures") => limits.auth_failures = count,
                Some("header_bytes") => limits.header_bytes = u64::from(count),
                Some("text_line") => limits.text_line = Some(count as usize).filter(|count| *count > 0),
                Some("swallow") => limits.swallow = u64::from(count),
                Some("session") => limits.session = Some(Duration::from_secs(u64::from(count))),
                other => panic!("unknown limit {other:?}"),
            }
        }
        other => panic!("unknown option {other}"),
    }
}

/// `550 5.1.1 text`
fn refusal(text: &str) -> Refusal {
    let mut words = text.splitn(3, ' ');
    let code = words.next().and_then(|code| code.parse().ok()).expect("a code");
    let parts: Vec<u16> =
        words.next().expect("an enhanced code").split('.').map(|part| part.parse().expect("a number")).collect();
    Refusal::new(code, EnhancedCode(parts[0] as u8, parts[1], parts[2]), words.next().unwrap_or_default())
}

fn unescape(text: &str) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c == '\\' {
            let kind = rest.chars().next().expect("an escape");
            rest = &rest[1..];
            match kind {
                'r' => plain.push(b'\r'),
                'n' => plain.push(b'\n'),
                '0' => plain.push(0),
                '\\' => plain.push(b'\\'),
                'x' => {
                    plain.push(u8::from_str_radix(&rest[..2], 16).expect("two digits"));
                    rest = &rest[2..];
                }
                other => panic!("unknown escape {other}"),
            }
        } else if let Some((inside, behind)) = rest.split_once('}').filter(|_| c == '{') {
            let (what, times) = inside.rsplit_once('*').expect("what*times");
            let what = unescape(what);
            (0..times.parse().expect("times")).for_each(|_| plain.extend_from_slice(&what));
            rest = behind;
        } else {
            plain.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    plain
}

/// Whether lines are what was expected; an expectation that begins with U+0002 is for any number of lines.
fn alike(expected: &[String], said: &[&str]) -> bool {
    let mut said = said.iter().peekable();
    let all = expected.iter().all(|pattern| match pattern.strip_prefix('\u{2}') {
        Some(prefix) => {
            while said.next_if(|line| line.starts_with(prefix)).is_some() {}
            true
        }
        None => said.next().is_some_and(|line| glob(pattern, line)),
    });
    all && said.next().is_none()
}

/// Whether `*` can stand for something that makes the pattern the text.
fn glob(pattern: &str, text: &str) -> bool {
    let exact = pattern.replace('\u{1}', "*");
    if !pattern.contains('*') {
        return exact == text;
    }
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty()
}
