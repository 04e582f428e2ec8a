//! What clients called themselves lately.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::Result;

/// A name that a client used.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct HeloName {
    /// Its address.
    pub client: String,
    /// The name, folded.
    pub name: String,
    /// When it last did.
    pub last_at: DateTime<Utc>,
}

/// The names of a client since a moment, the latest first, at most `limit`.
///
/// # Errors
/// What the database said.
pub async fn of(
    connection: &mut PgConnection,
    client: &str,
    since: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<HeloName>> {
    Ok(sqlx::query_as!(
        HeloName,
        "select client, name, last_at from helo_name where client = $1 and last_at > $2 order by last_at desc limit $3",
        client,
        since,
        limit
    )
    .fetch_all(connection)
    .await?)
}

/// Writes down that names were used.
///
/// # Errors
/// What the database said.
pub async fn put(connection: &mut PgConnection, names: &[HeloName]) -> Result<()> {
    let texts = |pick: fn(&HeloName) -> &String| names.iter().map(|one| pick(one).clone()).collect::<Vec<_>>();
    sqlx::query!(
        "insert into helo_name (client, name, last_at)
         select client, name, max(last_at) from unnest($1::text[], $2::text[], $3::timestamptz[]) as t (client, name, last_at)
         group by client, name order by client, name
         on conflict (client, name) do update set last_at = greatest(helo_name.last_at, excluded.last_at)",
        &texts(|one| &one.client),
        &texts(|one| &one.name),
        &names.iter().map(|one| one.last_at).collect::<Vec<_>>()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets names that were last used before a moment.
///
/// # Errors
/// What the database said.
pub async fn sweep(connection: &mut PgConnection, before: DateTime<Utc>) -> Result<()> {
    sqlx::query!("delete from helo_name where last_at <= $1", before).execute(connection).await?;
    Ok(())
}
