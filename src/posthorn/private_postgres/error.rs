//! What can go wrong with the private server, and what the reader can do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why the private server could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `initdb` and `postgres` were found nowhere.
    #[error("{}", NotFound(.searched))]
    ProgramsNotFound {
        /// The folders looked into, in order.
        searched: Vec<PathBuf>,
    },
    /// Programs were found, but only of a release that is too old.
    #[error(
        "the PostgreSQL programs in {} are version {found}, Posthorn needs {oldest} or newer: {}",
        .folder.display(),
        INSTALL
    )]
    ProgramsTooOld {
        /// Where the newest ones are.
        folder: PathBuf,
        /// Their major version.
        found: u32,
        /// The oldest major version that will do.
        oldest: u32,
    },
    /// The cluster was made by another major version than every program found.
    #[error(
        "the PostgreSQL cluster in {} was made by version {cluster}, but the programs found are version {} ({}): \
         install version {cluster} again (apt-get install -y postgresql-{cluster}) or name its folder in \
         database.binaries; to move to the new version, dump with the old one and restore with the new one, or use pg_upgrade",
        .folder.display(), .found, .programs.display()
    )]
    OtherMajorVersion {
        /// The cluster's folder.
        folder: PathBuf,
        /// The major version in its PG_VERSION.
        cluster: u32,
        /// The first programs found.
        programs: PathBuf,
        /// Their major version.
        found: u32,
    },
    /// Another posthorn holds the lock.
    #[error("the data folder {} is in use by {holder}; stop that one or choose another folder", .folder.display())]
    InUse {
        /// The data folder.
        folder: PathBuf,
        /// "process 1234" as the holder wrote it.
        holder: String,
    },
    /// Started as root, but the user to run the server as does not exist.
    #[error(
        "PostgreSQL refuses to run as root, and there is no user {user:?} to run it as; \
         install PostgreSQL from the distribution, which makes one, or name another in database.user"
    )]
    NoSuchUser {
        /// The configured name.
        user: String,
    },
    /// The configured user is root itself.
    #[error("PostgreSQL refuses to run as root: name an unprivileged user in database.user instead of {user:?}")]
    PrivilegedUser {
        /// The configured name.
        user: String,
    },
    /// A folder above the cluster cannot be entered by the server's user.
    #[error(
        "the user {user:?} cannot enter {}, so PostgreSQL cannot reach its files in {}; \
         choose a data folder elsewhere, for example below /var/lib",
        .closed.display(), .folder.display()
    )]
    OutOfReach {
        /// The server's user.
        user: String,
        /// The folder without permission.
        closed: PathBuf,
        /// The data folder.
        folder: PathBuf,
    },
    /// No folder short enough for a socket could be made.
    #[error("no folder for the socket of {} could be made below {}", .folder.display(), .tried.display())]
    NoSocketFolder {
        /// The data folder.
        folder: PathBuf,
        /// Where it was tried.
        tried: PathBuf,
    },
    /// A program failed or the server did not come up.
    #[error("{program} failed ({outcome}):\n{log}")]
    Failed {
        /// `initdb` or `postgres`.
        program: &'static str,
        /// The exit status or what else happened.
        outcome: String,
        /// The last lines that it wrote.
        log: String,
    },
    /// A server left behind in the folder could not be stopped.
    #[error("a PostgreSQL left running in {} (process {pid}) does not stop", .folder.display())]
    Unstoppable {
        /// The cluster's folder.
        folder: PathBuf,
        /// Its process id.
        pid: u32,
    },
    /// A file or process operation failed.
    #[error("cannot {what} {}", .path.display())]
    Io {
        /// The verb: "create", "read" and the like.
        what: &'static str,
        /// The path it concerns.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// How to get the programs, for the three package managers that we know.
const INSTALL: &str = "apt-get install -y postgresql, or nix profile install nixpkgs#postgresql, \
                       or dnf install -y postgresql-server";

impl Error {
    /// For `map_err`: what was tried on which path.
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

struct NotFound<'a>(&'a [PathBuf]);

impl fmt::Display for NotFound<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgreSQL's programs initdb and postgres were not found in ")?;
        for (at, folder) in self.0.iter().enumerate() {
            write!(f, "{}{}", if at == 0 { "" } else { ", " }, folder.display())?;
        }
        write!(f, "; install them ({INSTALL}) or name their folder in database.binaries")
    }
}
