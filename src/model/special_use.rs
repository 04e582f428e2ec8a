//! What a mailbox is for (RFC 6154).

/// The special use of a mailbox. Each account has at most one mailbox per use.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SpecialUse {
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
}

impl SpecialUse {
    /// Every use with its IMAP attribute and the name its mailbox has from the start.
    pub const ALL: [(Self, &'static str, &'static str); 5] = [
        (Self::Archive, "\\Archive", "Archive"),
        (Self::Drafts, "\\Drafts", "Drafts"),
        (Self::Junk, "\\Junk", "Junk"),
        (Self::Sent, "\\Sent", "Sent"),
        (Self::Trash, "\\Trash", "Trash"),
    ];

    /// The IMAP attribute, such as `\Sent`.
    #[must_use]
    pub fn attribute(self) -> &'static str {
        Self::ALL.iter().find(|(known, _, _)| *known == self).map_or("", |(_, attribute, _)| attribute)
    }

    /// The use of an IMAP attribute, case folded.
    #[must_use]
    pub fn from_attribute(attribute: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| known.eq_ignore_ascii_case(attribute)).map(|(known, _, _)| *known)
    }
}
