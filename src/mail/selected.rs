//! What a session does with the messages of a mailbox: flags, copies, moves, expunges, reading.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use posthorn_mime::Structure;
use posthorn_model::{AccountId, Flags, KeywordError, Keywords, MailboxId, MessageId, ModSeq, NumberSet, Uid};
use posthorn_store::changes::{self, Change, Kind};
use posthorn_store::mailboxes::Delta;
use posthorn_store::memberships::{self, FlagChange, Membership};
use posthorn_store::messages::{self, Message};
use posthorn_store::states::{self, State};
use posthorn_store::{Transaction, mailboxes};

use crate::live::{LiveAccount, LiveMailbox};
use crate::{Error, Mail, Result};

/// The octets of a message, shared.
#[derive(Clone, Debug, Default)]
pub struct Octets {
    /// How many of them are the header block with its empty line.
    pub header_size: usize,
    /// Header and text.
    pub whole: Bytes,
}

impl Octets {
    /// The header block with its empty line.
    #[must_use]
    pub fn header(&self) -> Bytes {
        self.whole.slice(..self.header_size.min(self.whole.len()))
    }

    /// Everything after it.
    #[must_use]
    pub fn text(&self) -> Bytes {
        self.whole.slice(self.header_size.min(self.whole.len())..)
    }
}

/// What a change of flags did.
#[derive(Clone, Debug, Default)]
pub struct Flagged {
    /// The messages whose flags are now different.
    pub changed: Vec<Membership>,
    /// When each of those had changed before, in the same order.
    pub before: Vec<ModSeq>,
    /// UIDs that had changed since `unchanged_since`, and were left alone.
    pub modified: NumberSet,
}

/// What a copy or a move did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Transferred {
    /// UIDs in the source and the UIDs they got, in the same order; both empty when nothing was there to take.
    Done {
        /// UIDVALIDITY of the target.
        uid_validity: u32,
        /// In the source.
        source: NumberSet,
        /// In the target.
        target: NumberSet,
    },
    /// The target does not exist.
    NoMailbox,
    /// The quota has no room for copies.
    OverQuota,
}

impl Mail {
    /// The live state of an account.
    ///
    /// # Errors
    /// [`Error::NoAccount`], or when the store cannot be read.
    pub async fn look_at(&self, account: AccountId) -> Result<Arc<LiveAccount>> {
        self.shared.live.account(account).await
    }

    /// The bits of flag names; unknown keywords are added to the account.
    ///
    /// # Errors
    /// When the store fails. The inner error says why a keyword cannot be one.
    pub async fn flags(
        &self,
        account: AccountId,
        names: &[String],
    ) -> Result<std::result::Result<Flags, KeywordError>> {
        let live = self.look_at(account).await?;
        let mut known = (*live.keywords()).clone();
        let flags = match intern(&mut known, names) {
            Ok(flags) => flags,
            Err(error) => return Ok(Err(error)),
        };
        if known == *live.keywords() {
            return Ok(Ok(flags));
        }
        let mut transaction = self.store.begin().await?;
        let state = states::advance(&mut transaction, account).await?.ok_or(Error::NoAccount)?;
        let mut keywords = state.keywords;
        let flags = match intern(&mut keywords, names) {
            Ok(flags) => flags,
            Err(error) => return Ok(Err(error)),
        };
        states::set_keywords(&mut transaction, account, &keywords).await?;
        transaction.commit().await?;
        live.set_keywords(keywords);
        Ok(Ok(flags))
    }

