//! What all connections of one endpoint have in common.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use posthorn_config::{Block, Effective, Endpoint, Level, Limits, Listener, Policy, Server, TlsMode};

use crate::caps::Scope;
use crate::tls::ServerTls;
use crate::{EndpointId, Shutdown};

/// One endpoint as a connection sees it.
#[derive(Clone, Debug)]
pub(crate) struct Doorway {
    pub(crate) id: EndpointId,
    pub(crate) name: Arc<str>,
    pub(crate) listener: Arc<Listener>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) timing: Timing,
    pub(crate) limits: SessionLimits,
    pub(crate) shutdown: Shutdown,
}

/// How long the driver waits for things that no protocol bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// The peer's time to take 64 KiB.
    pub(crate) write: Duration,
    /// A TLS handshake.
    pub(crate) handshake: Duration,
    /// A PROXY header.
    pub(crate) proxy: Duration,
    /// What is left after a goodbye.
    pub(crate) grace: Duration,
}

impl Timing {
    pub(crate) fn new(limits: &Limits, server: &Server) -> Self {
        Self {
            write: WRITE_TIME,
            // Strangers may not wait for ever, whatever the configuration says.
            handshake: limits.handshake_time.limit().unwrap_or(LONGEST_PREAMBLE),
            proxy: limits.proxy_time.limit().unwrap_or(LONGEST_PREAMBLE),
            grace: server.grace.duration(),
        }
    }
}

/// Session caps that do not depend on the client; 0 is no limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionLimits {
    pub(crate) server: u32,
    pub(crate) service: u32,
    pub(crate) listener: u32,
    pub(crate) endpoint: u32,
}

impl SessionLimits {
    /// The cap of a service is the smallest that any of its listeners states.
    pub(crate) fn new(limits: &Limits, rows: &[Listener], listener: &Listener, endpoint: &Endpoint) -> Self {
        let stated = rows.iter().filter(|row| row.speaks == listener.speaks).map(|row| row.service_sessions);
        Self {
            server: limits.sessions,
            service: stated.filter(|cap| *cap > 0).min().unwrap_or(0),
            listener: listener.listener_sessions,
            endpoint: endpoint.sessions,
        }
    }
}

impl Doorway {
    /// The options that hold for a client.
    pub(crate) fn effective(&self, client: IpAddr) -> Arc<Effective> {
        self.policy.effective(client)
    }

    /// Whether TLS comes before the first word.
    pub(crate) fn is_implicit(&self) -> bool {
        self.listener.tls_mode() == TlsMode::Implicit
    }

    /// The scopes that every connection counts in.
    pub(crate) fn scopes(&self) -> [(Scope, u32); 4] {
        [
            (Scope::Server, self.limits.server),
            (Scope::Service(self.listener.speaks), self.limits.service),
            (Scope::Listener(Arc::clone(&self.name)), self.limits.listener),
            (Scope::Endpoint(self.id), self.limits.endpoint),
        ]
    }

    /// The scopes that depend on the client: the blocks that have a cap, and the address.
    pub(crate) fn client_scopes(&self, client: IpAddr, options: &Effective) -> impl Iterator<Item = (Scope, u32)> {
        let address = (Scope::Address(Arc::clone(&self.name), client), options.sessions_per_address);
        let blocks = options.blocks.iter().filter(|block| block.sessions > 0);
        blocks.map(|block| (self.block(block), block.sessions)).chain([address])
    }

    fn block(&self, block: &Block) -> Scope {
        let endpoint = match block.level {
            Level::Endpoint => Some(self.id),
            Level::Listener => None,
        };
        Scope::Block(Arc::clone(&self.name), endpoint, block.network.net())
    }
}

/// A peer that takes less than 64 KiB in this time is gone or hostile (RFC 5321 §4.5.3.2 gives three minutes to a
/// block of data).
const WRITE_TIME: Duration = Duration::from_secs(180);
/// What stands before the first word of a protocol takes no longer than this.
const LONGEST_PREAMBLE: Duration = Duration::from_secs(60);
