//! The reaper: removes messages that no mailbox holds any more.

use sqlx::PgConnection;

use crate::Result;

/// Looks at up to `limit` candidates and removes those without a membership. Returns how many candidates it saw and
/// how many messages it removed.
///
/// A message cannot come back to life in between: a new membership is only ever made from an existing one of the same
/// account, under that account's lock.
///
/// # Errors
/// What the database said.
pub async fn reap(connection: &mut PgConnection, limit: i64) -> Result<(u64, u64)> {
    let row = sqlx::query!(
        r#"with seen as (
               delete from orphan where ctid = any (array(select ctid from orphan limit $1 for update skip locked))
               returning message_id
           ),
           dead as (
               select distinct message_id from seen s
               where not exists (select from membership m where m.message_id = s.message_id)
           ),
           bodies as (delete from body b using dead d where b.message_id = d.message_id),
           messages as (delete from message m using dead d where m.id = d.message_id returning m.id)
           select (select count(*) from seen) as "seen!", (select count(*) from messages) as "removed!""#,
        limit
    )
    .fetch_one(connection)
    .await?;
    Ok((row.seen.cast_unsigned(), row.removed.cast_unsigned()))
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
