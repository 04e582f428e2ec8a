//! All endpoints of the configuration: bound together, served together, closed and opened one by one.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use posthorn_config::{Config, Endpoint, Exposure, ListenAddress, Listener, Policy, Speaks, TlsMode, exposure};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::admission::{Arrival, Gate, run};
use crate::caps::CapsSnapshot;
use crate::doorway::{Doorway, SessionLimits, Timing};
use crate::keyring::Source;
use crate::sessions::Sessions;
use crate::sockets::Door;
use crate::tls::{ServerTls, Wanted};
use crate::vitals::Vitals;
use crate::{Local, Service, SessionId, SessionView, Shutdown, TlsError, self_signed};

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

/// All endpoints. Clones are handles to the same ones.
#[derive(Clone, Debug)]
pub struct Listeners {
    shared: Arc<Shared>,
}

struct Shared {
    slots: Vec<Slot>,
    gate: Arc<Gate>,
    sessions: Sessions,
    grace: Duration,
    running: OnceLock<Running>,
}

struct Running {
    router: Box<dyn Fn(Speaks) -> Option<Arc<dyn Service>> + Send + Sync>,
    shutdown: Shutdown,
}

/// One `listen` entry, open or not.
struct Slot {
    doorway: Doorway,
    endpoint: Endpoint,
    /// What is bound, or was bound last.
    last: Mutex<Vec<Local>>,
    state: tokio::sync::Mutex<State>,
    open: Mutex<bool>,
}

enum State {
    Closed,
    Open(Vec<Door>),
    Serving { closing: CancellationToken, loops: Vec<JoinHandle<()>> },
}

impl Listeners {
    /// Binds every enabled endpoint and reads every certificate (making a self-signed one where none is configured).
    /// Must be called inside a tokio runtime. Nothing is accepted before [`serve`](Self::serve).
    ///
    /// # Errors
    /// The first endpoint that cannot be bound; everything bound before it is closed again.
    pub fn bind(config: &Config) -> Result<Self, BindError> {
        let mut slots = Vec::new();
        for listener in &config.listener {
            let tls = load_tls(config, listener)?;
            let shared = Arc::new(listener.clone());
            for endpoint in &listener.listen {
                let doorway = Doorway {
                    id: EndpointId(u32::try_from(slots.len()).unwrap_or(u32::MAX)),
                    name: listener.name.as_str().into(),
                    listener: Arc::clone(&shared),
                    policy: Arc::new(Policy::new(config, listener, endpoint)),
                    tls: tls.clone(),
                    timing: Timing::new(&config.limits, &config.server),
                    limits: SessionLimits::new(&config.limits, &config.listener, listener, endpoint),
                    shutdown: Shutdown::new(),
                };
                slots.push(Slot::new(doorway, endpoint.clone())?);
            }
        }
        let memory = config.limits.memory.map_or(0, posthorn_config::Size::octets);
        Ok(Self {
            shared: Arc::new(Shared {
                slots,
                gate: Arc::new(Gate::new(memory)),
                sessions: Sessions::default(),
                grace: config.server.grace.duration(),
                running: OnceLock::new(),
            }),
        })
    }

    /// All sockets that are open now, in the order of the configuration.
    #[must_use]
    pub fn bound(&self) -> Vec<Bound> {
        let open = self.shared.slots.iter().filter(|slot| *slot.open.lock());
        let bound = |slot: &Slot| {
            let addresses = slot.last.lock().clone();
            let doorway = slot.doorway.clone();
            addresses.into_iter().map(move |address| Bound {
                id: doorway.id,
                listener: Arc::clone(&doorway.name),
                speaks: doorway.listener.speaks,
                address,
            })
        };
        open.flat_map(bound).collect()
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
        let running = Running { router: Box::new(router), shutdown: shutdown.clone() };
        if self.shared.running.set(running).is_err() {
            tracing::error!("listeners are served already");
            return;
        }
        self.shared.gate.memory.look();
        self.shared.gate.memory.judge();
        for slot in &self.shared.slots {
            let mut state = slot.state.lock().await;
            if let State::Open(doors) = std::mem::replace(&mut *state, State::Closed) {
                *state = self.start(slot, doors);
            }
        }
        self.supervise(&shutdown).await;
        for slot in &self.shared.slots {
            slot.close().await;
        }
        self.drain(&shutdown).await;
    }

    /// Closes one endpoint's sockets. Sessions that run and all other endpoints are undisturbed.
    ///
    /// # Errors
    /// [`BindError::Unknown`].
    pub async fn suspend(&self, id: EndpointId) -> Result<(), BindError> {
        self.slot(id)?.close().await;
        Ok(())
    }

    /// Opens one endpoint again (or for the first time, if it is configured with `enable = false`), on the port it
    /// had. Does nothing when it is open.
    ///
    /// # Errors
    /// Whatever [`bind`](Self::bind) says of that endpoint, or [`BindError::Unknown`].
    pub async fn resume(&self, id: EndpointId) -> Result<(), BindError> {
        let slot = self.slot(id)?;
        let mut state = slot.state.lock().await;
        if !matches!(*state, State::Closed) {
            return Ok(());
        }
        let stopping = self.shared.running.get().is_some_and(|running| running.shutdown.is_stopping());
        if stopping {
            return Ok(());
        }
        let doors = slot.bind()?;
        *state = if self.shared.running.get().is_some() { self.start(slot, doors) } else { State::Open(doors) };
        Ok(())
    }

