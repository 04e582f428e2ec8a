//! Clients that are refused for a while, because they never came back or wrote to a trap.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::Result;

/// A client that is refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Banned {
    /// A network as the greylist counts clients, or one address.
    pub network: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Until when.
    pub until: DateTime<Utc>,
}

/// Those that are refused now, in no order.
///
/// # Errors
/// What the database said.
pub async fn list(connection: &mut PgConnection, now: DateTime<Utc>, limit: i64) -> Result<Vec<Banned>> {
    Ok(sqlx::query_as!(
        Banned,
        "select network, reason, since, until from auto_blacklist where until > $1 order by since desc limit $2",
        now,
        limit
    )
    .fetch_all(connection)
    .await?)
}

/// Refuses clients; those that are refused already are refused until the later moment.
///
/// # Errors
/// What the database said.
pub async fn put(connection: &mut PgConnection, all: &[Banned]) -> Result<()> {
    let texts = |pick: fn(&Banned) -> &String| all.iter().map(|one| pick(one).clone()).collect::<Vec<_>>();
    let moments = |pick: fn(&Banned) -> DateTime<Utc>| all.iter().map(pick).collect::<Vec<_>>();
    sqlx::query!(
        "insert into auto_blacklist (network, reason, since, until)
         select distinct on (network) network, reason, since, until
         from unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[]) as t (network, reason, since, until)
         order by network, until desc
         on conflict (network) do update
         set reason = excluded.reason, until = greatest(auto_blacklist.until, excluded.until)",
        &texts(|one| &one.network),
        &texts(|one| &one.reason),
        &moments(|one| one.since),
        &moments(|one| one.until)
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgives a client; `false` when it was not refused.
///
/// # Errors
/// What the database said.
pub async fn remove(connection: &mut PgConnection, network: &str) -> Result<bool> {
    let done = sqlx::query!("delete from auto_blacklist where network = $1", network).execute(connection).await?;
    Ok(done.rows_affected() > 0)
}

/// Forgets those whose time is over.
///
/// # Errors
/// What the database said.
pub async fn sweep(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<()> {
    sqlx::query!("delete from auto_blacklist where until <= $1", now).execute(connection).await?;
    Ok(())
}

/// Which clients are to be refused for what came of their greylisted attempts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Review {
    /// Attempts that began later count.
    pub since: DateTime<Utc>,
    /// Those that began later have time yet to be tried again.
    pub until: DateTime<Utc>,
    /// So many there must be.
    pub attempts: i64,
    /// The part of them, in percent, that was never tried again.
    pub share: i64,
}

/// A client that did not come back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gone {
    /// A network as the greylist counts clients.
    pub network: String,
    /// Its attempts.
    pub attempts: i64,
    /// Those of them that it never tried again.
    pub lost: i64,
}

/// Clients that are to be refused, and are not yet. Those that the greylist trusts never are.
///
/// # Errors
/// What the database said.
pub async fn review(connection: &mut PgConnection, review: Review, now: DateTime<Utc>) -> Result<Vec<Gone>> {
    Ok(sqlx::query_as!(
        Gone,
        r#"select client as network, count(*) as "attempts!", count(*) filter (where passed_at is null) as "lost!"
           from greylist_triplet t
           where first_seen > $1 and first_seen <= $2
               and not exists (select from greylist_client c where c.network = t.client)
               and not exists (select from auto_blacklist b where b.network = t.client and b.until > $5)
           group by client
           having count(*) >= $3 and 100 * count(*) filter (where passed_at is null) >= $4 * count(*)"#,
        review.since,
        review.until,
        review.attempts,
        review.share,
        now
    )
    .fetch_all(connection)
    .await?)
}
