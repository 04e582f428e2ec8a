//! The folders and files of the private server, and who may enter them.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, lchown};
use std::path::{Path, PathBuf};

use super::os_user::OsUser;
use super::{Error, PORT};

/// `sun_path` holds 108 bytes with the final zero on Linux and 104 elsewhere.
const SOCKET_PATH_LIMIT: usize = 100;

/// The file whose lock says who uses a data folder.
const LOCK: &str = "postgres.lock";

/// Whether a server ever ran, or is about to, on a data folder.
pub(super) fn is_used(data: &Path) -> bool {
    data.join(LOCK).exists()
}

/// The places in and around one data folder.
#[derive(Clone, Debug)]
pub(super) struct Folders {
    data: PathBuf,
    socket: PathBuf,
}

impl Folders {
    /// Makes the data folder and the socket's folder, and sees to it that the server's user can reach them.
    pub(super) fn prepare(data: &Path, user: &OsUser) -> Result<Self, Error> {
        if let Some(parent) = data.parent() {
            fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        }
        make_private(data).map_err(Error::io("create", data))?;
        let data = fs::canonicalize(data).map_err(Error::io("resolve", data))?;
        if user.switch {
            admit(&data, user)?;
        }
        let socket = socket_folder(&data, user)?;
        Ok(Self { data, socket })
    }

    /// The cluster (`PGDATA`).
    pub(super) fn cluster(&self) -> PathBuf {
        self.data.join("postgres")
    }

    /// Where a cluster is made before it is complete.
    pub(super) fn unfinished_cluster(&self) -> PathBuf {
        self.data.join("postgres.new")
    }

    /// What the server writes.
    pub(super) fn log(&self) -> PathBuf {
        self.data.join("postgres.log")
    }

    /// The socket's folder.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// What the server lays beside its socket, with its process id in it.
    pub(super) fn socket_lock(&self) -> PathBuf {
        self.socket.join(format!(".s.PGSQL.{PORT}.lock"))
    }

    /// Takes the lock that says "this data folder is mine"; the kernel gives it back however we end.
    pub(super) fn lock(&self) -> Result<File, Error> {
        let path = self.data.join(LOCK);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Whatever cannot be read only makes the message poorer.
                let _ = file.read_to_string(&mut holder);
                let holder = if holder.is_empty() { "another posthorn".to_owned() } else { holder.trim().to_owned() };
                return Err(Error::InUse { folder: self.data.clone(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
        }
        let named = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "process {}", std::process::id()));
        named.map_err(Error::io("write", &path))?;
        Ok(file)
    }

    /// The cluster's folder and major version, when there is a cluster.
    pub(super) fn existing_major(&self) -> Result<Option<(PathBuf, u32)>, Error> {
        let cluster = self.cluster();
        if !cluster.exists() {
            return Ok(None);
        }
        let path = cluster.join("PG_VERSION");
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let invalid = || Error::io("understand", &path)(io::Error::new(io::ErrorKind::InvalidData, text.trim()));
        let major = text.trim().parse().map_err(|_| invalid())?;
        Ok(Some((cluster, major)))
    }
}

/// Gives a path to the server's user, when that is not ourselves.
pub(super) fn give(path: &Path, user: &OsUser) -> Result<(), Error> {
    if user.switch {
        chown(path, Some(user.uid), Some(user.gid)).map_err(Error::io("change the owner of", path))?;
    }
    Ok(())
}

/// Gives a whole cluster to the server's user, when it belongs to somebody else (the configured user changed).
pub(super) fn give_tree(path: &Path, user: &OsUser) -> Result<(), Error> {
    let owner = fs::symlink_metadata(path).map_err(Error::io("inspect", path))?;
    if !user.switch || owner.uid() == user.uid {
        return Ok(());
    }
    // The top goes last: an interrupted walk starts again.
    give_below(path, user).map_err(Error::io("change the owner of", path))?;
    give(path, user)
}

/// Makes a folder with mode 0700 and the server's user as owner; an existing one must be a true folder.
pub(super) fn make_for(path: &Path, user: &OsUser) -> Result<(), Error> {
    make_private(path).map_err(Error::io("create", path))?;
    give(path, user)
}

fn give_below(folder: &Path, user: &OsUser) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            give_below(&entry.path(), user)?;
        }
        lchown(entry.path(), Some(user.uid), Some(user.gid))?;
    }
    Ok(())
}

fn make_private(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        done => done,
    }
}

/// Lets the server's user pass through to what is its own: the group may enter, not list. Only the data folder
/// itself and root's own temporary folders above it are opened so; whatever else is closed was closed on purpose.
fn admit(data: &Path, user: &OsUser) -> Result<(), Error> {
    for folder in data.ancestors() {
        let meta = fs::metadata(folder).map_err(Error::io("inspect", folder))?;
        if may_enter(&meta, user) {
            continue;
        }
        let ours = meta.uid() == 0 && (meta.gid() == 0 || meta.gid() == user.gid);
        if !ours || !(folder == data || is_temporary(folder)) {
            let closed = folder.to_owned();
            return Err(Error::OutOfReach { user: user.name.clone(), closed, folder: data.to_owned() });
        }
        chown(folder, None, Some(user.gid)).map_err(Error::io("change the group of", folder))?;
        let mode = Permissions::from_mode(meta.mode() & 0o7777 | 0o010);
        fs::set_permissions(folder, mode).map_err(Error::io("change the mode of", folder))?;
    }
    Ok(())
}

/// Whether a folder is in a place like `/tmp`: writable by everybody, with the sticky bit.
fn is_temporary(folder: &Path) -> bool {
    let shared = |above: &Path| fs::metadata(above).is_ok_and(|meta| meta.mode() & 0o1002 == 0o1002);
    folder.ancestors().skip(1).any(shared)
}

fn may_enter(meta: &Metadata, user: &OsUser) -> bool {
    let bit = if meta.uid() == user.uid {
        0o100
    } else if meta.gid() == user.gid {
        0o010
    } else {
        0o001
    };
    meta.mode() & bit != 0
}

/// `run` in the data folder, or a short private folder elsewhere when that path is too long for a socket.
fn socket_folder(data: &Path, user: &OsUser) -> Result<PathBuf, Error> {
    let near = data.join("run");
    if fits(&near) {
        make_for(&near, user)?;
        return Ok(near);
    }
    let base = if user.switch { Path::new("/run") } else { Path::new("/tmp") };
    // Derived from the data folder, so that the next start finds the same one again.
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    let name = format!("posthorn-{:016x}", hasher.finish());
    for attempt in 0..16 {
        let far = base.join(format!("{name}-{attempt}"));
        let made = make_for(&far, user);
        if made.is_ok() && is_private(&far, user) {
            return Ok(far);
        }
    }
    Err(Error::NoSocketFolder { folder: data.to_owned(), tried: base.to_owned() })
}

fn fits(folder: &Path) -> bool {
    folder.as_os_str().as_bytes().len() + format!("/.s.PGSQL.{PORT}").len() <= SOCKET_PATH_LIMIT
}

/// Whether a folder in a place that everybody may write to is truly the server's own.
fn is_private(folder: &Path, user: &OsUser) -> bool {
    fs::symlink_metadata(folder)
        .is_ok_and(|meta| meta.is_dir() && meta.uid() == user.uid && meta.mode() & 0o7777 == 0o700)
}
