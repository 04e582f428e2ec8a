//! One task that takes deliveries in, finds where they go, and passes them to their sites.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use posthorn_config::Route;
use posthorn_mail::departures::Departure;
use posthorn_mail::queue::{self, Delivery, Outgoing, Suspended, Wanted};
use posthorn_model::QueueOrigin;
use posthorn_smtp::Reply;
use tokio::sync::mpsc;
use tokio::time::{Instant as Moment, sleep, sleep_until};

use crate::destination::{Destinations, Goal, Way};
use crate::job::{Cargo, Job, Row, Told};
use crate::office::LOOK_AGAIN;
use crate::path::{self, Found};
use crate::settle::{Handover, Settled, Verdict};
use crate::site::Site;
use crate::{Office, life, local};

/// What the agenda is told.
#[derive(Debug)]
pub(crate) enum News {
    /// Something may be due.
    Due,
    /// Where a domain's mail goes.
    Found(String, Way, Box<Found>),
    /// The lease ran out.
    LifeLost,
    /// Operators changed what is in hand.
    Recall,
}

pub(crate) struct Agenda {
    office: Arc<Office>,
    departures: mpsc::Receiver<Departure>,
    news: mpsc::Receiver<News>,
    tell: mpsc::Sender<News>,
    destinations: Destinations,
    /// When the database is asked next.
    next: Moment,
    tidied: Instant,
}

impl Agenda {
    pub(crate) fn new(
        office: Arc<Office>,
        departures: mpsc::Receiver<Departure>,
        (tell, news): (mpsc::Sender<News>, mpsc::Receiver<News>),
    ) -> Self {
        let destinations = Destinations::default();
        Self { office, departures, news, tell, destinations, next: Moment::now(), tidied: Instant::now() }
    }

