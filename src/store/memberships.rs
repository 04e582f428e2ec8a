//! Which message lies in which mailbox, under which UID, with which flags.
//!
//! Everything that writes here runs in a transaction that locked the account by [`crate::states::advance`].

use chrono::{DateTime, Utc};
use posthorn_model::{AccountId, Flags, MailboxId, MessageId, ModSeq, NumberSet, Uid};
use sqlx::PgConnection;

use crate::mailboxes::Delta;
use crate::{Error, Result};

/// One message in one mailbox.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Membership {
    /// Its number in the mailbox.
    pub uid: Uid,
    /// Octets of the message, below 4 GiB.
    pub size: u32,
    /// The message itself.
    pub message: MessageId,
    /// Its flags.
    pub flags: Flags,
    /// When they changed last.
    pub modseq: ModSeq,
    /// INTERNALDATE in milliseconds since 1970.
    pub internal_date: i64,
}

struct Row {
    uid: i64,
    size: i64,
    message_id: i64,
    flags: i64,
    modseq: i64,
    internal_date: DateTime<Utc>,
}

/// All messages of a mailbox from this UID on, by UID.
///
/// # Errors
/// What the database said.
pub async fn from(
    connection: &mut PgConnection,
    account: AccountId,
    mailbox: MailboxId,
    first: Uid,
) -> Result<Vec<Membership>> {
    let rows = sqlx::query_as!(
        Row,
        "select uid, size, message_id, flags, modseq, internal_date
         from membership where account_id = $1 and mailbox_id = $2 and uid >= $3 order by uid",
        account.0,
        mailbox.0,
        i64::from(first)
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Membership::try_from).collect()
}

/// Those of these UIDs that exist, by UID.
///
/// # Errors
/// What the database said.
pub async fn among(
    connection: &mut PgConnection,
    account: AccountId,
    mailbox: MailboxId,
    uids: &NumberSet,
) -> Result<Vec<Membership>> {
    let (low, high) = bounds(uids);
    let rows = sqlx::query_as!(
        Row,
        "select m.uid, m.size, m.message_id, m.flags, m.modseq, m.internal_date
         from unnest($3::bigint[], $4::bigint[]) as r (low, high)
         join membership m on m.account_id = $1 and m.mailbox_id = $2 and m.uid between r.low and r.high
         order by m.uid",
        account.0,
        mailbox.0,
        &low,
        &high
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Membership::try_from).collect()
}

/// When these messages were put into the mailbox (SAVEDATE, RFC 8514).
///
/// # Errors
/// What the database said.
pub async fn saved(
    connection: &mut PgConnection,
    account: AccountId,
    mailbox: MailboxId,
    uids: &NumberSet,
) -> Result<Vec<(Uid, DateTime<Utc>)>> {
    let (low, high) = bounds(uids);
    let rows = sqlx::query!(
        "select m.uid, m.saved_at
         from unnest($3::bigint[], $4::bigint[]) as r (low, high)
         join membership m on m.account_id = $1 and m.mailbox_id = $2 and m.uid between r.low and r.high
         order by m.uid",
        account.0,
        mailbox.0,
        &low,
        &high
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| Ok((uid(row.uid)?, row.saved_at))).collect()
}

/// Octets of the messages that bear `\Deleted`, by mailbox (DELETED-STORAGE, RFC 9208 §5.3).
///
/// # Errors
/// What the database said.
pub async fn deleted_bytes(connection: &mut PgConnection, account: AccountId) -> Result<Vec<(MailboxId, u64)>> {
    let rows = sqlx::query!(
        r#"select mailbox_id, sum(size)::bigint as "bytes!" from membership
           where account_id = $1 and flags & 8 <> 0 group by mailbox_id"#,
        account.0
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (MailboxId(row.mailbox_id), row.bytes.cast_unsigned())).collect())
}

/// How flags are to change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FlagChange {
    /// Set these besides what is set.
    Add(Flags),
    /// Clear these.
    Remove(Flags),
    /// Have exactly these.
    Replace(Flags),
}

impl FlagChange {
    /// The flags after the change.
    #[must_use]
    pub fn apply(self, flags: Flags) -> Flags {
        match self {
            Self::Add(more) => flags | more,
            Self::Remove(less) => flags & !less,
            Self::Replace(all) => all,
        }
    }
}

