//! The duties of a mail server, whichever protocol asks: accept, route, deliver, authenticate, keep mailboxes, search.
//!
//! A duty begins transactions, decides, and answers with values; it knows no protocol and no socket. [`Mail`] is the
//! one handle that fronts hold.

pub mod accept;
mod aftermath;
pub mod apply;
pub mod authenticate;
mod budget;
pub mod departures;
pub mod directory;
mod dispatch;
pub mod dkim;
pub mod envelope;
mod failures;
mod intake;
mod legs;
pub mod live;
pub mod mailboxes;
mod news;
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
pub mod suppress;
pub mod trace;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, Utc};
use parking_lot::Mutex;
use posthorn_config::{Dkim, Mail as MailSection, QueuePolicies};
use posthorn_model::{AccountId, ClaimId, Clock, DeliveryId};
use posthorn_store::Store;
use posthorn_trust::MasterKey;

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

struct Shared {
    clock: Box<dyn Clock>,
    section: MailSection,
    live: Live,
    routes: route::Cache,
    unsuppressed: suppress::Unsuppressed,
    logins: authenticate::Cache,
    failures: failures::Failures,
    budget: Budget,
    /// Behind decoy salts and the login cache; lives as long as the installation.
    secret: Vec<u8>,
    hostname: String,
    policies: QueuePolicies,
    /// How long traces are kept.
    trace_for: Duration,
    paths: return_paths::ReturnPaths,
    departures: departures::Departures,
    /// Deliveries that may lie in the queue, claimed by a courier that does not know of them.
    doubtful: Mutex<Vec<(DeliveryId, ClaimId)>>,
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

impl Mail {
    /// Takes up the duties on an open store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn new(store: Store, mut settings: Settings) -> Result<Self> {
        let mut connection = store.acquire().await?;
        let secret = posthorn_store::settings::keep(&mut connection, "secret", &random::<32>()?).await?;
        drop(connection);
        let paths = settings.return_paths(&secret)?;
        let (fixed, file_keys) = settings.keys_in_files();
        let master_key = settings.master_key.and_then(|key| MasterKey::new(&key).ok());
        let names = moka::sync::Cache::builder().max_capacity(50_000).time_to_live(Duration::from_secs(60)).build();
        let shared = Shared {
            clock: settings.clock,
            logins: authenticate::Cache::new(&settings.auth)?,
            failures: failures::Failures::new(&settings.auth),
            section: settings.mail,
            live: Live::new(store.clone()),
            routes: route::Cache::new(),
            unsuppressed: suppress::unsuppressed(),
            budget: Budget::new(settings.body_memory),
            secret,
            hostname: settings.hostname,
            policies: QueuePolicies::new(&settings.queue),
            trace_for: settings.queue.trace_for.duration(),
            paths,
            departures: departures::Departures::default(),
            doubtful: Mutex::default(),
            signs: settings.dkim.sign,
            dkim: settings.dkim,
            signers: sign::Signers::new(fixed),
            ways: sign::Ways::new(&settings.route, &settings.binding),
            master_key,
            file_keys,
            names,
        };
        Ok(Self { store, shared: Arc::new(shared) })
    }

    /// Works in the background until `stop` ends: hears other processes' changes, removes orphaned messages, forgets
    /// mailboxes that nobody looks at.
    pub async fn work(&self, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = stop => {}
            () = news::hear(self) => {}
            () = news::reap(self) => {}
        }
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

/// Octets from the operating system's generator.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut octets = [0; N];
    aws_lc_rs::rand::fill(&mut octets).map_err(|_| Error::Randomness)?;
    Ok(octets)
}
