//! What is wrong with a header (RFC 5322, RFC 2045), in the eight classes that Amavis has for bad headers.

use std::ops::Range;

use posthorn_mime::{Encoding, Field, Part, fields, parse_date};

use crate::Contents;

/// A class of flaws, in the order of Amavis' minor codes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum HeaderClass {
    /// 1: the MIME form of the message or of a part is broken.
    Mime,
    /// 2: octets above 127. Sound where the message is internationalized (RFC 6532) and they are UTF-8.
    EightBit,
    /// 3: a NUL, or a CR that ends no line.
    Control,
    /// 4: a folded line of nothing but white space (RFC 5322 §3.2.2).
    BlankFold,
    /// 5: a line of more than 998 octets (RFC 5322 §2.1.1).
    LongLine,
    /// 6: a line that is no field, or a date that is none.
    Syntax,
    /// 7: a field is missing that every message has (RFC 5322 §3.6).
    Missing,
    /// 8: a field comes twice that no message has twice (RFC 5322 §3.6).
    Duplicate,
}

/// One flaw.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HeaderFlaw {
    /// What sort of flaw it is.
    pub class: HeaderClass,
    /// The field's name as written, cut to 78 characters; for a missing field the one that is missing.
    pub field: String,
    /// The line of the message, from 1; of a missing field the line where the header ends.
    pub line: usize,
    /// What is wrong.
    pub what: &'static str,
}

impl HeaderClass {
    /// The minor code, 1 to 8.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8 + 1
    }
}

/// What a text says that is UTF-8 where none may be: sound in an internationalized message.
const UTF8: &str = "UTF-8 that is not encoded";

impl HeaderFlaw {
    /// Whether it is none in a message that came with SMTPUTF8 (RFC 6532).
    #[must_use]
    pub fn is_internationalized(&self) -> bool {
        self.what == UTF8
    }
}

/// Fields that are there at most once (RFC 5322 §3.6, RFC 2045 §3).
const ONCE: [&str; 15] = [
    "date",
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "bcc",
    "message-id",
    "in-reply-to",
    "references",
    "subject",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "content-disposition",
];

/// Fields that every message has (RFC 5322 §3.6).
const REQUIRED: [&str; 2] = ["Date", "From"];

/// Octets of a line without its end (RFC 5322 §2.1.1).
const LINE_LIMIT: usize = 998;

/// What is wrong with a message's header, classes 2 to 8, in the order of its lines; at most as many as wanted.
#[must_use]
pub fn header_flaws(header: &[u8], at_most: usize) -> Vec<HeaderFlaw> {
    let mut flaws = Vec::new();
    let mut seen = [false; ONCE.len()];
    let mut line = 1;
    for field in fields(header) {
        if flaws.len() >= at_most {
            return flaws;
        }
        of_lines(&field, line, &mut flaws);
        if let Some(place) = ONCE.iter().position(|name| field.is(name)) {
            if std::mem::replace(&mut seen[place], true) {
                flaws.push(HeaderFlaw::of(&field, HeaderClass::Duplicate, line, "the field is there already"));
            }
            if place == 0 && !is_date(&field) {
                flaws.push(HeaderFlaw::of(&field, HeaderClass::Syntax, line, "no date"));
            }
        }
        line += memchr::memchr_iter(b'\n', field.raw).count();
    }
    for required in REQUIRED {
        if !ONCE.iter().zip(seen).any(|(name, seen)| seen && required.eq_ignore_ascii_case(name)) {
            let what = "every message has this field";
            flaws.push(HeaderFlaw { class: HeaderClass::Missing, field: required.to_owned(), line, what });
        }
    }
    flaws.truncate(at_most);
    flaws
}

/// All classes for a message that was walked.
pub(crate) fn of_message(contents: &mut Contents, at_most: usize) {
    let octets = contents.octets.clone();
    let mut flaws = header_flaws(octets.get(..contents.structure.header_size()).unwrap_or_default(), at_most);
    for part in contents.structure.parts() {
        if flaws.len() >= at_most {
            break;
        }
        of_part(part, &octets, &mut flaws);
    }
    flaws.sort_by_key(|flaw| flaw.line);
    flaws.truncate(at_most);
    contents.flaws = flaws;
}

