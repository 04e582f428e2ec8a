//! How far the walk goes, and what has been spent of it.

/// How much of a message is looked into. The defaults are those that filters usually have: 14 levels, 3000 nodes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// How deep nodes nest; the message itself is level 1.
    pub depth: usize,
    /// How many nodes there are in all, the message itself and its multiparts included.
    pub nodes: usize,
    /// Octets that all archives together may unpack to, whatever the message's size.
    pub expanded: u64,
    /// How many times the message's size they may unpack to; [`floor`](Self::floor) holds where this is less.
    pub factor: u64,
    /// Octets that every message's archives may unpack to, however small it is.
    pub floor: u64,
    /// Octets unpacked that are held in memory at one time.
    pub memory: u64,
    /// Octets of a name; what is longer is cut.
    pub name: usize,
    /// Work instead of time: a node, or a KiB that is unpacked, is one step; a KiB of the slow methods (bzip2 and the
    /// LZMA family) is eight.
    pub steps: u64,
    /// Octets of all texts that are kept, in UTF-8.
    pub text: usize,
    /// Links that are kept.
    pub links: usize,
    /// Flaws of the header that are kept.
    pub flaws: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 14,
            nodes: 3000,
            expanded: 256 << 20,
            factor: 500,
            floor: 4 << 20,
            memory: 64 << 20,
            name: 1024,
            steps: 400_000,
            text: 2 << 20,
            links: 1000,
            flaws: 32,
        }
    }
}

/// What stopped the walk, or a branch of it, before its end: not everything inside the message is known.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Limit {
    /// Something lies deeper than [`Limits::depth`]; the rest was walked.
    Depth,
    /// Something to look into did not fit in [`Limits::memory`]; the rest was walked.
    Memory,
    /// There are more nodes than [`Limits::nodes`]; the walk ended there.
    Nodes,
    /// Archives unpack to more than their quota; the walk ended there.
    Expansion,
    /// All [`Limits::steps`] were taken; the walk ended there.
    Steps,
}

impl Limit {
    /// One word for traces.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Depth => "depth",
            Self::Memory => "memory",
            Self::Nodes => "nodes",
            Self::Expansion => "expansion",
            Self::Steps => "steps",
        }
    }

    /// Whether nothing more is looked at.
    pub(crate) fn ends_all(self) -> bool {
        matches!(self, Self::Nodes | Self::Expansion | Self::Steps)
    }
}

/// What one walk has left.
#[derive(Debug)]
pub(crate) struct Budget {
    quota: u64,
    steps: u64,
    memory: u64,
    limit: Option<Limit>,
}

impl Budget {
    pub(crate) fn new(limits: &Limits, size: usize) -> Self {
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        let quota = size.saturating_mul(limits.factor).max(limits.floor).min(limits.expanded);
        Self { quota, steps: limits.steps, memory: limits.memory, limit: None }
    }

    /// The gravest limit that was met.
    pub(crate) fn limit(&self) -> Option<Limit> {
        self.limit
    }

    /// Whether the walk is over.
    pub(crate) fn is_over(&self) -> bool {
        self.limit.is_some_and(Limit::ends_all)
    }

    pub(crate) fn meet(&mut self, limit: Limit) {
        self.limit = self.limit.max(Some(limit));
    }

    /// Takes steps; false when there are none left.
    pub(crate) fn step(&mut self, steps: u64) -> bool {
        match self.steps.checked_sub(steps) {
            Some(left) => self.steps = left,
            None => {
                self.steps = 0;
                self.meet(Limit::Steps);
            }
        }
        !self.is_over()
    }

    /// Pays for unpacked octets; false when the walk is over.
    pub(crate) fn expand(&mut self, octets: usize, steps_per_kib: u64) -> bool {
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        match self.quota.checked_sub(octets) {
            Some(left) => self.quota = left,
            None => {
                self.quota = 0;
                self.meet(Limit::Expansion);
            }
        }
        self.step(octets.div_ceil(1024).saturating_mul(steps_per_kib))
    }

    /// Takes memory; false when there is not so much.
    pub(crate) fn hold(&mut self, octets: usize) -> bool {
        let left = u64::try_from(octets).ok().and_then(|octets| self.memory.checked_sub(octets));
        left.is_some_and(|left| {
            self.memory = left;
            true
        })
    }

    /// Gives memory back.
    pub(crate) fn release(&mut self, octets: usize) {
        self.memory = self.memory.saturating_add(u64::try_from(octets).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quota_follows_the_size_between_its_bounds() {
        let limits = Limits { expanded: 1000, factor: 10, floor: 50, ..Limits::default() };
        for (size, quota) in [(0, 50), (5, 50), (20, 200), (100, 1000), (5000, 1000)] {
            assert_eq!(Budget::new(&limits, size).quota, quota, "{size}");
        }
    }

    #[test]
    fn the_gravest_limit_is_told_and_memory_comes_back() {
        let mut budget = Budget::new(&Limits { steps: 3, memory: 10, ..Limits::default() }, 0);
        budget.meet(Limit::Depth);
        assert!(budget.hold(8) && !budget.hold(3));
        budget.release(8);
        assert!(budget.hold(10));
        assert!(!budget.is_over() && budget.step(3) && !budget.expand(1, 1));
        budget.meet(Limit::Memory);
        assert_eq!((budget.limit(), budget.is_over()), (Some(Limit::Steps), true));
    }
}
