//! Judging: messages a second through a content filter, which hands them on, or through a milter, which only answers.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};

use crate::crew::{Share, together};
use crate::ledger::Ledger;
use crate::message::{AUTHOR, Messages, Texts};
use crate::report::{Report, Row, milliseconds, rate};
use crate::signature::Signing;
use crate::sink::Sink;
use crate::{milter, smtp};

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Address of the filter.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Its port.
    #[arg(long, default_value_t = 10_024)]
    port: u16,
    /// What it speaks.
    #[arg(long, value_enum, default_value_t = Protocol::Smtp)]
    protocol: Protocol,
    /// Port of the server that it hands mail on to: smtp-sink of Postfix, which this program starts there. A milter has none.
    #[arg(long)]
    sink_port: Option<u16>,
    /// The user that smtp-sink becomes, needed where this runs as root.
    #[arg(long, default_value = "nobody")]
    sink_user: String,
    /// Messages of each run.
    #[arg(long, default_value_t = 5_000)]
    messages: u64,
    /// Octets of each message.
    #[arg(long, default_value_t = 10_240)]
    size: usize,
    #[command(flatten)]
    texts: Texts,
    /// Sessions at once; one run for each number.
    #[arg(long, value_delimiter = ',', default_value = "10")]
    sessions: Vec<usize>,
    /// The sender and author of every message.
    #[arg(long, default_value = AUTHOR)]
    sender: String,
    /// The recipients, in turn; %d is the number.
    #[arg(long, default_value = "u%d@example.org")]
    recipients: String,
    /// The client whom the filter is told: its address, its name and what it called itself. Without one a content filter is
    /// told nothing.
    #[arg(long, num_args = 3, value_names = ["ADDRESS", "NAME", "HELO"])]
    client: Vec<String>,
    #[command(flatten)]
    signing: Signing,
    /// What the row is called.
    #[arg(long, default_value = "judged")]
    kind: String,
    /// A process of the filter; its children count too. May be given several times.
    #[arg(long = "pid")]
    pids: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Protocol {
    /// SMTP with XFORWARD.
    Smtp,
    /// The milter protocol.
    Milter,
}

/// The most recipients that are used in turn.
const RECIPIENTS: u64 = 10;

pub(crate) async fn run(options: Options) -> anyhow::Result<Report> {
    ensure!(
        (options.protocol == Protocol::Smtp) == options.sink_port.is_some(),
        "SMTP needs --sink-port, a milter has none"
    );
    let options = Rc::new(options);
    let mut report = Report::new("filter");
    for sessions in &options.sessions {
        report.push(once(&options, *sessions).await.with_context(|| format!("{sessions} sessions"))?);
    }
    Ok(report)
}

/// What all sessions share.
struct Work {
    options: Rc<Options>,
    share: Share,
    messages: Messages,
}

async fn once(options: &Rc<Options>, sessions: usize) -> anyhow::Result<Row> {
    let mut messages = options.texts.messages(options.size, options.messages)?.by(&options.sender)?;
    if let Some(signer) = options.signing.signer()? {
        messages.sign(&signer)?;
    }
    let work = Rc::new(Work { options: Rc::clone(options), share: Share::new(options.messages), messages });
    let mut sink = match options.sink_port {
        Some(port) => Some(Sink::open(port, &options.sink_user).await?),
        None => None,
    };
    let ledger = Ledger::open(options.pids.clone());

    let start = Instant::now();
    let sending = async {
        match options.protocol {
            Protocol::Smtp => together((0..sessions).map(|_| Rc::clone(&work).by_smtp())).await?,
            Protocol::Milter => together((0..sessions).map(|_| Rc::clone(&work).by_milter())).await?,
        }
        anyhow::Ok(start.elapsed())
    };
    let arriving = async {
        match &mut sink {
            Some(sink) => sink.wait(options.messages).await,
            None => Ok(()),
        }
    };
    let (took, ()) = tokio::try_join!(sending, arriving)?;
    let cost = ledger.close();

    let latencies = work.share.latencies();
    let worst = latencies.iter().copied().max().unwrap_or(Duration::ZERO);
    Ok(Row::default()
        .with("kind", options.kind.as_str())
        .with("sessions", sessions)
        .with("messages", options.messages)
        .measure("judged/s", rate(options.messages, took), 1)
        .latencies(latencies)
        .measure("worst ms", milliseconds(worst), 1)
        .costs(cost, options.messages))
}

impl Work {
    async fn by_smtp(self: Rc<Self>) -> anyhow::Result<()> {
        let options = &self.options;
        let mut session = smtp::Session::open(&options.host, options.port, false).await?;
        let mut commands = Vec::new();
        let told = match options.client.as_slice() {
            [address, name, helo] => {
                format!("XFORWARD NAME={name} ADDR={address} HELO={helo} PROTO=ESMTP SOURCE=REMOTE\r\n")
            }
            _ => String::new(),
        };
        while let Some(number) = self.share.take() {
            let (sender, recipient) = self.envelope(number);
            commands.clear();
            commands.extend_from_slice(
                format!("{told}MAIL FROM:<{sender}>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n").as_bytes(),
            );
            session.envelope(&commands, true).await?;
            self.share.took(session.data(|out| self.messages.write(number, out)).await?);
        }
        session.quit().await
    }

    async fn by_milter(self: Rc<Self>) -> anyhow::Result<()> {
        let options = &self.options;
        let [address, name, helo] = match options.client.as_slice() {
            [address, name, helo] => [address, name, helo].map(String::clone),
            _ => ["127.0.0.1", "localhost", "localhost"].map(str::to_owned),
        };
        let client = milter::Client { name, address, helo };
        let mut session = milter::Session::open(&options.host, options.port, &client).await?;
        let mut octets = Vec::new();
        while let Some(number) = self.share.take() {
            let (sender, recipient) = self.envelope(number);
            octets.clear();
            self.messages.write(number, &mut octets);
            self.share.took(session.message(number, (sender, &recipient), &octets).await?);
        }
        session.quit().await
    }

    fn envelope(&self, number: u64) -> (&str, String) {
        (&self.options.sender, self.options.recipients.replace("%d", &(number % RECIPIENTS).to_string()))
    }
}