    /// Changes flags of messages.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn change_flags(
        &self,
        (account, mailbox): (&LiveAccount, &LiveMailbox),
        uids: &NumberSet,
        change: FlagChange,
        unchanged_since: Option<ModSeq>,
    ) -> Result<Flagged> {
        let mut transaction = self.store.begin().await?;
        let state = states::advance(&mut transaction, account.id()).await?.ok_or(Error::NoAccount)?;
        let present = memberships::among(&mut transaction, account.id(), mailbox.id(), uids).await?;
        let mut flagged = Flagged::default();
        let mut delta = Delta::default();
        let mut gained = Vec::new();
        for mut message in present {
            if unchanged_since.is_some_and(|since| message.modseq > since) {
                flagged.modified.insert(message.uid);
                continue;
            }
            let flags = change.apply(message.flags);
            if flags == message.flags {
                continue;
            }
            let has = |flags: Flags, flag| i64::from(flags.contains(flag));
            delta.unseen += has(message.flags, Flags::SEEN) - has(flags, Flags::SEEN);
            delta.deleted += has(flags, Flags::DELETED) - has(message.flags, Flags::DELETED);
            flagged.before.push(message.modseq);
            gained.push((message.message, flags & !message.flags));
            message.flags = flags;
            message.modseq = state.modseq;
            flagged.changed.push(message);
        }
        if flagged.changed.is_empty() {
            return Ok(flagged);
        }
        let place = (account.id(), mailbox.id());
        let new: Vec<(Uid, Flags)> = flagged.changed.iter().map(|m| (m.uid, m.flags)).collect();
        memberships::set_flags(&mut transaction, place, &new, state.modseq).await?;
        mailboxes::count(&mut transaction, place, state.modseq, delta, 0).await?;
        let uids = new.iter().map(|(uid, _)| *uid).collect();
        let change = Change { modseq: state.modseq, mailbox: mailbox.id(), kind: Kind::Flagged, uids };
        changes::log(&mut transaction, account.id(), &change).await?;
        changes::tell(&mut transaction, account.id(), state.modseq).await?;
        transaction.commit().await?;
        account.committed(&[change], &[(mailbox.id(), flagged.changed.clone())]).await?;
        self.marked(account.id(), &account.keywords(), gained.into_iter());
        Ok(flagged)
    }

    /// Removes the messages among `uids` that bear `\Deleted`. Returns the UIDs that are gone.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn expunge(
        &self,
        (account, mailbox): (&LiveAccount, &LiveMailbox),
        uids: &NumberSet,
    ) -> Result<NumberSet> {
        let mut transaction = self.store.begin().await?;
        let state = states::advance(&mut transaction, account.id()).await?.ok_or(Error::NoAccount)?;
        let mut dead = memberships::among(&mut transaction, account.id(), mailbox.id(), uids).await?;
        dead.retain(|message| message.flags.contains(Flags::DELETED));
        let gone: NumberSet = dead.iter().map(|message| message.uid).collect();
        if gone.is_empty() {
            return Ok(gone);
        }
        let place = (account.id(), mailbox.id());
        let weight = memberships::weight(&dead);
        memberships::expunge(&mut transaction, place, &gone, true).await?;
        mailboxes::count(&mut transaction, place, state.modseq, negative(weight), 0).await?;
        states::add_used(&mut transaction, account.id(), -weight.bytes, -weight.messages).await?;
        let change = Change { modseq: state.modseq, mailbox: mailbox.id(), kind: Kind::Expunged, uids: gone.clone() };
        changes::log(&mut transaction, account.id(), &change).await?;
        changes::tell(&mut transaction, account.id(), state.modseq).await?;
        transaction.commit().await?;
        account.committed(&[change], &[]).await?;
        Ok(gone)
    }

    /// Copies messages to another mailbox of the account, or moves them there (RFC 6851): in one transaction, so that
    /// a moved message is never in both or in neither.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn transfer(
        &self,
        account: AccountId,
        (from, to): (MailboxId, MailboxId),
        uids: &NumberSet,
        moving: bool,
    ) -> Result<Transferred> {
        let mut transaction = self.store.begin().await?;
        let state = states::advance(&mut transaction, account).await?.ok_or(Error::NoAccount)?;
        let (transferred, changes, messages) =
            transfer_within(&mut transaction, (account, &state), (from, to), uids, moving).await?;
        if !changes.is_empty() {
            self.commit(transaction, account, &changes).await?;
            self.moved(account, (from, to), messages.into_iter()).await;
        }
        Ok(transferred)
    }

    /// UIDs expunged since `modseq`; `None` when the log does not reach back that far.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn expunged_since(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        modseq: ModSeq,
    ) -> Result<Option<NumberSet>> {
        let mut connection = self.store.acquire().await?;
        Ok(changes::expunged_since(&mut connection, account, mailbox, modseq).await?)
    }

    /// Ready-made ENVELOPEs of messages.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn envelopes(&self, ids: &[i64]) -> Result<HashMap<MessageId, Vec<u8>>> {
        let mut connection = self.store.acquire().await?;
        Ok(messages::envelopes(&mut connection, ids).await?.into_iter().collect())
    }

    /// What was computed of messages at delivery.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn messages(&self, ids: &[i64]) -> Result<HashMap<MessageId, Message>> {
        let mut connection = self.store.acquire().await?;
        Ok(messages::read(&mut connection, ids).await?.into_iter().map(|message| (message.id, message)).collect())
    }

    /// Header blocks of messages; their texts stay closed, and stay empty here.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn headers(&self, ids: &[i64]) -> Result<HashMap<MessageId, Octets>> {
        let mut connection = self.store.acquire().await?;
        let headers = messages::headers(&mut connection, ids).await?;
        let shared = |header: Vec<u8>| Octets { header_size: header.len(), whole: header.into() };
        Ok(headers.into_iter().map(|(id, header)| (id, shared(header))).collect())
    }

    /// Whole messages. The caller bounds how many octets that may be.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn bodies(&self, ids: &[i64]) -> Result<HashMap<MessageId, Octets>> {
        let mut connection = self.store.acquire().await?;
        let bodies = messages::bodies(&mut connection, ids).await?;
        let shared = |octets: messages::Octets| Octets { header_size: octets.header_size, whole: octets.whole.into() };
        Ok(bodies.into_iter().map(|(id, octets)| (id, shared(octets))).collect())
    }

    /// One part of a large message: header and first text, then a megabyte of text each; `None` behind the last.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn body_part(&self, id: MessageId, part: i32) -> Result<Option<Bytes>> {
        let mut connection = self.store.acquire().await?;
        Ok(messages::part(&mut connection, id, part).await?.map(Bytes::from))
    }

    /// Octets of the messages that bear `\Deleted`, by mailbox.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn deleted_bytes(&self, account: AccountId) -> Result<HashMap<MailboxId, u64>> {
        let mut connection = self.store.acquire().await?;
        Ok(memberships::deleted_bytes(&mut connection, account).await?.into_iter().collect())
    }

    /// When messages were put into their mailbox.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn saved(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        uids: &NumberSet,
    ) -> Result<HashMap<Uid, DateTime<Utc>>> {
        let mut connection = self.store.acquire().await?;
        Ok(memberships::saved(&mut connection, account, mailbox, uids).await?.into_iter().collect())
    }
}

