//! Where a value was written.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a value was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// A file in the service manager's credentials folder.
    Credential(Arc<Path>),
    /// Nowhere: the built-in default holds.
    Default,
    /// An environment variable, by name.
    Environment(Arc<str>),
    /// A configuration file; line and column count from 1.
    File {
        /// The file as it was named.
        file: Arc<Path>,
        /// The line of the key.
        line: usize,
        /// The column of the key, in characters.
        column: usize,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(path) => write!(f, "credential {}", path.display()),
            Self::Default => f.write_str("default"),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::File { file, line, .. } => write!(f, "{}:{line}", file.display()),
        }
    }
}
