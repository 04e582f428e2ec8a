//! Whom settings and lists of the policy are about: one pattern of addresses, clients or names.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use posthorn_model::{Address, Domain};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{DomainRange, Network};

/// Somebody, or many. Texts are folded.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum PolicyPattern {
    /// `user@example.org`.
    Address(String),
    /// `<>`: the null sender.
    Null,
    /// `user@*`: this local part in every domain; the text is the local part.
    Local(String),
    /// `192.0.2.1`, `192.0.2.0/24` or `192.0.2.*`: clients.
    Network(Network),
    /// `~host.example.com` or `~.example.com`: clients by their names.
    Host(DomainRange),
    /// `@example.org`, or `@.example.org` for the domains below it.
    Domain(DomainRange),
    /// `*`.
    Everyone,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "\"{0}\" is nobody; write user@example.org, user@*, @example.org, @.example.org, 192.0.2.0/24, ~.example.com, <> or *"
)]
pub struct PolicyPatternError(String);

impl PolicyPattern {
    /// How specific it is: of two that fit, the heavier one decides, and of equally heavy ones the longer.
    #[must_use]
    pub fn weight(&self) -> u8 {
        match self {
            Self::Address(_) | Self::Null => 100,
            Self::Local(_) => 90,
            Self::Network(network) if network.is_single() => 80,
            Self::Network(_) => 70,
            Self::Host(range) if !range.as_str().starts_with('.') => 65,
            Self::Host(_) => 62,
            Self::Domain(range) if !range.as_str().starts_with('.') => 60,
            Self::Domain(_) => 50,
            Self::Everyone => 0,
        }
    }

    /// Whether it is about clients, and not about addresses of mail.
    #[must_use]
    pub fn is_of_clients(&self) -> bool {
        matches!(self, Self::Network(_) | Self::Host(_))
    }

    fn read(text: &str) -> Option<Self> {
        match text {
            DomainRange::EVERY => return Some(Self::Everyone),
            "<>" => return Some(Self::Null),
            _ => {}
        }
        if let Some(local) = text.strip_suffix("@*") {
            let any = Domain::parse("example.org").ok()?;
            return Address::new(local, any).ok().map(|address| Self::Local(address.local().to_lowercase()));
        }
        if let Some(range) = text.strip_prefix('@') {
            return range.parse().ok().filter(is_not_every).map(Self::Domain);
        }
        if let Some(range) = text.strip_prefix('~') {
            return range.parse().ok().filter(is_not_every).map(Self::Host);
        }
        if text.contains('@') {
            let address = Address::parse(text).ok()?;
            return Some(Self::Address(format!("{}@{}", address.local().to_lowercase(), address.domain())));
        }
        starred(text).or_else(|| text.parse().ok()).map(Self::Network)
    }
}

fn is_not_every(range: &DomainRange) -> bool {
    range.as_str() != DomainRange::EVERY
}

/// `192.0.*.*` and `192.0.2.*`: stars instead of the last octets.
fn starred(text: &str) -> Option<Network> {
    let octets: Vec<&str> = text.split('.').collect();
    let stars = octets.iter().rev().take_while(|octet| **octet == "*").count();
    if octets.len() != 4 || stars == 0 || stars == 4 {
        return None;
    }
    let kept = octets[..4 - stars].iter().copied();
    let base = kept.chain(std::iter::repeat_n("0", stars)).collect::<Vec<_>>().join(".");
    let address: IpAddr = base.parse().ok()?;
    format!("{address}/{}", 32 - 8 * stars).parse().ok()
}

impl FromStr for PolicyPattern {
    type Err = PolicyPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::read(text).ok_or_else(|| PolicyPatternError(text.to_owned()))
    }
}

impl fmt::Display for PolicyPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => f.write_str(address),
            Self::Null => f.write_str("<>"),
            Self::Local(local) => write!(f, "{local}@*"),
            Self::Network(network) => network.fmt(f),
            Self::Host(range) => write!(f, "~{range}"),
            Self::Domain(range) => write!(f, "@{range}"),
            Self::Everyone => f.write_str(DomainRange::EVERY),
        }
    }
}

impl Serialize for PolicyPattern {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PolicyPattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for PolicyPattern {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PolicyPattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "pattern" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_comes_back_folded() {
        for (written, shown) in [
            ("User@Example.ORG", "user@example.org"),
            ("User@*", "user@*"),
            ("@Example.org", "@example.org"),
            ("@.org", "@.org"),
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.*", "192.0.2.0/24"),
            ("10.*.*.*", "10.0.0.0/8"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("~Mail.Example.com", "~mail.example.com"),
            ("~.example.com", "~.example.com"),
            ("<>", "<>"),
            ("*", "*"),
        ] {
            let pattern: PolicyPattern = written.parse().expect(written);
            assert_eq!(pattern.to_string(), shown);
            assert_eq!(shown.parse(), Ok(pattern));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "@", "@*", "~", "~*", "example.org", "192.0.2.1/24", "*.*.*.*", "192.*.2.*", "a@b@*", "@*@*"] {
            assert!(text.parse::<PolicyPattern>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_specific_is_heavier() {
        let weights: Vec<u8> =
            ["a@b.example", "a@*", "192.0.2.1", "192.0.2.0/24", "~a.example", "@b.example", "@.example", "*"]
                .iter()
                .map(|text| text.parse::<PolicyPattern>().expect(text).weight())
                .collect();
        assert!(weights.is_sorted_by(|one, other| one > other), "{weights:?}");
    }
}
