//! Sets of messages as clients write them (RFC 9051 §9 `sequence-set`).

use std::fmt;

use posthorn_model::NumberSet;

/// Sequence numbers or UIDs, not yet held against a mailbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SequenceSet {
    /// Ranges as written; the ends of a range may be in either order.
    Ranges(Vec<(SequenceNumber, SequenceNumber)>),
    /// `$`: the saved search result (RFC 5182).
    Saved,
}

/// One end of a range.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SequenceNumber {
    /// `*`: the largest number in use.
    Last,
    /// A number, not zero.
    Number(u32),
}

impl SequenceNumber {
    fn resolve(self, last: u32) -> u32 {
        match self {
            Self::Last => last,
            Self::Number(number) => number,
        }
    }
}

impl SequenceSet {
    /// The set of one range.
    #[must_use]
    pub fn range(from: SequenceNumber, to: SequenceNumber) -> Self {
        Self::Ranges(vec![(from, to)])
    }

    /// The numbers meant when `last` is the largest number in use (0 when there is none: then ranges that name `*` are
    /// empty) and `saved` the saved search result in the same kind of numbers. Numbers above `last` are kept.
    #[must_use]
    pub fn resolve(&self, last: u32, saved: &NumberSet) -> NumberSet {
        let ranges = match self {
            Self::Saved => return saved.clone(),
            Self::Ranges(ranges) => ranges,
        };
        let ends = ranges.iter().map(|&(from, to)| (from.resolve(last), to.resolve(last)));
        union(ends.filter(|&(from, to)| from != 0 && to != 0).map(|(from, to)| (from.min(to), from.max(to))))
    }

    /// Whether this is `$`.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        matches!(self, Self::Saved)
    }
}

/// The set of these ranges, lower end first. Sorted before they are joined, so that no order of them is slow.
pub(crate) fn union(ranges: impl IntoIterator<Item = (u32, u32)>) -> NumberSet {
    let mut ranges: Vec<(u32, u32)> = ranges.into_iter().collect();
    ranges.sort_unstable();
    let mut set = NumberSet::new();
    for (low, high) in ranges {
        set.insert_range(low..=high);
    }
    set
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last => f.write_str("*"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl fmt::Display for SequenceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges = match self {
            Self::Saved => return f.write_str("$"),
            Self::Ranges(ranges) => ranges,
        };
        for (at, (from, to)) in ranges.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            if from == to {
                write!(f, "{from}")?;
            } else {
                write!(f, "{from}:{to}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SequenceNumber::{Last, Number};

    #[test]
    fn a_star_is_the_last_and_ends_may_be_swapped() {
        let set = SequenceSet::Ranges(vec![(Number(9), Number(2)), (Last, Last), (Number(40), Last)]);
        assert_eq!(set.to_string(), "9:2,*,40:*");
        assert_eq!(set.resolve(12, &NumberSet::new()).to_string(), "2:9,12:40");
    }

    #[test]
    fn in_an_empty_mailbox_a_star_is_nothing() {
        let set = SequenceSet::Ranges(vec![(Number(1), Last), (Number(3), Number(3))]);
        assert_eq!(set.resolve(0, &NumberSet::new()).to_string(), "3");
    }

    #[test]
    fn a_dollar_is_the_saved_result() {
        let saved: NumberSet = [3, 4, 9].into_iter().collect();
        assert_eq!(SequenceSet::Saved.resolve(5, &saved), saved);
    }
}
