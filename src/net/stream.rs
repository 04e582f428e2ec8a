//! The kinds of byte streams a session runs over, as one type that stays small.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

/// A connected stream. TLS state is boxed: most of a thousand idle sessions may be plain.
pub(crate) enum Stream {
    /// The stream was given away, for example to a handshake that failed.
    Gone,
    /// Plain TCP.
    Tcp(TcpStream),
    /// TLS over TCP.
    TlsTcp(Box<TlsStream<TcpStream>>),
    /// TLS over a Unix socket.
    TlsUnix(Box<TlsStream<UnixStream>>),
    /// A Unix socket.
    Unix(UnixStream),
}

macro_rules! each {
    ($self:expr, $stream:ident => $call:expr, $gone:expr) => {
        match $self {
            Stream::Gone => $gone,
            Stream::Tcp($stream) => $call,
            Stream::TlsTcp($stream) => $call,
            Stream::TlsUnix($stream) => $call,
            Stream::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, into), Poll::Ready(Ok(())))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, from), gone())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, from), gone())
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, stream => stream.is_write_vectored(), false)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx), Poll::Ready(Ok(())))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx), Poll::Ready(Ok(())))
    }
}

fn gone<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_costs_little_in_an_idle_session() {
        assert!(size_of::<Stream>() <= 64, "{}", size_of::<Stream>());
    }
}
