//! Reading into a machine's buffer so that idle sessions hold no read space and bodies are read in large pieces.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

/// How a session reads: small pieces through a scratch space of the thread, large ones straight into the buffer.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    bulk: bool,
}

impl Intake {
    /// Appends what arrives to `buffer`; 0 is the end of the stream. Nothing is lost when the future is dropped.
    pub(crate) async fn fill(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        buffer: &mut BytesMut,
    ) -> io::Result<usize> {
        poll_fn(|cx| self.poll(cx, &mut *stream, buffer)).await
    }

    /// The same for whoever polls by hand.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut (impl AsyncRead + Unpin),
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        let read = if self.bulk { bulk(cx, stream, buffer) } else { small(cx, stream, buffer) };
        match &read {
            Poll::Ready(Ok(count)) => self.bulk = *count >= if self.bulk { SMALL / 4 } else { SMALL },
            Poll::Ready(Err(_)) => {}
            // Whoever waits for a slow peer gives the space back.
            Poll::Pending if buffer.is_empty() && buffer.capacity() > KEPT => {
                self.bulk = false;
                *buffer = BytesMut::new();
            }
            Poll::Pending => {}
        }
        read
    }
}

fn small(
    cx: &mut Context<'_>,
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let mut space = ReadBuf::new(&mut scratch[..]);
        Pin::new(stream).poll_read(cx, &mut space).map_ok(|()| {
            buffer.extend_from_slice(space.filled());
            space.filled().len()
        })
    })
}

fn bulk(cx: &mut Context<'_>, stream: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
    if buffer.capacity() - buffer.len() < SMALL {
        buffer.reserve(BULK);
    }
    pin!(stream.read_buf(buffer)).poll(cx)
}

const SMALL: usize = 16 * 1024;
const BULK: usize = 64 * 1024;
/// Buffers up to this size stay with an idle session.
const KEPT: usize = 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SMALL].into_boxed_slice());
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn everything_arrives_in_order_and_idle_sessions_hold_nothing() {
        let (mut near, mut far) = tokio::io::duplex(256 * 1024);
        let sent: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        far.write_all(&sent).await.expect("written");
        let mut intake = Intake::default();
        let (mut buffer, mut received) = (BytesMut::new(), Vec::new());
        let mut largest = 0;
        while received.len() < sent.len() {
            let count = intake.fill(&mut near, &mut buffer).await.expect("read");
            largest = largest.max(count);
            received.extend_from_slice(&buffer.split());
        }
        assert!(received == sent);
        assert!(largest > SMALL, "bodies are read in large pieces");
        let idle = tokio::time::timeout(std::time::Duration::from_millis(5), intake.fill(&mut near, &mut buffer));
        assert!(idle.await.is_err());
        assert!(buffer.capacity() <= KEPT, "{}", buffer.capacity());
        drop(far);
        assert_eq!(intake.fill(&mut near, &mut buffer).await.expect("end"), 0);
    }
}
