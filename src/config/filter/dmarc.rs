//! `[filter.dmarc]`: what is done about what authors' domains ask for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Destiny, FilterPoints};
use crate::DomainRange;

/// What is done about mail that its author's domain disowns (RFC 9989).
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilterDmarc {
    /// What becomes of it where the domain wants it refused.
    pub reject: Destiny,
    /// What becomes of it where the domain wants it treated with suspicion.
    pub quarantine: Destiny,
    /// What it scores where the domain wants nothing done.
    pub none: FilterPoints,
    /// Forwarders that change messages and say truly what they found before: an intact ARC chain that one of these domains sealed last lets disowned mail pass.
    #[schemars(extend("examples" = [["lists.example.org"]]))]
    pub trusted_sealers: Vec<DomainRange>,
}

impl Default for FilterDmarc {
    fn default() -> Self {
        Self {
            reject: Destiny::Refuse,
            quarantine: Destiny::Junk,
            none: FilterPoints::thousandths(500),
            trusted_sealers: Vec::new(),
        }
    }
}
