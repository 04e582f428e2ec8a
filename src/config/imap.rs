//! `[imap]`: IMAP sessions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Size, Span};

/// IMAP sessions.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Imap {
    /// How long a logged-in session may be silent (RFC 9051 §5.4 asks for at least 30 minutes).
    pub idle_time: Span,
    /// How long a session may take to log in.
    pub login_time: Span,
    /// How long a session may last in all; `0 s` is no limit.
    pub total_time: Span,
    /// The most octets of one command, the literals of APPEND not counted.
    pub max_command_size: Size,
    /// Refused or misspelt commands in a row before a session is closed; 0 is no limit.
    pub max_errors: u32,
    /// Sessions of one account at once; 0 is no limit.
    pub sessions_per_account: u32,
}

impl Default for Imap {
    fn default() -> Self {
        Self {
            idle_time: Span::from_secs(30 * 60),
            login_time: Span::from_secs(60),
            total_time: Span::ZERO,
            max_command_size: Size::kibibytes(64),
            max_errors: 20,
            sessions_per_account: 100,
        }
    }
}
