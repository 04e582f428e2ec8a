//! `[policy.recipients]`: how many recipients one message may have.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many recipients one message may have, below the `smtp.max_recipients` of all; 0 is no limit of its own.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyRecipients {
    /// Of a login.
    pub login: u32,
    /// Of a client that may relay.
    pub relay: u32,
    /// Of everybody else.
    pub outside: u32,
    /// Of the null sender, whose reports go to one recipient each.
    pub null: u32,
}
