//! What a check does about what it found.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a check does about what it found.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-noun" = "verdict"))]
#[serde(rename_all = "lowercase")]
pub enum PolicyVerdict {
    /// It is not made.
    #[default]
    Off,
    /// It writes a line into the log and the trace.
    Warn,
    /// The client is told to come back later.
    Defer,
    /// The client is refused.
    Reject,
    /// The message waits until an operator releases it.
    Hold,
    /// The message is accepted, and dropped.
    Discard,
}

impl PolicyVerdict {
    /// The word in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Warn => "warn",
            Self::Defer => "defer",
            Self::Reject => "reject",
            Self::Hold => "hold",
            Self::Discard => "discard",
        }
    }

    /// Whether the check is made at all.
    #[must_use]
    pub const fn is_on(self) -> bool {
        !matches!(self, Self::Off)
    }
}
