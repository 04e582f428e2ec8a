//! What the owner of the private server decides.

use std::path::PathBuf;

/// How to run the private server; everything else follows from the data folder.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The data folder; the cluster is `postgres`, its log `postgres.log`, its socket `run` below it.
    pub data: PathBuf,
    /// The folder of `initdb` and `postgres`; when not given, PATH and then `/usr/lib/postgresql/*/bin`.
    pub binaries: Option<PathBuf>,
    /// The unprivileged user that runs the server when we are root; unused otherwise.
    pub user: String,
    /// PostgreSQL's own page cache, in MiB; the system's page cache works on top of it.
    pub shared_buffers_mib: u32,
    /// Connections at once.
    pub connections: u32,
    /// Whether a commit survives a crash of the machine; `false` only for throw-away clusters of tests.
    pub durable: bool,
}

impl Settings {
    /// The usual settings for a data folder.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            binaries: None,
            user: "postgres".to_owned(),
            shared_buffers_mib: 64,
            connections: 50,
            durable: true,
        }
    }
}
