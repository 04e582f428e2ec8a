//! The configuration: one struct per section, documented in place; schema, reference and example are printed from
//! those structs, so that nothing is written down twice.
//!
//! [`load`] reads and merges the sources, [`check()`] judges what they say together, [`Policy`] answers what
//! holds for one client of one endpoint. What it deliberately is not: a place for data that changes at run time
//! (domains, accounts, aliases live in the database), and not a socket, certificate or clock.

mod auth;
mod bind;
mod check;
mod database;
mod effective;
mod endpoint;
mod explain;
mod exposure;
mod extension;
mod file_mode;
mod imap;
mod limits;
mod listener;
mod load;
mod log;
mod mail;
mod network;
mod origin;
mod peer;
mod problem;
mod reference;
mod render;
mod root;
mod schema;
mod server;
mod show;
mod size;
mod smtp;
mod source;
mod span;
mod tls;
mod tree;
mod verify;

pub use auth::{Auth, Mechanism};
pub use bind::{ListenAddress, ListenAddressError};
pub use check::{check, check_without_files};
pub use database::{Database, DatabaseUrl};
pub use effective::{Access, Block, Effective, Level, Policy, Provenance};
pub use endpoint::Endpoint;
pub use explain::{Explained, NoSuchEndpoint};
pub use exposure::{Exposure, exposure};
pub use extension::{SmtpExtension, UnknownExtension};
pub use file_mode::{FileMode, FileModeError};
pub use imap::Imap;
pub use limits::Limits;
pub use listener::{ClientCertificate, Listener, Speaks, TlsMode, is_internal};
pub use load::{Loaded, load};
pub use log::{Log, LogFormat, LogLevel};
pub use mail::{Mail, SpecialFolders};
pub use network::{Network, NetworkError};
pub use origin::Origin;
pub use peer::{Peer, PeerOptions};
pub use problem::{Problem, Problems};
pub use reference::{example, reference, schema};
pub use root::Config;
pub use server::Server;
pub use size::{Size, SizeError};
pub use smtp::Smtp;
pub use source::Sources;
pub use span::{Span, SpanError};
pub use tls::{Certificate, CertificatePair, Tls, TlsVersion};
