//! Reports of others about mail in our domains' names (DMARC) and about TLS towards us.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;

use crate::Result;
pub use crate::daily_reports::ReportKind;

/// A report.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReceivedReport {
    /// Its id here.
    pub id: i64,
    /// When it came.
    pub received_at: DateTime<Utc>,
    /// The domain that it is about.
    pub domain: String,
    /// Who made it.
    pub organization: String,
    /// How to reach them.
    pub contact: String,
    /// What they call it.
    pub name: String,
    /// The first moment that it is about.
    pub begins_at: DateTime<Utc>,
    /// The last.
    pub ends_at: DateTime<Utc>,
    /// The domain of the letter's author.
    pub sender: String,
    /// Whether the letter was shown to be that domain's.
    pub proven: bool,
    /// The policy, JSON.
    pub policy: String,
    /// Messages that passed, or sessions that met the policy.
    pub good: i64,
    /// Those that did not.
    pub bad: i64,
}

/// A row of a report.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ReceivedRow {
    /// DMARC: the client's address; TLS: the receiving host.
    pub source: String,
    /// Messages that passed, or sessions that met the policy.
    pub good: i64,
    /// Those that did not.
    pub bad: i64,
    /// DMARC: messages that a signature showed to be the domain's.
    pub dkim: i64,
    /// DMARC: messages that the reverse path did.
    pub spf: i64,
    /// The whole row, JSON.
    pub detail: String,
}

/// Sums over reports.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SourceSum {
    /// The domain.
    pub domain: String,
    /// As in [`ReceivedRow`].
    pub source: String,
    /// As in [`ReceivedRow`].
    pub good: i64,
    /// As in [`ReceivedRow`].
    pub bad: i64,
    /// As in [`ReceivedRow`].
    pub dkim: i64,
    /// As in [`ReceivedRow`].
    pub spf: i64,
    /// How many makers of reports say so.
    pub reporters: i64,
}

/// How much is kept on a day.
#[derive(Clone, Copy, Debug)]
pub struct Room<'r> {
    /// The day in UTC.
    pub day: NaiveDate,
    /// Whose letters count together; not empty.
    pub sender: &'r str,
    /// Rows of those.
    pub of_sender: u32,
    /// Rows of all.
    pub of_day: u32,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kept {
    /// It is kept.
    New,
    /// The same was kept before.
    Known,
    /// Its sender has no more room on this day.
    SenderFull,
    /// Nobody has.
    DayFull,
}

/// Octets of a row's detail; a longer one counts as several rows.
const DETAIL: usize = 1024;

/// Keeps a report. When the answer is not [`Kept::New`], the transaction is to be rolled back.
///
/// # Errors
/// What the database said.
pub async fn add(
    connection: &mut PgConnection,
    kind: ReportKind,
    report: &ReceivedReport,
    rows: &[ReceivedRow],
    room: &Room<'_>,
) -> Result<Kept> {
    let kept = sqlx::query!(
        "insert into received_report (id, kind, received_at, domain, organization, contact, name, begins_at, ends_at,
             sender, proven, policy, good, bad)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) on conflict do nothing",
        report.id,
        kind.code(),
        report.received_at,
        report.domain,
        report.organization,
        report.contact,
        report.name,
        report.begins_at,
        report.ends_at,
        report.sender,
        report.proven,
        report.policy,
        report.good,
        report.bad
    )
    .execute(&mut *connection)
    .await?;
    if kept.rows_affected() == 0 {
        return Ok(Kept::Known);
    }
    let details = rows.iter().map(|row| &row.detail).chain([&report.policy]);
    let need: usize = details.map(|detail| 1 + detail.len() / DETAIL).sum();
    let need = i64::try_from(need).unwrap_or(i64::MAX);
    if !take(connection, room.day, room.sender, need, room.of_sender).await? {
        return Ok(Kept::SenderFull);
    }
    if !take(connection, room.day, "", need, room.of_day).await? {
        return Ok(Kept::DayFull);
    }
    let numbers = |pick: fn(&ReceivedRow) -> i64| rows.iter().map(pick).collect::<Vec<_>>();
    sqlx::query!(
        "insert into received_report_row (report_id, place, source, good, bad, dkim, spf, detail)
         select $1, place, source, good, bad, dkim, spf, detail
         from unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[])
             with ordinality as n (source, good, bad, dkim, spf, detail, place)",
        report.id,
        &rows.iter().map(|row| row.source.as_str()).collect::<Vec<_>>() as _,
        &numbers(|row| row.good),
        &numbers(|row| row.bad),
        &numbers(|row| row.dkim),
        &numbers(|row| row.spf),
        &rows.iter().map(|row| row.detail.as_str()).collect::<Vec<_>>() as _,
    )
    .execute(connection)
    .await?;
    Ok(Kept::New)
}

