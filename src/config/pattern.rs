//! Regular expressions, checked where they are read and compiled where they are first used.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use regex::bytes::{Regex, RegexBuilder};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A regular expression (the syntax of the `regex` crate: no look-around, time linear in the text). Case does not
/// matter, classes such as `\w` mean ASCII, and it matches anywhere unless it says `^` or `$`. Compiled at its first use,
/// as most rules about replies never meet theirs; a clone shares the machine.
#[derive(Clone, Debug)]
pub struct Pattern(Arc<Expression>);

#[derive(Debug)]
struct Expression {
    text: String,
    machine: OnceLock<Option<Regex>>,
}

/// Why a text is not a regular expression.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("\"{0}\" is not a regular expression: {1}")]
pub struct PatternError(String, String);

/// The most octets of one compiled expression.
const LARGEST: usize = 1 << 20;

/// An expression of so few octets without a counted repetition is known to stay far below [`LARGEST`].
const SHORT: usize = 400;

impl Pattern {
    /// Whether it matches anywhere in the text.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        let machine = self.0.machine.get_or_init(|| compile(&self.0.text).ok());
        machine.as_ref().is_some_and(|machine| machine.is_match(text.as_bytes()))
    }

    /// The expression as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.text
    }
}

fn compile(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).case_insensitive(true).unicode(false).size_limit(LARGEST).build()
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |error: &dyn fmt::Display| {
            // The library draws the expression with a caret below it; the last line says what is wrong.
            let drawn = error.to_string();
            let reason = drawn.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
            PatternError(text.to_owned(), reason)
        };
        if text.is_empty() {
            return Err(refuse(&"it is empty and would match everything"));
        }
        let mut parser = regex_syntax::ParserBuilder::new().case_insensitive(true).unicode(false).utf8(false).build();
        parser.parse(text).map_err(|error| refuse(&error))?;
        let machine = OnceLock::new();
        if text.len() > SHORT || text.contains('{') {
            let _first = machine.set(Some(compile(text).map_err(|error| refuse(&error))?));
        }
        Ok(Self(Arc::new(Expression { text: text.to_owned(), machine })))
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Pattern {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Pattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "regex" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_does_not_matter() {
        let pattern: Pattern = "^(gmail|googlemail)\\.com$".parse().expect("an expression");
        assert!(pattern.is_match("GMail.com") && !pattern.is_match("notgmail.com"));
        assert_eq!(serde_json::from_str::<Pattern>("\"^a\"").ok(), "^a".parse().ok());
    }

    #[test]
    fn what_does_not_compile_is_refused_in_one_line() {
        assert_eq!(
            "(a".parse::<Pattern>().map_err(|error| error.to_string()),
            Err("\"(a\" is not a regular expression: unclosed group".to_owned())
        );
        for text in ["", "a**{2}(", "(?=a)", "(\\w{1000}){1000}"] {
            let error = text.parse::<Pattern>().expect_err(text).to_string();
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}
