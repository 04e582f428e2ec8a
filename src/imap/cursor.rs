//! Walking over one gathered command: the lexical grammar (RFC 9051 §9).

use std::borrow::Cow;

use crate::quoted::is_atom;
use crate::{Completion, ResponseCode};

/// What a command's text means depends on this.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Mode {
    /// UTF8=ACCEPT is enabled.
    pub(crate) utf8: bool,
    /// IMAP4rev2 is enabled.
    pub(crate) rev2: bool,
    /// QRESYNC is enabled.
    pub(crate) qresync: bool,
    /// How deep search keys may nest.
    pub(crate) search_depth: u32,
}

impl Mode {
    /// Whether mailbox names are UTF-8 rather than modified UTF-7.
    pub(crate) fn names_are_utf8(self) -> bool {
        self.utf8 || self.rev2
    }
}

/// Why a command cannot be taken.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// It does not follow the grammar.
    Bad(Cow<'static, str>),
    /// The text ends inside a literal.
    Incomplete,
    /// It does, but its text is in a character set that nobody here knows.
    Charset {
        /// Whether what it finds was to be saved.
        saves: bool,
    },
}

impl Fault {
    pub(crate) fn bad(text: &'static str) -> Self {
        Self::Bad(text.into())
    }

    pub(crate) fn into_completion(self) -> Completion {
        match self {
            Self::Bad(text) => Completion::bad(text),
            Self::Incomplete => Completion::bad("Unexpected end of command"),
            Self::Charset { .. } => Completion::no("Unknown charset").with(ResponseCode::BadCharset),
        }
    }
}

/// A place in a command's text, which ends with its CRLF.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'c> {
    text: &'c [u8],
    at: usize,
    mode: Mode,
}

impl<'c> Cursor<'c> {
    pub(crate) fn new(text: &'c [u8], mode: Mode) -> Self {
        Self { text, at: 0, mode }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Whether the rest begins with these octets, in any case.
    pub(crate) fn looking_at(&self, word: &[u8]) -> bool {
        self.text.get(self.at..self.at + word.len()).is_some_and(|found| found.eq_ignore_ascii_case(word))
    }

    pub(crate) fn eat(&mut self, octet: u8) -> bool {
        let found = self.peek() == Some(octet);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect(&mut self, octet: u8) -> Result<(), Fault> {
        if self.eat(octet) {
            return Ok(());
        }
        Err(Fault::Bad(format!("Expected '{}'", char::from(octet)).into()))
    }

    pub(crate) fn space(&mut self) -> Result<(), Fault> {
        if self.eat(b' ') { Ok(()) } else { Err(Fault::bad("Expected a space and an argument")) }
    }

    /// A word of the grammar, in any case.
    pub(crate) fn keyword(&mut self, word: &[u8]) -> Result<(), Fault> {
        if self.looking_at(word) {
            self.at += word.len();
            return Ok(());
        }
        Err(Fault::Bad(format!("Expected {}", String::from_utf8_lossy(word)).into()))
    }

    /// The end of the command.
    pub(crate) fn end(&self) -> Result<(), Fault> {
        if &self.text[self.at..] == b"\r\n" {
            Ok(())
        } else {
            Err(Fault::bad("Unexpected text at the end of the command"))
        }
    }

    /// At least one octet for which the test holds.
    pub(crate) fn some(&mut self, what: &'static str, test: impl Fn(u8) -> bool) -> Result<&'c [u8], Fault> {
        let rest = &self.text[self.at..];
        let length = rest.iter().position(|&octet| !test(octet)).unwrap_or(rest.len());
        if length == 0 {
            return Err(Fault::bad(what));
        }
        self.at += length;
        Ok(&rest[..length])
    }

    pub(crate) fn atom(&mut self) -> Result<&'c [u8], Fault> {
        self.some("Expected an atom", is_atom)
    }

    /// A word of letters, digits and the marks found in names of the grammar.
    pub(crate) fn word(&mut self) -> Result<&'c [u8], Fault> {
        self.some("Expected a word", |octet| {
            octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'_' | b'=')
        })
    }

