//! The grammar of SEARCH (RFC 9051 §9 `search`, RFC 5032, RFC 5182, RFC 7162, RFC 8474, RFC 8514).

use posthorn_model::Flags;

use crate::cursor::{Cursor, Fault};
use crate::{Search, SearchKey, SearchReturn};

/// Keys in one command: bounds the work that one line can ask for.
const KEY_LIMIT: usize = 2000;

/// `[SP RETURN (options)] [SP CHARSET name] 1*(SP key)`
pub(crate) fn search(cursor: &mut Cursor<'_>, uid: bool) -> Result<Search, Fault> {
    cursor.space()?;
    let mut returns = None;
    if cursor.looking_at(b"RETURN ") {
        cursor.keyword(b"RETURN ")?;
        returns = Some(return_options(cursor)?);
        cursor.space()?;
    }
    if cursor.looking_at(b"CHARSET ") {
        charset(cursor, returns.is_some_and(|returns| returns.save))?;
    }
    let mut parser = Keys { keys: 0, depth: cursor.mode().search_depth };
    let mut keys = vec![parser.key(cursor)?];
    while cursor.eat(b' ') {
        keys.push(parser.key(cursor)?);
    }
    Ok(Search { uid, returns, key: all_of(keys) })
}

fn return_options(cursor: &mut Cursor<'_>) -> Result<SearchReturn, Fault> {
    let mut options = SearchReturn::default();
    cursor.list_or_empty(|cursor| {
        match cursor.word()?.to_ascii_uppercase().as_slice() {
            b"ALL" => options.all = true,
            b"COUNT" => options.count = true,
            b"MAX" => options.max = true,
            b"MIN" => options.min = true,
            b"SAVE" => options.save = true,
            _ => return Err(Fault::bad("Unknown search return option")),
        }
        Ok(())
    })?;
    if options == SearchReturn::default() {
        options.all = true;
    }
    Ok(options)
}

fn charset(cursor: &mut Cursor<'_>, saves: bool) -> Result<(), Fault> {
    // RFC 6855 §3
    if cursor.mode().utf8 {
        return Err(Fault::bad("CHARSET is not allowed under UTF8=ACCEPT"));
    }
    cursor.keyword(b"CHARSET ")?;
    let name = cursor.astring()?;
    if [&b"UTF-8"[..], b"US-ASCII"].iter().all(|known| !known.eq_ignore_ascii_case(&name)) {
        return Err(Fault::Charset { saves });
    }
    cursor.space()
}

fn all_of(mut keys: Vec<SearchKey>) -> SearchKey {
    match keys.len() {
        1 => keys.remove(0),
        _ => SearchKey::And(keys),
    }
}

/// Counts what was read, so that neither depth nor number of keys runs away.
struct Keys {
    keys: usize,
    depth: u32,
}

impl Keys {
    fn key(&mut self, cursor: &mut Cursor<'_>) -> Result<SearchKey, Fault> {
        self.keys += 1;
        if self.keys > KEY_LIMIT {
            return Err(Fault::bad("Too many search keys"));
        }
        match cursor.peek() {
            Some(b'(') => {
                self.descend()?;
                let keys = cursor.list(|cursor| self.key(cursor))?;
                self.depth += 1;
                Ok(all_of(keys))
            }
            Some(b'0'..=b'9' | b'*' | b'$') => cursor.sequence_set().map(SearchKey::Sequence),
            _ => self.named(cursor),
        }
    }

    fn descend(&mut self) -> Result<(), Fault> {
        self.depth = self.depth.checked_sub(1).ok_or(Fault::bad("Search keys are nested too deeply"))?;
        Ok(())
    }

    fn named(&mut self, cursor: &mut Cursor<'_>) -> Result<SearchKey, Fault> {
        let name = cursor.word().map_err(|_| Fault::bad("Expected a search key"))?.to_ascii_uppercase();
        if let Some(key) = flag_key(&name) {
            return Ok(key);
        }
        if name == b"SAVEDATESUPPORTED" {
            return Ok(SearchKey::SaveDateSupported);
        }
        if !ARGUED.contains(&name.as_slice()) {
            return Err(Fault::bad("Unknown search key"));
        }
        cursor.space()?;
        match name.as_slice() {
            b"NOT" => {
                self.descend()?;
                let key = self.key(cursor)?;
                self.depth += 1;
                Ok(SearchKey::Not(Box::new(key)))
            }
            b"OR" => {
                self.descend()?;
                let one = self.key(cursor)?;
                cursor.space()?;
                let other = self.key(cursor)?;
                self.depth += 1;
                Ok(SearchKey::Or(Box::new(one), Box::new(other)))
            }
            name => argued(name, cursor),
        }
    }
}

