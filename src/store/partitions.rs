//! Tables in partitions by day: days are made ahead, and dropped when they are old.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::Result;

/// Partitions are there for today and so many days to come.
const AHEAD: u64 = 3;

/// A table by days. Its rows say in `at` when they happened, and what is in no day's partition is in `NAME_rest`.
pub(crate) struct ByDay {
    /// Its name.
    pub(crate) name: &'static str,
    /// The column that is divided.
    pub(crate) key: &'static str,
    /// The number of the advisory lock, so that one process at a time makes and drops.
    pub(crate) lock: i64,
    /// The least value of the column on a day, as a literal of SQL.
    pub(crate) start: fn(DateTime<Utc>) -> String,
}

impl ByDay {
    /// Makes the partitions of the days to come, and forgets what happened longer than `keep` ago. To be called once
    /// an hour or so, inside a transaction of its own. Returns how many days were forgotten.
    ///
    /// # Errors
    /// What the database said; among it that readers were in the way for two seconds, which the next call makes good.
    pub(crate) async fn tend(
        &self,
        connection: &mut PgConnection,
        now: DateTime<Utc>,
        keep: TimeDelta,
    ) -> Result<usize> {
        let name = self.name;
        // A reader of the whole table must not make everybody else wait behind us.
        sqlx::query!("select set_config('lock_timeout', '2s', true)").fetch_one(&mut *connection).await?;
        sqlx::query!("select pg_advisory_xact_lock($1)", self.lock).fetch_one(&mut *connection).await?;
        let prefix = format!("{name}_");
        let present: Vec<NaiveDate> = sqlx::query_scalar!(
            r#"select c.relname::text as "name!" from pg_inherits i join pg_class c on c.oid = i.inhrelid
               where i.inhparent = to_regclass($1)"#,
            name
        )
        .fetch_all(&mut *connection)
        .await?
        .iter()
        .filter_map(|name| NaiveDate::parse_from_str(name.strip_prefix(&prefix)?, "%Y%m%d").ok())
        .collect();
        let today = now.date_naive();
        for ahead in 0..=AHEAD {
            let Some(day) = today.checked_add_days(Days::new(ahead)) else { continue };
            if !present.contains(&day) {
                self.make(connection, day).await?;
            }
        }
        let Some(oldest) = now.checked_sub_signed(keep) else { return Ok(0) };
        let mut forgotten = 0;
        for day in present.into_iter().filter(|day| *day < oldest.date_naive()) {
            sqlx::raw_sql(AssertSqlSafe(format!("drop table {name}_{}", day.format("%Y%m%d"))))
                .execute(&mut *connection)
                .await?;
            forgotten += 1;
        }
        sqlx::query(AssertSqlSafe(format!("delete from {name}_rest where at < $1")))
            .bind(oldest)
            .execute(connection)
            .await?;
        Ok(forgotten)
    }

    /// A partition that is filled before it is attached: rows of its day may have come before it was made.
    async fn make(&self, connection: &mut PgConnection, day: NaiveDate) -> Result<()> {
        let start = |day: NaiveDate| (self.start)(day.and_time(NaiveTime::MIN).and_utc());
        let (table, key) = (self.name, self.key);
        let name = format!("{table}_{}", day.format("%Y%m%d"));
        let (from, to) = (start(day), start(day.succ_opt().unwrap_or(NaiveDate::MAX)));
        if from == to {
            // Before ids began, or after they end.
            return Ok(());
        }
        sqlx::raw_sql(AssertSqlSafe(format!(
            "create table {name} (like {table} including defaults);
             with moved as (delete from {table}_rest where {key} >= {from} and {key} < {to} returning *)
             insert into {name} select * from moved;
             alter table {table} attach partition {name} for values from ({from}) to ({to})"
        )))
        .execute(connection)
        .await?;
        Ok(())
    }
}
