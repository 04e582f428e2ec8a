//! Whom our people wrote to.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::Result;

/// Somebody that one of us wrote to.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Correspondent {
    /// For whom: an address, `@domain` or `*`, folded.
    pub ours: String,
    /// Who: an address or `@domain`, folded.
    pub theirs: String,
    /// When the last mail was.
    pub last_at: DateTime<Utc>,
}

/// Writes down that mail was written, each pair once.
///
/// # Errors
/// What the database said.
pub async fn put(connection: &mut PgConnection, rows: &[Correspondent]) -> Result<()> {
    let texts = |pick: fn(&Correspondent) -> &String| rows.iter().map(|one| pick(one).clone()).collect::<Vec<_>>();
    sqlx::query!(
        "insert into correspondent as old (ours, theirs, last_at)
         select * from unnest($1::text[], $2::text[], $3::timestamptz[]) as t (ours, theirs, last_at) order by ours, theirs
         on conflict (ours, theirs) do update
         set last_at = greatest(old.last_at, excluded.last_at), revision = default",
        &texts(|one| &one.ours),
        &texts(|one| &one.theirs),
        &rows.iter().map(|one| one.last_at).collect::<Vec<_>>()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Those among these pairs that are known.
///
/// # Errors
/// What the database said.
pub async fn find(connection: &mut PgConnection, ours: &[String], theirs: &[String]) -> Result<Vec<Correspondent>> {
    Ok(sqlx::query_as!(
        Correspondent,
        "select c.ours, c.theirs, c.last_at from unnest($1::text[], $2::text[]) as t (ours, theirs)
         join correspondent c on c.ours = t.ours and c.theirs = t.theirs",
        ours,
        theirs
    )
    .fetch_all(connection)
    .await?)
}

/// Correspondents, those written to last first: what fits into memory.
///
/// # Errors
/// What the database said.
pub async fn latest(connection: &mut PgConnection, limit: i64) -> Result<Vec<Correspondent>> {
    Ok(sqlx::query_as!(
        Correspondent,
        "select ours, theirs, last_at from correspondent order by last_at desc limit $1",
        limit
    )
    .fetch_all(connection)
    .await?)
}

/// Correspondents that were written since a [`super::news::floor`].
///
/// # Errors
/// What the database said.
pub async fn changed(connection: &mut PgConnection, since: i64, limit: i64) -> Result<Vec<Correspondent>> {
    Ok(sqlx::query_as!(
        Correspondent,
        "select ours, theirs, last_at from correspondent
         where revision >= $1 and revision < pg_snapshot_xmax(pg_current_snapshot())::text::bigint limit $2",
        since,
        limit
    )
    .fetch_all(connection)
    .await?)
}

/// Forgets those whom nobody wrote to since a moment, at most `limit`. Returns how many.
///
/// # Errors
/// What the database said.
pub async fn sweep(connection: &mut PgConnection, before: DateTime<Utc>, limit: i64) -> Result<u64> {
    let done = sqlx::query!(
        "delete from correspondent where (ours, theirs) in
         (select ours, theirs from correspondent where last_at <= $1 limit $2)",
        before,
        limit
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