/// Keys without arguments.
fn flag_key(name: &[u8]) -> Option<SearchKey> {
    use SearchKey::{And, Flagged, Not, Recent, Unflagged};
    Some(match name {
        b"ALL" => SearchKey::All,
        b"ANSWERED" => Flagged(Flags::ANSWERED),
        b"DELETED" => Flagged(Flags::DELETED),
        b"DRAFT" => Flagged(Flags::DRAFT),
        b"FLAGGED" => Flagged(Flags::FLAGGED),
        b"NEW" => And(vec![Recent, Unflagged(Flags::SEEN)]),
        b"OLD" => Not(Box::new(Recent)),
        b"RECENT" => Recent,
        b"SEEN" => Flagged(Flags::SEEN),
        b"UNANSWERED" => Unflagged(Flags::ANSWERED),
        b"UNDELETED" => Unflagged(Flags::DELETED),
        b"UNDRAFT" => Unflagged(Flags::DRAFT),
        b"UNFLAGGED" => Unflagged(Flags::FLAGGED),
        b"UNSEEN" => Unflagged(Flags::SEEN),
        _ => return None,
    })
}

/// Keys with arguments.
const ARGUED: [&[u8]; 29] = [
    b"BCC",
    b"BEFORE",
    b"BODY",
    b"CC",
    b"EMAILID",
    b"FROM",
    b"HEADER",
    b"KEYWORD",
    b"LARGER",
    b"MODSEQ",
    b"NOT",
    b"OLDER",
    b"ON",
    b"OR",
    b"SAVEDBEFORE",
    b"SAVEDON",
    b"SAVEDSINCE",
    b"SENTBEFORE",
    b"SENTON",
    b"SENTSINCE",
    b"SINCE",
    b"SMALLER",
    b"SUBJECT",
    b"TEXT",
    b"THREADID",
    b"TO",
    b"UID",
    b"UNKEYWORD",
    b"YOUNGER",
];

fn argued(name: &[u8], cursor: &mut Cursor<'_>) -> Result<SearchKey, Fault> {
    Ok(match name {
        b"BCC" => SearchKey::Bcc(cursor.text()?),
        b"BEFORE" => SearchKey::Before(cursor.date()?),
        b"BODY" => SearchKey::Body(cursor.text()?),
        b"CC" => SearchKey::Cc(cursor.text()?),
        b"EMAILID" => SearchKey::EmailId(cursor.text()?),
        b"FROM" => SearchKey::From(cursor.text()?),
        b"HEADER" => {
            let name = cursor.text()?;
            cursor.space()?;
            SearchKey::Header { name, value: cursor.text()? }
        }
        b"KEYWORD" => SearchKey::Keyword(keyword(cursor)?),
        b"LARGER" => SearchKey::Larger(cursor.digits()?),
        b"MODSEQ" => SearchKey::ModSeq(mod_seq(cursor)?),
        b"OLDER" => SearchKey::Older(cursor.nz_number()?),
        b"ON" => SearchKey::On(cursor.date()?),
        b"SAVEDBEFORE" => SearchKey::SavedBefore(cursor.date()?),
        b"SAVEDON" => SearchKey::SavedOn(cursor.date()?),
        b"SAVEDSINCE" => SearchKey::SavedSince(cursor.date()?),
        b"SENTBEFORE" => SearchKey::SentBefore(cursor.date()?),
        b"SENTON" => SearchKey::SentOn(cursor.date()?),
        b"SENTSINCE" => SearchKey::SentSince(cursor.date()?),
        b"SINCE" => SearchKey::Since(cursor.date()?),
        b"SMALLER" => SearchKey::Smaller(cursor.digits()?),
        b"SUBJECT" => SearchKey::Subject(cursor.text()?),
        b"TEXT" => SearchKey::Text(cursor.text()?),
        b"THREADID" => SearchKey::ThreadId(cursor.text()?),
        b"TO" => SearchKey::To(cursor.text()?),
        b"UID" => SearchKey::Uid(cursor.sequence_set()?),
        b"UNKEYWORD" => SearchKey::Unkeyword(keyword(cursor)?),
        b"YOUNGER" => SearchKey::Younger(cursor.nz_number()?),
        _ => return Err(Fault::bad("Unknown search key")),
    })
}

fn keyword(cursor: &mut Cursor<'_>) -> Result<String, Fault> {
    cursor.atom().map(|name| String::from_utf8_lossy(name).into_owned())
}

