//! What SEARCH asks for (RFC 9051 §6.4.4).

use chrono::NaiveDate;
use posthorn_model::{Flags, ModSeq};

use crate::SequenceSet;

/// A SEARCH or UID SEARCH command. Strings are decoded to UTF-8.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Search {
    /// Whether numbers in the answer are UIDs.
    pub uid: bool,
    /// What RETURN asked for; `None` without RETURN: then the answer is `* SEARCH` in rev1 and as if RETURN (ALL) in rev2.
    pub returns: Option<SearchReturn>,
    /// What to find.
    pub key: SearchKey,
}

impl Search {
    /// Whether MODSEQ is among the keys: the answer then tells the highest one found (RFC 7162 §3.1.5).
    #[must_use]
    pub fn wants_modseq(&self) -> bool {
        self.key.any(&|key| matches!(key, SearchKey::ModSeq(_)))
    }
}

/// Result options of RETURN (RFC 9051 §6.4.4, RFC 5182). An empty list asks for ALL, which the parser then sets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SearchReturn {
    /// `ALL`
    pub all: bool,
    /// `COUNT`
    pub count: bool,
    /// `MAX`
    pub max: bool,
    /// `MIN`
    pub min: bool,
    /// `SAVE`: remember the result as `$`.
    pub save: bool,
}

/// A condition on one message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SearchKey {
    /// Every message.
    All,
    /// All of these.
    And(Vec<SearchKey>),
    /// The Bcc field contains this.
    Bcc(String),
    /// Received before this day, by INTERNALDATE without its zone.
    Before(NaiveDate),
    /// A body contains this.
    Body(String),
    /// The Cc field contains this.
    Cc(String),
    /// The EMAILID is this (RFC 8474).
    EmailId(String),
    /// All of these system flags are set.
    Flagged(Flags),
    /// The From field contains this.
    From(String),
    /// A field of this name contains the value; an empty value asks whether the field is there.
    Header {
        /// The field's name.
        name: String,
        /// What it contains.
        value: String,
    },
    /// The keyword is set.
    Keyword(String),
    /// Larger than this many octets.
    Larger(u64),
    /// The modification sequence is this or higher (RFC 7162 §3.1.5).
    ModSeq(ModSeq),
    /// Not this.
    Not(Box<SearchKey>),
    /// Received more than this many seconds ago (RFC 5032).
    Older(u32),
    /// Received on this day.
    On(NaiveDate),
    /// One of the two.
    Or(Box<SearchKey>, Box<SearchKey>),
    /// `\Recent` is set: never, here (RFC 9051 drops it). NEW and OLD are built from it.
    Recent,
    /// Saves have a date here: always, here (RFC 8514 SAVEDATESUPPORTED).
    SaveDateSupported,
    /// Saved before this day (RFC 8514).
    SavedBefore(NaiveDate),
    /// Saved on this day.
    SavedOn(NaiveDate),
    /// Saved on this day or later.
    SavedSince(NaiveDate),
    /// The Date field is before this day.
    SentBefore(NaiveDate),
    /// The Date field is on this day.
    SentOn(NaiveDate),
    /// The Date field is on this day or later.
    SentSince(NaiveDate),
    /// The sequence number is among these.
    Sequence(SequenceSet),
    /// Received on this day or later.
    Since(NaiveDate),
    /// Smaller than this many octets.
    Smaller(u64),
    /// The Subject field contains this.
    Subject(String),
    /// Header or body contains this.
    Text(String),
    /// The THREADID is this (RFC 8474).
    ThreadId(String),
    /// The To field contains this.
    To(String),
    /// The UID is among these.
    Uid(SequenceSet),
    /// None of these system flags is set.
    Unflagged(Flags),
    /// The keyword is not set.
    Unkeyword(String),
    /// Received within this many seconds (RFC 5032).
    Younger(u32),
}

impl SearchKey {
    /// Whether the test holds for this key or one inside it.
    pub fn any(&self, test: &dyn Fn(&Self) -> bool) -> bool {
        test(self)
            || match self {
                Self::And(keys) => keys.iter().any(|key| key.any(test)),
                Self::Not(key) => key.any(test),
                Self::Or(one, other) => one.any(test) || other.any(test),
                _ => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modseq_is_found_at_any_depth() {
        let deep = SearchKey::Not(Box::new(SearchKey::Or(
            Box::new(SearchKey::All),
            Box::new(SearchKey::And(vec![SearchKey::Recent, SearchKey::ModSeq(7)])),
        )));
        assert!(Search { uid: false, returns: None, key: deep }.wants_modseq());
        assert!(!Search { uid: false, returns: None, key: SearchKey::All }.wants_modseq());
    }
}
