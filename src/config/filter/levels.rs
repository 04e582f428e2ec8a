//! `[filter.levels]`: what a score means.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::FilterPoints;

/// What a score means, unless a recipient's settings say otherwise.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilterLevels {
    /// From here on the header shows the score.
    pub tag: FilterPoints,
    /// From here on it is called spam, and `destiny.spammy` applies.
    pub tag2: FilterPoints,
    /// From here on it bears the second subject tag; unset has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &15)]
    pub tag3: Option<FilterPoints>,
    /// From here on `destiny.spam` applies.
    pub kill: FilterPoints,
    /// From here on its sender, who is hardly the true one, gets no report of what became of it later, such as that it could not be forwarded.
    pub report_cutoff: FilterPoints,
    /// From here on it is refused where it would be held; where one reply answers for several recipients who do not agree, it is held still. Unset holds all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &40)]
    pub hold_cutoff: Option<FilterPoints>,
}

impl Default for FilterLevels {
    fn default() -> Self {
        Self {
            tag: FilterPoints::thousandths(2000),
            tag2: FilterPoints::thousandths(6200),
            tag3: None,
            kill: FilterPoints::thousandths(12_000),
            report_cutoff: FilterPoints::thousandths(10_000),
            hold_cutoff: None,
        }
    }
}
