//! `[quarantine.digest]`: letters that tell people what is held for them.

use posthorn_model::Address;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::Checker;
use crate::{HeldCategory, Span};

/// The shortest time between two letters.
const LEAST: u64 = 3600;

/// Letters that tell people here what strangers' mail is held for them since the last letter, with links that release it. Who has nothing new held gets none.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuarantineDigest {
    /// Whether there are letters.
    pub enable: bool,
    /// The hour of the day at which they are written, by the clock on the server's wall.
    #[schemars(range(max = 23))]
    pub hour: u8,
    /// How long it is from one letter to the next, counted from that hour; an hour at least.
    pub every: Span,
    /// Who they are from; unset is `postmaster` at `server.hostname`.
    #[schemars(extend("format" = "email"), with = "Option<String>", example = &"quarantine@example.org")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Address>,
    /// Where people's browsers reach a listener that speaks release; without it there are no links.
    #[schemars(example = &"https://mail.example.org")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// How long links work. Each works once.
    pub links: Span,
    /// What people may release by themselves; the rest is listed without a link.
    pub release: Vec<HeldCategory>,
}

impl Default for QuarantineDigest {
    fn default() -> Self {
        Self {
            enable: false,
            hour: 7,
            every: Span::from_secs(86_400),
            from: None,
            url: None,
            links: Span::from_secs(7 * 86_400),
            release: vec![
                HeldCategory::Clean,
                HeldCategory::Oversized,
                HeldCategory::BadHeader,
                HeldCategory::Spammy,
                HeldCategory::Spam,
            ],
        }
    }
}

/// Judges the moment and the links.
pub(super) fn check(checker: &mut Checker<'_>, section: &QuarantineDigest) {
    if section.hour > 23 {
        checker.refuse("quarantine.digest.hour", "the hours of a day are 0 to 23");
    }
    if section.every.duration().as_secs() < LEAST {
        checker.refuse("quarantine.digest.every", "an hour is the least");
    }
    if let Some(url) = &section.url {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '?' | '#' | '\'' | '\\');
        if !rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && rest.chars().all(is_plain)) {
            checker.refuse("quarantine.digest.url", "write it as https://mail.example.org, a path may follow");
        }
    }
    if section.links.duration().is_zero() {
        checker.refuse("quarantine.digest.links", "a link must work for some time");
    }
}
