//! Sections of a message (RFC 9051 §6.4.5.1).

use std::borrow::Cow;
use std::ops::Range;

use crate::{Structure, header_fields};

/// What of a part (or of the whole message, with an empty path) is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SectionPart<'a> {
    /// `BODY[]`, `BODY[1.2]`: everything of the message, the body of the part.
    Whole,
    /// `HEADER`: the header of the message or of the message/rfc822 part, with its blank line.
    Header,
    /// `HEADER.FIELDS`, or with `not` `HEADER.FIELDS.NOT`.
    HeaderFields {
        /// The field names, any case.
        names: &'a [&'a str],
        /// Whether all other fields are wanted.
        not: bool,
    },
    /// `TEXT`: the body of the message or of the message/rfc822 part.
    Text,
    /// `MIME`: the part's own header; needs a path.
    Mime,
}

/// The section's bytes. `raw` is the message, or its front as far as [`Structure::section_range`] needs it.
/// `None` when the message has no such section (or `raw` is too short).
#[must_use]
pub fn section<'r>(structure: &Structure, raw: &'r [u8], path: &[u32], part: SectionPart<'_>) -> Option<Cow<'r, [u8]>> {
    let bytes = raw.get(structure.section_range(path, part)?)?;
    Some(match part {
        SectionPart::HeaderFields { names, not } => Cow::Owned(header_fields(bytes, names, not)),
        _ => Cow::Borrowed(bytes),
    })
}

impl Structure {
    /// The octets of the message that a section is made from: the section itself, or for header fields the header
    /// block to choose from. `None` when there is no such section.
    #[must_use]
    pub fn section_range(&self, path: &[u32], part: SectionPart<'_>) -> Option<Range<usize>> {
        let named = self.part(path)?;
        let message = || if path.is_empty() { Some(named) } else { named.message() };
        match part {
            SectionPart::Whole if path.is_empty() => Some(0..self.size()),
            SectionPart::Whole => Some(named.body_range()),
            SectionPart::Header | SectionPart::HeaderFields { .. } => Some(message()?.header_range()),
            SectionPart::Text => Some(message()?.body_range()),
            SectionPart::Mime => (!path.is_empty()).then(|| named.header_range()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NESTED: &[u8] = b"Subject: out\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\npre\r\n--a\r\n\
        Content-Type: text/plain\r\n\r\none\r\n\r\n--a\r\nContent-Type: message/rfc822\r\n\r\n\
        Subject: in\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\ntwo\r\n--b\r\n\
        Content-Type: text/html\r\n\r\n<p>\r\n--b--\r\n\r\n--a\r\nContent-Type: message/rfc822\r\n\r\n\
        Subject: single\r\n\r\nbody\r\n--a--\r\npost";

    fn text(raw: &[u8], path: &[u32], part: SectionPart<'_>) -> Option<String> {
        section(&Structure::of(raw), raw, path, part).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    #[test]
    fn sections_are_the_exact_octets() {
        use SectionPart::{Header, Mime, Text, Whole};
        let inner = "Subject: in\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n";
        let inner_body = "--b\r\n\r\ntwo\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>\r\n--b--\r\n";
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(text(NESTED, &[], Whole).as_deref(), std::str::from_utf8(NESTED).ok());
        assert_eq!(text(NESTED, &[1], Whole), some("one\r\n"));
        assert_eq!(text(NESTED, &[1], Mime), some("Content-Type: text/plain\r\n\r\n"));
        assert_eq!(text(NESTED, &[1], Header), None);
        assert_eq!(text(NESTED, &[1], Text), None);
        assert_eq!(text(NESTED, &[], Mime), None);
        assert_eq!(text(NESTED, &[2], Whole), Some(format!("{inner}{inner_body}")));
        assert_eq!(text(NESTED, &[2], Header), some(inner));
        assert_eq!(text(NESTED, &[2], Text), some(inner_body));
        assert_eq!(text(NESTED, &[2], Mime), some("Content-Type: message/rfc822\r\n\r\n"));
        assert_eq!(text(NESTED, &[2, 1], Whole), some("two"));
        assert_eq!(text(NESTED, &[2, 1], Mime), some("\r\n"));
        assert_eq!(text(NESTED, &[2, 2], Whole), some("<p>"));
        assert_eq!(text(NESTED, &[3, 1], Whole), some("body"));
        assert_eq!(text(NESTED, &[3], Header), some("Subject: single\r\n\r\n"));
        for path in [&[0][..], &[4], &[1, 1], &[2, 3], &[3, 1, 1], &[3, 2], &[u32::MAX]] {
            assert_eq!(text(NESTED, path, Whole), None, "{path:?}");
        }
    }

    #[test]
    fn a_message_without_parts_is_its_own_part_one() {
        let raw = b"A: b\r\n\r\nbody\r\n";
        assert_eq!(text(raw, &[1], SectionPart::Whole).as_deref(), Some("body\r\n"));
        assert_eq!(text(raw, &[], SectionPart::Text).as_deref(), Some("body\r\n"));
        assert_eq!(text(raw, &[1], SectionPart::Mime).as_deref(), Some("A: b\r\n\r\n"));
        assert_eq!(text(raw, &[2], SectionPart::Whole), None);
        assert_eq!(text(raw, &[1, 1], SectionPart::Whole), None);
    }

    #[test]
    fn header_fields_need_only_the_header() {
        let structure = Structure::of(NESTED);
        let names = &["SUBJECT"];
        let fields = SectionPart::HeaderFields { names, not: false };
        let front = &NESTED[..structure.header_size()];
        assert_eq!(section(&structure, front, &[], fields).as_deref(), Some(&b"Subject: out\r\n\r\n"[..]));
        assert_eq!(section(&structure, front, &[2], fields), None);
        assert_eq!(section(&structure, NESTED, &[2], fields).as_deref(), Some(&b"Subject: in\r\n\r\n"[..]));
        let others = SectionPart::HeaderFields { names, not: true };
        assert_eq!(section(&structure, NESTED, &[3], others).as_deref(), Some(&b"\r\n"[..]));
    }
}
