//! The appliance as a whole: configuration in, running services out, and back down in order.

use std::sync::Arc;

use anyhow::Context;
use posthorn_config::{Config, Speaks};
use posthorn_courier::Courier;
use posthorn_filter::Filter;
use posthorn_front::{AmPdp, Assent, ContentFilter, Direction, Imap, Milter, Settings, Smtp, Srs};
use posthorn_mail::Mail;
use posthorn_net::{Bound, Listeners, Service, Shutdown};
use posthorn_policy::{Policy, Resolver};
use posthorn_smtp::Dialect;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::circumstances::Circumstances;
use crate::control::{Desk, Order};
use crate::database::Database;
use crate::generation::{Generation, Parts};
use crate::health::Health;
use crate::on_duty::OnDuty;
use crate::openmetrics::OpenMetrics;
use crate::resolver::Asking;
use crate::secrets;

/// Octets of message bodies in progress when `limits.memory` sets no bound.
const BODY_MEMORY: u64 = 512 << 20;

/// A running appliance.
pub struct Appliance {
    pub(crate) config: Config,
    pub(crate) world: Circumstances,
    pub(crate) generation: Generation,
    pub(crate) courier: OnDuty,
    pub(crate) listeners: Listeners,
    pub(crate) database: Database,
    pub(crate) shutdown: Shutdown,
    /// What is counted, whichever generation counts.
    pub(crate) metrics: OpenMetrics,
    /// Octets of message bodies that sessions may hold at once.
    pub(crate) body_memory: usize,
    /// What stands in files that the configuration names.
    pub(crate) fingerprint: secrets::Fingerprint,
    /// The duties' work in the background.
    pub(crate) working: Working,
    /// The engines' work in the background, also of those that are replaced and still in use, and couriers that stop.
    pub(crate) minding: Vec<JoinHandle<()>>,
    serving: JoinHandle<()>,
}

/// The duties' work in the background, which the newest handle does.
pub(crate) struct Working {
    task: JoinHandle<()>,
    _until: oneshot::Sender<()>,
}

impl Working {
    /// Begins it. It ends when this is dropped, or at the hard stop.
    pub(crate) fn begin(mail: Mail, shutdown: Shutdown) -> Self {
        let (until, end) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let end = async {
                tokio::select! {
                    _ = end => {}
                    () = shutdown.cutting() => {}
                }
            };
            mail.work(end).await;
        });
        Self { task, _until: until }
    }

    /// Lets it end, and gives the task that does.
    pub(crate) fn end(self) -> JoinHandle<()> {
        self.task
    }
}

/// What was started on an open database.
struct Started {
    generation: Generation,
    courier: Courier,
    listeners: Listeners,
    shutdown: Shutdown,
    body_memory: usize,
    fingerprint: secrets::Fingerprint,
    minding: Vec<JoinHandle<()>>,
}

