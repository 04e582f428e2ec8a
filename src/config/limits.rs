//! `[limits]`: what the whole process may use.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Size, Span};

/// What the whole process may use.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Memory above which new sessions are put off; unset is no limit.
    #[schemars(example = &"2 GiB")]
    pub memory: Option<Size>,
    /// Sessions of all listeners together; 0 is no limit.
    pub sessions: u32,
    /// Sessions of one client address on one listener, where the listener does not say; 0 is no limit.
    pub sessions_per_address: u32,
    /// How long a TLS handshake may take.
    pub handshake_time: Span,
    /// How long a PROXY header may take to arrive.
    pub proxy_time: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: None,
            sessions: 10_000,
            sessions_per_address: 200,
            handshake_time: Span::from_secs(10),
            proxy_time: Span::from_secs(5),
        }
    }
}
