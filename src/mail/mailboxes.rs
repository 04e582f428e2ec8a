//! Mailboxes of an account: making, naming, removing, listing, subscribing.

use posthorn_model::{AccountId, MailboxId, ModSeq, SpecialUse};
use posthorn_store::changes::{self, Change, Kind};
use posthorn_store::mailboxes::{self, Mailbox, NewMailbox};
use posthorn_store::{Transaction, memberships, states};

use crate::selected::transfer_within;
use crate::{Error, Mail, Result};

/// Between the levels of a mailbox's name.
pub const DELIMITER: char = '/';

/// The most octets of a mailbox's name.
const LONGEST_NAME: usize = 1024;

/// The most mailboxes of an account.
const MOST: usize = 10_000;

/// Why a mailbox was not made, renamed or removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Declined {
    /// The name is taken.
    AlreadyExists,
    /// INBOX can be neither made nor removed.
    Cannot,
    /// It has mailboxes below it.
    HasChildren,
    /// The account has as many mailboxes or subscriptions as it may.
    Limit,
    /// Not a name.
    Malformed,
    /// There is no such mailbox.
    NonExistent,
    /// Another mailbox has the special use (RFC 6154 §3).
    UseTaken,
}

/// What a duty on mailboxes answers.
pub type Answer<T> = Result<std::result::Result<T, Declined>>;

