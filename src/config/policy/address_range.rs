//! Mail addresses as lists of them are written: `user@example.org`, `@example.org`, `@.example.org`, `*`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use posthorn_model::Address;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::DomainRange;

/// One address, or all addresses in a range of domains.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum AddressRange {
    /// One, whatever the case of its local part.
    Address(Address),
    /// All of these domains.
    Domains(DomainRange),
}

/// Why a text names no addresses.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("\"{0}\" names no address; write user@example.org, @example.org, @.example.org for the domains below it, or *")]
pub struct AddressRangeError(String);

impl AddressRange {
    /// Whether an address is in the range.
    #[must_use]
    pub fn contains(&self, address: &Address) -> bool {
        match self {
            Self::Address(one) => one.domain() == address.domain() && folded(one.local()).eq(folded(address.local())),
            Self::Domains(range) => range.contains(address.domain().as_str()),
        }
    }
}

fn folded(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().flat_map(char::to_lowercase)
}

impl FromStr for AddressRange {
    type Err = AddressRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || AddressRangeError(text.to_owned());
        if text == DomainRange::EVERY {
            return text.parse().map(Self::Domains).map_err(|_| refuse());
        }
        match text.strip_prefix('@') {
            Some(DomainRange::EVERY) => Err(refuse()),
            Some(domains) => domains.parse().map(Self::Domains).map_err(|_| refuse()),
            None => Address::parse(text).map(Self::Address).map_err(|_| refuse()),
        }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Domains(range) if range.as_str() == DomainRange::EVERY => range.fmt(f),
            Self::Domains(range) => write!(f, "@{range}"),
        }
    }
}

impl Serialize for AddressRange {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AddressRange {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for AddressRange {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "AddressRange".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "address-range" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_they_say() {
        let holds = |range: &str, address: &str| {
            let range: AddressRange = range.parse().expect(range);
            assert_eq!(range.to_string().parse(), Ok(range.clone()));
            range.contains(&Address::parse(address).expect(address))
        };
        assert!(holds("Bob@example.org", "bOB@EXAMPLE.org") && !holds("bob@example.org", "bo@example.org"));
        assert!(holds("@example.org", "x@example.org") && !holds("@example.org", "x@a.example.org"));
        assert!(holds("@.example.org", "x@a.example.org") && !holds("@.example.org", "x@example.org"));
        assert!(holds("*", "x@[192.0.2.1]"));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "example.org", "@", "@*", "a@", "@a b"] {
            assert!(text.parse::<AddressRange>().is_err(), "{text:?}");
        }
    }
}
