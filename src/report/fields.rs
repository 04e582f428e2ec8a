//! Header and status fields that nothing a stranger wrote can end or add to.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use posthorn_mime::date_text;

/// Where lines are folded when there is a space.
const WIDTH: usize = 76;
/// Where a word without spaces is broken; RFC 5322 §2.1.1 allows 998.
const WORD: usize = 900;
/// Longer values are cut.
const VALUE: usize = 4096;

/// Fields being written.
pub(crate) struct FieldWriter {
    text: String,
    utf8: bool,
}

impl FieldWriter {
    /// `utf8`: whether fields may hold UTF-8; else `?` stands for it.
    pub(crate) fn new(utf8: bool) -> Self {
        Self { text: String::with_capacity(1024), utf8 }
    }

    /// Writes a field with its CRLF, folded; white space in the value becomes single spaces.
    pub(crate) fn put(&mut self, name: &str, value: &str) {
        self.text.push_str(name);
        self.text.push(':');
        let mut width = name.len() + 1;
        for word in plain(value, self.utf8).split(' ').filter(|word| !word.is_empty()) {
            let mut rest = word;
            loop {
                let (piece, more) = rest.split_at(rest.floor_char_boundary(WORD));
                if width > name.len() + 1 && width + 1 + piece.len() > WIDTH {
                    self.text.push_str("\r\n");
                    width = 0;
                }
                self.text.push(' ');
                self.text.push_str(piece);
                width += 1 + piece.len();
                if more.is_empty() {
                    break;
                }
                rest = more;
            }
        }
        self.text.push_str("\r\n");
    }

    /// Writes a field that holds a moment.
    pub(crate) fn put_date(&mut self, name: &str, date: DateTime<Utc>) {
        self.put(name, &date_text(date));
    }

    /// Writes a field with lines of its own making, already folded and clean.
    pub(crate) fn put_raw(&mut self, name: &str, value: &str) {
        let _infallible = write!(self.text, "{name}: {value}\r\n");
    }

    /// Writes an address with its type (RFC 3464 §2.3.2, RFC 6533 §3).
    pub(crate) fn put_address(&mut self, name: &str, address: &str) {
        let value = match (address.is_ascii(), self.utf8) {
            (true, _) => format!("rfc822; {address}"),
            (false, true) => format!("utf-8; {address}"),
            (false, false) => format!("utf-8; {}", escaped(address)),
        };
        self.put(name, &value);
    }

    /// A blank line, which ends a group of fields.
    pub(crate) fn end(&mut self) {
        self.text.push_str("\r\n");
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// `utf-8-addr-xtext` (RFC 6533 §3): what is not ASCII as `\x{…}`.
pub(crate) fn escaped(address: &str) -> String {
    let mut text = String::with_capacity(address.len() * 2);
    for c in address.chars() {
        if c.is_ascii_graphic() && !matches!(c, '\\' | '+' | '=') {
            text.push(c);
        } else {
            let _infallible = write!(text, "\\x{{{:X}}}", u32::from(c));
        }
    }
    text
}

/// Reads `utf-8-addr-xtext`; what is not well formed stays as it is.
pub(crate) fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x{") {
        plain.push_str(before);
        let decoded = after.split_once('}').and_then(|(hex, behind)| {
            let c = u32::from_str_radix(hex, 16).ok().and_then(char::from_u32).filter(|c| !c.is_control())?;
            Some((c, behind))
        });
        match decoded {
            Some((c, behind)) => {
                plain.push(c);
                rest = behind;
            }
            None => {
                plain.push_str("\\x{");
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

/// Text on one line: control characters become spaces, characters beyond the repertoire `?`.
pub(crate) fn plain(text: &str, utf8: bool) -> String {
    let cut = &text[..text.floor_char_boundary(VALUE)];
    let clean = |c: char| match c {
        c if c.is_control() => ' ',
        c if c.is_ascii() || utf8 => c,
        _ => '?',
    };
    cut.chars().map(clean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use posthorn_mime::{fields, header_fault};

    fn put(value: &str, utf8: bool) -> String {
        let mut writer = FieldWriter::new(utf8);
        writer.put("Diagnostic-Code", value);
        writer.into_text()
    }

    #[test]
    fn strangers_cannot_leave_their_field() {
        for value in ["a\r\nX: y", "a\n\nX: y", "a\r\n\r\n--boundary--", "\0\x0b\x7f", "\u{85}a\u{2028}b", "", "   "] {
            for utf8 in [true, false] {
                let text = put(value, utf8);
                assert_eq!(fields(text.as_bytes()).count(), 1, "{text:?}");
                assert_eq!(header_fault(text.as_bytes()), None, "{text:?}");
                assert!(utf8 || text.is_ascii());
            }
        }
    }

    #[test]
    fn long_values_are_folded_broken_and_cut() {
        let text = put(&"word ".repeat(100), false);
        assert!(text.split("\r\n").all(|line| line.len() <= WIDTH), "{text}");
        let text = put(&"ä".repeat(100_000), true);
        assert!(text.len() < 5000 && text.split("\r\n").all(|line| line.len() < 998), "{}", text.len());
        assert_eq!(fields(text.as_bytes()).count(), 1);
    }

    #[test]
    fn addresses_have_their_type() {
        let address = |address: &str, utf8| {
            let mut writer = FieldWriter::new(utf8);
            writer.put_address("Final-Recipient", address);
            writer.into_text()
        };
        assert_eq!(address("bob@example.org", true), "Final-Recipient: rfc822; bob@example.org\r\n");
        assert_eq!(address("grün@example.org", true), "Final-Recipient: utf-8; grün@example.org\r\n");
        assert_eq!(address("grün@example.org", false), "Final-Recipient: utf-8; gr\\x{FC}n@example.org\r\n");
    }

    #[test]
    fn escapes_return() {
        for address in ["grün@example.org", "a+b=c\\d@example.org", "日本@例え.テスト", "plain@example.org"] {
            assert_eq!(unescaped(&escaped(address)), address);
        }
        for text in ["\\x{", "\\x{zz}", "\\x{D800}", "a\\x{110000}b", "\\x{0A}"] {
            assert_eq!(unescaped(text), text);
        }
    }
}
