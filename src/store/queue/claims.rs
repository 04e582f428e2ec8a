//! Claiming: what is due gets into one courier's hand, fairly among domains.
//!
//! The queue's tables are empty at one moment and large at the next. A plan that was made while they were empty reads them
//! whole, for each row again, so what walks them is planned anew each time (`persistent(false)`): that costs a
//! millisecond or two.

use chrono::{DateTime, Utc};
use posthorn_model::{ClaimId, DeliveryId};
use sqlx::{PgConnection, Row};

use super::rows::gather;
use super::{Delivery, Outgoing};
use crate::Result;

/// How often a courier that got nothing because others took it looks again at once.
const CONTESTS: usize = 5;

/// One envelope with those of its deliveries that were claimed.
pub type Work = (Outgoing, Vec<Delivery>);

/// How much a courier takes in one go.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The most deliveries of one domain.
    pub per_domain: u32,
    /// The most deliveries.
    pub limit: u32,
    /// Go on behind this domain: [`Claimed::after`] of the call before, `None` to begin.
    pub after: Option<&'a str>,
    /// Leave these domains alone: they are suspended, or the courier has enough of them.
    pub skip: &'a [String],
}

/// What was claimed.
#[derive(Debug, Default)]
pub struct Claimed {
    /// The most urgent first, domains taking turns.
    pub work: Vec<Work>,
    /// Where to go on at once: not all domains were looked at. `None` when the round is complete; more may be due all the
    /// same, so whoever got something and has room asks again.
    pub after: Option<String>,
}

/// Claims what is due. Bounded work: with few deliveries due it finds them by their time; otherwise it goes from domain
/// to domain, at most 250 in one call, and never walks over deliveries that are not due.
///
/// A row that cannot be read is set aside with an error in the log; it does not stop the others.
///
/// # Errors
/// What the database said.
pub async fn claim(
    connection: &mut PgConnection,
    me: ClaimId,
    now: DateTime<Utc>,
    wanted: &Wanted<'_>,
) -> Result<Claimed> {
    let mut claimed = Claimed::default();
    // Two couriers may go for the same rows; then one of them gets none, and looks for others.
    for _ in 0..CONTESTS {
        let row = sqlx::query(include_str!("claim.sql"))
            .persistent(false)
            .bind(me.0)
            .bind(now)
            .bind(i64::from(wanted.per_domain))
            .bind(i64::from(wanted.limit))
            .bind(wanted.after.unwrap_or_default())
            .bind(wanted.skip)
            .fetch_one(&mut *connection)
            .await?;
        let (ids, contested): (Vec<i64>, bool) = (row.try_get(0)?, row.try_get(1)?);
        let ids: Vec<DeliveryId> = ids.into_iter().map(DeliveryId).collect();
        claimed = Claimed { work: readable(connection, &ids).await?, after: row.try_get(2)? };
        if !contested || !claimed.work.is_empty() {
            break;
        }
    }
    Ok(claimed)
}

/// Claims these deliveries, in whatever state, as far as nobody has them in hand: for an operator who fails them.
///
/// # Errors
/// What the database said.
pub async fn take(connection: &mut PgConnection, me: ClaimId, ids: &[DeliveryId]) -> Result<Vec<Work>> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let taken = sqlx::query_scalar!(
        "update delivery set claim = $1 where claim is null
         and id = any (array(select id from delivery where id = any ($2) and claim is null order by id for update skip locked))
         returning id",
        me.0,
        &ids
    )
    .fetch_all(&mut *connection)
    .await?;
    readable(connection, &taken.into_iter().map(DeliveryId).collect::<Vec<_>>()).await
}

/// When the next delivery that nobody has in hand becomes due after this moment.
///
/// # Errors
/// What the database said.
pub async fn next_due(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>> {
    let statement =
        "select due_at from delivery where claim is null and state = 1 and due_at > $1 order by due_at limit 1";
    Ok(sqlx::query_scalar(statement).persistent(false).bind(now).fetch_optional(connection).await?)
}

/// Which deliveries in this courier's hand an operator changed. Those that only wait are to be given back
/// ([`super::Outcome::Returned`]); those on the wire end as they may.
///
/// # Errors
/// What the database said.
pub async fn recalled(connection: &mut PgConnection, me: ClaimId) -> Result<Vec<DeliveryId>> {
    let ids = sqlx::query_scalar!("select id from delivery where claim = $1 and recalled", me.0)
        .fetch_all(connection)
        .await?;
    Ok(ids.into_iter().map(DeliveryId).collect())
}

async fn readable(connection: &mut PgConnection, ids: &[DeliveryId]) -> Result<Vec<Work>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let gathered = gather(connection, ids).await?;
    for (id, reason) in gathered.damaged {
        tracing::error!(delivery = %id, reason, "a delivery cannot be read and is set aside");
        sqlx::query!("update delivery set state = 3, claim = null, note = $2 where id = $1", id.0, reason)
            .execute(&mut *connection)
            .await?;
    }
    Ok(gathered.work)
}
