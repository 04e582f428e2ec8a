//! Counters for the TLS reports that other domains ask for (RFC 8460).

use chrono::NaiveDate;
use sqlx::PgConnection;

use crate::Result;

/// How often one thing happened on one day.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsCount {
    /// The day in UTC.
    pub day: NaiveDate,
    /// The policy domain, folded A-labels.
    pub domain: String,
    /// `tlsa`, `sts` or `no-policy-found` (RFC 8460 §4.2).
    pub policy_type: String,
    /// The policy's text, lines parted by LF; empty where there is none.
    pub policy: String,
    /// The receiving host.
    pub mx: String,
    /// Empty for success, else a result type (RFC 8460 §4.3).
    pub result: String,
    /// More about a failure, such as the addresses of both ends; empty where there is nothing to say.
    pub detail: String,
    /// How many sessions.
    pub sessions: i64,
}

/// Adds these numbers to what was counted before.
///
/// # Errors
/// What the database said.
pub async fn add(connection: &mut PgConnection, counts: &[TlsCount]) -> Result<()> {
    // Policies and replies are others' texts, and PostgreSQL's text holds no NUL.
    let each = |pick: fn(&TlsCount) -> &String| {
        counts.iter().map(|count| pick(count).replace('\0', "")).collect::<Vec<String>>()
    };
    sqlx::query!(
        "insert into tls_report as r (day, domain, digest, policy_type, policy, mx, result, detail, sessions)
         select day, domain,
             sha256(convert_to(json_build_array(policy_type, policy, mx, result, detail)::text, 'UTF8')),
             policy_type, policy, mx, result, detail, sum(sessions)::bigint
         from unnest($1::date[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[])
             as n (day, domain, policy_type, policy, mx, result, detail, sessions)
         group by day, domain, policy_type, policy, mx, result, detail
         order by 1, 2, 3
         on conflict (day, domain, digest) do update set sessions = r.sessions + excluded.sessions",
        &counts.iter().map(|count| count.day).collect::<Vec<_>>(),
        &each(|count| &count.domain),
        &each(|count| &count.policy_type),
        &each(|count| &count.policy),
        &each(|count| &count.mx),
        &each(|count| &count.result),
        &each(|count| &count.detail),
        &counts.iter().map(|count| count.sessions).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What was counted on a day for a domain (`None`: for all).
///
/// # Errors
/// What the database said.
pub async fn of_day(connection: &mut PgConnection, day: NaiveDate, domain: Option<&str>) -> Result<Vec<TlsCount>> {
    Ok(sqlx::query_as!(
        TlsCount,
        "select day, domain, policy_type, policy, mx, result, detail, sessions
         from tls_report where day = $1 and ($2::text is null or domain = $2)
         order by domain, policy_type, policy, mx, result, detail",
        day,
        domain
    )
    .fetch_all(connection)
    .await?)
}

/// Forgets days before this one.
///
/// # Errors
/// What the database said.
pub async fn sweep(connection: &mut PgConnection, before: NaiveDate) -> Result<u64> {
    let done = sqlx::query!("delete from tls_report where day < $1", before).execute(connection).await?;
    Ok(done.rows_affected())
}
