//! Lines that end in CRLF and in nothing else.

use bytes::{Bytes, BytesMut};

/// What the front of a receive buffer holds.
#[derive(Debug, Eq, PartialEq)]
pub enum Line {
    /// A bare CR or bare LF inside the line, which ends nothing (RFC 5321 §2.3.8); the line, ended by CRLF, is consumed.
    Bare,
    /// A whole line, without its CRLF; consumed.
    Complete(Bytes),
    /// No line end yet.
    Partial,
    /// More than `limit` octets without a line end; nothing is consumed.
    TooLong,
}

/// Takes one line of at most `limit` octets (CRLF included) from the front of `buffer`.
pub fn take_line(buffer: &mut BytesMut, limit: usize) -> Line {
    let mut from = 0;
    let end = loop {
        match memchr::memchr(b'\n', &buffer[from..]) {
            None => return if buffer.len() > limit { Line::TooLong } else { Line::Partial },
            Some(at) if from + at > 0 && buffer[from + at - 1] == b'\r' => break from + at - 1,
            Some(at) => from += at + 1,
        }
    };
    if end + 2 > limit {
        return Line::TooLong;
    }
    let line = buffer.split_to(end).freeze();
    let _crlf = buffer.split_to(2);
    if memchr::memchr2(b'\r', b'\n', &line).is_some() { Line::Bare } else { Line::Complete(line) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &str, limit: usize) -> (Line, String) {
        let mut buffer = BytesMut::from(bytes);
        let line = take_line(&mut buffer, limit);
        (line, String::from_utf8_lossy(&buffer).into_owned())
    }

    #[test]
    fn only_crlf_ends_a_line() {
        assert_eq!(read("NOOP\r\nQ", 512), (Line::Complete("NOOP".into()), "Q".into()));
        assert_eq!(read("NOOP\nQUIT\r\nX", 512), (Line::Bare, "X".into()));
        assert_eq!(read("NO\rOP\r\nX", 512), (Line::Bare, "X".into()));
        assert_eq!(read("NOOP\n", 512), (Line::Partial, "NOOP\n".into()));
        assert_eq!(read("\r\n", 512), (Line::Complete("".into()), "".into()));
    }

    #[test]
    fn length_is_bounded_with_and_without_an_end() {
        assert_eq!(read("12345678\r\n", 10).0, Line::Complete("12345678".into()));
        assert_eq!(read("123456789\r\n", 10).0, Line::TooLong);
        assert_eq!(read("12345678901", 10).0, Line::TooLong);
    }
}