/// Takes room for so many rows, where there is as much left.
async fn take(connection: &mut PgConnection, day: NaiveDate, sender: &str, need: i64, most: u32) -> Result<bool> {
    let most = i64::from(most);
    if need > most {
        return Ok(false);
    }
    let taken = sqlx::query!(
        "insert into received_report_day as d (day, sender, kept) values ($1, $2, $3)
         on conflict (day, sender) do update set kept = d.kept + excluded.kept where d.kept + excluded.kept <= $4",
        day,
        sender,
        need,
        most
    );
    Ok(taken.execute(connection).await?.rows_affected() > 0)
}

/// Reports that begin at or after a moment, the newest first.
///
/// # Errors
/// What the database said.
pub async fn list(
    connection: &mut PgConnection,
    kind: ReportKind,
    domain: Option<&str>,
    since: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<ReceivedReport>> {
    Ok(sqlx::query_as!(
        ReceivedReport,
        "select id, received_at, domain, organization, contact, name, begins_at, ends_at, sender, proven, policy, good, bad
         from received_report where kind = $1 and ($2::text is null or domain = $2) and begins_at >= $3
         order by begins_at desc, id desc limit $4",
        kind.code(),
        domain,
        since,
        limit
    )
    .fetch_all(connection)
    .await?)
}

/// A report by its id.
///
/// # Errors
/// What the database said.
pub async fn find(connection: &mut PgConnection, kind: ReportKind, id: i64) -> Result<Option<ReceivedReport>> {
    Ok(sqlx::query_as!(
        ReceivedReport,
        "select id, received_at, domain, organization, contact, name, begins_at, ends_at, sender, proven, policy, good, bad
         from received_report where kind = $1 and id = $2",
        kind.code(),
        id
    )
    .fetch_optional(connection)
    .await?)
}

/// A report's rows in their order.
///
/// # Errors
/// What the database said.
pub async fn rows(connection: &mut PgConnection, id: i64) -> Result<Vec<ReceivedRow>> {
    Ok(sqlx::query_as!(
        ReceivedRow,
        "select source, good, bad, dkim, spf, detail from received_report_row where report_id = $1 order by place",
        id
    )
    .fetch_all(connection)
    .await?)
}

/// Sums by domain and source over reports that begin at or after a moment; the sources with the most failures first.
///
/// # Errors
/// What the database said.
pub async fn sums(
    connection: &mut PgConnection,
    kind: ReportKind,
    domain: Option<&str>,
    since: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<SourceSum>> {
    Ok(sqlx::query_as!(
        SourceSum,
        r#"select r.domain, w.source, least(sum(w.good), 9223372036854775807)::bigint as "good!",
                  least(sum(w.bad), 9223372036854775807)::bigint as "bad!",
                  least(sum(w.dkim), 9223372036854775807)::bigint as "dkim!",
                  least(sum(w.spf), 9223372036854775807)::bigint as "spf!",
                  count(distinct r.organization) as "reporters!"
           from received_report r join received_report_row w on w.report_id = r.id
           where r.kind = $1 and ($2::text is null or r.domain = $2) and r.begins_at >= $3
           group by r.domain, w.source order by r.domain, sum(w.bad) desc, sum(w.good) desc, w.source limit $4"#,
        kind.code(),
        domain,
        since,
        limit
    )
    .fetch_all(connection)
    .await?)
}

/// Forgets reports that came before a moment.
///
/// # Errors
/// What the database said.
pub async fn sweep(connection: &mut PgConnection, before: DateTime<Utc>) -> Result<u64> {
    let done = sqlx::query!("delete from received_report where received_at < $1", before);
    let done = done.execute(&mut *connection).await?;
    sqlx::query!("delete from received_report_day where day < $1", before.date_naive()).execute(connection).await?;
    Ok(done.rows_affected())
}
