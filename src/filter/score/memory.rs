//! Small values under keyed hashes: in bounded memory, with what changed since it was written down.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// Takes a keyed hash as its own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, octets: &[u8]) {
        for octet in octets {
            self.0 = self.0.rotate_left(8) ^ u64::from(*octet);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

type Hashed = BuildHasherDefault<AsItIs>;

/// Values by key, and which changed.
#[derive(Debug)]
pub(crate) struct Memory<V> {
    young: HashMap<u64, V, Hashed>,
    old: HashMap<u64, V, Hashed>,
    changed: HashSet<u64, Hashed>,
    most: usize,
}

impl<V: Copy> Memory<V> {
    /// For at most so many values.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            young: HashMap::default(),
            old: HashMap::default(),
            changed: HashSet::default(),
            most: (most / 2).max(1),
        }
    }

    /// The value of a key.
    pub(crate) fn find(&self, key: u64) -> Option<V> {
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    /// Puts in what was read; it is written already.
    pub(crate) fn fill(&mut self, key: u64, value: V) {
        if self.young.len() >= self.most && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
            // What is let go unwritten is lost, rather than memory.
            let (young, old) = (&self.young, &self.old);
            self.changed.retain(|key| young.contains_key(key) || old.contains_key(key));
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    /// Puts in what is new.
    pub(crate) fn put(&mut self, key: u64, value: V) {
        self.fill(key, value);
        self.changed.insert(key);
    }

    /// What changed since the last time.
    pub(crate) fn take_changed(&mut self) -> Vec<(u64, V)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().filter_map(|key| Some((key, self.find(key)?))).collect()
    }

    /// Says that these could not be written down.
    pub(crate) fn put_back(&mut self, keys: impl Iterator<Item = u64>) {
        self.changed.extend(keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_told_once_and_memory_is_bounded() {
        let mut memory = Memory::new(100);
        memory.fill(1, 'a');
        memory.put(2, 'b');
        memory.put(2, 'c');
        assert_eq!(memory.take_changed(), [(2, 'c')]);
        assert!(memory.take_changed().is_empty());
        memory.put_back([2].into_iter());
        assert_eq!(memory.take_changed(), [(2, 'c')]);
        for key in 10..10_000 {
            memory.put(key, 'x');
        }
        assert_eq!(memory.find(1), None);
        assert!(memory.take_changed().len() <= 100);
    }
}
