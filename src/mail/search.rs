//! Finding messages of a mailbox: flags, numbers and dates in memory, headers and bodies only where they are asked for.

use std::ops::ControlFlow;

use chrono::{DateTime, NaiveDate, Utc};
use posthorn_model::{Flags, ModSeq, NumberSet};
use posthorn_store::memberships::Membership;

use crate::live::LiveMailbox;
use crate::selected::structure;
use crate::{Mail, Result};

/// How many messages are read from the store at once while headers are searched.
const HEADERS_AT_ONCE: usize = 500;

/// How many octets of messages are read at once while bodies are searched.
const OCTETS_AT_ONCE: u64 = 4 << 20;

/// What to look for. Texts compare with case folded.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// Every message.
    All,
    /// All of these.
    And(Vec<Query>),
    /// The text parts contain this.
    Body(String),
    /// INTERNALDATE is on a day before this one.
    DayBefore(NaiveDate),
    /// INTERNALDATE is on this day or a later one.
    DaySince(NaiveDate),
    /// All of these flags are set.
    Flagged(Flags),
    /// A header field of this name contains this; empty matches every message that has the field.
    Header(String, String),
    /// More octets than this.
    Larger(u64),
    /// The message of this id.
    Message(i64),
    /// Changed at or after this.
    ModSeq(ModSeq),
    /// No message.
    Nothing,
    /// Not this.
    Not(Box<Query>),
    /// One of these.
    Or(Box<Query>, Box<Query>),
    /// INTERNALDATE is at this moment or later.
    Received(DateTime<Utc>),
    /// It was put into the mailbox on a day before this one.
    SavedBefore(NaiveDate),
    /// It was put into the mailbox on this day or a later one.
    SavedSince(NaiveDate),
    /// The Date field names a day before this one.
    SentBefore(NaiveDate),
    /// The Date field names this day or a later one.
    SentSince(NaiveDate),
    /// Fewer octets than this.
    Smaller(u64),
    /// Header or text parts contain this.
    Text(String),
    /// The UID is one of these.
    Uids(NumberSet),
}

/// How much of a message must be read to answer a query.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Depth {
    Memory,
    Saved,
    Header,
    Body,
}

/// What was read of one message.
#[derive(Default)]
struct Known<'k> {
    saved: Option<NaiveDate>,
    sent: Option<NaiveDate>,
    header: Option<&'k [u8]>,
    raw: Option<&'k [u8]>,
    structure: Option<posthorn_mime::Structure>,
}

impl Mail {
    /// The messages that match, by UID.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn search(
        &self,
        account: posthorn_model::AccountId,
        mailbox: &LiveMailbox,
        query: &Query,
    ) -> Result<Vec<Membership>> {
        let query = query.folded();
        let depth = query.depth();
        // What memory alone can rule out is never read from the store.
        let candidates: Vec<Membership> = mailbox
            .with(|messages| messages.iter().copied().filter(|m| query.decide(m, None).unwrap_or(true)).collect());
        match depth {
            Depth::Memory => Ok(candidates),
            Depth::Saved => self.search_saved(account, mailbox, &query, candidates).await,
            Depth::Header | Depth::Body => {
                let mut found = Vec::new();
                for batch in batches(&candidates, depth) {
                    self.search_batch((account, mailbox), &query, batch, &mut found).await?;
                }
                Ok(found)
            }
        }
    }

    async fn search_saved(
        &self,
        account: posthorn_model::AccountId,
        mailbox: &LiveMailbox,
        query: &Query,
        candidates: Vec<Membership>,
    ) -> Result<Vec<Membership>> {
        let saved = self.saved(account, mailbox.id(), &candidates.iter().map(|m| m.uid).collect()).await?;
        let known = |m: &Membership| Known { saved: saved.get(&m.uid).map(DateTime::date_naive), ..Known::default() };
        Ok(candidates.into_iter().filter(|m| query.decide(m, Some(&known(m))).unwrap_or(false)).collect())
    }

    async fn search_batch(
        &self,
        (account, mailbox): (posthorn_model::AccountId, &LiveMailbox),
        query: &Query,
        batch: &[Membership],
        found: &mut Vec<Membership>,
    ) -> Result<()> {
        let ids: Vec<i64> = batch.iter().map(|m| m.message.0).collect();
        let whole = query.depth() == Depth::Body;
        let messages = self.messages(&ids).await?;
        let octets = if whole { self.bodies(&ids).await? } else { self.headers(&ids).await? };
        let saved = if query.any(&|q| matches!(q, Query::SavedBefore(_) | Query::SavedSince(_))) {
            self.saved(account, mailbox.id(), &batch.iter().map(|m| m.uid).collect()).await?
        } else {
            Default::default()
        };
        let sent = query.any(&|q| matches!(q, Query::SentBefore(_) | Query::SentSince(_)));
        for m in batch {
            let (Some(message), Some(octets)) = (messages.get(&m.message), octets.get(&m.message)) else { continue };
            let header = octets.header();
            let known = Known {
                saved: saved.get(&m.uid).map(DateTime::date_naive),
                sent: if sent { day_sent(&header) } else { None },
                header: Some(&header),
                raw: whole.then_some(octets.whole.as_ref()),
                structure: if whole { Some(structure(message)?) } else { None },
            };
            if query.decide(m, Some(&known)).unwrap_or(false) {
                found.push(*m);
            }
        }
        // Searching text takes the processor for a while: let others have a turn.
        tokio::task::yield_now().await;
        Ok(())
    }
}

