//! Sets of message numbers or UIDs as sorted, disjoint ranges.

use std::fmt;
use std::ops::RangeInclusive;

/// A set of non-zero 32-bit numbers (UIDs or sequence numbers), kept as ascending ranges that neither touch nor
/// overlap. Displays as an IMAP sequence set such as `1:3,7`; the empty set displays as nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NumberSet(Vec<(u32, u32)>);

impl NumberSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds one number; ascending additions cost constant time.
    pub fn insert(&mut self, number: u32) {
        self.insert_range(number..=number);
    }

    /// Adds a range of numbers; an empty range adds nothing.
    pub fn insert_range(&mut self, range: RangeInclusive<u32>) {
        let (mut low, mut high) = range.into_inner();
        if low > high {
            return;
        }
        if self.0.last().is_none_or(|&(_, end)| end < low.saturating_sub(1)) {
            self.0.push((low, high));
            return;
        }
        let from = self.0.partition_point(|&(_, end)| end < low.saturating_sub(1));
        let to = self.0.partition_point(|&(start, _)| start <= high.saturating_add(1));
        if from < to {
            low = low.min(self.0[from].0);
            high = high.max(self.0[to - 1].1);
        }
        self.0.splice(from..to, [(low, high)]);
    }

    /// Whether the number is in the set.
    #[must_use]
    pub fn contains(&self, number: u32) -> bool {
        let at = self.0.partition_point(|&(_, end)| end < number);
        self.0.get(at).is_some_and(|&(start, _)| start <= number)
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many numbers the set holds.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.iter().map(|&(start, end)| u64::from(end - start) + 1).sum()
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = RangeInclusive<u32>> + '_ {
        self.0.iter().map(|&(start, end)| start..=end)
    }

    /// The ranges as (first, last), ascending; for whoever searches them.
    #[must_use]
    pub fn as_ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    /// The numbers that are in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut both = Self::new();
        let mut rest = other.0.iter().copied().peekable();
        for &(start, end) in &self.0 {
            while rest.next_if(|range| range.1 < start).is_some() {}
            while let Some(&(low, high)) = rest.peek().filter(|range| range.0 <= end) {
                both.insert_range(low.max(start)..=high.min(end));
                if high > end {
                    break;
                }
                rest.next();
            }
        }
        both
    }

    /// The numbers that are in this set and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut left = Self::new();
        let mut rest = other.0.iter().copied().peekable();
        for &(start, end) in &self.0 {
            let mut from = Some(start);
            while rest.next_if(|range| range.1 < start).is_some() {}
            while let (Some(low), Some(&(first, last))) = (from, rest.peek().filter(|range| range.0 <= end)) {
                if low < first {
                    left.insert_range(low..=first - 1);
                }
                from = last.checked_add(1).filter(|next| *next <= end);
                if last > end {
                    break;
                }
                rest.next();
            }
            if let Some(low) = from {
                left.insert_range(low..=end);
            }
        }
        left
    }

    /// Every number, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().flat_map(|&(start, end)| start..=end)
    }

    /// The smallest number.
    #[must_use]
    pub fn first(&self) -> Option<u32> {
        self.0.first().map(|range| range.0)
    }

    /// The largest number.
    #[must_use]
    pub fn last(&self) -> Option<u32> {
        self.0.last().map(|range| range.1)
    }
}

impl FromIterator<u32> for NumberSet {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        let mut set = Self::new();
        for number in numbers {
            set.insert(number);
        }
        set
    }
}

impl fmt::Display for NumberSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, &(start, end)) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            if start == end {
                write!(f, "{start}")?;
            } else {
                write!(f, "{start}:{end}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_and_display() {
        let set: NumberSet = [5, 1, 2, 9, 3, 4, 8].into_iter().collect();
        assert_eq!(set.to_string(), "1:5,8:9");
        assert_eq!(set.len(), 7);
        assert!(set.contains(4) && !set.contains(6));
    }

    #[test]
    fn the_ends_of_the_number_line_hold() {
        let mut set = NumberSet::new();
        set.insert_range(u32::MAX - 1..=u32::MAX);
        set.insert(u32::MAX);
        set.insert(1);
        assert_eq!(set.to_string(), format!("1,{}:{}", u32::MAX - 1, u32::MAX));
        assert_eq!(set.last(), Some(u32::MAX));
    }

    #[test]
    fn a_bridge_swallows_what_it_joins() {
        let mut set: NumberSet = [1, 3, 5, 7].into_iter().collect();
        set.insert_range(2..=6);
        assert_eq!(set.to_string(), "1:7");
    }

    #[test]
    fn sets_are_compared_range_by_range() {
        let mut state = 12_345_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 26
        };
        for _ in 0..500 {
            let one: Vec<u32> = (0..next() % 40).map(|_| next()).collect();
            let other: Vec<u32> = (0..next() % 40).map(|_| next()).collect();
            let (a, b): (NumberSet, NumberSet) = (one.iter().copied().collect(), other.iter().copied().collect());
            let both: NumberSet = one.iter().copied().filter(|number| other.contains(number)).collect();
            let left: NumberSet = one.iter().copied().filter(|number| !other.contains(number)).collect();
            assert_eq!(a.intersection(&b), both, "{a} and {b}");
            assert_eq!(a.difference(&b), left, "{a} without {b}");
        }
        let all: NumberSet = [u32::MAX - 1, u32::MAX].into_iter().collect();
        assert_eq!(all.difference(&all), NumberSet::new());
    }
}
