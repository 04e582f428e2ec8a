//! `[server]`: who this machine is and where it keeps its things.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// Who this machine is and where it keeps its things.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The name in greetings, Received headers and Message-IDs.
    ///
    /// While it is not configured the appliance may put the machine's own name here.
    #[schemars(extend("format" = "hostname"))]
    pub hostname: String,
    /// The folder of everything that must outlive a restart.
    #[schemars(extend("format" = "path"))]
    pub data: PathBuf,
    /// How long a stop waits for message bodies in progress.
    pub grace: Span,
}

impl Default for Server {
    fn default() -> Self {
        Self { hostname: "localhost.localdomain".into(), data: "/var/lib/posthorn".into(), grace: Span::from_secs(30) }
    }
}
