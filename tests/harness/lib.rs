//! What the tests stand on: a PostgreSQL that they need not know how to start, and a whole appliance on it.
//!
//! Not a test itself, and never part of the program.

pub mod archives;
pub mod dice;
pub mod dns;
pub mod imap_client;
pub mod postgres;
pub mod program;
pub mod server;
pub mod smtp_client;
pub mod stream;
pub mod trace;
pub mod transcript;
