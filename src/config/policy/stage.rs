//! When in a session something is asked.

use posthorn_model::policy::Stage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When in a session something is asked.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-noun" = "stage"))]
#[serde(rename_all = "kebab-case")]
pub enum PolicyStage {
    /// Before the greeting.
    Connect,
    /// HELO or EHLO.
    Helo,
    /// MAIL.
    Mail,
    /// RCPT, for each recipient.
    #[default]
    Rcpt,
    /// DATA, before the text comes.
    Data,
    /// When the text is there.
    EndOfMessage,
}

impl PolicyStage {
    /// The word in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Helo => "helo",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::Data => "data",
            Self::EndOfMessage => "end-of-message",
        }
    }

    /// The stage of the session.
    #[must_use]
    pub const fn stage(self) -> Stage {
        match self {
            Self::Connect => Stage::Connect,
            Self::Helo => Stage::Helo,
            Self::Mail => Stage::Mail,
            Self::Rcpt => Stage::Rcpt,
            Self::Data => Stage::Data,
            Self::EndOfMessage => Stage::EndOfMessage,
        }
    }
}
