//! Durations, written `300` (seconds) or `"5 min"`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A duration in whole milliseconds. Read from an integer (seconds) or a text with a unit.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Span(Duration);

/// Why a text is not a duration.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("\"{0}\" is not a duration; write a number with ms, s, min, h or d")]
pub struct SpanError(String);

/// Units in milliseconds, with the spellings that are read; the first one is written.
const UNITS: [(&[&str], u64); 5] = [
    (&["ms"], 1),
    (&["s", "sec", "second", "seconds"], 1_000),
    (&["min", "m", "minute", "minutes"], 60_000),
    (&["h", "hour", "hours"], 3_600_000),
    (&["d", "day", "days"], 86_400_000),
];

/// A century: longer ones are mistakes, and shorter ones can be added to any clock.
const LONGEST_MILLIS: u64 = 36_525 * 86_400_000;

impl Span {
    /// No time at all; where a limit is meant, no limit.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// Whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u32) -> Self {
        Self(Duration::from_secs(seconds as u64))
    }

    /// Whole milliseconds.
    #[must_use]
    pub const fn from_millis(milliseconds: u32) -> Self {
        Self(Duration::from_millis(milliseconds as u64))
    }

    /// The duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// The duration as a limit: zero is none.
    #[must_use]
    pub fn limit(self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }

    fn checked(number: u64, factor: u64) -> Option<Self> {
        let millis = number.checked_mul(factor).filter(|millis| *millis <= LONGEST_MILLIS)?;
        Some(Self(Duration::from_millis(millis)))
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || SpanError(text.to_owned());
        let trimmed = text.trim();
        let end = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
        let number: u64 = trimmed[..end].parse().map_err(|_| refuse())?;
        let unit = match trimmed[end..].trim_start() {
            "" => "s",
            unit => unit,
        };
        let (_, factor) = UNITS.iter().find(|(names, _)| names.contains(&unit)).ok_or_else(refuse)?;
        Self::checked(number, *factor).ok_or_else(refuse)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        match UNITS.iter().rev().find(|(_, factor)| millis != 0 && millis % factor == 0) {
            Some((names, factor)) => write!(f, "{} {}", millis / factor, names[0]),
            None => f.write_str("0 s"),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 300 or \"5 min\"")
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Span, E> {
                let refuse = || E::invalid_value(de::Unexpected::Unsigned(seconds), &self);
                Span::checked(seconds, 1_000).ok_or_else(refuse)
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Span, E> {
                let positive = u64::try_from(seconds);
                self.visit_u64(positive.map_err(|_| E::invalid_value(de::Unexpected::Signed(seconds), &Visitor))?)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
        }
        from.deserialize_any(Visitor)
    }
}

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "format": "duration", "minimum": 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_multiply_and_come_back() {
        for (written, millis, shown) in [
            ("5 s", 5_000, "5 s"),
            ("30 min", 1_800_000, "30 min"),
            ("90s", 90_000, "90 s"),
            ("120", 120_000, "2 min"),
            ("250 ms", 250, "250 ms"),
            ("2 days", 172_800_000, "2 d"),
            ("0", 0, "0 s"),
        ] {
            let span: Span = written.parse().expect("a duration");
            assert_eq!(span.duration(), Duration::from_millis(millis), "{written}");
            assert_eq!(span.to_string(), shown);
            assert_eq!(shown.parse(), Ok(span));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "s", "-1 s", "1.5 h", "5 fortnights", "99999999999999999 d", "40000 d"] {
            assert!(text.parse::<Span>().is_err(), "{text:?}");
        }
        assert!(serde_json::from_str::<Span>("-1").is_err());
        assert_eq!(serde_json::from_str::<Span>("60").ok(), Some(Span::from_secs(60)));
    }

    #[test]
    fn zero_is_no_limit() {
        assert_eq!(Span::ZERO.limit(), None);
        assert_eq!(Span::from_secs(1).limit(), Some(Duration::from_secs(1)));
    }
}
