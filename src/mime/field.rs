//! Header blocks as raw fields (RFC 5322 §2.2).

use std::borrow::Cow;

use crate::charset;

/// One raw field of a header block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Field<'a> {
    /// The name as written, without colon; empty for a line that has none.
    pub name: &'a [u8],
    /// What follows the colon, folding and white space included, without the last line end.
    pub value: &'a [u8],
    /// The whole field with its line ends.
    pub raw: &'a [u8],
}

impl<'a> Field<'a> {
    /// Whether the field bears this name, case folded.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value with line ends removed and outer white space trimmed.
    #[must_use]
    pub fn unfolded(&self) -> Cow<'a, [u8]> {
        let value = self.value.trim_ascii();
        if memchr::memchr2(b'\r', b'\n', value).is_none() {
            return Cow::Borrowed(value);
        }
        Cow::Owned(value.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect())
    }

    /// The value as text: unfolded, encoded words decoded (RFC 2047).
    #[must_use]
    pub fn text(&self) -> String {
        charset::words(&self.unfolded())
    }
}

/// The raw fields of a header block in order; see [`fields`].
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        if self.rest.is_empty() || blank_line(self.rest).is_some() {
            return None;
        }
        let field = first_field(self.rest);
        self.rest = &self.rest[field.raw.len()..];
        Some(field)
    }
}

/// Reads the fields of a header block, up to its blank line or the end of the bytes.
#[must_use]
pub fn fields(header: &[u8]) -> Fields<'_> {
    Fields { rest: header }
}

/// Where the header ends: the offset behind its blank line (CRLF or LF); `None` when no blank line has come yet.
#[must_use]
pub fn header_end(message: &[u8]) -> Option<usize> {
    if let Some(len) = blank_line(message) {
        return Some(len);
    }
    memchr::memchr_iter(b'\n', message).find_map(|at| blank_line(&message[at + 1..]).map(|len| at + 1 + len))
}

/// Whether a field of this name is there, case folded.
#[must_use]
pub fn has_header(header: &[u8], name: &str) -> bool {
    fields(header).any(|field| field.is(name))
}

/// How many fields of this name there are, case folded; of `Received` for loop detection (RFC 5321 §6.3).
#[must_use]
pub fn count_headers(header: &[u8], name: &str) -> usize {
    fields(header).filter(|field| field.is(name)).count()
}

/// The exact raw fields named (or with `not`, all others) in their order, and a CRLF blank line
/// (RFC 9051 §6.4.5.1 HEADER.FIELDS and HEADER.FIELDS.NOT).
#[must_use]
pub fn header_fields(header: &[u8], names: &[&str], not: bool) -> Vec<u8> {
    let mut chosen = Vec::new();
    for field in fields(header) {
        if names.iter().any(|name| field.is(name)) != not {
            chosen.extend_from_slice(field.raw);
            if !field.raw.ends_with(b"\n") {
                chosen.extend_from_slice(b"\r\n");
            }
        }
    }
    chosen.extend_from_slice(b"\r\n");
    chosen
}

/// The decoded values of every field of this name: unfolded, encoded words decoded; case as written.
pub fn header_text<'a>(header: &'a [u8], name: &'a str) -> impl Iterator<Item = String> + 'a {
    fields(header).filter(move |field| field.is(name)).map(|field| field.text())
}

/// The first place where a header block breaks RFC 5322 §2.2.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HeaderFault {
    /// Octets from the start of the block to the line at fault.
    pub offset: usize,
    /// The number of that line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub kind: HeaderFaultKind,
}

/// What is wrong with a header line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HeaderFaultKind {
    /// The first line is a continuation.
    Continuation,
    /// The line holds a NUL or a bare CR.
    Control,
    /// The name is empty or has characters that no name has (RFC 5322 §3.6.8).
    Name,
    /// The line has no colon and is not a continuation.
    NoColon,
}

/// Checks a header block up to its blank line; `None` when every line is sound. White space before the colon is
/// sound (RFC 5322 §4.5).
#[must_use]
pub fn header_fault(header: &[u8]) -> Option<HeaderFault> {
    let (mut offset, mut line) = (0, 0);
    while offset < header.len() {
        let rest = &header[offset..];
        if blank_line(rest).is_some() {
            return None;
        }
        line += 1;
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        if let Some(kind) = line_fault(line_content(&rest[..end]), line == 1) {
            return Some(HeaderFault { offset, line, kind });
        }
        offset += end;
    }
    None
}

/// The length of the blank line (CRLF or LF) that the bytes begin with.
pub(crate) fn blank_line(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'\n', ..] => Some(1),
        [b'\r', b'\n', ..] => Some(2),
        _ => None,
    }
}

