//! Tag lists (RFC 6376 §3.2), as signatures and key records have them.

use std::ops::Range;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// The tags of a list in their order.
#[derive(Clone, Debug)]
pub(crate) struct Tags<'a>(Vec<Tag<'a>>);

#[derive(Clone, Debug)]
struct Tag<'a> {
    name: &'a [u8],
    value: &'a [u8],
    /// Where all between `=` and the next semicolon lies.
    place: Range<usize>,
}

/// More tags than this mean nothing good.
const MOST: usize = 64;

impl<'a> Tags<'a> {
    /// Reads a list; `None` when it is malformed or a tag is there twice.
    pub(crate) fn parse(text: &'a [u8]) -> Option<Self> {
        let mut tags: Vec<Tag<'a>> = Vec::with_capacity(12);
        let mut start = 0;
        while start < text.len() {
            let end = memchr::memchr(b';', &text[start..]).map_or(text.len(), |at| start + at);
            let spec = &text[start..end];
            if spec.trim_ascii().is_empty() {
                // A final semicolon is followed by nothing.
                if !text[end..].trim_ascii_start().is_empty() {
                    return None;
                }
                break;
            }
            let equals = memchr::memchr(b'=', spec)?;
            let (name, value) = (spec[..equals].trim_ascii(), spec[equals + 1..].trim_ascii());
            let sound = name.first().is_some_and(u8::is_ascii_alphabetic)
                && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
            if !sound || tags.len() == MOST || tags.iter().any(|tag| tag.name == name) {
                return None;
            }
            tags.push(Tag { name, value, place: start + equals + 1..end });
            start = end + 1;
        }
        Some(Self(tags))
    }

    /// The value of a tag without white space around it; names are told apart by case.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a [u8]> {
        self.0.iter().find(|tag| tag.name == name.as_bytes()).map(|tag| tag.value)
    }

    /// The same as text; `None` when it is not UTF-8, too.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        self.raw(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// A number of at most 18 digits.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, ()> {
        let Some(value) = self.text(name) else { return Ok(None) };
        let plain = !value.is_empty() && value.len() <= 18 && value.bytes().all(|b| b.is_ascii_digit());
        value.parse().ok().filter(|_| plain).map(Some).ok_or(())
    }

    /// Decodes base64 with white space in it.
    pub(crate) fn base64(&self, name: &str) -> Option<Vec<u8>> {
        let packed: Vec<u8> = self.raw(name)?.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
        BASE64.decode(packed).ok()
    }

    /// Where the value of a tag lies, with the white space around it.
    pub(crate) fn place(&self, name: &str) -> Option<Range<usize>> {
        self.0.iter().find(|tag| tag.name == name.as_bytes()).map(|tag| tag.place.clone())
    }

    /// The first tag's name.
    pub(crate) fn first(&self) -> Option<&'a [u8]> {
        self.0.first().map(|tag| tag.name)
    }
}

/// Some signers leave padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The parts of a colon list, without white space around them.
pub(crate) fn parts(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b':').map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        let text = b" v=1; a = rsa-sha256;\r\n\tb=AA\r\n\t AA; empty=; n=12; h=a : b:c;";
        let tags = Tags::parse(text).expect("tags");
        assert_eq!(tags.text("v"), Some("1"));
        assert_eq!(tags.text("a"), Some("rsa-sha256"));
        assert_eq!(tags.base64("b"), Some(vec![0; 3]));
        assert_eq!(tags.raw("empty"), Some(&b""[..]));
        assert_eq!((tags.number("n"), tags.number("x"), tags.number("a")), (Ok(Some(12)), Ok(None), Err(())));
        assert_eq!(parts(tags.raw("h").expect("h")).collect::<Vec<_>>(), [b"a", b"b", b"c"]);
        assert_eq!(&text[tags.place("b").expect("a place")], b"AA\r\n\t AA");
        assert_eq!((tags.text("A"), tags.first()), (None, Some(&b"v"[..])));
    }

    #[test]
    fn what_is_malformed_is_no_list() {
        for bad in ["a", "=b", "a=1; a=2", "1=a", "a b=1", ";a=1", "a=1;;b=2", "a=1; b", "a-b=1"] {
            assert!(Tags::parse(bad.as_bytes()).is_none(), "{bad}");
        }
        let many: String = (0..100).map(|at| format!("a{at}=;")).collect();
        assert!(Tags::parse(many.as_bytes()).is_none());
        assert!(Tags::parse(b"").is_some_and(|tags| tags.first().is_none()));
    }
}
