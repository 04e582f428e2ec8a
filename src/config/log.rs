//! `[log]`: what is written about the work.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is written about the work.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The least important lines that are still written.
    pub level: LogLevel,
    /// How a line looks: for people, as JSON, or with its fields apart in systemd's journal (commands write text then).
    /// The fields are listed in `src/posthorn/logging/README.md`.
    pub format: LogFormat,
}

/// How important a line is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// A human should look.
    Error,
    /// Something will need a human if it goes on.
    Warn,
    /// One line per session and message.
    #[default]
    Info,
    /// Decisions.
    Debug,
    /// Dialogues.
    Trace,
}

impl LogLevel {
    /// The level's name, lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
    /// The fields of each line apart, to the journal of systemd (`journalctl -o verbose`); where none listens, as `text`.
    Journald,
}
