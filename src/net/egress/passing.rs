//! Open files for a server on this machine: over a Unix socket it may read them itself, instead of a copy.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::Interest;

use super::Link;
use crate::stream::Stream;

impl Link {
    /// Whether the other side is on this machine and may be given open files: a Unix socket without TLS.
    #[must_use]
    pub fn passes_files(&self) -> bool {
        matches!(self.stream, Stream::Unix(_))
    }

    /// Sends a few octets and, along with them, an open file (`SCM_RIGHTS`, unix(7)).
    ///
    /// # Errors
    /// Those of the socket; [`io::ErrorKind::Unsupported`] where files cannot be passed, and
    /// [`io::ErrorKind::WriteZero`] when the octets did not go as one.
    pub async fn pass_file(&self, octets: &[u8], file: BorrowedFd<'_>) -> io::Result<()> {
        let Stream::Unix(stream) = &self.stream else { return Err(io::ErrorKind::Unsupported.into()) };
        let sent = stream
            .async_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut along = SendAncillaryBuffer::new(&mut space);
                let files = [file];
                if !along.push(SendAncillaryMessage::ScmRights(&files)) {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
                Ok(sendmsg(stream, &[IoSlice::new(octets)], &mut along, SendFlags::NOSIGNAL)?)
            })
            .await?;
        if sent == octets.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}
