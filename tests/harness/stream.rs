//! The client's end of a connection: TCP or Unix, plain or under TLS.

use std::path::Path;
use std::time::Duration;

use rustls::ClientConfig;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};

/// No server of ours takes this long for anything.
const PATIENCE: Duration = Duration::from_secs(30);

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// A connection as lines and octets. Everything panics with the reason when the server is silent for too long.
pub struct Stream {
    inner: BufReader<Box<dyn Duplex>>,
    /// The `tls-exporter` value of the session, once it is secured by TLS 1.3.
    pub channel_binding: Option<Vec<u8>>,
}

impl Stream {
    /// Connects to this port of 127.0.0.1.
    pub async fn tcp(port: u16) -> Self {
        Self::over(TcpStream::connect(("127.0.0.1", port)).await.expect("the server listens"))
    }

    /// Connects to a Unix socket.
    pub async fn unix(path: &Path) -> Self {
        Self::over(UnixStream::connect(path).await.expect("the server listens"))
    }

    /// Takes a stream that is connected already.
    pub fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self { inner: BufReader::new(Box::new(stream)), channel_binding: None }
    }

    /// Shakes hands; the server must prove to be `localhost`.
    ///
    /// # Panics
    /// When the handshake fails, or the server said more than was read.
    pub async fn secure(self, config: &Arc<ClientConfig>) -> Self {
        self.try_secure(config).await.expect("a TLS handshake")
    }

    /// Shakes hands.
    ///
    /// # Errors
    /// What the handshake says.
    pub async fn try_secure(self, config: &Arc<ClientConfig>) -> std::io::Result<Self> {
        assert!(self.inner.buffer().is_empty(), "the server said more than was asked before TLS");
        let plain = self.inner.into_inner();
        let secured = tokio::time::timeout(PATIENCE, posthorn_net::secure(plain, "localhost", config));
        let secured = secured.await.expect("a handshake in time")?;
        let exported = secured.get_ref().1.export_keying_material(vec![0; 32], b"EXPORTER-Channel-Binding", Some(b""));
        Ok(Self { inner: BufReader::new(Box::new(secured)), channel_binding: exported.ok() })
    }

    /// Sends octets.
    pub async fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.try_send(octets).await.expect("the server takes input");
    }

    /// Sends octets to a server that may have closed.
    ///
    /// # Errors
    /// What the stream says.
    pub async fn try_send(&mut self, octets: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.inner.write_all(octets.as_ref()).await?;
        self.inner.flush().await
    }

    /// Closes our direction, and goes on reading.
    pub async fn close_half(&mut self) {
        self.inner.shutdown().await.expect("the server takes input");
    }

    /// The next line without its end, or `None` when the server closed.
    pub async fn line(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.inner.read_until(b'\n', &mut line));
        match read.await.expect("the server is not silent") {
            // A reset is an end as well.
            Ok(0) | Err(_) => None,
            Ok(_) => {
                while line.last().is_some_and(|octet| matches!(octet, b'\r' | b'\n')) {
                    line.pop();
                }
                Some(line)
            }
        }
    }

    /// Exactly so many octets.
    pub async fn octets(&mut self, count: usize) -> Vec<u8> {
        let mut octets = vec![0; count];
        let read = tokio::time::timeout(PATIENCE, self.inner.read_exact(&mut octets));
        read.await.expect("the server is not silent").expect("all octets");
        octets
    }

    /// Whether nothing comes for a moment.
    pub async fn is_silent(&mut self, moment: Duration) -> bool {
        tokio::time::timeout(moment, self.inner.fill_buf()).await.is_err()
    }
}
