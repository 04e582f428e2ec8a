//! Stored messages: what FETCH shows without opening the body, and the octets themselves.

use chrono::{DateTime, Utc};
use posthorn_model::MessageId;
use sqlx::PgConnection;

use crate::{Error, Result, blob};

/// What was computed of a message at delivery.
#[derive(Clone, Debug)]
pub struct Message {
    /// Which one.
    pub id: MessageId,
    /// Octets of the whole message.
    pub size: u64,
    /// Octets of the header block with its empty line.
    pub header_size: u64,
    /// The Date field.
    pub sent_at: Option<DateTime<Utc>>,
    /// ENVELOPE, ready for the wire.
    pub envelope: Vec<u8>,
    /// BODYSTRUCTURE, ready for the wire.
    pub bodystructure: Vec<u8>,
    /// Offsets of all parts.
    pub structure: Vec<u8>,
    /// The first readable words.
    pub preview: String,
}

/// Ready-made ENVELOPEs of these messages, in no particular order.
///
/// # Errors
/// What the database said.
pub async fn envelopes(connection: &mut PgConnection, ids: &[i64]) -> Result<Vec<(MessageId, Vec<u8>)>> {
    let rows = sqlx::query!("select id, envelope from message where id = any($1)", ids).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| (MessageId(row.id), row.envelope)).collect())
}

/// These messages, in no particular order.
///
/// # Errors
/// What the database said.
pub async fn read(connection: &mut PgConnection, ids: &[i64]) -> Result<Vec<Message>> {
    let rows = sqlx::query!(
        "select id, size, header_size, sent_at, envelope, bodystructure, structure, preview from message where id = any($1)",
        ids
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Message {
            id: MessageId(row.id),
            size: row.size.cast_unsigned(),
            header_size: row.header_size.cast_unsigned(),
            sent_at: row.sent_at,
            envelope: row.envelope,
            bodystructure: row.bodystructure,
            structure: row.structure,
            preview: row.preview,
        })
        .collect())
}

/// The header blocks of these messages, in no particular order; their texts stay closed.
///
/// # Errors
/// What the database said, or damage.
pub async fn headers(connection: &mut PgConnection, ids: &[i64]) -> Result<Vec<(MessageId, Vec<u8>)>> {
    let rows = sqlx::query!("select message_id, header from body where message_id = any($1) and part = 0", ids)
        .fetch_all(connection)
        .await?;
    rows.into_iter()
        .map(|row| {
            let mut header = Vec::new();
            blob::unpack(row.header.as_deref().unwrap_or_default(), &mut header)?;
            Ok((MessageId(row.message_id), header))
        })
        .collect()
}

/// The octets of a message.
#[derive(Clone, Debug, Default)]
pub struct Octets {
    /// How many of them are the header block with its empty line.
    pub header_size: usize,
    /// Header and text.
    pub whole: Vec<u8>,
}

/// Whole messages, in no particular order.
///
/// # Errors
/// What the database said, or damage.
pub async fn bodies(connection: &mut PgConnection, ids: &[i64]) -> Result<Vec<(MessageId, Octets)>> {
    let rows = sqlx::query!(
        "select message_id, part, header, text from body where message_id = any($1) order by message_id, part",
        ids
    )
    .fetch_all(connection)
    .await?;
    let mut messages: Vec<(MessageId, Octets)> = Vec::with_capacity(ids.len());
    for row in rows {
        let id = MessageId(row.message_id);
        if row.part == 0 {
            let mut whole = Vec::with_capacity(row.text.len() * 2 + 2048);
            blob::unpack(row.header.as_deref().unwrap_or_default(), &mut whole)?;
            messages.push((id, Octets { header_size: whole.len(), whole }));
        }
        match messages.last_mut() {
            Some((last, octets)) if *last == id => blob::unpack(&row.text, &mut octets.whole)?,
            _ => return Err(Error::Damaged("body without its first part")),
        }
    }
    Ok(messages)
}

/// One part of a message's text (parts are [`crate::writer::PART_SIZE`] octets of text each), or `None` behind the
/// last; part 0 comes with the header in front.
///
/// # Errors
/// What the database said, or damage.
pub async fn part(connection: &mut PgConnection, id: MessageId, part: i32) -> Result<Option<Vec<u8>>> {
    let row = sqlx::query!("select header, text from body where message_id = $1 and part = $2", id.0, part)
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let mut octets = Vec::new();
    if let Some(header) = row.header {
        blob::unpack(&header, &mut octets)?;
    }
    blob::unpack(&row.text, &mut octets)?;
    Ok(Some(octets))
}
