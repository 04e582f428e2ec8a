//! Time-ordered 64-bit ids, so that indexes grow at their right edge.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};

/// 2025-01-01T00:00:00Z in milliseconds; 41 bits last until 2094.
const EPOCH: u128 = 1_735_689_600_000;

/// Gives out ids: 41 bits of milliseconds, 10 of node, 12 of sequence. Never goes back, even when the clock does:
/// then, as in a burst of more than 4096 per millisecond, it runs ahead of the clock.
#[derive(Debug)]
pub(crate) struct Ids {
    /// In its place among the bits.
    node: AtomicI64,
    /// Milliseconds and sequence of the last id: `ms << 12 | sequence`.
    last: AtomicI64,
}

impl Ids {
    pub(crate) fn new(node: u16) -> Self {
        Self { node: AtomicI64::new(placed(node)), last: AtomicI64::new(0) }
    }

    /// Goes on with another number.
    pub(crate) fn renumber(&self, node: u16) {
        self.node.store(placed(node), Ordering::Relaxed);
    }

    pub(crate) fn next(&self) -> i64 {
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis().saturating_sub(EPOCH));
        let now = i64::try_from(now).unwrap_or(i64::MAX >> 22) << 12;
        let step = |last: i64| Some(now.max(last + 1));
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).unwrap_or_default();
        let ticket = now.max(last + 1);
        (ticket >> 12) << 22 | self.node.load(Ordering::Relaxed) | (ticket & 4095)
    }
}

fn placed(node: u16) -> i64 {
    i64::from(node & 1023) << 12
}

/// The smallest id of this moment; ids below it are older.
pub(crate) fn first_at(moment: DateTime<Utc>) -> i64 {
    let since = i128::from(moment.timestamp_millis()) - EPOCH.cast_signed();
    i64::try_from(since.max(0) << 22).unwrap_or(i64::MAX)
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
        ids.renumber(3);
        assert_eq!(ids.next() >> 12 & 1023, 3);
    }

    #[test]
    fn a_moment_parts_older_ids_from_younger() {
        let moment = Utc::now();
        let ids = Ids::new(1023);
        assert!(ids.next() >= first_at(moment));
        assert!(ids.next() < first_at(Utc::now() + chrono::TimeDelta::seconds(5)));
        assert_eq!(first_at(DateTime::UNIX_EPOCH), 0);
    }
}
