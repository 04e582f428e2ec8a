//! Answers of DNS lists: `127.0.0.2`, or `127.0.0.10-127.0.0.11`.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// One answer or a run of them, both ends included.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct AnswerRange {
    first: Ipv4Addr,
    last: Ipv4Addr,
}

/// Why a text is no answer of a list.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("\"{0}\" is no answer of a list; write 127.0.0.2, or 127.0.0.10-127.0.0.11 for several (RFC 5782 §2.1)")]
pub struct AnswerRangeError(String);

impl AnswerRange {
    /// Whether an answer is in the range.
    #[must_use]
    pub fn contains(&self, answer: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&answer)
    }
}

impl FromStr for AnswerRange {
    type Err = AnswerRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || AnswerRangeError(text.to_owned());
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let parse = |text: &str| text.trim().parse::<Ipv4Addr>().ok().filter(Ipv4Addr::is_loopback);
        let range = Self { first: parse(first).ok_or_else(refuse)?, last: parse(last).ok_or_else(refuse)? };
        if range.first <= range.last { Ok(range) } else { Err(refuse()) }
    }
}

impl fmt::Display for AnswerRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl Serialize for AnswerRange {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AnswerRange {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for AnswerRange {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "AnswerRange".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "answer-range" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_both_ends() {
        let range: AnswerRange = "127.0.4.0-127.0.4.30".parse().expect("a range");
        assert!(range.contains(Ipv4Addr::new(127, 0, 4, 0)) && range.contains(Ipv4Addr::new(127, 0, 4, 30)));
        assert!(!range.contains(Ipv4Addr::new(127, 0, 4, 31)));
        assert_eq!(range.to_string(), "127.0.4.0-127.0.4.30");
        assert_eq!("127.0.0.2".parse::<AnswerRange>().map(|range| range.to_string()).as_deref(), Ok("127.0.0.2"));
    }

    #[test]
    fn what_no_list_answers_is_refused() {
        for text in ["", "127.0.0.3-127.0.0.2", "192.0.2.1", "127.0.0", "2", "127.0.0.2-", "127.0.0.2-128.0.0.1"] {
            assert!(text.parse::<AnswerRange>().is_err(), "{text:?}");
        }
    }
}
