//! Many small entries in bounded memory: when the young generation is full, the old one is let go.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A keyed digest, as evenly spread as can be.
pub(crate) type Key = u128;

/// Takes a digest as its own hash.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, key: u128) {
        #[expect(clippy::cast_possible_truncation, reason = "half of a digest is as evenly spread as all of it")]
        let half = key as u64;
        self.0 = half;
    }
}

type Generation<V> = HashMap<Key, V, BuildHasherDefault<AsItIs>>;

/// Entries that were used lately. What is used in the old generation becomes young again.
#[derive(Debug)]
pub(crate) struct Generations<V> {
    young: Generation<V>,
    old: Generation<V>,
    /// Entries of one generation.
    most: usize,
    /// Whether nothing was let go that still counts.
    whole: bool,
}

impl<V> Generations<V> {
    /// For at most `most` entries.
    pub(crate) fn new(most: usize) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), most: (most / 2).max(1), whole: true }
    }

    /// Whether everything that counts is here, so that what is not here is not anywhere.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Says that what is let go from now on is all that can be missing here.
    pub(crate) fn set_whole(&mut self) {
        self.whole = true;
    }

    /// The entry, to be changed.
    pub(crate) fn find(&mut self, key: Key, still_counts: impl Fn(&V) -> bool) -> Option<&mut V> {
        if !self.young.contains_key(&key) {
            let value = self.old.remove(&key)?;
            self.put(key, value, still_counts);
        }
        self.young.get_mut(&key)
    }

    /// The entry, as it is; its age stays.
    pub(crate) fn peek(&self, key: Key) -> Option<&V> {
        self.young.get(&key).or_else(|| self.old.get(&key))
    }

    /// Puts an entry in the place of an earlier one.
    pub(crate) fn put(&mut self, key: Key, value: V, still_counts: impl Fn(&V) -> bool) {
        if self.young.len() >= self.most && !self.young.contains_key(&key) {
            let gone = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            self.whole &= !gone.values().any(still_counts);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Lets go what counts no more.
    pub(crate) fn retain(&mut self, still_counts: impl Fn(&V) -> bool) {
        self.young.retain(|_, value| still_counts(value));
        self.old.retain(|_, value| still_counts(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_memory_is_bounded() {
        let mut all = Generations::new(1000);
        all.put(7, 0, |_| true);
        for key in 100..100_100_u128 {
            all.put(key << 64 | key, 1, |_| true);
            assert!(all.find(7, |_| true).is_some());
        }
        assert!(all.len() <= 1000, "{}", all.len());
        assert!(!all.is_whole());
        assert_eq!(all.peek(100), None);
    }

    #[test]
    fn letting_go_what_counts_no_more_loses_nothing() {
        let mut all = Generations::new(4);
        for key in 0..10 {
            all.put(key, key, |_| false);
        }
        assert!(all.is_whole() && all.len() <= 4);
        all.retain(|value| *value != 9);
        assert_eq!((all.peek(9), all.peek(8)), (None, Some(&8)));
    }
}
