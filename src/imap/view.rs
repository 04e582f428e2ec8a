//! The selected mailbox as one client believes it to be.

use posthorn_model::{NumberSet, Uid};

use crate::sequence::union;
use crate::{SequenceNumber, SequenceSet};

/// Which UID stands at which sequence number (RFC 9051 §2.3.1.2). Messages that are gone keep their numbers until the
/// client is told, which must not happen during FETCH, STORE and SEARCH (RFC 9051 §7.5.1).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct View {
    /// In ranges: a mailbox of 100,000 messages of which few were expunged takes little memory in each of its sessions.
    uids: NumberSet,
    /// How many messages lie before each of those ranges.
    before: Vec<u32>,
    gone: NumberSet,
    saved: NumberSet,
}

/// Messages meant by a command, in both kinds of numbers; equally many of each.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Selection {
    /// Sequence numbers.
    pub sequences: NumberSet,
    /// UIDs, all of messages in the view.
    pub uids: NumberSet,
}

/// What the client is to be told of messages that are gone.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Expunged {
    /// Sequence numbers for EXPUNGE responses, in the order to send them: descending, so that each holds when it is sent.
    pub sequences: Vec<u32>,
    /// The same as UIDs, for VANISHED.
    pub uids: NumberSet,
}

/// The command names a sequence number that no message has: answer BAD.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OutOfRange;

impl View {
    /// A view of these UIDs.
    #[must_use]
    pub fn new(uids: impl IntoIterator<Item = Uid>) -> Self {
        Self::of(uids.into_iter().collect())
    }

    fn of(uids: NumberSet) -> Self {
        let mut count = 0;
        let mut before = Vec::with_capacity(uids.as_ranges().len());
        for (first, last) in uids.as_ranges() {
            before.push(count);
            count += last - first + 1;
        }
        Self { uids, before, ..Self::default() }
    }

    /// How many messages the client counts.
    #[must_use]
    pub fn len(&self) -> u32 {
        match (self.uids.as_ranges().last(), self.before.last()) {
            (Some((first, last)), Some(before)) => before + (last - first) + 1,
            _ => 0,
        }
    }

