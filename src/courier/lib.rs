//! The courier: takes mail that leaves to where it goes.
//!
//! It claims deliveries (or is handed them in memory the moment they are accepted), finds the hosts of their domains,
//! keeps connections to sites within all limits, speaks SMTP or LMTP, and writes down what became of each recipient. What
//! this crate deliberately is not: it runs no query (the queue is a duty of `posthorn_mail`), it writes no reports, and it
//! decides nothing about mail that comes in.

mod adaptive;
mod agenda;
mod asked;
mod chance;
mod company;
mod conversation;
mod destination;
mod envelope;
mod job;
mod keep;
mod ledger;
mod life;
mod limit;
mod local;
mod login;
mod office;
mod outcome;
mod path;
mod reach;
mod record;
mod retry;
mod session;
mod settle;
mod site;
mod tally;
mod trace;
mod view;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use posthorn_config::{
    Bindings, Config, DeliveryPolicy, DeliveryRule, ListenAddress, Queue, QueuePolicies, Routes, Speaks,
};
use posthorn_mail::Mail;
use posthorn_mail::queue::Tuning;
use posthorn_net::dns::Dns;
use posthorn_net::egress::TlsClient;
use posthorn_net::sts::Sts;
use posthorn_net::tls_report::TlsTally;
use posthorn_net::{Roots, TlsError};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use self::adaptive::Adaptive;
pub use self::adaptive::{Change, Setting};
use self::agenda::{Agenda, News};
use self::chance::Chance;
use self::job::Seats;
use self::ledger::Ledger;
use self::life::Life;
use self::limit::Limits;
use self::office::{Duties, Office};
pub use self::view::{Adapted, Refusal, SiteView};

/// Why a courier cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The duties failed.
    #[error(transparent)]
    Mail(#[from] posthorn_mail::Error),
    /// The built-in rules are not rules. A fault of ours.
    #[error("the built-in delivery rules: {0}")]
    Rules(String),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What the configuration says of mail that leaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `server.hostname`: in EHLO where a binding has none, and one of our names among MX hosts.
    pub hostname: String,
    /// The `[queue]` section.
    pub queue: Queue,
    /// Options of delivery by binding, group and domain.
    pub delivery: DeliveryPolicy,
    /// Where mail leaves from.
    pub bindings: Bindings,
    /// Where mail goes.
    pub routes: Routes,
    /// Whether any route names accounts.
    pub routes_by_account: bool,
    /// The rules of the configuration; the built-in ones come behind.
    pub rules: Vec<DeliveryRule>,
    /// Addresses that lead back to ourselves: MX hosts that have them, and those that are no better, are passed over
    /// (RFC 5321 §5.1).
    pub own_addresses: Vec<IpAddr>,
    /// Mail of others is taken at every address of this machine: a connection that ends at one of them leads back, too.
    pub listens_everywhere: bool,
    /// The port of MX hosts: 25, unless a test says otherwise.
    pub mx_port: u16,
    /// Where chance begins; `None` is anywhere.
    pub seed: Option<u64>,
}

impl Settings {
    /// What the configuration says. Our own addresses are those of bindings and those that listen for mail of others.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            hostname: config.server.hostname.clone(),
            queue: config.queue.clone(),
            delivery: DeliveryPolicy::new(config),
            bindings: Bindings::new(&config.binding),
            routes: Routes::new(&config.route),
            routes_by_account: config.route.iter().any(|route| !route.accounts.is_empty()),
            rules: config.delivery_rule.clone(),
            own_addresses: own_addresses(config),
            listens_everywhere: listening(config).any(|socket| socket.ip().is_unspecified()),
            mx_port: MX_PORT,
            seed: None,
        }
    }
}

/// The addresses of bindings, and those where mail of other hosts is taken: a wildcard is at least the loopback address.
fn own_addresses(config: &Config) -> Vec<IpAddr> {
    let bindings = config.binding.iter().flat_map(|binding| binding.addresses.iter().copied());
    let listening = listening(config).map(|socket| match socket.ip() {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    });
    bindings.chain(listening).collect()
}

/// Where mail of other hosts is taken.
fn listening(config: &Config) -> impl Iterator<Item = SocketAddr> + '_ {
    let listeners = config.listener.iter().filter(|listener| listener.enable && listener.speaks == Speaks::Smtp);
    let endpoints = listeners.flat_map(|listener| &listener.listen).filter(|endpoint| endpoint.enable);
    endpoints.filter_map(|endpoint| match &endpoint.address {
        ListenAddress::Tcp(socket) if socket.port() == MX_PORT => Some(*socket),
        _ => None,
    })
}

/// Where other hosts take mail.
const MX_PORT: u16 = 25;

/// A site that nothing is sent to for a while because of what it replied.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SuspendedSite {
    /// Its MX hosts, or what the route says.
    pub site: String,
    /// The binding that mail leaves from.
    pub binding: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Until when.
    pub until: DateTime<Utc>,
    /// The rule that says so.
    pub rule: String,
    /// The reply that it was about.
    pub reply: String,
}

