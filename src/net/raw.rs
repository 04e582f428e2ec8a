//! A connection whose bytes somebody else's protocol moves: HTTP libraries want a stream, not a machine.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::{Connection, Peer, SessionId, Shutdown};

/// A connected client as a plain stream, under the same caps, counters and write deadline as any session.
///
/// The shutdown signals are for whoever speaks here: nothing is said to the peer on its behalf.
pub struct RawConnection {
    connection: Connection,
    /// Runs while the peer does not take what is written.
    unread: Option<Pin<Box<Sleep>>>,
}

impl RawConnection {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection, unread: None }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        self.connection.peer()
    }

    /// The session's name in logs and traces.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.connection.id()
    }

    /// The signals on which to say goodbye, and to end.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        self.connection.shutdown()
    }

    /// Passes on the outcome of writing; one that keeps the peer's time for reading is an error.
    fn within_time<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.unread = None;
            return polled;
        }
        let time = self.connection.write_time();
        let unread = self.unread.get_or_insert_with(|| Box::pin(sleep(time)));
        ready!(unread.as_mut().poll(cx));
        unread.as_mut().reset(Instant::now() + time);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for RawConnection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let connection = &mut self.get_mut().connection;
        match ready!(Pin::new(connection.stream()).poll_read(cx, into)) {
            // A peer that goes without TLS's last word is gone all the same.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error)),
            Ok(()) => {
                connection.count_received(into.filled().len() - before);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for RawConnection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(from)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(this.connection.stream()).poll_write_vectored(cx, from);
        let written = this.within_time(cx, written);
        if let Poll::Ready(Ok(count)) = &written {
            this.connection.count_sent(*count);
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(this.connection.stream()).poll_flush(cx);
        this.within_time(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(this.connection.stream()).poll_shutdown(cx);
        this.within_time(cx, shut)
    }
}

impl std::fmt::Debug for RawConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.connection.fmt(f)
    }
}
