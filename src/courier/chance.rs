//! Chance, for jitter and for the order of equals: fast, and good enough for that.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// A source of chance.
#[derive(Debug)]
pub(crate) struct Chance(AtomicU64);

impl Chance {
    /// A source that begins where the given seed says, or anywhere.
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self(AtomicU64::new(seed.unwrap_or_else(|| RandomState::new().hash_one(0))))
    }

    /// The next number (SplitMix64).
    pub(crate) fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next number from 0 to 1.
    pub(crate) fn part(&self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_spread() {
        let chance = Chance::new(Some(7));
        let parts: Vec<f64> = (0..1000).map(|_| chance.part()).collect();
        let mean = parts.iter().sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean) && parts.iter().all(|part| (0.0..1.0).contains(part)), "{mean}");
        assert_eq!(Chance::new(Some(7)).next(), Chance::new(Some(7)).next());
    }
}
