//! SEARCH and UID SEARCH.

use chrono::TimeDelta;
use posthorn_imap::{Completion, EsearchResult, Search, SearchKey, SearchReturn};
use posthorn_mail::Membership;
use posthorn_mail::search::Query;
use posthorn_model::{Flags, Keywords, ModSeq, NumberSet};

use super::selected::Selected;
use super::{Answer, Session, Stop};

impl Session {
    pub(super) async fn search(&mut self, tag: &[u8], search: Search) -> Answer {
        let saves = search.returns.is_some_and(|returns| returns.save);
        let found = match self.find(&search).await {
            Ok(found) => found,
            Err(stop) => {
                if saves {
                    self.forget_saved();
                }
                return Err(stop);
            }
        };
        let numbers: NumberSet = found.iter().map(|(sequence, m)| if search.uid { m.uid } else { *sequence }).collect();
        let mod_seq = if search.wants_modseq() { highest(search.returns, &found) } else { None };
        let rev2 = self.server.enabled().rev2;
        let Some(returns) = search.returns.or(rev2.then_some(SearchReturn { all: true, ..SearchReturn::default() }))
        else {
            self.server.out().search(numbers.iter(), mod_seq);
            return self.end_search();
        };
        if returns.save {
            self.keep_saved(saved(returns, &found));
        }
        // RFC 5182 §2.1: with SAVE alone nothing is told.
        if returns.all || returns.count || returns.min || returns.max {
            let result = EsearchResult {
                min: numbers.first().filter(|_| returns.min),
                max: numbers.last().filter(|_| returns.max),
                count: returns.count.then_some(numbers.len()),
                all: (returns.all && !numbers.is_empty()).then_some(numbers),
                mod_seq,
            };
            self.server.out().esearch(tag, search.uid, &result);
        }
        self.end_search()
    }

    /// RFC 5182 §2.1: a search that failed leaves an empty result behind.
    pub(super) fn forget_saved(&mut self) {
        self.keep_saved(NumberSet::new());
    }

    fn keep_saved(&mut self, uids: NumberSet) {
        if let Some(selected) = self.user.as_deref_mut().and_then(|user| user.selected.as_mut()) {
            selected.view.save(uids);
        }
    }

    fn end_search(&mut self) -> Answer {
        self.announce(None);
        Ok(Completion::ok("Searched"))
    }

    /// The messages of the client's view that match, with their sequence numbers.
    async fn find(&self, search: &Search) -> Result<Vec<(u32, Membership)>, Stop> {
        let (user, selected) = self.selected()?;
        let context = Context { selected, keywords: &user.account.keywords(), now: self.mail.now() };
        let query = context.query(&search.key)?;
        let found = self.mail.search(user.login.account, &selected.mailbox, &query).await?;
        let mut walk = selected.view.walk();
        Ok(found.into_iter().filter_map(|m| walk.seq_of(m.uid).map(|sequence| (sequence, m))).collect())
    }
}

/// The modification sequence to tell (RFC 7162 §3.1.10): of all that was found, or only of the ends where only those
/// are told.
fn highest(returns: Option<SearchReturn>, found: &[(u32, Membership)]) -> Option<ModSeq> {
    let modseq = |(_, m): &(u32, Membership)| m.modseq;
    match returns {
        Some(returns) if !returns.all && !returns.count && (returns.min || returns.max) => {
            let ends = [found.first().filter(|_| returns.min), found.last().filter(|_| returns.max)];
            ends.into_iter().flatten().map(modseq).max()
        }
        _ => found.iter().map(modseq).max(),
    }
}

/// What SAVE keeps (RFC 5182 §2.1): with MIN or MAX alone, only those.
fn saved(returns: SearchReturn, found: &[(u32, Membership)]) -> NumberSet {
    if returns.all || returns.count || !(returns.min || returns.max) {
        return found.iter().map(|(_, m)| m.uid).collect();
    }
    let ends = [found.first().filter(|_| returns.min), found.last().filter(|_| returns.max)];
    ends.into_iter().flatten().map(|(_, m)| m.uid).collect()
}

/// What search keys refer to.
struct Context<'c> {
    selected: &'c Selected,
    keywords: &'c Keywords,
    now: chrono::DateTime<chrono::Utc>,
}

