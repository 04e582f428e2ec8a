//! The duties of a mail server, whichever protocol asks: accept, route, deliver, authenticate, keep mailboxes, search.
//!
//! A duty begins transactions, decides, and answers with values; it knows no protocol and no socket. [`Mail`] is the
//! one handle that fronts hold.

pub mod accept;
mod aftermath;
pub mod apply;
pub mod authenticate;
mod budget;
pub mod checks;
pub mod convert;
pub mod copies;
pub mod departures;
pub mod directory;
mod discarded;
mod dispatch;
pub mod dkim;
pub mod envelope;
mod failures;
pub mod feedback;
mod intake;
pub mod kept_back;
mod legs;
pub mod lent;
pub mod live;
pub mod mailboxes;
pub mod master_key;
mod news;
mod notify;
pub mod opinions;
mod patience;
mod place;
pub mod queue;
pub mod report;
mod return_paths;
mod returned;
pub mod route;
pub mod search;
pub mod selected;
mod settings;
mod sign;
mod srs;
pub mod suppress;
pub mod trace;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, Utc};
use parking_lot::Mutex;
use posthorn_config::{Auth, Dkim, Mail as MailSection, QueuePolicies};
use posthorn_model::{AccountId, ClaimId, Clock, DeliveryId};
use posthorn_store::Store;
use posthorn_trust::{MasterKey, Resolver};

pub use budget::{Budget, Reservation};
pub use intake::Intake;
pub use live::Live;
pub use posthorn_store::mailboxes::Mailbox;
pub use posthorn_store::memberships::{FlagChange, Membership};
pub use posthorn_store::messages::Message;
pub use posthorn_store::writer::PART_SIZE;
pub use settings::Settings;

/// What can go wrong in a duty. Refusals are values; these are faults, told to clients as a temporary failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host name that was given is none.
    #[error("server.hostname is not a host name")]
    Hostname,
    /// A task of ours ended early.
    #[error("an internal task failed")]
    Internal,
    /// The account vanished while a session worked in it.
    #[error("the account does not exist any more")]
    NoAccount,
    /// The operating system gave no random octets.
    #[error("no randomness from the operating system")]
    Randomness,
    /// A signing key could not be used.
    #[error("signing: {0}")]
    Signing(posthorn_trust::Fault),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] posthorn_store::Error),
    /// A stored structure cannot be read.
    #[error("stored structure is damaged")]
    Structure,
}

impl Error {
    /// Whether what is stored cannot be read, and never will be.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Structure | Self::Store(posthorn_store::Error::Damaged(_)))
    }
}

/// The result of every duty.
pub type Result<T> = std::result::Result<T, Error>;

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}

/// The duties, with what they share. Cheap to clone.
#[derive(Clone)]
pub struct Mail {
    store: Store,
    shared: Arc<Shared>,
}

/// What handles under different settings have in common.
struct State {
    live: Arc<Live>,
    routes: Arc<route::Cache>,
    junk: Arc<copies::Junk>,
    folders: moka::sync::Cache<AccountId, opinions::Folders>,
    opinions: Arc<opinions::Opinions>,
    unsuppressed: suppress::Unsuppressed,
    logins: Arc<authenticate::Cache>,
    failures: Arc<failures::Failures>,
    budget: Budget,
    secret: Vec<u8>,
    counted: Arc<feedback::Counted>,
    departures: Arc<departures::Departures>,
    doubtful: Arc<Mutex<Vec<(DeliveryId, ClaimId)>>>,
    names: moka::sync::Cache<AccountId, Option<String>>,
}

impl State {
    fn new(store: &Store, settings: &Settings, secret: Vec<u8>) -> Result<Self> {
        let names = moka::sync::Cache::builder().max_capacity(50_000).time_to_live(Duration::from_secs(60)).build();
        let folders = moka::sync::Cache::builder().max_capacity(50_000).time_to_live(Duration::from_secs(60)).build();
        Ok(Self {
            live: Arc::new(Live::new(store.clone())),
            routes: Arc::new(route::Cache::new()),
            junk: Arc::new(copies::Junk::new()),
            folders,
            opinions: Arc::default(),
            unsuppressed: suppress::unsuppressed(),
            logins: Arc::new(authenticate::Cache::new(&settings.auth)?),
            failures: Arc::new(failures::Failures::new(&settings.auth)),
            budget: Budget::new(settings.body_memory),
            secret,
            counted: Arc::default(),
            departures: Arc::default(),
            doubtful: Arc::default(),
            names,
        })
    }
}

struct Shared {
    clock: Arc<dyn Clock>,
    auth: Auth,
    section: MailSection,
    live: Arc<Live>,
    routes: Arc<route::Cache>,
    junk: Arc<copies::Junk>,
    /// Folders whose mail is spam or thrown away, for what moves say.
    folders: moka::sync::Cache<AccountId, opinions::Folders>,
    opinions: Arc<opinions::Opinions>,
    unsuppressed: suppress::Unsuppressed,
    logins: Arc<authenticate::Cache>,
    failures: Arc<failures::Failures>,
    budget: Budget,
    /// Behind decoy salts and the login cache; lives as long as the installation.
    secret: Vec<u8>,
    hostname: String,
    policies: QueuePolicies,
    /// How long traces are kept.
    trace_for: Duration,
    paths: return_paths::ReturnPaths,
    /// Who finds out about strangers' mail; nobody does without a resolver.
    checks: Option<checks::Checks>,
    /// Who asks the DNS about anything else.
    resolver: Option<Arc<dyn Resolver>>,
    reports: posthorn_config::Reports,
    /// Strangers' mail, counted for reports.
    counted: Arc<feedback::Counted>,
    departures: Arc<departures::Departures>,
    /// Deliveries that may lie in the queue, claimed by a courier that does not know of them.
    doubtful: Arc<Mutex<Vec<(DeliveryId, ClaimId)>>>,
    dkim: Dkim,
    /// Whether mail that leaves is signed.
    signs: bool,
    signers: sign::Signers,
    ways: sign::Ways,
    master_key: Option<MasterKey>,
    /// Keys in files, as people see them.
    file_keys: Vec<dkim::KeyView>,
    /// Addresses of accounts, for routes by account.
    names: moka::sync::Cache<AccountId, Option<String>>,
}

