//! Body hashes of DKIM signatures (RFC 6376 §3.4 and §3.7).

use aws_lc_rs::digest;
use memchr::memchr2;

/// How a body is made insensitive to changes on its way (RFC 6376 §3.4): the second half of a signature's `c=`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Canonicalization {
    /// Runs of spaces and tabs count as one space, and as none at the end of a line (RFC 6376 §3.4.4).
    Relaxed,
    /// Only empty lines at the end do not count (RFC 6376 §3.4.3).
    Simple,
}

/// The SHA-256 hash of a body, what a signature's `bh=` holds before base64.
///
/// Lines end in CRLF; a bare CR or LF is content. `length` is a signature's `l=`, in octets of the canonical body;
/// where it is more than there is, all is hashed (and the signature is wrong, RFC 6376 §3.5).
#[must_use]
pub fn body_hash(canonicalization: Canonicalization, body: &[u8], length: Option<u64>) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(hash_of(canonicalization, body, length).as_ref());
    hash
}

fn hash_of(canonicalization: Canonicalization, body: &[u8], length: Option<u64>) -> digest::Digest {
    let mut sink = Sink { context: digest::Context::new(&digest::SHA256), left: length.unwrap_or(u64::MAX) };
    let content = content(canonicalization, body);
    match canonicalization {
        Canonicalization::Relaxed => write_relaxed(content, &mut sink),
        Canonicalization::Simple => sink.write(content),
    }
    // An empty body is one empty line when simple, and nothing when relaxed.
    let nothing = content.is_empty() && canonicalization == Canonicalization::Relaxed;
    if !content.ends_with(b"\r\n") && !nothing {
        sink.write(b"\r\n");
    }
    sink.context.finish()
}

/// The body up to and with its last line that is not blank: not empty or, when relaxed, not of whitespace alone.
fn content(canonicalization: Canonicalization, body: &[u8]) -> &[u8] {
    let mut kept = body.len();
    let mut line_end = kept;
    loop {
        let line = &body[..line_end];
        let line = match canonicalization {
            Canonicalization::Relaxed => without_final_wsp(line),
            Canonicalization::Simple => line,
        };
        if line.is_empty() {
            return line;
        }
        if !line.ends_with(b"\r\n") {
            return &body[..kept];
        }
        kept = line.len();
        line_end = kept - 2;
    }
}

/// Content with its whitespace reduced, in pieces as long as they can be.
fn write_relaxed(content: &[u8], sink: &mut Sink) {
    let mut rest = content;
    let mut searched = 0;
    while let Some(at) = memchr2(b' ', b'\t', &rest[searched..]).map(|at| at + searched) {
        let behind = without_leading_wsp(&rest[at..]);
        let visible = !behind.is_empty() && !behind.starts_with(b"\r\n");
        if visible && rest[at] == b' ' && behind.len() == rest.len() - at - 1 {
            // One space between words stays as it is.
            searched = at + 1;
            continue;
        }
        sink.write(&rest[..at]);
        if visible {
            sink.write(b" ");
        }
        rest = behind;
        searched = 0;
    }
    sink.write(rest);
}

/// `WSP` is space and tab only (RFC 6376 §2.8).
fn without_final_wsp(mut text: &[u8]) -> &[u8] {
    while let [shorter @ .., b' ' | b'\t'] = text {
        text = shorter;
    }
    text
}

fn without_leading_wsp(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', shorter @ ..] = text {
        text = shorter;
    }
    text
}

/// A hash that takes no more octets than `l=` allows.
struct Sink {
    context: digest::Context,
    left: u64,
}

impl Sink {
    fn write(&mut self, octets: &[u8]) {
        let taken = usize::try_from(self.left).map_or(octets.len(), |left| octets.len().min(left));
        self.context.update(&octets[..taken]);
        self.left -= taken as u64;
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};

    use super::*;
    use Canonicalization::{Relaxed, Simple};

    fn sha256(canonical: &[u8]) -> [u8; 32] {
        digest::digest(&digest::SHA256, canonical).as_ref().try_into().expect("32 octets")
    }

    /// Canonical bodies written down by hand from RFC 6376 §3.4.
    #[test]
    fn bodies_are_canonical() {
        for (body, relaxed, simple) in [
            ("", "", "\r\n"),
            ("\r\n", "", "\r\n"),
            ("\r\n\r\n\r\n", "", "\r\n"),
            (" \t", "", " \t\r\n"),
            (" \r\n\t\r\n", "", " \r\n\t\r\n"),
            ("a", "a\r\n", "a\r\n"),
            ("a\r\n", "a\r\n", "a\r\n"),
            ("a\r\n\r\n\r\n", "a\r\n", "a\r\n"),
            ("a\r\n \r\n", "a\r\n", "a\r\n \r\n"),
            ("a\r\n\t \r\n\r\n \r\n", "a\r\n", "a\r\n\t \r\n\r\n \r\n"),
            ("a\r\n ", "a\r\n", "a\r\n \r\n"),
            ("a  ", "a\r\n", "a  \r\n"),
            ("a \r\nb", "a\r\nb\r\n", "a \r\nb\r\n"),
            ("\r\n \r\na", "\r\n\r\na\r\n", "\r\n \r\na\r\n"),
            // RFC 6376 §3.4.5.
            (" C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n", " C \r\nD \t E\r\n"),
            ("a b  c\td \te\r\n", "a b c d e\r\n", "a b  c\td \te\r\n"),
            ("a \rb \nc\n\r\n", "a \rb \nc\n\r\n", "a \rb \nc\n\r\n"),
        ] {
            assert_eq!(body_hash(Relaxed, body.as_bytes(), None), sha256(relaxed.as_bytes()), "relaxed {body:?}");
            assert_eq!(body_hash(Simple, body.as_bytes(), None), sha256(simple.as_bytes()), "simple {body:?}");
        }
    }

    /// The empty body's hashes as RFC 6376 §3.4.3 and §3.4.4 print them.
    #[test]
    fn empty_bodies_hash_as_printed() {
        assert_eq!(STANDARD.encode(body_hash(Simple, b"", None)), "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=");
        assert_eq!(STANDARD.encode(body_hash(Relaxed, b"", None)), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }

    #[test]
    fn lengths_count_canonical_octets() {
        let body = b"a  b \r\nc\r\n\r\n";
        for (length, expected) in [
            (0, &b""[..]),
            (1, b"a"),
            (2, b"a "),
            (3, b"a b"),
            (5, b"a b\r\n"),
            (8, b"a b\r\nc\r\n"),
            (99, b"a b\r\nc\r\n"),
        ] {
            assert_eq!(body_hash(Relaxed, body, Some(length)), sha256(expected), "{length}");
        }
    }
}
