//! A site: the receivers behind one set of hosts, what waits for them, and the connections to them.
//!
//! Sessions take jobs from here. A connection is opened when more jobs wait than sessions are free or on their way, and
//! every limit allows it. The lock is held for moments only, never across I/O.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use posthorn_config::{Binding, Counts, EffectiveDelivery, Limit};
use posthorn_mail::queue::Outgoing;
use posthorn_smtp::Reply;
use tokio::sync::Notify;

use crate::adaptive::{Configured, Setting, Tuned};
use crate::job::{Job, Row};
use crate::limit::{Limits, Place, Places, Rate, Spur, take_all};
use crate::office::LOOK_AGAIN;
use crate::path::Path;
use crate::retry::delta;
use crate::settle::{SessionFacts, Settled, Verdict};
use crate::view::{Adapted, Refusal, SiteView};
use crate::{Office, session};

/// One site, reached through one binding with one set of options.
#[derive(Debug)]
pub(crate) struct Site {
    pub binding: Arc<Binding>,
    pub binding_name: Arc<str>,
    pub path: Path,
    pub options: EffectiveDelivery,
    pub tuned: Arc<Tuned>,
    message_rates: Vec<Arc<Rate>>,
    connection_rates: Vec<Arc<Rate>>,
    places: Vec<Arc<Places>>,
    office: Weak<Office>,
    state: Mutex<State>,
    ready: Notify,
    /// Deliveries that sessions carry.
    on_wire: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    lanes: [VecDeque<Job>; 3],
    jobs: usize,
    rows: usize,
    /// There were as many as one site may have in memory; more are asked for when half of them are gone.
    full: bool,
    /// Open, and on their way.
    sessions: usize,
    opening: usize,
    idle: usize,
    /// No more than these are possible at the moment: another one was refused.
    cap: Option<usize>,
    down: Option<Down>,
    /// How often in a row nothing could be reached.
    failures: u32,
    /// Hosts that failed lately, and until when others are preferred.
    unwell: HashMap<String, DateTime<Utc>>,
    /// A timer will ring.
    timer: bool,
    /// What was said last that was no success.
    last_refusal: Option<Refusal>,
    /// The rate that the tuned value asks for.
    tuned_rate: Option<(u32, Arc<Rate>)>,
}

/// Nothing can be reached until then.
#[derive(Clone, Debug)]
struct Down {
    until: DateTime<Utc>,
    failure: Failure,
}

/// Why a site cannot be used.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// The host that said so, or that did not answer.
    pub host: Option<Arc<str>>,
    /// What it said; a reply of our own where it said nothing.
    pub reply: Reply,
    /// The connection on which the host said it; `None` where the words are ours.
    pub session: Option<Arc<SessionFacts>>,
    /// The site has as many connections as it takes: nothing is wrong.
    pub full: bool,
    /// The host is ourselves: mail for it would go in a circle.
    pub is_us: bool,
}

/// What a session does next.
pub(crate) enum Turn {
    Job(Job),
    /// Nothing waits. The session counts as free as long as this lives.
    Idle(Idle),
    /// This connection is no longer wanted.
    Leave,
    /// Not before then.
    Wait(DateTime<Utc>),
}

impl Site {
    pub(crate) fn new(
        office: &Arc<Office>,
        binding: Arc<Binding>,
        path: Path,
        options: EffectiveDelivery,
    ) -> Arc<Self> {
        let limits = &office.limits;
        let rate = |limit: &Limit, period: Duration| {
            limit.limit().map(|count| limits.rate(&bucket(limit, &path.name), count, period))
        };
        let second = Duration::from_secs(1);
        let per_second = rate(&options.messages_per_second, second);
        let message_rates = per_second.into_iter().chain(rate(&options.messages_per_hour, Duration::from_hours(1)));
        let message_rates = message_rates.collect();
        let connection_rates = rate(&options.connections_per_second, second).into_iter().collect();
        let own = places(limits, &options.connections, &path.name);
        let places = own.into_iter().chain([Arc::clone(&office.connections)]).collect();
        let binding_name: Arc<str> = binding.name.as_str().into();
        let tuned = office.adaptive.tuned(&binding_name, &path.name, &path.host_names(), configured(&options));
        Arc::new(Self {
            binding,
            binding_name,
            path,
            options,
            tuned,
            message_rates,
            connection_rates,
            places,
            office: Arc::downgrade(office),
            state: Mutex::default(),
            ready: Notify::new(),
            on_wire: AtomicUsize::new(0),
        })
    }