impl Shared {
    fn new(state: State, mut settings: Settings, clock: Arc<dyn Clock>) -> Result<Self> {
        let paths = settings.return_paths(&state.secret)?;
        let (fixed, file_keys) = settings.keys_in_files();
        let master_key = settings.master_key.and_then(|key| MasterKey::new(&key).ok());
        let timeout = settings.checks.timeout.duration();
        let asked = settings.resolver.clone().filter(|_| settings.checks.enable);
        Ok(Self {
            clock,
            auth: settings.auth,
            logins: state.logins,
            failures: state.failures,
            section: settings.mail,
            live: state.live,
            routes: state.routes,
            junk: state.junk,
            folders: state.folders,
            opinions: state.opinions,
            unsuppressed: state.unsuppressed,
            budget: state.budget,
            secret: state.secret,
            hostname: settings.hostname,
            policies: QueuePolicies::new(&settings.queue),
            trace_for: settings.queue.trace_for.duration(),
            paths,
            resolver: settings.resolver,
            reports: settings.reports,
            counted: state.counted,
            checks: asked.map(|resolver| checks::Checks::new(resolver, timeout)),
            departures: state.departures,
            doubtful: state.doubtful,
            signs: settings.dkim.sign,
            dkim: settings.dkim,
            signers: sign::Signers::new(fixed),
            ways: sign::Ways::new(&settings.route, &settings.binding),
            master_key,
            file_keys,
            names: state.names,
        })
    }

    /// What a handle under these settings takes over; what is remembered of logins only while they are judged alike.
    fn state(&self, settings: &Settings) -> Result<State> {
        let alike = self.auth == settings.auth;
        let logins = if alike { Arc::clone(&self.logins) } else { Arc::new(authenticate::Cache::new(&settings.auth)?) };
        let failures =
            if alike { Arc::clone(&self.failures) } else { Arc::new(failures::Failures::new(&settings.auth)) };
        let same = self.budget.limit() == settings.body_memory;
        Ok(State {
            live: Arc::clone(&self.live),
            routes: Arc::clone(&self.routes),
            junk: Arc::clone(&self.junk),
            folders: self.folders.clone(),
            opinions: Arc::clone(&self.opinions),
            unsuppressed: self.unsuppressed.clone(),
            logins,
            failures,
            budget: if same { self.budget.clone() } else { Budget::new(settings.body_memory) },
            secret: self.secret.clone(),
            counted: Arc::clone(&self.counted),
            departures: Arc::clone(&self.departures),
            doubtful: Arc::clone(&self.doubtful),
            names: self.names.clone(),
        })
    }
}

/// The name of what lives as long as the installation.
const SECRET: &str = "secret";

impl Mail {
    /// Takes up the duties on an open store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn new(store: Store, settings: Settings) -> Result<Self> {
        let mut connection = store.acquire().await?;
        let secret = match posthorn_store::settings::find(&mut connection, SECRET).await? {
            Some(secret) => secret,
            None => posthorn_store::settings::keep(&mut connection, SECRET, &random::<32>()?).await?,
        };
        drop(connection);
        let state = State::new(&store, &settings, secret)?;
        let (settings, clock) = settings.apart();
        let shared = Shared::new(state, settings, clock.into())?;
        Ok(Self { store, shared: Arc::new(shared) })
    }

    /// The same duties under other settings: what is known and remembered is shared with this handle, whose users go on
    /// as they began. The clock stays. The work in the background is to be done by the newest handle alone.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub fn renewed(&self, settings: Settings) -> Result<Self> {
        let state = self.shared.state(&settings)?;
        // What is known of recipients may have been found out under other settings.
        state.routes.clear();
        let shared = Shared::new(state, settings.apart().0, Arc::clone(&self.shared.clock))?;
        Ok(Self { store: self.store.clone(), shared: Arc::new(shared) })
    }

    /// Works in the background until `stop` ends: hears other processes' changes, removes orphaned messages, forgets
    /// mailboxes that nobody looks at.
    pub async fn work(&self, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = stop => {}
            () = news::hear(self) => {}
            () = news::reap(self) => {}
            () = feedback::write(self) => {}
            () = feedback::send(self) => {}
        }
        self.keep_counted().await;
    }

    /// The store beneath, for commands that administer it.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The `[mail]` section.
    #[must_use]
    pub fn section(&self) -> &MailSection {
        &self.shared.section
    }

    /// The present moment of the clock that was given, as precisely as the store keeps it.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.shared.clock.now().trunc_subsecs(6)
    }

    /// Memory for messages beyond what a session may hold by itself; shared by all sessions.
    #[must_use]
    pub fn reserve(&self) -> Reservation {
        self.shared.budget.reserve()
    }

    /// The mailboxes that sessions look at.
    #[must_use]
    pub fn live(&self) -> &Live {
        &self.shared.live
    }
}

/// Octets from the operating system's generator. Not through AWS-LC's: that gathers entropy for 30 ms before its first
/// octet, and each command would wait for it.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut octets = [0; N];
    getrandom::fill(&mut octets).map_err(|_| Error::Randomness)?;
    Ok(octets)
}
