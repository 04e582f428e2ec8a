//! `[[filter.disclaimer]]`: what is written below what our own people send.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::DomainRange;
use crate::check::Checker;

/// A text below the messages that leave from a domain, written before they are signed. Messages that are signed or encrypted (OpenPGP, S/MIME), those that stay in the domain, and answers that bear the text already are left alone.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FilterDisclaimer {
    /// The senders' domains: `example.com`, `.example.com` for what is below it. The first row that fits counts.
    #[schemars(extend("examples" = [["example.com"]]))]
    pub domains: Vec<DomainRange>,
    /// The text for parts without markup.
    #[schemars(example = &"Example Ltd, registered in Exampleton.")]
    pub text: String,
    /// The same as HTML, for parts in HTML; empty is made of the text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(example = &"<p>Example Ltd, registered in Exampleton.</p>")]
    pub html: String,
    /// Whether it is written below messages as well whose recipients are all of the sender's domain.
    #[serde(default)]
    pub inside: bool,
}

/// The most octets of a text.
const LARGEST: usize = 16 << 10;

/// Judges the rows.
pub(super) fn check(checker: &mut Checker<'_>, rows: &[FilterDisclaimer]) {
    for (at, row) in rows.iter().enumerate() {
        let key = format!("filter.disclaimer[{at}]");
        if row.domains.is_empty() {
            checker.refuse(&format!("{key}.domains"), "name a domain at least");
        }
        if row.text.trim().is_empty() {
            checker.refuse(&format!("{key}.text"), "write a text");
        }
        for (name, text) in [("text", &row.text), ("html", &row.html)] {
            let odd = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
            if text.len() > LARGEST || text.contains(odd) {
                checker.refuse(&format!("{key}.{name}"), "write at most 16 KiB without control characters");
            }
        }
    }
}