impl Mail {
    /// All mailboxes of an account, by name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn mailboxes(&self, account: AccountId) -> Result<Vec<Mailbox>> {
        let mut connection = self.store.acquire().await?;
        Ok(mailboxes::list(&mut connection, account).await?)
    }

    /// Names that are subscribed though no mailbox bears them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn bare_subscriptions(&self, account: AccountId) -> Result<Vec<String>> {
        let mut connection = self.store.acquire().await?;
        Ok(mailboxes::bare_subscriptions(&mut connection, account).await?)
    }

    /// The mailbox of this name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn find_mailbox(&self, account: AccountId, name: &str) -> Result<Option<Mailbox>> {
        let mut connection = self.store.acquire().await?;
        Ok(mailboxes::find(&mut connection, account, name).await?)
    }

    /// Makes a mailbox, and those above it that are missing.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn create_mailbox(
        &self,
        account: AccountId,
        name: &str,
        special_use: Option<SpecialUse>,
    ) -> Answer<MailboxId> {
        if name == "INBOX" {
            return Ok(Err(Declined::AlreadyExists));
        }
        if !is_name(name) {
            return Ok(Err(Declined::Malformed));
        }
        let mut transaction = self.store.begin().await?;
        let modseq = self.lock(&mut transaction, account).await?;
        let id = match self.create_within(&mut transaction, account, (name, special_use), modseq).await? {
            Ok(id) => id,
            Err(declined) => return Ok(Err(declined)),
        };
        let change = Change { modseq, mailbox: id, kind: Kind::Mailbox, uids: Default::default() };
        self.commit(transaction, account, &[change]).await?;
        Ok(Ok(id))
    }

    /// The same inside a transaction that has the account's lock.
    async fn create_within(
        &self,
        transaction: &mut Transaction,
        account: AccountId,
        (name, special_use): (&str, Option<SpecialUse>),
        modseq: ModSeq,
    ) -> Answer<MailboxId> {
        let present = mailboxes::list(transaction, account).await?;
        if present.iter().any(|mailbox| mailbox.name == name) {
            return Ok(Err(Declined::AlreadyExists));
        }
        if special_use.is_some() && present.iter().any(|mailbox| mailbox.special_use == special_use) {
            return Ok(Err(Declined::UseTaken));
        }
        if present.len() >= MOST {
            return Ok(Err(Declined::Limit));
        }
        for parent in parents(name) {
            if !present.iter().any(|mailbox| mailbox.name == parent) {
                self.make(transaction, account, (parent, None), modseq).await?;
            }
        }
        Ok(Ok(self.make(transaction, account, (name, special_use), modseq).await?))
    }

    /// Removes a mailbox with its messages.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete_mailbox(&self, account: AccountId, name: &str) -> Answer<()> {
        if name == "INBOX" {
            return Ok(Err(Declined::Cannot));
        }
        let mut transaction = self.store.begin().await?;
        let modseq = self.lock(&mut transaction, account).await?;
        let present = mailboxes::list(&mut transaction, account).await?;
        let Some(mailbox) = present.iter().find(|mailbox| mailbox.name == name) else {
            return Ok(Err(Declined::NonExistent));
        };
        if present.iter().any(|other| is_below(&other.name, name)) {
            return Ok(Err(Declined::HasChildren));
        }
        let messages = memberships::from(&mut transaction, account, mailbox.id, 1).await?;
        let uids = messages.iter().map(|message| message.uid).collect();
        memberships::expunge(&mut transaction, (account, mailbox.id), &uids, true).await?;
        let weight = memberships::weight(&messages);
        states::add_used(&mut transaction, account, -weight.bytes, -weight.messages).await?;
        mailboxes::delete(&mut transaction, account, mailbox.id).await?;
        if mailbox.subscribed {
            // RFC 9051 §6.3.8: the subscription outlives the mailbox.
            mailboxes::set_subscribed(&mut transaction, account, name, true).await?;
        }
        self.commit(
            transaction,
            account,
            &[Change { modseq, mailbox: mailbox.id, kind: Kind::Mailbox, uids: Default::default() }],
        )
        .await?;
        Ok(Ok(()))
    }

    /// Renames a mailbox and everything below it. Renaming INBOX moves its messages into a new mailbox and leaves it
    /// empty (RFC 9051 §6.3.6).
    ///
    /// # Errors
    /// When the store fails.
    pub async fn rename_mailbox(&self, account: AccountId, from: &str, to: &str) -> Answer<()> {
        if to == "INBOX" {
            return Ok(Err(Declined::AlreadyExists));
        }
        if !is_name(to) || is_below(to, from) && from != "INBOX" {
            return Ok(Err(Declined::Malformed));
        }
        if from == "INBOX" {
            return self.empty_inbox(account, to).await;
        }
        let mut transaction = self.store.begin().await?;
        let modseq = self.lock(&mut transaction, account).await?;
        let present = mailboxes::list(&mut transaction, account).await?;
        if !present.iter().any(|mailbox| mailbox.name == from) {
            return Ok(Err(Declined::NonExistent));
        }
        if from == to {
            return Ok(Err(Declined::AlreadyExists));
        }
        let moves: Vec<(MailboxId, String)> = present
            .iter()
            .filter(|mailbox| mailbox.name == from || is_below(&mailbox.name, from))
            .map(|mailbox| (mailbox.id, format!("{to}{}", &mailbox.name[from.len()..])))
            .collect();
        let staying = |name: &str| present.iter().any(|m| m.name == name && !moves.iter().any(|(id, _)| *id == m.id));
        if moves.iter().any(|(_, name)| staying(name)) {
            return Ok(Err(Declined::AlreadyExists));
        }
        if moves.iter().any(|(_, name)| name.len() > LONGEST_NAME) {
            return Ok(Err(Declined::Malformed));
        }
        for parent in parents(to) {
            if !present.iter().any(|mailbox| mailbox.name == parent) {
                self.make(&mut transaction, account, (parent, None), modseq).await?;
            }
        }
        let mut changes = Vec::new();
        for (id, name) in &moves {
            mailboxes::rename(&mut transaction, account, *id, name).await?;
            changes.push(Change { modseq, mailbox: *id, kind: Kind::Mailbox, uids: Default::default() });
        }
        self.commit(transaction, account, &changes).await?;
        Ok(Ok(()))
    }

    /// Subscribes to a name or takes the subscription back. The name need not exist (RFC 9051 §6.3.7).
    ///
    /// # Errors
    /// When the store fails.
    pub async fn subscribe(&self, account: AccountId, name: &str, subscribed: bool) -> Answer<()> {
        if !is_name(name) {
            return Ok(Err(Declined::Malformed));
        }
        let mut connection = self.store.acquire().await?;
        if subscribed && mailboxes::find(&mut connection, account, name).await?.is_none() {
            let bare = mailboxes::bare_subscriptions(&mut connection, account).await?;
            if bare.len() >= MOST {
                return Ok(Err(Declined::Limit));
            }
        }
        mailboxes::set_subscribed(&mut connection, account, name, subscribed).await?;
        Ok(Ok(()))
    }

    /// The account's state: quota and use.
    ///
    /// # Errors
    /// [`Error::NoAccount`], or when the store cannot be read.
    pub async fn state(&self, account: AccountId) -> Result<states::State> {
        let mut connection = self.store.acquire().await?;
        states::read(&mut connection, account).await?.ok_or(Error::NoAccount)
    }

    /// Makes INBOX and the mailboxes with a special use in a new account.
    pub(crate) async fn furnish(&self, transaction: &mut Transaction, account: AccountId) -> Result<()> {
        let folders = &self.shared.section.folders;
        let rooms = [
            ("INBOX", None),
            (folders.archive.as_str(), Some(SpecialUse::Archive)),
            (folders.drafts.as_str(), Some(SpecialUse::Drafts)),
            (folders.junk.as_str(), Some(SpecialUse::Junk)),
            (folders.sent.as_str(), Some(SpecialUse::Sent)),
            (folders.trash.as_str(), Some(SpecialUse::Trash)),
        ];
        for room in rooms {
            self.make(transaction, account, room, 1).await?;
            mailboxes::set_subscribed(transaction, account, room.0, true).await?;
        }
        Ok(())
    }

    /// Locks the account and takes its next modseq.
    pub(crate) async fn lock(&self, transaction: &mut Transaction, account: AccountId) -> Result<u64> {
        Ok(states::advance(transaction, account).await?.ok_or(Error::NoAccount)?.modseq)
    }

    /// Logs the changes, tells other processes, commits, and tells this one.
    pub(crate) async fn commit(
        &self,
        mut transaction: Transaction,
        account: AccountId,
        changes: &[Change],
    ) -> Result<()> {
        for change in changes {
            changes::log(&mut transaction, account, change).await?;
        }
        if let Some(change) = changes.first() {
            changes::tell(&mut transaction, account, change.modseq).await?;
        }
        transaction.commit().await?;
        if changes.iter().any(|change| change.kind == Kind::Mailbox) {
            self.shared.folders.invalidate(&account);
            self.shared.junk.forget_of(account);
        }
        if let Some(change) = changes.first() {
            self.shared.live.touch(account, change.modseq).await;
        }
        Ok(())
    }

    async fn make(
        &self,
        transaction: &mut Transaction,
        account: AccountId,
        (name, special_use): (&str, Option<SpecialUse>),
        modseq: u64,
    ) -> Result<MailboxId> {
        let id = self.store.mailbox_id();
        let uid_validity = states::next_uid_validity(transaction, account).await?;
        // A subscription that waits for this name moves into the mailbox.
        let subscribed = mailboxes::bare_subscriptions(transaction, account).await?.iter().any(|bare| bare == name);
        if subscribed {
            mailboxes::set_subscribed(transaction, account, name, false).await?;
        }
        mailboxes::create(transaction, account, NewMailbox { id, name, special_use, uid_validity, modseq }).await?;
        // Whoever makes a mailbox subscribes to it where they want that (RFC 9051 §6.3.7).
        mailboxes::set_subscribed(transaction, account, name, subscribed).await?;
        Ok(id)
    }

    async fn empty_inbox(&self, account: AccountId, to: &str) -> Answer<()> {
        let mut transaction = self.store.begin().await?;
        let state = states::advance(&mut transaction, account).await?.ok_or(Error::NoAccount)?;
        let modseq = state.modseq;
        let made = match self.create_within(&mut transaction, account, (to, None), modseq).await? {
            Ok(made) => made,
            Err(declined) => return Ok(Err(declined)),
        };
        let Some(inbox) = mailboxes::find(&mut transaction, account, "INBOX").await? else {
            return Ok(Err(Declined::NonExistent));
        };
        let mut all = posthorn_model::NumberSet::new();
        all.insert_range(1..=u32::MAX);
        let mut changes = vec![Change { modseq, mailbox: made, kind: Kind::Mailbox, uids: Default::default() }];
        let moved = transfer_within(&mut transaction, (account, &state), (inbox.id, made), &all, true).await?;
        changes.extend(moved.1);
        self.commit(transaction, account, &changes).await?;
        Ok(Ok(()))
    }
}

/// Whether this can be a mailbox's name: no control characters, no empty level, not too long.
#[must_use]
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && !name.chars().any(|c| c.is_control() || matches!(c, '%' | '*'))
        && name.split(DELIMITER).all(|level| !level.is_empty() && level.trim() == level)
}

/// Whether `name` lies below `above`.
#[must_use]
pub fn is_below(name: &str, above: &str) -> bool {
    name.strip_prefix(above).is_some_and(|rest| rest.starts_with(DELIMITER))
}

/// The names above a name, outermost first.
pub fn parents(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices(DELIMITER).map(|(at, _)| &name[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_empty_levels_and_no_wildcards() {
        for good in ["INBOX", "INBOX/a", "Entwürfe", "a b/c"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "/", "a//b", "a/", "/a", "a*", "a%", "a\nb", " a", "a /b"] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn below_is_a_whole_level() {
        assert!(is_below("a/b", "a") && !is_below("ab", "a") && !is_below("a", "a"));
        assert_eq!(parents("a/b/c").collect::<Vec<_>>(), ["a", "a/b"]);
    }
}
