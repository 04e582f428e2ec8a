//! `[policy.helo]`: what a client calls itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PolicyVerdict;
use crate::{DomainRange, Network, Span};

/// What a client calls itself in HELO and EHLO. Logins, and clients that may relay, are not asked.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyHelo {
    /// What is neither a host name with a dot in it nor an address literal (RFC 5321 §4.1.1.1).
    pub invalid: PolicyVerdict,
    /// An address literal such as `[192.0.2.1]`.
    pub literal: PolicyVerdict,
    /// A name without address and without mail exchanger.
    pub unresolvable: PolicyVerdict,
    /// Our own name or address, or a domain of ours.
    pub ours: PolicyVerdict,
    /// Names that are refused: `host.example.com`, or `.example.com` for what is below it.
    #[schemars(extend("examples" = [["ylmf-pc", ".dyn.example.com"]]))]
    pub refused: Vec<DomainRange>,
    /// Clients that are not asked.
    #[schemars(extend("examples" = [["192.0.2.0/24"]]))]
    pub exempt: Vec<Network>,
    /// The most names that one address may use within the time; 0 is no limit.
    pub names: u32,
    /// The time in which names are counted.
    pub within: Span,
    /// What is done about an address with more names.
    pub too_many: PolicyVerdict,
}

impl Default for PolicyHelo {
    fn default() -> Self {
        Self {
            invalid: PolicyVerdict::Off,
            literal: PolicyVerdict::Off,
            unresolvable: PolicyVerdict::Off,
            ours: PolicyVerdict::Off,
            refused: Vec::new(),
            exempt: Vec::new(),
            names: 0,
            within: Span::from_secs(86_400),
            too_many: PolicyVerdict::Reject,
        }
    }
}
