//! What was seen of senders, and whom our people wrote to.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::Result;

/// What was seen of an address, a domain or a network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// A keyed hash of which.
    pub key: i64,
    /// The weight of spam, as it was at that moment.
    pub spam: f32,
    /// The weight of other mail.
    pub ham: f32,
    /// The moment.
    pub at: DateTime<Utc>,
}

/// That somebody wrote to somebody, or what.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Written {
    /// A keyed hash of the pair, or of a Message-ID.
    pub key: i64,
    /// When last.
    pub at: DateTime<Utc>,
}

/// What was seen last of senders: what fits into memory.
///
/// # Errors
/// What the database said.
pub async fn standings(connection: &mut PgConnection, limit: i64) -> Result<Vec<Standing>> {
    Ok(sqlx::query_as!(Standing, "select key, spam, ham, at from filter_reputation order by at desc limit $1", limit)
        .fetch_all(connection)
        .await?)
}

/// Writes down what was seen of senders, each once; what somebody else wrote later stays.
///
/// # Errors
/// What the database said.
pub async fn put_standings(connection: &mut PgConnection, rows: &[Standing]) -> Result<()> {
    sqlx::query!(
        "insert into filter_reputation as old (key, spam, ham, at)
         select * from unnest($1::bigint[], $2::real[], $3::real[], $4::timestamptz[]) as t (key, spam, ham, at)
         order by 1
         on conflict (key) do update set spam = excluded.spam, ham = excluded.ham, at = excluded.at
         where old.at <= excluded.at",
        &rows.iter().map(|row| row.key).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.spam).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.ham).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.at).collect::<Vec<_>>()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What was written since a moment, the latest first: what fits into memory.
///
/// # Errors
/// What the database said.
pub async fn written(connection: &mut PgConnection, since: DateTime<Utc>, limit: i64) -> Result<Vec<Written>> {
    Ok(sqlx::query_as!(
        Written,
        "select key, at from filter_written where at >= $1 order by at desc limit $2",
        since,
        limit
    )
    .fetch_all(connection)
    .await?)
}

/// Writes down what was written, each once.
///
/// # Errors
/// What the database said.
pub async fn put_written(connection: &mut PgConnection, rows: &[Written]) -> Result<()> {
    sqlx::query!(
        "insert into filter_written as old (key, at)
         select * from unnest($1::bigint[], $2::timestamptz[]) as t (key, at) order by 1
         on conflict (key) do update set at = greatest(old.at, excluded.at)",
        &rows.iter().map(|row| row.key).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.at).collect::<Vec<_>>()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets senders that were not seen, and what was written, before these moments.
///
/// # Errors
/// What the database said.
pub async fn sweep(connection: &mut PgConnection, seen: DateTime<Utc>, written: DateTime<Utc>) -> Result<()> {
    sqlx::query!("delete from filter_reputation where at < $1", seen).execute(&mut *connection).await?;
    sqlx::query!("delete from filter_written where at < $1", written).execute(connection).await?;
    Ok(())
}
