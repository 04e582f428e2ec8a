//! Logins: connect, log in, log out.

use std::rc::Rc;
use std::time::Instant;

use clap::Args;

use crate::crew::{Share, together};
use crate::imap::Connection;
use crate::ledger::Ledger;
use crate::report::{Report, Row, each, percentile, rate};
use crate::target::Target;

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    /// Logins of all sessions together.
    #[arg(long, default_value_t = 5_000)]
    logins: u64,
    /// Sessions at once.
    #[arg(long, default_value_t = 10)]
    sessions: usize,
    /// Users u0, u1 … in turn. Each logs in once before the clock starts.
    #[arg(long, default_value_t = 10)]
    users: usize,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<Report> {
    let options = Rc::new(options);
    let mut first = Vec::new();
    for number in 0..options.users {
        let start = Instant::now();
        once(&options.target, number).await?;
        first.push(start.elapsed());
    }
    let share = Rc::new(Share::new(options.logins));
    let ledger = Ledger::open(options.target.roots());
    let start = Instant::now();
    let sessions = (0..options.sessions).map(|_| {
        let (options, share) = (Rc::clone(&options), Rc::clone(&share));
        async move {
            while let Some(number) = share.take() {
                let start = Instant::now();
                once(&options.target, usize::try_from(number)? % options.users.max(1)).await?;
                share.took(start.elapsed());
            }
            anyhow::Ok(())
        }
    });
    together(sessions).await?;
    let (time, cost) = (start.elapsed(), ledger.close());
    let row = Row::default()
        .with("sessions", options.sessions)
        .with("logins", options.logins)
        .measure("first login ms", percentile(&mut first, 0.5), 2)
        .measure("logins/s", rate(options.logins, time), 0)
        .latencies(share.latencies())
        .measure("server CPU ms/login", each(cost.server_cpu, options.logins), 3)
        .measure("driver CPU ms/login", each(cost.own_cpu, options.logins), 3);
    Ok(Report::of("login", row))
}

async fn once(target: &Target, number: usize) -> anyhow::Result<()> {
    let Target { host, imap_port, password, .. } = target;
    let mut connection = Connection::login(host, *imap_port, &target.user(number), password).await?;
    connection.command(b"b LOGOUT\r\n").await?;
    Ok(())
}
