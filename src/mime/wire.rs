//! IMAP strings (RFC 9051 §4.3).

use std::io::Write as _;

/// Appends a string: quoted where it is printable ASCII, otherwise a literal.
pub(crate) fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    if text.iter().all(|&b| matches!(b, b' '..=b'~' | b'\t')) {
        out.push(b'"');
        if memchr::memchr2(b'"', b'\\', text).is_none() {
            out.extend_from_slice(text);
        } else {
            for &b in text {
                if matches!(b, b'"' | b'\\') {
                    out.push(b'\\');
                }
                out.push(b);
            }
        }
        out.push(b'"');
        return;
    }
    out.push(b'{');
    put_number(out, text.len());
    out.extend_from_slice(b"}\r\n");
    // A literal may hold everything but NUL (RFC 9051 §9 CHAR8).
    out.extend(text.iter().map(|&b| if b == 0 { b'?' } else { b }));
}

/// Appends a string, or NIL where there is none.
pub(crate) fn put_nstring(out: &mut Vec<u8>, text: Option<&[u8]>) {
    match text {
        Some(text) => put_string(out, text),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// Appends a decimal number.
pub(crate) fn put_number(out: &mut Vec<u8>, number: usize) {
    // Writing to a vector cannot fail.
    let _infallible = write!(out, "{number}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_or_literal() {
        let written = |text: &[u8]| {
            let mut out = Vec::new();
            put_string(&mut out, text);
            out
        };
        assert_eq!(written(b""), b"\"\"");
        assert_eq!(written(b"a\\\"b"), b"\"a\\\\\\\"b\"");
        assert_eq!(written(b"a\r\nb"), b"{4}\r\na\r\nb");
        assert_eq!(written(b"\xe4"), b"{1}\r\n\xe4");
        assert_eq!(written(b"a\0"), b"{2}\r\na?");
    }
}
