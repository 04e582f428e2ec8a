//! `[policy.reverse_dns]`: what the DNS calls a client.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PolicyVerdict;
use crate::{DomainRange, Network};

/// What the DNS calls a client. Logins, and clients that may relay, are not asked. When the DNS does not answer,
/// nobody is refused.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyReverseDns {
    /// A client whose address has no name.
    pub missing: PolicyVerdict,
    /// A client whose name does not lead back to its address.
    pub unconfirmed: PolicyVerdict,
    /// Names that are refused, confirmed or not: `host.example.com`, or `.example.com` for what is below it.
    #[schemars(extend("examples" = [[".dyn.example.com"]]))]
    pub refused: Vec<DomainRange>,
    /// Confirmed names that this section lets pass whatever else it says.
    #[schemars(extend("examples" = [["mail.dyn.example.com"]]))]
    pub allowed: Vec<DomainRange>,
    /// Clients that are not asked.
    #[schemars(extend("examples" = [["192.0.2.0/24"]]))]
    pub exempt: Vec<Network>,
}
