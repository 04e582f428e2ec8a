//! Plain factors, written `2`, `1.5` or `0.1`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A factor between 0 and 1000, kept in thousandths so that two of them can be compared.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ratio(u32);

/// Why a number is not a factor.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0} is not a factor; write a number between 0 and 1000 such as 2 or 0.1")]
pub struct RatioError(f64);

impl Ratio {
    /// This many thousandths.
    #[must_use]
    pub const fn thousandths(number: u32) -> Self {
        Self(number)
    }

    /// The factor.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl TryFrom<f64> for Ratio {
    type Error = RatioError;

    fn try_from(number: f64) -> Result<Self, RatioError> {
        if !(0.0..=1000.0).contains(&number) {
            return Err(RatioError(number));
        }
        // At most a million, and not negative.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was judged above")]
        let thousandths = (number * 1000.0).round() as u32;
        Ok(Self(thousandths))
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_f64())
    }
}

impl Serialize for Ratio {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.as_f64())
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::try_from(f64::deserialize(from)?).map_err(de::Error::custom)
    }
}

impl JsonSchema for Ratio {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Ratio".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["number", "integer"], "format": "ratio", "minimum": 0, "maximum": 1000 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousandths_are_exact_enough() {
        for (number, thousandths) in
            [(0.0, 0), (0.1, 100), (1.0, 1000), (2.0, 2000), (1.2345, 1235), (1000.0, 1_000_000)]
        {
            assert_eq!(Ratio::try_from(number), Ok(Ratio::thousandths(thousandths)), "{number}");
        }
        assert_eq!(Ratio::thousandths(100).to_string(), "0.1");
        assert_eq!(serde_json::from_str::<Ratio>("2").ok(), Some(Ratio::thousandths(2000)));
    }

    #[test]
    fn nonsense_is_refused() {
        for number in [-0.1, 1000.1, f64::NAN, f64::INFINITY] {
            assert!(Ratio::try_from(number).is_err(), "{number}");
        }
    }
}
