//! The PROXY header, versions 1 and 2, in front of whatever a client sends.

use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use posthorn_net::{Proxied, ProxyNote, read_proxy_header};
use tokio::io::{AsyncRead, ReadBuf};

use super::pieces;

/// Octets of the longest header that is read: what is fixed in version 2, and what it may announce.
const LONGEST: usize = 16 + 4096;

/// Reads a header from the octets as they are, in pieces and octet by octet: the same each time, and never an octet
/// too many.
pub fn target(octets: &[u8]) {
    let (whole, taken) = read(std::iter::once(octets));
    assert!(taken <= octets.len().min(LONGEST), "{taken} octets were taken");
    let seed = octets.last().copied().unwrap_or(0);
    for (cut, fewer) in [read(pieces(octets, seed)), read(octets.chunks(1))] {
        assert_eq!(cut, whole, "cut otherwise, read otherwise");
        // What is wrong from its first octet on is refused there.
        assert!(fewer == taken || (whole.is_err() && fewer < taken), "{fewer} octets were taken, and {taken}");
    }
    match whole {
        Err(kind) => {
            assert!(matches!(kind, ErrorKind::InvalidData | ErrorKind::UnexpectedEof), "{kind:?}");
            // Whoever waits for more of a header that is wrong already is held up.
            assert!(kind != ErrorKind::UnexpectedEof || taken == octets.len(), "an end in the middle");
        }
        Ok(header) => {
            sound(&header);
            // The header ends where it says, not where the client pauses.
            assert_eq!(read(std::iter::once(&octets[..taken])), (Ok(header), taken));
            let short = read(std::iter::once(&octets[..taken - 1]));
            assert_eq!(short, (Err(ErrorKind::UnexpectedEof), taken - 1), "a part of a header is not a header");
        }
    }
}

/// What is told can be logged, and the addresses are a pair.
fn sound(header: &Proxied) {
    if let Some((client, destination)) = header.addresses {
        assert_eq!(client.is_ipv4(), destination.is_ipv4());
    }
    let ProxyNote { authority, tls_version, tls_cipher, certificate_name, unique_id } = &header.note;
    for text in [authority, tls_version, tls_cipher, certificate_name, unique_id].into_iter().flatten() {
        assert!(!text.contains(char::is_control) && text.chars().count() <= 256, "{text:?}");
    }
}

/// The header or the kind of error, and how many octets were taken.
fn read<'o>(pieces: impl Iterator<Item = &'o [u8]> + Unpin) -> (Result<Proxied, ErrorKind>, usize) {
    let mut stream = Pieces { rest: pieces, piece: &[], taken: 0 };
    let read = pin!(read_proxy_header(&mut stream)).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(read) = read else { panic!("waits for a stream that is there") };
    (read.map_err(|error| error.kind()), stream.taken)
}

/// A stream that gives one piece a read, and never waits.
struct Pieces<'o, I> {
    rest: I,
    piece: &'o [u8],
    taken: usize,
}

impl<'o, I: Iterator<Item = &'o [u8]> + Unpin> AsyncRead for Pieces<'o, I> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.piece.is_empty() {
            self.piece = self.rest.next().unwrap_or_default();
        }
        let (now, later) = self.piece.split_at(self.piece.len().min(space.remaining()));
        space.put_slice(now);
        self.piece = later;
        self.taken += now.len();
        Poll::Ready(Ok(()))
    }
}
