//! `[backup]`: copies that are made by themselves.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Copies that are made by themselves. `posthorn backup` makes one at any time.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backup {
    /// Whether a new program that changes the schema of a database in use makes a backup first, and changes nothing when
    /// that fails.
    pub before_upgrade: bool,
    /// Where these backups lie; unset is `backups` below `server.data`.
    #[schemars(extend("format" = "path"))]
    pub folder: Option<PathBuf>,
    /// How many of them are kept.
    #[schemars(range(min = 1))]
    pub keep: u32,
}

impl Backup {
    /// The folder: as configured, or the one below the data folder.
    #[must_use]
    pub fn folder(&self, data: &Path) -> PathBuf {
        self.folder.clone().unwrap_or_else(|| data.join("backups"))
    }
}

impl Default for Backup {
    fn default() -> Self {
        Self { before_upgrade: true, folder: None, keep: 3 }
    }
}
