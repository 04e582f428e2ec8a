//! Mailboxes of an account: names, counters, special use, subscriptions.

use posthorn_model::{AccountId, MailboxId, ModSeq, SpecialUse, Uid};
use sqlx::PgConnection;

use crate::{Error, Result};

/// A mailbox with its counters, which move in the transactions that change its messages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mailbox {
    /// Its identity, which a rename keeps.
    pub id: MailboxId,
    /// The whole path, `/` between levels; `INBOX` in capitals.
    pub name: String,
    /// What it is for.
    pub special_use: Option<SpecialUse>,
    /// Whether the account subscribed to it.
    pub subscribed: bool,
    /// RFC 9051 §2.3.1.1.
    pub uid_validity: u32,
    /// The next UID.
    pub uid_next: Uid,
    /// RFC 7162 §3.1.2.1.
    pub highest_modseq: ModSeq,
    /// How many messages there are.
    pub messages: u32,
    /// How many of them lack `\Seen`.
    pub unseen: u32,
    /// How many of them have `\Deleted`.
    pub deleted: u32,
    /// Their octets together.
    pub bytes: u64,
}

struct Row {
    id: i64,
    name: String,
    special_use: Option<i16>,
    subscribed: bool,
    uid_validity: i64,
    uid_next: i64,
    highest_modseq: i64,
    messages: i64,
    unseen: i64,
    deleted: i64,
    bytes: i64,
}

/// All mailboxes of an account, by name.
///
/// # Errors
/// What the database said.
pub async fn list(connection: &mut PgConnection, account: AccountId) -> Result<Vec<Mailbox>> {
    let rows = sqlx::query_as!(
        Row,
        "select id, name, special_use, subscribed, uid_validity, uid_next, highest_modseq, messages, unseen, deleted, bytes
         from mailbox where account_id = $1 order by name",
        account.0
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Mailbox::try_from).collect()
}

/// The mailbox of this name.
///
/// # Errors
/// What the database said.
pub async fn find(connection: &mut PgConnection, account: AccountId, name: &str) -> Result<Option<Mailbox>> {
    let row = sqlx::query_as!(
        Row,
        "select id, name, special_use, subscribed, uid_validity, uid_next, highest_modseq, messages, unseen, deleted, bytes
         from mailbox where account_id = $1 and name = $2",
        account.0,
        name
    )
    .fetch_optional(connection)
    .await?;
    row.map(Mailbox::try_from).transpose()
}

/// The mailbox of this identity.
///
/// # Errors
/// What the database said.
pub async fn read(connection: &mut PgConnection, account: AccountId, mailbox: MailboxId) -> Result<Option<Mailbox>> {
    let row = sqlx::query_as!(
        Row,
        "select id, name, special_use, subscribed, uid_validity, uid_next, highest_modseq, messages, unseen, deleted, bytes
         from mailbox where account_id = $1 and id = $2",
        account.0,
        mailbox.0
    )
    .fetch_optional(connection)
    .await?;
    row.map(Mailbox::try_from).transpose()
}

/// The id of the mailbox whose name equals one of these when case is folded, the exact name first.
///
/// # Errors
/// What the database said.
pub async fn find_folded(connection: &mut PgConnection, account: AccountId, name: &str) -> Result<Option<MailboxId>> {
    let id = sqlx::query_scalar!(
        "select id from mailbox where account_id = $1 and lower(name) = lower($2) order by name = $2 desc limit 1",
        account.0,
        name
    )
    .fetch_optional(connection)
    .await?;
    Ok(id.map(MailboxId))
}

/// What a new mailbox starts with.
#[derive(Clone, Copy, Debug)]
pub struct NewMailbox<'n> {
    /// From [`crate::Store::mailbox_id`].
    pub id: MailboxId,
    /// The whole path.
    pub name: &'n str,
    /// What it is for.
    pub special_use: Option<SpecialUse>,
    /// From [`crate::states::next_uid_validity`].
    pub uid_validity: i64,
    /// The modseq of the transaction.
    pub modseq: ModSeq,
}

