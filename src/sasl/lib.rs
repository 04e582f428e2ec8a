//! Authentication without sockets: SASL mechanisms as machines, and how passwords are kept.
//!
//! [`Exchange`] is the server's side of PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS
//! (RFC 5802, RFC 7677, RFC 9266); [`client`] is the other side; [`ScramKeys`] and [`password`] are what a
//! directory stores.
//!
//! Deliberately not here: base64 framing of SASL messages (each protocol has its own), looking accounts up,
//! rate limits, randomness (nonces and salts come in as bytes) and the question whether TLS is good enough.

pub mod client;
mod exchange;
mod keys;
mod login;
mod mechanism;
pub mod password;
mod plain;
mod preparation;
mod scram;
mod secret;

pub use exchange::{Exchange, Failure, MESSAGE_LIMIT, NONCE_LENGTH, ServerContext, Step};
pub use keys::{DEFAULT_ITERATIONS, KeysError, SALT_LENGTH, ScramKeys};
pub use mechanism::Mechanism;
pub use secret::Secret;
