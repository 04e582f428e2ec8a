//! Reports about a day to other domains: what is counted for them (DMARC; for TLS see [`crate::tls_reports`]), and which
//! are sent.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;

use crate::Result;

/// Mail of one policy with one outcome on one day.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DmarcCount {
    /// The day in UTC.
    pub day: NaiveDate,
    /// The domain that has the record.
    pub domain: String,
    /// What the record says, JSON.
    pub policy: String,
    /// Where the mail came from, what it proved and what was done, JSON.
    pub outcome: String,
    /// How many messages.
    pub messages: i64,
}

/// Which reports.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ReportKind {
    /// DMARC aggregate reports.
    Dmarc,
    /// TLS reports.
    Tls,
}

/// A domain of which something was counted on a day.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DueReport {
    /// The day in UTC.
    pub day: NaiveDate,
    /// The domain.
    pub domain: String,
    /// Messages or sessions.
    pub counted: i64,
}

/// A report that was sent, or is being sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SentReport {
    /// The day in UTC.
    pub day: NaiveDate,
    /// The domain.
    pub domain: String,
    /// When somebody last began.
    pub claimed_at: DateTime<Utc>,
    /// How often somebody began.
    pub attempts: i16,
    /// When it was done.
    pub done_at: Option<DateTime<Utc>>,
    /// Whom it went to, or why to nobody.
    pub outcome: String,
}

impl ReportKind {
    pub(crate) fn code(self) -> i16 {
        match self {
            Self::Dmarc => 1,
            Self::Tls => 2,
        }
    }
}

