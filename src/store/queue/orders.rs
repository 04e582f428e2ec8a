//! What operators order. Orders reach deliveries in a courier's hand as well: the row is changed and marked as recalled,
//! and the courier is told when the transaction commits.

use chrono::{DateTime, Utc};
use posthorn_model::DeliveryId;
use sqlx::PgConnection;

use crate::Result;

/// What an order reached.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Changed {
    /// How many deliveries.
    pub deliveries: u64,
    /// How many of them a courier had in hand.
    pub in_hand: u64,
}

/// Holds deliveries until they are released, with a note that says why.
///
/// # Errors
/// What the database said.
pub async fn hold(connection: &mut PgConnection, ids: &[DeliveryId], note: &str) -> Result<Changed> {
    let rows = sqlx::query_scalar!(
        r#"update delivery set state = 2, note = $2, recalled = claim is not null where id = any ($1)
           returning claim is not null as "in_hand!""#,
        &numbers(ids),
        note
    )
    .fetch_all(&mut *connection)
    .await?;
    tell(connection, &rows, false).await
}

/// Lets held deliveries (and those set aside) go at their due time.
///
/// # Errors
/// What the database said.
pub async fn release(connection: &mut PgConnection, ids: &[DeliveryId]) -> Result<Changed> {
    let rows = sqlx::query_scalar!(
        r#"update delivery set state = 1, note = null where id = any ($1) and state <> 1
           returning claim is not null as "in_hand!""#,
        &numbers(ids)
    )
    .fetch_all(&mut *connection)
    .await?;
    tell(connection, &rows, true).await
}

/// Makes deliveries due now that are due later; held ones stay held.
///
/// # Errors
/// What the database said.
pub async fn retry(connection: &mut PgConnection, ids: &[DeliveryId], now: DateTime<Utc>) -> Result<Changed> {
    let rows = sqlx::query_scalar!(
        r#"update delivery set due_at = $2 where id = any ($1) and due_at > $2 returning claim is not null as "in_hand!""#,
        &numbers(ids),
        now
    )
    .fetch_all(&mut *connection)
    .await?;
    tell(connection, &rows, true).await
}

/// Sends deliveries another way (`None`: as configured again), due now.
///
/// # Errors
/// What the database said.
pub async fn reroute(
    connection: &mut PgConnection,
    ids: &[DeliveryId],
    route: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Changed> {
    let rows = sqlx::query_scalar!(
        r#"update delivery set route = $2, due_at = least(due_at, $3), recalled = claim is not null where id = any ($1)
           returning claim is not null as "in_hand!""#,
        &numbers(ids),
        route,
        now
    )
    .fetch_all(&mut *connection)
    .await?;
    tell(connection, &rows, true).await
}

/// Sends deliveries from another binding (`None`: as configured again).
///
/// # Errors
/// What the database said.
pub async fn bind(connection: &mut PgConnection, ids: &[DeliveryId], binding: Option<&str>) -> Result<Changed> {
    let rows = sqlx::query_scalar!(
        r#"update delivery set binding = $2, recalled = claim is not null where id = any ($1)
           returning claim is not null as "in_hand!""#,
        &numbers(ids),
        binding
    )
    .fetch_all(&mut *connection)
    .await?;
    tell(connection, &rows, false).await
}

/// Asks couriers to give back what they have in hand of these. Returns how many that are; what is on the wire is given
/// back when it ended.
///
/// # Errors
/// What the database said.
pub async fn recall(connection: &mut PgConnection, ids: &[DeliveryId]) -> Result<Changed> {
    let rows = sqlx::query_scalar!(
        r#"update delivery set recalled = true where id = any ($1) and claim is not null returning true as "in_hand!""#,
        &numbers(ids)
    )
    .fetch_all(&mut *connection)
    .await?;
    tell(connection, &rows, false).await
}

/// Makes everything of these domains that waits for later, or is held, due at this time; what its sender wants to leave
/// later still, then. Returns how many deliveries that were.
///
/// # Errors
/// What the database said.
pub async fn bring_forward(connection: &mut PgConnection, domains: &[String], due_at: DateTime<Utc>) -> Result<u64> {
    let done = sqlx::query!(
        "update delivery set due_at = greatest($2, not_before)
         where domain = any ($1) and claim is null and state <> 3 and due_at > greatest($2, not_before)",
        domains,
        due_at
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Makes what waits for a binding due at this time: what was sent from it before, and what was put off before it was
/// tried; what its sender wants to leave later still, then. Returns how many deliveries that were.
///
/// # Errors
/// What the database said.
pub async fn bring_forward_bound(connection: &mut PgConnection, binding: &str, due_at: DateTime<Utc>) -> Result<u64> {
    let done = sqlx::query!(
        "update delivery set due_at = greatest($2, not_before)
         where claim is null and state <> 3 and due_at > greatest($2, not_before)
           and (binding = $1 or binding is null and attempts = 0)",
        binding,
        due_at
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Puts everything of these domains that would be due earlier off to this time. Returns how many deliveries that were.
///
/// # Errors
/// What the database said.
pub async fn postpone(connection: &mut PgConnection, domains: &[String], due_at: DateTime<Utc>) -> Result<u64> {
    let done = sqlx::query!(
        "update delivery set due_at = $2 where domain = any ($1) and claim is null and state = 1 and due_at < $2",
        domains,
        due_at
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

fn numbers(ids: &[DeliveryId]) -> Vec<i64> {
    ids.iter().map(|id| id.0).collect()
}

/// Makes couriers look at what was ordered, at once.
///
/// # Errors
/// What the database said.
pub async fn call(connection: &mut PgConnection) -> Result<()> {
    sqlx::query!("select pg_notify('posthorn_queue', 'recall')").fetch_one(connection).await?;
    Ok(())
}

/// Tells couriers when the transaction commits.
async fn tell(connection: &mut PgConnection, rows: &[bool], may_be_due: bool) -> Result<Changed> {
    let in_hand = rows.iter().filter(|in_hand| **in_hand).count();
    // First the call, by which couriers also try hosts again that they gave up a moment ago.
    if in_hand > 0 || (may_be_due && !rows.is_empty()) {
        call(&mut *connection).await?;
    }
    if may_be_due && in_hand < rows.len() {
        sqlx::query!("select pg_notify('posthorn_queue', 'due')").fetch_one(connection).await?;
    }
    Ok(Changed { deliveries: rows.len() as u64, in_hand: in_hand as u64 })
}
