//! What was seen of who writes: an address with what proves it, a domain with what proves it, a network.
//!
//! A name that nothing proves has no reputation of its own, only together with the network it was used from: else anybody
//! could borrow one.

use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};

use super::tokens::keyed;

/// What was seen, as it weighed at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Standing {
    pub(crate) spam: f32,
    pub(crate) ham: f32,
    pub(crate) at: DateTime<Utc>,
}

/// Whose reputation it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Whose {
    Address,
    Domain,
    Network,
}

impl Whose {
    /// The name of its points, for and against.
    pub(crate) fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Address => ("ADDRESS_GOOD", "ADDRESS_BAD"),
            Self::Domain => ("DOMAIN_GOOD", "DOMAIN_BAD"),
            Self::Network => ("NETWORK_GOOD", "NETWORK_BAD"),
        }
    }
}

/// Whether points of this name come from a reputation.
pub(crate) fn is_named(name: &str) -> bool {
    let all = [Whose::Address, Whose::Domain, Whose::Network].map(Whose::names);
    all.iter().any(|(good, bad)| name == *good || name == *bad)
}

/// Less weight than this says nothing.
const LEAST: f64 = 3.0;
/// Unknown messages that each reputation is mixed with.
const DOUBT: f64 = 4.0;

impl Standing {
    /// The same at a later moment: it halves each `half_life`.
    pub(crate) fn at(self, now: DateTime<Utc>, half_life: TimeDelta) -> Self {
        let kept = halved(now - self.at, half_life);
        #[expect(clippy::cast_possible_truncation, reason = "a weight of some thousands needs no more digits")]
        let part = |weight: f32| (f64::from(weight) * kept) as f32;
        Self { spam: part(self.spam), ham: part(self.ham), at: now.max(self.at) }
    }

    /// One more message.
    pub(crate) fn with(self, is_spam: bool) -> Self {
        let Self { spam, ham, at } = self;
        if is_spam { Self { spam: spam + 1.0, ham, at } } else { Self { spam, ham: ham + 1.0, at } }
    }

    /// From -1, good, to 1, bad.
    pub(crate) fn badness(self) -> Option<f64> {
        let (spam, ham) = (f64::from(self.spam), f64::from(self.ham));
        (spam + ham >= LEAST).then(|| (spam - ham) / (spam + ham + DOUBT))
    }
}

/// What is left after a time of what halves each `half_life`.
pub(crate) fn halved(age: TimeDelta, half_life: TimeDelta) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "times below many millions of years are exact")]
    let lives = age.num_seconds().max(0) as f64 / half_life.num_seconds().max(1) as f64;
    0.5_f64.powf(lives)
}

/// The keys of who wrote a message.
pub(crate) fn keys(
    secret: u64,
    author: Option<&str>,
    proven: Option<&str>,
    client: Option<IpAddr>,
) -> Vec<(Whose, u64)> {
    let network = client.map(network);
    let mut keys = Vec::with_capacity(3);
    let proof = proven.map(str::as_bytes).or(network.as_deref());
    if let (Some(author), Some(proof)) = (author, proof) {
        keys.push((Whose::Address, keyed(secret, &[b"address", author.to_lowercase().as_bytes(), proof])));
    }
    if let Some(domain) = proven {
        keys.push((Whose::Domain, keyed(secret, &[b"domain", domain.as_bytes()])));
    }
    if let Some(network) = &network {
        keys.push((Whose::Network, keyed(secret, &[b"network", network])));
    }
    keys
}

/// 24 bits of an IPv4 address, 48 of IPv6.
fn network(client: IpAddr) -> Vec<u8> {
    match client.to_canonical() {
        IpAddr::V4(v4) => v4.octets()[..3].to_vec(),
        IpAddr::V6(v6) => v6.octets()[..6].to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> DateTime<Utc> {
        "2026-07-01T12:00:00Z".parse().expect("a moment")
    }

    #[test]
    fn a_reputation_needs_messages_and_fades() {
        let mut standing = Standing { spam: 0.0, ham: 0.0, at: noon() };
        assert_eq!(standing.badness(), None);
        for _ in 0..12 {
            standing = standing.with(true);
        }
        assert_eq!(standing.badness(), Some(0.75));
        let later = standing.at(noon() + TimeDelta::days(14), TimeDelta::days(14));
        assert_eq!((later.spam, later.badness()), (6.0, Some(0.6)));
        assert_eq!(standing.at(noon() + TimeDelta::days(140), TimeDelta::days(14)).badness(), None);
    }

    #[test]
    fn who_is_not_proven_is_known_by_the_network() {
        let (here, there) = ("192.0.2.1".parse().ok(), "198.51.100.1".parse().ok());
        let of = |proven, client| keys(1, Some("a@example.org"), proven, client);
        assert_ne!(of(None, here)[0], of(None, there)[0]);
        assert_eq!(of(None, here), of(None, "192.0.2.99".parse().ok()));
        assert_eq!(of(Some("example.org"), here)[..2], of(Some("example.org"), there)[..2]);
        assert!(of(None, None).is_empty());
    }
}
