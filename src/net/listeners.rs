//! All endpoints of the configuration: bound together, served together, closed and opened one by one.

mod change;
mod slot;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use posthorn_config::{Config, Exposure, ListenAddress, Listener, Policy, Speaks, TlsMode};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::admission::{Arrival, Gate, run};
use crate::caps::{CapsSnapshot, Scope};
use crate::doorway::{Doorway, SessionLimits, Timing};
use crate::keyring::Source;
use crate::sessions::Sessions;
use crate::sockets::Door;
use crate::tls::{ServerTls, Wanted};
use crate::vitals::Vitals;
use crate::{Local, Service, SessionId, SessionView, Shutdown, TlsError, self_signed};

use self::slot::{Front, Slot, State};

pub use self::change::{Change, Changed};
pub use self::slot::Decree;

/// Names one `listen` address for as long as the process runs.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EndpointId(pub u32);

/// A socket that is open.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bound {
    /// The endpoint it belongs to.
    pub id: EndpointId,
    /// The listener's name.
    pub listener: Arc<str>,
    /// The protocol.
    pub speaks: Speaks,
    /// The address, with the port that the kernel chose where port 0 was asked for.
    pub address: Local,
}

/// Why an endpoint is not bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The system refuses the address.
    #[error("listener {listener}: cannot listen on {address}: {source}")]
    Address {
        /// The listener's name.
        listener: String,
        /// The address as configured.
        address: ListenAddress,
        /// What the system says.
        source: std::io::Error,
    },
    /// An internal service would be reachable from other machines.
    #[error("listener {listener}, {address}: {source}")]
    Exposed {
        /// The listener's name.
        listener: String,
        /// The address as configured.
        address: ListenAddress,
        /// What is missing.
        source: Exposure,
    },
    /// The service manager holds no socket of this name.
    #[error("listener {listener}: no socket named {name} was handed over by the service manager")]
    NotHandedOver {
        /// The listener's name.
        listener: String,
        /// The name behind `systemd:`.
        name: String,
    },
    /// The certificates of the listener are unusable.
    #[error("listener {listener}: {source}")]
    Tls {
        /// The listener's name.
        listener: String,
        /// What is wrong with them.
        source: TlsError,
    },
    /// There is no such endpoint.
    #[error("no such endpoint")]
    Unknown,
}

/// One `listen` address as an operator sees it.
#[derive(Clone, Debug)]
pub struct EndpointView {
    /// Its name within the process.
    pub id: EndpointId,
    /// The listener's name.
    pub listener: Arc<str>,
    /// The protocol.
    pub speaks: Speaks,
    /// The address as configured.
    pub address: ListenAddress,
    /// The sockets that are open, with the ports that the kernel chose.
    pub bound: Vec<Local>,
    /// Whether connections are taken.
    pub open: bool,
    /// What an operator ordered, while that differs from the configuration.
    pub decree: Option<Decree>,
    /// Sessions that run.
    pub sessions: u32,
}

/// Which service speaks a protocol.
pub type Router = Arc<dyn Fn(Speaks) -> Option<Arc<dyn Service>> + Send + Sync>;

/// All endpoints. Clones are handles to the same ones.
#[derive(Clone, Debug)]
pub struct Listeners {
    shared: Arc<Shared>,
}

struct Shared {
    slots: Mutex<Vec<Arc<Slot>>>,
    /// The next endpoint's number.
    next: AtomicU32,
    gate: Arc<Gate>,
    sessions: Sessions,
    grace: Mutex<Duration>,
    running: Mutex<Option<Running>>,
    /// Changes come one after the other.
    changing: Arc<tokio::sync::Mutex<()>>,
}

struct Running {
    router: Router,
    shutdown: Shutdown,
}

