//! Mixed traffic for a long time: honest people, broken programs, guessers, slow and vanishing clients. At the end the
//! server's memory and open files must be where they were before.

mod polite;
mod rude;
mod trend;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::Write as _;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;
use tokio::time::{MissedTickBehavior, interval, timeout};

use self::polite::People;
use self::trend::{Minute, Trend};
use crate::ledger::{cpu, own_cpu, vitals};
use crate::message::Random;
use crate::report::Report;
use crate::target::Target;

/// Longer than any action needs: what is not done by then counts as failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Actions under way at once; when there are as many, the next one is left out.
const MOST: usize = 300;

/// How many actions of a hundred may fail: a server that refuses everything has flat memory too.
const FAILURES: u64 = 1;

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    /// Port of submission, for wrong passwords; none are tried there without it.
    #[arg(long, env = "SUBMISSION_PORT")]
    submission_port: Option<u16>,
    /// How long.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Actions begun in a second; an action is a session of some kind.
    #[arg(long, default_value_t = 80)]
    rate: u32,
    /// Users u0, u1 …
    #[arg(long, default_value_t = 20)]
    users: usize,
    /// Connections that are always in IDLE.
    #[arg(long, default_value_t = 20)]
    idlers: usize,
    /// Messages in a mailbox above which the older half is expunged.
    #[arg(long, default_value_t = 200)]
    keep: usize,
    /// Seconds between two looks at the server.
    #[arg(long, default_value_t = 10)]
    sample: u64,
}

/// What all actions share.
struct Stage {
    options: Options,
    people: People,
    random: RefCell<Random>,
    under_way: Cell<usize>,
    begun: Cell<u64>,
    failed: Cell<u64>,
    left_out: Cell<u64>,
}

/// What may happen, and how often out of all.
const ACTIONS: [(u8, Action); 8] = [
    (22, |stage| Box::pin(polite::send(stage))),
    (10, |stage| Box::pin(polite::hand_over(stage))),
    (32, |stage| Box::pin(polite::read(stage))),
    (12, |stage| Box::pin(rude::malformed(stage))),
    (6, |stage| Box::pin(rude::guess(stage))),
    (12, |stage| Box::pin(rude::vanish(stage))),
    (3, |stage| Box::pin(rude::send_slowly(stage))),
    (3, |stage| Box::pin(rude::read_slowly(stage))),
];

type Action = fn(Rc<Stage>) -> Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;

pub(crate) async fn run(options: Options, quiet: bool) -> anyhow::Result<Report> {
    let roots = options.target.roots();
    ensure!(!roots.is_empty(), "whose memory? name the server's processes with --pid");
    let (minutes, look) = (options.minutes.max(1), Duration::from_secs(options.sample.max(1)));
    let stage = Rc::new(Stage {
        people: People::new()?,
        options,
        random: RefCell::new(Random::new(u64::from(std::process::id()))),
        under_way: Cell::new(0),
        begun: Cell::new(0),
        failed: Cell::new(0),
        left_out: Cell::new(0),
    });
    stage.people.settle(&stage.options).await?;
    let traffic: Vec<_> = (0..stage.options.idlers)
        .map(|_| tokio::task::spawn_local(idle_on(Rc::clone(&stage))))
        .chain([tokio::task::spawn_local(keep_going(Rc::clone(&stage)))])
        .collect();

    let mut trend = Trend::default();
    for number in 1..=minutes {
        let mut minute = Minute::begin(cpu(&roots), own_cpu());
        let end = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end {
            tokio::time::sleep(look.min(end - Instant::now())).await;
            let seen = vitals(&roots);
            ensure!(seen.processes > 0, "the server is gone after {number} minutes");
            minute.samples.push(seen);
        }
        let line = minute.line(number, (cpu(&roots), own_cpu()), &stage);
        if !quiet {
            let mut out = std::io::stdout().lock();
            if number == 1 {
                writeln!(out, "{}", Minute::HEADER)?;
            }
            writeln!(out, "{line}")?;
        }
        trend.add(minute);
    }
    for task in traffic {
        task.abort();
    }
    let report = trend.report("soak");
    let (begun, failed) = (stage.begun.get(), stage.failed.get());
    Ok(match trend.fault() {
        Some(fault) => report.faulted(fault),
        None if failed * 100 > begun * FAILURES => report.faulted(format!("{failed} of {begun} actions failed")),
        None => report,
    })
}

/// Begins an action at each tick, whatever became of those before.
async fn keep_going(stage: Rc<Stage>) {
    let mut ticks = interval(Duration::from_secs(1) / stage.options.rate.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if stage.under_way.get() >= MOST {
            stage.left_out.set(stage.left_out.get() + 1);
            continue;
        }
        let action = chosen(stage.below(100));
        tokio::task::spawn_local(Stage::attempt(Rc::clone(&stage), action));
    }
}

fn chosen(mut lot: usize) -> Action {
    for (share, action) in ACTIONS {
        match lot.checked_sub(usize::from(share)) {
            Some(rest) => lot = rest,
            None => return action,
        }
    }
    ACTIONS[0].1
}

/// One session in IDLE after the other.
async fn idle_on(stage: Rc<Stage>) {
    loop {
        Stage::attempt(Rc::clone(&stage), |stage| Box::pin(polite::idle(stage))).await;
        // A server that refuses is not asked all the time.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

impl Stage {
    /// Does something, and counts it.
    async fn attempt(self: Rc<Self>, action: Action) {
        self.begun.set(self.begun.get() + 1);
        self.under_way.set(self.under_way.get() + 1);
        let done = timeout(PATIENCE, action(Rc::clone(&self))).await;
        self.under_way.set(self.under_way.get() - 1);
        let fault = match done {
            Ok(Ok(())) => return,
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "no answer in time".to_owned(),
        };
        self.failed.set(self.failed.get() + 1);
        if self.failed.get() <= 10 {
            let _unheard = writeln!(std::io::stderr(), "soak: {fault}");
        }
    }

    /// A number below a limit above zero.
    fn below(&self, limit: usize) -> usize {
        self.random.borrow_mut().below(limit)
    }

    fn one<'a, T>(&self, many: &'a [T]) -> &'a T {
        &many[self.below(many.len())]
    }

    /// Somebody's address and login.
    fn user(&self) -> String {
        self.options.target.user(self.below(self.options.users.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_a_hundred_and_every_action_has_its_turn() {
        let shares = ACTIONS.map(|(share, _)| usize::from(share));
        assert_eq!(shares.iter().sum::<usize>(), 100);
        for (at, (_, action)) in ACTIONS.iter().enumerate() {
            let first = shares[..at].iter().sum::<usize>();
            assert!(std::ptr::fn_addr_eq(chosen(first), *action));
            assert!(std::ptr::fn_addr_eq(chosen(first + shares[at] - 1), *action));
        }
    }
}
