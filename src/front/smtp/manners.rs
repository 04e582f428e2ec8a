//! Who has shown manners: clients that let us greet first need not be made to wait again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long good manners are remembered.
const MEMORY: Duration = Duration::from_secs(3600);

/// The most clients remembered.
const MOST: usize = 100_000;

/// Addresses that waited for the banner lately.
#[derive(Clone, Default)]
pub(super) struct Manners(Arc<Mutex<HashMap<IpAddr, Instant>>>);

impl Manners {
    /// Whether this client has waited for a banner within the last hour.
    pub(super) fn are_known_of(&self, client: IpAddr) -> bool {
        self.0.lock().get(&client).is_some_and(|since| since.elapsed() < MEMORY)
    }

    /// The client let us greet first.
    pub(super) fn remember(&self, client: IpAddr) {
        let mut known = self.0.lock();
        if known.len() >= MOST {
            known.retain(|_, since| since.elapsed() < MEMORY);
            if known.len() >= MOST {
                known.clear();
            }
        }
        known.insert(client, Instant::now());
    }

    /// The client talked first.
    pub(super) fn forget(&self, client: IpAddr) {
        self.0.lock().remove(&client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manners_are_remembered_until_they_fail() {
        let manners = Manners::default();
        let client = IpAddr::from([192, 0, 2, 1]);
        assert!(!manners.are_known_of(client));
        manners.remember(client);
        assert!(manners.are_known_of(client));
        manners.forget(client);
        assert!(!manners.are_known_of(client));
    }
}
