//! Relaxed header canonicalization (RFC 6376 §3.4.2), and the choice of fields that signatures cover.

use posthorn_mime::{Field, fields};

/// Fields that are signed once more than they are there, so that nobody can add another (RFC 6376 §8.15).
const OVERSIGNED: &[&str] = &[
    "from",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "reply-to",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
];

/// Fields that are signed where they are, and that somebody on the way may rightly add.
const SIGNED: &[&str] = &[
    "sender",
    "content-id",
    "content-description",
    "content-disposition",
    "content-language",
    "list-id",
    "list-help",
    "list-post",
    "list-owner",
    "list-archive",
    "list-subscribe",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "auto-submitted",
    "feedback-id",
    "autocrypt",
];

/// The header fields of a message that a signature covers.
pub(crate) struct Covered {
    /// The value of `h=`, folded.
    pub(crate) names: String,
    /// The fields in the order of `names`, each canonical with its CRLF.
    pub(crate) canonical: Vec<u8>,
}

/// Chooses the fields of a header; `also` are further names that are signed where they are.
pub(crate) fn cover(header: &[u8], also: &[&str]) -> Covered {
    let all: Vec<Field<'_>> = fields(header).filter(|field| !field.name.is_empty()).collect();
    let mut covered = Covered { names: String::with_capacity(320), canonical: Vec::with_capacity(header.len()) };
    let mut width = 3;
    let mut name_it = |names: &mut String, name: &str| {
        if !names.is_empty() {
            names.push(':');
        }
        width += name.len() + 1;
        if width > 76 {
            names.push_str("\r\n\t ");
            width = name.len() + 3;
        }
        names.push_str(name);
    };
    for (list, extra) in [(OVERSIGNED, true), (SIGNED, false), (also, false)] {
        for name in list {
            // The lowest instance comes first (RFC 6376 §5.4.2).
            for field in all.iter().rev().filter(|field| field.is(name)) {
                name_it(&mut covered.names, name);
                relaxed(field, &mut covered.canonical);
            }
            if extra {
                name_it(&mut covered.names, name);
            }
        }
    }
    covered
}

/// Appends a field in canonical form with its CRLF.
pub(crate) fn relaxed(field: &Field<'_>, to: &mut Vec<u8>) {
    to.extend(field.name.iter().map(u8::to_ascii_lowercase));
    to.push(b':');
    let (mut started, mut gap) = (false, false);
    for (at, &b) in field.value.iter().enumerate() {
        let folds = (b == b'\r' && field.value.get(at + 1) == Some(&b'\n'))
            || (b == b'\n' && at > 0 && field.value[at - 1] == b'\r');
        match b {
            b' ' | b'\t' => gap = true,
            _ if folds => {}
            b => {
                if gap && started {
                    to.push(b' ');
                }
                (started, gap) = (true, false);
                to.push(b);
            }
        }
    }
    to.extend_from_slice(b"\r\n");
}

/// A field of our own, whose last tag is `b=` without a value, as it enters its own hash: canonical, without CRLF.
pub(crate) fn unsigned(text: &str) -> Vec<u8> {
    let mut canonical = Vec::with_capacity(text.len());
    for field in fields(text.as_bytes()) {
        relaxed(&field, &mut canonical);
    }
    canonical.truncate(canonical.len().saturating_sub(2));
    canonical
}

/// Base64 behind a `b=` in lines of 72 octets, and the field's CRLF.
pub(crate) fn put_signature(field: &mut String, base64: &str) {
    for at in (0..base64.len()).step_by(72) {
        field.push_str(if at == 0 { "" } else { "\r\n\t " });
        field.push_str(&base64[at..base64.len().min(at + 72)]);
    }
    field.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6376 §3.4.5, and folding.
    #[test]
    fn fields_are_relaxed() {
        for (field, canonical) in [
            ("A: X\r\n", "a:X\r\n"),
            ("B : Y\t\r\n\tZ  \r\n", "b:Y Z\r\n"),
            ("Subject:\r\n a\r\n\t b \t c\r\n", "subject:a b c\r\n"),
            ("Empty:\r\n", "empty:\r\n"),
            ("Empty: \r\n \r\n", "empty:\r\n"),
            ("X: a\rb\r\n", "x:a\rb\r\n"),
        ] {
            let mut out = Vec::new();
            fields(field.as_bytes()).for_each(|field| relaxed(&field, &mut out));
            assert_eq!(String::from_utf8(out).expect("ASCII"), canonical, "{field:?}");
        }
    }

    #[test]
    fn what_is_there_twice_is_signed_from_below_and_once_more() {
        let covered =
            cover(b"From: one\r\nX-Other: no\r\nFROM: two\r\nSender: three\r\n\r\nFrom: body\r\n", &["x-other"]);
        let names = covered.names.replace("\r\n\t ", "");
        assert!(names.starts_with("from:from:from:to:cc:"), "{names}");
        assert!(names.ends_with(":sender:x-other"), "{names}");
        assert_eq!(covered.canonical, b"from:two\r\nfrom:one\r\nsender:three\r\nx-other:no\r\n");
    }

    #[test]
    fn long_lists_are_folded() {
        let header = "From: a\r\n".repeat(100);
        let covered = cover(header.as_bytes(), &[]);
        assert!(covered.names.split("\r\n").all(|line| line.len() < 80), "{}", covered.names);
    }
}
