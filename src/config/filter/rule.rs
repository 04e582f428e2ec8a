//! `[[filter.rule]]`: what is looked for in messages, and what it counts.

use regex::RegexBuilder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::FilterPoints;
use crate::check::Checker;

/// Something that is looked for in a message, and the points that it counts. Exactly one of `field`, `body`, `hidden`, `link`, `file`, `fact`, `all` and `any` says what. A rule with the name of a built-in one takes its place; with `points = 0` it is not told of, and others may build on it.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilterRule {
    /// Its name in X-Spam-Status and traces: capital letters, digits and `_`.
    #[schemars(example = &"SUBJECT_OFFERS_LOANS")]
    pub name: String,
    /// What it counts; below zero speaks for the message.
    pub points: FilterPoints,
    /// Why, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The name of a header field, or `envelope-from`, `helo` or `client-name`. Without `matches` it is enough that it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"subject")]
    pub field: Option<String>,
    /// A regular expression for the field, decoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    /// A regular expression for the text that people see. Each paragraph is one line, however the text was wrapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// A regular expression for text in HTML that is not to be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<String>,
    /// A regular expression for the address of a link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// A regular expression for a part: its declared type, a space, its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &r"^text/html .*\.html?$")]
    pub file: Option<String>,
    /// Something that the program finds out by itself, by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"no-date")]
    pub fact: Option<String>,
    /// Names of rules above this one, all of which must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub all: Vec<String>,
    /// Names of rules above this one, of which `at_least` must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub any: Vec<String>,
    /// How many of `any`; 0 is one.
    pub at_least: u32,
    /// Names of rules above this one, none of which may hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub none: Vec<String>,
    /// Whether it counts when what is looked for is not there.
    pub absent: bool,
}

/// Judges the rules: names, one thing looked for, expressions that can be read.
pub(crate) fn check(checker: &mut Checker<'_>, rules: &[FilterRule]) {
    for (at, rule) in rules.iter().enumerate() {
        let key = format!("filter.rule[{at}]");
        let plain = |octet: u8| octet.is_ascii_uppercase() || octet.is_ascii_digit() || octet == b'_';
        if rule.name.is_empty() || rule.name.len() > 64 || !rule.name.bytes().all(plain) {
            let message = format!("\"{}\" is no name; write up to 64 capital letters, digits and '_'", rule.name);
            checker.refuse(&format!("{key}.name"), message);
        }
        let FilterRule { field, body, hidden, link, file, fact, .. } = rule;
        let things = [field, body, hidden, link, file, fact];
        let things = things.into_iter().filter(|thing| thing.is_some()).count();
        if things + usize::from(!rule.all.is_empty() || !rule.any.is_empty()) != 1 {
            checker.refuse(&key, "write exactly one of field, body, hidden, link, file, fact, or all and any");
        }
        if rule.matches.is_some() && field.is_none() {
            checker.refuse(&format!("{key}.matches"), "this is for a field; name one");
        }
        let expressions =
            [("matches", &rule.matches), ("body", body), ("hidden", hidden), ("link", link), ("file", file)];
        for (name, expression) in expressions {
            let Some(expression) = expression else { continue };
            if let Err(error) = RegexBuilder::new(expression).size_limit(LARGEST).build() {
                let message = format!("\"{expression}\" is not a regular expression: {}", first_line(&error));
                checker.refuse(&format!("{key}.{name}"), message);
            }
        }
    }
}

/// The most octets of one compiled expression.
const LARGEST: usize = 1 << 20;

fn first_line(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or(&text).trim().to_owned()
}
