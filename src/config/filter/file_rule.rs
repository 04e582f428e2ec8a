//! `[[filter.file_rule]]`: rules for files, in sets of one's own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::Checker;

/// A rule for files: parts of messages and what is in archives. The rules of a set are asked in the order in which they stand here, and the first whose conditions all hold decides. Of a list one entry is enough. Recipients choose sets by `banned` here or by their settings; a set with a built-in name takes its place.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilterFileRule {
    /// The set that it belongs to: small letters, digits and `-`.
    #[schemars(example = &"drawings")]
    pub set: String,
    /// Its name in replies and traces, likewise.
    #[schemars(example = &"cad")]
    pub name: String,
    /// What it does.
    pub action: FileRuleAction,
    /// What the file is by its content, such as `zip`, `windows-program`, `pdf`.
    pub kinds: Vec<String>,
    /// What group it is of by its content: `executable`, `archive`, `disk-image`, `document`, `text`, `media`, `sealed`, `other`.
    #[schemars(extend("examples" = [["executable"]]))]
    pub families: Vec<String>,
    /// The media types that it claims, `*` and `?` allowed.
    #[schemars(extend("examples" = [["application/x-ms*"]]))]
    pub types: Vec<String>,
    /// The last extensions of its name, without dot.
    #[schemars(extend("examples" = [["dwg", "dxf"]]))]
    pub extensions: Vec<String>,
    /// Its names, `*` and `?` allowed.
    pub names: Vec<String>,
    /// Whether its name must have two extensions, the last one of `extensions`, or, without any, one that runs.
    pub double_extension: bool,
    /// What else is said of it, such as `encrypted`, `macros`, `absolute-path`, `lying-size`, `symbolic-link`.
    #[schemars(extend("examples" = [["encrypted"]]))]
    pub attributes: Vec<String>,
    /// Whether it must be in an archive (true) or must not (false).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_archive: Option<bool>,
    /// What it must be in, at whatever distance, by content.
    pub inside: Vec<String>,
}

/// What a rule for files does.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-noun" = "action"))]
#[serde(rename_all = "kebab-case")]
pub enum FileRuleAction {
    /// The message is banned.
    #[default]
    Ban,
    /// The file passes; what is in it is judged for itself.
    Allow,
    /// The file passes with everything in it.
    AllowAll,
}

/// Whether a text can be the name of a set or a rule.
fn is_name(text: &str) -> bool {
    let plain = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
    !text.is_empty() && text.len() <= 64 && text.bytes().all(plain)
}

/// Judges names; whether the words for contents are known, the filter says.
pub(super) fn check(checker: &mut Checker<'_>, rules: &[FilterFileRule]) {
    for (at, rule) in rules.iter().enumerate() {
        let key = format!("filter.file_rule[{at}]");
        for (name, text) in [("set", &rule.set), ("name", &rule.name)] {
            if !is_name(text) {
                let message = format!("\"{text}\" is no name; write up to 64 small letters, digits and '-'");
                checker.refuse(&format!("{key}.{name}"), message);
            }
        }
        let twice = rules[..at].iter().any(|other| other.set == rule.set && other.name == rule.name);
        if twice {
            checker.refuse(&format!("{key}.name"), format!("there are two rules \"{}\" in this set", rule.name));
        }
    }
}