impl Listeners {
    /// Binds every enabled endpoint and reads every certificate (making a self-signed one where none is configured).
    /// Must be called inside a tokio runtime. Nothing is accepted before [`serve`](Self::serve).
    ///
    /// # Errors
    /// The first endpoint that cannot be bound; everything bound before it is closed again.
    pub fn bind(config: &Config) -> Result<Self, BindError> {
        let memory = config.limits.memory.map_or(0, posthorn_config::Size::octets);
        let shared = Shared {
            slots: Mutex::default(),
            next: AtomicU32::new(0),
            gate: Arc::new(Gate::new(memory)),
            sessions: Sessions::default(),
            grace: Mutex::new(config.server.grace.duration()),
            running: Mutex::default(),
            changing: Arc::default(),
        };
        let mut slots = Vec::new();
        for mut front in fronts(config)? {
            let id = shared.next_id();
            front.doorway = Arc::new(Doorway { id, ..(*front.doorway).clone() });
            let slot = Slot::new(id, front.clone());
            if !front.is_enabled() {
                slots.push(Arc::new(slot));
                continue;
            }
            let doors = slot.bind(&front)?;
            slot.opened(&doors);
            slots.push(Arc::new(Slot { state: tokio::sync::Mutex::new(State::Open(doors)), ..slot }));
        }
        *shared.slots.lock() = slots;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// All sockets that are open now, in the order of the configuration.
    #[must_use]
    pub fn bound(&self) -> Vec<Bound> {
        let bound = |view: EndpointView| {
            let EndpointView { id, listener, speaks, bound, .. } = view;
            bound.into_iter().map(move |address| Bound { id, listener: Arc::clone(&listener), speaks, address })
        };
        self.endpoints().into_iter().flat_map(bound).collect()
    }

    /// Every endpoint, open or not, in the order of the configuration.
    #[must_use]
    pub fn endpoints(&self) -> Vec<EndpointView> {
        let slots = self.shared.slots.lock().clone();
        slots.iter().map(|slot| self.view(slot)).collect()
    }

    fn view(&self, slot: &Slot) -> EndpointView {
        let front = slot.front.load();
        let open = *slot.open.lock();
        EndpointView {
            id: slot.id,
            listener: Arc::clone(&front.doorway.name),
            speaks: front.doorway.listener.speaks,
            address: slot.address.clone(),
            bound: if open { slot.last.lock().clone() } else { Vec::new() },
            open,
            decree: slot.decree.lock().clone(),
            sessions: self.shared.gate.caps.held(&Scope::Endpoint(slot.id)),
        }
    }

    /// Accepts connections on every open endpoint until the soft signal, then stops accepting, waits for the
    /// sessions to say goodbye for as long as `server.grace`, cuts the rest, and returns.
    ///
    /// `router` names the service of each protocol; an endpoint whose protocol has none is closed with an error in
    /// the log. To be called once.
    pub async fn serve(
        &self,
        router: impl Fn(Speaks) -> Option<Arc<dyn Service>> + Send + Sync + 'static,
        shutdown: Shutdown,
    ) {
        let router: Router = Arc::new(router);
        {
            let mut running = self.shared.running.lock();
            if running.is_some() {
                tracing::error!("listeners are served already");
                return;
            }
            *running = Some(Running { router: Arc::clone(&router), shutdown: shutdown.clone() });
        }
        self.shared.gate.memory.look();
        self.shared.gate.memory.judge();
        let slots = self.shared.slots.lock().clone();
        for slot in &slots {
            let mut front = (*slot.front.load_full()).clone();
            front.serve(&router, &shutdown);
            slot.front.store(Arc::new(front));
            let mut state = slot.state.lock().await;
            if let State::Open(doors) = std::mem::replace(&mut *state, State::Closed) {
                *state = self.start(slot, doors);
            }
        }
        self.supervise(&shutdown).await;
        let alone = self.shared.changing.lock().await;
        let slots = self.shared.slots.lock().clone();
        for slot in &slots {
            slot.close().await;
        }
        drop(alone);
        self.drain(&shutdown).await;
        // Services may know these listeners: nobody is left to need them.
        *self.shared.running.lock() = None;
        for slot in &slots {
            slot.front.store(Arc::new(Front { service: None, ..(*slot.front.load_full()).clone() }));
        }
    }

    /// Closes one endpoint's sockets. Sessions that run and all other endpoints are undisturbed.
    ///
    /// # Errors
    /// [`BindError::Unknown`].
    pub async fn suspend(&self, id: EndpointId) -> Result<(), BindError> {
        let _alone = self.shared.changing.lock().await;
        self.slot(id)?.close().await;
        Ok(())
    }

    /// Opens one endpoint again (or for the first time, if it is configured with `enable = false`), on the port it
    /// had. Does nothing when it is open.
    ///
    /// # Errors
    /// Whatever [`bind`](Self::bind) says of that endpoint, or [`BindError::Unknown`].
    pub async fn resume(&self, id: EndpointId) -> Result<(), BindError> {
        let _alone = self.shared.changing.lock().await;
        let slot = self.slot(id)?;
        let stopping = self.shared.running.lock().as_ref().is_some_and(|running| running.shutdown.is_stopping());
        if *slot.open.lock() || stopping {
            return Ok(());
        }
        let doors = slot.bind(&slot.front.load_full())?;
        self.install(&slot, doors).await;
        Ok(())
    }

    /// Closes one endpoint until somebody [enables](Self::enable) it, whatever later configurations say. A socket that
    /// the service manager holds is its own: clients wait there instead of being refused.
    ///
    /// # Errors
    /// As [`Self::suspend`].
    pub async fn disable(&self, id: EndpointId, by: &str) -> Result<(), BindError> {
        self.suspend(id).await?;
        let slot = self.slot(id)?;
        let mut decree = slot.decree.lock();
        if decree.as_ref().is_none_or(|decree| decree.open) {
            *decree = Some(Decree { open: false, by: by.to_owned(), at: SystemTime::now() });
        }
        Ok(())
    }

    /// Opens one endpoint, also one that is configured with `enable = false`.
    ///
    /// # Errors
    /// As [`Self::resume`].
    pub async fn enable(&self, id: EndpointId, by: &str) -> Result<(), BindError> {
        self.resume(id).await?;
        let slot = self.slot(id)?;
        let configured = slot.front.load().is_enabled();
        let mut decree = slot.decree.lock();
        if configured {
            *decree = None;
        } else if decree.as_ref().is_none_or(|decree| !decree.open) {
            *decree = Some(Decree { open: true, by: by.to_owned(), at: SystemTime::now() });
        }
        Ok(())
    }

    /// The endpoint of this listener and address as configured, open or not.
    #[must_use]
    pub fn endpoint(&self, listener: &str, address: &ListenAddress) -> Option<EndpointId> {
        let named = |slot: &&Arc<Slot>| &*slot.front.load().doorway.name == listener && slot.address == *address;
        self.shared.slots.lock().iter().find(named).map(|slot| slot.id)
    }

    /// Sessions held and connections refused, by scope.
    #[must_use]
    pub fn caps(&self) -> CapsSnapshot {
        self.shared.gate.caps.snapshot()
    }

    /// All running sessions, oldest first.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionView> {
        self.shared.sessions.view()
    }

