//! Reading the trace.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use posthorn_model::{MessageId, QueueId};
use sqlx::PgConnection;

use super::TraceEntry;
use crate::Result;
use crate::ids::first_at;

/// Everything told of a message, in the order in which it happened.
///
/// # Errors
/// What the database said.
pub async fn of_message(connection: &mut PgConnection, message: MessageId) -> Result<Vec<TraceEntry>> {
    let rows = sqlx::query!(
        "select message_id, at, kind, outgoing_id, header_id, sender, recipients, detail
         from trace where message_id = $1 order by at, place",
        message.0
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| TraceEntry {
            message: MessageId(row.message_id),
            at: row.at,
            kind: Cow::Owned(row.kind),
            outgoing: row.outgoing_id.map(QueueId),
            header_id: row.header_id,
            sender: row.sender,
            recipients: row.recipients.unwrap_or_default(),
            detail: row.detail,
        })
        .collect())
}

/// The details of the latest entries of one kind that were made since a moment, newest first, at most so many.
///
/// # Errors
/// What the database said.
pub async fn latest(connection: &mut PgConnection, kind: &str, since: DateTime<Utc>, most: i64) -> Result<Vec<String>> {
    let details = sqlx::query_scalar!(
        "select detail from trace where message_id >= $1 and kind = $2 order by message_id desc limit $3",
        first_at(since),
        kind,
        most
    )
    .fetch_all(connection)
    .await?;
    Ok(details)
}

/// The message of this queue id.
///
/// # Errors
/// What the database said.
pub async fn message_of(connection: &mut PgConnection, outgoing: QueueId) -> Result<Option<MessageId>> {
    let id = sqlx::query_scalar!("select message_id from trace where outgoing_id = $1 limit 1", outgoing.0)
        .fetch_optional(connection)
        .await?;
    Ok(id.map(MessageId))
}

/// Messages with this Message-ID field (without angle brackets), the latest first.
///
/// # Errors
/// What the database said.
pub async fn by_header_id(connection: &mut PgConnection, header_id: &str, limit: u32) -> Result<Vec<MessageId>> {
    let ids = sqlx::query_scalar!(
        "select distinct message_id from trace where header_id = $1 order by message_id desc limit $2",
        header_id,
        i64::from(limit)
    )
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(MessageId).collect())
}

/// Messages for this recipient, the latest first.
///
/// # Errors
/// What the database said.
pub async fn by_recipient(connection: &mut PgConnection, recipient: &str, limit: u32) -> Result<Vec<MessageId>> {
    let ids = sqlx::query_scalar!(
        "select distinct message_id from trace where recipients @> array[lower($1)] order by message_id desc limit $2",
        recipient,
        i64::from(limit)
    )
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(MessageId).collect())
}
