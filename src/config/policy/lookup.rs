//! `[policy.lookup]`: what checks may cost in questions to the DNS.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// What checks may cost in questions to the DNS. Whatever cannot be told in time counts as unknown, and refuses nobody.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyLookup {
    /// The time that one check waits for its answers.
    pub time: Span,
    /// After so many failures in a row nobody waits any more.
    #[schemars(range(min = 1))]
    pub failures: u32,
    /// How long nobody is asked then; the next question is a probe.
    pub rest: Span,
    /// The most checks that wait at once for one list, or for the DNS in general; the others go on without.
    #[schemars(range(min = 1))]
    pub at_once: u32,
}

impl Default for PolicyLookup {
    fn default() -> Self {
        Self { time: Span::from_secs(3), failures: 3, rest: Span::from_secs(30), at_once: 256 }
    }
}
