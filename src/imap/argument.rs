//! Arguments that several commands share.

use std::borrow::Cow;

use chrono::{DateTime, FixedOffset, NaiveDate};
use posthorn_model::{ModSeq, NumberSet};

use crate::cursor::{Cursor, Fault};
use crate::{SequenceNumber, SequenceSet, StatusItem, date, mailbox_name, pattern};

/// Between the levels of mailbox names.
const DELIMITER: char = '/';

/// Ranges in one sequence set: enough for any real client's command of 64 KiB, and a bound for the work it makes.
const RANGE_LIMIT: usize = 16_384;

impl Cursor<'_> {
    /// A string as UTF-8.
    pub(crate) fn text(&mut self) -> Result<String, Fault> {
        utf8(self.astring()?)
    }

    /// A mailbox name, decoded.
    pub(crate) fn mailbox(&mut self) -> Result<String, Fault> {
        let octets = self.astring()?;
        match self.decode_name(octets)? {
            name if name.is_empty() => Err(Fault::bad("Mailbox name is empty")),
            name => Ok(mailbox_name::fold_inbox(name, DELIMITER)),
        }
    }

    /// A reference name of LIST, decoded; it may be empty.
    pub(crate) fn reference(&mut self) -> Result<String, Fault> {
        let octets = self.astring()?;
        self.decode_name(octets)
    }

    /// A pattern of LIST, decoded.
    pub(crate) fn pattern(&mut self) -> Result<String, Fault> {
        let octets = self.list_string()?;
        self.decode_name(octets).map(|pattern| pattern::simplify(&pattern))
    }

    fn decode_name(&self, octets: Cow<'_, [u8]>) -> Result<String, Fault> {
        if self.mode().names_are_utf8() {
            return utf8(octets);
        }
        mailbox_name::decode(&octets).ok_or(Fault::bad("Mailbox name is not in modified UTF-7"))
    }

    /// `(flag flag ...)`, or `()`.
    pub(crate) fn flag_list(&mut self) -> Result<Vec<String>, Fault> {
        let flags = self.list_or_empty(Self::flag)?;
        Ok(flags.into_iter().flatten().collect())
    }

    /// One flag; `None` for `\Recent`, which clients cannot set (RFC 3501 §2.3.2) and some try to.
    pub(crate) fn flag(&mut self) -> Result<Option<String>, Fault> {
        let system = self.eat(b'\\');
        let name = String::from_utf8_lossy(self.atom()?);
        Ok(match system {
            false => Some(name.into_owned()),
            true if name.eq_ignore_ascii_case("Recent") => None,
            true => Some(format!("\\{name}")),
        })
    }

    /// `"dd-Mon-yyyy hh:mm:ss +zzzz"`
    pub(crate) fn date_time(&mut self) -> Result<DateTime<FixedOffset>, Fault> {
        let text = self.string()?;
        date::parse_date_time(&text).ok_or(Fault::bad("Malformed date-time"))
    }

    /// `d-Mon-yyyy`, in quotes or not.
    pub(crate) fn date(&mut self) -> Result<NaiveDate, Fault> {
        let text = self.astring()?;
        date::parse_date(&text).ok_or(Fault::bad("Malformed date"))
    }

    /// A sequence set, or `$`.
    pub(crate) fn sequence_set(&mut self) -> Result<SequenceSet, Fault> {
        if self.eat(b'$') {
            return Ok(SequenceSet::Saved);
        }
        let mut ranges = Vec::new();
        loop {
            let from = self.sequence_number()?;
            let to = if self.eat(b':') { self.sequence_number()? } else { from };
            ranges.push((from, to));
            if ranges.len() > RANGE_LIMIT {
                return Err(Fault::bad("Sequence set has too many ranges"));
            }
            if !self.eat(b',') {
                return Ok(SequenceSet::Ranges(ranges));
            }
        }
    }

    fn sequence_number(&mut self) -> Result<SequenceNumber, Fault> {
        if self.eat(b'*') {
            return Ok(SequenceNumber::Last);
        }
        self.nz_number().map(SequenceNumber::Number)
    }

    /// A set of numbers without `*` and `$` (RFC 7162 §7 `known-uids`).
    pub(crate) fn known_set(&mut self) -> Result<NumberSet, Fault> {
        let set = self.sequence_set()?;
        let starred = match &set {
            SequenceSet::Saved => true,
            SequenceSet::Ranges(ranges) => {
                ranges.iter().any(|&(from, to)| from == SequenceNumber::Last || to == SequenceNumber::Last)
            }
        };
        if starred {
            return Err(Fault::bad("Expected a set of numbers without '*' and '$'"));
        }
        Ok(set.resolve(0, &NumberSet::new()))
    }

    /// A modification sequence that may be zero (RFC 7162 §7 `mod-sequence-valzer`).
    pub(crate) fn mod_sequence(&mut self) -> Result<ModSeq, Fault> {
        self.digits()
    }

    /// `(item item ...)` of STATUS.
    pub(crate) fn status_items(&mut self) -> Result<Vec<StatusItem>, Fault> {
        let all = self.list(|cursor| StatusItem::from_name(cursor.atom()?).ok_or(Fault::bad("Unknown STATUS item")))?;
        let mut once = Vec::with_capacity(StatusItem::ALL.len());
        for item in all {
            if !once.contains(&item) {
                once.push(item);
            }
        }
        Ok(once)
    }
}

