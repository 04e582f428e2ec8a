//! What a configuration is read from.

use std::fmt;
use std::path::PathBuf;

/// What a configuration is read from; each later kind overrides the earlier one.
///
/// Values of variables may be secret: Debug shows their names alone.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Sources {
    /// Files in TOML, each followed by the `*.toml` files of `conf.d` beside it in alphabetical order.
    pub files: Vec<PathBuf>,
    /// Variables with their values; those that begin with `POSTHORN_` and nest with `__` count.
    pub environment: Vec<(String, String)>,
    /// A folder whose files are named by key paths, such as `database.url`.
    pub credentials: Option<PathBuf>,
}

impl Sources {
    /// These files alone: nothing from the process.
    #[must_use]
    pub fn files(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { files: files.into_iter().collect(), ..Self::default() }
    }

    /// These files, this process's environment and the credentials that the service manager gave it.
    #[must_use]
    pub fn process(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            name.into_string().ok().zip(value.into_string().ok())
        };
        Self {
            files: files.into_iter().collect(),
            environment: std::env::vars_os().filter_map(text).collect(),
            credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        }
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.environment.iter().map(|(name, _)| name).collect();
        f.debug_struct("Sources")
            .field("files", &self.files)
            .field("environment", &names)
            .field("credentials", &self.credentials)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_variables_are_not_shown() {
        let environment = vec![("POSTHORN_DATABASE__URL".to_owned(), "postgres://m:s3cret@db".to_owned())];
        let shown = format!("{:?}", Sources { environment, ..Sources::default() });
        assert!(shown.contains("POSTHORN_DATABASE__URL") && !shown.contains("s3cret"), "{shown}");
    }
}
