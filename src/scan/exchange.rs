//! One question and its answer over a connection: written and read side by side, within bounds.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::time::timeout;

/// What came back.
#[derive(Debug)]
pub(crate) struct Heard {
    /// The answer, and nothing behind it.
    pub(crate) answer: Bytes,
    /// Everything was sent before the answer was there, and nothing followed: the next question may come.
    pub(crate) in_order: bool,
}

/// Where an answer ends.
pub(crate) enum End {
    /// It is this long.
    At(usize),
    /// More must come.
    Later,
}

/// Octets that are gathered before they are written.
const TOGETHER: usize = 32 << 10;

/// Sends `pieces` while it reads, so that an engine which has heard enough is heard. `end` looks at what is there and
/// whether nothing more comes.
pub(crate) async fn exchange<S>(
    link: &mut S,
    pieces: impl IntoIterator<Item = Bytes>,
    limit: usize,
    end: impl Fn(&[u8], bool) -> Result<End, String>,
) -> Result<Heard, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut reader, mut writer) = split(link);
    let mut pieces = pieces.into_iter();
    let write = async {
        // What is small goes together: each write wakes the engine.
        let mut small = BytesMut::new();
        for piece in pieces.by_ref() {
            if small.len() + piece.len() <= TOGETHER {
                small.extend_from_slice(&piece);
                continue;
            }
            writer.write_all(&small).await?;
            small.clear();
            writer.write_all(&piece).await?;
        }
        writer.write_all(&small).await?;
        writer.flush().await
    };
    let mut buffer = BytesMut::new();
    let (length, sent) = {
        let read = hear(&mut reader, &mut buffer, limit, &end);
        tokio::pin!(write, read);
        tokio::select! {
            biased;
            heard = &mut read => (heard?, false),
            written = &mut write => match written {
                Ok(()) => (read.await?, true),
                // It closed before it had everything; what it said before that tells why.
                Err(error) => match timeout(LAST_WORDS, read).await {
                    Ok(Ok(length)) => (length, false),
                    _ => return Err(words(&error)),
                },
            },
        }
    };
    let answer = buffer.split_to(length).freeze();
    Ok(Heard { answer, in_order: sent && buffer.is_empty() })
}

async fn hear<S: AsyncRead + Unpin>(
    reader: &mut S,
    buffer: &mut BytesMut,
    limit: usize,
    end: &impl Fn(&[u8], bool) -> Result<End, String>,
) -> Result<usize, String> {
    loop {
        buffer.reserve(8 << 10);
        let count = reader.read_buf(buffer).await.map_err(|error| words(&error))?;
        match end(buffer, count == 0)? {
            End::At(length) => return Ok(length),
            End::Later if count == 0 && buffer.is_empty() => return Err(CLOSED.to_owned()),
            End::Later if count == 0 => return Err("it closed the connection in the middle of its answer".to_owned()),
            End::Later if buffer.len() >= limit => return Err("its answer has no end".to_owned()),
            End::Later => {}
        }
    }
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => CLOSED.to_owned(),
        kind => format!("the connection failed: {kind}"),
    }
}

const CLOSED: &str = "it closed the connection";
const LAST_WORDS: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    fn line(buffer: &[u8], _: bool) -> Result<End, String> {
        Ok(memchr::memchr(b'\n', buffer).map_or(End::Later, |at| End::At(at + 1)))
    }

    #[tokio::test]
    async fn what_comes_too_early_or_too_much_is_no_order() {
        let (mut ours, mut theirs) = duplex(16);
        theirs.write_all(b"enough\n").await.expect("room");
        // The pieces have no room, so that the answer comes first.
        let pieces = vec![Bytes::from(vec![b'x'; 100])];
        let heard = exchange(&mut ours, pieces, 100, line).await.expect("an answer");
        assert_eq!((&heard.answer[..], heard.in_order), (&b"enough\n"[..], false));

        let (mut ours, mut theirs) = duplex(100);
        let other = tokio::spawn(async move {
            let mut asked = [0; 2];
            theirs.read_exact(&mut asked).await.expect("a question");
            theirs.write_all(b"yes\nand more").await.expect("room");
            asked
        });
        let heard = exchange(&mut ours, [Bytes::from_static(b"ok")], 100, line).await.expect("an answer");
        assert_eq!(&other.await.expect("it ends"), b"ok");
        assert_eq!((&heard.answer[..], heard.in_order), (&b"yes\n"[..], false));
    }

    #[tokio::test]
    async fn no_end_and_an_early_end_are_told() {
        for (said, expected) in [
            (&b"0123456789"[..], "its answer has no end"),
            (&b"012"[..], "it closed the connection in the middle of its answer"),
            (&b""[..], "it closed the connection"),
        ] {
            let (mut ours, mut theirs) = duplex(100);
            theirs.write_all(said).await.expect("room");
            theirs.shutdown().await.expect("closed");
            let heard = exchange(&mut ours, [Bytes::from_static(b"ok")], 10, line).await;
            assert_eq!(heard.expect_err("no answer"), expected);
        }
    }
}