/// Of all values that are kept, the suspensions by rules that hold at `now`.
#[must_use]
pub fn suspended_sites(tunings: Vec<Tuning>, now: DateTime<Utc>) -> Vec<SuspendedSite> {
    let changes = tunings.into_iter().filter_map(office::resumed);
    let holding = changes.filter(|change| change.setting == adaptive::Setting::Suspension && change.until > now);
    holding
        .map(|change| SuspendedSite {
            site: change.site.to_string(),
            binding: change.binding.to_string(),
            since: change.at,
            until: change.until,
            rule: change.rule.to_string(),
            reply: change.reply,
        })
        .collect()
}

/// Of all values that are kept, those that replies changed: each with what it was and is, until when it holds (then it
/// grows back), the rule and the reply.
#[must_use]
pub fn adapted(tunings: Vec<Tuning>) -> Vec<Change> {
    tunings.into_iter().filter_map(office::resumed).collect()
}

/// The ground that the courier stands on.
#[derive(Clone, Debug)]
pub struct Ground {
    /// Whom to ask about names.
    pub dns: Dns,
    /// Who vouches for other servers.
    pub roots: Roots,
    /// Finds MTA-STS policies; without it there are none.
    pub sts: Option<Sts>,
}

/// A courier at work. Dropping it stops nothing: call [`Courier::stop`].
#[derive(Debug)]
pub struct Courier {
    office: Arc<Office>,
    tell: mpsc::Sender<News>,
    /// Until it is stopped.
    tasks: Mutex<Option<Tasks>>,
}

/// A courier that is known to the others and does nothing yet. Dropped, it is forgotten with its lease.
#[derive(Debug)]
pub struct Enlisted {
    office: Arc<Office>,
    changed: mpsc::Receiver<Change>,
}

impl Enlisted {
    /// Begins to deliver. A courier of the same process that is at work gets nothing new from here on: it is to be
    /// [stopped](Courier::stop).
    #[must_use]
    pub fn begin(self) -> Courier {
        Courier::at_work(self.office, self.changed)
    }
}

#[derive(Debug)]
struct Tasks {
    agenda: JoinHandle<()>,
    recorder: JoinHandle<()>,
    others: Vec<JoinHandle<()>>,
}

/// How much is in hand.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Deliveries in memory.
    pub resident: usize,
    /// Connections, open and on their way.
    pub connections: usize,
    /// Sites that are known.
    pub sites: usize,
}

impl Courier {
    /// Enlists as a courier and begins to deliver.
    ///
    /// # Errors
    /// When the store cannot be written, or TLS cannot be set up.
    pub async fn start(mail: Mail, ground: Ground, settings: Settings) -> Result<Self, Error> {
        Ok(Self::enlist(mail, ground, settings).await?.begin())
    }

    /// Does what can fail of a start.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn enlist(mail: Mail, ground: Ground, settings: Settings) -> Result<Enlisted, Error> {
        let mut rules = settings.rules.clone();
        rules.extend(adaptive::built_in().map_err(Error::Rules)?);
        let tls = TlsClient::new(ground.roots.clone())?;
        let life = Life::begin(&mail, &settings.hostname, settings.queue.lease.duration()).await?;
        let adaptive = Adaptive::new(rules);
        for change in mail.queue().tunings().await?.into_iter().filter_map(office::resumed) {
            adaptive.resume(&change);
        }
        let (changes, changed) = mpsc::channel(1024);
        let office = Arc::new(office(mail, (ground, tls), settings, (life, adaptive), changes));
        Ok(Enlisted { office, changed })
    }

    fn at_work(office: Arc<Office>, changed: mpsc::Receiver<Change>) -> Self {
        let (tell, news) = mpsc::channel(1024);
        let agenda = Agenda::new(Arc::clone(&office), office.departures(), (tell.clone(), news));
        let others = vec![
            tokio::spawn(agenda::listen(Arc::clone(&office), tell.clone())),
            tokio::spawn(life::live(Arc::clone(&office), tell.clone())),
            tokio::spawn(office::keep_changes(office.mail.clone(), changed)),
        ];
        let agenda = tokio::spawn(agenda.work());
        let recorder = tokio::spawn(record::work(Arc::clone(&office)));
        Self { office, tell, tasks: Mutex::new(Some(Tasks { agenda, recorder, others })) }
    }

    /// Looks at once for what is due, and lets time pass for limits and suspensions: after the clock was stepped.
    pub async fn wake(&self) {
        self.office.pass(self.office.mail.now());
        let _ends = self.tell.send(News::Due).await;
    }

    /// How much is in hand.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let sites = self.office.sites.lock().len();
        Stats { resident: self.office.seats.used(), connections: self.office.connections.used(), sites }
    }

    /// Whether its tasks run: neither stopped nor broken.
    #[must_use]
    pub fn is_at_work(&self) -> bool {
        let tasks = self.tasks.lock();
        tasks.as_ref().is_some_and(|tasks| {
            let all = tasks.others.iter().chain([&tasks.agenda, &tasks.recorder]);
            all.into_iter().all(|task| !task.is_finished())
        })
    }

    /// The sites that are known, in the order of their names.
    #[must_use]
    pub fn sites(&self) -> Vec<SiteView> {
        self.office.views()
    }

    /// Stops: what is on the wire ends (for at most `grace`), what became of it is recorded, everything else is given
    /// back for others. A second call does nothing.
    pub async fn stop(&self, grace: Duration) {
        let Some(Tasks { agenda, recorder, others }) = self.tasks.lock().take() else { return };
        let office = &self.office;
        office.mail.depart_no_more(office.life.claim());
        let _nobody_listens = office.stop.send(true);
        let _ended = agenda.await;
        let end = Instant::now() + grace;
        while office.connections.used() > 0 && Instant::now() < end {
            sleep(Duration::from_millis(10)).await;
        }
        if office.connections.used() > 0 {
            tracing::warn!(connections = office.connections.used(), "connections are cut: the grace is over");
        }
        // Sessions gave back what they had not sent.
        office.all_sites().iter().for_each(|site| drop(site.drain()));
        office.ledger.close();
        if timeout(RECORDING, recorder).await.is_err() {
            tracing::error!("what became of some deliveries is not recorded: they may be delivered a second time");
        }
        office.write_tally().await;
        match office.mail.queue().retire(office.life.claim()).await {
            Ok(0) => {}
            Ok(deliveries) => tracing::info!(deliveries, "deliveries given back"),
            Err(error) => tracing::warn!(%error, "claims are not given back: they end with the lease"),
        }
        others.iter().for_each(JoinHandle::abort);
    }
}

