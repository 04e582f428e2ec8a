//! `[mail]`: what holds for every message and mailbox.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Size;

/// What holds for every message and mailbox.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mail {
    /// The character between user and detail in `user+detail@example.org` (RFC 5233).
    #[schemars(extend("format" = "char"))]
    pub subaddress_separator: char,
    /// The mailboxes that every account has from the start.
    pub folders: SpecialFolders,
    /// The largest message that is accepted anywhere; also APPENDLIMIT.
    pub max_message_size: Size,
    /// The octets an account may store unless it has a quota of its own; 0 is no limit.
    pub quota: Size,
    /// The messages an account may store unless it has a quota of its own; 0 is no limit.
    pub quota_messages: u64,
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            subaddress_separator: '+',
            folders: SpecialFolders::default(),
            max_message_size: Size::mebibytes(50),
            quota: Size::bytes(0),
            quota_messages: 0,
        }
    }
}

/// The names of the mailboxes with a special use (RFC 6154).
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpecialFolders {
    /// `\Archive`
    pub archive: String,
    /// `\Drafts`
    pub drafts: String,
    /// `\Junk`
    pub junk: String,
    /// `\Sent`
    pub sent: String,
    /// `\Trash`
    pub trash: String,
}

impl Default for SpecialFolders {
    fn default() -> Self {
        Self {
            archive: "Archive".into(),
            drafts: "Drafts".into(),
            junk: "Junk".into(),
            sent: "Sent".into(),
            trash: "Trash".into(),
        }
    }
}
