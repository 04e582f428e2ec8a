//! From one configuration to the next without closing what stays: first everything that can fail, then the exchange.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use posthorn_config::{Config, ListenAddress};
use tokio::sync::OwnedMutexGuard;

use super::slot::{Front, Slot, State};
use super::{BindError, Listeners, Router, fronts};
use crate::Local;
use crate::sockets::Door;

/// A change of the listeners that is ready: certificates are read and new sockets are bound, but nobody is accepted on
/// them. Dropped, it leaves everything as it was.
pub struct Change {
    listeners: Listeners,
    router: Router,
    rows: Vec<Row>,
    memory: u64,
    grace: Duration,
    /// Nobody opens or closes anything meanwhile.
    _alone: OwnedMutexGuard<()>,
}

/// One `listen` entry of the new configuration.
struct Row {
    slot: Arc<Slot>,
    front: Front,
    /// Whether the slot was there before.
    known: bool,
    step: Step,
}

enum Step {
    /// It stays open or closed.
    Stay,
    /// It opens on these.
    Open(Vec<Arc<Door>>),
    /// It opens once a socket that goes away has made room: a wildcard in the place of one address, or the reverse.
    OpenAfter(Vec<Arc<Slot>>),
    /// It closes.
    Close,
}

/// What a change did, in numbers of addresses.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Changed {
    /// Opened.
    pub opened: usize,
    /// Closed.
    pub closed: usize,
    /// Stayed as they were; what answers there is new.
    pub kept: usize,
}

impl Listeners {
    /// Reads the certificates of another configuration and binds what is new in it. `router` names the service of each
    /// protocol from then on.
    ///
    /// # Errors
    /// The first endpoint that cannot be bound, or whose certificates are of no use; nothing has changed then.
    pub async fn prepare(&self, config: &Config, router: Router) -> Result<Change, BindError> {
        let alone = Arc::clone(&self.shared.changing).lock_owned().await;
        let old = self.shared.slots.lock().clone();
        let shutdown = self.shared.running.lock().as_ref().map(|running| running.shutdown.clone());
        let mut fronts = fronts(config)?;
        for front in &mut fronts {
            if let Some(shutdown) = &shutdown {
                front.serve(&router, shutdown);
            }
            front.guard(None)?;
        }
        let rows: Vec<_> = known(&old, &fronts).into_iter().zip(fronts).collect();
        // Only a socket that nobody wants any more may be closed to make room for another.
        let stays =
            |slot: &Arc<Slot>| rows.iter().any(|(known, _)| known.as_ref().is_some_and(|k| Arc::ptr_eq(k, slot)));
        let going: Vec<_> = old.iter().filter(|slot| *slot.open.lock() && !stays(slot)).cloned().collect();
        let mut prepared = Vec::new();
        for (known, mut front) in rows {
            let is_known = known.is_some();
            let slot = known.unwrap_or_else(|| Arc::new(Slot::new(self.shared.next_id(), front.clone())));
            let mut doorway = (*front.doorway).clone();
            doorway.id = slot.id;
            front.doorway = Arc::new(doorway);
            let step = step(&slot, &front, &going)?;
            prepared.push(Row { slot, front, known: is_known, step });
        }
        Ok(Change {
            listeners: self.clone(),
            router,
            rows: prepared,
            memory: config.limits.memory.map_or(0, posthorn_config::Size::octets),
            grace: config.server.grace.duration(),
            _alone: alone,
        })
    }
}

/// The slot that each row has already: that of the same listener and address, or of an address that had another name.
fn known(old: &[Arc<Slot>], fronts: &[Front]) -> Vec<Option<Arc<Slot>>> {
    let mut free = old.to_vec();
    let mut take = |fits: &dyn Fn(&Slot) -> bool| {
        let at = free.iter().position(|slot| fits(slot))?;
        Some(free.remove(at))
    };
    let named = |front: &Front, slot: &Slot| slot.front.load().doorway.name == front.doorway.name;
    let same = |front: &Front, slot: &Slot| slot.address == front.endpoint.address;
    let mut found: Vec<_> = fronts.iter().map(|f| take(&|slot| same(f, slot) && named(f, slot))).collect();
    for (front, found) in fronts.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
        // Port 0 is another port for everybody who asks.
        let chosen = matches!(&front.endpoint.address, ListenAddress::Tcp(address) if address.port() == 0);
        *found = if chosen { None } else { take(&|slot| same(front, slot)) };
    }
    found
}

/// What has to happen with one address; binds it where that can be done beside everything that is open.
fn step(slot: &Arc<Slot>, front: &Front, going: &[Arc<Slot>]) -> Result<Step, BindError> {
    let (open, wanted) = (*slot.open.lock(), slot.is_wanted(front));
    if open || !wanted {
        return Ok(if open && !wanted { Step::Close } else { Step::Stay });
    }
    match slot.bind(front) {
        Ok(doors) => Ok(Step::Open(doors)),
        Err(BindError::Address { source, .. }) if source.kind() == std::io::ErrorKind::AddrInUse => {
            let in_the_way: Vec<_> =
                going.iter().filter(|other| is_in_the_way(other, &slot.address)).cloned().collect();
            if in_the_way.is_empty() {
                let listener = front.doorway.listener.name.clone();
                return Err(BindError::Address { listener, address: slot.address.clone(), source });
            }
            Ok(Step::OpenAfter(in_the_way))
        }
        Err(error) => Err(error),
    }
}

