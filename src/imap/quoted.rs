//! Numbers, sets and strings as responses write them (RFC 9051 §4.2, §4.3).

use bytes::BytesMut;
use posthorn_model::NumberSet;

/// Beyond this many octets a string goes as a literal: clients limit their line length.
const QUOTED_LIMIT: usize = 1024;

/// Writes a decimal number.
pub(crate) fn put_number(out: &mut BytesMut, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Writes a set as `1:3,7`.
pub(crate) fn put_set(out: &mut BytesMut, set: &NumberSet) {
    for (at, range) in set.ranges().enumerate() {
        if at > 0 {
            out.extend_from_slice(b",");
        }
        put_number(out, (*range.start()).into());
        if range.start() != range.end() {
            out.extend_from_slice(b":");
            put_number(out, (*range.end()).into());
        }
    }
}

/// Announces a literal of that many octets; they follow.
pub(crate) fn put_literal_start(out: &mut BytesMut, size: u64) {
    out.extend_from_slice(b"{");
    put_number(out, size);
    out.extend_from_slice(b"}\r\n");
}

/// Writes a string: quoted when it can be, else as a literal. `utf8` says whether the client takes UTF-8 in quotes
/// (RFC 6855 §3, RFC 9051 §4.3).
pub(crate) fn put_string(out: &mut BytesMut, text: &[u8], utf8: bool) {
    let quotable = |octet: &u8| match octet {
        0 | b'\r' | b'\n' => false,
        128.. => utf8,
        _ => true,
    };
    if text.len() > QUOTED_LIMIT || !text.iter().all(quotable) || (utf8 && std::str::from_utf8(text).is_err()) {
        put_literal_start(out, text.len() as u64);
        out.extend_from_slice(text);
        return;
    }
    out.extend_from_slice(b"\"");
    let mut rest = text;
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[b'\\', rest[at]]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(b"\"");
}

/// Writes a string without quotes where it is an atom that is not `NIL`, else as [`put_string`] does.
pub(crate) fn put_astring(out: &mut BytesMut, text: &[u8], utf8: bool) {
    if !text.is_empty() && text.iter().all(|&octet| is_atom(octet)) && !text.eq_ignore_ascii_case(b"NIL") {
        out.extend_from_slice(text);
    } else {
        put_string(out, text, utf8);
    }
}

/// Writes one line of text for people: what could end the line or the session is left out.
pub(crate) fn put_text(out: &mut BytesMut, text: &str) {
    if text.bytes().all(|octet| octet >= b' ' && octet != 127) {
        out.extend_from_slice(text.as_bytes());
    } else {
        out.extend(text.bytes().filter(|&octet| octet >= b' ' && octet != 127));
    }
}

/// RFC 9051 §9 `ATOM-CHAR`.
pub(crate) const fn is_atom(octet: u8) -> bool {
    octet.is_ascii_graphic() && !matches!(octet, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn numbers_to_the_last_digit() {
        for number in [0, 7, 10, 99, 100, 4_294_967_295, u64::MAX] {
            assert_eq!(written(|out| put_number(out, number)), number.to_string());
        }
    }

    #[test]
    fn sets_are_written_as_they_display() {
        let set: NumberSet = [1, 2, 3, 7, 9, 10].into_iter().collect();
        assert_eq!(written(|out| put_set(out, &set)), set.to_string());
    }

    #[test]
    fn strings_are_quoted_or_counted() {
        assert_eq!(written(|out| put_string(out, b"a\"b\\c", false)), "\"a\\\"b\\\\c\"");
        assert_eq!(written(|out| put_string(out, b"", false)), "\"\"");
        assert_eq!(written(|out| put_string(out, b"a\r\nb", false)), "{4}\r\na\r\nb");
        assert_eq!(written(|out| put_string(out, "ä".as_bytes(), false)), "{2}\r\nä");
        assert_eq!(written(|out| put_string(out, "ä".as_bytes(), true)), "\"ä\"");
        assert!(written(|out| put_string(out, &[0xFF], true)).starts_with("{1}\r\n"));
        assert!(written(|out| put_string(out, &[b'a'; 1025], false)).starts_with("{1025}\r\n"));
    }

    #[test]
    fn atoms_stay_bare_but_nil() {
        assert_eq!(written(|out| put_astring(out, b"INBOX", false)), "INBOX");
        assert_eq!(written(|out| put_astring(out, b"nil", false)), "\"nil\"");
        assert_eq!(written(|out| put_astring(out, b"a b", false)), "\"a b\"");
        assert_eq!(written(|out| put_astring(out, b"", false)), "\"\"");
    }

    #[test]
    fn text_stays_on_its_line() {
        assert_eq!(written(|out| put_text(out, "a\r\n* BYE\u{7f}")), "a* BYE");
    }
}