fn utf8(octets: Cow<'_, [u8]>) -> Result<String, Fault> {
    String::from_utf8(octets.into_owned()).map_err(|_| Fault::bad("String is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::Mode;

    fn cursor(text: &str) -> Cursor<'_> {
        Cursor::new(text.as_bytes(), Mode::default())
    }

    #[test]
    fn sets_are_read_as_they_are_written() {
        for text in ["1", "*", "$", "1:3,7,9:*", "*:4", "4294967295"] {
            assert_eq!(cursor(text).sequence_set().expect("valid").to_string(), text);
        }
        for text in ["0", "", "1:", ",1", "1,,2", "4294967296", "a", "1,$"] {
            assert!(cursor(text).sequence_set().is_err(), "{text}");
        }
    }

    #[test]
    fn known_sets_are_plain() {
        assert_eq!(cursor("3,1:2").known_set().expect("valid").to_string(), "1:3");
        assert!(cursor("1:*").known_set().is_err());
        assert!(cursor("$").known_set().is_err());
    }

    #[test]
    fn names_are_decoded_by_mode() {
        assert_eq!(cursor("\"Entw&APw-rfe\"").mailbox(), Ok("Entwürfe".into()));
        assert_eq!(cursor("inbox").mailbox(), Ok("INBOX".into()));
        assert!(cursor("\"Entwürfe\"").mailbox().is_err());
        assert!(cursor("\"\"").mailbox().is_err());
        let utf8 = Mode { rev2: true, ..Mode::default() };
        assert_eq!(Cursor::new("\"Entwürfe\"".as_bytes(), utf8).mailbox(), Ok("Entwürfe".into()));
        assert_eq!(Cursor::new(b"R&D", utf8).mailbox(), Ok("R&D".into()));
        assert!(Cursor::new(b"\"\xFF\"", utf8).mailbox().is_err());
    }

    #[test]
    fn flags_lose_recent() {
        assert_eq!(cursor("(\\Seen \\recent $Junk)").flag_list(), Ok(vec!["\\Seen".into(), "$Junk".into()]));
        assert_eq!(cursor("()").flag_list(), Ok(vec![]));
        assert!(cursor("(\\)").flag_list().is_err());
    }

    #[test]
    fn status_items_come_once() {
        let items = cursor("(MESSAGES unseen messages SIZE)").status_items();
        assert_eq!(items, Ok(vec![StatusItem::Messages, StatusItem::Unseen, StatusItem::Size]));
        assert!(cursor("(UID)").status_items().is_err());
    }
}
