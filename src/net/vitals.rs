//! What can be seen of a session from outside: who, since when, how busy.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::SessionId;

/// The part of a session that its supervisor reads while the session runs.
#[derive(Debug)]
pub(crate) struct Vitals {
    pub(crate) id: SessionId,
    pub(crate) listener: Arc<str>,
    /// Set once the client's address is certain (behind the PROXY header).
    pub(crate) address: OnceLock<IpAddr>,
    pub(crate) started: Instant,
    /// Milliseconds after `started`, plus one, at which the application took over; 0 while the driver waits.
    busy_since: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

impl Vitals {
    pub(crate) fn new(listener: Arc<str>) -> Self {
        Self {
            id: SessionId::next(),
            listener,
            address: OnceLock::new(),
            started: Instant::now(),
            busy_since: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }

    /// The application has an event to work on.
    pub(crate) fn busy(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.busy_since.store(now + 1, Ordering::Relaxed);
    }

    /// The driver has the session again.
    pub(crate) fn waiting(&self) {
        self.busy_since.store(0, Ordering::Relaxed);
    }

    /// How long the application has been at work on one event.
    pub(crate) fn busy_for(&self) -> Option<Duration> {
        let since = self.busy_since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.started.elapsed().saturating_sub(Duration::from_millis(since)))
    }

    pub(crate) fn add_received(&self, count: usize) {
        self.received.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_sent(&self, count: usize) {
        self.sent.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}
