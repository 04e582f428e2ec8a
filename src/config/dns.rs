//! `[dns]`: whom we ask about names.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{NameServer, Span};

/// Whom we ask about names.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// The resolvers, such as `"127.0.0.1:5353"`; empty takes those of the system.
    pub servers: Vec<NameServer>,
    /// A file with the keys that signatures are checked with, as DNSKEY records; unset is the root's, built in.
    #[schemars(extend("format" = "path"), example = &"/etc/posthorn/trust-anchor")]
    pub trust_anchor: Option<PathBuf>,
    /// How long one question may take.
    pub timeout: Span,
    /// How often a question is asked before it counts as unanswered.
    #[schemars(range(min = 1, max = 10))]
    pub attempts: u32,
    /// The most answers that are remembered, each as long as it says itself; 0 is none.
    pub cache: u32,
}

impl Default for Dns {
    fn default() -> Self {
        Self { servers: Vec::new(), trust_anchor: None, timeout: Span::from_secs(5), attempts: 2, cache: 10_000 }
    }
}