impl Appliance {
    /// Starts everything: database, migrations, listeners, services. Returns when every listener is bound.
    ///
    /// # Errors
    /// What could not be started, and why; nothing is left running then.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        Self::start_under(config, Circumstances::default()).await
    }

    /// The same in a world that a test made.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_under(config: &Config, mut world: Circumstances) -> anyhow::Result<Self> {
        let database = Database::open(config).await?;
        match Self::start_on(config, &database, &mut world).await {
            Ok(started) => Ok(Self::run(config, world, database, started)),
            Err(error) => {
                database.close().await;
                Err(error)
            }
        }
    }

    async fn start_on(config: &Config, database: &Database, world: &mut Circumstances) -> anyhow::Result<Started> {
        let ground = world.ground(config)?;
        let store = database.store(config, &config.database).await?;
        let fingerprint = secrets::Fingerprint::of(config);
        let body_memory = body_memory(config);
        let resolver: Arc<dyn Resolver> = Arc::new(Asking::new(ground.dns.clone()));
        let settings = posthorn_mail::Settings {
            body_memory,
            clock: world.take_clock(),
            resolver: Some(resolver),
            ..secrets::settings(config)?
        };
        let mail = Mail::new(store, settings).await.context("the database cannot be read")?;
        secrets::hold_against(&mail).await?;
        let shutdown = Shutdown::new();
        let parts = Parts { mail: mail.clone(), policy: None, filter: None, ground: ground.clone() };
        let (generation, minding) = Generation::of(config, parts, &shutdown).await?;
        let listeners = Listeners::bind(config)?;
        let settings = world.courier(config);
        let courier = Courier::start(mail, ground, settings).await.context("the courier does not start")?;
        Ok(Started { generation, courier, listeners, shutdown, body_memory, fingerprint, minding })
    }

    fn run(config: &Config, world: Circumstances, database: Database, started: Started) -> Self {
        let Started { generation, courier, listeners, shutdown, body_memory, fingerprint, minding } = started;
        let courier = OnDuty::new(courier);
        let metrics = OpenMetrics::new(config, generation.mail.clone(), listeners.clone(), courier.clone());
        let health = Health {
            mail: generation.mail.clone(),
            listeners: listeners.clone(),
            courier: courier.clone(),
            shutdown: shutdown.clone(),
        };
        let router = generation.router(config, watching(metrics.clone(), health));
        let serving = {
            let (listeners, shutdown) = (listeners.clone(), shutdown.clone());
            tokio::spawn(async move { listeners.serve(move |speaks| router(speaks), shutdown).await })
        };
        let working = Working::begin(generation.mail.clone(), shutdown.clone());
        let config = config.clone();
        Self {
            config,
            world,
            generation,
            courier,
            listeners,
            database,
            shutdown,
            metrics,
            body_memory,
            fingerprint,
            working,
            minding,
            serving,
        }
    }

    /// What it runs with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The duties, for whoever works beside the listeners.
    #[must_use]
    pub fn mail(&self) -> &Mail {
        &self.generation.mail
    }

    /// What judges mail.
    #[must_use]
    pub fn filter(&self) -> &Filter {
        self.generation.filter.engine()
    }

    /// The database beneath.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Every socket that is open, with the address it really has.
    #[must_use]
    pub fn bound(&self) -> Vec<Bound> {
        self.listeners.bound()
    }

    /// Who takes mail to other hosts.
    #[must_use]
    pub fn courier(&self) -> Arc<Courier> {
        self.courier.courier()
    }

    /// Who says what is refused.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        self.generation.policy.engine()
    }

    /// What tells whether all is well.
    #[must_use]
    pub fn health(&self) -> Health {
        Health {
            mail: self.mail().clone(),
            listeners: self.listeners.clone(),
            courier: self.courier.clone(),
            shutdown: self.shutdown.clone(),
        }
    }

    /// The handle to suspend and resume sockets and to look at sessions.
    #[must_use]
    pub fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// The signals that stop it.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Stops in order: no new sessions, goodbyes, what is on its way to other hosts, the last commits, the database.
    pub async fn stop(self) {
        self.shutdown.stop();
        // Both at once, each with its grace; a second signal cuts both.
        let courier = async {
            let courier = self.courier.courier();
            tokio::select! {
                () = courier.stop(self.config.server.grace.duration()) => {}
                () = self.shutdown.cutting() => {}
            }
        };
        let (served, ()) = tokio::join!(self.serving, courier);
        if let Err(error) = served {
            tracing::error!(%error, "the listeners ended badly");
        }
        self.shutdown.cut();
        let working = self.working.end();
        for task in self.minding.into_iter().chain([working]) {
            if let Err(error) = task.await {
                tracing::error!(%error, "work in the background ended badly");
            }
        }
        self.generation.mail.store().close().await;
        self.database.close().await;
    }
}

/// What requests on the control socket are answered from; reloads are given to `orders`.
pub(crate) fn desk(appliance: &Appliance, orders: mpsc::Sender<Order>) -> Desk {
    let (listeners, metrics) = (appliance.listeners.clone(), appliance.metrics.clone());
    Desk { listeners, orders, metrics, health: appliance.health() }
}