impl Query {
    /// The same with texts folded for comparison.
    fn folded(&self) -> Self {
        match self {
            Self::And(all) => Self::And(all.iter().map(Self::folded).collect()),
            Self::Not(one) => Self::Not(Box::new(one.folded())),
            Self::Or(one, other) => Self::Or(Box::new(one.folded()), Box::new(other.folded())),
            Self::Body(text) => Self::Body(posthorn_mime::fold(text)),
            Self::Text(text) => Self::Text(posthorn_mime::fold(text)),
            Self::Header(name, text) => Self::Header(name.clone(), posthorn_mime::fold(text)),
            other => other.clone(),
        }
    }

    fn any(&self, test: &dyn Fn(&Self) -> bool) -> bool {
        test(self)
            || match self {
                Self::And(all) => all.iter().any(|one| one.any(test)),
                Self::Not(one) => one.any(test),
                Self::Or(one, other) => one.any(test) || other.any(test),
                _ => false,
            }
    }

    fn depth(&self) -> Depth {
        match self {
            Self::And(all) => all.iter().map(Self::depth).max().unwrap_or(Depth::Memory),
            Self::Not(one) => one.depth(),
            Self::Or(one, other) => one.depth().max(other.depth()),
            Self::Body(_) | Self::Text(_) => Depth::Body,
            Self::Header(..) | Self::SentBefore(_) | Self::SentSince(_) => Depth::Header,
            Self::SavedBefore(_) | Self::SavedSince(_) => Depth::Saved,
            _ => Depth::Memory,
        }
    }

    /// Whether the message matches; `None` when that depends on what is not known yet.
    fn decide(&self, m: &Membership, known: Option<&Known<'_>>) -> Option<bool> {
        let day = || DateTime::from_timestamp_millis(m.internal_date).unwrap_or_default().date_naive();
        Some(match self {
            Self::All => true,
            Self::Nothing => false,
            Self::And(all) => return all_of(all.iter().map(|one| one.decide(m, known))),
            Self::Or(one, other) => {
                let sides = [one.decide(m, known), other.decide(m, known)];
                return all_of(sides.into_iter().map(|side| side.map(|yes| !yes))).map(|none| !none);
            }
            Self::Not(one) => return one.decide(m, known).map(|yes| !yes),
            Self::DayBefore(date) => day() < *date,
            Self::DaySince(date) => day() >= *date,
            Self::Flagged(flags) => m.flags.contains(*flags),
            Self::Larger(octets) => u64::from(m.size) > *octets,
            Self::Smaller(octets) => u64::from(m.size) < *octets,
            Self::Message(id) => m.message.0 == *id,
            Self::ModSeq(modseq) => m.modseq >= *modseq,
            Self::Received(moment) => m.internal_date >= moment.timestamp_millis(),
            Self::Uids(uids) => uids.contains(m.uid),
            Self::SavedBefore(date) => known?.saved? < *date,
            Self::SavedSince(date) => known?.saved? >= *date,
            Self::SentBefore(date) => known?.sent.is_some_and(|sent| sent < *date),
            Self::SentSince(date) => known?.sent.is_some_and(|sent| sent >= *date),
            Self::Header(name, text) => header_contains(known?.header?, name, text),
            Self::Body(text) => body_contains(known?, text)?,
            Self::Text(text) => all_header_contains(known?.header?, text) || body_contains(known?, text)?,
        })
    }
}

