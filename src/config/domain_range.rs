//! Domains as lists of them are written: `example.org`, `.example.org` for what is below it, `*`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use posthorn_model::Domain;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// One domain, all domains below one, or all domains; folded, so that two spellings of one range are equal.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct DomainRange(String);

/// Why a text names no domains.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("\"{0}\" names no domain; write example.org, .example.org for the domains below it, or *")]
pub struct DomainRangeError(String);

impl DomainRange {
    /// All domains.
    pub const EVERY: &'static str = "*";

    /// The folded form: `example.org`, `.example.org` or `*`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a folded domain is in the range.
    #[must_use]
    pub fn contains(&self, domain: &str) -> bool {
        ranges_around(domain).any(|range| range == self.0)
    }
}

/// Every range that a folded domain is in, the most specific first: itself, `.parent`, `.grandparent` …, `*`. An
/// address literal has no parents.
pub(crate) fn ranges_around(domain: &str) -> impl Iterator<Item = &str> {
    let named = !domain.starts_with('[');
    let dots = domain.bytes().enumerate().filter(move |(_, byte)| named && *byte == b'.').map(|(at, _)| at);
    std::iter::once(domain).chain(dots.map(|at| &domain[at..])).chain(std::iter::once(DomainRange::EVERY))
}

impl FromStr for DomainRange {
    type Err = DomainRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == Self::EVERY {
            return Ok(Self(text.to_owned()));
        }
        let below = text.strip_prefix('.');
        let domain = Domain::parse(below.unwrap_or(text)).map_err(|_| DomainRangeError(text.to_owned()))?;
        match below {
            None => Ok(Self(domain.as_str().to_owned())),
            Some(_) if domain.is_literal() => Err(DomainRangeError(text.to_owned())),
            Some(_) => Ok(Self(format!(".{domain}"))),
        }
    }
}

impl fmt::Display for DomainRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for DomainRange {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DomainRange {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for DomainRange {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "DomainRange".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "domain-range" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> DomainRange {
        text.parse().expect(text)
    }

    #[test]
    fn a_domain_is_in_ever_wider_ranges() {
        assert_eq!(ranges_around("a.b.example").collect::<Vec<_>>(), ["a.b.example", ".b.example", ".example", "*"]);
        assert_eq!(ranges_around("[192.0.2.1]").collect::<Vec<_>>(), ["[192.0.2.1]", "*"]);
    }

    #[test]
    fn ranges_hold_what_they_say() {
        assert!(range("Example.ORG").contains("example.org") && !range("example.org").contains("a.example.org"));
        assert!(range(".example.org").contains("a.b.example.org") && !range(".example.org").contains("example.org"));
        assert!(range("*").contains("[192.0.2.1]") && range("[192.0.2.1]").contains("[192.0.2.1]"));
        assert_eq!(range("bücher.example"), range("XN--bcher-kva.example"));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", ".", "..a", "*.example.org", ".[192.0.2.1]", "a b", "user@example.org"] {
            assert!(text.parse::<DomainRange>().is_err(), "{text:?}");
        }
    }
}