impl Context<'_> {
    fn query(&self, key: &SearchKey) -> Result<Query, Stop> {
        let header = |name: &str, value: &str| Query::Header(name.to_owned(), value.to_owned());
        let day = |date: &chrono::NaiveDate| date.succ_opt().unwrap_or(*date);
        let within = |seconds: &u32| Query::Received(self.now - TimeDelta::seconds(i64::from(*seconds)));
        Ok(match key {
            SearchKey::All | SearchKey::SaveDateSupported => Query::All,
            SearchKey::And(keys) => Query::And(keys.iter().map(|key| self.query(key)).collect::<Result<_, _>>()?),
            SearchKey::Not(key) => Query::Not(Box::new(self.query(key)?)),
            SearchKey::Or(one, other) => Query::Or(Box::new(self.query(one)?), Box::new(self.query(other)?)),
            SearchKey::Bcc(text) => header("Bcc", text),
            SearchKey::Cc(text) => header("Cc", text),
            SearchKey::From(text) => header("From", text),
            SearchKey::To(text) => header("To", text),
            SearchKey::Subject(text) => header("Subject", text),
            SearchKey::Header { name, value } => header(name, value),
            SearchKey::Body(text) => Query::Body(text.clone()),
            SearchKey::Text(text) => Query::Text(text.clone()),
            SearchKey::Before(date) => Query::DayBefore(*date),
            SearchKey::Since(date) => Query::DaySince(*date),
            SearchKey::On(date) => both(Query::DaySince(*date), Query::DayBefore(day(date))),
            SearchKey::SentBefore(date) => Query::SentBefore(*date),
            SearchKey::SentSince(date) => Query::SentSince(*date),
            SearchKey::SentOn(date) => both(Query::SentSince(*date), Query::SentBefore(day(date))),
            SearchKey::SavedBefore(date) => Query::SavedBefore(*date),
            SearchKey::SavedSince(date) => Query::SavedSince(*date),
            SearchKey::SavedOn(date) => both(Query::SavedSince(*date), Query::SavedBefore(day(date))),
            SearchKey::Younger(seconds) => within(seconds),
            SearchKey::Older(seconds) => Query::Not(Box::new(within(seconds))),
            SearchKey::Larger(octets) => Query::Larger(*octets),
            SearchKey::Smaller(octets) => Query::Smaller(*octets),
            SearchKey::ModSeq(modseq) => Query::ModSeq(*modseq),
            SearchKey::Flagged(flags) => Query::Flagged(*flags),
            SearchKey::Unflagged(flags) => without(*flags),
            SearchKey::Keyword(name) => self.keyword(name).map_or(Query::Nothing, Query::Flagged),
            SearchKey::Unkeyword(name) => self.keyword(name).map_or(Query::All, without),
            SearchKey::EmailId(id) => email_id(id).map_or(Query::Nothing, Query::Message),
            // Nothing has \Recent here, and no message has a thread id.
            SearchKey::Recent | SearchKey::ThreadId(_) => Query::Nothing,
            SearchKey::Sequence(set) => Query::Uids(self.selected.resolve(set, false)?),
            SearchKey::Uid(set) => Query::Uids(self.selected.resolve(set, true)?),
        })
    }

    fn keyword(&self, name: &str) -> Option<Flags> {
        self.keywords.find(name)
    }
}

fn both(one: Query, other: Query) -> Query {
    Query::And(vec![one, other])
}

fn without(flags: Flags) -> Query {
    let one = |(flag, _): &(Flags, &str)| flags.contains(*flag).then(|| Query::Not(Box::new(Query::Flagged(*flag))));
    let system: Vec<Query> = Flags::SYSTEM.iter().filter_map(one).collect();
    if system.is_empty() { Query::Not(Box::new(Query::Flagged(flags))) } else { Query::And(system) }
}

/// An EMAILID as FETCH writes it.
pub(super) fn email_id_text(id: posthorn_model::MessageId) -> String {
    format!("E{:x}", id.0)
}

fn email_id(text: &str) -> Option<i64> {
    i64::from_str_radix(text.strip_prefix('E')?, 16).ok()
}
