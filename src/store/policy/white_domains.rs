//! Domains whose servers are not greylisted, and the networks that their records name.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::Result;

/// A domain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WhiteDomain {
    /// Its name, folded.
    pub domain: String,
    /// Since when it is one.
    pub added_at: DateTime<Utc>,
    /// When its records were last read.
    pub refreshed_at: Option<DateTime<Utc>>,
    /// Why they could not be read the last time.
    pub problem: Option<String>,
    /// The networks that they name.
    pub networks: Vec<String>,
}

/// All domains, by name.
///
/// # Errors
/// What the database said.
pub async fn list(connection: &mut PgConnection) -> Result<Vec<WhiteDomain>> {
    Ok(sqlx::query_as!(
        WhiteDomain,
        r#"select d.domain, d.added_at, d.refreshed_at, d.problem,
                  coalesce((select array_agg(n.network order by n.network) from white_network n where n.domain = d.domain),
                           '{}') as "networks!"
           from white_domain d order by d.domain"#
    )
    .fetch_all(connection)
    .await?)
}

/// Adds a domain; `false` when it is one already.
///
/// # Errors
/// What the database said.
pub async fn add(connection: &mut PgConnection, domain: &str, now: DateTime<Utc>) -> Result<bool> {
    let done = sqlx::query!(
        "insert into white_domain (domain, added_at) values (lower($1), $2) on conflict (domain) do nothing",
        domain,
        now
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Removes a domain with its networks; `false` when it is none.
///
/// # Errors
/// What the database said.
pub async fn remove(connection: &mut PgConnection, domain: &str) -> Result<bool> {
    let done = sqlx::query!("delete from white_domain where domain = lower($1)", domain).execute(connection).await?;
    Ok(done.rows_affected() > 0)
}

/// Notes the networks of a domain; with a problem, those that are known stay. Returns whether the networks changed.
///
/// # Errors
/// What the database said.
pub async fn refresh(
    connection: &mut PgConnection,
    domain: &str,
    found: std::result::Result<&[String], &str>,
    now: DateTime<Utc>,
) -> Result<bool> {
    let known = sqlx::query!(
        "update white_domain set refreshed_at = $2, problem = $3 where domain = $1",
        domain,
        now,
        found.err()
    )
    .execute(&mut *connection)
    .await?;
    let Ok(networks) = found else { return Ok(false) };
    if known.rows_affected() == 0 {
        return Ok(false);
    }
    let gone = sqlx::query!("delete from white_network where domain = $1 and network <> all ($2)", domain, networks)
        .execute(&mut *connection)
        .await?;
    let new = sqlx::query!(
        "insert into white_network (domain, network) select $1, unnest($2::text[]) on conflict (domain, network) do nothing",
        domain,
        networks
    )
    .execute(connection)
    .await?;
    Ok(gone.rows_affected() + new.rows_affected() > 0)
}
