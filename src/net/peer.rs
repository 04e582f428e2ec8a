//! Who is at the other end, and how they came here.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use posthorn_wire::Secured;

use crate::proxy::ProxyNote;

/// The facts about a connection's other end.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The client's address: as the socket says or, behind a trusted proxy, as the proxy says. IPv4-mapped IPv6 is
    /// folded to IPv4; a Unix-socket client counts as 127.0.0.1.
    pub address: IpAddr,
    /// The client's port; 0 over a Unix socket.
    pub port: u16,
    /// Our own end.
    pub local: Local,
    /// The name of the listener that took the connection.
    pub listener: Arc<str>,
    /// The proxy that spoke for the client (PROXY protocol), if one did.
    pub proxied_by: Option<IpAddr>,
    /// What that proxy told beyond addresses.
    pub proxy: Option<Box<ProxyNote>>,
    /// The TLS session, once there is one.
    pub tls: Option<Secured>,
}

/// Our own end of a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Local {
    /// The address that the client connected to.
    Tcp(SocketAddr),
    /// The socket file that the client connected to.
    Unix(Arc<Path>),
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}