/// Makes a mailbox in an account that is locked already.
///
/// # Errors
/// [`Error::is_conflict`] when the name or the special use is taken.
pub async fn create(connection: &mut PgConnection, account: AccountId, new: NewMailbox<'_>) -> Result<()> {
    sqlx::query!(
        "insert into mailbox (account_id, id, name, special_use, uid_validity, highest_modseq) values ($1, $2, $3, $4, $5, $6)",
        account.0,
        new.id.0,
        new.name,
        new.special_use.map(special_use_code),
        new.uid_validity,
        new.modseq.cast_signed()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives a mailbox another name.
///
/// # Errors
/// [`Error::is_conflict`] when the name is taken.
pub async fn rename(connection: &mut PgConnection, account: AccountId, mailbox: MailboxId, name: &str) -> Result<()> {
    sqlx::query!("update mailbox set name = $3 where account_id = $1 and id = $2", account.0, mailbox.0, name)
        .execute(connection)
        .await?;
    Ok(())
}

/// Removes an empty mailbox. Its messages are expunged before, by [`crate::memberships::expunge`].
///
/// # Errors
/// What the database said.
pub async fn delete(connection: &mut PgConnection, account: AccountId, mailbox: MailboxId) -> Result<()> {
    sqlx::query!("delete from mailbox where account_id = $1 and id = $2", account.0, mailbox.0)
        .execute(connection)
        .await?;
    Ok(())
}

/// Sets whether a mailbox is subscribed.
///
/// # Errors
/// What the database said.
pub async fn set_subscribed(
    connection: &mut PgConnection,
    account: AccountId,
    name: &str,
    subscribed: bool,
) -> Result<bool> {
    let done = sqlx::query!(
        "update mailbox set subscribed = $3 where account_id = $1 and name = $2",
        account.0,
        name,
        subscribed
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if done > 0 {
        return Ok(true);
    }
    if subscribed {
        sqlx::query!(
            "insert into subscription (account_id, name) values ($1, $2) on conflict do nothing",
            account.0,
            name
        )
        .execute(connection)
        .await?;
    } else {
        sqlx::query!("delete from subscription where account_id = $1 and name = $2", account.0, name)
            .execute(connection)
            .await?;
    }
    Ok(false)
}

/// Names that are subscribed though no mailbox bears them.
///
/// # Errors
/// What the database said.
pub async fn bare_subscriptions(connection: &mut PgConnection, account: AccountId) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar!("select name from subscription where account_id = $1 order by name", account.0)
        .fetch_all(connection)
        .await?)
}

/// What changed in a mailbox's counters.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Delta {
    /// Messages more or fewer.
    pub messages: i64,
    /// Unseen more or fewer.
    pub unseen: i64,
    /// Deleted more or fewer.
    pub deleted: i64,
    /// Octets more or fewer.
    pub bytes: i64,
}

/// Moves the counters and HIGHESTMODSEQ of a mailbox with a change to its messages, and reserves `uids` UIDs.
/// Returns the first UID reserved and UIDVALIDITY; `None` when the mailbox is gone.
///
/// # Errors
/// What the database said.
pub async fn count(
    connection: &mut PgConnection,
    (account, mailbox): (AccountId, MailboxId),
    modseq: ModSeq,
    delta: Delta,
    uids: i64,
) -> Result<Option<(Uid, u32)>> {
    let row = sqlx::query!(
        r#"update mailbox
           set messages = messages + $4, unseen = unseen + $5, deleted = deleted + $6, bytes = bytes + $7,
               uid_next = uid_next + $8, highest_modseq = $3
           where account_id = $1 and id = $2
           returning uid_next - $8 as "first!", uid_validity"#,
        account.0,
        mailbox.0,
        modseq.cast_signed(),
        delta.messages,
        delta.unseen,
        delta.deleted,
        delta.bytes,
        uids
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| Ok((crate::memberships::uid(row.first)?, uid_validity(row.uid_validity)?))).transpose()
}

impl TryFrom<Row> for Mailbox {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let small = |number: i64| u32::try_from(number).map_err(|_| Error::Damaged("mailbox counter out of range"));
        Ok(Self {
            id: MailboxId(row.id),
            name: row.name,
            special_use: row.special_use.map(special_use).transpose()?,
            subscribed: row.subscribed,
            uid_validity: uid_validity(row.uid_validity)?,
            uid_next: small(row.uid_next)?,
            highest_modseq: row.highest_modseq.cast_unsigned(),
            messages: small(row.messages)?,
            unseen: small(row.unseen)?,
            deleted: small(row.deleted)?,
            bytes: row.bytes.cast_unsigned(),
        })
    }
}

pub(crate) fn uid_validity(number: i64) -> Result<u32> {
    u32::try_from(number).map_err(|_| Error::Damaged("UIDVALIDITY out of range"))
}

fn special_use_code(special_use: SpecialUse) -> i16 {
    match special_use {
        SpecialUse::Archive => 1,
        SpecialUse::Drafts => 2,
        SpecialUse::Junk => 3,
        SpecialUse::Sent => 4,
        SpecialUse::Trash => 5,
    }
}

fn special_use(code: i16) -> Result<SpecialUse> {
    match code {
        1 => Ok(SpecialUse::Archive),
        2 => Ok(SpecialUse::Drafts),
        3 => Ok(SpecialUse::Junk),
        4 => Ok(SpecialUse::Sent),
        5 => Ok(SpecialUse::Trash),
        _ => Err(Error::Damaged("unknown special use")),
    }
}
