//! From an accepted socket to a session: caps, PROXY header, access, TLS, and the refusals in between.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use posthorn_config::{Access, Effective};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::caps::{Caps, Permits, Scope};
use crate::connection::Place;
use crate::doorway::Doorway;
use crate::memory::{ALWAYS_ADMITTED, MemoryGauge};
use crate::stream::Stream;
use crate::vitals::Vitals;
use crate::{Connection, Local, Overload, Peer, Service, proxy};

/// What every admission needs, shared by all endpoints.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) caps: Caps,
    pub(crate) memory: MemoryGauge,
    refusals: Semaphore,
}

impl Gate {
    pub(crate) fn new(memory_limit: u64) -> Self {
        Self {
            caps: Caps::default(),
            memory: MemoryGauge::new(memory_limit),
            refusals: Semaphore::new(REFUSALS_AT_ONCE),
        }
    }
}

/// A socket that was just accepted.
pub(crate) struct Arrival {
    pub(crate) stream: Stream,
    pub(crate) client: SocketAddr,
    pub(crate) local: Local,
    pub(crate) vitals: Arc<Vitals>,
}

/// Runs the whole session of one arrival.
pub(crate) async fn run(gate: Arc<Gate>, doorway: Arc<Doorway>, service: Arc<dyn Service>, arrival: Arrival) {
    // What happens before the first word needs much more state than waiting for the next one: it is boxed and freed.
    let Some(admitted) = Box::pin(admit(&gate, doorway, arrival)).await else { return };
    match admitted {
        Admitted::Served(connection) => {
            counter!("posthorn_connections_total", "listener" => Arc::clone(&connection.peer().listener)).increment(1);
            tracing::debug!(
                session.id = %connection.id(),
                listener = %connection.peer().listener,
                peer.ip = %connection.peer().address,
                "connected"
            );
            service.serve(connection).await;
        }
        Admitted::Refused(connection, why, _slot) => {
            // Whoever does not read a refusal within its time is not told.
            let _ = timeout(REFUSAL_TIME, service.refuse(connection, why)).await;
        }
    }
}

enum Admitted<'g> {
    Refused(Connection, Overload, SemaphorePermit<'g>),
    Served(Connection),
}

async fn admit(gate: &Gate, doorway: Arc<Doorway>, arrival: Arrival) -> Option<Admitted<'_>> {
    let mut permits = Permits::default();
    let mut options = doorway.effective(arrival.client.ip());
    let early = if options.access == Access::Denied {
        Err(Overload::Denied)
    } else if gate.memory.is_full() && gate.caps.held(&Scope::Server) >= ALWAYS_ADMITTED {
        Err(Overload::Memory)
    } else {
        gate.caps.enter(&mut permits, doorway.scopes())
    };
    // A flood of connections to be refused is refused in silence beyond a number.
    let mut slot = refusal_slot(gate, &doorway, early)?;
    let Arrival { mut stream, client, local, vitals } = arrival;
    let mut peer = Peer {
        address: client.ip(),
        port: client.port(),
        local,
        listener: Arc::clone(&doorway.name),
        proxied_by: None,
        proxy: None,
        tls: None,
    };
    if options.proxy_protocol {
        read_proxy(&mut stream, &mut peer, &doorway).await?;
        options = doorway.effective(peer.address);
    }
    let _ = vitals.address.set(peer.address);
    let late = early.and_then(|()| check_client(gate, &doorway, &mut permits, &peer, &options));
    if slot.is_none() {
        slot = refusal_slot(gate, &doorway, late)?;
    }
    if slot.is_some() {
        // Refusals have a bound of their own and take no session's place.
        permits = Permits::default();
    }
    let place = Place { doorway: Arc::clone(&doorway), vitals, permits };
    let mut connection = Connection::new(stream, peer, options, place);
    if doorway.is_implicit() {
        let limit = if slot.is_some() { REFUSAL_TIME } else { Duration::MAX };
        timeout(limit, connection.handshake()).await.ok()?.ok()?;
    }
    match (late, slot) {
        (Err(why), Some(slot)) => {
            tracing::info!(
                session.id = %connection.id(),
                listener = %connection.peer().listener,
                peer.ip = %connection.peer().address,
                reason = ?why,
                "connection refused"
            );
            Some(Admitted::Refused(connection, why, slot))
        }
        _ => Some(Admitted::Served(connection)),
    }
}

/// What can be judged only once the client's own address is certain.
fn check_client(
    gate: &Gate,
    doorway: &Doorway,
    permits: &mut Permits,
    peer: &Peer,
    options: &Effective,
) -> Result<(), Overload> {
    if options.access == Access::Denied {
        return Err(Overload::Denied);
    }
    if doorway.shutdown.is_stopping() {
        return Err(Overload::Stopping);
    }
    gate.caps.enter(permits, doorway.client_scopes(peer.address, options))
}

/// Counts a refusal and finds room to say it: `None` when there is none, `Some(None)` when nothing is refused.
fn refusal_slot<'g>(
    gate: &'g Gate,
    doorway: &Doorway,
    admitted: Result<(), Overload>,
) -> Option<Option<SemaphorePermit<'g>>> {
    let Err(why) = admitted else { return Some(None) };
    let listener = Arc::clone(&doorway.name);
    counter!("posthorn_connections_refused_total", "listener" => listener, "reason" => why.as_str()).increment(1);
    gate.caps.refused(why);
    gate.refusals.try_acquire().ok().map(Some)
}

/// Reads the header that a listed proxy must send. Whatever is wrong with it, the connection ends without a word.
async fn read_proxy(stream: &mut Stream, peer: &mut Peer, doorway: &Doorway) -> Option<()> {
    let read = tokio::select! {
        read = timeout(doorway.timing.proxy, proxy::read_proxy_header(stream)) => read,
        () = doorway.shutdown.cutting() => return None,
    };
    let quiet = |error: &dyn std::fmt::Display| {
        tracing::info!(listener = %doorway.name, peer.ip = %peer.address, %error, "no PROXY header, closed");
    };
    let header = match read {
        Ok(Ok(header)) => header,
        Ok(Err(error)) => {
            quiet(&error);
            return None;
        }
        Err(late) => {
            quiet(&late);
            return None;
        }
    };
    if let Some((client, _)) = header.addresses {
        peer.proxied_by = Some(peer.address);
        peer.address = client.ip().to_canonical();
        peer.port = client.port();
    }
    if header.note != proxy::ProxyNote::default() {
        peer.proxy = Some(Box::new(header.note));
    }
    Some(())
}

/// Refusals that are said in words at the same time.
const REFUSALS_AT_ONCE: usize = 200;
const REFUSAL_TIME: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
