//! The third part of a notification: the message that it is about, or its header.

use posthorn_model::Ret;

use crate::Notice;

/// Octets of header that come back.
const HEADER: usize = 64 << 10;
/// The longest line (RFC 5322 §2.1.1).
const LINE: usize = 998;

/// What comes back of a message.
pub(crate) struct Original {
    /// The media type.
    pub(crate) media: &'static str,
    /// The octets.
    pub(crate) octets: Vec<u8>,
}

impl Original {
    /// The whole message where that is asked for, somebody failed (RFC 3461 §5.3), and its lines can travel in any
    /// message; else its header.
    pub(crate) fn of(notice: &Notice<'_>, failed: bool) -> Self {
        let utf8 = notice.smtputf8;
        let mut header = header(notice.header);
        if failed && notice.ret == Ret::Full && is_lines(notice.text) && is_lines(notice.header) {
            let mut octets = Vec::with_capacity(notice.header.len() + notice.text.len() + 4);
            octets.extend_from_slice(notice.header.trim_ascii_end());
            octets.extend_from_slice(b"\r\n\r\n");
            octets.extend_from_slice(notice.text);
            return Self { media: if utf8 { "message/global" } else { "message/rfc822" }, octets };
        }
        header.extend_from_slice(b"\r\n");
        Self { media: if utf8 { "message/global-headers" } else { "text/rfc822-headers" }, octets: header }
    }
}

/// A header whose lines are sound: cut where they are too long, free of NUL and bare CR.
fn header(header: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(header.len().min(HEADER));
    for line in header.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if octets.len() + line.len() > HEADER || line.is_empty() {
            break;
        }
        octets.extend(line.iter().take(LINE).map(|b| if matches!(b, 0 | b'\r') { b'?' } else { *b }));
        octets.extend_from_slice(b"\r\n");
    }
    octets
}

/// Whether octets are lines that 8BITMIME carries (RFC 6152): no NUL, no bare CR or LF, none too long.
fn is_lines(octets: &[u8]) -> bool {
    let mut rest = octets;
    while !rest.is_empty() {
        let end = memchr::memchr3(b'\r', b'\n', 0, rest).unwrap_or(rest.len());
        if end > LINE {
            return false;
        }
        match &rest[end..] {
            [] => return true,
            [b'\r', b'\n', more @ ..] => rest = more,
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_come_back_whole() {
        let long = [&b"x".repeat(998)[..], b"\r\n"].concat();
        for good in [&b""[..], b"a\r\nb\r\n", b"no end", &long] {
            assert!(is_lines(good));
        }
        let longer = b"x".repeat(999);
        for bad in [&b"a\nb"[..], b"a\rb", b"a\0b", b"a\r\n\n", b"\r", &longer] {
            assert!(!is_lines(bad), "{bad:?}");
        }
    }

    #[test]
    fn headers_are_made_sound() {
        let odd = [b"A: b\nC: d\0\re\r\nX: ".to_vec(), b"y".repeat(2000), b"\r\n\r\nbody".to_vec()].concat();
        let sound = header(&odd);
        assert!(is_lines(&sound));
        assert!(sound.starts_with(b"A: b\r\nC: d??e\r\nX: yyy") && !sound.ends_with(b"body"));
    }
}
