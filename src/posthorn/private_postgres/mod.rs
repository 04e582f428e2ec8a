//! The private PostgreSQL: a cluster in the data folder, reachable by Unix socket only, without any password,
//! started, supervised and stopped by us.
//!
//! It opens no connection itself: readiness, identity and end of the server are read from its process and its
//! `postmaster.pid`. It never upgrades a cluster between major versions and never touches a PostgreSQL that
//! somebody else runs.

mod cluster;
mod error;
mod folders;
mod os_user;
mod postmaster;
mod programs;
mod settings;
mod supervisor;

use std::fmt::Write;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use error::Error;
pub use settings::Settings;

use cluster::Cluster;
use folders::Folders;
use os_user::OsUser;
use postmaster::Postmaster;
use programs::Programs;
use supervisor::{Supervisor, Vitals};

/// The database role that owns everything and the database that holds the mail; peer authentication maps the
/// operating system users that may be it.
const ROLE: &str = "posthorn";

/// Names the socket file; there is no TCP.
const PORT: u16 = 5432;

/// What the user of the operating system with this id is called.
pub(crate) fn user_name(uid: u32) -> String {
    OsUser::name_of(uid)
}

/// A running private server.
///
/// Dropping it has the server stopped by the runtime, or by the runtime's end; [`PrivatePostgres::shutdown`]
/// waits until it is gone.
#[derive(Debug)]
pub struct PrivatePostgres {
    socket: PathBuf,
    vitals: Arc<Vitals>,
    supervisor: Supervisor,
    // Held as long as the server is ours: a second posthorn on the same folder is refused.
    lock: File,
}

impl PrivatePostgres {
    /// Finds the programs, makes the cluster when there is none, stops a server that a killed posthorn left
    /// behind, starts ours and returns when it accepts connections. From then on it is restarted when it dies.
    ///
    /// Needs a tokio runtime with I/O and time; the supervision is a task of that runtime.
    ///
    /// # Errors
    /// Every [`Error`] says what to do about it: programs missing, a cluster of another major version, a folder
    /// in use or out of reach, or the last lines of the server's log when it refuses to start.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        let user = OsUser::to_run_as(&settings.user)?;
        let folders = Folders::prepare(&settings.data, &user)?;
        let lock = folders.lock()?;
        let programs = Programs::find(settings.binaries.as_deref(), folders.existing_major()?)?;
        let cluster = Cluster { settings: &settings, folders: &folders, programs: &programs, user: &user };

        postmaster::stop_leftover(&folders).await?;
        if !folders.cluster().exists() {
            cluster.create().await?;
        }
        cluster.configure().await?;

        let launch = postmaster::Launch::new(&folders, &programs, &user);
        let postmaster = Postmaster::start(&launch).await?;
        let vitals = Arc::new(Vitals::default());
        let socket = folders.socket().to_owned();
        let supervisor = Supervisor::spawn(launch, postmaster, Arc::clone(&vitals));
        Ok(Self { socket, vitals, supervisor, lock })
    }

    /// The connection URL of the mail database:
    /// `postgres://posthorn@%2Fvar%2Flib%2Fposthorn%2Frun:5432/posthorn`; it holds no secret.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of(ROLE)
    }

    /// The same for another database of this server.
    #[must_use]
    pub fn url_of(&self, database: &str) -> String {
        url_at(&self.socket, database)
    }

    /// The folder that holds the server's socket.
    #[must_use]
    pub fn socket_folder(&self) -> &Path {
        &self.socket
    }

    /// The server's process id; while a dead server waits for its restart, that of the dead one.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.vitals.pid()
    }

    /// How often the server died and was started again.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.vitals.restarts()
    }

    /// Stops the server: running transactions are rolled back, what is committed is written out, and the
    /// process is gone when this returns.
    pub async fn shutdown(self) {
        self.supervisor.stop().await;
        give_back(&self.lock);
    }

    /// Ends the supervision and leaves the server running, for an owner that outlives this process. The next
    /// [`PrivatePostgres::start`] on the folder treats it as left behind and stops it.
    pub async fn detach(self) {
        self.supervisor.leave().await;
        give_back(&self.lock);
    }
}

/// Stops a server that a killed posthorn left behind in a data folder. Returns whether nobody uses the folder any more; one
/// that never was a data folder is left alone.
///
/// # Errors
/// When the folder is out of reach, or the server does not stop.
pub async fn clear(settings: &Settings) -> Result<bool, Error> {
    if !folders::is_used(&settings.data) {
        return Ok(false);
    }
    let user = OsUser::to_run_as(&settings.user)?;
    let folders = Folders::prepare(&settings.data, &user)?;
    let lock = match folders.lock() {
        Ok(lock) => lock,
        Err(Error::InUse { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    postmaster::stop_leftover(&folders).await?;
    give_back(&lock);
    Ok(true)
}

/// Gives the folder back. Closing the file is not enough: a program that another thread starts at this moment has its
/// own copy of it until it runs.
fn give_back(lock: &File) {
    // It is given back when the last copy is closed, if not now.
    let _ = lock.unlock();
}

/// The connection URL of the server that another process runs on the same data folder; `None` when none is ready
/// there. It holds no secret.
///
/// # Errors
/// When the folders are out of reach.
pub fn url_of_running(settings: &Settings) -> Result<Option<String>, Error> {
    let user = OsUser::to_run_as(&settings.user)?;
    let folders = Folders::prepare(&settings.data, &user)?;
    Ok(postmaster::is_ready(&folders.cluster()).then(|| url_at(folders.socket(), ROLE)))
}

/// The URL of a database behind the socket in this folder.
fn url_at(socket: &Path, database: &str) -> String {
    let socket = percent_encode(socket.as_os_str().as_bytes());
    format!("postgres://{ROLE}@{socket}:{PORT}/{}", percent_encode(database.as_bytes()))
}

/// Percent-encodes all but RFC 3986's unreserved characters.
fn percent_encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 16);
    for &b in bytes {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(b));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests;