fn office(
    mail: Mail,
    (ground, tls): (Ground, TlsClient),
    settings: Settings,
    (life, adaptive): (Life, Adaptive),
    changes: mpsc::Sender<Change>,
) -> Office {
    let limits = Limits::default();
    let names = settings.bindings.iter().filter_map(|binding| Some(binding.hostname.as_ref()?.as_str().to_owned()));
    let own_names = names.chain([settings.hostname.to_ascii_lowercase()]).collect();
    Office {
        mail: Duties(mail),
        dns: ground.dns,
        tls,
        roots: ground.roots,
        sts: ground.sts,
        tally: TlsTally::default(),
        policies: QueuePolicies::new(&settings.queue),
        delivery: settings.delivery,
        bindings: settings.bindings,
        routes: settings.routes,
        routes_by_account: settings.routes_by_account,
        hostname: settings.hostname,
        own_names,
        own_addresses: settings.own_addresses,
        listens_everywhere: settings.listens_everywhere,
        mx_port: settings.mx_port,
        life,
        connections: limits.places("queue: connections", settings.queue.connections as usize),
        limits,
        adaptive,
        seats: Seats::new(settings.queue.resident as usize),
        chance: Chance::new(settings.seed),
        suspended: Mutex::default(),
        heard_at: AtomicI64::new(0),
        sites: Mutex::default(),
        hungry: Notify::new(),
        ledger: Ledger::default(),
        changes,
        stop: watch::channel(false).0,
        queue: settings.queue,
    }
}

/// How long recording may take at the end.
const RECORDING: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use posthorn_config::Listener;

    use super::*;

    #[test]
    fn suspensions_by_rules_are_told_until_they_end() {
        let at = |seconds: i64| DateTime::from_timestamp(1_800_000_000 + seconds, 0).expect("a time");
        let tuning = |scope: &str, name: &str| Tuning {
            scope: scope.to_owned(),
            name: name.to_owned(),
            value: 1.0,
            previous: None,
            changed_at: at(0),
            until: Some(at(60 + 12 * 3600)),
            rule: "storm".to_owned(),
            reply: Some("421 4.7.0 later".to_owned()),
        };
        let scope = "site mx.example.net binding a";
        let all = vec![tuning(scope, "suspend"), tuning(scope, "connections"), tuning("domain b.example", "suspend")];
        let found = suspended_sites(all.clone(), at(59));
        let [site] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((site.site.as_str(), site.binding.as_str(), site.until), ("mx.example.net", "a", at(60)));
        assert!(suspended_sites(all, at(61)).is_empty());
    }

    #[test]
    fn where_mail_of_others_is_taken_is_ours() {
        let listener = |speaks, address: &str| Listener::new("a", speaks, [address.parse().expect("an address")]);
        let listener = vec![
            listener(Speaks::Smtp, "192.0.2.1:25"),
            listener(Speaks::Smtp, "[*]:25"),
            listener(Speaks::Smtp, "192.0.2.2:2525"),
            listener(Speaks::Imap, "192.0.2.3:25"),
        ];
        let ours = own_addresses(&Config { listener, ..Config::default() });
        assert_eq!(ours, ["192.0.2.1".parse::<IpAddr>().expect("an address"), Ipv6Addr::LOCALHOST.into()]);
    }
}
