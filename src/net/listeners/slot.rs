//! One `listen` address for as long as anybody knows it: its socket, whoever answers there at the moment, its state.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use posthorn_config::{Endpoint, ListenAddress, exposure};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{BindError, EndpointId};
use crate::doorway::Doorway;
use crate::sockets::Door;
use crate::{Local, Service};

/// What an operator ordered at run time, against the configuration or with it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decree {
    /// Whether the address is open.
    pub open: bool,
    /// Who said so.
    pub by: String,
    /// When.
    pub at: SystemTime,
}

/// One `listen` address. A change of the configuration exchanges what stands in front of it; the socket stays.
pub(super) struct Slot {
    pub(super) id: EndpointId,
    pub(super) address: ListenAddress,
    /// What a connection meets that arrives now.
    pub(super) front: ArcSwap<Front>,
    /// What is bound, or was bound last.
    pub(super) last: Mutex<Vec<Local>>,
    pub(super) state: tokio::sync::Mutex<State>,
    pub(super) open: Mutex<bool>,
    pub(super) decree: Mutex<Option<Decree>>,
}

/// What a connection meets: the row of the configuration as a doorway, and who speaks behind it.
#[derive(Clone)]
pub(super) struct Front {
    pub(super) doorway: Arc<Doorway>,
    pub(super) endpoint: Endpoint,
    /// `None` until it is served, and where nothing speaks the protocol.
    pub(super) service: Option<Arc<dyn Service>>,
}

/// Whether there are sockets, and who accepts.
pub(super) enum State {
    Closed,
    Open(Vec<Arc<Door>>),
    Serving { closing: CancellationToken, doors: Vec<Arc<Door>>, loops: Vec<JoinHandle<()>> },
}

impl Front {
    /// Whether the configuration wants it bound.
    pub(super) fn is_enabled(&self) -> bool {
        self.doorway.listener.enable && self.endpoint.enable
    }

    /// Refuses an internal service on an address that other machines reach, unless it is declared so and guarded.
    pub(super) fn guard(&self, bound: Option<IpAddr>) -> Result<(), BindError> {
        let listener = &self.doorway.listener;
        exposure(listener, &self.endpoint, bound).map_err(|source| BindError::Exposed {
            listener: listener.name.clone(),
            address: self.endpoint.address.clone(),
            source,
        })
    }
}

impl Slot {
    /// A slot without a socket.
    pub(super) fn new(id: EndpointId, front: Front) -> Self {
        Self {
            id,
            address: front.endpoint.address.clone(),
            front: ArcSwap::from_pointee(front),
            last: Mutex::default(),
            state: tokio::sync::Mutex::new(State::Closed),
            open: Mutex::new(false),
            decree: Mutex::default(),
        }
    }

    /// Whether it is to be open in front of this: as an operator said last, or as configured.
    pub(super) fn is_wanted(&self, front: &Front) -> bool {
        self.decree.lock().as_ref().map_or(front.is_enabled(), |decree| decree.open)
    }

    /// Opens the sockets as this row says.
    pub(super) fn bind(&self, front: &Front) -> Result<Vec<Arc<Door>>, BindError> {
        let listener = &front.doorway.listener;
        let address = &self.address;
        let failed = |source| BindError::Address { listener: listener.name.clone(), address: address.clone(), source };
        let backlog = listener.backlog_of(&front.endpoint);
        front.guard(None)?;
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
                let mode = listener.file_mode_of(&front.endpoint).bits();
                vec![Door::unix(path, mode, backlog).map_err(failed)?]
            }
        };
        for door in &doors {
            if let Local::Tcp(address) = door.local() {
                front.guard(Some(address.ip()))?;
            }
        }
        Ok(doors.into_iter().map(Arc::new).collect())
    }

    /// Notes where the sockets are that it has now.
    pub(super) fn opened(&self, doors: &[Arc<Door>]) {
        *self.last.lock() = doors.iter().map(|door| door.local()).collect();
        *self.open.lock() = true;
    }

    /// The port that the kernel chose the first time is kept.
    fn chosen(&self, wanted: SocketAddr) -> SocketAddr {
        match self.last.lock().first() {
            Some(Local::Tcp(last)) if wanted.port() == 0 => *last,
            _ => wanted,
        }
    }

    /// Closes the sockets; returns when they are closed.
    pub(super) async fn close(&self) {
        let mut state = self.state.lock().await;
        *self.open.lock() = false;
        if let State::Serving { closing, loops, doors } = std::mem::replace(&mut *state, State::Closed) {
            closing.cancel();
            for accepting in loops {
                let _ = accepting.await;
            }
            drop(doors);
        }
    }

    /// Gives open sockets the backlog and the permissions of this row.
    pub(super) async fn adjust(&self, front: &Front) {
        let state = self.state.lock().await;
        let (State::Open(doors) | State::Serving { doors, .. }) = &*state else { return };
        let listener = &front.doorway.listener;
        let (mode, backlog) = (listener.file_mode_of(&front.endpoint).bits(), listener.backlog_of(&front.endpoint));
        for door in doors {
            if let Err(error) = door.adjust(mode, backlog) {
                tracing::warn!(listener = %listener.name, address = %self.address, %error, "a socket stays as it was");
            }
        }
    }
}