/// Writes new flags, given as (UID, flags), with this modseq.
///
/// # Errors
/// What the database said.
pub async fn set_flags(
    connection: &mut PgConnection,
    (account, mailbox): (AccountId, MailboxId),
    changed: &[(Uid, Flags)],
    modseq: ModSeq,
) -> Result<()> {
    let uids: Vec<i64> = changed.iter().map(|(uid, _)| i64::from(*uid)).collect();
    let flags: Vec<i64> = changed.iter().map(|(_, flags)| flags.0.cast_signed()).collect();
    sqlx::query!(
        "update membership m set flags = c.flags, modseq = $5
         from unnest($3::bigint[], $4::bigint[]) as c (uid, flags)
         where m.account_id = $1 and m.mailbox_id = $2 and m.uid = c.uid",
        account.0,
        mailbox.0,
        &uids,
        &flags,
        modseq.cast_signed()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Puts copies of messages into another mailbox, under UIDs counting up from `first` in the order given.
///
/// # Errors
/// What the database said.
pub async fn copy(
    connection: &mut PgConnection,
    (account, to): (AccountId, MailboxId),
    messages: &[Membership],
    first: Uid,
    modseq: ModSeq,
) -> Result<()> {
    let columns: Vec<(i64, i64, i64, DateTime<Utc>)> = messages
        .iter()
        .map(|m| (m.message.0, m.flags.0.cast_signed(), i64::from(m.size), date(m.internal_date)))
        .collect();
    sqlx::query!(
        "insert into membership (account_id, mailbox_id, uid, message_id, flags, modseq, size, internal_date, saved_at)
         select $1, $2, $3 + c.place - 1, c.message_id, c.flags, $4, c.size, c.internal_date, now()
         from unnest($5::bigint[], $6::bigint[], $7::bigint[], $8::timestamptz[]) with ordinality
             as c (message_id, flags, size, internal_date, place)",
        account.0,
        to.0,
        i64::from(first),
        modseq.cast_signed(),
        &columns.iter().map(|c| c.0).collect::<Vec<_>>(),
        &columns.iter().map(|c| c.1).collect::<Vec<_>>(),
        &columns.iter().map(|c| c.2).collect::<Vec<_>>(),
        &columns.iter().map(|c| c.3).collect::<Vec<_>>()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes messages from a mailbox. With `orphans`, their bodies are left to the reaper (a move keeps them in use).
///
/// # Errors
/// What the database said.
pub async fn expunge(
    connection: &mut PgConnection,
    (account, mailbox): (AccountId, MailboxId),
    uids: &NumberSet,
    orphans: bool,
) -> Result<()> {
    let (low, high) = bounds(uids);
    sqlx::query!(
        "with gone as (
             delete from membership m
             using unnest($3::bigint[], $4::bigint[]) as r (low, high)
             where m.account_id = $1 and m.mailbox_id = $2 and m.uid between r.low and r.high
             returning m.message_id
         )
         insert into orphan (message_id) select message_id from gone where $5",
        account.0,
        mailbox.0,
        &low,
        &high,
        orphans
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What these messages count for in their mailbox.
#[must_use]
pub fn weight<'m>(messages: impl IntoIterator<Item = &'m Membership>) -> Delta {
    messages.into_iter().fold(Delta::default(), |sum, m| Delta {
        messages: sum.messages + 1,
        unseen: sum.unseen + i64::from(!m.flags.contains(Flags::SEEN)),
        deleted: sum.deleted + i64::from(m.flags.contains(Flags::DELETED)),
        bytes: sum.bytes + i64::from(m.size),
    })
}

impl TryFrom<Row> for Membership {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            uid: uid(row.uid)?,
            size: u32::try_from(row.size).map_err(|_| Error::Damaged("message size out of range"))?,
            message: MessageId(row.message_id),
            flags: Flags(row.flags.cast_unsigned()),
            modseq: row.modseq.cast_unsigned(),
            internal_date: row.internal_date.timestamp_millis(),
        })
    }
}

pub(crate) fn uid(number: i64) -> Result<Uid> {
    Uid::try_from(number).map_err(|_| Error::Damaged("UID out of range"))
}

/// A set as the change log keeps it: first, last, first, last …
pub(crate) fn to_pairs(set: &NumberSet) -> Vec<i64> {
    set.ranges().flat_map(|range| [i64::from(*range.start()), i64::from(*range.end())]).collect()
}

pub(crate) fn from_pairs(pairs: &[i64]) -> Result<NumberSet> {
    let mut set = NumberSet::new();
    for pair in pairs.chunks(2) {
        let [low, high] = pair else { return Err(Error::Damaged("odd number of range ends")) };
        set.insert_range(uid(*low)?..=uid(*high)?);
    }
    Ok(set)
}

fn bounds(set: &NumberSet) -> (Vec<i64>, Vec<i64>) {
    set.ranges().map(|range| (i64::from(*range.start()), i64::from(*range.end()))).unzip()
}

fn date(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap_or_default()
}
