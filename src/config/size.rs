//! Numbers of octets, written `52428800` or `"50 MiB"`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of octets. Read from an integer or a text with a unit, written as the shortest exact text.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Size(u64);

/// Why a text is not a size.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("\"{0}\" is not a size; write a number of octets or a number with B, KB, KiB, MB, MiB, GB, GiB, TB or TiB")]
pub struct SizeError(String);

/// Units, exact ones last so that [`fmt::Display`] prefers them.
const UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

impl Size {
    /// Exactly this many octets.
    #[must_use]
    pub const fn bytes(octets: u64) -> Self {
        Self(octets)
    }

    /// Units of 1024 octets.
    #[must_use]
    pub const fn kibibytes(number: u32) -> Self {
        Self((number as u64) << 10)
    }

    /// Units of 1024² octets.
    #[must_use]
    pub const fn mebibytes(number: u32) -> Self {
        Self((number as u64) << 20)
    }

    /// The number of octets.
    #[must_use]
    pub const fn octets(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || SizeError(text.to_owned());
        let trimmed = text.trim();
        let end = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
        let number: u64 = trimmed[..end].parse().map_err(|_| refuse())?;
        let unit = trimmed[end..].trim_start();
        if unit.is_empty() {
            return Ok(Self(number));
        }
        let (_, factor) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(refuse)?;
        number.checked_mul(*factor).map(Self).ok_or_else(refuse)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS[5..].iter().rev().find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor)) {
            Some((unit, factor)) => write!(f, "{} {unit}", self.0 / factor),
            None => write!(f, "{} B", self.0),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as 1024 or \"50 MiB\"")
            }

            fn visit_u64<E: de::Error>(self, octets: u64) -> Result<Size, E> {
                Ok(Size(octets))
            }

            fn visit_i64<E: de::Error>(self, octets: i64) -> Result<Size, E> {
                u64::try_from(octets).map(Size).map_err(|_| E::invalid_value(de::Unexpected::Signed(octets), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }
        }
        from.deserialize_any(Visitor)
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "format": "size", "minimum": 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_multiply_and_come_back() {
        for (written, octets, shown) in [
            ("50 MiB", 50 << 20, "50 MiB"),
            ("50mib", 50 << 20, "50 MiB"),
            ("1024", 1024, "1 KiB"),
            ("10 MB", 10_000_000, "10000000 B"),
            ("0", 0, "0 B"),
            ("3 TiB", 3 << 40, "3 TiB"),
        ] {
            let size: Size = written.parse().expect("a size");
            assert_eq!(size.octets(), octets, "{written}");
            assert_eq!(size.to_string(), shown);
            assert_eq!(shown.parse(), Ok(size));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "MiB", "-1", "1.5 GiB", "5 parsecs", "99999999999 TiB", "99999999999999999999"] {
            assert!(text.parse::<Size>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn integers_and_texts_are_read() {
        let read = |json: &str| serde_json::from_str::<Size>(json).ok().map(Size::octets);
        assert_eq!(read("7"), Some(7));
        assert_eq!(read("\"7 KiB\""), Some(7168));
        assert_eq!(read("-7"), None);
        assert_eq!(read("true"), None);
    }
}
