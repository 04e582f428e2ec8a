//! Recipients that refused for good, so that nothing more is sent to them until the entry runs out.

use chrono::{DateTime, Utc};
use posthorn_model::MessageId;
use sqlx::PgConnection;

use crate::Result;

/// One entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Suppression {
    /// For senders of this domain, folded; empty for all senders.
    pub sender_domain: String,
    /// The address, folded.
    pub recipient: String,
    /// The class of the reply (Momentum's numbers: 10 is an invalid recipient).
    pub class: i16,
    /// The reply, or why somebody added it.
    pub reason: String,
    /// The message that was refused.
    pub message: Option<MessageId>,
    /// When.
    pub added_at: DateTime<Utc>,
    /// Until when; `None` is for ever.
    pub expires_at: Option<DateTime<Utc>>,
}

struct Row {
    sender_domain: String,
    recipient: String,
    class: i16,
    reason: String,
    message_id: Option<i64>,
    added_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
}

impl From<Row> for Suppression {
    fn from(row: Row) -> Self {
        Self {
            sender_domain: row.sender_domain,
            recipient: row.recipient,
            class: row.class,
            reason: row.reason,
            message: row.message_id.map(MessageId),
            added_at: row.added_at,
            expires_at: row.expires_at,
        }
    }
}

/// Adds an entry, in the place of an earlier one.
///
/// # Errors
/// What the database said.
pub async fn put(connection: &mut PgConnection, entry: &Suppression) -> Result<()> {
    sqlx::query!(
        "insert into suppression (sender_domain, recipient, class, reason, message_id, added_at, expires_at)
         values (lower($1), lower($2), $3, $4, $5, $6, $7)
         on conflict (sender_domain, recipient) do update
         set class = excluded.class, reason = excluded.reason, message_id = excluded.message_id,
             added_at = excluded.added_at, expires_at = excluded.expires_at",
        entry.sender_domain,
        entry.recipient,
        entry.class,
        entry.reason,
        entry.message.map(|id| id.0),
        entry.added_at,
        entry.expires_at
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Which of these recipients are suppressed at this moment for a sender of this domain (empty: the null sender).
///
/// # Errors
/// What the database said.
pub async fn find(
    connection: &mut PgConnection,
    sender_domain: &str,
    recipients: &[String],
    now: DateTime<Utc>,
) -> Result<Vec<Suppression>> {
    let folded: Vec<String> = recipients.iter().map(|recipient| recipient.to_lowercase()).collect();
    let rows = sqlx::query_as!(
        Row,
        "select sender_domain, recipient, class, reason, message_id, added_at, expires_at
         from suppression
         where sender_domain = any (array['', lower($1)]) and recipient = any ($2) and (expires_at is null or expires_at > $3)
         order by recipient, sender_domain",
        sender_domain,
        &folded,
        now
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Suppression::from).collect())
}

/// Entries of a sender's domain (`None`: of all), recipients in order, behind the recipient named.
///
/// # Errors
/// What the database said.
pub async fn list(
    connection: &mut PgConnection,
    sender_domain: Option<&str>,
    after: &str,
    limit: u32,
) -> Result<Vec<Suppression>> {
    let rows = sqlx::query_as!(
        Row,
        "select sender_domain, recipient, class, reason, message_id, added_at, expires_at
         from suppression
         where recipient > lower($1) and ($2::text is null or sender_domain = lower($2))
         order by recipient, sender_domain limit $3",
        after,
        sender_domain,
        i64::from(limit)
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Suppression::from).collect())
}

/// Removes the entries of a recipient for a sender's domain (`None`: for all). Returns how many there were.
///
/// # Errors
/// What the database said.
pub async fn remove(connection: &mut PgConnection, sender_domain: Option<&str>, recipient: &str) -> Result<u64> {
    let done = sqlx::query!(
        "delete from suppression where recipient = lower($1) and ($2::text is null or sender_domain = lower($2))",
        recipient,
        sender_domain
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Removes what ran out.
///
/// # Errors
/// What the database said.
pub async fn sweep(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<u64> {
    let done = sqlx::query!("delete from suppression where expires_at <= $1", now).execute(connection).await?;
    Ok(done.rows_affected())
}
