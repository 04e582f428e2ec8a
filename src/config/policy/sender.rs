//! `[policy.sender]`: who may say to be whom.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AddressRange, PolicyVerdict};

/// Who may say to be whom.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicySender {
    /// Mail from outside whose sender claims a domain of ours.
    pub forged: PolicyVerdict,
    /// Whether such mail passes when that domain's SPF record names the client (RFC 7208).
    pub forged_spf: bool,
    /// Senders of ours that others may use, such as those of a newsletter service.
    #[schemars(extend("examples" = [["news@example.org", "@lists.example.org"]]))]
    pub forged_allowed: Vec<AddressRange>,
    /// A login that sends as somebody else: not itself, an alias that leads to it, or an address delegated to it.
    pub mismatch: PolicyVerdict,
    /// Whether those that an alias leads to through other aliases (members of a list) may send as it; otherwise only where it leads to nobody else.
    pub list_members: bool,
    /// A login that sends from the null sender `<>`, past every limit that counts by sender.
    pub null: PolicyVerdict,
    /// Mail from outside to an address at `server.hostname` itself, but for postmaster and rewritten senders (SRS).
    pub own_hostname: PolicyVerdict,
}

impl Default for PolicySender {
    fn default() -> Self {
        Self {
            forged: PolicyVerdict::Reject,
            forged_spf: true,
            forged_allowed: Vec::new(),
            mismatch: PolicyVerdict::Reject,
            list_members: true,
            null: PolicyVerdict::Reject,
            own_hostname: PolicyVerdict::Off,
        }
    }
}