/// Whether an open socket keeps an address from being bound.
fn is_in_the_way(slot: &Slot, wanted: &ListenAddress) -> bool {
    let ListenAddress::Tcp(wanted) = wanted else { return false };
    slot.last.lock().iter().any(|bound| matches!(bound, Local::Tcp(bound) if overlap(bound, wanted)))
}

/// The same family and port, and the same address or one that takes all.
fn overlap(one: &SocketAddr, other: &SocketAddr) -> bool {
    let any = |address: &SocketAddr| address.ip().is_unspecified();
    one.is_ipv4() == other.is_ipv4() && one.port() == other.port() && (one == other || any(one) || any(other))
}

impl Change {
    /// Makes the change: from here on new connections meet the new configuration. Sessions that run are not touched,
    /// and sockets that stay are not closed for a moment.
    ///
    /// # Errors
    /// When an address whose place was taken until now cannot be bound after all; everything is as it was then.
    pub async fn commit(mut self) -> Result<Changed, BindError> {
        let shared = Arc::clone(&self.listeners.shared);
        self.make_room().await?;
        let mut changed = Changed::default();
        let old = shared.slots.lock().clone();
        if let Some(running) = &mut *shared.running.lock() {
            running.router = Arc::clone(&self.router);
        }
        shared.gate.memory.set_limit(self.memory);
        *shared.grace.lock() = self.grace;
        let mut slots = Vec::with_capacity(self.rows.len());
        for Row { slot, front, known, step } in self.rows {
            slot.front.store(Arc::new(front.clone()));
            // What an operator opened is open by itself now.
            slot.decree.lock().take_if(|decree| decree.open && front.is_enabled());
            match step {
                Step::Open(doors) => {
                    self.listeners.install(&slot, doors).await;
                    changed.opened += 1;
                }
                Step::Close => {
                    slot.close().await;
                    changed.closed += 1;
                }
                Step::Stay | Step::OpenAfter(_) => {
                    slot.adjust(&front).await;
                    changed.kept += usize::from(known && *slot.open.lock());
                }
            }
            slots.push(slot);
        }
        for slot in old {
            let stays = slots.iter().any(|kept| Arc::ptr_eq(kept, &slot));
            if !stays && *slot.open.lock() {
                slot.close().await;
                changed.closed += 1;
            }
        }
        *shared.slots.lock() = slots;
        Ok(changed)
    }

    /// Exchanges sockets that cannot be open together; puts the old ones back when a new one cannot be bound.
    async fn make_room(&mut self) -> Result<(), BindError> {
        let mut closed: Vec<Arc<Slot>> = Vec::new();
        let mut failure = None;
        for row in &mut self.rows {
            let Step::OpenAfter(in_the_way) = &row.step else { continue };
            for slot in in_the_way {
                if *slot.open.lock() {
                    slot.close().await;
                    closed.push(Arc::clone(slot));
                }
            }
            match row.slot.bind(&row.front) {
                Ok(doors) => row.step = Step::Open(doors),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        let Some(error) = failure else { return Ok(()) };
        for row in &mut self.rows {
            row.step = Step::Stay;
        }
        for slot in closed {
            let front = slot.front.load_full();
            match slot.bind(&front) {
                Ok(doors) => self.listeners.install(&slot, doors).await,
                Err(error) => tracing::error!(%error, "an address that was closed for a moment cannot be opened again"),
            }
        }
        Err(error)
    }
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Change").field("endpoints", &self.rows.len()).finish_non_exhaustive()
    }
}

impl Listeners {
    /// Lets a slot have these sockets; connections are taken as soon as the listeners are served.
    pub(super) async fn install(&self, slot: &Arc<Slot>, doors: Vec<Arc<Door>>) {
        slot.opened(&doors);
        let mut state = slot.state.lock().await;
        let is_running = self.shared.running.lock().is_some();
        *state = if is_running { self.start(slot, doors) } else { State::Open(doors) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wildcards_are_in_the_way() {
        let address = |text: &str| text.parse().expect("an address");
        let meet = |one, other| overlap(&address(one), &address(other));
        assert!(meet("0.0.0.0:25", "192.0.2.1:25"));
        assert!(meet("192.0.2.1:25", "0.0.0.0:25"));
        assert!(meet("192.0.2.1:25", "192.0.2.1:25"));
        assert!(!meet("0.0.0.0:25", "192.0.2.1:26"));
        assert!(!meet("0.0.0.0:25", "[::1]:25"));
        assert!(!meet("192.0.2.2:25", "192.0.2.1:25"));
    }
}
