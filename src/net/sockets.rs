//! Listening sockets of all kinds, opened the way the configuration says.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use crate::Local;
use crate::stream::Stream;
use crate::systemd::{Inherited, inherited};

/// A bound and listening socket.
#[derive(Debug)]
pub(crate) enum Door {
    /// TCP.
    Tcp(TcpListener, SocketAddr),
    /// A Unix socket, with the file that goes away with it.
    Unix(UnixListener, Arc<Path>, Option<SocketFile>),
}

impl Door {
    /// A TCP address. IPv6 sockets never take IPv4 clients, so that `*:25` and `[*]:25` stand side by side.
    pub(crate) fn tcp(address: SocketAddr, backlog: u32) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        Self::adopt_tcp(socket.into())
    }

    /// A socket file. A file that nobody listens on any more is replaced; anything else in its place is an error.
    pub(crate) fn unix(path: &Path, mode: u32, backlog: u32) -> io::Result<Self> {
        clear_the_way(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let file = SocketFile::of(path)?;
        // Nobody can connect before listen(), so nobody sees other permissions than these.
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        Ok(Self::Unix(UnixListener::from_std(socket.into())?, path.into(), Some(file)))
    }

    /// All sockets that the service manager holds under `name`; an empty list when it knows no such name.
    pub(crate) fn systemd(name: &str) -> io::Result<Vec<Self>> {
        let adopt = |socket| match socket {
            Inherited::Tcp(socket) => Self::adopt_tcp(socket),
            Inherited::Unix(socket) => {
                socket.set_nonblocking(true)?;
                let path = socket.local_addr()?.as_pathname().unwrap_or(Path::new(name)).into();
                Ok(Self::Unix(UnixListener::from_std(socket)?, path, None))
            }
        };
        inherited(name)?.into_iter().map(adopt).collect()
    }

    fn adopt_tcp(socket: std::net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        // Accepted sockets inherit both options on Linux.
        let options = SockRef::from(&socket);
        options.set_tcp_nodelay(true)?;
        options.set_keepalive(true)?;
        let address = socket.local_addr()?;
        Ok(Self::Tcp(TcpListener::from_std(socket)?, address))
    }

    /// Gives the open socket another backlog, and its file other permissions. What a service manager opened stays as it
    /// made it.
    pub(crate) fn adjust(&self, mode: u32, backlog: u32) -> io::Result<()> {
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        match self {
            Self::Tcp(socket, _) => SockRef::from(socket).listen(backlog),
            Self::Unix(_, _, None) => Ok(()),
            Self::Unix(socket, path, Some(_)) => {
                fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
                SockRef::from(socket).listen(backlog)
            }
        }
    }

    /// Where clients reach this socket, with the port that the kernel chose.
    pub(crate) fn local(&self) -> Local {
        match self {
            Self::Tcp(_, address) => Local::Tcp(*address),
            Self::Unix(_, path, _) => Local::Unix(Arc::clone(path)),
        }
    }

    /// Takes the next connection: its stream, the client's address, our own end. Nothing is lost when dropped.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, SocketAddr, Local)> {
        match self {
            Self::Tcp(socket, bound) => {
                let (stream, client) = socket.accept().await?;
                // Only a wildcard leaves open which of our addresses was meant.
                let local = if bound.ip().is_unspecified() { stream.local_addr()? } else { *bound };
                let client = SocketAddr::new(client.ip().to_canonical(), client.port());
                Ok((Stream::Tcp(stream), client, Local::Tcp(local)))
            }
            Self::Unix(socket, path, _) => {
                let (stream, _) = socket.accept().await?;
                Ok((Stream::Unix(stream), UNIX_CLIENT, Local::Unix(Arc::clone(path))))
            }
        }
    }
}

/// Our socket file, removed when dropped unless somebody has put another in its place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

fn clear_the_way(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return path.parent().map_or(Ok(()), fs::create_dir_all);
        }
        Err(error) => return Err(error),
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file is there and is not a socket"));
        }
        Ok(_) => {}
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process answers on this socket")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Clients of Unix sockets count as loopback.
const UNIX_CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    #[tokio::test]
    async fn port_zero_tells_the_port() {
        let door = Door::tcp(loopback(0), 16).expect("bound");
        let Local::Tcp(address) = door.local() else { panic!("not TCP") };
        assert_ne!(address.port(), 0);
        assert_eq!(Door::tcp(address, 16).expect_err("taken").kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn both_wildcards_share_a_port() {
        if std::net::TcpListener::bind("[::1]:0").is_err() {
            return; // This machine has no IPv6.
        }
        // Somebody else may hold the one port that is free for IPv4, but not so ten times.
        let pair = || {
            let v4 = Door::tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), 16).expect("bound");
            let Local::Tcp(address) = v4.local() else { panic!("not TCP") };
            let v6 = Door::tcp(SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, address.port())), 16).ok()?;
            Some((v4, v6, address))
        };
        let (v4, v6, address) = (0..10).find_map(|_| pair()).expect("both bound");
        let _client = tokio::net::TcpStream::connect(loopback(address.port())).await.expect("connected");
        let (_, client, local) = v4.accept().await.expect("accepted");
        assert!(client.is_ipv4());
        assert_eq!(local, Local::Tcp(loopback(address.port())));
        let _client = tokio::net::TcpStream::connect(("::1", address.port())).await.expect("connected");
        assert!(v6.accept().await.expect("accepted").1.is_ipv6());
    }

    #[tokio::test]
    async fn socket_files_have_their_mode_and_go_away() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("run").join("lmtp.sock");
        let door = Door::unix(&path, 0o620, 16).expect("bound");
        assert_eq!(fs::metadata(&path).expect("file").permissions().mode() & 0o7777, 0o620);
        assert_eq!(Door::unix(&path, 0o620, 16).expect_err("in use").kind(), io::ErrorKind::AddrInUse);
        let _client = tokio::net::UnixStream::connect(&path).await.expect("connected");
        assert_eq!(door.accept().await.expect("accepted").1, UNIX_CLIENT);
        drop(door);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn stale_sockets_are_replaced_and_nothing_else() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        assert!(path.exists(), "left behind");
        let door = Door::unix(&path, 0o600, 16).expect("replaced");
        fs::remove_file(&path).expect("removed");
        fs::write(&path, "mine").expect("written");
        drop(door);
        assert_eq!(fs::read(&path).expect("kept"), b"mine");
        assert_eq!(Door::unix(&path, 0o600, 16).expect_err("a file").kind(), io::ErrorKind::AlreadyExists);
    }
}