impl HeaderFlaw {
    fn of(field: &Field<'_>, class: HeaderClass, line: usize, what: &'static str) -> Self {
        // What has no name is shown by how it begins.
        let shown = if field.name.is_empty() { field.raw } else { field.name };
        let shown: String =
            String::from_utf8_lossy(&shown[..shown.len().min(78)]).chars().filter(|c| !c.is_control()).collect();
        Self { class, field: shown, line, what }
    }
}

fn of_lines(field: &Field<'_>, first: usize, flaws: &mut Vec<HeaderFlaw>) {
    let mut flaw = |class, line, what| flaws.push(HeaderFlaw::of(field, class, line, what));
    if field.name.is_empty() {
        flaw(HeaderClass::Syntax, first, "no field: nothing is in front of a colon");
    } else if matches!(field.raw.first(), Some(b' ' | b'\t')) {
        flaw(HeaderClass::Syntax, first, "the header begins with a continuation");
    } else if !field.name.iter().all(|b| b.is_ascii_graphic() || *b >= 0x80) {
        flaw(HeaderClass::Syntax, first, "white space in the field's name");
    }
    let foreign = field.raw.iter().position(|b| *b >= 0x80);
    let mut rest = field.raw;
    let (mut line, mut blank) = (first, None);
    let (mut eight_bit, mut control, mut long) = (None, None, None);
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (whole, tail) = rest.split_at(end);
        let content = whole.strip_suffix(b"\n").unwrap_or(whole);
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        if foreign.is_some() && eight_bit.is_none() && !content.is_ascii() {
            eight_bit = Some(line);
        }
        if control.is_none() && memchr::memchr2(b'\0', b'\r', content).is_some() {
            control = Some(line);
        }
        if blank.is_none() && line > first && content.trim_ascii().is_empty() {
            blank = Some(line);
        }
        if long.is_none() && content.len() > LINE_LIMIT {
            long = Some(line);
        }
        (line, rest) = (line + 1, tail);
    }
    if let Some(line) = eight_bit {
        let what = if str::from_utf8(field.raw).is_ok() { UTF8 } else { "octets above 127 that are not UTF-8" };
        flaw(HeaderClass::EightBit, line, what);
    }
    if let Some(line) = control {
        flaw(HeaderClass::Control, line, "a NUL, or a CR that ends no line");
    }
    if let Some(line) = blank {
        flaw(HeaderClass::BlankFold, line, "a folded line of white space alone");
    }
    if let Some(line) = long {
        flaw(HeaderClass::LongLine, line, "a line of more than 998 octets");
    }
}

fn is_date(field: &Field<'_>) -> bool {
    str::from_utf8(&field.unfolded()).is_ok_and(|text| parse_date(text.as_bytes()).is_some())
}

/// Class 1: what a part says of itself against what it is.
fn of_part(part: Part<'_>, octets: &[u8], flaws: &mut Vec<HeaderFlaw>) {
    let header = part.header_range();
    let composite = part.media_type() == "multipart" || part.message().is_some();
    let mut flaw = |name: &'static str, what| {
        let (field, line) = place(octets, header.clone(), name);
        flaws.push(HeaderFlaw { class: HeaderClass::Mime, field, line, what });
    };
    match part.encoding() {
        Encoding::Other => flaw("Content-Transfer-Encoding", "an encoding that is not known"),
        Encoding::Base64 | Encoding::QuotedPrintable if composite => {
            flaw("Content-Transfer-Encoding", "a multipart or message may not be encoded");
        }
        _ => {}
    }
    // What is no type, and a multipart without parts, counts as plain text; the field itself says more.
    if (part.media_type(), part.media_subtype()) == ("text", "plain")
        && let Some(what) = wrong_type(octets.get(header.clone()).unwrap_or_default())
    {
        flaw("Content-Type", what);
    }
}

