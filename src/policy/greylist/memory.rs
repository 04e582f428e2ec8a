//! What greylisting remembers: attempts, clients that came back, correspondents, and what is not written down yet.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use posthorn_store::policy::correspondents::Correspondent;
use posthorn_store::policy::greylist::{Client, Triplet};

use crate::generations::{Generations, Key};

/// Rows of each kind that wait to be written; more are only remembered.
const UNWRITTEN: usize = 200_000;
/// What is still here is written down again so much later, in seconds.
const REFRESH: u32 = 3600;

/// The times of the section, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) delay: u32,
    pub(super) forget: u32,
    pub(super) keep: u32,
    pub(super) correspondence: u32,
}

/// An attempt; moments are seconds since 1970.
#[derive(Clone, Copy, Debug)]
struct Tried {
    first: u32,
    last: u32,
    passed: bool,
}

/// What is known of somebody.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Seen {
    /// The client came back once.
    Trusted,
    /// This attempt did.
    Passed,
    /// The recipient wrote to them.
    Correspondent,
    /// It comes back after so many seconds, which is long enough.
    InTime(u32),
    /// It has to wait so many seconds more.
    TooEarly(u32),
    /// Nothing.
    Never,
}

/// Who is asked about.
pub(super) struct Asked<'a> {
    pub(super) key: Key,
    pub(super) client: Key,
    pub(super) pairs: &'a [Key],
    pub(super) trust_client: bool,
}

pub(super) struct Memory {
    times: Times,
    tried: Generations<Tried>,
    clients: Generations<u32>,
    pairs: Generations<u32>,
    /// Whether what the database had at the start is here.
    is_loaded: bool,
    unwritten: Unwritten,
}

/// What is not written down yet.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    triplets: HashMap<Key, Triplet>,
    clients: HashMap<String, Client>,
    pairs: HashMap<(String, String), Correspondent>,
    dropped: u64,
}

impl Times {
    fn counts(self, tried: Tried, now: u32) -> bool {
        if tried.passed {
            now.saturating_sub(tried.last) <= self.keep
        } else {
            now.saturating_sub(tried.first) <= self.forget
        }
    }

    fn refresh(self) -> u32 {
        REFRESH.min(self.keep / 24)
    }
}

impl Memory {
    /// For at most so many entries of each kind.
    pub(super) fn new(most: usize, times: Times) -> Self {
        Self {
            times,
            tried: Generations::new(most),
            clients: Generations::new(most),
            pairs: Generations::new(most),
            is_loaded: false,
            unwritten: Unwritten::default(),
        }
    }

    /// Whether all that counts is here.
    pub(super) fn is_whole(&self) -> bool {
        self.is_loaded && self.tried.is_whole() && self.clients.is_whole() && self.pairs.is_whole()
    }

    pub(super) fn set_partial(&mut self) {
        self.is_loaded = false;
    }

    pub(super) fn begin_loading(&mut self) {
        self.is_loaded = false;
        self.tried.set_whole();
        self.clients.set_whole();
        self.pairs.set_whole();
    }

    pub(super) fn end_loading(&mut self, is_partial: bool) {
        self.is_loaded = !is_partial;
    }

    /// What is known here of somebody.
    pub(super) fn known(&self, asked: &Asked<'_>, now: u32) -> Seen {
        let Times { delay, keep, correspondence, .. } = self.times;
        let lives = |last: Option<&u32>, span: u32| last.is_some_and(|last| now.saturating_sub(*last) <= span);
        if asked.trust_client && lives(self.clients.peek(asked.client), keep) {
            return Seen::Trusted;
        }
        let tried = self.tried.peek(asked.key).copied().filter(|tried| self.times.counts(*tried, now));
        if tried.is_some_and(|tried| tried.passed) {
            return Seen::Passed;
        }
        if asked.pairs.iter().any(|pair| lives(self.pairs.peek(*pair), correspondence)) {
            return Seen::Correspondent;
        }
        let Some(tried) = tried else { return Seen::Never };
        let age = now.saturating_sub(tried.first);
        if age >= delay { Seen::InTime(age) } else { Seen::TooEarly(delay - age) }
    }