    /// Works until the courier stops. What is in memory then is dropped: its claim is given back.
    pub(crate) async fn work(mut self) {
        let office = Arc::clone(&self.office);
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            let room = office.seats.free() > 0;
            tokio::select! {
                biased;
                () = office.stopping() => break,
                news = self.news.recv() => match news {
                    Some(news) => self.hear(news).await,
                    None => break,
                },
                departure = self.departures.recv(), if room => match departure {
                    Some(departure) => self.depart(departure).await,
                    None => break,
                },
                () = sleep_until(self.next) => self.claim().await,
                () = office.seats.below() => self.next = Moment::now(),
                () = office.hungry.notified() => self.next = Moment::now(),
                () = office.mail.stirred() => self.next = Moment::now(),
                _ = second.tick() => self.pass().await,
            }
        }
        self.drop_everything();
    }

    async fn hear(&mut self, news: News) {
        match news {
            News::Due => self.next = Moment::now(),
            News::Found(domain, way, found) => self.found(&domain, &way, *found),
            News::LifeLost => self.begin_anew().await,
            News::Recall => self.recall().await,
        }
    }

    /// A message that was accepted a moment ago.
    async fn depart(&mut self, departure: Departure) {
        let Departure { outgoing, deliveries, octets, room } = departure;
        let cargo = Some(Arc::new(Cargo { octets, room }));
        self.admit(Arc::new(outgoing), deliveries, cargo).await;
    }

    /// Asks the database for what is due.
    async fn claim(&mut self) {
        if !self.office.life.is_valid() {
            self.next = Moment::now() + self.office.life.rhythm();
            return;
        }
        let mut after: Option<String> = None;
        let skip = self.closed();
        loop {
            if !self.office.seats.is_roomy() || self.office.is_stopping() {
                // The seats say when there is room again.
                self.next = Moment::now() + POLL;
                return;
            }
            let limit = u32::try_from(self.office.seats.free().min(ROUND)).unwrap_or(u32::MAX);
            let per_domain = limit.min(PER_DOMAIN);
            let wanted = Wanted { per_domain, limit, after: after.as_deref(), skip: &skip };
            let claimed = match self.office.mail.queue().claim(self.office.life.claim(), &wanted).await {
                Ok(claimed) => claimed,
                Err(error) => {
                    tracing::error!(%error, "the queue cannot be asked for what is due");
                    self.next = Moment::now() + AFTER_FAULT;
                    return;
                }
            };
            let some = !claimed.work.is_empty();
            for (outgoing, deliveries) in claimed.work {
                self.admit(Arc::new(outgoing), deliveries, None).await;
            }
            after = claimed.after;
            if after.is_none() {
                // More of the same domains may be due; what was handed over meanwhile comes first.
                self.next = if some { Moment::now() } else { self.look_ahead().await };
                return;
            }
        }
    }

    /// When something is due that is not now.
    async fn look_ahead(&self) -> Moment {
        let due = match self.office.mail.queue().next_due().await {
            Ok(due) => due,
            Err(error) => {
                tracing::error!(%error, "the queue cannot be asked for what is due next");
                None
            }
        };
        let wait = due.and_then(|due| (due - self.office.mail.now()).to_std().ok()).unwrap_or(POLL);
        Moment::now() + wait.clamp(SHORT, POLL)
    }

    /// Domains that stay in the database for now.
    fn closed(&self) -> Vec<String> {
        let now = self.office.mail.now();
        let enough = self.office.enough();
        let mut closed = self.destinations.closed(|_, site| site.is_closed(now, enough));
        for suspended in self.office.suspended.lock().iter() {
            if let Suspended::Domain(domain) = suspended {
                closed.push(domain.clone());
            }
        }
        closed
    }

    /// Takes deliveries of one message in: those that go to one site share a job.
    async fn admit(&mut self, outgoing: Arc<Outgoing>, deliveries: Vec<Delivery>, cargo: Option<Arc<Cargo>>) {
        if outgoing.origin == QueueOrigin::Local {
            let row = |delivery| Row { delivery, told: Told::default(), seat: self.office.seats.take() };
            let rows = deliveries.into_iter().map(row).collect();
            tokio::spawn(local::place(Arc::clone(&self.office), outgoing, rows));
            return;
        }
        let account = match outgoing.account {
            Some(account) if self.office.routes_by_account => {
                self.office.mail.account_name(account).await.unwrap_or_default()
            }
            _ => None,
        };
        let now = Instant::now();
        let mut jobs: Vec<(Arc<Site>, Vec<Row>)> = Vec::new();
        let mut settled = Vec::new();
        for delivery in deliveries {
            let (way, route) = self.office.way(&outgoing, &delivery, account.as_deref());
            let told = Told { route, sts_problem: None };
            let mut row = Row { delivery, told, seat: self.office.seats.take() };
            if let Some(until) = self.office.is_suspended(&way.binding.name, &row.delivery.domain) {
                settled.push(Settled::quiet(&outgoing, row, Verdict::PutOff(until)));
                continue;
            }
            self.look_up_declared(&row.delivery.domain, &way, now);
            match self.destinations.goal(&row.delivery.domain, &way, now) {
                Some(Goal::Site(site, problem)) => {
                    row.told.sts_problem.clone_from(problem);
                    match jobs.iter_mut().find(|(known, _)| Arc::ptr_eq(known, site)) {
                        Some((_, rows)) => rows.push(row),
                        None => jobs.push((Arc::clone(site), vec![row])),
                    }
                }
                Some(Goal::Discard) => settled.push(discarded(&outgoing, row)),
                Some(Goal::Reply(reply)) => settled.push(replied(&outgoing, row, reply)),
                Some(Goal::Suspended) => {
                    let until = self.office.mail.now() + LOOK_AGAIN;
                    settled.push(Settled::quiet(&outgoing, row, Verdict::PutOff(until)));
                }
                None => {
                    let domain = row.delivery.domain.clone();
                    let (outgoing, cargo) = (Arc::clone(&outgoing), cargo.clone());
                    let counts = !self.office.mail.is_own_report(&outgoing);
                    if self.destinations.wait(&domain, &way, Job { outgoing, rows: vec![row], cargo, turns: 0 }) {
                        self.seek(domain, way, counts);
                    }
                }
            }
        }
        self.office.settle(settled);
        for (site, rows) in jobs {
            site.push(Job { outgoing: Arc::clone(&outgoing), rows, cargo: cargo.clone(), turns: 0 });
        }
    }

    /// What needs no question is known at once.
    fn look_up_declared(&mut self, domain: &str, way: &Way, now: Instant) {
        if self.destinations.goal(domain, way, now).is_some() {
            return;
        }
        let options = self.office.options(way, domain);
        if options.suspend {
            // Not even the DNS is asked: what it says could bounce mail that is meant to wait.
            self.destinations.seek(domain, way);
            let _nobody = self.destinations.found(domain, way, Goal::Suspended, now + BELIEVED);
            return;
        }
        if let Some(found) = path::declared(&self.office, domain, &way.route, &options) {
            self.destinations.seek(domain, way);
            self.found(domain, way, found);
        }
    }

    /// Looks for a domain's hosts, once for all that wait; `counts` when problems go into the report to the domain.
    fn seek(&self, domain: String, way: Way, counts: bool) {
        let (office, tell) = (Arc::clone(&self.office), self.tell.clone());
        tokio::spawn(async move {
            let options = office.options(&way, &domain);
            let found = path::find(&office, &domain, &way.route, &options, counts).await;
            let _ends = tell.send(News::Found(domain, way, Box::new(found))).await;
        });
    }

    fn found(&mut self, domain: &str, way: &Way, found: Found) {
        let options = self.office.options(way, domain);
        let now = Instant::now();
        let (goal, until) = match found {
            Found::Path(mut path, until) if !options.blackhole => {
                let problem = path.sts_problem.take();
                let site = self.office.site(way, *path, options);
                (Goal::Site(site, problem), until)
            }
            Found::Path(_, until) => (Goal::Discard, until),
            Found::Discard => (Goal::Discard, now + BELIEVED),
            Found::Deferred(reply) => (Goal::Reply(reply), now + BRIEFLY),
            Found::Failed(reply) => (Goal::Reply(reply), now + BRIEFLY),
        };
        let waited = self.destinations.found(domain, way, goal.clone(), until);
        for mut job in gathered(waited) {
            match &goal {
                Goal::Site(site, problem) => {
                    job.rows.iter_mut().for_each(|row| row.told.sts_problem.clone_from(problem));
                    site.push(job);
                }
                Goal::Discard => {
                    let outgoing = job.outgoing;
                    self.office.settle(job.rows.into_iter().map(|row| discarded(&outgoing, row)).collect());
                }
                Goal::Reply(reply) => {
                    let outgoing = job.outgoing;
                    self.office.settle(job.rows.into_iter().map(|row| replied(&outgoing, row, reply)).collect());
                }
                Goal::Suspended => self.office.settle(put_off(&self.office, job)),
            }
        }
    }

    /// Once a second: values grow, suspensions end, what is unused is forgotten, operators are heard.
    async fn pass(&mut self) {
        let now = self.office.mail.now();
        self.office.pass(now);
        if self.tidied.elapsed() >= TIDY {
            self.tidied = Instant::now();
            self.destinations.tidy(self.tidied);
            self.office.tidy(now);
            self.office.write_tally().await;
        }
        if self.office.hear_operators(false).await {
            self.next = Moment::now();
        }
    }

    async fn recall(&mut self) {
        if self.office.hear_operators(true).await {
            self.next = Moment::now();
        }
        // Whoever orders a retry may have mended the other side.
        for site in self.office.all_sites() {
            site.give_another_chance();
        }
        let ids: HashSet<_> = match self.office.mail.queue().recalled(self.office.life.claim()).await {
            Ok(ids) => ids.into_iter().collect(),
            Err(error) => {
                tracing::error!(%error, "what operators changed cannot be asked for");
                return;
            }
        };
        if !ids.is_empty() {
            for site in self.office.all_sites() {
                let taken = site.take_out(|row| ids.contains(&row.delivery.id));
                let returned =
                    taken.into_iter().map(|(outgoing, row)| Settled::quiet(&outgoing, row, Verdict::Returned));
                self.office.settle(returned.collect());
            }
            self.next = Moment::now();
        }
    }

    /// The lease ran out: others have what was ours, so it is dropped, and we begin with nothing.
    async fn begin_anew(&mut self) {
        if self.office.life.is_valid() {
            // It was told twice.
            return;
        }
        tracing::error!("the courier's lease ran out before it could be renewed: it begins anew");
        self.office.mail.depart_no_more(self.office.life.claim());
        self.drop_everything();
        while let Err(error) = self.office.life.begin_anew(&self.office.mail, &self.office.hostname).await {
            tracing::error!(%error, "the courier cannot begin anew");
            tokio::select! {
                () = sleep(AFTER_FAULT) => {}
                () = self.office.stopping() => return,
            }
        }
        self.departures = self.office.departures();
        self.next = Moment::now();
    }

    fn drop_everything(&mut self) {
        self.departures.close();
        while self.departures.try_recv().is_ok() {}
        self.destinations.drain();
        for site in self.office.all_sites() {
            site.drain();
        }
    }
}

