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
    /// The Unix socket that commands steer the running server by, for root and the server's own user; unset is
    /// `control.sock` below `server.data`.
    #[schemars(extend("format" = "path"), example = &"/run/posthorn/control.sock")]
    pub control: Option<PathBuf>,
    /// How long a stop waits for message bodies in progress.
    pub grace: Span,
}

impl Server {
    /// The socket that commands steer the running server by.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.control.clone().unwrap_or_else(|| self.data.join("control.sock"))
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            hostname: "localhost.localdomain".into(),
            data: "/var/lib/posthorn".into(),
            control: None,
            grace: Span::from_secs(30),
        }
    }
}