    /// What the configuration says of the values that rules change.
    pub(crate) fn configured(&self) -> Configured {
        configured(&self.options)
    }

    /// Until when nothing is sent, where that is so.
    pub(crate) fn suspended_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let declared = self.options.suspend.then(|| now + LOOK_AGAIN);
        declared.or_else(|| self.tuned.holding(now).suspended_until)
    }

    /// Whether more of it should stay in the database: it is suspended, cannot be reached, or has `enough` deliveries in
    /// memory.
    pub(crate) fn is_closed(&self, now: DateTime<Utc>, enough: usize) -> bool {
        let mut state = self.state.lock();
        state.full |= state.rows >= enough;
        state.full || self.suspended_until(now).is_some()
    }

    /// Takes a job in: it waits for a session, or is put off.
    pub(crate) fn push(self: &Arc<Self>, job: Job) {
        let Some(office) = self.office.upgrade() else { return };
        let now = office.mail.now();
        if let Some(until) = self.suspended_until(now) {
            return office.settle(self.put_off(job, until));
        }
        let (idle, expand) = {
            let mut state = self.state.lock();
            match &state.down {
                Some(down) if down.until > now => {
                    // Not said to this message: nothing was tried.
                    let failure = Failure { session: None, ..down.failure.clone() };
                    drop(state);
                    return office.settle(self.failed(job, &failure, Verdict::NotTried));
                }
                Some(_) => state.down = None,
                None => {}
            }
            if state.rows >= office.enough() {
                // One slow site must not take all the memory: the rest of its mail waits in the database.
                state.full = true;
                drop(state);
                let returned = |row| Settled::quiet(&job.outgoing, row, Verdict::Returned);
                return office.settle(job.rows.into_iter().map(returned).collect());
            }
            state.add(job, false);
            (state.idle > 0, state.jobs > state.idle + state.opening)
        };
        if idle {
            self.ready.notify_one();
        }
        if expand {
            self.expand(&office);
        }
    }

    /// Gives a job back that another connection will carry: it goes first.
    pub(crate) fn push_back(self: &Arc<Self>, job: Job) {
        let Some(office) = self.office.upgrade() else { return };
        if let Some(until) = self.suspended_until(office.mail.now()) {
            return office.settle(self.put_off(job, until));
        }
        self.state.lock().add(job, true);
        self.expand(&office);
    }

    /// Opens connections as long as jobs wait for one and limits allow it.
    pub(crate) fn expand(self: &Arc<Self>, office: &Arc<Office>) {
        while let Some(held) = self.claim_connection(office) {
            tokio::spawn(session::run(Arc::clone(office), Arc::clone(self), held));
        }
    }

    fn claim_connection(self: &Arc<Self>, office: &Arc<Office>) -> Option<Vec<Place>> {
        if office.is_stopping() || !office.life.is_valid() {
            return None;
        }
        let now = office.mail.now();
        if self.suspended_until(now).is_some() {
            return None;
        }
        let most = self.tuned.holding(now).connections.map_or(usize::MAX, |most| most as usize);
        let mut held = Vec::with_capacity(self.places.len());
        let mut state = self.state.lock();
        let most = most.min(state.cap.unwrap_or(usize::MAX));
        if state.jobs <= state.opening + state.idle || state.sessions >= most {
            return None;
        }
        for places in &self.places {
            let waiter: Weak<dyn Spur> = Arc::downgrade(self) as Weak<dyn Spur>;
            match places.take(waiter) {
                Some(place) => held.push(place),
                None => {
                    // Places wake their waiters when they are given back, which must not find our lock taken.
                    drop(state);
                    return None;
                }
            }
        }
        if let Err(when) = take_all(self.connection_rates.iter(), now) {
            drop(state);
            self.ring_at(when, office);
            return None;
        }
        state.sessions += 1;
        state.opening += 1;
        Some(held)
    }

    /// A connection is up, or was given up, with why.
    pub(crate) fn opened(self: &Arc<Self>, outcome: Result<(), Failure>) {
        let Some(office) = self.office.upgrade() else { return };
        let suspended = self.suspended_until(office.mail.now()).is_some();
        let failed = {
            let mut state = self.state.lock();
            state.opening -= 1;
            match outcome {
                Ok(()) => {
                    (state.failures, state.down) = (0, None);
                    return;
                }
                Err(failure) => {
                    state.sessions -= 1;
                    // Where others are open, one more is too many, not all.
                    if state.sessions > state.opening || failure.full {
                        state.cap = Some(state.sessions.max(1));
                        None
                    } else {
                        let jobs = state.fall(failure.clone(), office.mail.now());
                        if suspended {
                            // When the suspension is over the host is to be tried, not to be passed over for its reply.
                            state.down = None;
                        }
                        Some((jobs, failure))
                    }
                }
            }
        };
        match failed {
            Some((jobs, failure)) => {
                let settled: Vec<_> =
                    jobs.into_iter().flat_map(|job| self.failed(job, &failure, Verdict::Deferred)).collect();
                office.settle(settled);
            }
            None => self.ring_at(office.mail.now() + TimeDelta::seconds(1), &office),
        }
    }

    /// Forgets that it could not be reached: the next job is tried.
    pub(crate) fn give_another_chance(&self) {
        let mut state = self.state.lock();
        (state.failures, state.down) = (0, None);
        state.unwell.clear();
    }

    /// A connection on its way is no longer wanted: we stop.
    pub(crate) fn abandoned(&self) {
        let mut state = self.state.lock();
        (state.opening, state.sessions) = (state.opening - 1, state.sessions - 1);
    }

    /// An open connection ended.
    pub(crate) fn closed(self: &Arc<Self>) {
        let Some(office) = self.office.upgrade() else { return };
        {
            let mut state = self.state.lock();
            state.sessions -= 1;
            state.cap = None;
        }
        self.expand(&office);
    }

    /// What a session that carried `carried` messages does next.
    pub(crate) fn turn(self: &Arc<Self>, carried: u32, now: DateTime<Utc>) -> Turn {
        let holding = self.tuned.holding(now);
        if holding.suspended_until.is_some() {
            return Turn::Leave;
        }
        let per_connection = holding.messages.unwrap_or(self.options.messages_per_connection);
        let mut state = self.state.lock();
        let too_many = holding.connections.is_some_and(|most| state.sessions > most as usize);
        if too_many || (per_connection > 0 && carried >= per_connection) {
            return Turn::Leave;
        }
        if state.jobs == 0 {
            state.idle += 1;
            return Turn::Idle(Idle(Arc::clone(self)));
        }
        let tuned = state.tuned_rate(holding.per_hour);
        let rates = self.message_rates.iter().chain(tuned.as_ref());
        if let Err(when) = take_all(rates, now) {
            return Turn::Wait(when);
        }
        let job = state.take(self.options.recipients_per_message as usize);
        if state.full
            && let Some(office) = self.office.upgrade()
            && state.rows <= office.enough() / 2
        {
            state.full = false;
            office.hungry.notify_one();
        }
        job.map_or(Turn::Leave, Turn::Job)
    }

    /// Tries to open connections again at that time.
    pub(crate) fn ring_at(self: &Arc<Self>, when: DateTime<Utc>, office: &Arc<Office>) {
        if std::mem::replace(&mut self.state.lock().timer, true) {
            return;
        }
        let wait = (when - office.mail.now()).to_std().unwrap_or_default().min(Duration::from_secs(60));
        let site = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
            if let Some(site) = site.upgrade() {
                let mut state = site.state.lock();
                (state.timer, state.cap) = (false, None);
                drop(state);
                site.spur();
            }
        });
    }

    /// Notes what was said that was no success.
    pub(crate) fn note_refusal(&self, at: DateTime<Utc>, reply: &str) {
        self.state.lock().last_refusal = Some(Refusal { at, reply: reply.to_owned() });
    }

    /// So many deliveries are on the wire, as long as what comes back lives.
    pub(crate) fn carry(self: &Arc<Self>, deliveries: usize) -> Carried {
        self.on_wire.fetch_add(deliveries, Ordering::Relaxed);
        Carried(Arc::clone(self), deliveries)
    }

    /// A host failed: others are preferred for a while.
    pub(crate) fn note_unwell(&self, host: &str, now: DateTime<Utc>) {
        let mut state = self.state.lock();
        if state.unwell.len() < 1000 {
            state.unwell.insert(host.to_owned(), now + UNWELL);
        }
    }

    /// Whether a host failed lately.
    pub(crate) fn is_unwell(&self, host: &str, now: DateTime<Utc>) -> bool {
        let mut state = self.state.lock();
        match state.unwell.get(host) {
            Some(until) if *until > now => true,
            Some(_) => {
                state.unwell.remove(host);
                false
            }
            None => false,
        }
    }

    /// Everything that waits, in order.
    pub(crate) fn drain(&self) -> Vec<Job> {
        self.state.lock().drain()
    }

    /// Takes some of what waits out.
    pub(crate) fn take_out(&self, which: impl Fn(&Row) -> bool) -> Vec<(Arc<Outgoing>, Row)> {
        let mut taken = Vec::new();
        let mut state = self.state.lock();
        for mut job in state.drain() {
            let (gone, left): (Vec<Row>, _) = std::mem::take(&mut job.rows).into_iter().partition(|row| which(row));
            taken.extend(gone.into_iter().map(|row| (Arc::clone(&job.outgoing), row)));
            if !left.is_empty() {
                job.rows = left;
                state.add(job, false);
            }
        }
        taken
    }

    /// Suspended: what waits is put off, all at once.
    pub(crate) fn put_all_off(self: &Arc<Self>, until: DateTime<Utc>) -> Vec<Settled> {
        self.drain().into_iter().flat_map(|job| self.put_off(job, until)).collect()
    }

    fn put_off(self: &Arc<Self>, job: Job, until: DateTime<Utc>) -> Vec<Settled> {
        let put_off = |row| Settled::quiet(&job.outgoing, row, Verdict::PutOff(until)).at(self, None);
        job.rows.into_iter().map(put_off).collect()
    }

    fn failed(self: &Arc<Self>, job: Job, failure: &Failure, verdict: Verdict) -> Vec<Settled> {
        let verdict = if failure.is_us { Verdict::Failed } else { verdict };
        let failed = |row| {
            let settled = Settled::new(&job.outgoing, row, verdict.clone(), failure.reply.clone());
            Settled { session: failure.session.clone(), ..settled.at(self, failure.host.clone()) }
        };
        job.rows.into_iter().map(failed).collect()
    }

    /// Whether nobody needs it any more.
    pub(crate) fn is_unused(&self) -> bool {
        let state = self.state.lock();
        state.jobs == 0 && state.sessions == 0
    }

    /// The domains of what waits and counts, a few of them: whose mail a new connection is for. `None` when something
    /// waits and nothing of it counts.
    pub(crate) fn domains(&self, counts: impl Fn(&Outgoing) -> bool) -> Option<Vec<String>> {
        const LOOKED_AT: usize = 50;
        const MOST: usize = 10;
        let state = self.state.lock();
        let (mut domains, mut some): (Vec<String>, _) = (Vec::new(), state.jobs == 0);
        for job in state.lanes.iter().flatten().take(LOOKED_AT).filter(|job| counts(&job.outgoing)) {
            some = true;
            for row in &job.rows {
                if domains.len() < MOST && !domains.contains(&row.delivery.domain) {
                    domains.push(row.delivery.domain.clone());
                }
            }
        }
        some.then_some(domains)
    }

    /// What operators see.
    pub(crate) fn view(&self, now: DateTime<Utc>) -> SiteView {
        let state = self.state.lock();
        let down = state.down.as_ref().filter(|down| down.until > now);
        let configured = self.options.connections.limit().map(|most| most as usize);
        let tuned = self.tuned.holding(now).connections.map(|most| most as usize);
        let adapted = |(setting, value, until, rule): (Setting, u32, DateTime<Utc>, String)| Adapted {
            setting: setting.word().to_owned(),
            value,
            until,
            rule,
        };
        SiteView {
            name: self.path.name.to_string(),
            binding: self.binding.name.clone(),
            hosts: self.path.host_names(),
            waiting: state.rows,
            in_delivery: self.on_wire.load(Ordering::Relaxed),
            connections: state.sessions,
            connections_most: configured.into_iter().chain(tuned).chain(state.cap).min(),
            suspended_until: self.suspended_until(now),
            down: down.map(|down| crate::outcome::shown(&down.failure.reply)),
            down_until: down.map(|down| down.until),
            last_refusal: state.last_refusal.clone(),
            adapted: self.tuned.values().into_iter().map(adapted).collect(),
        }
    }
}

