//! `[policy.auto_blacklist]`: clients that never come back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AddressRange, PolicyVerdict};
use crate::{Network, Span};

/// Clients that never come back after greylisting, or that write to traps: refused for a while.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyAutoBlacklist {
    /// What is done about them.
    pub verdict: PolicyVerdict,
    /// The least number of greylisted attempts of one network before it is judged; 0 judges nobody by them.
    pub attempts: u32,
    /// The part of them, in percent, that was never tried again.
    #[schemars(range(min = 1, max = 100))]
    pub share: u32,
    /// The time in which attempts are counted.
    pub within: Span,
    /// The time that a client has to try again before its attempt counts.
    pub patience: Span,
    /// How long it is refused.
    #[serde(rename = "for")]
    pub lasts: Span,
    /// Addresses nobody has a reason to write to; who does is refused everywhere from then on. They must exist, an alias will do: other names are refused before anybody is judged.
    #[schemars(extend("examples" = [["trap@example.org"]]))]
    pub traps: Vec<AddressRange>,
    /// Clients that never are.
    #[schemars(extend("examples" = [["192.0.2.0/24"]]))]
    pub exempt: Vec<Network>,
}

impl Default for PolicyAutoBlacklist {
    fn default() -> Self {
        Self {
            verdict: PolicyVerdict::Off,
            attempts: 10,
            share: 90,
            within: Span::from_secs(86_400),
            patience: Span::from_secs(4 * 3600),
            lasts: Span::from_secs(10 * 86_400),
            traps: Vec::new(),
            exempt: Vec::new(),
        }
    }
}
