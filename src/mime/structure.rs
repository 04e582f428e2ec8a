//! The tree of a message's parts.

use std::borrow::Cow;
use std::ops::Range;

use crate::attributes::{Attributes, Tag};
use crate::{CodecError, bodystructure, codec, content, media, scan, transfer};

/// How many parts a structure has at most; what follows belongs to the last one.
pub const MAX_PARTS: usize = 10_000;

/// How deep parts nest at most; what lies deeper is an opaque leaf.
pub const MAX_DEPTH: usize = 100;

/// The content transfer encoding of a part (RFC 2045 §6).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Encoding {
    /// `7bit`, also where nothing is said.
    #[default]
    SevenBit,
    /// `8bit`
    EightBit,
    /// `binary`
    Binary,
    /// `base64`
    Base64,
    /// `quoted-printable`
    QuotedPrintable,
    /// Anything else.
    Other,
}

/// A content disposition (RFC 2183): its type, folded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Disposition {
    /// To be shown.
    Inline,
    /// To be offered; also every type that is not known (RFC 2183 §2.8).
    Attachment,
}

/// The parts of one message: types, sizes and places of each, without the message itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Structure {
    /// In the order of the message; never empty.
    pub(crate) nodes: Vec<Node>,
    /// The attributes of all parts; see `attributes.rs`.
    pub(crate) attributes: Vec<u8>,
}

/// One part of a [`Structure`]: the message itself, a body part, or the message inside a message/rfc822 part.
#[derive(Clone, Copy, Debug)]
pub struct Part<'s> {
    structure: &'s Structure,
    at: usize,
}

/// What is kept of a part besides its attributes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Node {
    /// A code of a well-known media type, or 0: the attributes say it.
    pub(crate) media: u16,
    pub(crate) encoding: Encoding,
    /// Where the header starts.
    pub(crate) header: usize,
    /// Where the header, blank line included, ends and the body starts.
    pub(crate) body: usize,
    /// Where the body ends.
    pub(crate) end: usize,
    /// Line ends in the body of a text or message.
    pub(crate) lines: Option<usize>,
    /// The place of the first node behind this one and all its descendants.
    pub(crate) next: usize,
    /// Where the attributes lie.
    pub(crate) attributes: Range<usize>,
}

impl Structure {
    /// Reads the structure of a raw message. Never fails: what is not MIME is text.
    #[must_use]
    pub fn of(raw: &[u8]) -> Self {
        scan::scan(raw)
    }

    /// The compact form that [`from_bytes`](Self::from_bytes) reads: about 15 octets for a simple message.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads the compact form.
    ///
    /// # Errors
    /// [`CodecError`] when the bytes are of another version or damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes)
    }

    /// The message itself.
    #[must_use]
    pub fn root(&self) -> Part<'_> {
        Part { structure: self, at: 0 }
    }

    /// Every part in the order of the message, the message itself first.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        (0..self.nodes.len()).map(|at| Part { structure: self, at })
    }

    /// The part that an IMAP section path names (RFC 9051 §6.4.5.1); the empty path is the message itself.
    #[must_use]
    pub fn part(&self, path: &[u32]) -> Option<Part<'_>> {
        let mut part = self.root();
        // A message's own body is its part 1 unless it is a multipart; a message inside a part is looked through.
        let mut message = true;
        for &number in path {
            if let (false, Some(inner)) = (message, part.message()) {
                (part, message) = (inner, true);
            }
            let index = usize::try_from(number).ok()?.checked_sub(1)?;
            if part.is_multipart() {
                part = part.children().nth(index)?;
            } else if !message || index > 0 {
                return None;
            }
            message = false;
        }
        Some(part)
    }

    /// Octets of the message's header, blank line included.
    #[must_use]
    pub fn header_size(&self) -> usize {
        self.root().node().body
    }

    /// Octets of the whole message.
    #[must_use]
    pub fn size(&self) -> usize {
        self.root().node().end
    }

    /// Whether some part is to be offered as a file (RFC 8621 §4.1.4 hasAttachment).
    #[must_use]
    pub fn has_attachment(&self) -> bool {
        self.parts().any(|part| match part.disposition() {
            Some(Disposition::Attachment) => true,
            Some(Disposition::Inline) => false,
            None => part.is_leaf() && part.id().is_none() && !part.is_text() && !part.is_machinery(),
        })
    }

    /// IMAP's BODY: the structure without extension data, ready for the wire. `raw` is the message, for the
    /// envelopes of messages inside it.
    #[must_use]
    pub fn body(&self, raw: &[u8]) -> Vec<u8> {
        bodystructure::render(self, raw, false)
    }

    /// IMAP's BODYSTRUCTURE: the structure with extension data, ready for the wire.
    #[must_use]
    pub fn bodystructure(&self, raw: &[u8]) -> Vec<u8> {
        bodystructure::render(self, raw, true)
    }

    /// The media type and subtype of a node.
    pub(crate) fn media(&self, node: &Node) -> (&str, &str) {
        if let Some(known) = media::of_code(node.media) {
            return known;
        }
        self.attributes_of(node)
            .find(|attribute| attribute.tag == Tag::Media)
            .and_then(|attribute| Some((str::from_utf8(attribute.name).ok()?, str::from_utf8(attribute.value).ok()?)))
            .unwrap_or(("application", "octet-stream"))
    }

    fn attributes_of(&self, node: &Node) -> Attributes<'_> {
        Attributes::new(self.attributes.get(node.attributes.clone()).unwrap_or_default())
    }
}

