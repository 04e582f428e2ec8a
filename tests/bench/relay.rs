//! Relaying: messages a second until they are acknowledged and until the next server has them, and what each costs.

use std::rc::Rc;
use std::time::Instant;

use anyhow::Context;
use clap::Args;

use crate::crew::{Mailing, Manner, Share, together};
use crate::ledger::Ledger;
use crate::message::{Messages, run_number};
use crate::report::{Report, Row, rate};
use crate::sink::{Next, Sink};
use crate::target::Target;

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
    #[command(flatten)]
    next: Next,
    /// Domains of the recipients, all at the sink.
    #[arg(long, default_value_t = 10)]
    domains: usize,
    /// The sender and author of every message.
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
        messages: Messages::new(options.size, run_number()?).by(&options.sender)?,
        envelopes: (0..options.domains).map(envelope).collect(),
    });
    let mut sink = Sink::start(&options.next).await?;
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