    /// Whether the client sees an empty mailbox.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty()
    }

    /// Every UID that the client counts.
    #[must_use]
    pub fn uids(&self) -> &NumberSet {
        &self.uids
    }

    /// The sequence number of a UID.
    #[must_use]
    pub fn seq_of(&self, uid: Uid) -> Option<u32> {
        self.walk().seq_of(uid)
    }

    /// The UID at a sequence number.
    #[must_use]
    pub fn uid_of(&self, sequence: u32) -> Option<Uid> {
        let at = self.before.partition_point(|before| *before < sequence).checked_sub(1)?;
        let (first, last) = *self.uids.as_ranges().get(at)?;
        first.checked_add(sequence - self.before[at] - 1).filter(|uid| *uid <= last)
    }

    /// Finds sequence numbers of ascending UIDs without searching each one anew.
    #[must_use]
    pub fn walk(&self) -> Walk<'_> {
        Walk { ranges: self.uids.as_ranges(), before: &self.before, at: 0 }
    }

    /// The messages that a command means. `uid` says how its numbers are to be read. UIDs that are not here are passed
    /// over (RFC 9051 §6.4.9); a saved result is always kept in UIDs and means those still here.
    ///
    /// # Errors
    /// [`OutOfRange`] when a sequence number is beyond the last; a `*` alone in an empty mailbox means nothing.
    pub fn resolve(&self, set: &SequenceSet, uid: bool) -> Result<Selection, OutOfRange> {
        if set.is_saved() {
            return Ok(self.of_uids(&self.saved));
        }
        if uid {
            let last = self.uids.last().unwrap_or(0);
            return Ok(self.of_uids(&set.resolve(last, &self.saved)));
        }
        let sequences = self.sequences(set)?;
        let mut uids = NumberSet::new();
        let mut places = self.places().peekable();
        for range in sequences.ranges() {
            while places.next_if(|(_, last, _)| last < range.start()).is_some() {}
            while let Some(&(first, last, uid)) = places.peek().filter(|(first, ..)| first <= range.end()) {
                let (low, high) = (first.max(*range.start()), last.min(*range.end()));
                uids.insert_range(uid + (low - first)..=uid + (high - first));
                if last > *range.end() {
                    break;
                }
                places.next();
            }
        }
        Ok(Selection { uids, sequences })
    }

    /// Sequence numbers as written. A range up to `*` ends at the last message even where it begins behind it: clients ask
    /// so for what may be new.
    fn sequences(&self, set: &SequenceSet) -> Result<NumberSet, OutOfRange> {
        let SequenceSet::Ranges(ranges) = set else { return Ok(NumberSet::new()) };
        let mut found = Vec::with_capacity(ranges.len());
        for &range in ranges {
            let (low, high) = match range {
                (SequenceNumber::Number(one), SequenceNumber::Number(other)) => (one.min(other), one.max(other)),
                (SequenceNumber::Number(one), SequenceNumber::Last)
                | (SequenceNumber::Last, SequenceNumber::Number(one)) => (one.min(self.len()), self.len()),
                (SequenceNumber::Last, SequenceNumber::Last) => (self.len(), self.len()),
            };
            if high > self.len() {
                return Err(OutOfRange);
            }
            if low > 0 {
                found.push((low, high));
            }
        }
        Ok(union(found))
    }

    /// Those of the UIDs that are here.
    #[must_use]
    pub fn of_uids(&self, wanted: &NumberSet) -> Selection {
        let uids = self.uids.intersection(wanted);
        let mut walk = self.walk();
        let mut sequences = NumberSet::new();
        for range in uids.ranges() {
            // A range of the intersection never leaves a range of ours.
            if let Some(sequence) = walk.seq_of(*range.start()) {
                sequences.insert_range(sequence..=sequence + (range.end() - range.start()));
            }
        }
        Selection { sequences, uids }
    }

    /// Our ranges as first and last sequence number, and first UID.
    fn places(&self) -> impl Iterator<Item = (u32, u32, Uid)> {
        let ranges = self.uids.as_ranges().iter().zip(&self.before);
        ranges.map(|((first, last), before)| (before + 1, before + 1 + (last - first), *first))
    }

    /// Adds new messages at the end, each UID above all before it (others are passed over); returns how many there are
    /// now, for EXISTS, or `None` when nothing was added.
    pub fn append(&mut self, uids: impl IntoIterator<Item = Uid>) -> Option<u32> {
        let before = self.len();
        for uid in uids {
            if self.uids.last().is_none_or(|last| last < uid) {
                let count = self.len();
                self.uids.insert(uid);
                if self.uids.as_ranges().len() > self.before.len() {
                    self.before.push(count);
                }
            }
        }
        (self.len() > before).then(|| self.len())
    }

    /// Remembers that these UIDs are gone, without telling: their sequence numbers stay.
    pub fn lose(&mut self, uids: &NumberSet) {
        for range in uids.ranges() {
            self.gone.insert_range(range);
        }
    }

    /// Whether some messages are gone that the client counts still.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        !self.gone.is_empty()
    }

    /// Whether this message is gone, though the client counts it still.
    #[must_use]
    pub fn is_lost(&self, uid: Uid) -> bool {
        self.gone.contains(uid)
    }

    /// Drops the messages that are gone from the view: the client must now be told what is returned.
    pub fn announce(&mut self) -> Expunged {
        if self.gone.is_empty() {
            return Expunged::default();
        }
        let gone = std::mem::take(&mut self.gone);
        let Selection { sequences, uids } = self.of_uids(&gone);
        let mut sequences: Vec<u32> = sequences.iter().collect();
        sequences.reverse();
        let saved = std::mem::take(&mut self.saved);
        *self = Self { saved, ..Self::of(self.uids.difference(&uids)) };
        Expunged { sequences, uids }
    }

    /// Messages are gone and the client may be told at once: [`lose`](Self::lose) and [`announce`](Self::announce).
    pub fn expunge(&mut self, uids: &NumberSet) -> Expunged {
        self.lose(uids);
        self.announce()
    }

    /// Saves a search result as `$` (RFC 5182), as UIDs. Expunged messages leave it by themselves, since UIDs never return.
    pub fn save(&mut self, uids: NumberSet) {
        self.saved = uids;
    }
}