    /// Ends one session where it stands; whether there was one.
    #[must_use]
    pub fn cut(&self, id: SessionId) -> bool {
        self.shared.sessions.cut(id)
    }

    fn slot(&self, id: EndpointId) -> Result<Arc<Slot>, BindError> {
        let slots = self.shared.slots.lock();
        slots.iter().find(|slot| slot.id == id).cloned().ok_or(BindError::Unknown)
    }

    /// Starts the accept loops of one endpoint.
    fn start(&self, slot: &Arc<Slot>, doors: Vec<Arc<Door>>) -> State {
        let front = slot.front.load_full();
        if front.service.is_none() {
            let speaks = front.doorway.listener.speaks;
            tracing::error!(listener = %front.doorway.name, protocol = speaks.name(), "nothing speaks this protocol");
            *slot.open.lock() = false;
            return State::Closed;
        }
        let closing = CancellationToken::new();
        let begin = |door: &Arc<Door>| {
            let shared = Arc::clone(&self.shared);
            tokio::spawn(accept(shared, Arc::clone(door), Arc::clone(slot), closing.clone()))
        };
        let loops = doors.iter().map(begin).collect();
        State::Serving { closing, doors, loops }
    }

    async fn supervise(&self, shutdown: &Shutdown) {
        let mut ticks = interval(SUPERVISE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.stopping() => return,
                _ = ticks.tick() => {
                    self.shared.gate.memory.look();
                    self.shared.sessions.reap(STUCK);
                }
            }
        }
    }

    async fn drain(&self, shutdown: &Shutdown) {
        let sessions = &self.shared.sessions;
        let grace = *self.shared.grace.lock();
        let graceful = async {
            tokio::select! {
                ended = timeout(grace, sessions.ended()) => ended.is_ok(),
                () = shutdown.cutting() => false,
            }
        };
        if graceful.await {
            return;
        }
        shutdown.cut();
        if timeout(CUT_TIME, sessions.ended()).await.is_err() {
            tracing::warn!(sessions = sessions.view().len(), "sessions did not end and are cut");
            sessions.cut_all();
            // A session that never yields must not keep the process from stopping.
            let _ = timeout(CUT_TIME, sessions.ended()).await;
        }
    }
}

