//! Backups: everything that a server needs, as it was at one moment, in one file.
//!
//! The file is a tar archive, so that it can be looked into without Posthorn: `preface.json` says what is inside, each
//! `tables/NAME/NUMBER.copy.zst` is a whole of PostgreSQL's binary COPY format, `files/NUMBER.zst` are configuration and
//! secrets, `manifest.json` counts and hashes, and `seal` is the manifest's own hash. It is written and read from front to
//! back in bounded memory; nothing in it is believed that does not agree with the manifest.

pub mod account;
pub mod container;
pub mod contents;
pub mod files;
pub mod read;
pub mod restore;
pub mod tuples;
pub mod upgrade;
pub mod verify;
pub mod write;

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far something has come, for whoever looks on.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Steps>);

#[derive(Debug, Default)]
struct Steps {
    done: AtomicU64,
    of: AtomicU64,
}

impl Progress {
    /// Octets done.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.0.done.load(Ordering::Relaxed)
    }

    /// Octets that there are, about; 0 when nobody knows.
    #[must_use]
    pub fn of(&self) -> u64 {
        self.0.of.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, octets: usize) {
        self.0.done.fetch_add(octets as u64, Ordering::Relaxed);
    }

    pub(crate) fn set_of(&self, octets: u64) {
        self.0.of.store(octets, Ordering::Relaxed);
    }
}

/// Octets as hexadecimal digits.
fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
        // A String takes everything.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// The SHA-256 of octets, as hexadecimal digits.
fn sha256(octets: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, octets).as_ref())
}
