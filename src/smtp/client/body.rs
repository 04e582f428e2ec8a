//! Dots are stuffed (RFC 5321 §4.5.2).

use std::collections::VecDeque;

use bytes::Bytes;
use memchr::memchr_iter;

/// Remembers just enough of a message to stuff its dots and to end it.
#[derive(Debug)]
pub(super) struct Stuffer {
    /// The last two octets sent. A message begins as if behind CRLF.
    tail: [u8; 2],
}

impl Default for Stuffer {
    fn default() -> Self {
        Self { tail: *b"\r\n" }
    }
}

impl Stuffer {
    /// Queues a piece, cut before each dot that begins a line.
    pub(super) fn stuff(&mut self, piece: Bytes, out: &mut VecDeque<Bytes>) {
        let before = |at: usize, back: usize| if at >= back { piece[at - back] } else { self.tail[2 + at - back] };
        let mut sent = 0;
        for at in memchr_iter(b'.', &piece) {
            if before(at, 1) == b'\n' && before(at, 2) == b'\r' {
                if at > sent {
                    out.push_back(piece.slice(sent..at));
                }
                out.push_back(Bytes::from_static(b"."));
                sent = at;
            }
        }
        self.tail = [before(piece.len(), 2), before(piece.len(), 1)];
        out.push_back(piece.slice(sent..));
    }

    /// The end of data, behind a line end of its own where the message has none.
    pub(super) fn end(&self) -> Bytes {
        Bytes::from_static(if self.tail == *b"\r\n" { b".\r\n" } else { b"\r\n.\r\n" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stuffed(pieces: &[&'static str]) -> String {
        let (mut stuffer, mut out) = (Stuffer::default(), VecDeque::new());
        for piece in pieces {
            stuffer.stuff(Bytes::from_static(piece.as_bytes()), &mut out);
        }
        out.push_back(stuffer.end());
        out.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    #[test]
    fn dots_at_line_starts_are_doubled_across_pieces() {
        assert_eq!(stuffed(&[".a\r\n..b.\r\n.\r\n"]), "..a\r\n...b.\r\n..\r\n.\r\n");
        assert_eq!(stuffed(&["a\r", "\n", ".b", "\r\n.", "c"]), "a\r\n..b\r\n..c\r\n.\r\n");
        assert_eq!(stuffed(&["a\n.b"]), "a\n.b\r\n.\r\n");
        assert_eq!(stuffed(&[]), ".\r\n");
    }

    #[test]
    fn plain_pieces_are_not_cut() {
        let (mut stuffer, mut out) = (Stuffer::default(), VecDeque::new());
        let piece = Bytes::from_static(b"a. b\r\nc.d\r\n");
        stuffer.stuff(piece.clone(), &mut out);
        assert_eq!(out, [piece]);
    }
}