/// Jobs of one message that waited for the same answer become one.
fn gathered(jobs: Vec<Job>) -> Vec<Job> {
    let mut gathered: Vec<Job> = Vec::with_capacity(jobs.len());
    for mut job in jobs {
        match gathered.last_mut().filter(|last| last.outgoing.id == job.outgoing.id) {
            Some(last) => last.rows.append(&mut job.rows),
            None => gathered.push(job),
        }
    }
    gathered
}

fn put_off(office: &Office, job: Job) -> Vec<Settled> {
    let until = office.mail.now() + LOOK_AGAIN;
    job.rows.into_iter().map(|row| Settled::quiet(&job.outgoing, row, Verdict::PutOff(until))).collect()
}

fn discarded(outgoing: &Arc<Outgoing>, row: Row) -> Settled {
    let reply = Reply::new(250, 0, 0, "discarded as the configuration says");
    Settled::new(outgoing, row, Verdict::Delivered(Handover::Passed), reply)
}

fn replied(outgoing: &Arc<Outgoing>, row: Row, reply: &Reply) -> Settled {
    let verdict = if reply.code >= 500 { Verdict::Failed } else { Verdict::Deferred };
    Settled::new(outgoing, row, verdict, reply.clone())
}

impl Office {
    /// The route and the binding of a delivery, and why it is that route. What asks for the sender means who wrote it,
    /// whatever return path was put in their place.
    fn way(&self, outgoing: &Outgoing, delivery: &Delivery, account: Option<&str>) -> (Way, Option<Arc<str>>) {
        let sender = outgoing.author().and_then(|sender| Some(sender.rsplit_once('@')?.1));
        let ordered = delivery.route.as_deref().and_then(|word| Some((word, self.routes.named(word)?)));
        let (route, why): (Arc<Route>, _) = match ordered {
            Some((word, route)) => (route, Some(format!("{word}, as an operator ordered").into())),
            None => {
                let (route, why) = self.routes.chosen(&delivery.domain, sender, account);
                (Arc::clone(route), why.cloned())
            }
        };
        let binding = match delivery.binding.as_deref().and_then(|name| self.bindings.named(name)) {
            Some(binding) => Arc::clone(binding),
            None => Arc::clone(self.bindings.of(&route).pick(self.chance.next())),
        };
        (Way { route, binding, require_tls: outgoing.require_tls }, why)
    }
}

