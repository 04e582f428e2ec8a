//! Relaying: messages a second until they are acknowledged and until the next server has them, and what each costs.

use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout, Command};

use crate::crew::{Mailing, Manner, Share, together};
use crate::ledger::Ledger;
use crate::message::{Messages, run_number};
use crate::report::{Report, Row, rate};
use crate::target::Target;

/// How long nothing may arrive at the next server before the run is given up.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    /// Messages of each run.
    #[arg(long, default_value_t = 10_000)]
    messages: u64,
    /// Octets of each message.
    #[arg(long, default_value_t = 10_240)]
    size: usize,
    /// Sessions at once; one run for each number.
    #[arg(long, value_delimiter = ',', default_value = "1,10,100")]
    sessions: Vec<usize>,
    /// Port of the next server: smtp-sink of Postfix, which this program starts there; the server that is measured must
    /// send everything to it.
    #[arg(long)]
    sink_port: u16,
    /// The user that smtp-sink becomes, needed where this runs as root.
    #[arg(long, default_value = "nobody")]
    sink_user: String,
    /// Domains of the recipients, all at the sink.
    #[arg(long, default_value_t = 10)]
    domains: usize,
    /// The sender of every message.
    #[arg(long, default_value = "sender@example.org")]
    sender: String,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<Report> {
    let options = Rc::new(options);
    let mut report = Report::new("relay");
    for sessions in &options.sessions {
        report.push(once(&options, *sessions).await.with_context(|| format!("{sessions} sessions"))?);
    }
    Ok(report)
}

async fn once(options: &Rc<Options>, sessions: usize) -> anyhow::Result<Row> {
    let envelope = |number| {
        let sender = &options.sender;
        format!("MAIL FROM:<{sender}>\r\nRCPT TO:<user{number}@sink{number}.example>\r\nDATA\r\n").into_bytes()
    };
    let mailing = Rc::new(Mailing {
        share: Share::new(options.messages),
        messages: Messages::new(options.size, run_number()?),
        envelopes: (0..options.domains).map(envelope).collect(),
    });
    let mut sink = Sink::start(options).await?;
    let ledger = Ledger::open(options.target.roots());

    let start = Instant::now();
    let Target { host, smtp_port, .. } = &options.target;
    let manner = Manner { lmtp: false, pipelined: true };
    let sending = async {
        together((0..sessions).map(|_| Rc::clone(&mailing).send(host.clone(), *smtp_port, manner))).await?;
        anyhow::Ok(start.elapsed())
    };
    let (acknowledged, ()) = tokio::try_join!(sending, sink.wait(options.messages))?;
    let delivered = start.elapsed();
    let cost = ledger.close();

    Ok(Row::default()
        .with("sessions", sessions)
        .with("messages", options.messages)
        .with("octets", options.size)
        .measure("acked/s", rate(options.messages, acknowledged), 0)
        .measure("delivered/s", rate(options.messages, delivered), 0)
        .latencies(mailing.share.latencies())
        .costs(cost, options.messages))
}

/// The next server: counts messages and forgets them.
struct Sink {
    /// Ends with the run.
    _process: Child,
    /// `sess=… quit=… mesg=…`, each followed by a carriage return.
    counters: ChildStdout,
    /// An incomplete counter at the end of what was read.
    rest: String,
}

impl Sink {
    async fn start(options: &Options) -> anyhow::Result<Self> {
        let address = format!("127.0.0.1:{}", options.sink_port);
        let mut process = Command::new("smtp-sink")
            .args(["-c", "-u", &options.sink_user, &address, "1000"])
            .env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("smtp-sink (Debian: postfix)")?;
        let counters = process.stdout.take().context("its counters")?;
        for _ in 0..100 {
            if tokio::net::TcpStream::connect(&address).await.is_ok() {
                return Ok(Self { _process: process, counters, rest: String::new() });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("smtp-sink does not listen on {address}")
    }

    /// Reads its counters until it has taken so many messages.
    async fn wait(&mut self, wanted: u64) -> anyhow::Result<()> {
        let mut octets = vec![0; 1 << 16];
        let mut count = 0;
        while count < wanted {
            let reading = tokio::time::timeout(PATIENCE, self.counters.read(&mut octets)).await;
            let length =
                reading.with_context(|| format!("{} acknowledged messages do not arrive", wanted - count))??;
            anyhow::ensure!(length > 0, "smtp-sink ended");
            self.rest.push_str(&String::from_utf8_lossy(&octets[..length]));
            let whole = self.rest.rfind('\r').map_or(0, |end| end + 1);
            let last = self.rest[..whole].rsplit("mesg=").next().and_then(|text| text.trim().parse().ok());
            count = last.unwrap_or(count);
            self.rest.drain(..whole);
        }
        Ok(())
    }
}