    /// Notes that somebody who is known was here again. Returns whether that is to be written down.
    pub(super) fn refresh(&mut self, asked: &Asked<'_>, seen: &Seen, now: u32) -> bool {
        let Times { keep, .. } = self.times;
        let often = self.times.refresh();
        let times = self.times;
        match seen {
            Seen::Trusted => {
                let Some(last) = self.clients.find(asked.client, |last| now.saturating_sub(*last) <= keep) else {
                    return false;
                };
                touch(last, now, often)
            }
            Seen::Passed | Seen::TooEarly(_) => {
                let Some(tried) = self.tried.find(asked.key, |tried| times.counts(*tried, now)) else { return false };
                // A clock that was put back would make everybody wait for it.
                tried.first = tried.first.min(now);
                touch(&mut tried.last, now, often) && *seen == Seen::Passed
            }
            _ => false,
        }
    }

    /// Writes down behind that somebody who is known was here again.
    pub(super) fn note_seen(&mut self, row: Triplet, seen: &Seen) {
        match seen {
            Seen::Trusted => {
                self.note_client(Client { network: row.client, passed_at: row.last_seen, last_seen: row.last_seen })
            }
            _ => self.note(Triplet { passed_at: Some(row.last_seen), ..row }),
        }
    }

    /// Begins to wait for somebody.
    pub(super) fn begin(&mut self, key: Key, now: u32) {
        let times = self.times;
        self.tried.put(key, Tried { first: now, last: now, passed: false }, |tried| times.counts(*tried, now));
    }

    /// Somebody came back in time.
    pub(super) fn pass(&mut self, key: Key, now: u32) {
        let times = self.times;
        let first = self.tried.peek(key).map_or(now, |tried| tried.first);
        self.tried.put(key, Tried { first, last: now, passed: true }, |tried| times.counts(*tried, now));
    }

    /// Takes what another engine, or an earlier one, knows of an attempt.
    pub(super) fn merge(&mut self, key: Key, row: (u32, u32, bool), now: u32) {
        let (first, last, passed) = row;
        let times = self.times;
        let theirs = Tried { first, last, passed };
        let ours = self.tried.peek(key).copied().filter(|ours| times.counts(*ours, now));
        let merged = ours.map_or(theirs, |ours| Tried {
            first: first.min(ours.first),
            last: last.max(ours.last),
            passed: passed || ours.passed,
        });
        if times.counts(merged, now) {
            self.tried.put(key, merged, |tried| times.counts(*tried, now));
        }
    }

    /// Trusts a client, which was last here then.
    pub(super) fn trust(&mut self, client: Key, last: u32, now: u32) {
        let keep = self.times.keep;
        let last = self.clients.peek(client).map_or(last, |known| last.max(*known));
        self.clients.put(client, last, |last| now.saturating_sub(*last) <= keep);
    }

    /// Notes that somebody was written to. Returns whether that is to be written down.
    pub(super) fn correspond(&mut self, pair: Key, last: u32, now: u32) -> bool {
        let span = self.times.correspondence;
        let lives = |last: &u32| now.saturating_sub(*last) <= span;
        match self.pairs.find(pair, lives) {
            Some(known) => touch(known, last, self.times.refresh()),
            None => {
                self.pairs.put(pair, last, lives);
                true
            }
        }
    }

    /// Writes an attempt down behind.
    pub(super) fn note(&mut self, row: Triplet) {
        let Some(key) = super::key_of(&row.key) else { return };
        let Unwritten { triplets, dropped, .. } = &mut self.unwritten;
        let room = triplets.len() < UNWRITTEN;
        match triplets.entry(key) {
            Entry::Occupied(mut known) => merge(known.get_mut(), &row),
            Entry::Vacant(place) if room => drop(place.insert(row)),
            Entry::Vacant(_) => *dropped += 1,
        }
    }

    /// Writes a client down behind.
    pub(super) fn note_client(&mut self, row: Client) {
        let Unwritten { clients, dropped, .. } = &mut self.unwritten;
        if clients.len() < UNWRITTEN || clients.contains_key(&row.network) {
            clients.insert(row.network.clone(), row);
        } else {
            *dropped += 1;
        }
    }

