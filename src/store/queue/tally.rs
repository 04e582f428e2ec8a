//! How much waits, by state: for whoever watches the queue.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::Result;

/// Deliveries of one state.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Waiting {
    /// `due`, `deferred`, `in delivery`, `held` or `set aside`.
    pub state: String,
    /// How many.
    pub count: u64,
    /// When the first of them was, or is, to be tried.
    pub oldest: Option<DateTime<Utc>>,
}

/// Counts them: one pass over the queue, so not for every glance.
///
/// # Errors
/// What the database said.
pub async fn tally(connection: &mut PgConnection) -> Result<Vec<Waiting>> {
    let rows = sqlx::query!(
        r#"select case when state = 2 then 'held' when state = 3 then 'set aside' when claim is not null then 'in delivery'
               when attempts > 0 then 'deferred' else 'due' end as "state!",
             count(*) as "count!", min(due_at) as oldest
           from delivery group by 1 order by 1"#
    )
    .fetch_all(connection)
    .await?;
    let waiting =
        rows.into_iter().map(|row| Waiting { state: row.state, count: row.count.cast_unsigned(), oldest: row.oldest });
    Ok(waiting.collect())
}
