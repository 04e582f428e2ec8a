//! What a part says of itself, in the compact form that is both kept in memory and stored.
//!
//! An attribute is a tag octet, for some tags a name, and a value. Names and values are words: a number that is
//! either twice a length, before that many octets, or one more than twice the code of a well-known word.

use crate::codec::{put_varint, take_varint};

/// A longer value is left out.
const VALUE_LIMIT: usize = 4096;
/// The attributes of all parts of a message; what follows is left out.
const TOTAL_LIMIT: usize = 1 << 20;

/// What an attribute is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tag {
    /// A media type without a code: type as name, subtype as value.
    Media,
    /// An unknown content transfer encoding.
    Encoding,
    /// A parameter of the content type.
    Parameter,
    /// The disposition's type.
    Disposition,
    /// A parameter of the disposition.
    DispositionParameter,
    /// `Content-ID`
    Id,
    /// `Content-Description`
    Description,
    /// `Content-MD5`
    Md5,
    /// One tag of `Content-Language`.
    Language,
    /// `Content-Location`
    Location,
}

/// Stored tags count on the order: append only.
const TAGS: [Tag; 10] = [
    Tag::Media,
    Tag::Encoding,
    Tag::Parameter,
    Tag::Disposition,
    Tag::DispositionParameter,
    Tag::Id,
    Tag::Description,
    Tag::Md5,
    Tag::Language,
    Tag::Location,
];

impl Tag {
    fn named(self) -> bool {
        matches!(self, Self::Media | Self::Parameter | Self::DispositionParameter)
    }
}

/// One attribute; the name is empty where the tag has none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Attribute<'s> {
    pub(crate) tag: Tag,
    pub(crate) name: &'s [u8],
    pub(crate) value: &'s [u8],
}

/// Appends an attribute, unless a limit is reached.
pub(crate) fn put(out: &mut Vec<u8>, tag: Tag, name: &[u8], value: &[u8]) {
    if name.len() > VALUE_LIMIT || value.len() > VALUE_LIMIT || out.len() > TOTAL_LIMIT {
        return;
    }
    out.push(TAGS.iter().position(|known| *known == tag).and_then(|place| u8::try_from(place).ok()).unwrap_or(0));
    if tag.named() {
        put_word(out, name);
    }
    put_word(out, value);
}

/// Reads attributes one after the other, up to the end or to what is damaged.
#[derive(Clone, Debug)]
pub(crate) struct Attributes<'s> {
    rest: &'s [u8],
}

impl<'s> Attributes<'s> {
    pub(crate) fn new(bytes: &'s [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether all bytes are attributes.
    pub(crate) fn are_sound(mut self) -> bool {
        while self.next().is_some() {}
        self.rest.is_empty()
    }
}

impl<'s> Iterator for Attributes<'s> {
    type Item = Attribute<'s>;

    fn next(&mut self) -> Option<Attribute<'s>> {
        let (&tag, mut rest) = self.rest.split_first()?;
        let tag = *TAGS.get(usize::from(tag))?;
        let name = if tag.named() { take_word(&mut rest)? } else { &[] };
        let value = take_word(&mut rest)?;
        self.rest = rest;
        Some(Attribute { tag, name, value })
    }
}

fn put_word(out: &mut Vec<u8>, word: &[u8]) {
    match WORDS.iter().position(|known| known.as_bytes() == word) {
        Some(code) => put_varint(out, code << 1 | 1),
        None => {
            put_varint(out, word.len() << 1);
            out.extend_from_slice(word);
        }
    }
}

fn take_word<'s>(rest: &mut &'s [u8]) -> Option<&'s [u8]> {
    let number = take_varint(rest)?;
    if number & 1 == 1 {
        return WORDS.get(number >> 1).map(|word| word.as_bytes());
    }
    let (word, tail) = rest.split_at_checked(number >> 1)?;
    *rest = tail;
    Some(word)
}

/// Stored codes count on the order: append only.
const WORDS: &[&str] = &[
    "charset",
    "utf-8",
    "UTF-8",
    "us-ascii",
    "US-ASCII",
    "iso-8859-1",
    "ISO-8859-1",
    "windows-1252",
    "Windows-1252",
    "boundary",
    "name",
    "filename",
    "attachment",
    "inline",
    "format",
    "flowed",
    "delsp",
    "yes",
    "no",
    "type",
    "start",
    "protocol",
    "micalg",
    "pgp-sha256",
    "pgp-sha512",
    "sha-256",
    "application/pgp-signature",
    "application/pkcs7-signature",
    "multipart/alternative",
    "text/html",
    "report-type",
    "delivery-status",
    "disposition-notification",
    "method",
    "REQUEST",
    "REPLY",
    "filename*",
    "name*",
    "size",
    "creation-date",
    "modification-date",
    "reply-type",
    "iso-8859-15",
    "ISO-8859-15",
    "application",
    "image",
    "text",
    "audio",
    "video",
    "multipart",
    "message",
    "en",
    "de",
    "fr",
    "en-US",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_as_they_went() {
        let mut bytes = Vec::new();
        put(&mut bytes, Tag::Parameter, b"charset", b"utf-8");
        assert_eq!(bytes.len(), 3);
        put(&mut bytes, Tag::Id, b"", b"<a@b>");
        put(&mut bytes, Tag::Media, b"x-odd", b"");
        put(&mut bytes, Tag::Description, b"", &[b'a'; VALUE_LIMIT + 1]);
        let read: Vec<_> = Attributes::new(&bytes).collect();
        assert_eq!(read.len(), 3);
        assert_eq!(read[0], Attribute { tag: Tag::Parameter, name: b"charset", value: b"utf-8" });
        assert_eq!(read[1], Attribute { tag: Tag::Id, name: b"", value: b"<a@b>" });
        assert_eq!(read[2], Attribute { tag: Tag::Media, name: b"x-odd", value: b"" });
        assert!(Attributes::new(&bytes).are_sound());
        assert!(!Attributes::new(&bytes[..bytes.len() - 1]).are_sound());
        assert!(!Attributes::new(&[0xff]).are_sound());
    }

    #[test]
    fn well_known_words_are_distinct() {
        for (place, word) in WORDS.iter().enumerate() {
            assert_eq!(WORDS.iter().position(|other| other == word), Some(place), "{word}");
        }
    }
}