impl Spur for Site {
    fn spur(self: Arc<Self>) {
        if let Some(office) = self.office.upgrade() {
            self.expand(&office);
        }
    }
}

impl State {
    fn add(&mut self, job: Job, first: bool) {
        self.jobs += 1;
        self.rows += job.rows.len();
        let lane = &mut self.lanes[job.lane()];
        if first { lane.push_front(job) } else { lane.push_back(job) }
    }

    /// The next job, with at most `most` recipients; the others stay first.
    fn take(&mut self, most: usize) -> Option<Job> {
        let mut job = self.lanes.iter_mut().find_map(VecDeque::pop_front)?;
        self.jobs -= 1;
        self.rows -= job.rows.len();
        if job.rows.len() > most.max(1) {
            let others = job.rows.split_off(most.max(1));
            self.add(job.with(others), true);
        }
        Some(job)
    }

    fn drain(&mut self) -> Vec<Job> {
        (self.jobs, self.rows, self.full) = (0, 0, false);
        self.lanes.iter_mut().flat_map(std::mem::take).collect()
    }

    /// Nothing can be reached: what waits comes out.
    fn fall(&mut self, failure: Failure, now: DateTime<Utc>) -> Vec<Job> {
        self.failures = self.failures.saturating_add(1);
        let wait = DOWN.saturating_mul(1 << self.failures.min(5).saturating_sub(1));
        self.down = Some(Down { until: now + delta(wait), failure });
        self.drain()
    }