fn wrong_type(header: &[u8]) -> Option<&'static str> {
    let field = fields(header).find(|field| field.is("Content-Type"))?;
    let value = field.unfolded().to_ascii_lowercase();
    if value.starts_with(b"multipart/") {
        let named = memchr::memmem::find(&value, b"boundary").is_some();
        return Some(if named { "a multipart whose boundary never comes" } else { "a multipart without boundary" });
    }
    // Comments may stand in front, with a slash in them or behind them.
    (memchr::memchr2(b'/', b'(', &value).is_none()).then_some("a type that is none")
}

/// A field of a part's header as written, and its line in the message; the line where the header begins if it is not
/// there.
fn place(octets: &[u8], header: Range<usize>, name: &str) -> (String, usize) {
    let block = octets.get(header.clone()).unwrap_or_default();
    let mut offset = header.start;
    let mut shown = name.to_owned();
    let found = fields(block).find(|field| {
        let this = field.is(name);
        if !this {
            offset += field.raw.len();
        }
        this
    });
    match found {
        Some(field) => shown = String::from_utf8_lossy(field.name).into_owned(),
        None => offset = header.start,
    }
    (shown, 1 + memchr::memchr_iter(b'\n', octets.get(..offset).unwrap_or_default()).count())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::Limits;

    const SOUND: &str = "Date: Sat, 21 Nov 2026 09:00:00 +0000\r\nFrom: a@example.org\r\n";

    fn flaws(message: &[u8]) -> Vec<(u8, String, usize)> {
        let contents = Contents::of(&Bytes::copy_from_slice(message), &Limits::default());
        contents.flaws().iter().map(|flaw| (flaw.class.code(), flaw.field.clone(), flaw.line)).collect()
    }

    #[test]
    fn each_class_is_found_with_its_field_and_line() {
        let long = format!("X-Long: {}", "x".repeat(1000));
        for (line, class, field, at) in [
            ("Content-Type: multipart/mixed", 1, "Content-Type", 3),
            ("Content-Transfer-Encoding: x-odd", 1, "Content-Transfer-Encoding", 3),
            ("content-type: oops", 1, "content-type", 3),
            ("Subject: gr\u{fc}n", 2, "Subject", 3),
            ("Subject: a\0b", 3, "Subject", 3),
            ("Subject: a\rb", 3, "Subject", 3),
            ("Subject: a\r\n \t\r\n b", 4, "Subject", 4),
            (long.as_str(), 5, "X-Long", 3),
            ("no colon", 6, "no colon", 3),
            ("a b: c", 6, "a b", 3),
            ("From: b@example.org", 8, "From", 3),
        ] {
            let message = format!("{SOUND}{line}\r\n\r\nbody\r\n");
            assert_eq!(flaws(message.as_bytes()), [(class, field.to_owned(), at)], "{line:?}");
        }
        assert_eq!(flaws(format!("{SOUND}\r\nb\u{fc}dy\r\n").as_bytes()), []);
        assert_eq!(flaws(b"Subject: x\r\n\r\n"), [(7, "Date".to_owned(), 2), (7, "From".to_owned(), 2)]);
        assert_eq!(flaws(b"Date: never\r\nFrom: x\r\n\r\n"), [(6, "Date".to_owned(), 1)]);
    }

    #[test]
    fn utf8_is_told_from_other_octets() {
        let of = |header: &[u8]| header_flaws(header, 9).remove(0);
        assert!(of("Subject: \u{fc}\r\n".as_bytes()).is_internationalized());
        assert!(!of(b"Subject: \xfc\r\n").is_internationalized());
    }

    #[test]
    fn flaws_of_parts_have_their_line_and_there_are_only_so_many() {
        let message = format!(
            "{SOUND}Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/mixed\r\n\r\nx\r\n--b--\r\n"
        );
        assert_eq!(flaws(message.as_bytes()), [(1, "Content-Type".to_owned(), 6)]);
        assert_eq!(header_flaws("x\r\n".repeat(1000).as_bytes(), 5).len(), 5);
    }
}