/// `[entry-name SP entry-type SP] value`: flags have one modification sequence together, so the entry tells nothing
/// (RFC 7162 §3.1.5).
fn mod_seq(cursor: &mut Cursor<'_>) -> Result<u64, Fault> {
    if cursor.peek() == Some(b'"') {
        cursor.string()?;
        cursor.space()?;
        let kind = cursor.word()?;
        if ![&b"priv"[..], b"shared", b"all"].iter().any(|known| known.eq_ignore_ascii_case(kind)) {
            return Err(Fault::bad("Unknown entry type"));
        }
        cursor.space()?;
    }
    cursor.mod_sequence()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::Mode;
    use crate::{SequenceNumber, SequenceSet};
    use chrono::NaiveDate;

    fn parse(text: &str) -> Result<Search, Fault> {
        let text = format!(" {text}\r\n");
        let mut cursor = Cursor::new(text.as_bytes(), Mode { search_depth: 8, ..Mode::default() });
        let found = search(&mut cursor, false)?;
        cursor.end()?;
        Ok(found)
    }

    fn key(text: &str) -> SearchKey {
        parse(text).expect(text).key
    }

    #[test]
    fn every_key_of_the_list_is_known() {
        for name in ARGUED {
            let name = String::from_utf8_lossy(name);
            let known = ["a", "1", "1-Feb-2024", "a b", "ALL", "ALL ALL"]
                .iter()
                .any(|argument| parse(&format!("{name} {argument}")).is_ok());
            assert!(known, "{name}");
        }
        for name in ["ALL", "ANSWERED", "NEW", "OLD", "RECENT", "UNSEEN", "undraft", "SAVEDATESUPPORTED"] {
            assert!(parse(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn keys_are_joined_and_nested() {
        use SearchKey::{And, Flagged, From, Not, Or, Since, Subject};
        let day = NaiveDate::from_ymd_opt(1994, 2, 1).expect("valid");
        let expected = And(vec![Flagged(Flags::FLAGGED), Since(day), Not(Box::new(From("Smith".into())))]);
        assert_eq!(key("FLAGGED SINCE 1-Feb-1994 NOT FROM \"Smith\""), expected);
        let either = Or(Box::new(Subject("a b".into())), Box::new(And(vec![Flagged(Flags::SEEN), SearchKey::All])));
        assert_eq!(key("OR SUBJECT {3}\r\na b (SEEN ALL)"), either);
        assert_eq!(key("((ALL))"), SearchKey::All);
    }

    #[test]
    fn numbers_and_sets() {
        let set = SequenceSet::range(SequenceNumber::Number(2), SequenceNumber::Last);
        assert_eq!(key("2:*"), SearchKey::Sequence(set.clone()));
        assert_eq!(key("uid 2:*"), SearchKey::Uid(set));
        assert_eq!(key("$"), SearchKey::Sequence(SequenceSet::Saved));
        assert_eq!(key("LARGER 0"), SearchKey::Larger(0));
        assert_eq!(key("YOUNGER 3600"), SearchKey::Younger(3600));
        assert_eq!(key("MODSEQ \"/flags/\\\\draft\" all 620162338"), SearchKey::ModSeq(620_162_338));
        assert!(parse("OLDER 0").is_err());
        assert!(parse("MODSEQ \"/flags/x\" some 1").is_err());
    }

    #[test]
    fn charsets() {
        assert_eq!(key("CHARSET utf-8 SUBJECT \"ä\""), SearchKey::Subject("ä".into()));
        assert_eq!(parse("CHARSET KOI8-R ALL"), Err(Fault::Charset { saves: false }));
        assert_eq!(parse("RETURN (SAVE) CHARSET KOI8-R ALL"), Err(Fault::Charset { saves: true }));
        let mut cursor =
            Cursor::new(b" CHARSET UTF-8 ALL\r\n", Mode { utf8: true, search_depth: 8, ..Mode::default() });
        assert!(matches!(search(&mut cursor, false), Err(Fault::Bad(_))));
    }

    #[test]
    fn return_options() {
        let options = |text: &str| parse(text).expect(text).returns;
        assert_eq!(options("ALL"), None);
        assert_eq!(options("RETURN () ALL"), Some(SearchReturn { all: true, ..SearchReturn::default() }));
        let some = SearchReturn { min: true, count: true, save: true, ..SearchReturn::default() };
        assert_eq!(options("return (MIN count SAVE) ALL"), Some(some));
        assert!(parse("RETURN (FOO) ALL").is_err());
    }

    #[test]
    fn depth_and_number_are_bounded() {
        assert!(parse(&format!("{}ALL{}", "(".repeat(8), ")".repeat(8))).is_ok());
        assert!(parse(&format!("{}ALL{}", "(".repeat(9), ")".repeat(9))).is_err());
        assert!(parse(&format!("{}ALL", "NOT ".repeat(9))).is_err());
        assert!(parse(&format!("{}ALL", "OR ALL ".repeat(9))).is_err());
        assert!(parse(&"(".repeat(60_000)).is_err());
        assert!(parse(&"ALL ".repeat(KEY_LIMIT)).is_err());
    }

    #[test]
    fn malformed_keys() {
        for text in
            ["", "FOO", "NOT", "OR ALL", "SUBJECT", "()", "(ALL", "ALL ", "BEFORE yesterday", "0", "HEADER Date"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
