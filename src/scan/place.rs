//! One address of an engine: its connections, and how it has behaved.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use parking_lot::Mutex;
use posthorn_config::{Scanner, ServiceAddress};
use posthorn_filter::Scanned;
use posthorn_net::egress::{DialOptions, Target, dial};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::protocol::{Handed, Protocol};
use crate::question::Question;

/// Where an engine listens.
pub(crate) struct Place<C> {
    name: String,
    target: Target,
    room: Semaphore,
    /// Connections that nobody uses, the one used last behind.
    kept: Mutex<VecDeque<Kept<C>>>,
    trouble: Mutex<Trouble>,
    idle_time: Option<Duration>,
    total_time: Option<Duration>,
    connect_time: Duration,
}

struct Kept<C> {
    connection: C,
    opened: Instant,
    used: Instant,
}

/// Why a place has no answer.
#[derive(Debug)]
pub(crate) struct Silence {
    pub(crate) why: String,
    /// It may have taken the message over all the same: nobody else may be asked.
    pub(crate) handed: bool,
}

#[derive(Default)]
struct Trouble {
    failures: u32,
    /// Not asked before then.
    rests_until: Option<Instant>,
}

/// After so many failures in a row an engine is left alone for a while: clients need not wait for what will not come.
const FAILURES: u32 = 3;
const REST: Duration = Duration::from_secs(10);

impl<C> Place<C> {
    pub(crate) fn new(address: &ServiceAddress, settings: &Scanner) -> Self {
        let target = match address {
            ServiceAddress::Tcp(address) => Target::Tcp(vec![*address]),
            ServiceAddress::Unix(path) => Target::Unix(path.clone()),
        };
        Self {
            name: address.to_string(),
            target,
            room: Semaphore::new(settings.connections.max(1) as usize),
            kept: Mutex::default(),
            trouble: Mutex::default(),
            idle_time: settings.idle_time.limit(),
            total_time: settings.total_time.limit(),
            connect_time: settings.connect_time.duration(),
        }
    }

    pub(crate) fn rests(&self) -> bool {
        self.trouble.lock().rests_until.is_some_and(|until| Instant::now() < until)
    }

    /// After a rest one question finds out whether it is over: the others still go without.
    fn begins(&self) -> bool {
        let mut trouble = self.trouble.lock();
        let now = Instant::now();
        match trouble.rests_until {
            Some(until) if now < until => false,
            Some(_) => {
                trouble.rests_until = Some(now + REST);
                true
            }
            None => true,
        }
    }

    /// The engine's answer, or why there is none, by `deadline`; later only from who may have taken the message over.
    pub(crate) async fn ask<P: Protocol<Connection = C>>(
        &self,
        protocol: &P,
        question: &Question<'_>,
        deadline: Instant,
    ) -> Result<Scanned, Silence> {
        let unasked = |why: &str| Silence { why: format!("{}: {why}", self.name), handed: false };
        if !self.begins() {
            return Err(unasked("not asked: it did not answer a moment ago"));
        }
        // Waiting for a connection of ours says nothing about the engine.
        let _room = match timeout_at(deadline, self.room.acquire()).await {
            Ok(Ok(room)) => room,
            _ => return Err(unasked("all connections are in use")),
        };
        let handed = Handed::default();
        let mut asking = pin!(self.ask_patiently(protocol, question, &handed));
        let answer = match timeout_at(deadline, asking.as_mut()).await {
            Ok(answer) => answer,
            // Whoever gave up now would never hear whether there are two of it.
            Err(_) if handed.is_over() => asking.await,
            Err(_) => Err("no answer in time".to_owned()),
        };
        let mut trouble = self.trouble.lock();
        match answer {
            Ok(said) => {
                *trouble = Trouble::default();
                Ok(said)
            }
            Err(why) => {
                trouble.failures = trouble.failures.saturating_add(1);
                if trouble.failures >= FAILURES {
                    trouble.rests_until = Some(Instant::now() + REST);
                    tracing::warn!(engine = %self.name, %why, "a scanner is left alone for a while");
                }
                Err(Silence { why: format!("{}: {why}", self.name), handed: handed.is_over() })
            }
        }
    }

    async fn ask_patiently<P: Protocol<Connection = C>>(
        &self,
        protocol: &P,
        question: &Question<'_>,
        handed: &Handed,
    ) -> Result<Scanned, String> {
        if let Some(Kept { connection, opened, .. }) = self.take_kept() {
            match protocol.ask(connection, question, handed).await {
                Ok((said, connection)) => {
                    self.keep(connection, opened);
                    return Ok(said);
                }
                Err(why) if handed.is_over() => return Err(why),
                // One that was kept may have been closed meanwhile, which says nothing.
                Err(_) => {}
            }
        }
        match self.ask_anew(protocol, question, handed).await {
            Err(_) if protocol.asks_otherwise() => self.ask_anew(protocol, question, handed).await,
            answer => answer,
        }
    }

    async fn ask_anew<P: Protocol<Connection = C>>(
        &self,
        protocol: &P,
        question: &Question<'_>,
        handed: &Handed,
    ) -> Result<Scanned, String> {
        let options = DialOptions { connect_time: self.connect_time, ..DialOptions::default() };
        let link = dial(&self.target, &options).await.map_err(|failure| reason(failure.tried))?;
        let opened = Instant::now();
        let connection = protocol.open(link).await?;
        let (said, connection) = protocol.ask(connection, question, handed).await?;
        self.keep(connection, opened);
        Ok(said)
    }

    fn take_kept(&self) -> Option<Kept<C>> {
        let now = Instant::now();
        let fresh = |since: Instant, most: Option<Duration>| most.is_none_or(|most| now - since < most);
        let mut kept = self.kept.lock();
        kept.retain(|one| fresh(one.used, self.idle_time) && fresh(one.opened, self.total_time));
        kept.pop_back()
    }

    fn keep(&self, connection: Option<C>, opened: Instant) {
        if let Some(connection) = connection {
            self.kept.lock().push_back(Kept { connection, opened, used: Instant::now() });
        }
    }
}

/// Why nobody could be connected to; which address that was is said by the place.
fn reason(tried: Vec<(String, String)>) -> String {
    let reasons: Vec<String> = tried.into_iter().map(|(_, reason)| reason).collect();
    if reasons.is_empty() { "nobody could be connected to".to_owned() } else { reasons.join("; ") }
}