    /// Writes a correspondent down behind.
    pub(super) fn note_correspondent(&mut self, row: Correspondent) {
        let Unwritten { pairs, dropped, .. } = &mut self.unwritten;
        let pair = (row.ours.clone(), row.theirs.clone());
        if pairs.len() < UNWRITTEN || pairs.contains_key(&pair) {
            pairs.insert(pair, row);
        } else {
            *dropped += 1;
        }
    }

    /// What is to be written, taken away.
    pub(super) fn take_unwritten(&mut self) -> Unwritten {
        std::mem::take(&mut self.unwritten)
    }

    /// What could not be written.
    pub(super) fn put_back(&mut self, unwritten: Unwritten) {
        let Unwritten { triplets, clients, pairs, dropped } = unwritten;
        triplets.into_values().for_each(|row| self.note(row));
        for row in clients.into_values() {
            if !self.unwritten.clients.contains_key(&row.network) {
                self.note_client(row);
            }
        }
        pairs.into_values().for_each(|row| self.note_correspondent(row));
        self.unwritten.dropped += dropped;
    }

    /// Lets go what counts no more.
    pub(super) fn sweep(&mut self, now: u32) {
        let times = self.times;
        self.tried.retain(|tried| times.counts(*tried, now));
        self.clients.retain(|last| now.saturating_sub(*last) <= times.keep);
        self.pairs.retain(|last| now.saturating_sub(*last) <= times.correspondence);
    }

    /// Entries in memory.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.tried.len() + self.clients.len() + self.pairs.len()
    }
}

impl Unwritten {
    pub(super) fn is_empty(&self) -> bool {
        self.triplets.is_empty() && self.clients.is_empty() && self.pairs.is_empty()
    }

    /// The rows.
    pub(super) fn rows(&self) -> (Vec<Triplet>, Vec<Client>, Vec<Correspondent>) {
        let triplets = self.triplets.values().cloned().collect();
        let clients = self.clients.values().cloned().collect();
        (triplets, clients, self.pairs.values().cloned().collect())
    }

    /// How many found no room.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

fn merge(known: &mut Triplet, row: &Triplet) {
    known.first_seen = known.first_seen.min(row.first_seen);
    known.last_seen = known.last_seen.max(row.last_seen);
    known.passed_at = known.passed_at.or(row.passed_at);
    known.attempts = known.attempts.saturating_add(row.attempts);
}

/// Moves a moment on; returns whether it moved far enough to be written down.
fn touch(last: &mut u32, now: u32, often: u32) -> bool {
    let is_far = now.saturating_sub(*last) >= often.max(1);
    if is_far {
        *last = now;
    }
    is_far
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    const TIMES: Times = Times { delay: 900, forget: 86_400, keep: 30 * 86_400, correspondence: 90 * 86_400 };

    fn asked(key: Key, client: Key, pairs: &[Key]) -> Asked<'_> {
        Asked { key, client, pairs, trust_client: true }
    }

    #[test]
    fn who_comes_back_in_time_is_known() {
        let mut memory = Memory::new(1000, TIMES);
        let one = asked(1, 9, &[]);
        assert_eq!(memory.known(&one, 1000), Seen::Never);
        memory.begin(1, 1000);
        assert_eq!(memory.known(&one, 1000), Seen::TooEarly(900));
        assert_eq!(memory.known(&one, 1899), Seen::TooEarly(1));
        assert_eq!(memory.known(&one, 1900), Seen::InTime(900));
        // Too late is never.
        assert_eq!(memory.known(&one, 1000 + 86_401), Seen::Never);
        memory.pass(1, 1900);
        memory.trust(9, 1900, 1900);
        // Now everything from there is.
        assert_eq!(memory.known(&asked(2, 9, &[]), 2000), Seen::Trusted);
        assert_eq!(memory.known(&Asked { trust_client: false, ..asked(1, 9, &[]) }, 2000), Seen::Passed);
        assert_eq!(memory.known(&Asked { trust_client: false, ..asked(2, 9, &[]) }, 2000), Seen::Never);
        // For thirty days, which begin again with each mail.
        let month = 30 * 86_400;
        assert_eq!(memory.known(&one, 1900 + month), Seen::Trusted);
        assert!(memory.refresh(&one, &Seen::Trusted, 1900 + month));
        assert!(!memory.refresh(&one, &Seen::Trusted, 1901 + month));
        assert_eq!(memory.known(&one, 1900 + 2 * month), Seen::Trusted);
        assert_eq!(memory.known(&one, 1901 + 2 * month), Seen::Never);
    }

