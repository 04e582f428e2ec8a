//! The trace's partitions: one for each day, made ahead and dropped when they are old.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::{Result, ids};

/// Partitions are there for today and so many days to come.
const AHEAD: u64 = 3;

/// One process at a time ("trac" in ASCII).
const LOCK: i64 = 0x7472_6163;

/// Makes the partitions of the days to come, and forgets what happened longer than `keep` ago. To be called once an hour
/// or so, inside a transaction of its own. Returns how many days were forgotten.
///
/// # Errors
/// What the database said; among it that readers were in the way for two seconds, which the next call makes good.
pub async fn tend(connection: &mut PgConnection, now: DateTime<Utc>, keep: TimeDelta) -> Result<usize> {
    // A reader of the whole table must not make everybody else wait behind us.
    sqlx::query!("select set_config('lock_timeout', '2s', true)").fetch_one(&mut *connection).await?;
    sqlx::query!("select pg_advisory_xact_lock($1)", LOCK).fetch_one(&mut *connection).await?;
    let present: Vec<NaiveDate> = sqlx::query_scalar!(
        r#"select c.relname::text as "name!" from pg_inherits i join pg_class c on c.oid = i.inhrelid
           where i.inhparent = 'trace'::regclass"#
    )
    .fetch_all(&mut *connection)
    .await?
    .iter()
    .filter_map(|name| NaiveDate::parse_from_str(name.strip_prefix("trace_")?, "%Y%m%d").ok())
    .collect();
    let today = now.date_naive();
    for ahead in 0..=AHEAD {
        let Some(day) = today.checked_add_days(Days::new(ahead)) else { continue };
        if !present.contains(&day) {
            make(connection, day).await?;
        }
    }
    let Some(oldest) = now.checked_sub_signed(keep) else { return Ok(0) };
    let mut forgotten = 0;
    for day in present.into_iter().filter(|day| *day < oldest.date_naive()) {
        sqlx::raw_sql(AssertSqlSafe(format!("drop table trace_{}", day.format("%Y%m%d"))))
            .execute(&mut *connection)
            .await?;
        forgotten += 1;
    }
    sqlx::query!("delete from trace_rest where at < $1", oldest).execute(connection).await?;
    Ok(forgotten)
}

/// A partition that is filled before it is attached: entries of its day may have come before it was made.
async fn make(connection: &mut PgConnection, day: NaiveDate) -> Result<()> {
    let start = |day: NaiveDate| ids::first_at(day.and_time(NaiveTime::MIN).and_utc());
    let name = format!("trace_{}", day.format("%Y%m%d"));
    let (from, to) = (start(day), start(day.succ_opt().unwrap_or(NaiveDate::MAX)));
    if from >= to {
        // Before ids began, or after they end.
        return Ok(());
    }
    sqlx::raw_sql(AssertSqlSafe(format!(
        "create table {name} (like trace including defaults);
         with moved as (delete from trace_rest where message_id >= {from} and message_id < {to} returning *)
         insert into {name} select * from moved;
         alter table trace attach partition {name} for values from ({from}) to ({to})"
    )))
    .execute(connection)
    .await?;
    Ok(())
}
