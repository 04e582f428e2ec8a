//! The change log, and how processes hear of each other's changes.

use std::sync::LazyLock;

use posthorn_model::{AccountId, MailboxId, ModSeq, NumberSet};
use sqlx::PgConnection;
use sqlx::postgres::PgListener;

use crate::memberships::{from_pairs, to_pairs};
use crate::{Error, Result};

/// The channel of all notifications. A payload is `ORIGIN:account=modseq,account=modseq`, or `ORIGIN:directory`.
pub const CHANNEL: &str = "posthorn";

/// Names this process in notifications, so that it can pass over its own.
static ORIGIN: LazyLock<String> = LazyLock::new(|| {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}.{:x}", std::process::id(), since.as_nanos())
});

/// The name of this process in notifications.
#[must_use]
pub fn origin() -> &'static str {
    &ORIGIN
}

/// What happened to messages of a mailbox, or to the mailbox itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Messages arrived.
    Added,
    /// Messages are gone.
    Expunged,
    /// Flags of messages changed.
    Flagged,
    /// The mailbox was made, renamed, removed, or subscribed; `uids` is empty.
    Mailbox,
}

impl Kind {
    fn code(self) -> i16 {
        match self {
            Self::Added => 1,
            Self::Flagged => 2,
            Self::Expunged => 3,
            Self::Mailbox => 4,
        }
    }

    fn parse(code: i16) -> Result<Self> {
        match code {
            1 => Ok(Self::Added),
            2 => Ok(Self::Flagged),
            3 => Ok(Self::Expunged),
            4 => Ok(Self::Mailbox),
            _ => Err(Error::Damaged("change of an unknown kind")),
        }
    }
}

/// One entry of an account's change log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// When, in the account's order.
    pub modseq: ModSeq,
    /// Where.
    pub mailbox: MailboxId,
    /// What.
    pub kind: Kind,
    /// Which messages.
    pub uids: NumberSet,
}

/// Writes an entry; the account is locked by [`crate::states::advance`] already.
///
/// # Errors
/// What the database said.
pub async fn log(connection: &mut PgConnection, account: AccountId, change: &Change) -> Result<()> {
    sqlx::query!(
        "insert into change (account_id, modseq, mailbox_id, kind, uids) values ($1, $2, $3, $4, $5)",
        account.0,
        change.modseq.cast_signed(),
        change.mailbox.0,
        change.kind.code(),
        &to_pairs(&change.uids)
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Everything after `modseq`, oldest first, and the account's present modseq.
///
/// # Errors
/// What the database said.
pub async fn since(connection: &mut PgConnection, account: AccountId, modseq: ModSeq) -> Result<Vec<Change>> {
    let rows = sqlx::query!(
        "select modseq, mailbox_id, kind, uids from change where account_id = $1 and modseq > $2 order by modseq",
        account.0,
        modseq.cast_signed()
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Change {
                modseq: row.modseq.cast_unsigned(),
                mailbox: MailboxId(row.mailbox_id),
                kind: Kind::parse(row.kind)?,
                uids: from_pairs(&row.uids)?,
            })
        })
        .collect()
}

/// UIDs expunged from a mailbox after `modseq`, as far as the log reaches back. `None` when the log was cut behind
/// that point, so that an answer could be incomplete.
///
/// # Errors
/// What the database said.
pub async fn expunged_since(
    connection: &mut PgConnection,
    account: AccountId,
    mailbox: MailboxId,
    modseq: ModSeq,
) -> Result<Option<NumberSet>> {
    let oldest = sqlx::query_scalar!("select min(modseq) from change where account_id = $1", account.0)
        .fetch_one(&mut *connection)
        .await?;
    // Modseq 1 is an account's birth, which no entry records: the log is whole when it begins at 2.
    if oldest.is_some_and(|oldest| oldest > 2 && oldest > modseq.cast_signed() + 1) {
        return Ok(None);
    }
    let rows = sqlx::query_scalar!(
        "select uids from change where account_id = $1 and mailbox_id = $2 and kind = 3 and modseq > $3",
        account.0,
        mailbox.0,
        modseq.cast_signed()
    )
    .fetch_all(connection)
    .await?;
    let mut all = NumberSet::new();
    for uids in rows {
        for range in from_pairs(&uids)?.ranges() {
            all.insert_range(range);
        }
    }
    Ok(Some(all))
}

/// Tells other processes, when the transaction commits, that an account changed.
///
/// # Errors
/// What the database said.
pub async fn tell(connection: &mut PgConnection, account: AccountId, modseq: ModSeq) -> Result<()> {
    sqlx::query!("select pg_notify('posthorn', $1)", format!("{}:{account}={modseq}", origin()))
        .fetch_one(connection)
        .await?;
    Ok(())
}

/// Tells other processes, when the transaction commits, that domains, accounts or aliases changed.
///
/// # Errors
/// What the database said.
pub async fn tell_directory(connection: &mut PgConnection) -> Result<()> {
    sqlx::query!("select pg_notify('posthorn', $1)", format!("{}:directory", origin())).fetch_one(connection).await?;
    Ok(())
}

/// What another process did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum News {
    /// These accounts changed, up to these modseqs.
    Accounts(Vec<(AccountId, ModSeq)>),
    /// Domains, accounts or aliases changed.
    Directory,
    /// The connection was lost for a while: anything may have changed.
    Lost,
}

/// Hears what other processes do.
#[derive(Debug)]
pub struct Listener(PgListener);

impl Listener {
    pub(crate) fn new(listener: PgListener) -> Self {
        Self(listener)
    }

    /// Waits for the next news of another process; reconnects by itself.
    ///
    /// # Errors
    /// When the database cannot be reached at the moment; call again after a pause.
    pub async fn next(&mut self) -> Result<News> {
        loop {
            let Some(notification) = self.0.try_recv().await? else { return Ok(News::Lost) };
            // Our own news come back too: they cost nothing where they were applied already, and repair where that failed.
            let Some((_origin, what)) = notification.payload().split_once(':') else { continue };
            if what == "directory" {
                return Ok(News::Directory);
            }
            return Ok(News::Accounts(what.split(',').filter_map(pair).collect()));
        }
    }
}

fn pair(text: &str) -> Option<(AccountId, ModSeq)> {
    let (account, modseq) = text.split_once('=')?;
    Some((AccountId(account.parse().ok()?), modseq.parse().ok()?))
}