impl<'s> Part<'s> {
    /// The media type in lower case, such as `text`.
    #[must_use]
    pub fn media_type(&self) -> &'s str {
        self.media().0
    }

    /// The media subtype in lower case, such as `plain`.
    #[must_use]
    pub fn media_subtype(&self) -> &'s str {
        self.media().1
    }

    /// The parameters of the content type: names in lower case, values as written without quotes.
    pub fn parameters(&self) -> impl Iterator<Item = (&'s [u8], &'s [u8])> + use<'s> {
        self.attributes()
            .filter(|attribute| attribute.tag == Tag::Parameter)
            .map(|attribute| (attribute.name, attribute.value))
    }

    /// The value of one parameter of the content type; `name` in lower case.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&'s [u8]> {
        self.parameters().find(|(known, _)| *known == name.as_bytes()).map(|(_, value)| value)
    }

    /// The content transfer encoding.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.node().encoding
    }

    /// The content transfer encoding in lower case, such as `base64`, also where it is an unknown one.
    #[must_use]
    pub fn encoding_name(&self) -> &'s [u8] {
        match self.encoding() {
            Encoding::SevenBit => b"7bit",
            Encoding::EightBit => b"8bit",
            Encoding::Binary => b"binary",
            Encoding::Base64 => b"base64",
            Encoding::QuotedPrintable => b"quoted-printable",
            Encoding::Other => self.attribute(Tag::Encoding).unwrap_or(b"x-unknown"),
        }
    }

    /// `Content-ID` as written, angle brackets included.
    #[must_use]
    pub fn id(&self) -> Option<&'s [u8]> {
        self.attribute(Tag::Id)
    }

    /// `Content-Description` as written, encoded words left as they are.
    #[must_use]
    pub fn description(&self) -> Option<&'s [u8]> {
        self.attribute(Tag::Description)
    }

    /// `Content-MD5` as written.
    #[must_use]
    pub fn md5(&self) -> Option<&'s [u8]> {
        self.attribute(Tag::Md5)
    }

    /// The type of `Content-Disposition`.
    #[must_use]
    pub fn disposition(&self) -> Option<Disposition> {
        self.disposition_name()
            .map(|name| if name == b"inline" { Disposition::Inline } else { Disposition::Attachment })
    }

    /// The type of `Content-Disposition` in lower case as written.
    #[must_use]
    pub fn disposition_name(&self) -> Option<&'s [u8]> {
        self.attribute(Tag::Disposition)
    }

    /// The parameters of the disposition, as [`parameters`](Self::parameters).
    pub fn disposition_parameters(&self) -> impl Iterator<Item = (&'s [u8], &'s [u8])> + use<'s> {
        self.attributes()
            .filter(|attribute| attribute.tag == Tag::DispositionParameter)
            .map(|attribute| (attribute.name, attribute.value))
    }

    /// The tags of `Content-Language` (RFC 3282).
    pub fn languages(&self) -> impl Iterator<Item = &'s [u8]> + use<'s> {
        self.attributes().filter(|attribute| attribute.tag == Tag::Language).map(|attribute| attribute.value)
    }

    /// `Content-Location` (RFC 2557).
    #[must_use]
    pub fn location(&self) -> Option<&'s [u8]> {
        self.attribute(Tag::Location)
    }

    /// The file name that the sender proposes, decoded (RFC 2231, RFC 2047); not safe as a path.
    #[must_use]
    pub fn file_name(&self) -> Option<String> {
        content::decoded_parameter(|| self.disposition_parameters(), "filename")
            .or_else(|| content::decoded_parameter(|| self.parameters(), "name"))
    }

    /// The file names that the disposition and the content type propose, decoded as [`file_name`](Self::file_name):
    /// the former's first, each once.
    #[must_use]
    pub fn file_names(&self) -> Vec<String> {
        let first = content::decoded_parameter(|| self.disposition_parameters(), "filename");
        let second =
            content::decoded_parameter(|| self.parameters(), "name").filter(|name| first.as_ref() != Some(name));
        first.into_iter().chain(second).collect()
    }

    /// The part's content without its transfer encoding, as [`decoded`](crate::decoded). `None` when the encoding is not
    /// known, or `raw` is not the whole message.
    #[must_use]
    pub fn decoded<'r>(&self, raw: &'r [u8]) -> Option<Cow<'r, [u8]>> {
        transfer::decode(transfer::effective(*self), raw.get(self.body_range())?)
    }

    /// Where the part's header lies in the message, its blank line included.
    #[must_use]
    pub fn header_range(&self) -> Range<usize> {
        self.node().header..self.node().body
    }

    /// Where the part's body lies in the message, encoded.
    #[must_use]
    pub fn body_range(&self) -> Range<usize> {
        self.node().body..self.node().end
    }

    /// Line ends in the encoded body; `None` unless the part is text or a message.
    #[must_use]
    pub fn lines(&self) -> Option<usize> {
        self.node().lines
    }

    /// The parts of a multipart.
    pub fn children(&self) -> impl Iterator<Item = Part<'s>> + use<'s> {
        let first = if self.is_multipart() { self.first_inside() } else { None };
        let end = self.node().next;
        std::iter::successors(first, move |part| {
            let at = part.node().next;
            (at < end).then_some(Part { structure: part.structure, at })
        })
    }

    /// Whether the part is a multipart whose parts are known.
    #[must_use]
    pub fn is_multipart(&self) -> bool {
        !self.is_leaf() && self.media_type() == "multipart"
    }

    /// The message inside a message/rfc822 or message/global part, where it is not encoded.
    #[must_use]
    pub fn message(&self) -> Option<Part<'s>> {
        if self.media_type() == "message" { self.first_inside() } else { None }
    }

    /// Whether nothing is known to be inside.
    #[must_use]
    pub fn is_leaf(&self) -> bool {
        self.node().next == self.at + 1
    }

    /// Whether the part is text.
    pub(crate) fn is_text(&self) -> bool {
        self.is_leaf() && self.media_type() == "text"
    }

    fn attributes(&self) -> Attributes<'s> {
        self.structure.attributes_of(self.node())
    }

    fn node(&self) -> &'s Node {
        &self.structure.nodes[self.at]
    }

    fn first_inside(&self) -> Option<Self> {
        (!self.is_leaf()).then_some(Part { structure: self.structure, at: self.at + 1 })
    }

    fn attribute(&self, tag: Tag) -> Option<&'s [u8]> {
        self.attributes().find(|attribute| attribute.tag == tag).map(|attribute| attribute.value)
    }

    fn media(&self) -> (&'s str, &'s str) {
        self.structure.media(self.node())
    }

    /// Whether the part is for programs: a signature, or what a report says.
    fn is_machinery(&self) -> bool {
        matches!(
            self.media_subtype(),
            "pgp-signature"
                | "pkcs7-signature"
                | "x-pkcs7-signature"
                | "pgp-encrypted"
                | "delivery-status"
                | "disposition-notification"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(fields: &str) -> Structure {
        Structure::of(format!("{fields}\r\n\r\nx").as_bytes())
    }

    #[test]
    fn attachments_are_files_and_not_what_is_shown() {
        assert!(!with("Content-Type: text/plain").has_attachment());
        assert!(with("Content-Type: text/plain\r\nContent-Disposition: attachment").has_attachment());
        assert!(with("Content-Type: application/pdf").has_attachment());
        assert!(!with("Content-Type: image/png\r\nContent-Disposition: inline").has_attachment());
        assert!(!with("Content-Type: image/png\r\nContent-ID: <1@x>").has_attachment());
        assert!(!with("Content-Type: application/pgp-signature").has_attachment());
    }

    #[test]
    fn file_names_come_from_either_field() {
        let name = |fields: &str| with(fields).root().file_name();
        assert_eq!(name("Content-Type: a/b; name=\"x y\"").as_deref(), Some("x y"));
        let both = "Content-Type: a/b; name=x\r\nContent-Disposition: inline; filename=y";
        assert_eq!(name(both).as_deref(), Some("y"));
        assert_eq!(with(both).root().file_names(), ["y", "x"]);
        assert_eq!(name("Content-Type: a/b"), None);
    }

    #[test]
    fn a_message_that_is_a_message_is_looked_through() {
        let structure = Structure::of(b"Content-Type: message/rfc822\r\n\r\nA: b\r\n\r\nx");
        let range = |path: &[u32]| structure.part(path).map(|part| part.body_range());
        assert_eq!((range(&[]), range(&[1]), range(&[1, 1])), (Some(32..41), Some(32..41), Some(40..41)));
        assert_eq!((range(&[1, 2]), range(&[1, 1, 1])), (None, None));
    }
}
