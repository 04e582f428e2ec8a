//! APPEND: to fill a mailbox quickly, and as a workload of its own.

use std::rc::Rc;
use std::time::Instant;

use clap::Args;

use crate::crew::{Share, together};
use crate::imap::{Connection, quoted};
use crate::ledger::Ledger;
use crate::message::{Messages, run_number};
use crate::report::{Report, Row, rate};
use crate::target::Target;

#[derive(Args, Debug)]
pub(crate) struct Fill {
    #[command(flatten)]
    target: Target,
    /// How many messages the mailbox shall hold.
    #[arg(long, default_value_t = 10_000)]
    messages: u64,
    /// Octets of each message.
    #[arg(long, default_value_t = 10_240)]
    size: usize,
    /// The number of the user.
    #[arg(long, default_value_t = 0)]
    user: usize,
    /// The mailbox, which is made when it is missing.
    #[arg(long, default_value = "Bench")]
    mailbox: String,
    /// Messages of one MULTIAPPEND (RFC 3502); 1 for servers without it.
    #[arg(long, default_value_t = 50)]
    batch: u64,
}

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    /// Messages of all sessions together.
    #[arg(long, default_value_t = 10_000)]
    messages: u64,
    /// Octets of each message.
    #[arg(long, default_value_t = 10_240)]
    size: usize,
    /// Sessions at once.
    #[arg(long, default_value_t = 10)]
    sessions: usize,
    /// Users u0, u1 … among whom the sessions are divided.
    #[arg(long, default_value_t = 10)]
    users: usize,
    /// The mailbox, which is made when it is missing.
    #[arg(long, default_value = "INBOX")]
    mailbox: String,
}

/// Adds what is missing to the wanted number.
pub(crate) async fn fill(options: Fill) -> anyhow::Result<Report> {
    let Target { host, imap_port, password, .. } = &options.target;
    let mut connection = Connection::login(host, *imap_port, &options.target.user(options.user), password).await?;
    let mailbox = quoted(&options.mailbox);
    // Refused where the mailbox exists.
    let _exists = connection.command(format!("a CREATE {mailbox}\r\n").as_bytes()).await;
    let before = connection.status(&options.mailbox, "MESSAGES").await?;
    let messages = Messages::new(options.size, run_number()?);
    let ledger = Ledger::open(options.target.roots());
    let start = Instant::now();
    let mut out = Vec::new();
    let mut number = before;
    while number < options.messages {
        let last = (number + options.batch.max(1)).min(options.messages);
        out.clear();
        out.extend_from_slice(format!("a APPEND {mailbox}").as_bytes());
        for number in number..last {
            out.extend_from_slice(format!(" {{{}+}}\r\n", options.size).as_bytes());
            messages.write(number, &mut out);
        }
        out.extend_from_slice(b"\r\n");
        connection.command(&out).await?;
        number = last;
    }
    let (time, cost) = (start.elapsed(), ledger.close());
    let added = number - before;
    let row = Row::default()
        .with("mailbox", options.mailbox)
        .with("messages", number)
        .with("added", added)
        .measure("messages/s", rate(added, time), 0)
        .costs(cost, added);
    Ok(Report::of("fill", row))
}

/// One message by each APPEND, from several sessions.
pub(crate) async fn run(options: Options) -> anyhow::Result<Report> {
    let options = Rc::new(options);
    let messages = Rc::new(Messages::new(options.size, run_number()?));
    let share = Rc::new(Share::new(options.messages));
    let mut connections = Vec::new();
    for session in 0..options.sessions {
        let Target { host, imap_port, password, .. } = &options.target;
        let user = options.target.user(session % options.users.max(1));
        let mut connection = Connection::login(host, *imap_port, &user, password).await?;
        let _exists = connection.command(format!("a CREATE {}\r\n", quoted(&options.mailbox)).as_bytes()).await;
        connections.push(connection);
    }
    let ledger = Ledger::open(options.target.roots());
    let start = Instant::now();
    let sessions = connections.into_iter().map(|mut connection| {
        let (options, messages, share) = (Rc::clone(&options), Rc::clone(&messages), Rc::clone(&share));
        async move {
            let command = format!("a APPEND {} {{{}+}}\r\n", quoted(&options.mailbox), options.size).into_bytes();
            let mut out = Vec::with_capacity(command.len() + options.size + 2);
            while let Some(number) = share.take() {
                out.clear();
                out.extend_from_slice(&command);
                messages.write(number, &mut out);
                out.extend_from_slice(b"\r\n");
                let sent = Instant::now();
                connection.command(&out).await?;
                share.took(sent.elapsed());
            }
            anyhow::Ok(())
        }
    });
    together(sessions).await?;
    let (time, cost) = (start.elapsed(), ledger.close());
    let row = Row::default()
        .with("sessions", options.sessions)
        .with("messages", options.messages)
        .measure("messages/s", rate(options.messages, time), 0)
        .latencies(share.latencies())
        .costs(cost, options.messages);
    Ok(Report::of("append", row))
}