/// Adds these numbers to what was counted before.
///
/// # Errors
/// What the database said.
pub async fn add(connection: &mut PgConnection, counts: &[DmarcCount]) -> Result<()> {
    let each = |pick: fn(&DmarcCount) -> &String| counts.iter().map(|count| pick(count).as_str()).collect::<Vec<_>>();
    sqlx::query!(
        "insert into dmarc_count as c (day, domain, digest, policy, outcome, messages)
         select day, domain, sha256(convert_to(policy || E'\\n' || outcome, 'UTF8')), policy, outcome, sum(messages)::bigint
         from unnest($1::date[], $2::text[], $3::text[], $4::text[], $5::bigint[]) as n (day, domain, policy, outcome, messages)
         group by day, domain, policy, outcome
         order by 1, 2, 3
         on conflict (day, domain, digest) do update set messages = c.messages + excluded.messages",
        &counts.iter().map(|count| count.day).collect::<Vec<_>>(),
        &each(|count| &count.domain) as _,
        &each(|count| &count.policy) as _,
        &each(|count| &count.outcome) as _,
        &counts.iter().map(|count| count.messages).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What was counted on a day for a domain, the most frequent first.
///
/// # Errors
/// What the database said.
pub async fn of_day(
    connection: &mut PgConnection,
    day: NaiveDate,
    domain: &str,
    limit: i64,
) -> Result<Vec<DmarcCount>> {
    Ok(sqlx::query_as!(
        DmarcCount,
        "select day, domain, policy, outcome, messages from dmarc_count
         where day = $1 and domain = $2 order by messages desc, digest limit $3",
        day,
        domain,
        limit
    )
    .fetch_all(connection)
    .await?)
}

/// Domains of which something was counted from one day to another, both included, and whose report nobody has sent or
/// given up; with `all` the others, too.
///
/// # Errors
/// What the database said.
pub async fn due(
    connection: &mut PgConnection,
    kind: ReportKind,
    days: (NaiveDate, NaiveDate),
    all: bool,
) -> Result<Vec<DueReport>> {
    let rows = match kind {
        ReportKind::Dmarc => {
            sqlx::query_as!(
                DueReport,
                r#"select c.day, c.domain, sum(c.messages)::bigint as "counted!" from dmarc_count c
                   where c.day between $1 and $2 and ($3 or not exists (select from daily_report r
                       where r.kind = 1 and r.day = c.day and r.domain = c.domain and r.done_at is not null))
                   group by c.day, c.domain order by c.day, c.domain"#,
                days.0,
                days.1,
                all
            )
            .fetch_all(connection)
            .await?
        }
        ReportKind::Tls => {
            sqlx::query_as!(
                DueReport,
                r#"select c.day, c.domain, sum(c.sessions)::bigint as "counted!" from tls_report c
                   where c.day between $1 and $2 and ($3 or not exists (select from daily_report r
                       where r.kind = 2 and r.day = c.day and r.domain = c.domain and r.done_at is not null))
                   group by c.day, c.domain order by c.day, c.domain"#,
                days.0,
                days.1,
                all
            )
            .fetch_all(connection)
            .await?
        }
    };
    Ok(rows)
}

/// Takes a report in hand, for this process alone: `None` when it is done, when somebody else began after `void_before`,
/// or when `most` have begun. The number says how often somebody has begun now.
///
/// # Errors
/// What the database said.
pub async fn claim(
    connection: &mut PgConnection,
    kind: ReportKind,
    due: &DueReport,
    (now, void_before): (DateTime<Utc>, DateTime<Utc>),
    most: i16,
) -> Result<Option<i16>> {
    Ok(sqlx::query_scalar!(
        "insert into daily_report as r (kind, day, domain, claimed_at, attempts) values ($1, $2, $3, $4, 1)
         on conflict (kind, day, domain) do update set claimed_at = excluded.claimed_at, attempts = r.attempts + 1
         where r.done_at is null and r.claimed_at < $5 and r.attempts < $6
         returning attempts",
        kind.code(),
        due.day,
        due.domain,
        now,
        void_before,
        most
    )
    .fetch_optional(connection)
    .await?)
}

/// Says that a report is done, and what came of it.
///
/// # Errors
/// What the database said.
pub async fn finish(
    connection: &mut PgConnection,
    kind: ReportKind,
    due: &DueReport,
    now: DateTime<Utc>,
    outcome: &str,
) -> Result<()> {
    sqlx::query!(
        "update daily_report set done_at = $4, outcome = $5 where kind = $1 and day = $2 and domain = $3",
        kind.code(),
        due.day,
        due.domain,
        now,
        outcome
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A letter to an address whose domain did not say that it wants reports about others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnaskedLetter {
    /// The day on which it is sent, in UTC.
    pub sent_on: NaiveDate,
    /// The address, folded.
    pub address: String,
    /// Its domain.
    pub host: String,
}

/// Takes one of the letters that such addresses may get in a day: one for an address, and no more than so many for its
/// domain and for all of them. Returns whether there was one left; for the same report there is again.
///
/// # Errors
/// What the database said.
pub async fn allow_unasked(
    connection: &mut PgConnection,
    letter: &UnaskedLetter,
    due: &DueReport,
    (of_host, of_all): (u32, u32),
) -> Result<bool> {
    let taken = sqlx::query!(
        "insert into unasked_letter as l (sent_on, address, host, domain, day)
         select $1::date, $2::text, $3::text, $4::text, $5::date
         where (select count(*) from unasked_letter where sent_on = $1 and host = $3 and address <> $2) < $6
           and (select count(*) from unasked_letter where sent_on = $1 and address <> $2) < $7
         on conflict (sent_on, address) do update set host = excluded.host
         where l.domain = excluded.domain and l.day = excluded.day",
        letter.sent_on,
        letter.address,
        letter.host,
        due.domain,
        due.day,
        i64::from(of_host),
        i64::from(of_all)
    );
    Ok(taken.execute(connection).await?.rows_affected() > 0)
}

/// What was sent, the newest first.
///
/// # Errors
/// What the database said.
pub async fn sent(
    connection: &mut PgConnection,
    kind: ReportKind,
    domain: Option<&str>,
    limit: i64,
) -> Result<Vec<SentReport>> {
    Ok(sqlx::query_as!(
        SentReport,
        "select day, domain, claimed_at, attempts, done_at, outcome from daily_report
         where kind = $1 and ($2::text is null or domain = $2) order by day desc, domain limit $3",
        kind.code(),
        domain,
        limit
    )
    .fetch_all(connection)
    .await?)
}

/// Forgets what was counted before one day, and what was sent before another.
///
/// # Errors
/// What the database said.
pub async fn sweep(connection: &mut PgConnection, counted: NaiveDate, sent: NaiveDate) -> Result<u64> {
    let counts = sqlx::query!("delete from dmarc_count where day < $1", counted).execute(&mut *connection).await?;
    let reports = sqlx::query!("delete from daily_report where day < $1", sent).execute(&mut *connection).await?;
    sqlx::query!("delete from unasked_letter where sent_on < $1", counted).execute(connection).await?;
    Ok(counts.rows_affected() + reports.rows_affected())
}
