//! Failed logins, counted by client address and by account, so that guessing is slow.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use posthorn_config::Auth;
use posthorn_model::Address;

/// The most keys remembered of each kind; beyond that the oldest go.
const MOST: usize = 100_000;

/// How long an address is known as one from which a login works.
const HOME_TIME: Duration = Duration::from_secs(24 * 3600);

/// Characters of a login that is no address.
const LONGEST: usize = 320;

pub(crate) struct Failures {
    per_address: u32,
    per_account: u32,
    window: Duration,
    slow_down: Duration,
    slow_down_limit: Duration,
    addresses: Mutex<HashMap<IpAddr, Count>>,
    accounts: Mutex<HashMap<String, Count>>,
    /// Where each login worked lately: guessing elsewhere does not lock its owner out there.
    homes: moka::sync::Cache<(String, IpAddr), ()>,
}

#[derive(Clone, Copy)]
struct Count {
    failures: u32,
    last: Instant,
}

impl Failures {
    pub(crate) fn new(auth: &Auth) -> Self {
        Self {
            per_address: auth.failures_per_address,
            per_account: auth.failures_per_account,
            window: auth.failure_window.duration(),
            slow_down: auth.slow_down.duration(),
            slow_down_limit: auth.slow_down_limit.duration(),
            addresses: Mutex::default(),
            accounts: Mutex::default(),
            homes: moka::sync::Cache::builder().max_capacity(MOST as u64).time_to_live(HOME_TIME).build(),
        }
    }

    /// Whether this address, or this login when it comes from elsewhere than usual, must wait before it may try again.
    pub(crate) fn is_barred(&self, address: IpAddr, login: &str) -> bool {
        let over = |count: u32, limit: u32| limit > 0 && count >= limit;
        let (address, login) = (network(address), name(login));
        over(self.count(&self.addresses, &address), self.per_address)
            || over(self.count(&self.accounts, &login), self.per_account) && !self.homes.contains_key(&(login, address))
    }

    /// Remembers that this login works from this address.
    pub(crate) fn at_home(&self, address: IpAddr, login: &str) {
        self.homes.insert((name(login), network(address)), ());
    }

    /// Counts a failure and says how long its answer is to be held back.
    pub(crate) fn record(&self, address: IpAddr, login: &str) -> Duration {
        let failures = self.add(&self.addresses, network(address)).max(self.add(&self.accounts, name(login)));
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1).min(16)).unwrap_or(u32::MAX);
        self.slow_down.saturating_mul(doubled).min(self.slow_down_limit)
    }

    /// A login that worked clears its account's count; the address keeps its own, or an attacker with one account of
    /// their own could go on for ever.
    pub(crate) fn forgive(&self, login: &str) {
        self.accounts.lock().remove(&name(login));
    }

    fn count<K: Eq + Hash>(&self, counts: &Mutex<HashMap<K, Count>>, key: &K) -> u32 {
        counts.lock().get(key).filter(|count| count.last.elapsed() < self.window).map_or(0, |count| count.failures)
    }

    fn add<K: Clone + Eq + Hash>(&self, counts: &Mutex<HashMap<K, Count>>, key: K) -> u32 {
        let mut counts = counts.lock();
        if counts.len() >= MOST {
            counts.retain(|_, count| count.last.elapsed() < self.window);
            if counts.len() >= MOST {
                counts.clear();
            }
        }
        let now = Instant::now();
        let count = counts.entry(key).or_insert(Count { failures: 0, last: now });
        if count.last.elapsed() >= self.window {
            count.failures = 0;
        }
        count.failures = count.failures.saturating_add(1);
        count.last = now;
        count.failures
    }
}

/// One name for all spellings of a login (quotes, case, U-labels), or each would have failures of its own; no longer
/// than an address can be.
fn name(login: &str) -> String {
    match Address::parse(login) {
        Ok(address) => address.to_string().to_lowercase(),
        Err(_) => login.chars().take(LONGEST).flat_map(char::to_lowercase).collect(),
    }
}

/// An IPv6 client owns its /64, so that is what counts.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn accounts_and_addresses_are_barred_apart() {
        let failures = Failures::new(&Auth { failures_per_address: 3, failures_per_account: 2, ..Auth::default() });
        failures.record(ONE, "Bob@example.org");
        failures.record(ONE, "bob@EXAMPLE.org");
        assert!(failures.is_barred(OTHER, "bob@example.org"));
        assert!(!failures.is_barred(ONE, "eve@example.org"));
        failures.forgive("bob@example.org");
        assert!(!failures.is_barred(OTHER, "bob@example.org"));
        failures.record(ONE, "eve@example.org");
        assert!(failures.is_barred(ONE, "anybody@example.org"));
    }

    #[test]
    fn guessing_elsewhere_locks_nobody_out_at_home() {
        let failures = Failures::new(&Auth { failures_per_address: 4, failures_per_account: 2, ..Auth::default() });
        failures.at_home(ONE, "bob@example.org");
        for _ in 0..3 {
            failures.record(OTHER, "bob@example.org");
        }
        assert!(failures.is_barred(OTHER, "bob@example.org"));
        assert!(!failures.is_barred(ONE, "bob@example.org"));
        for _ in 0..4 {
            failures.record(ONE, "bob@example.org");
        }
        assert!(failures.is_barred(ONE, "bob@example.org"), "the address has a limit of its own");
    }

    #[test]
    fn spellings_of_one_name_count_together() {
        let failures = Failures::new(&Auth { failures_per_account: 3, ..Auth::default() });
        for spelling in ["bob@b\u{fc}cher.example", "\"b\\ob\"@XN--Bcher-KVA.example", "BOB@xn--bcher-kva.example"] {
            failures.record(ONE, spelling);
        }
        assert!(failures.is_barred(OTHER, "bob@b\u{fc}cher.example"));
        assert_eq!(name(&"x".repeat(100_000)).len(), LONGEST);
    }

    #[test]
    fn answers_slow_down_up_to_a_limit() {
        let failures = Failures::new(&Auth::default());
        let first = failures.record(ONE, "bob");
        let second = failures.record(ONE, "bob");
        assert_eq!(second, first * 2);
        for _ in 0..40 {
            failures.record(ONE, "bob");
        }
        assert_eq!(failures.record(ONE, "bob"), Auth::default().slow_down_limit.duration());
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let failures = Failures::new(&Auth { failures_per_address: 2, ..Auth::default() });
        failures.record("2001:db8::1".parse().expect("address"), "a");
        failures.record("2001:db8::ffff:2".parse().expect("address"), "b");
        assert!(failures.is_barred("2001:db8::3".parse().expect("address"), "c"));
    }
}
