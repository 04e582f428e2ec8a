//! The commands that the application executes, as values.

use posthorn_model::{ModSeq, NumberSet};

use crate::{Fetch, List, Search, Secret, SequenceSet, StatusItem};

/// A parsed command that is legal in the session's state. Mailbox names are decoded to UTF-8 and `INBOX` is written so,
/// whatever its case was. What the session itself answers (CAPABILITY, ENABLE, ID, LOGOUT, STARTTLS) is not here, and
/// APPEND and IDLE have events of their own.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// `AUTHENTICATE mechanism [initial-response]`: answer with a challenge or finish.
    Authenticate {
        /// The mechanism's name in upper case; it is one of the offered ones.
        mechanism: String,
        /// The decoded initial response (RFC 4959); empty when the client wrote `=`.
        initial: Option<Secret>,
    },
    /// `CHECK`
    Check,
    /// `CLOSE`: expunge silently (unless read-only) and unselect.
    Close,
    /// `COPY` and `UID COPY`
    Copy {
        /// Whether `set` holds UIDs.
        uid: bool,
        /// Which messages.
        set: SequenceSet,
        /// Where to.
        mailbox: String,
    },
    /// `CREATE mailbox [(USE (...))]`
    Create {
        /// The new name; a trailing delimiter, which only announces children, is kept.
        mailbox: String,
        /// Special-use attributes as written, such as `\Sent` (RFC 6154 §3).
        uses: Vec<String>,
    },
    /// `DELETE`
    Delete {
        /// The name.
        mailbox: String,
    },
    /// `EXPUNGE`, or `UID EXPUNGE set` (RFC 4315)
    Expunge {
        /// Only these UIDs; `None` for all deleted messages.
        uids: Option<SequenceSet>,
    },
    /// `FETCH` and `UID FETCH`
    Fetch(Fetch),
    /// `GETQUOTA root` (RFC 9208)
    GetQuota {
        /// The quota root's name.
        root: String,
    },
    /// `GETQUOTAROOT mailbox`
    GetQuotaRoot {
        /// The mailbox whose roots are asked for.
        mailbox: String,
    },
    /// `LIST`
    List(List),
    /// `LOGIN`
    Login {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// `LSUB reference pattern` (RFC 3501 §6.3.9)
    Lsub {
        /// The reference name.
        reference: String,
        /// The pattern.
        pattern: String,
    },
    /// `MOVE` and `UID MOVE` (RFC 6851)
    Move {
        /// Whether `set` holds UIDs.
        uid: bool,
        /// Which messages.
        set: SequenceSet,
        /// Where to.
        mailbox: String,
    },
    /// `NAMESPACE`
    Namespace,
    /// `NOOP`
    Noop,
    /// `RENAME`
    Rename {
        /// The present name.
        from: String,
        /// The new name.
        to: String,
    },
    /// `SEARCH` and `UID SEARCH`
    Search(Search),
    /// `SELECT` and `EXAMINE`. The session has left the mailbox that was selected before, if any.
    Select(Select),
    /// `SETQUOTA root (resource limit ...)`
    SetQuota {
        /// The quota root's name.
        root: String,
        /// Resource names in upper case with their limits.
        limits: Vec<(String, u64)>,
    },
    /// `STATUS`
    Status {
        /// The mailbox.
        mailbox: String,
        /// What to tell, at least one item.
        items: Vec<StatusItem>,
    },
    /// `STORE` and `UID STORE`
    Store(Store),
    /// `SUBSCRIBE`
    Subscribe {
        /// The name, which need not exist.
        mailbox: String,
    },
    /// `UNSELECT`: leave the mailbox without expunging.
    Unselect,
    /// `UNSUBSCRIBE`
    Unsubscribe {
        /// The name.
        mailbox: String,
    },
}

/// SELECT or EXAMINE with its parameters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Select {
    /// The mailbox.
    pub mailbox: String,
    /// EXAMINE rather than SELECT.
    pub read_only: bool,
    /// Whether CONDSTORE was asked for; it is enabled then.
    pub condstore: bool,
    /// Whether a mailbox was selected until now: an `* OK [CLOSED]` has been written where the client needs it.
    pub reselect: bool,
    /// The client's memory of the mailbox; QRESYNC is enabled then.
    pub qresync: Option<Qresync>,
}

/// What a returning client remembers (RFC 7162 §3.2.5).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Qresync {
    /// The last known UIDVALIDITY.
    pub uid_validity: u32,
    /// The last known modification sequence.
    pub mod_seq: ModSeq,
    /// The UIDs the client knows; `None` stands for all below UIDNEXT.
    pub known_uids: Option<NumberSet>,
    /// Sequence numbers and UIDs that belonged together, in ascending order and of equal count.
    pub known_pairs: Option<(NumberSet, NumberSet)>,
}

/// STORE or UID STORE.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Store {
    /// Whether `set` holds UIDs.
    pub uid: bool,
    /// Which messages.
    pub set: SequenceSet,
    /// Only messages not changed since (RFC 7162 §3.1.3).
    pub unchanged_since: Option<ModSeq>,
    /// Whether the client does not want to be told the new flags.
    pub silent: bool,
    /// What to do with the flags.
    pub action: StoreAction,
    /// Flag names as written: `\Seen`, `$Junk`; no `\Recent`.
    pub flags: Vec<String>,
}

/// What STORE does with its flags.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StoreAction {
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
    /// `FLAGS`
    Replace,
}
