//! `[checks]`: what is found out about mail from strangers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// What is found out about mail from strangers: SPF, DKIM, ARC and DMARC, written into its `Authentication-Results`.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Checks {
    /// Whether it is found out.
    pub enable: bool,
    /// How long all questions to the DNS may take for one message; what is not answered then is `temperror`.
    pub timeout: Span,
}

impl Default for Checks {
    fn default() -> Self {
        Self { enable: true, timeout: Span::from_secs(10) }
    }
}