    fn tuned_rate(&mut self, per_hour: Option<u32>) -> Option<Arc<Rate>> {
        let per_hour = per_hour?;
        match &self.tuned_rate {
            Some((known, rate)) if *known == per_hour => Some(Arc::clone(rate)),
            _ => {
                let rate = Limits::default().rate("tuned", per_hour, Duration::from_hours(1));
                self.tuned_rate = Some((per_hour, Arc::clone(&rate)));
                Some(rate)
            }
        }
    }
}

/// A session that waits for work.
#[derive(Debug)]
pub(crate) struct Idle(Arc<Site>);

impl Idle {
    /// Ends when a job may be there.
    pub(crate) async fn ready(&self) {
        self.0.ready.notified().await;
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.0.state.lock().idle -= 1;
    }
}

/// Deliveries on the wire.
#[derive(Debug)]
pub(crate) struct Carried(Arc<Site>, usize);

impl Drop for Carried {
    fn drop(&mut self) {
        self.0.on_wire.fetch_sub(self.1, Ordering::Relaxed);
    }
}

fn configured(options: &EffectiveDelivery) -> Configured {
    Configured {
        connections: options.connections.value,
        messages: options.messages_per_connection,
        per_hour: options.messages_per_hour.value,
    }
}

fn bucket(limit: &Limit, site: &str) -> String {
    match limit.counts {
        Counts::All => limit.bucket.to_string(),
        Counts::Site | Counts::Address => format!("{} at {site}", limit.bucket),
    }
}

fn places(limits: &Limits, limit: &Limit, site: &str) -> Option<Arc<Places>> {
    limit.limit().map(|most| limits.places(&bucket(limit, site), most as usize))
}

/// How long a host that failed is passed over.
const UNWELL: TimeDelta = TimeDelta::seconds(120);
/// How long a site that cannot be reached is left alone the first time; doubled each time, up to 16 minutes.
const DOWN: Duration = Duration::from_secs(30);
