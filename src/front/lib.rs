//! Where protocols meet duties: each file drives one protocol machine and asks [`posthorn_mail`] for every decision.
//!
//! A front moves no bytes (the driver in `posthorn-net` does) and runs no query (the duties do).

mod attendance;
mod filter;
mod imap;
mod milter;
mod overload;
mod policy;
mod quarantine;
mod release;
mod settings;
mod smtp;
mod srs;
mod story;
mod terms;

pub use filter::ContentFilter;
pub use imap::Imap;
pub use milter::Milter;
pub use policy::Policy;
pub use quarantine::AmPdp;
pub use release::release;
pub use settings::Settings;
pub use smtp::{Assent, Smtp};
pub use srs::{Direction, Srs};
