//! Questions to a policy server: clients that it knows, triplets that it never saw, senders that send too much.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::crew::{Share, together};
use crate::ledger::Ledger;
use crate::report::{Report, Row, each, rate};

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Address of the policy server.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Its port.
    #[arg(long, default_value_t = 7777)]
    port: u16,
    /// What is asked.
    #[arg(long, value_enum, default_value_t = Kind::Known)]
    kind: Kind,
    /// Questions of all connections together.
    #[arg(long, default_value_t = 50_000)]
    questions: u64,
    /// Connections at once.
    #[arg(long, default_value_t = 10)]
    sessions: usize,
    /// A connection for each question.
    #[arg(long)]
    one_shot: bool,
    /// Seconds that the server makes new clients wait; known ones come back after them before the clock starts.
    #[arg(long, default_value_t = 1)]
    delay: u64,
    /// Makes the names of this run unlike those of another.
    #[arg(long, default_value = "run")]
    tag: String,
    /// A process of the server; its children count too. May be given several times.
    #[arg(long = "pid")]
    pids: Vec<u32>,
}

/// What is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Kind {
    /// Clients that came back after their first refusal.
    Known,
    /// A client, sender and recipient that were never seen, each time.
    New,
    /// Messages of one login that has sent too much.
    Throttled,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::New => "new",
            Self::Throttled => "throttled",
        }
    }

    /// What most answers must begin with.
    fn expected(self) -> &'static [&'static str] {
        match self {
            Self::Known => &["DUNNO", "PREPEND", "OK"],
            Self::New => &["DEFER_IF_PERMIT", "450", "451"],
            Self::Throttled => &["REJECT", "554", "552", "550", "450", "451", "DEFER", "DEFER_IF_PERMIT"],
        }
    }
}

pub(crate) async fn run(options: Options) -> anyhow::Result<Report> {
    let options = Rc::new(options);
    match options.kind {
        Kind::Known => {
            acquaint(&options).await?;
            tokio::time::sleep(Duration::from_secs(options.delay + 1)).await;
            acquaint(&options).await?;
        }
        Kind::Throttled => {
            let mut asker = Asker::open(&options).await?;
            for number in 0..ALLOWANCE {
                asker.ask(&options, number).await?;
            }
        }
        Kind::New => {}
    }
    let share = Rc::new(Share::new(options.questions));
    let counted = Rc::new(std::cell::RefCell::new(BTreeMap::<String, u64>::new()));
    let ledger = Ledger::open(options.pids.clone());
    let start = Instant::now();
    let sessions = (0..options.sessions).map(|_| {
        let (options, share, counted) = (Rc::clone(&options), Rc::clone(&share), Rc::clone(&counted));
        async move {
            let mut own = BTreeMap::<String, u64>::new();
            let mut asker = Asker::open(&options).await?;
            while let Some(number) = share.take() {
                let start = Instant::now();
                if options.one_shot && number > 0 {
                    asker = Asker::open(&options).await?;
                }
                let word = asker.ask(&options, number).await?;
                share.took(start.elapsed());
                match own.get_mut(word) {
                    Some(count) => *count += 1,
                    None => _ = own.insert(word.to_owned(), 1),
                }
            }
            for (word, count) in own {
                *counted.borrow_mut().entry(word).or_default() += count;
            }
            anyhow::Ok(())
        }
    });
    together(sessions).await?;
    let (time, cost) = (start.elapsed(), ledger.close());
    let counted = counted.take();
    let right: u64 = options.kind.expected().iter().filter_map(|word| counted.get(*word)).sum();
    let row = Row::default()
        .with("kind", options.kind.name())
        .with("sessions", options.sessions)
        .with("one shot", options.one_shot)
        .with("questions", options.questions)
        .measure("answers/s", rate(options.questions, time), 0)
        .latencies(share.latencies())
        .measure("server CPU ms/answer", each(cost.server_cpu, options.questions), 4)
        .measure("driver CPU ms/answer", each(cost.own_cpu, options.questions), 4)
        .with("answers", counted.iter().map(|(word, count)| format!("{word} {count}")).collect::<Vec<_>>().join(", "));
    let report = Report::of("policy", row);
    // A server that says something else is fast for nothing.
    if right * 100 < options.questions * 99 {
        return Ok(report.faulted(format!("only {right} of {} answers are what they must be", options.questions)));
    }
    Ok(report)
}

/// Lets the server see all clients that are known later.
async fn acquaint(options: &Options) -> anyhow::Result<()> {
    let mut asker = Asker::open(options).await?;
    for number in 0..CLIENTS {
        asker.ask(options, number).await?;
    }
    Ok(())
}

