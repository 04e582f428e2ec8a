//! The reaper: removes messages that no mailbox holds any more and that no longer leave.

use sqlx::{PgConnection, Row};

use crate::Result;

/// Looks at up to `limit` candidates and removes those without a membership, without an outgoing, and not held. Returns how many
/// candidates it saw and how many messages it removed.
///
/// A message cannot come back to life in between: a new membership is only ever made from an existing one of the same
/// account, under that account's lock, and an outgoing comes with its message or while a membership holds it. Of a
/// message's last membership and its last outgoing, whichever goes later leaves a candidate.
///
/// # Errors
/// What the database said.
pub async fn reap(connection: &mut PgConnection, limit: i64) -> Result<(u64, u64)> {
    // Planned anew each time: a plan made while the queue was empty would read a long one whole for each message.
    let row = sqlx::query(
        "with seen as (
               delete from orphan where ctid = any (array(select ctid from orphan limit $1 for update skip locked))
               returning message_id
           ),
           dead as (
               select distinct message_id from seen s
               where not exists (select from membership m where m.message_id = s.message_id)
                 and not exists (select from outgoing o where o.message_id = s.message_id)
                 and not exists (select from held h where h.message_id = s.message_id)
           ),
           -- What only left has a body and nothing else.
           bodies as (delete from body b using dead d where b.message_id = d.message_id returning b.part),
           messages as (delete from message m using dead d where m.id = d.message_id)
           select (select count(*) from seen), (select count(*) from bodies where part = 0)",
    )
    .persistent(false)
    .bind(limit)
    .fetch_one(connection)
    .await?;
    let number = |place| row.try_get::<i64, _>(place).map(i64::cast_unsigned);
    Ok((number(0)?, number(1)?))
}

/// Cuts the change log behind what a client may still ask for. Returns how many entries went.
///
/// # Errors
/// What the database said.
pub async fn cut_changes(connection: &mut PgConnection, keep: i64) -> Result<u64> {
    let done = sqlx::query!(
        "delete from change c using mail_state s where c.account_id = s.account_id and c.modseq <= s.modseq - $1",
        keep
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
