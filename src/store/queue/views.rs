//! What couriers know of their sites, for an operator in another process: asked by NOTIFY, answered in rows.
//!
//! Times are the database's: an answer counts when it was written after the question.

use chrono::{DateTime, Utc};
use posthorn_model::ClaimId;
use sqlx::PgConnection;

use crate::Result;

/// A courier, and what it answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CourierView {
    /// Which one.
    pub courier: ClaimId,
    /// Where it is.
    pub host: String,
    /// Its sites, as JSON; `None`: it has not answered.
    pub sites: Option<String>,
}

/// Asks all couriers. Returns when that was.
///
/// # Errors
/// What the database said.
pub async fn ask_views(connection: &mut PgConnection) -> Result<DateTime<Utc>> {
    let row = sqlx::query!(r#"select clock_timestamp() as "asked!", pg_notify('posthorn_queue', 'show')"#)
        .fetch_one(connection);
    Ok(row.await?.asked)
}

/// A courier's answer, in the place of an earlier one. Those of couriers that are gone go.
///
/// # Errors
/// What the database said.
pub async fn put_view(connection: &mut PgConnection, me: ClaimId, sites: &str) -> Result<()> {
    sqlx::query!(
        "with gone as (
             delete from courier_view v where v.courier <> $1 and not exists (select from courier c where c.id = v.courier)
         )
         insert into courier_view (courier, written_at, sites) values ($1, clock_timestamp(), $2)
         on conflict (courier) do update set written_at = excluded.written_at, sites = excluded.sites",
        me.0,
        sites
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The couriers that are alive, with what they answered since then.
///
/// # Errors
/// What the database said.
pub async fn views(connection: &mut PgConnection, since: DateTime<Utc>) -> Result<Vec<CourierView>> {
    let rows = sqlx::query!(
        r#"select c.id, c.host, v.sites as "sites?"
           from courier c
           left join courier_view v on v.courier = c.id and v.written_at >= $1
           where c.alive_until >= now()
           order by c.host, c.id"#,
        since
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| CourierView { courier: ClaimId(row.id), host: row.host, sites: row.sites }).collect())
}
