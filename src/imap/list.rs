//! What LIST and STATUS ask for (RFC 9051 §6.3.9, §6.3.11).

/// A LIST command, plain or extended (RFC 5258).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct List {
    /// The reference name, decoded; mostly empty.
    pub reference: String,
    /// The patterns, decoded, at least one.
    pub patterns: Vec<String>,
    /// Which mailboxes.
    pub select: ListSelection,
    /// What to tell of each.
    pub returns: ListReturn,
    /// Whether the extended syntax was used: an empty pattern then is an ordinary one, not the question for the delimiter.
    pub extended: bool,
}

/// LIST selection options.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ListSelection {
    /// `RECURSIVEMATCH`: also parents of matching mailboxes, with CHILDINFO.
    pub recursive_match: bool,
    /// `REMOTE`
    pub remote: bool,
    /// `SPECIAL-USE`: only mailboxes with a special use (RFC 6154).
    pub special_use: bool,
    /// `SUBSCRIBED`: only subscribed names, existing or not.
    pub subscribed: bool,
}

/// LIST return options. Selecting by subscription or special use implies returning it; the parser sets both.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ListReturn {
    /// `CHILDREN`
    pub children: bool,
    /// `SPECIAL-USE`
    pub special_use: bool,
    /// `STATUS (items)`: a STATUS response for each selectable mailbox (RFC 5819).
    pub status: Option<Vec<StatusItem>>,
    /// `SUBSCRIBED`
    pub subscribed: bool,
}

/// One item of STATUS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StatusItem {
    /// `APPENDLIMIT` (RFC 7889)
    AppendLimit,
    /// `DELETED`
    Deleted,
    /// `DELETED-STORAGE` (RFC 9208)
    DeletedStorage,
    /// `HIGHESTMODSEQ` (RFC 7162)
    HighestModSeq,
    /// `MAILBOXID` (RFC 8474)
    MailboxId,
    /// `MESSAGES`
    Messages,
    /// `RECENT` (RFC 3501)
    Recent,
    /// `SIZE`
    Size,
    /// `UIDNEXT`
    UidNext,
    /// `UIDVALIDITY`
    UidValidity,
    /// `UNSEEN`
    Unseen,
}

impl StatusItem {
    /// Every item with its name.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::AppendLimit, "APPENDLIMIT"),
        (Self::Deleted, "DELETED"),
        (Self::DeletedStorage, "DELETED-STORAGE"),
        (Self::HighestModSeq, "HIGHESTMODSEQ"),
        (Self::MailboxId, "MAILBOXID"),
        (Self::Messages, "MESSAGES"),
        (Self::Recent, "RECENT"),
        (Self::Size, "SIZE"),
        (Self::UidNext, "UIDNEXT"),
        (Self::UidValidity, "UIDVALIDITY"),
        (Self::Unseen, "UNSEEN"),
    ];

    /// The name in command and response.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(item, _)| *item == self).map_or("", |(_, name)| name)
    }

    /// The item of a name, case folded.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| known.as_bytes().eq_ignore_ascii_case(name)).map(|(item, _)| *item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_has_its_name() {
        for (item, name) in StatusItem::ALL {
            assert_eq!(item.name(), name);
            assert_eq!(StatusItem::from_name(name.to_lowercase().as_bytes()), Some(item));
        }
        assert_eq!(StatusItem::from_name(b"UID"), None);
    }
}
