//! Time-ordered 64-bit ids, so that indexes grow at their right edge.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// 2025-01-01T00:00:00Z in milliseconds; 41 bits last until 2094.
const EPOCH: u128 = 1_735_689_600_000;

/// Gives out ids: 41 bits of milliseconds, 10 of node, 12 of sequence. Never goes back, even when the clock does:
/// then, as in a burst of more than 4096 per millisecond, it runs ahead of the clock.
#[derive(Debug)]
pub(crate) struct Ids {
    node: i64,
    /// Milliseconds and sequence of the last id: `ms << 12 | sequence`.
    last: AtomicI64,
}

impl Ids {
    pub(crate) fn new(node: u16) -> Self {
        Self { node: i64::from(node & 1023) << 12, last: AtomicI64::new(0) }
    }

    pub(crate) fn next(&self) -> i64 {
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis().saturating_sub(EPOCH));
        let now = i64::try_from(now).unwrap_or(i64::MAX >> 22) << 12;
        let step = |last: i64| Some(now.max(last + 1));
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).unwrap_or_default();
        let ticket = now.max(last + 1);
        (ticket >> 12) << 22 | self.node | (ticket & 4095)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_within_a_burst() {
        let ids = Ids::new(7);
        let mut last = 0;
        for _ in 0..20_000 {
            let next = ids.next();
            assert!(next > last);
            assert_eq!(next >> 12 & 1023, 7);
            last = next;
        }
    }
}