    #[test]
    fn correspondents_need_not_wait() {
        let mut memory = Memory::new(1000, TIMES);
        assert!(memory.correspond(5, 1000, 1000));
        assert!(!memory.correspond(5, 1001, 1001));
        assert_eq!(memory.known(&asked(1, 9, &[4, 5]), 2000), Seen::Correspondent);
        assert_eq!(memory.known(&asked(1, 9, &[4]), 2000), Seen::Never);
    }

    #[test]
    fn a_clock_that_jumps_stops_nobody_for_longer_than_the_delay() {
        let mut memory = Memory::new(1000, TIMES);
        let one = asked(1, 9, &[]);
        memory.begin(1, 1_000_000);
        // Back.
        assert_eq!(memory.known(&one, 500_000), Seen::TooEarly(900));
        memory.refresh(&one, &Seen::TooEarly(900), 500_000);
        assert_eq!(memory.known(&one, 500_900), Seen::InTime(900));
        // Forward, beyond everything.
        assert_eq!(memory.known(&one, u32::MAX), Seen::Never);
        memory.begin(1, u32::MAX);
        assert_eq!(memory.known(&one, u32::MAX), Seen::TooEarly(900));
    }

    #[test]
    fn a_million_strangers_are_bounded() {
        let mut memory = Memory::new(10_000, TIMES);
        memory.end_loading(false);
        assert!(memory.is_whole());
        for number in 0..1_000_000_u32 {
            let key = Key::from(number) << 64 | Key::from(number.wrapping_mul(0x9e37_79b9));
            memory.begin(key, 1000);
            memory.note(Triplet {
                key: key.to_be_bytes().to_vec(),
                client: String::new(),
                sender: String::new(),
                recipient: String::new(),
                first_seen: DateTime::UNIX_EPOCH,
                last_seen: DateTime::UNIX_EPOCH,
                passed_at: None,
                attempts: 1,
            });
        }
        assert!(memory.len() <= 10_000, "{}", memory.len());
        assert!(!memory.is_whole());
        let unwritten = memory.take_unwritten();
        assert_eq!((unwritten.rows().0.len(), unwritten.dropped()), (UNWRITTEN, 800_000));
    }

    #[test]
    fn what_others_know_is_taken_over() {
        let mut memory = Memory::new(1000, TIMES);
        let one = asked(1, 9, &[]);
        memory.begin(1, 2000);
        memory.merge(1, (1200, 1200, false), 2000);
        assert_eq!(memory.known(&one, 2100), Seen::InTime(900));
        memory.merge(1, (1200, 2000, true), 2000);
        assert_eq!(memory.known(&one, 2100), Seen::Passed);
        // What is too old is nothing.
        memory.merge(2, (0, 0, false), 100_000);
        assert_eq!(memory.known(&asked(2, 9, &[]), 100_000), Seen::Never);
    }

    #[test]
    fn what_could_not_be_written_waits() {
        let mut memory = Memory::new(1000, TIMES);
        let client = |last: i64| Client {
            network: "192.0.2.1".to_owned(),
            passed_at: DateTime::UNIX_EPOCH,
            last_seen: DateTime::from_timestamp(last, 0).expect("a moment"),
        };
        memory.note_client(client(1));
        let taken = memory.take_unwritten();
        memory.note_client(client(2));
        memory.put_back(taken);
        assert_eq!(memory.take_unwritten().rows().1, [client(2)]);
        assert!(memory.take_unwritten().is_empty());
    }
}
