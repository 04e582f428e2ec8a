//! The ground that sessions stand on: listeners and their peers, the one driver of all protocol machines, TLS, the
//! PROXY protocol, session caps, the service manager.
//!
//! A protocol implements [`Service`]; [`Listeners`] hand it a [`Connection`], and [`Connection::next`] moves the
//! bytes of its machine. What this crate deliberately is not: it knows no protocol's words (refusals and goodbyes
//! come from services and machines) and no store.

mod admission;
mod caps;
mod client_certificate;
mod connection;
mod dial;
mod doorway;
mod intake;
mod keyring;
mod listeners;
mod memory;
mod outbox;
mod peer;
mod proxy;
#[cfg(test)]
mod rig;
mod self_signed;
mod service;
mod session_id;
mod sessions;
mod shutdown;
mod sockets;
mod stream;
pub mod systemd;
mod tls;
mod vitals;

pub use caps::{CapsSnapshot, Scope};
pub use connection::{Connection, Ended, Next};
pub use dial::{client_config, dial_tls, secure};
pub use listeners::{BindError, Bound, EndpointId, Listeners};
pub use memory::resident;
pub use peer::{Local, Peer};
pub use proxy::ProxyNote;
pub use service::{Overload, Service};
pub use session_id::SessionId;
pub use sessions::SessionView;
pub use shutdown::Shutdown;
pub use tls::TlsError;