/// What others watch an appliance by.
pub(crate) fn watching(metrics: OpenMetrics, health: Health) -> Arc<dyn Service> {
    Arc::new(crate::watching::service(metrics, health))
}

/// The octets of message bodies that sessions may hold at once.
pub(crate) fn body_memory(config: &Config) -> usize {
    let octets = config.limits.memory.map_or(BODY_MEMORY, |memory| share(memory.octets()));
    usize::try_from(octets).unwrap_or(usize::MAX)
}

/// What the program takes between this moment and its first session: code that nobody needed yet, rules, caches.
const STARTING: u64 = 32 << 20;

/// The share of a memory limit that bodies have: a quarter of what the program does not use already for itself. A buffer
/// that grows is there twice for a moment, and the allocator gives back later: that is the second quarter. Who judges
/// a body decodes its parts: the third. Sessions, caches and logins have the last.
fn share(limit: u64) -> u64 {
    limit.saturating_sub(posthorn_net::resident().unwrap_or(0).saturating_add(STARTING)) / 4
}

/// Which service answers which protocol: the one place where rows of the configuration become services.
pub(crate) fn router(
    config: &Config,
    generation: &Generation,
    watching: Arc<dyn Service>,
) -> impl Fn(Speaks) -> Option<Arc<dyn Service>> + Send + Sync + 'static {
    let settings = Arc::new(Settings::of(config));
    let Generation { mail, assent, tls, .. } = generation;
    let (policy, filter) = (generation.policy.engine(), generation.filter.engine());
    let judge = config.filter.enable.then(|| filter.clone());
    let smtp = |dialect| {
        Arc::new(Smtp::new(mail.clone(), Arc::clone(&settings), dialect, assent.clone()).judged_by(judge.clone()))
    };
    let lmtp = Smtp::new(mail.clone(), Arc::clone(&settings), Dialect::Lmtp, assent.clone());
    let lmtp = Arc::new(lmtp.judged_by(judge.clone().filter(|_| config.filter.lmtp)));
    let (relay, submission) = (smtp(Dialect::Smtp), smtp(Dialect::Submission));
    let imap = Arc::new(Imap::new(mail.clone(), Arc::clone(&settings)));
    // What comes back is judged, and its senders are: neither policy nor filter have a say.
    let back = Smtp::new(mail.clone(), Arc::clone(&settings), Dialect::Smtp, Assent::default());
    let (reinject, expand) = (Arc::new(back.clone().unexpanded()), Arc::new(back));
    let content = ContentFilter::new(mail.clone(), filter.clone(), Arc::clone(&settings), tls.clone());
    let (content, milter) = (Arc::new(content), Arc::new(Milter::new(mail.clone(), filter.clone())));
    let largest = config.mail.max_message_size.octets();
    let held = Arc::new(AmPdp::new(mail.clone(), filter.clone(), config.server.hostname.clone(), largest));
    let policy = Arc::new(posthorn_front::Policy::new(policy.clone()));
    let release = Arc::new(posthorn_front::release(filter));
    let table = |direction| Arc::new(Srs::new(mail.clone(), direction));
    let (forward, reverse) = (table(Direction::Forward), table(Direction::Reverse));
    move |speaks| {
        Some(match speaks {
            Speaks::Smtp => relay.clone(),
            Speaks::Submission | Speaks::Submissions => submission.clone(),
            Speaks::Lmtp => lmtp.clone(),
            Speaks::Imap | Speaks::Imaps => imap.clone() as Arc<dyn Service>,
            Speaks::Policy => policy.clone(),
            Speaks::SrsForward => forward.clone(),
            Speaks::SrsReverse => reverse.clone(),
            Speaks::Filter => content.clone(),
            Speaks::Reinject => reinject.clone(),
            Speaks::ReinjectExpand => expand.clone(),
            Speaks::AmPdp => held.clone(),
            Speaks::Milter => milter.clone(),
            Speaks::Release => release.clone(),
            Speaks::Metrics => watching.clone(),
        })
    }
}
