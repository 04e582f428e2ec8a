//! Limits, and what was used of them by whom.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::Result;

/// A limit. Numbers that are `None` are those of the next less specific one; 0 is no limit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LimitRow {
    /// Which mail: 0 outbound, 1 inbound, 2 external.
    pub kind: i16,
    /// Whose: a pattern, folded.
    pub who: String,
    /// What is counted together, by its place among those that the configuration knows.
    pub per: i16,
    /// Milliseconds.
    pub period_ms: i64,
    /// Whether what was used flows away evenly.
    pub leaky: bool,
    /// What is done, by its place among the verdicts of the configuration.
    pub verdict: i16,
    /// Messages in the period.
    pub messages: Option<i64>,
    /// Octets in the period.
    pub octets: Option<i64>,
    /// Recipients of one message.
    pub recipients: Option<i64>,
    /// Octets of one message.
    pub size: Option<i64>,
}

/// What was used.
#[derive(Clone, Debug, PartialEq)]
pub struct Counter {
    /// Of which limit: its kind and pattern.
    pub rule: String,
    /// By whom.
    pub subject: String,
    /// When its window began.
    pub started_at: DateTime<Utc>,
    /// The moment that the numbers are of.
    pub updated_at: DateTime<Utc>,
    /// Messages.
    pub messages: f64,
    /// Octets.
    pub octets: f64,
}

/// What was used since it was last written.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta {
    /// The counter; its numbers are what comes to it, and `started_at` is that of its window.
    pub counter: Counter,
    /// The length of its window in milliseconds.
    pub period_ms: i64,
    /// What flows away in a second; 0 for a fixed window.
    pub messages_leak: f64,
    /// The same of octets.
    pub octets_leak: f64,
}

/// All limits.
///
/// # Errors
/// What the database said.
pub async fn limits(connection: &mut PgConnection) -> Result<Vec<LimitRow>> {
    Ok(sqlx::query_as!(
        LimitRow,
        "select kind, who, per, period_ms, leaky, verdict, messages, octets, recipients, size
         from throttle_limit order by kind, who"
    )
    .fetch_all(connection)
    .await?)
}