/// The field that non-empty bytes begin with; it ends before a line that does not continue it.
pub(crate) fn first_field(bytes: &[u8]) -> Field<'_> {
    let stop = memchr::memchr2(b':', b'\n', bytes);
    let colon = stop.filter(|&at| bytes[at] == b':');
    let mut end = stop.unwrap_or(bytes.len());
    loop {
        let Some(at) = memchr::memchr(b'\n', &bytes[end..]) else {
            end = bytes.len();
            break;
        };
        end += at + 1;
        if !matches!(bytes.get(end), Some(b' ' | b'\t')) {
            break;
        }
    }
    let raw = &bytes[..end];
    let content = line_content(raw);
    match colon {
        Some(at) => Field { name: bytes[..at].trim_ascii_end(), value: content.get(at + 1..).unwrap_or(&[]), raw },
        None => Field { name: &[], value: content, raw },
    }
}

/// A line without its line end.
pub(crate) fn line_content(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn line_fault(content: &[u8], first: bool) -> Option<HeaderFaultKind> {
    if memchr::memchr2(b'\0', b'\r', content).is_some() {
        return Some(HeaderFaultKind::Control);
    }
    if matches!(content.first(), Some(b' ' | b'\t')) {
        return first.then_some(HeaderFaultKind::Continuation);
    }
    let Some(colon) = memchr::memchr(b':', content) else {
        return Some(HeaderFaultKind::NoColon);
    };
    let name = content[..colon].trim_ascii_end();
    (name.is_empty() || !name.iter().all(u8::is_ascii_graphic)).then_some(HeaderFaultKind::Name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] =
        b"Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n aus\r\n\tUlm\r\nTo : a@b\nno colon\r\nTO:c@d\r\n\r\nTo: body";

    #[test]
    fn fields_are_raw_and_unfold() {
        let all: Vec<_> = fields(HEADER).collect();
        assert_eq!(all.len(), 4);
        assert_eq!(all[0].raw, b"Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n aus\r\n\tUlm\r\n");
        assert_eq!(all[0].text(), "Grüße aus\tUlm");
        assert_eq!((all[1].name, all[1].value), (&b"To"[..], &b" a@b"[..]));
        assert_eq!((all[2].name, all[2].value), (&b""[..], &b"no colon"[..]));
        assert_eq!(header_text(HEADER, "to").collect::<Vec<_>>(), ["a@b", "c@d"]);
        assert_eq!(count_headers(HEADER, "to"), 2);
        assert!(has_header(HEADER, "SUBJECT") && !has_header(HEADER, "From"));
    }

    #[test]
    fn chosen_fields_end_with_a_blank_line() {
        assert_eq!(header_fields(HEADER, &["to"], false), b"To : a@b\nTO:c@d\r\n\r\n");
        assert_eq!(header_fields(HEADER, &["to", "subject"], true), b"no colon\r\n\r\n");
        assert_eq!(header_fields(b"A: b", &["A"], false), b"A: b\r\n\r\n");
        assert_eq!(header_fields(b"", &["A"], false), b"\r\n");
    }

    #[test]
    fn the_header_ends_behind_the_first_blank_line() {
        assert_eq!(header_end(b"A: b\r\n\r\nbody"), Some(8));
        assert_eq!(header_end(b"A: b\n\nbody\r\n\r\n"), Some(6));
        assert_eq!(header_end(b"\r\nbody"), Some(2));
        assert_eq!(header_end(b"A: b\r\n"), None);
        assert_eq!(header_end(b"A: b\r\n\r"), None);
        assert_eq!(header_end(b""), None);
    }

    #[test]
    fn the_first_fault_is_reported_with_its_place() {
        use HeaderFaultKind::{Continuation, Control, Name, NoColon};
        let fault = |header: &[u8]| header_fault(header).map(|fault| (fault.offset, fault.line, fault.kind));
        assert_eq!(fault(b"A: b\r\n c\r\nB : d\r\n\r\nno colon"), None);
        assert_eq!(fault(b"A: b\r\nno colon\r\n\r\n"), Some((6, 2, NoColon)));
        assert_eq!(fault(b" A: b\r\n"), Some((0, 1, Continuation)));
        assert_eq!(fault(b": b\r\n"), Some((0, 1, Name)));
        assert_eq!(fault("Ä: b\r\n".as_bytes()), Some((0, 1, Name)));
        assert_eq!(fault(b"A: b\rc\r\n"), Some((0, 1, Control)));
        assert_eq!(fault(b"A: b\r\nB: \0\r\n"), Some((6, 2, Control)));
    }
}
