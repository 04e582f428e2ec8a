//! White and black lists.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::Result;

/// Who may write to whom, or not. Both sides are patterns as the configuration writes them, folded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Whether it is about mail that our people send; else about mail that they get.
    pub outbound: bool,
    /// Our people.
    pub account: String,
    /// The others: senders and clients, or of outbound mail the recipients.
    pub peer: String,
    /// Whether they may not.
    pub black: bool,
    /// Why.
    pub note: String,
    /// Since when.
    pub added_at: DateTime<Utc>,
}

/// All entries, inbound first, by account and peer.
///
/// # Errors
/// What the database said.
pub async fn list(connection: &mut PgConnection) -> Result<Vec<Entry>> {
    Ok(sqlx::query_as!(
        Entry,
        "select outbound, account, peer, black, note, added_at from access_entry order by outbound, account, peer"
    )
    .fetch_all(connection)
    .await?)
}

/// Adds an entry, in the place of an earlier one.
///
/// # Errors
/// What the database said.
pub async fn put(connection: &mut PgConnection, entry: &Entry) -> Result<()> {
    sqlx::query!(
        "insert into access_entry (outbound, account, peer, black, note, added_at) values ($1, $2, $3, $4, $5, $6)
         on conflict (outbound, account, peer) do update
         set black = excluded.black, note = excluded.note, added_at = excluded.added_at",
        entry.outbound,
        entry.account,
        entry.peer,
        entry.black,
        entry.note,
        entry.added_at
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes the entries of an account about a peer, or (`None`) about all. Returns how many there were.
///
/// # Errors
/// What the database said.
pub async fn remove(connection: &mut PgConnection, outbound: bool, account: &str, peer: Option<&str>) -> Result<u64> {
    let done = sqlx::query!(
        "delete from access_entry where outbound = $1 and account = $2 and ($3::text is null or peer = $3)",
        outbound,
        account,
        peer
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
