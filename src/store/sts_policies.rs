//! MTA-STS policies as they were fetched (RFC 8461), shared by all processes and kept over restarts.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::Result;

/// The policy of one domain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StsPolicy {
    /// Folded A-labels.
    pub domain: String,
    /// The `id` of the DNS record it was fetched for.
    pub id: String,
    /// The text of the policy file.
    pub policy: String,
    /// When it was fetched.
    pub fetched_at: DateTime<Utc>,
    /// When its `max_age` is over.
    pub expires_at: DateTime<Utc>,
}

/// The policy of a domain that has not expired.
///
/// # Errors
/// What the database said.
pub async fn find(connection: &mut PgConnection, domain: &str, now: DateTime<Utc>) -> Result<Option<StsPolicy>> {
    Ok(sqlx::query_as!(
        StsPolicy,
        "select domain, policy_id as id, policy, fetched_at, expires_at from sts_policy where domain = $1 and expires_at > $2",
        domain,
        now
    )
    .fetch_optional(connection)
    .await?)
}

/// Policies that have not expired, the latest fetched first.
///
/// # Errors
/// What the database said.
pub async fn list(connection: &mut PgConnection, now: DateTime<Utc>, limit: u32) -> Result<Vec<StsPolicy>> {
    Ok(sqlx::query_as!(
        StsPolicy,
        "select domain, policy_id as id, policy, fetched_at, expires_at
         from sts_policy where expires_at > $1 order by fetched_at desc limit $2",
        now,
        i64::from(limit)
    )
    .fetch_all(connection)
    .await?)
}

/// Keeps a policy, in the place of an earlier one.
///
/// # Errors
/// What the database said.
pub async fn put(connection: &mut PgConnection, policy: &StsPolicy) -> Result<()> {
    sqlx::query!(
        "insert into sts_policy (domain, policy_id, policy, fetched_at, expires_at) values ($1, $2, $3, $4, $5)
         on conflict (domain) do update
         set policy_id = excluded.policy_id, policy = excluded.policy, fetched_at = excluded.fetched_at,
             expires_at = excluded.expires_at",
        policy.domain,
        policy.id,
        policy.policy,
        policy.fetched_at,
        policy.expires_at
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets a domain's policy. `false` when there was none.
///
/// # Errors
/// What the database said.
pub async fn remove(connection: &mut PgConnection, domain: &str) -> Result<bool> {
    let done = sqlx::query!("delete from sts_policy where domain = $1", domain).execute(connection).await?;
    Ok(done.rows_affected() == 1)
}

/// Forgets what expired.
///
/// # Errors
/// What the database said.
pub async fn sweep(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<u64> {
    let done = sqlx::query!("delete from sts_policy where expires_at <= $1", now).execute(connection).await?;
    Ok(done.rows_affected())
}
