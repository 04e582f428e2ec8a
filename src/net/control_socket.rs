//! A socket file for commands of this machine: only root and the user that the process runs as may speak, and the kernel
//! says who does.

use std::io;
use std::path::Path;

use tokio::net::UnixStream;

use crate::sockets::Door;
use crate::stream::Stream;

/// A socket file with mode 0600, removed when dropped. A file that nobody listens on any more is replaced.
#[derive(Debug)]
pub struct ControlSocket {
    door: Door,
    own: u32,
}

impl ControlSocket {
    /// Opens it. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// What the system says; also when another process listens there, or the path is longer than a socket's may be
    /// (107 octets).
    pub fn bind(path: &Path) -> io::Result<Self> {
        let own = own_uid()?;
        Ok(Self { door: Door::unix(path, 0o600, BACKLOG)?, own })
    }

    /// The next caller, and the user id that the kernel gives it; whoever else connects is closed without a word.
    ///
    /// # Errors
    /// What the system says of the socket.
    pub async fn accept(&self) -> io::Result<(UnixStream, u32)> {
        loop {
            let (stream, _, _) = self.door.accept().await?;
            let Stream::Unix(stream) = stream else { continue };
            let uid = stream.peer_cred()?.uid();
            if uid == 0 || uid == self.own {
                return Ok((stream, uid));
            }
            tracing::warn!(uid, "a user who may not steer this server tried to");
        }
    }
}

/// Our own user: the owner of what we make.
fn own_uid() -> io::Result<u32> {
    let (one, _other) = UnixStream::pair()?;
    Ok(one.peer_cred()?.uid())
}

const BACKLOG: u32 = 64;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn callers_are_known() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control.sock");
        let socket = ControlSocket::bind(&path).expect("bound");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let (called, answered) = tokio::join!(UnixStream::connect(&path), socket.accept());
        let (_stream, uid) = answered.expect("accepted");
        called.expect("connected");
        assert_eq!(uid, socket.own);
        drop(socket);
        assert!(!path.exists());
    }
}
