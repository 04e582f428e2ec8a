//! `[policy.decisions]`: the log that says why something was refused.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// The log that says why something was refused (`posthorn policy why`).
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyDecisions {
    /// What is written down.
    pub keep: DecisionsKept,
    /// How long; by whole days.
    #[serde(rename = "for")]
    pub lasts: Span,
}

/// Which decisions are written down.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-noun" = "word"))]
#[serde(rename_all = "lowercase")]
pub enum DecisionsKept {
    /// None.
    None,
    /// Those that changed what happened to the mail.
    Acted,
    /// All: many on a busy server.
    All,
}

impl Default for PolicyDecisions {
    fn default() -> Self {
        Self { keep: DecisionsKept::Acted, lasts: Span::from_secs(7 * 86_400) }
    }
}
