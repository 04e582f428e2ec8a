//! Memory for message bodies in progress, counted over all sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A bound on the octets that sessions hold of messages not stored yet.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Account>);

#[derive(Debug)]
struct Account {
    limit: usize,
    used: AtomicUsize,
}

/// Octets held; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Budget,
    octets: usize,
}

impl Budget {
    /// A budget of so many octets.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Account { limit, used: AtomicUsize::new(0) }))
    }

    /// The most octets at once.
    pub(crate) fn limit(&self) -> usize {
        self.0.limit
    }

    /// An empty reservation, to be grown.
    #[must_use]
    pub fn reserve(&self) -> Reservation {
        Reservation { budget: self.clone(), octets: 0 }
    }

    /// Octets held at the moment.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }
}

impl Reservation {
    /// Takes so many octets more; `false` when that would exceed the budget, and then nothing is taken.
    pub fn grow(&mut self, octets: usize) -> bool {
        let account = &self.budget.0;
        let before = account.used.fetch_add(octets, Ordering::Relaxed);
        if before.saturating_add(octets) > account.limit {
            account.used.fetch_sub(octets, Ordering::Relaxed);
            return false;
        }
        self.octets += octets;
        true
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.octets, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_shared_and_returned() {
        let budget = Budget::new(100);
        let mut one = budget.reserve();
        let mut other = budget.reserve();
        assert!(one.grow(60) && !other.grow(60) && other.grow(40));
        drop(one);
        assert_eq!(budget.used(), 40);
        assert!(other.grow(60));
    }
}
