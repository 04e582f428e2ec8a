//! Where protocols meet duties: each file drives one protocol machine and asks [`posthorn_mail`] for every decision.
//!
//! A front moves no bytes (the driver in `posthorn-net` does) and runs no query (the duties do).

mod imap;
mod overload;
mod settings;
mod smtp;

pub use imap::Imap;
pub use settings::Settings;
pub use smtp::Smtp;
