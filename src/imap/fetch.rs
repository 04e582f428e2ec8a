//! What FETCH asks for (RFC 9051 §6.4.5).

use posthorn_model::ModSeq;

use crate::SequenceSet;

/// A FETCH or UID FETCH command. UID FETCH always asks for UID, and CHANGEDSINCE always for MODSEQ: the parser adds them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fetch {
    /// Whether `set` holds UIDs.
    pub uid: bool,
    /// Which messages.
    pub set: SequenceSet,
    /// What of each message, in the order asked for, macros (ALL, FAST, FULL) expanded.
    pub attributes: Vec<FetchAttribute>,
    /// Only messages with a higher modification sequence (RFC 7162 §3.1.4.1).
    pub changed_since: Option<ModSeq>,
    /// Also tell which of the UIDs are gone since then (RFC 7162 §3.2.6).
    pub vanished: bool,
}

impl Fetch {
    /// Whether the command sets `\Seen` on what it reads.
    #[must_use]
    pub fn sets_seen(&self) -> bool {
        self.attributes.iter().any(FetchAttribute::sets_seen)
    }
}

/// One data item of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FetchAttribute {
    /// `BINARY[path]`: a part's content with its transfer encoding removed (RFC 9051 §6.4.5.1).
    Binary {
        /// The part; empty for the whole message.
        path: Vec<u32>,
        /// A window of the decoded octets.
        partial: Option<Partial>,
        /// Whether `\Seen` stays as it is.
        peek: bool,
    },
    /// `BINARY.SIZE[path]`: the decoded size in octets.
    BinarySize {
        /// The part; empty for the whole message.
        path: Vec<u32>,
    },
    /// `BODY`: the body structure without extension data.
    Body,
    /// `BODY[section]<partial>`
    BodySection {
        /// Which octets of the message.
        section: Section,
        /// A window of them.
        partial: Option<Partial>,
        /// Whether `\Seen` stays as it is.
        peek: bool,
    },
    /// `BODYSTRUCTURE`
    BodyStructure,
    /// `EMAILID` (RFC 8474)
    EmailId,
    /// `ENVELOPE`
    Envelope,
    /// `FLAGS`
    Flags,
    /// `INTERNALDATE`
    InternalDate,
    /// `MODSEQ` (RFC 7162)
    ModSeq,
    /// `PREVIEW` (RFC 8970)
    Preview {
        /// Only if it costs nothing.
        lazy: bool,
    },
    /// `RFC822`, `RFC822.HEADER`, `RFC822.TEXT` (RFC 3501 §6.4.5)
    Rfc822(Rfc822),
    /// `RFC822.SIZE`
    Rfc822Size,
    /// `SAVEDATE` (RFC 8514)
    SaveDate,
    /// `THREADID` (RFC 8474)
    ThreadId,
    /// `UID`
    Uid,
}

impl FetchAttribute {
    /// Whether reading this sets `\Seen`.
    #[must_use]
    pub fn sets_seen(&self) -> bool {
        match self {
            Self::Binary { peek, .. } | Self::BodySection { peek, .. } => !peek,
            Self::Rfc822(part) => *part != Rfc822::Header,
            _ => false,
        }
    }

    /// Whether the message's octets are needed, not only what is kept beside them.
    #[must_use]
    pub fn needs_content(&self) -> bool {
        matches!(self, Self::Binary { .. } | Self::BinarySize { .. } | Self::BodySection { .. } | Self::Rfc822(_))
    }
}

/// The old names of three sections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rfc822 {
    /// `RFC822.HEADER`: as `BODY.PEEK[HEADER]`
    Header,
    /// `RFC822`: as `BODY[]`
    Message,
    /// `RFC822.TEXT`: as `BODY[TEXT]`
    Text,
}

impl Rfc822 {
    /// The item's name in command and response.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Header => "RFC822.HEADER",
            Self::Message => "RFC822",
            Self::Text => "RFC822.TEXT",
        }
    }

    /// The section that holds the same octets.
    #[must_use]
    pub fn section(self) -> Section {
        let part = match self {
            Self::Header => SectionPart::Header,
            Self::Message => SectionPart::Whole,
            Self::Text => SectionPart::Text,
        };
        Section { path: Vec::new(), part }
    }
}

/// A window of octets: `<offset.length>`. What lies behind the end is empty.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Partial {
    /// The first octet, from zero.
    pub offset: u64,
    /// At most this many octets; not zero.
    pub length: u64,
}

/// Which octets of a message `BODY[...]` means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Section {
    /// Part numbers from the outside in; empty for the message itself.
    pub path: Vec<u32>,
    /// What of that part.
    pub part: SectionPart,
}

/// What of a part a section means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SectionPart {
    /// The header of a message (the outer one, or the one of a message/rfc822 part).
    Header,
    /// The header fields of these names, as written by the client.
    HeaderFields(Vec<String>),
    /// The header fields of all other names.
    HeaderFieldsNot(Vec<String>),
    /// The MIME header of a part; the path is not empty.
    Mime,
    /// The body of a message, without its header.
    Text,
    /// All of it.
    Whole,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unpeeked_content_sets_seen() {
        let body = |peek| FetchAttribute::BodySection { section: Rfc822::Text.section(), partial: None, peek };
        assert!(body(false).sets_seen() && !body(true).sets_seen());
        assert!(FetchAttribute::Rfc822(Rfc822::Message).sets_seen());
        assert!(!FetchAttribute::Rfc822(Rfc822::Header).sets_seen());
        assert!(!FetchAttribute::BinarySize { path: vec![1] }.sets_seen());
        assert!(FetchAttribute::BinarySize { path: vec![1] }.needs_content());
        assert!(!FetchAttribute::Envelope.needs_content());
    }
}
