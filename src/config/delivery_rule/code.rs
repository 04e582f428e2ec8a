//! Patterns of reply codes: `450`, `4xx`, `4.7.1`, `4.7.x`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use posthorn_model::EnhancedCode;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A reply code (RFC 5321 §4.2.1) or an enhanced code (RFC 3463) in which digits or numbers may be an `x`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum CodePattern {
    /// The three digits of a reply code, each `None` where there is an `x`.
    Reply([Option<u8>; 3]),
    /// The three numbers of an enhanced code, each `None` where there is an `x`.
    Enhanced([Option<u16>; 3]),
}

/// Why a text is no pattern of codes.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("\"{0}\" is not a code; write one such as 450 or 4xx, 4.7.1 or 4.7.x")]
pub struct CodePatternError(String);

impl CodePattern {
    /// Whether a reply code fits; an enhanced pattern fits none.
    #[must_use]
    pub fn fits_reply(self, code: u16) -> bool {
        let digits = [code / 100, code / 10 % 10, code % 10];
        match self {
            Self::Reply(wanted) => wanted.iter().zip(digits).all(|(w, d)| w.is_none_or(|w| u16::from(w) == d)),
            Self::Enhanced(_) => false,
        }
    }

    /// Whether an enhanced code fits; a pattern of reply codes fits none.
    #[must_use]
    pub fn fits_enhanced(self, code: EnhancedCode) -> bool {
        let numbers = [u16::from(code.0), code.1, code.2];
        match self {
            Self::Enhanced(wanted) => wanted.iter().zip(numbers).all(|(w, n)| w.is_none_or(|w| w == n)),
            Self::Reply(_) => false,
        }
    }

    /// The class: 2, 4 or 5; `None` for an `x`.
    fn class(self) -> Option<u16> {
        match self {
            Self::Reply([class, ..]) => class.map(u16::from),
            Self::Enhanced([class, ..]) => class,
        }
    }
}

impl FromStr for CodePattern {
    type Err = CodePatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || CodePatternError(text.to_owned());
        let pattern = if text.contains('.') {
            let words: Option<Vec<_>> = text.split('.').map(number).collect();
            Self::Enhanced(words.and_then(|words| words.try_into().ok()).ok_or_else(refuse)?)
        } else {
            let digits: Option<Vec<_>> = text.bytes().map(digit).collect();
            Self::Reply(digits.and_then(|digits| digits.try_into().ok()).ok_or_else(refuse)?)
        };
        if matches!(pattern.class(), None | Some(2 | 4 | 5)) { Ok(pattern) } else { Err(refuse()) }
    }
}

/// A number of an enhanced code (RFC 3463 §2: at most three digits), `Some(None)` for an `x`.
fn number(word: &str) -> Option<Option<u16>> {
    match word {
        "x" | "X" => Some(None),
        _ if (1..=3).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_digit()) => word.parse().ok().map(Some),
        _ => None,
    }
}

/// A digit of a reply code, `Some(None)` for an `x`.
fn digit(byte: u8) -> Option<Option<u8>> {
    match byte {
        b'x' | b'X' => Some(None),
        b'0'..=b'9' => Some(Some(byte - b'0')),
        _ => None,
    }
}

impl fmt::Display for CodePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |number: Option<u16>| number.map_or_else(|| "x".to_owned(), |number| number.to_string());
        match self {
            Self::Reply(digits) => digits.iter().try_for_each(|digit| f.write_str(&shown(digit.map(u16::from)))),
            Self::Enhanced([class, subject, detail]) => {
                write!(f, "{}.{}.{}", shown(*class), shown(*subject), shown(*detail))
            }
        }
    }
}

impl Serialize for CodePattern {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CodePattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for CodePattern {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "CodePattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "code-pattern" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> CodePattern {
        text.parse().expect(text)
    }

    #[test]
    fn an_x_fits_everything() {
        for (written, code, fits) in [
            ("450", 450, true),
            ("450", 451, false),
            ("4xx", 499, true),
            ("4xx", 550, false),
            ("x5x", 250, true),
            ("45X", 459, true),
        ] {
            assert_eq!(pattern(written).fits_reply(code), fits, "{written} {code}");
        }
        for (written, code, fits) in [
            ("4.7.1", EnhancedCode(4, 7, 1), true),
            ("4.7.1", EnhancedCode(4, 7, 10), false),
            ("4.7.x", EnhancedCode(4, 7, 650), true),
            ("x.7.x", EnhancedCode(5, 7, 1), true),
            ("4.x.x", EnhancedCode(5, 7, 1), false),
        ] {
            assert_eq!(pattern(written).fits_enhanced(code), fits, "{written} {code}");
        }
        assert!(!pattern("xxx").fits_enhanced(EnhancedCode(4, 7, 1)) && !pattern("x.x.x").fits_reply(450));
    }

    #[test]
    fn patterns_come_back() {
        for text in ["450", "4xx", "x.x.x", "4.7.650"] {
            assert_eq!(pattern(text).to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "", "45", "4500", "350", "9xx", "4.7", "4.7.1.2", "3.1.1", "4.7.1000", "4.-7.1", "4.+7.1", "abc", "4\u{e4}",
        ] {
            assert!(text.parse::<CodePattern>().is_err(), "{text:?}");
        }
    }
}