/// Hears of what other processes did to the queue, and tells the agenda.
pub(crate) async fn listen(office: Arc<Office>, tell: mpsc::Sender<News>) {
    loop {
        let heard = tokio::select! {
            listener = listen_once(&office, &tell) => listener,
            () = office.stopping() => return,
        };
        if let Err(error) = heard {
            tracing::warn!(%error, "other processes cannot be heard at the moment");
        }
        tokio::select! {
            () = sleep(AFTER_FAULT) => {}
            () = office.stopping() => return,
        }
        life::tend(&office, &tell).await;
    }
}

async fn listen_once(office: &Office, tell: &mpsc::Sender<News>) -> posthorn_mail::Result<()> {
    let mut listener = office.mail.queue().listener().await?;
    loop {
        let news = listener.next().await?;
        if news == queue::News::Show {
            show(office).await;
            continue;
        }
        if news != queue::News::Recall {
            let _ends = tell.send(News::Due).await;
        }
        if news != queue::News::Due {
            let _ends = tell.send(News::Recall).await;
        }
    }
}

/// Lets operators in other processes see the sites.
async fn show(office: &Office) {
    let sites = serde_json::to_string(&office.views()).unwrap_or_default();
    if let Err(error) = office.mail.queue().show_sites(office.life.claim(), &sites).await {
        tracing::warn!(%error, "an operator cannot be shown the sites");
    }
}

/// Deliveries that are claimed in one go, and of one domain.
const ROUND: usize = 2000;
const PER_DOMAIN: u32 = 500;
/// How often the database is asked without an occasion.
const POLL: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(50);
const AFTER_FAULT: Duration = Duration::from_secs(2);
/// How long it is believed that mail goes nowhere.
const BELIEVED: Duration = Duration::from_mins(10);
/// How long a reply of our own about a domain is repeated without looking again.
const BRIEFLY: Duration = Duration::from_secs(20);
const TIDY: Duration = Duration::from_secs(60);
