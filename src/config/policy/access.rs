//! `[policy.access]`: white and black lists.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PolicyPattern, PolicyVerdict};

/// White and black lists for everybody here; `posthorn policy list` keeps those of domains and accounts, which are more
/// specific and come first. Who is on a white list is exempt from the checks for spam, and may not relay by that.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyAccess {
    /// What is done about mail from who is on a black list, or to whom.
    pub verdict: PolicyVerdict,
    /// Senders and clients that are welcome.
    #[schemars(extend("examples" = [["@example.com", "192.0.2.0/24"]]))]
    pub white: Vec<PolicyPattern>,
    /// Senders and clients that are refused.
    #[schemars(extend("examples" = [["user@example.com", "~.dyn.example.com"]]))]
    pub black: Vec<PolicyPattern>,
}

impl Default for PolicyAccess {
    fn default() -> Self {
        Self { verdict: PolicyVerdict::Reject, white: Vec::new(), black: Vec::new() }
    }
}
