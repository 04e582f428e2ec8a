//! `[filter.extension]`: the details that addresses get on delivery.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::Checker;

/// The detail that a recipient's address gets when a copy is delivered though it is what nobody wants: `spam` makes `bob@example.org` into `bob+spam@example.org`, whose mail goes into the folder of that name where Bob has one. Empty is none; a recipient's settings may say otherwise.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilterExtension {
    /// Of mail with a virus.
    pub virus: String,
    /// Of mail with a file that is not allowed.
    pub banned: String,
    /// Of mail whose score reaches `tag2`.
    pub spam: String,
    /// Of mail with an unsound header.
    pub bad_header: String,
}

/// The most octets of a detail.
const LONGEST: usize = 64;

/// Judges the details.
pub(super) fn check(checker: &mut Checker<'_>, section: &FilterExtension) {
    let FilterExtension { virus, banned, spam, bad_header } = section;
    for (key, text) in [("virus", virus), ("banned", banned), ("spam", spam), ("bad_header", bad_header)] {
        if !FilterExtension::is_detail(text) {
            let message = format!("\"{text}\" is no detail; write up to {LONGEST} letters, digits, '-', '_' and '.'");
            checker.refuse(&format!("filter.extension.{key}"), message);
        }
    }
}

impl FilterExtension {
    /// Whether a text can be the detail of an address; an empty one is none.
    #[must_use]
    pub fn is_detail(text: &str) -> bool {
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
        let dots = text.starts_with('.') || text.ends_with('.') || text.contains("..");
        text.len() <= LONGEST && !dots && text.bytes().all(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_words() {
        for word in ["", "spam", "junk-mail", "a.b"] {
            assert!(FilterExtension::is_detail(word), "{word}");
        }
        for word in ["a b", "a+b", "a@b", ".a", "a..b", &"a".repeat(65)] {
            assert!(!FilterExtension::is_detail(word), "{word}");
        }
    }
}
