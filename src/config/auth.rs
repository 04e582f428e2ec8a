//! `[auth]`: how people log in and what guessing costs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// How people log in and what guessing costs.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// The mechanisms that are offered, each only where it is safe.
    pub mechanisms: Vec<Mechanism>,
    /// Failures from one client address within the window before it must wait; 0 is no limit.
    pub failures_per_address: u32,
    /// Failures for one account within the window before it must wait; 0 is no limit.
    pub failures_per_account: u32,
    /// How long a failure is remembered.
    pub failure_window: Span,
    /// How long the first failure is slowed; each further one doubles it.
    pub slow_down: Span,
    /// The longest that one failure is slowed.
    pub slow_down_limit: Span,
    /// How long a verified login is remembered, so that a client's next session costs no hash; `0 s` is never.
    pub cache: Span,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            mechanisms: Mechanism::ALL.to_vec(),
            failures_per_address: 30,
            failures_per_account: 10,
            failure_window: Span::from_secs(600),
            slow_down: Span::from_millis(500),
            slow_down_limit: Span::from_secs(8),
            cache: Span::from_secs(300),
        }
    }
}

/// A SASL mechanism by its registered name.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub enum Mechanism {
    /// Password in the clear, so only under TLS (RFC 4616).
    #[serde(rename = "PLAIN")]
    Plain,
    /// The older form of PLAIN that some clients still need.
    #[serde(rename = "LOGIN")]
    Login,
    /// Salted challenge and response (RFC 7677).
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// The same, bound to the TLS session (RFC 7677, RFC 9266).
    #[serde(rename = "SCRAM-SHA-256-PLUS")]
    ScramSha256Plus,
}

impl Mechanism {
    /// Every mechanism.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Login, Self::ScramSha256, Self::ScramSha256Plus];

    /// The registered name, upper case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
        }
    }

    /// The mechanism of a name, case folded.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(name))
    }
}