/// Sets a limit, in the place of what was said before.
///
/// # Errors
/// What the database said.
pub async fn put_limit(connection: &mut PgConnection, limit: &LimitRow) -> Result<()> {
    sqlx::query!(
        "insert into throttle_limit (kind, who, per, period_ms, leaky, verdict, messages, octets, recipients, size)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         on conflict (kind, who) do update
         set per = excluded.per, period_ms = excluded.period_ms, leaky = excluded.leaky, verdict = excluded.verdict,
             messages = excluded.messages, octets = excluded.octets, recipients = excluded.recipients,
             size = excluded.size",
        limit.kind,
        limit.who,
        limit.per,
        limit.period_ms,
        limit.leaky,
        limit.verdict,
        limit.messages,
        limit.octets,
        limit.recipients,
        limit.size
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes a limit back; `false` when there was none.
///
/// # Errors
/// What the database said.
pub async fn remove_limit(connection: &mut PgConnection, kind: i16, who: &str) -> Result<bool> {
    let done =
        sqlx::query!("delete from throttle_limit where kind = $1 and who = $2", kind, who).execute(connection).await?;
    Ok(done.rows_affected() > 0)
}

/// Adds what was used, each counter once, and returns what they come to: with what other engines added, and without what
/// has flowed away or belongs to a window that is over.
///
/// # Errors
/// What the database said.
pub async fn add(connection: &mut PgConnection, deltas: &[Delta]) -> Result<Vec<Counter>> {
    let texts = |pick: fn(&Delta) -> &String| deltas.iter().map(|one| pick(one).clone()).collect::<Vec<_>>();
    let numbers = |pick: fn(&Delta) -> f64| deltas.iter().map(pick).collect::<Vec<_>>();
    let moments = |pick: fn(&Delta) -> DateTime<Utc>| deltas.iter().map(pick).collect::<Vec<_>>();
    Ok(sqlx::query_as!(
        Counter,
        "insert into throttle_counter as old
             (rule, subject, started_at, updated_at, messages, octets, period_ms, messages_leak, octets_leak, expires_at)
         select rule, subject, started_at, updated_at, messages, octets, period_ms, messages_leak, octets_leak,
                greatest(started_at, updated_at) + period_ms * interval '1 millisecond'
         from unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::float8[], $6::float8[],
                     $7::bigint[], $8::float8[], $9::float8[])
              as t (rule, subject, started_at, updated_at, messages, octets, period_ms, messages_leak, octets_leak)
         order by rule, subject
         on conflict (rule, subject) do update
         set messages = excluded.messages + case
                 when excluded.messages_leak > 0 or excluded.octets_leak > 0
                     then greatest(0, old.messages - excluded.messages_leak
                         * greatest(0, extract(epoch from excluded.updated_at - old.updated_at)::float8))
                 when old.started_at + excluded.period_ms * interval '1 millisecond' > excluded.updated_at
                     then old.messages
                 else 0 end,
             octets = excluded.octets + case
                 when excluded.messages_leak > 0 or excluded.octets_leak > 0
                     then greatest(0, old.octets - excluded.octets_leak
                         * greatest(0, extract(epoch from excluded.updated_at - old.updated_at)::float8))
                 when old.started_at + excluded.period_ms * interval '1 millisecond' > excluded.updated_at
                     then old.octets
                 else 0 end,
             started_at = case
                 when old.started_at + excluded.period_ms * interval '1 millisecond' > excluded.updated_at
                     then least(old.started_at, excluded.started_at)
                 else excluded.started_at end,
             updated_at = greatest(old.updated_at, excluded.updated_at),
             expires_at = greatest(old.expires_at, excluded.expires_at),
             period_ms = excluded.period_ms, messages_leak = excluded.messages_leak, octets_leak = excluded.octets_leak,
             revision = default
         returning rule, subject, started_at, updated_at, messages, octets",
        &texts(|one| &one.counter.rule),
        &texts(|one| &one.counter.subject),
        &moments(|one| one.counter.started_at),
        &moments(|one| one.counter.updated_at),
        &numbers(|one| one.counter.messages),
        &numbers(|one| one.counter.octets),
        &deltas.iter().map(|one| one.period_ms).collect::<Vec<_>>(),
        &numbers(|one| one.messages_leak),
        &numbers(|one| one.octets_leak)
    )
    .fetch_all(connection)
    .await?)
}

/// Counters, those written last first: what fits into memory.
///
/// # Errors
/// What the database said.
pub async fn latest(connection: &mut PgConnection, now: DateTime<Utc>, limit: i64) -> Result<Vec<Counter>> {
    Ok(sqlx::query_as!(
        Counter,
        "select rule, subject, started_at, updated_at, messages, octets from throttle_counter
         where expires_at > $1 order by expires_at desc limit $2",
        now,
        limit
    )
    .fetch_all(connection)
    .await?)
}

/// Counters that were written since a [`super::news::floor`].
///
/// # Errors
/// What the database said.
pub async fn changed(connection: &mut PgConnection, since: i64, limit: i64) -> Result<Vec<Counter>> {
    Ok(sqlx::query_as!(
        Counter,
        "select rule, subject, started_at, updated_at, messages, octets from throttle_counter
         where revision >= $1 and revision < pg_snapshot_xmax(pg_current_snapshot())::text::bigint limit $2",
        since,
        limit
    )
    .fetch_all(connection)
    .await?)
}

/// Notes that somebody is told of a counter's window; `false` when somebody was, since `since`.
///
/// # Errors
/// What the database said.
pub async fn notice(
    connection: &mut PgConnection,
    (rule, subject): (&str, &str),
    since: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<bool> {
    let done = sqlx::query!(
        "insert into throttle_counter as old
             (rule, subject, started_at, updated_at, messages, octets, period_ms, messages_leak, octets_leak, expires_at,
              noticed_at)
         values ($1, $2, $4, $4, 0, 0, 0, 0, 0, $4::timestamptz + ($4::timestamptz - $3::timestamptz), $4)
         on conflict (rule, subject) do update set noticed_at = excluded.noticed_at
         where old.noticed_at is null or old.noticed_at < $3",
        rule,
        subject,
        since,
        now
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Forgets what was used, by a subject or (`None`) by all, of a rule or of all. Returns how many counters there were.
///
/// # Errors
/// What the database said.
pub async fn reset(connection: &mut PgConnection, rule: Option<&str>, subject: Option<&str>) -> Result<u64> {
    let done = sqlx::query!(
        "update throttle_counter set messages = 0, octets = 0, noticed_at = null, revision = default
         where ($1::text is null or rule = $1) and ($2::text is null or subject = lower($2))",
        rule,
        subject
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Forgets counters that hold nothing any more, at most `limit`. Returns how many.
///
/// # Errors
/// What the database said.
pub async fn sweep(connection: &mut PgConnection, now: DateTime<Utc>, limit: i64) -> Result<u64> {
    let done = sqlx::query!(
        "delete from throttle_counter where (rule, subject) in
         (select rule, subject from throttle_counter where expires_at <= $1 limit $2)",
        now,
        limit
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
