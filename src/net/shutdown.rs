//! How everything that runs is told to stop: first softly, then for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

/// Two signals shared by all sessions: *soft* (say goodbye, finish a body in progress) and *hard* (stop now).
/// Clones share the signals.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    signals: Arc<Signals>,
}

/// The flags repeat the tokens, for sessions that look on every read: a token's own answer takes its lock.
#[derive(Debug, Default)]
struct Signals {
    soft: CancellationToken,
    hard: CancellationToken,
    stopping: AtomicBool,
    cutting: AtomicBool,
}

impl Shutdown {
    /// Signals that nobody has given yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the soft signal: accepting ends, sessions are told in their protocol's words.
    pub fn stop(&self) {
        self.signals.stopping.store(true, Ordering::Release);
        self.signals.soft.cancel();
    }

    /// Gives both signals: sessions end where they stand.
    pub fn cut(&self) {
        self.stop();
        self.signals.cutting.store(true, Ordering::Release);
        self.signals.hard.cancel();
    }

    /// Whether the soft signal was given.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.signals.stopping.load(Ordering::Acquire)
    }

    /// Whether the hard signal was given.
    #[must_use]
    pub fn is_cutting(&self) -> bool {
        self.signals.cutting.load(Ordering::Acquire)
    }

    /// Returns when the soft signal is given.
    pub async fn stopping(&self) {
        self.signals.soft.cancelled().await;
    }

    /// Returns when the hard signal is given.
    pub async fn cutting(&self) {
        self.signals.hard.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cut_is_also_a_stop() {
        let shutdown = Shutdown::new();
        let seen = shutdown.clone();
        assert!(!seen.is_stopping());
        shutdown.stop();
        seen.stopping().await;
        let early = tokio::time::timeout(std::time::Duration::from_millis(5), seen.cutting());
        assert!(early.await.is_err());
        shutdown.cut();
        seen.cutting().await;
        assert!(seen.is_cutting() && seen.is_stopping());
    }
}