    pub(crate) fn astring(&mut self) -> Result<Cow<'c, [u8]>, Fault> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(),
            _ => self.some("Expected a string", |octet| is_atom(octet) || octet == b']').map(Cow::Borrowed),
        }
    }

    /// A pattern of LIST: wildcards may stand bare.
    pub(crate) fn list_string(&mut self) -> Result<Cow<'c, [u8]>, Fault> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(),
            _ => self
                .some("Expected a pattern", |octet| is_atom(octet) || matches!(octet, b']' | b'%' | b'*'))
                .map(Cow::Borrowed),
        }
    }

    pub(crate) fn string(&mut self) -> Result<Cow<'c, [u8]>, Fault> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => self.literal().map(Cow::Borrowed),
            _ => Err(Fault::bad("Expected a string")),
        }
    }

    pub(crate) fn nstring(&mut self) -> Result<Option<Cow<'c, [u8]>>, Fault> {
        if matches!(self.peek(), Some(b'N' | b'n')) {
            return self.keyword(b"NIL").map(|()| None);
        }
        self.string().map(Some)
    }

    fn quoted(&mut self) -> Result<Cow<'c, [u8]>, Fault> {
        self.expect(b'"')?;
        let start = self.at;
        let mut plain: Option<Vec<u8>> = None;
        loop {
            let from = self.at;
            let rest = &self.text[from..];
            let special = |octet: &u8| matches!(octet, b'"' | b'\\' | b'\r' | b'\n' | 0);
            let length = rest.iter().position(special).unwrap_or(rest.len());
            if let Some(plain) = &mut plain {
                plain.extend_from_slice(&rest[..length]);
            }
            self.at += length + 1;
            match rest.get(length) {
                Some(b'"') => {
                    let end = from + length;
                    return Ok(plain.map_or_else(|| Cow::Borrowed(&self.text[start..end]), Cow::Owned));
                }
                Some(b'\\') => {
                    let escaped = self.peek().filter(|octet| matches!(octet, b'"' | b'\\'));
                    let escaped = escaped.ok_or(Fault::bad("Only quote and backslash may be escaped"))?;
                    plain.get_or_insert_with(|| self.text[start..from + length].to_vec()).push(escaped);
                    self.at += 1;
                }
                _ => {
                    self.at = self.text.len();
                    return Err(Fault::bad("Unterminated quoted string"));
                }
            }
        }
    }

    /// `{n}` or `{n+}` and its octets, NUL not among them: literal8 is for messages only.
    fn literal(&mut self) -> Result<&'c [u8], Fault> {
        self.expect(b'{')?;
        let size = self.digits()?;
        let _plus = self.eat(b'+');
        self.expect(b'}')?;
        self.expect(b'\r')?;
        self.expect(b'\n')?;
        let rest = &self.text[self.at..];
        let size = usize::try_from(size).ok().filter(|&size| size <= rest.len()).ok_or(Fault::Incomplete)?;
        self.at += size;
        if memchr::memchr(0, &rest[..size]).is_some() {
            return Err(Fault::bad("NUL in a literal"));
        }
        Ok(&rest[..size])
    }

    /// The announcement of a message, with which the text ends.
    pub(crate) fn message_literal(&mut self) -> Result<(), Fault> {
        let _binary = self.eat(b'~');
        if self.peek() != Some(b'{') {
            return Err(Fault::bad("Expected the message as a literal"));
        }
        self.expect(b'{')?;
        self.some("Expected the size of the literal", |octet| octet.is_ascii_digit())?;
        let _plus = self.eat(b'+');
        self.expect(b'}')?;
        self.end()
    }

    /// A decimal number of at most 63 bits (RFC 9051 §9 `number64`).
    pub(crate) fn digits(&mut self) -> Result<u64, Fault> {
        let digits = self.some("Expected a number", |octet| octet.is_ascii_digit())?;
        digits
            .iter()
            .try_fold(0_u64, |number, digit| number.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
            .filter(|&number| number <= i64::MAX as u64)
            .ok_or(Fault::bad("Number is too large"))
    }

    pub(crate) fn number(&mut self) -> Result<u32, Fault> {
        u32::try_from(self.digits()?).map_err(|_| Fault::bad("Number is too large"))
    }

    pub(crate) fn nz_number(&mut self) -> Result<u32, Fault> {
        match self.number()? {
            0 => Err(Fault::bad("Number must not be zero")),
            number => Ok(number),
        }
    }

    pub(crate) fn nz_digits(&mut self) -> Result<u64, Fault> {
        match self.digits()? {
            0 => Err(Fault::bad("Number must not be zero")),
            number => Ok(number),
        }
    }

    /// `(item item ...)` with at least one item.
    pub(crate) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
        self.expect(b'(')?;
        let mut items = vec![item(self)?];
        while self.eat(b' ') {
            items.push(item(self)?);
        }
        self.expect(b')')?;
        Ok(items)
    }

    /// The same, or `()`.
    pub(crate) fn list_or_empty<T>(
        &mut self,
        item: impl FnMut(&mut Self) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        if self.looking_at(b"()") {
            self.at += 2;
            return Ok(Vec::new());
        }
        self.list(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(text: &str) -> Cursor<'_> {
        Cursor::new(text.as_bytes(), Mode::default())
    }

    fn string(text: &str) -> Result<Vec<u8>, Fault> {
        let mut cursor = cursor(text);
        let found = cursor.astring()?.into_owned();
        cursor.end()?;
        Ok(found)
    }

    #[test]
    fn strings_in_all_their_forms() {
        assert_eq!(string("abc]\r\n"), Ok(b"abc]".to_vec()));
        assert_eq!(string("\"a b\"\r\n"), Ok(b"a b".to_vec()));
        assert_eq!(string("\"\"\r\n"), Ok(b"".to_vec()));
        assert_eq!(string("\"a\\\"b\\\\\"\r\n"), Ok(b"a\"b\\".to_vec()));
        assert_eq!(string("{3}\r\na\"b\r\n"), Ok(b"a\"b".to_vec()));
        assert_eq!(string("{2+}\r\n\r\n\r\n"), Ok(b"\r\n".to_vec()));
        assert_eq!(string("{0}\r\n\r\n"), Ok(b"".to_vec()));
        assert_eq!(string("~peter\r\n"), Ok(b"~peter".to_vec()));
    }

    #[test]
    fn malformed_strings() {
        for text in [
            "\r\n",
            "\"a\r\n",
            "\"a\\n\"\r\n",
            "\"a\\",
            "\"",
            "(\r\n",
            "{1}\r\n\0\r\n",
            "{}\r\n\r\n",
            "a{1}\r\n",
            "\"a\0\"\r\n",
        ] {
            assert!(matches!(string(text), Err(Fault::Bad(_))), "{text:?}");
        }
        assert_eq!(string("{9}\r\nabc\r\n"), Err(Fault::Incomplete));
    }

    #[test]
    fn numbers_have_bounds() {
        assert_eq!(cursor("4294967295 ").number(), Ok(u32::MAX));
        assert!(cursor("4294967296 ").number().is_err());
        assert!(cursor("0 ").nz_number().is_err());
        assert_eq!(cursor("9223372036854775807").digits(), Ok(i64::MAX as u64));
        assert!(cursor("9223372036854775808").digits().is_err());
        assert!(cursor("99999999999999999999999").digits().is_err());
    }

    #[test]
    fn lists() {
        let numbers = |text| cursor(text).list(Cursor::number);
        assert_eq!(numbers("(1 2 3)"), Ok(vec![1, 2, 3]));
        for text in ["()", "(1 )", "(1", "1", "( 1)", "(1  2)"] {
            assert!(numbers(text).is_err(), "{text}");
        }
        assert_eq!(cursor("()").list_or_empty(Cursor::number), Ok(vec![]));
    }
}