impl Shared {
    fn next_id(&self) -> EndpointId {
        EndpointId(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

impl Front {
    /// Lets it be served by who speaks its protocol.
    fn serve(&mut self, router: &Router, shutdown: &Shutdown) {
        self.doorway = Arc::new(Doorway { shutdown: shutdown.clone(), ..(*self.doorway).clone() });
        self.service = router(self.doorway.listener.speaks);
    }
}

/// What stands before each `listen` entry of a configuration, in its order; the numbers are given later.
fn fronts(config: &Config) -> Result<Vec<Front>, BindError> {
    let mut fronts = Vec::new();
    for listener in &config.listener {
        let tls = load_tls(config, listener)?;
        let shared = Arc::new(listener.clone());
        for endpoint in &listener.listen {
            let doorway = Doorway {
                id: EndpointId(u32::MAX),
                name: listener.name.as_str().into(),
                listener: Arc::clone(&shared),
                policy: Arc::new(Policy::new(config, listener, endpoint)),
                tls: tls.clone(),
                timing: Timing::new(&config.limits, &config.server),
                limits: SessionLimits::new(&config.limits, &config.listener, listener, endpoint),
                shutdown: Shutdown::new(),
            };
            fronts.push(Front { doorway: Arc::new(doorway), endpoint: endpoint.clone(), service: None });
        }
    }
    Ok(fronts)
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("endpoints", &self.slots.lock().len()).finish_non_exhaustive()
    }
}

/// Takes connections from one socket until told to close it.
async fn accept(shared: Arc<Shared>, door: Arc<Door>, slot: Arc<Slot>, closing: CancellationToken) {
    let mut pause = FIRST_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            () = closing.cancelled() => return,
            accepted = door.accept() => accepted,
        };
        match accepted {
            Ok((stream, client, local)) => {
                pause = FIRST_PAUSE;
                let Front { doorway, service, .. } = (*slot.front.load_full()).clone();
                let Some(service) = service else { continue };
                let vitals = Arc::new(Vitals::new(Arc::clone(&doorway.name)));
                let arrival = Arrival { stream, client, local, vitals: Arc::clone(&vitals) };
                let session = run(Arc::clone(&shared.gate), doorway, service, arrival);
                shared.sessions.spawn(vitals, session);
            }
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                // Out of descriptors or memory: what ends soonest is a session, so wait for that.
                if pause == FIRST_PAUSE {
                    tracing::error!(listener = %slot.front.load().doorway.name, %error, "cannot accept connections");
                }
                tokio::select! {
                    () = closing.cancelled() => return,
                    () = sleep(pause) => {}
                }
                pause = (pause * 2).min(LAST_PAUSE);
            }
        }
    }
}

/// Errors of a connection that went away before it was accepted (accept(2)).
fn is_of_the_client(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, NotConnected, TimedOut, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | NotConnected | TimedOut | WouldBlock)
}

fn load_tls(config: &Config, listener: &Listener) -> Result<Option<Arc<ServerTls>>, BindError> {
    if listener.tls_mode() == TlsMode::None {
        return Ok(None);
    }
    let failed = |source| BindError::Tls { listener: listener.name.clone(), source };
    let first = match (&listener.certificate, &listener.key) {
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        _ => {
            let pair = config.tls.pair(&config.server.data);
            self_signed::ensure(&pair, &config.server.hostname).map_err(failed)?;
            (pair.certificate, pair.key)
        }
    };
    let first = Source { names: Vec::new(), certificate: first.0, key: first.1 };
    let further = config.tls.certificates.iter().map(|certificate| Source {
        names: certificate.names.clone(),
        certificate: certificate.certificate.clone(),
        key: certificate.key.clone(),
    });
    let wanted = Wanted {
        minimum: config.tls.minimum,
        client_certificate: listener.client_certificate,
        client_ca: config.tls.client_ca.clone(),
        upgrades: listener.tls_mode() == TlsMode::StartTls,
    };
    let tls = ServerTls::load(std::iter::once(first).chain(further).collect(), wanted).map_err(failed)?;
    Ok(Some(Arc::new(tls)))
}

const SUPERVISE_EVERY: Duration = Duration::from_secs(1);
/// Longer than any event takes: a message's end waits at most for one commit.
const STUCK: Duration = Duration::from_secs(600);
const CUT_TIME: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
