//! Many connections in IDLE (RFC 2177): what each costs, and when all are told.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use crate::imap::Connection;
use crate::ledger::{Ledger, memory};
use crate::message::Messages;
use crate::report::{Report, Row, each, milliseconds, percentile};
use crate::smtp;
use crate::target::Target;

/// How long a connection may stay untold before the run is given up.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    /// Connections in IDLE.
    #[arg(long, default_value_t = 1_000)]
    connections: usize,
    /// Mailboxes (INBOX of u0, u1 …) over which they are spread; each gets one message a round.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    mailboxes: Vec<usize>,
    /// The number of the first user; what a session knows of a large mailbox is part of its memory.
    #[arg(long, default_value_t = 0)]
    first_user: usize,
    /// Rounds of telling.
    #[arg(long, default_value_t = 5)]
    rounds: u64,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<Report> {
    let options = Rc::new(options);
    let mut report = Report::new("idle");
    for mailboxes in &options.mailboxes {
        report.push(once(&options, (*mailboxes).max(1)).await?);
    }
    Ok(report)
}

async fn once(options: &Options, mailboxes: usize) -> anyhow::Result<Row> {
    let target = &options.target;
    let roots = target.roots();
    // Whatever a first login loads is not the cost of a connection.
    for number in 0..mailboxes {
        let mut connection = login(target, options.first_user + number).await?;
        connection.command(b"b LOGOUT\r\n").await?;
    }
    let before = memory(&roots);
    let start = Instant::now();
    let mut connections = Vec::new();
    for number in 0..options.connections {
        let mut connection = login(target, options.first_user + number % mailboxes).await?;
        connection.command(b"b SELECT INBOX\r\n").await?;
        connection.send(b"c IDLE\r\n").await?;
        connection.until(|line| line.starts_with(b"+")).await?;
        connections.push(connection);
    }
    let connecting = start.elapsed();
    let after = memory(&roots);

    let mut sender = smtp::Session::open(&target.host, target.smtp_port, false).await?;
    let messages = Messages::new(2_000, u64::from(std::process::id()));
    let mut times = Vec::new();
    let ledger = Ledger::open(roots);
    for round in 0..options.rounds {
        let start = Instant::now();
        let tasks: Vec<_> = connections
            .drain(..)
            .map(|mut connection| {
                tokio::task::spawn_local(async move {
                    connection.until(|line| line.ends_with(b" EXISTS\r\n")).await?;
                    anyhow::Ok((connection, start.elapsed()))
                })
            })
            .collect();
        let mut acknowledged = Duration::ZERO;
        for number in 0..mailboxes {
            let user = target.user(options.first_user + number);
            let envelope = format!("MAIL FROM:<sender@bench.example>\r\nRCPT TO:<{user}>\r\nDATA\r\n");
            sender.envelope(envelope.as_bytes(), true).await?;
            sender.data(|out| messages.write(round, out)).await?;
            acknowledged = start.elapsed();
        }
        let mut all = Duration::ZERO;
        for task in tasks {
            let told = tokio::time::timeout(PATIENCE, task).await.context("not all connections were told")?;
            let (connection, time) = told??;
            all = all.max(time);
            connections.push(connection);
        }
        times.push(all.saturating_sub(acknowledged));
    }
    let cost = ledger.close();
    let rounds = options.rounds * u64::try_from(options.connections)?;
    let kibibytes = i64::try_from(after)? - i64::try_from(before)?;
    #[expect(clippy::cast_precision_loss, reason = "kibibytes of a machine's memory fit")]
    let memory_each = kibibytes as f64 / options.connections.max(1) as f64;
    Ok(Row::default()
        .with("connections", options.connections)
        .with("mailboxes", mailboxes)
        .measure(
            "connecting ms each",
            milliseconds(connecting) / f64::from(u32::try_from(options.connections.max(1))?),
            2,
        )
        .measure("PSS KiB each", memory_each, 1)
        .measure("all told after 250 ms, median", percentile(&mut times, 0.5), 1)
        .measure("worst", percentile(&mut times, 1.0), 1)
        .measure("server CPU ms/notice", each(cost.server_cpu, rounds), 3))
}

async fn login(target: &Target, number: usize) -> anyhow::Result<Connection> {
    Connection::login(&target.host, target.imap_port, &target.user(number), &target.password).await
}
