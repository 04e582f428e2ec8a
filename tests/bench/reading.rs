//! Workloads that read one mailbox.

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use crate::imap::{Connection, Tally, quoted};
use crate::ledger::Ledger;
use crate::report::{Report, Row, each, milliseconds, percentile, rate};
use crate::target::Target;

/// Commands under way at once when they are pipelined.
const WINDOW: u64 = 100;

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    /// The number of the user.
    #[arg(long, default_value_t = 0)]
    user: usize,
    /// The mailbox; see the workload `fill`.
    #[arg(long, default_value = "Bench")]
    mailbox: String,
    /// How often; the first time is shown apart.
    #[arg(long, default_value_t = 10)]
    repeat: u32,
}

/// A logged-in connection and the size of the mailbox.
struct Reader {
    connection: Connection,
    messages: u64,
    options: Options,
}

/// Each round in a session of its own, so that nothing that a session keeps helps the next.
pub(crate) async fn select(options: Options) -> anyhow::Result<Report> {
    let mut times = Vec::new();
    let mut messages = 0;
    let mut cpu = 0.0;
    for _ in 0..options.repeat {
        let mut connection = login(&options).await?;
        let select = format!("a SELECT {}\r\n", quoted(&options.mailbox));
        let ledger = Ledger::open(options.target.roots());
        let start = Instant::now();
        connection.send(select.as_bytes()).await?;
        connection
            .done(|line| {
                let number = line.strip_prefix(b"* ").and_then(|rest| rest.strip_suffix(b" EXISTS\r\n"));
                let number = number.and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
                messages = number.unwrap_or(messages);
            })
            .await?;
        times.push((start.elapsed(), Tally::default()));
        cpu += ledger.close().server_cpu;
    }
    Ok(Report::of("select", summary(messages, times, cpu)))
}

pub(crate) async fn envelopes(options: Options) -> anyhow::Result<Report> {
    let mut reader = Reader::open(options).await?;
    Ok(Report::of("envelopes", reader.one_command("a FETCH 1:* (ENVELOPE)\r\n").await?))
}

pub(crate) async fn flags(options: Options) -> anyhow::Result<Report> {
    let mut reader = Reader::open(options).await?;
    Ok(Report::of("flags", reader.one_command("a FETCH 1:* (FLAGS)\r\n").await?))
}

pub(crate) async fn last(options: Options) -> anyhow::Result<Report> {
    let mut reader = Reader::open(options).await?;
    let first = reader.messages.saturating_sub(49).max(1);
    Ok(Report::of("last", reader.one_command(&format!("a FETCH {first}:* (UID FLAGS ENVELOPE)\r\n")).await?))
}

pub(crate) async fn bulk(options: Options) -> anyhow::Result<Report> {
    let mut reader = Reader::open(options).await?;
    Ok(Report::of("bulk", reader.one_command("a FETCH 1:* (BODY.PEEK[])\r\n").await?))
}

pub(crate) async fn bodies(options: Options) -> anyhow::Result<Report> {
    let mut reader = Reader::open(options).await?;
    Ok(Report::of("bodies", reader.one_by_one(1).await?))
}

pub(crate) async fn bodies_pipelined(options: Options) -> anyhow::Result<Report> {
    let mut reader = Reader::open(options).await?;
    Ok(Report::of("bodies-pipelined", reader.one_by_one(WINDOW).await?))
}

async fn login(options: &Options) -> anyhow::Result<Connection> {
    let Target { host, imap_port, password, .. } = &options.target;
    Connection::login(host, *imap_port, &options.target.user(options.user), password).await
}

impl Reader {
    async fn open(options: Options) -> anyhow::Result<Self> {
        let mut connection = login(&options).await?;
        let messages = connection.status(&options.mailbox, "MESSAGES").await?;
        connection.command(format!("a EXAMINE {}\r\n", quoted(&options.mailbox)).as_bytes()).await?;
        anyhow::ensure!(messages > 0, "{} is empty: run fill first", options.mailbox);
        Ok(Self { connection, messages, options })
    }

    /// The same command again and again.
    async fn one_command(&mut self, command: &str) -> anyhow::Result<Row> {
        let ledger = Ledger::open(self.options.target.roots());
        let mut rounds = Vec::new();
        for _ in 0..self.options.repeat {
            let start = Instant::now();
            let tally = self.connection.command(command.as_bytes()).await.with_context(|| command.to_owned())?;
            rounds.push((start.elapsed(), tally));
        }
        Ok(summary(self.messages, rounds, ledger.close().server_cpu))
    }

    /// A command for each message, so many under way at once.
    async fn one_by_one(&mut self, window: u64) -> anyhow::Result<Row> {
        let ledger = Ledger::open(self.options.target.roots());
        let mut rounds = Vec::new();
        let mut out = Vec::new();
        for _ in 0..self.options.repeat {
            let start = Instant::now();
            let mut sum = Tally::default();
            let mut next = 1;
            while next <= self.messages {
                let end = (next + window).min(self.messages + 1);
                out.clear();
                for number in next..end {
                    out.extend_from_slice(b"a FETCH ");
                    out.extend_from_slice(number.to_string().as_bytes());
                    out.extend_from_slice(b" (BODY.PEEK[])\r\n");
                }
                self.connection.send(&out).await?;
                for _ in next..end {
                    let tally = self.connection.done(|_| {}).await?;
                    sum.responses += tally.responses;
                    sum.literals += tally.literals;
                }
                next = end;
            }
            rounds.push((start.elapsed(), sum));
        }
        Ok(summary(self.messages, rounds, ledger.close().server_cpu))
    }
}

fn summary(messages: u64, rounds: Vec<(Duration, Tally)>, cpu: f64) -> Row {
    let first = rounds.first().map_or(Duration::ZERO, |(time, _)| *time);
    let mut times: Vec<Duration> = rounds.iter().skip(1).map(|(time, _)| *time).collect();
    if times.is_empty() {
        times.push(first);
    }
    let median = percentile(&mut times, 0.5);
    let (_, tally) = rounds.last().copied().unwrap_or_default();
    let time = Duration::from_secs_f64(median / 1000.0);
    let count = u64::try_from(rounds.len()).unwrap_or(1);
    Row::default()
        .with("messages", messages)
        .with("rounds", count)
        .measure("first ms", milliseconds(first), 2)
        .measure("median ms", median, 2)
        .measure("best ms", percentile(&mut times, 0.0), 2)
        .with("responses", tally.responses)
        .measure("responses/s", rate(tally.responses, time), 0)
        .measure("literal MB/s", rate(tally.literals, time) / 1e6, 1)
        .measure("server CPU ms/round", each(cpu, count), 2)
}