/// Looks up ascending UIDs.
#[derive(Clone, Debug)]
pub struct Walk<'v> {
    ranges: &'v [(Uid, Uid)],
    before: &'v [u32],
    at: usize,
}

impl Walk<'_> {
    /// The sequence number of a UID; fast when UIDs are asked for in ascending order, right in any order.
    pub fn seq_of(&mut self, uid: Uid) -> Option<u32> {
        let within = |range: &(Uid, Uid)| range.0 <= uid && uid <= range.1;
        if !self.ranges.get(self.at).is_some_and(within) {
            self.at = self.ranges.partition_point(|range| range.1 < uid);
        }
        let (first, _) = self.ranges.get(self.at).filter(|range| within(range))?;
        Some(self.before[self.at] + (uid - first) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SequenceNumber::{Last, Number};

    fn set(numbers: &[u32]) -> NumberSet {
        numbers.iter().copied().collect()
    }

    fn view() -> View {
        View::new(vec![2, 3, 5, 8, 13, 21])
    }

    #[test]
    fn numbers_translate_both_ways() {
        let view = view();
        assert_eq!(view.seq_of(5), Some(3));
        assert_eq!(view.seq_of(4), None);
        assert_eq!(view.uid_of(6), Some(21));
        assert_eq!((view.uid_of(0), view.uid_of(7)), (None, None));
        let mut walk = view.walk();
        let found: Vec<_> = [2, 3, 8, 9, 13, 2].into_iter().map(|uid| walk.seq_of(uid)).collect();
        assert_eq!(found, [Some(1), Some(2), Some(4), None, Some(5), Some(1)]);
    }

    #[test]
    fn disorder_is_put_right() {
        assert_eq!(*View::new(vec![3, 1, 3]).uids(), set(&[1, 3]));
    }

    #[test]
    fn commands_resolve_in_both_spaces() {
        let view = view();
        let by_sequence = view.resolve(&SequenceSet::Ranges(vec![(Number(2), Number(3)), (Last, Last)]), false);
        assert_eq!(by_sequence, Ok(Selection { sequences: set(&[2, 3, 6]), uids: set(&[3, 5, 21]) }));
        let by_uid = view.resolve(&SequenceSet::range(Number(4), Number(10)), true);
        assert_eq!(by_uid, Ok(Selection { sequences: set(&[3, 4]), uids: set(&[5, 8]) }));
        let beyond = view.resolve(&SequenceSet::range(Number(900), Last), true);
        assert_eq!(beyond, Ok(Selection { sequences: set(&[6]), uids: set(&[21]) }));
        assert_eq!(view.resolve(&SequenceSet::range(Number(5), Number(7)), false), Err(OutOfRange));
        let new = view.resolve(&SequenceSet::range(Number(7), Last), false);
        assert_eq!(new, Ok(Selection { sequences: set(&[6]), uids: set(&[21]) }));
    }

    #[test]
    fn everything_of_nothing_is_nothing() {
        let all = SequenceSet::range(Number(1), Last);
        assert_eq!(View::default().resolve(&all, false), Ok(Selection::default()));
        assert_eq!(View::default().resolve(&all, true), Ok(Selection::default()));
        assert_eq!(View::default().resolve(&SequenceSet::range(Number(1), Number(1)), false), Err(OutOfRange));
    }

    #[test]
    fn announced_numbers_hold_when_they_are_sent() {
        let mut view = view();
        let told = view.expunge(&set(&[3, 4, 5, 21]));
        assert_eq!(told, Expunged { sequences: vec![6, 3, 2], uids: set(&[3, 5, 21]) });
        assert_eq!(*view.uids(), set(&[2, 8, 13]));
        let mut client = vec![2, 3, 5, 8, 13, 21];
        for sequence in told.sequences {
            client.remove(sequence as usize - 1);
        }
        assert_eq!(client, view.uids().iter().collect::<Vec<_>>());
    }

    #[test]
    fn numbers_stay_until_announced() {
        let mut view = view();
        view.lose(&set(&[2]));
        assert!(view.has_lost() && view.is_lost(2));
        assert_eq!(view.seq_of(3), Some(2));
        assert_eq!(view.append([34, 30]), Some(7));
        assert_eq!(view.append([34]), None);
        assert_eq!(view.announce().sequences, [1]);
        assert_eq!((view.seq_of(3), view.len()), (Some(1), 6));
        assert_eq!(view.announce(), Expunged::default());
    }

    #[test]
    fn a_saved_result_loses_what_is_expunged() {
        let mut view = view();
        view.save(set(&[3, 5, 13]));
        view.expunge(&set(&[5]));
        assert_eq!(
            view.resolve(&SequenceSet::Saved, true),
            Ok(Selection { sequences: set(&[2, 4]), uids: set(&[3, 13]) })
        );
        assert_eq!(view.resolve(&SequenceSet::Saved, false), view.resolve(&SequenceSet::Saved, true));
    }

    #[test]
    fn a_hundred_thousand_are_expunged_in_one_pass() {
        let mut view = View::new(1..=100_000);
        let odd: NumberSet = (1..=100_000).filter(|uid| uid % 2 == 1).collect();
        assert_eq!(view.expunge(&odd).sequences.len(), 50_000);
        assert_eq!(view.uids().first(), Some(2));
        assert_eq!(view.len(), 50_000);
    }

    /// Compares with a plain list of numbers that is told what the view announces.
    #[test]
    fn any_run_of_changes_keeps_client_and_view_alike() {
        let mut state = 88_172_645_463_325_252_u64;
        let mut next = move |below: u32| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % u64::from(below)) as u32
        };
        let (mut view, mut client, mut top) = (View::default(), Vec::<u32>::new(), 0);
        for _ in 0..2000 {
            match next(4) {
                0 => {
                    let mut new = Vec::new();
                    for _ in 0..next(6) {
                        top += 1 + next(3);
                        new.push(top);
                    }
                    client.extend(&new);
                    let told = view.append(new.iter().copied());
                    assert_eq!(told, (!new.is_empty()).then_some(client.len() as u32));
                }
                1 => view.lose(&(0..next(5)).map(|_| 1 + next(top + 2)).collect()),
                2 => {
                    for sequence in view.announce().sequences {
                        client.remove(sequence as usize - 1);
                    }
                    assert!(!view.has_lost());
                }
                _ => {
                    let (low, high) = (1 + next(top + 2), 1 + next(top + 2));
                    let found =
                        view.resolve(&SequenceSet::range(Number(low), Number(high)), true).expect("UIDs resolve");
                    let range = low.min(high)..=low.max(high);
                    let expected: Vec<u32> = client.iter().copied().filter(|uid| range.contains(uid)).collect();
                    let largest = client.last().copied();
                    assert_eq!(found.uids.iter().collect::<Vec<_>>(), expected, "{range:?} of {largest:?}");
                    let places: Vec<u32> = expected.iter().filter_map(|&uid| view.seq_of(uid)).collect();
                    assert_eq!(found.sequences.iter().collect::<Vec<_>>(), places);
                }
            }
            assert_eq!(view.uids().iter().collect::<Vec<_>>(), client);
            let places: Vec<_> = (1..=view.len()).filter_map(|sequence| view.uid_of(sequence)).collect();
            assert_eq!(places, client);
        }
    }
}
