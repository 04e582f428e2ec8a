//! The one row per account that every change to its mail locks: modseq, quota, keywords.

use posthorn_model::{AccountId, Keywords, ModSeq};
use sqlx::PgConnection;

use crate::Result;

/// What an account has used, may use, and how its keywords are numbered.
#[derive(Clone, Debug)]
pub struct State {
    /// The last modification sequence that was committed (or, in a transaction that advanced, the one it commits).
    pub modseq: ModSeq,
    /// Octets of all memberships.
    pub used_bytes: i64,
    /// Count of all memberships.
    pub used_messages: i64,
    /// `None` is unlimited.
    pub quota_bytes: Option<i64>,
    /// `None` is unlimited.
    pub quota_messages: Option<i64>,
    /// The account's keywords in bit order.
    pub keywords: Keywords,
}

impl State {
    /// Whether anything is limited.
    #[must_use]
    pub fn has_quota(&self) -> bool {
        self.quota_bytes.is_some() || self.quota_messages.is_some()
    }

    /// Whether so many octets and messages more would fit.
    #[must_use]
    pub fn has_room(&self, bytes: i64, messages: i64) -> bool {
        let fits =
            |quota: Option<i64>, used: i64, more: i64| quota.is_none_or(|quota| used.saturating_add(more) <= quota);
        fits(self.quota_bytes, self.used_bytes, bytes) && fits(self.quota_messages, self.used_messages, messages)
    }
}

struct Row {
    modseq: i64,
    used_bytes: i64,
    used_messages: i64,
    quota_bytes: Option<i64>,
    quota_messages: Option<i64>,
    keywords: Vec<String>,
}

impl From<Row> for State {
    fn from(row: Row) -> Self {
        Self {
            modseq: row.modseq.cast_unsigned(),
            used_bytes: row.used_bytes,
            used_messages: row.used_messages,
            quota_bytes: row.quota_bytes,
            quota_messages: row.quota_messages,
            keywords: Keywords::new(row.keywords),
        }
    }
}

/// Makes the state of a new account.
///
/// # Errors
/// What the database said.
pub async fn create(
    connection: &mut PgConnection,
    account: AccountId,
    quota_bytes: Option<i64>,
    quota_messages: Option<i64>,
) -> Result<()> {
    sqlx::query!(
        "insert into mail_state (account_id, quota_bytes, quota_messages) values ($1, $2, $3)",
        account.0,
        quota_bytes,
        quota_messages
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The state as committed. `None` when there is no such account.
///
/// # Errors
/// What the database said.
pub async fn read(connection: &mut PgConnection, account: AccountId) -> Result<Option<State>> {
    let row = sqlx::query_as!(
        Row,
        "select modseq, used_bytes, used_messages, quota_bytes, quota_messages, keywords
         from mail_state where account_id = $1",
        account.0
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(State::from))
}

/// Locks the account until the transaction ends and takes its next modseq. `None` when there is no such account.
///
/// # Errors
/// What the database said.
pub async fn advance(connection: &mut PgConnection, account: AccountId) -> Result<Option<State>> {
    let row = sqlx::query_as!(
        Row,
        "update mail_state set modseq = modseq + 1 where account_id = $1
         returning modseq, used_bytes, used_messages, quota_bytes, quota_messages, keywords",
        account.0
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(State::from))
}

/// Writes the keywords of an account locked by [`advance`].
///
/// # Errors
/// What the database said.
pub async fn set_keywords(connection: &mut PgConnection, account: AccountId, keywords: &Keywords) -> Result<()> {
    sqlx::query!("update mail_state set keywords = $2 where account_id = $1", account.0, keywords.names())
        .execute(connection)
        .await?;
    Ok(())
}

/// Adds to (or, with negative numbers, takes from) what an account has used.
///
/// # Errors
/// What the database said.
pub async fn add_used(connection: &mut PgConnection, account: AccountId, bytes: i64, messages: i64) -> Result<()> {
    sqlx::query!(
        "update mail_state set used_bytes = used_bytes + $2, used_messages = used_messages + $3 where account_id = $1",
        account.0,
        bytes,
        messages
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Sets the limits of an account.
///
/// # Errors
/// What the database said.
pub async fn set_quota(
    connection: &mut PgConnection,
    account: AccountId,
    quota_bytes: Option<i64>,
    quota_messages: Option<i64>,
) -> Result<()> {
    sqlx::query!(
        "update mail_state set quota_bytes = $2, quota_messages = $3 where account_id = $1",
        account.0,
        quota_bytes,
        quota_messages
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A UIDVALIDITY larger than every earlier one of the account; seconds of the clock where that is enough
/// (RFC 9051 §2.3.1.1).
///
/// # Errors
/// What the database said.
pub async fn next_uid_validity(connection: &mut PgConnection, account: AccountId) -> Result<i64> {
    let validity = sqlx::query_scalar!(
        "update mail_state set uid_validity = greatest(uid_validity + 1, extract(epoch from now())::bigint)
         where account_id = $1 returning uid_validity",
        account.0
    )
    .fetch_one(connection)
    .await?;
    Ok(validity)
}