/// Copies or moves within a transaction that has the account's lock; with the changes to log, none when nothing was done,
/// and the messages that went.
pub(crate) async fn transfer_within(
    transaction: &mut Transaction,
    (account, state): (AccountId, &State),
    (from, to): (MailboxId, MailboxId),
    uids: &NumberSet,
    moving: bool,
) -> Result<(Transferred, Vec<Change>, Vec<MessageId>)> {
    let modseq = state.modseq;
    let taken = memberships::among(transaction, account, from, uids).await?;
    let weight = memberships::weight(&taken);
    if !moving && !taken.is_empty() && !state.has_room(weight.bytes, weight.messages) {
        return Ok((Transferred::OverQuota, Vec::new(), Vec::new()));
    }
    let counted = mailboxes::count(transaction, (account, to), modseq, weight, weight.messages).await?;
    let Some((first, uid_validity)) = counted else { return Ok((Transferred::NoMailbox, Vec::new(), Vec::new())) };
    if taken.is_empty() {
        let nothing = NumberSet::new;
        return Ok((Transferred::Done { uid_validity, source: nothing(), target: nothing() }, Vec::new(), Vec::new()));
    }
    memberships::copy(transaction, (account, to), &taken, first, modseq).await?;
    let source: NumberSet = taken.iter().map(|message| message.uid).collect();
    let mut target = NumberSet::new();
    let count = u32::try_from(taken.len()).unwrap_or(u32::MAX);
    target.insert_range(first..=first.saturating_add(count - 1));
    let mut changes = vec![Change { modseq, mailbox: to, kind: Kind::Added, uids: target.clone() }];
    if moving {
        memberships::expunge(transaction, (account, from), &source, false).await?;
        mailboxes::count(transaction, (account, from), modseq, negative(weight), 0).await?;
        changes.push(Change { modseq, mailbox: from, kind: Kind::Expunged, uids: source.clone() });
    } else {
        states::add_used(transaction, account, weight.bytes, weight.messages).await?;
    }
    let messages = taken.iter().map(|one| one.message).collect();
    Ok((Transferred::Done { uid_validity, source, target }, changes, messages))
}

/// The structure kept beside a message.
///
/// # Errors
/// [`Error::Structure`] when it is damaged.
pub fn structure(message: &Message) -> Result<Structure> {
    Structure::from_bytes(&message.structure).map_err(|_| Error::Structure)
}

fn intern(keywords: &mut Keywords, names: &[String]) -> std::result::Result<Flags, KeywordError> {
    let mut flags = Flags::none();
    for name in names {
        flags |= match Flags::system(name) {
            Some(flag) => flag,
            None => keywords.intern(name)?,
        };
    }
    Ok(flags)
}

fn negative(delta: Delta) -> Delta {
    Delta { messages: -delta.messages, unseen: -delta.unseen, deleted: -delta.deleted, bytes: -delta.bytes }
}
