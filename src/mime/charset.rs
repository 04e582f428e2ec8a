//! Bytes to text: charsets (RFC 2978) and encoded words (RFC 2047).

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

use crate::transfer;

/// An encoded word longer than this is left as it is; RFC 2047 §2 allows 75 octets.
const WORD_LIMIT: usize = 1024;

/// The text of bytes in a named charset (RFC 2978); an unknown, missing or ASCII one is guessed. Never fails: what the
/// charset does not have becomes U+FFFD.
#[must_use]
pub fn charset_text<'b>(charset: Option<&[u8]>, bytes: &'b [u8]) -> Cow<'b, str> {
    decode(charset, bytes)
}

/// Decodes bytes of a named charset; an unknown, missing or ASCII one is guessed. Never fails: what the charset
/// does not have becomes U+FFFD.
pub(crate) fn decode<'b>(charset: Option<&[u8]>, bytes: &'b [u8]) -> Cow<'b, str> {
    let label = charset.unwrap_or_default().trim_ascii();
    if label.is_empty() || label.eq_ignore_ascii_case(b"us-ascii") || label.eq_ignore_ascii_case(b"ascii") {
        return guess(bytes);
    }
    // "Replacement" labels decode to nothing readable, but the other decoder may know the real charset.
    if let Some(encoding) = Encoding::for_label_no_replacement(label) {
        return encoding.decode(bytes).0;
    }
    match mail_parser::decoders::charsets::map::charset_decoder(label) {
        Some(decoder) => Cow::Owned(decoder(bytes)),
        None => guess(bytes),
    }
}

/// Unlabelled bytes: UTF-8 where they are valid, otherwise the western charset that is most likely.
pub(crate) fn guess(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(bytes).0,
    }
}

/// Decodes the encoded words of an unfolded field value. White space between two of them goes (RFC 2047 §6.2),
/// and neighbours of one charset are decoded together, since many programs split characters between them.
pub(crate) fn words(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len());
    let mut pending: Option<(&[u8], Vec<u8>)> = None;
    let (mut done, mut from) = (0, 0);
    while let Some(at) = memchr::memmem::find(&value[from..], b"=?").map(|at| from + at) {
        let Some((word, end)) = Word::at(value, at) else {
            from = at + 2;
            continue;
        };
        let between = &value[done..at];
        let joined = pending.is_some() && between.iter().all(u8::is_ascii_whitespace);
        match &mut pending {
            Some((charset, bytes)) if joined && charset.eq_ignore_ascii_case(word.charset) => word.decode(bytes),
            _ => {
                flush(&mut text, pending.take());
                if !joined {
                    text.push_str(&guess(between));
                }
                let mut bytes = Vec::new();
                word.decode(&mut bytes);
                pending = Some((word.charset, bytes));
            }
        }
        (done, from) = (end, end);
    }
    flush(&mut text, pending);
    text.push_str(&guess(&value[done..]));
    text
}

fn flush(text: &mut String, pending: Option<(&[u8], Vec<u8>)>) {
    if let Some((charset, bytes)) = pending {
        text.push_str(&decode(Some(charset), &bytes));
    }
}

/// An encoded word in its three parts.
struct Word<'a> {
    charset: &'a [u8],
    base64: bool,
    text: &'a [u8],
}

impl<'a> Word<'a> {
    /// The word whose `=?` stands at `at`, and where it ends.
    fn at(value: &'a [u8], at: usize) -> Option<(Self, usize)> {
        let rest = &value[at + 2..value.len().min(at + WORD_LIMIT)];
        let charset_end = memchr::memchr(b'?', &rest[..rest.len().min(64)])?;
        let charset = &rest[..charset_end];
        if charset.is_empty() || !charset.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let base64 = match rest.get(charset_end + 1..charset_end + 3)? {
            [b'B' | b'b', b'?'] => true,
            [b'Q' | b'q', b'?'] => false,
            _ => return None,
        };
        let start = charset_end + 3;
        let len = memchr::memmem::find(&rest[start..], b"?=")?;
        // RFC 2231 §5: a language may follow the charset.
        let charset = charset.split(|&b| b == b'*').next().unwrap_or(charset);
        Some((Self { charset, base64, text: &rest[start..start + len] }, at + 2 + start + len + 2))
    }

    fn decode(&self, bytes: &mut Vec<u8>) {
        if self.base64 {
            transfer::base64(self.text, |chunk| bytes.extend_from_slice(chunk));
            return;
        }
        let mut rest = self.text;
        while let Some((&b, tail)) = rest.split_first() {
            rest = tail;
            match (b, transfer::hex_pair(tail)) {
                (b'_', _) => bytes.push(b' '),
                (b'=', Some(value)) => {
                    bytes.push(value);
                    rest = &tail[2..];
                }
                _ => bytes.push(b),
            }
        }
    }
}

/// Decodes RFC 2231 §4 `charset'language'percent-text`.
pub(crate) fn extended(charset: Option<&[u8]>, bytes: &[u8]) -> String {
    decode(charset.or(Some(UTF_8.name().as_bytes())), bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_words_join_and_stray_marks_stay() {
        assert_eq!(words(b"=?iso-8859-1?q?a_=E4?= =?ISO-8859-1?Q?b?= c"), "a äb c");
        assert_eq!(words(b"=?utf-8?B?w7w=?=  =?utf-8*de?Q?=C3=A4?= x"), "üä x");
        assert_eq!(words(b"a =?x =?utf-8?X?a?= =?="), "a =?x =?utf-8?X?a?= =?=");
        assert_eq!(words(b"=?utf-8?Q?=41?="), "A");
        assert_eq!(words(b"=?utf-8?Q??= b"), " b");
    }

    #[test]
    fn a_character_split_between_words_is_whole() {
        assert_eq!(words(b"=?utf-8?Q?=E2=82?=\t=?utf-8?Q?=AC?="), "€");
        assert_eq!(words(b"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?="), "日本");
    }

    #[test]
    fn unlabelled_and_unknown_bytes_are_guessed() {
        assert_eq!(guess("ü".as_bytes()), "ü");
        assert_eq!(guess(b"\xfc"), "ü");
        assert_eq!(decode(Some(b"x-nothing"), b"\xe4"), "ä");
        assert_eq!(decode(Some(b"US-ASCII"), "ä".as_bytes()), "ä");
        assert_eq!(decode(Some(b"koi8-r"), b"\xc1"), "а");
        assert_eq!(decode(Some(b"utf-7"), b"+AOQ-"), "ä");
        assert_eq!(decode(Some(b"utf-8"), b"a\xffb"), "a\u{fffd}b");
    }

    #[test]
    fn a_flood_of_openings_is_linear() {
        let flood = b"=?a?q?x".repeat(50_000);
        assert_eq!(words(&flood).len(), flood.len());
    }
}
