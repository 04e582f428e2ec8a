//! Weights of a score, written `6.2`, `-1` or `0.5`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A weight between -1000 and 1000, kept in thousandths so that two of them can be compared.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FilterPoints(i32);

/// Why a number is not a weight.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0} is not a weight; write a number between -1000 and 1000 such as 6.2 or -1")]
pub struct FilterPointsError(f64);

impl FilterPoints {
    /// This many thousandths.
    #[must_use]
    pub const fn thousandths(number: i32) -> Self {
        Self(number)
    }

    /// The weight.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl TryFrom<f64> for FilterPoints {
    type Error = FilterPointsError;

    fn try_from(number: f64) -> Result<Self, FilterPointsError> {
        if !(-1000.0..=1000.0).contains(&number) {
            return Err(FilterPointsError(number));
        }
        #[expect(clippy::cast_possible_truncation, reason = "the range was judged above")]
        let thousandths = (number * 1000.0).round() as i32;
        Ok(Self(thousandths))
    }
}

impl fmt::Display for FilterPoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_f64())
    }
}

impl Serialize for FilterPoints {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.as_f64())
    }
}

impl<'de> Deserialize<'de> for FilterPoints {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::try_from(f64::deserialize(from)?).map_err(de::Error::custom)
    }
}

impl JsonSchema for FilterPoints {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "FilterPoints".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["number", "integer"], "format": "points", "minimum": -1000, "maximum": 1000 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousandths_are_exact_enough() {
        for (number, thousandths) in [(0.0, 0), (6.2, 6200), (-1.5, -1500), (1000.0, 1_000_000)] {
            assert_eq!(FilterPoints::try_from(number), Ok(FilterPoints::thousandths(thousandths)), "{number}");
        }
        assert_eq!(FilterPoints::thousandths(-500).to_string(), "-0.5");
        for nonsense in [-1000.1, f64::NAN, f64::INFINITY] {
            assert!(FilterPoints::try_from(nonsense).is_err(), "{nonsense}");
        }
    }
}