/// Whether all are true: `Some(false)` as soon as one is false, `None` when it depends on an unknown one.
fn all_of(mut sides: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut sure = true;
    let refuted = sides.any(|side| {
        sure &= side.is_some();
        side == Some(false)
    });
    if refuted { Some(false) } else { sure.then_some(true) }
}

/// The day that the first Date field writes.
fn day_sent(header: &[u8]) -> Option<NaiveDate> {
    let field = posthorn_mime::fields(header).find(|field| field.is("Date"))?;
    posthorn_mime::date_day(&field.unfolded())
}

fn header_contains(header: &[u8], name: &str, text: &str) -> bool {
    posthorn_mime::header_text(header, name).any(|value| text.is_empty() || posthorn_mime::contains_fold(&value, text))
}

fn all_header_contains(header: &[u8], text: &str) -> bool {
    posthorn_mime::fields(header).any(|field| {
        posthorn_mime::contains_fold(&field.text(), text)
            || posthorn_mime::contains_fold(&String::from_utf8_lossy(field.name), text)
    })
}

fn body_contains(known: &Known<'_>, text: &str) -> Option<bool> {
    let visit = |part: &str| {
        if posthorn_mime::contains_fold(part, text) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    Some(posthorn_mime::body_text(known.structure.as_ref()?, known.raw?, visit).is_break())
}

/// The candidates in pieces that may be read at once.
fn batches(candidates: &[Membership], depth: Depth) -> impl Iterator<Item = &[Membership]> {
    let mut rest = candidates;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut octets = 0;
        let fits = |m: &&Membership| {
            octets += u64::from(m.size);
            depth == Depth::Header || octets <= OCTETS_AT_ONCE
        };
        let count = rest.iter().take(HEADERS_AT_ONCE).take_while(fits).count().max(1);
        let (batch, behind) = rest.split_at(count);
        rest = behind;
        Some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use posthorn_model::MessageId;

    fn message(uid: u32, flags: Flags) -> Membership {
        Membership { uid, size: 1000, message: MessageId(1), flags, modseq: 5, internal_date: 86_400_000 }
    }

    #[test]
    fn memory_decides_what_it_can() {
        let seen = message(1, Flags::SEEN);
        let unread_from = Query::And(vec![
            Query::Not(Box::new(Query::Flagged(Flags::SEEN))),
            Query::Header("From".into(), "bob".into()),
        ]);
        assert_eq!(unread_from.decide(&seen, None), Some(false));
        assert_eq!(unread_from.decide(&message(2, Flags::none()), None), None);
        let either = Query::Or(Box::new(Query::All), Box::new(Query::Body("x".into())));
        assert_eq!(either.decide(&seen, None), Some(true));
    }

    #[test]
    fn header_decides_the_rest() {
        let query = Query::Header("From".into(), "b\u{fc}cher".into());
        let known = |header| Known { header: Some(header), ..Known::default() };
        let m = message(1, Flags::none());
        assert_eq!(
            query.decide(&m, Some(&known(b"From: =?utf-8?q?B=C3=BCcher?= <b@example.org>\r\n\r\n"))),
            Some(true)
        );
        assert_eq!(query.decide(&m, Some(&known(b"To: b\r\n\r\n"))), Some(false));
    }

    #[test]
    fn batches_are_bounded() {
        let many: Vec<Membership> =
            (1..=1200).map(|uid| Membership { size: 1 << 20, ..message(uid, Flags::none()) }).collect();
        assert_eq!(batches(&many, Depth::Header).map(<[_]>::len).collect::<Vec<_>>(), [500, 500, 200]);
        assert!(batches(&many, Depth::Body).all(|batch| batch.len() == 4));
    }
}
