//! Values that adaptive delivery or an operator changed; they outlive the process.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::Result;

/// One changed value.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    /// Where it holds, in the words of who set it: such as binding and site.
    pub scope: String,
    /// The option.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// What it was before; `None`: what the configuration says.
    pub previous: Option<f64>,
    /// Since when.
    pub changed_at: DateTime<Utc>,
    /// Until when; `None`: until it is changed again.
    pub until: Option<DateTime<Utc>>,
    /// Which rule changed it, or who.
    pub rule: String,
    /// The reply that caused it.
    pub reply: Option<String>,
}

/// Keeps a value, in the place of an earlier one.
///
/// # Errors
/// What the database said.
pub async fn put(connection: &mut PgConnection, tuning: &Tuning) -> Result<()> {
    sqlx::query!(
        "insert into tuning (scope, name, value, changed_at, until, rule, reply, previous) values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (scope, name) do update
         set value = excluded.value, changed_at = excluded.changed_at, until = excluded.until, rule = excluded.rule,
             reply = excluded.reply, previous = excluded.previous",
        tuning.scope,
        tuning.name,
        tuning.value,
        tuning.changed_at,
        tuning.until,
        tuning.rule,
        tuning.reply,
        tuning.previous
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Everything in force at this moment.
///
/// # Errors
/// What the database said.
pub async fn list(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<Tuning>> {
    Ok(sqlx::query_as!(
        Tuning,
        "select scope, name, value, previous, changed_at, until, rule, reply from tuning where until is null or until > $1 order by scope, name",
        now
    )
    .fetch_all(connection)
    .await?)
}

/// Everything that changed after this moment, whether it is in force or not: how couriers follow each other.
///
/// # Errors
/// What the database said.
pub async fn changed_since(connection: &mut PgConnection, moment: DateTime<Utc>) -> Result<Vec<Tuning>> {
    Ok(sqlx::query_as!(
        Tuning,
        "select scope, name, value, previous, changed_at, until, rule, reply from tuning where changed_at > $1 order by changed_at",
        moment
    )
    .fetch_all(connection)
    .await?)
}

/// Forgets a value. `false` when there was none.
///
/// # Errors
/// What the database said.
pub async fn remove(connection: &mut PgConnection, scope: &str, name: &str) -> Result<bool> {
    let done =
        sqlx::query!("delete from tuning where scope = $1 and name = $2", scope, name).execute(connection).await?;
    Ok(done.rows_affected() == 1)
}

/// Forgets what ran out before this moment.
///
/// # Errors
/// What the database said.
pub async fn sweep(connection: &mut PgConnection, before: DateTime<Utc>) -> Result<u64> {
    let done = sqlx::query!("delete from tuning where until <= $1", before).execute(connection).await?;
    Ok(done.rows_affected())
}
