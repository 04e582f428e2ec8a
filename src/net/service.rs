//! What a protocol gives to its listeners.

use futures_util::future::BoxFuture;

use crate::Connection;

/// A protocol as listeners see it: something that takes a connection and speaks until it ends.
pub trait Service: Send + Sync + 'static {
    /// Speaks the protocol until the session ends. A panic inside is caught, logged and ends this session only.
    fn serve(&self, connection: Connection) -> BoxFuture<'static, ()>;

    /// Says in the protocol's words why this connection cannot be served (such as 421 4.4.5), and ends. At most
    /// five seconds are given for it.
    fn refuse(&self, connection: Connection, why: Overload) -> BoxFuture<'static, ()>;
}

/// Why a connection is refused before its session starts.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Overload {
    /// One client address holds as many sessions as it may.
    Address,
    /// One CIDR block of the configuration holds as many sessions as it may.
    Block,
    /// The peer is denied by the configuration. Not temporary, unlike all others.
    Denied,
    /// One `listen` address holds as many sessions as it may.
    Endpoint,
    /// One listener holds as many sessions as it may.
    Listener,
    /// The process uses more memory than `limits.memory`.
    Memory,
    /// The whole server holds as many sessions as it may.
    Server,
    /// All listeners of one protocol together hold as many sessions as they may.
    Service,
    /// The server is stopping.
    Stopping,
}

impl Overload {
    /// The word in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Block => "block",
            Self::Denied => "denied",
            Self::Endpoint => "endpoint",
            Self::Listener => "listener",
            Self::Memory => "memory",
            Self::Server => "server",
            Self::Service => "service",
            Self::Stopping => "stopping",
        }
    }
}