    /// The endpoint of this listener and address as configured, open or not.
    #[must_use]
    pub fn endpoint(&self, listener: &str, address: &ListenAddress) -> Option<EndpointId> {
        let named = |slot: &&Slot| &*slot.doorway.name == listener && slot.endpoint.address == *address;
        self.shared.slots.iter().find(named).map(|slot| slot.doorway.id)
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

    fn slot(&self, id: EndpointId) -> Result<&Slot, BindError> {
        self.shared.slots.get(id.0 as usize).ok_or(BindError::Unknown)
    }

    /// Starts the accept loops of one endpoint.
    fn start(&self, slot: &Slot, doors: Vec<Door>) -> State {
        let speaks = slot.doorway.listener.speaks;
        let running = self.shared.running.get();
        let Some((service, shutdown)) =
            running.and_then(|running| Some(((running.router)(speaks)?, running.shutdown.clone())))
        else {
            tracing::error!(listener = %slot.doorway.name, protocol = speaks.name(), "nothing speaks this protocol");
            *slot.open.lock() = false;
            return State::Closed;
        };
        let doorway = Arc::new(Doorway { shutdown, ..slot.doorway.clone() });
        let closing = CancellationToken::new();
        let begin = |door| {
            let shared = Arc::clone(&self.shared);
            tokio::spawn(accept(shared, door, Arc::clone(&doorway), Arc::clone(&service), closing.clone()))
        };
        let loops = doors.into_iter().map(begin).collect();
        State::Serving { closing, loops }
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
        let graceful = async {
            tokio::select! {
                ended = timeout(self.shared.grace, sessions.ended()) => ended.is_ok(),
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

impl Slot {
    fn new(doorway: Doorway, endpoint: Endpoint) -> Result<Self, BindError> {
        let slot = Self {
            doorway,
            endpoint,
            last: Mutex::default(),
            state: tokio::sync::Mutex::new(State::Closed),
            open: Mutex::new(false),
        };
        if !(slot.doorway.listener.enable && slot.endpoint.enable) {
            return Ok(slot);
        }
        let doors = slot.bind()?;
        Ok(Self { state: tokio::sync::Mutex::new(State::Open(doors)), ..slot })
    }

    /// Opens the sockets and notes where they are.
    fn bind(&self) -> Result<Vec<Door>, BindError> {
        let listener = &self.doorway.listener;
        let address = &self.endpoint.address;
        let failed = |source| BindError::Address { listener: listener.name.clone(), address: address.clone(), source };
        let backlog = listener.backlog_of(&self.endpoint);
        self.guard(None)?;
        let doors = match address {
            ListenAddress::Systemd(name) => {
                let doors = Door::systemd(name).map_err(failed)?;
                if doors.is_empty() {
                    return Err(BindError::NotHandedOver { listener: listener.name.clone(), name: name.clone() });
                }
                doors
            }
            ListenAddress::Tcp(wanted) => vec![Door::tcp(self.chosen(*wanted), backlog).map_err(failed)?],
            ListenAddress::Unix(path) => {
                let mode = listener.file_mode_of(&self.endpoint).bits();
                vec![Door::unix(path, mode, backlog).map_err(failed)?]
            }
        };
        let locals: Vec<_> = doors.iter().map(Door::local).collect();
        for local in &locals {
            if let Local::Tcp(address) = local {
                self.guard(Some(address.ip()))?;
            }
        }
        *self.last.lock() = locals;
        *self.open.lock() = true;
        Ok(doors)
    }

    /// The port that the kernel chose the first time is kept.
    fn chosen(&self, wanted: SocketAddr) -> SocketAddr {
        match self.last.lock().first() {
            Some(Local::Tcp(last)) if wanted.port() == 0 => *last,
            _ => wanted,
        }
    }

    /// Refuses an internal service on an address that other machines reach, unless it is declared so and guarded.
    fn guard(&self, bound: Option<IpAddr>) -> Result<(), BindError> {
        let listener = &self.doorway.listener;
        exposure(listener, &self.endpoint, bound).map_err(|source| BindError::Exposed {
            listener: listener.name.clone(),
            address: self.endpoint.address.clone(),
            source,
        })
    }

    /// Closes the sockets; returns when they are closed.
    async fn close(&self) {
        let mut state = self.state.lock().await;
        *self.open.lock() = false;
        if let State::Serving { closing, loops } = std::mem::replace(&mut *state, State::Closed) {
            closing.cancel();
            for accepting in loops {
                let _ = accepting.await;
            }
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("endpoints", &self.slots.len()).finish_non_exhaustive()
    }
}

/// Takes connections from one socket until told to close it.
async fn accept(
    shared: Arc<Shared>,
    door: Door,
    doorway: Arc<Doorway>,
    service: Arc<dyn Service>,
    closing: CancellationToken,
) {
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
                let vitals = Arc::new(Vitals::new(Arc::clone(&doorway.name)));
                let arrival = Arrival { stream, client, local, vitals: Arc::clone(&vitals) };
                let session = run(Arc::clone(&shared.gate), Arc::clone(&doorway), Arc::clone(&service), arrival);
                shared.sessions.spawn(vitals, session);
            }
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                // Out of descriptors or memory: what ends soonest is a session, so wait for that.
                if pause == FIRST_PAUSE {
                    tracing::error!(listener = %doorway.name, %error, "cannot accept connections");
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