/// A connection, with its buffers.
struct Asker {
    stream: TcpStream,
    question: String,
    answer: Vec<u8>,
}

impl Asker {
    async fn open(options: &Options) -> anyhow::Result<Self> {
        let stream = TcpStream::connect((options.host.as_str(), options.port)).await.context("the policy server")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, question: String::with_capacity(1024), answer: Vec::with_capacity(1024) })
    }

    /// Asks, and gives the first word of the action.
    async fn ask(&mut self, options: &Options, number: u64) -> anyhow::Result<&str> {
        write(&mut self.question, options, number);
        self.stream.write_all(self.question.as_bytes()).await?;
        self.answer.clear();
        while !self.answer.ends_with(b"\n\n") {
            ensure!(self.stream.read_buf(&mut self.answer).await? > 0, "the server closed without an answer");
        }
        let answer = std::str::from_utf8(&self.answer)?;
        let action = answer.trim_end().strip_prefix("action=").context("the answer is no action")?;
        Ok(action.split(' ').next().unwrap_or(action))
    }
}

/// A question as Postfix asks it.
fn write(out: &mut String, options: &Options, number: u64) {
    let Options { kind, tag, .. } = options;
    let client = match kind {
        Kind::New => number,
        Kind::Known => number % CLIENTS,
        Kind::Throttled => 0,
    };
    // Known ones have a network of their own: some servers look at a client's neighbours as well.
    let network = if *kind == Kind::New { 11 } else { 10 };
    let address = format!("{network}.{}.{}.{}", client / 62_500 % 250, client / 250 % 250, 1 + client % 250);
    let (state, login) = match kind {
        Kind::Throttled => ("END-OF-MESSAGE", "busy@example.org"),
        Kind::Known | Kind::New => ("RCPT", ""),
    };
    let sender = match kind {
        Kind::Throttled => "busy@example.org".to_owned(),
        // Numbers in senders are all the same to some servers.
        Kind::Known | Kind::New => letters(&format!("{tag}-{client}")) + "@sender.example.com",
    };
    // What stays in one domain counts for nobody.
    let domain = if *kind == Kind::Throttled { "example.net" } else { "example.org" };
    out.clear();
    let written = write!(
        out,
        "request=smtpd_access_policy\nprotocol_state={state}\nprotocol_name=ESMTP\nclient_address={address}\n\
         client_name=host-{client}.example.com\nclient_port=4{:04}\nreverse_client_name=host-{client}.example.com\n\
         server_address=127.0.0.1\nserver_port=25\nhelo_name=host-{client}.example.com\nsender={sender}\n\
         recipient=u{}@{domain}\nrecipient_count={}\nqueue_id=\ninstance=1a2b.{number:x}.0\nsize=10240\netrn_domain=\n\
         stress=\nsasl_method={}\nsasl_username={login}\nsasl_sender=\nccert_subject=\nccert_issuer=\nccert_fingerprint=\n\
         ccert_pubkey_fingerprint=\nencryption_protocol=TLSv1.3\nencryption_cipher=TLS_AES_256_GCM_SHA384\n\
         encryption_keysize=256\npolicy_context=\ncompatibility_level=3.6\nmail_version=3.7.11\n\n",
        number % 10_000,
        client % 10,
        u8::from(*kind == Kind::Throttled),
        if login.is_empty() { "" } else { "PLAIN" },
    );
    debug_assert!(written.is_ok(), "strings take everything");
}

/// Letters for digits.
fn letters(text: &str) -> String {
    text.bytes().map(|octet| char::from(if octet.is_ascii_digit() { octet - b'0' + b'k' } else { octet })).collect()
}

/// Clients that are known.
const CLIENTS: u64 = 200;
/// Messages of the busy login before the clock starts: more than any limit that is measured allows.
const ALLOWANCE: u64 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_whole_and_differ_as_they_should() {
        let options = |kind| Options {
            host: String::new(),
            port: 0,
            kind,
            questions: 0,
            sessions: 1,
            one_shot: false,
            delay: 0,
            tag: "x".to_owned(),
            pids: Vec::new(),
        };
        let ask = |kind, number| {
            let mut out = String::new();
            write(&mut out, &options(kind), number);
            assert!(out.ends_with("\n\n") && out.matches("\n\n").count() == 1);
            out.lines()
                .filter(|line| line.starts_with("sender=") || line.starts_with("client_address="))
                .collect::<String>()
        };
        assert_eq!(ask(Kind::Known, 3), ask(Kind::Known, 3 + CLIENTS));
        assert_ne!(ask(Kind::New, 3), ask(Kind::New, 3 + CLIENTS));
        assert_eq!(ask(Kind::Throttled, 3), ask(Kind::Throttled, 4));
    }
}
