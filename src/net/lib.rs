//! The ground that sessions stand on: listeners and their peers, the one driver of all protocol machines, TLS, the
//! PROXY protocol, session caps, the service manager; and the way out: DNS, connecting, DANE, MTA-STS.
//!
//! A protocol implements [`Service`]; [`Listeners`] hand it a [`Connection`], and [`Connection::next`] moves the
//! bytes of its machine. On the way out [`egress::dial`] makes a link, and a [`Caller`] moves the bytes of the client
//! machine that speaks over it. What this crate deliberately is not: it knows no protocol's words (refusals and goodbyes
//! come from services and machines) and no store.

mod admission;
mod caller;
mod caps;
mod certificate;
mod client_certificate;
mod connection;
mod control_socket;
pub mod dane;
mod dial;
pub mod dns;
mod doorway;
pub mod egress;
mod intake;
mod keyring;
mod listeners;
mod memory;
mod outbox;
mod peer;
mod proxy;
mod raw;
#[cfg(test)]
mod rig;
mod roots;
mod self_signed;
mod service;
mod session_id;
mod sessions;
mod shutdown;
mod sockets;
mod stream;
pub mod sts;
pub mod systemd;
mod tls;
pub mod tls_report;
mod vitals;

pub use caller::{Called, Caller, Parted};
pub use caps::{CapsSnapshot, Scope};
pub use certificate::CertificateFacts;
pub use connection::{Connection, Ended, Next};
pub use control_socket::ControlSocket;
pub use dial::{client_config, dial_tls, secure};
pub use listeners::{BindError, Bound, Change, Changed, Decree, EndpointId, EndpointView, Listeners, Router};
pub use memory::resident;
pub use peer::{Local, Peer};
pub use proxy::{Proxied, ProxyNote, read_proxy_header};
pub use raw::RawConnection;
pub use roots::Roots;
pub use service::{Overload, Service};
pub use session_id::SessionId;
pub use sessions::SessionView;
pub use shutdown::Shutdown;
pub use tls::TlsError;
