//! Couriers and their leases: claims of one that went away become void after a bounded time.
//!
//! Leases are reckoned by the clock of the database alone. Couriers on several machines compare nothing with a clock of
//! their own, which another machine's may be ahead of.

use std::time::Duration;

use posthorn_model::ClaimId;
use sqlx::{PgConnection, Row};

use crate::Result;

/// Makes this process a courier for `lease` from now, before it claims anything or is handed anything. The id is from
/// [`crate::Store::claim_id`]; the host only tells people where it is.
///
/// # Errors
/// What the database said.
pub async fn enlist(connection: &mut PgConnection, me: ClaimId, host: &str, lease: Duration) -> Result<()> {
    sqlx::query!(
        "insert into courier (id, host, started_at, alive_until) values ($1, $2, now(), now() + make_interval(secs => $3))",
        me.0,
        host,
        lease.as_secs_f64()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Renews the lease to `lease` from now. `false` when it ran out and others took over: nothing more may be sent under this id, and a new one
/// is needed.
///
/// # Errors
/// What the database said.
pub async fn renew(connection: &mut PgConnection, me: ClaimId, lease: Duration) -> Result<bool> {
    let done = sqlx::query!(
        "update courier set alive_until = now() + make_interval(secs => $2) where id = $1",
        me.0,
        lease.as_secs_f64()
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What [`free_dead`] found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Freed {
    /// Hosts of the couriers whose lease ran out.
    pub hosts: Vec<String>,
    /// How many deliveries were in the hand of nobody.
    pub deliveries: u64,
}

/// Takes deliveries out of the hands of couriers whose lease ran out, or that are not there at all, and tells the
/// others.
///
/// # Errors
/// What the database said.
pub async fn free_dead(connection: &mut PgConnection) -> Result<Freed> {
    // Planned anew, see `claims`.
    let row = sqlx::query(
        "with recursive
               claims (claim) as (
                   (select claim from delivery where claim is not null order by claim limit 1)
                   union all
                   select (select d.claim from delivery d where d.claim > c.claim order by d.claim limit 1)
                   from claims c where c.claim is not null
               ),
               dead as (delete from courier where alive_until < now() returning host),
               void as (
                   select c.claim from claims c
                   where c.claim is not null
                     and not exists (select from courier k where k.id = c.claim and k.alive_until >= now())
               ),
               freed as (
                   update delivery d set claim = null, recalled = false from void v where d.claim = v.claim returning 1
               ),
               told as (select pg_notify('posthorn_queue', 'due') from freed limit 1)
           select array(select host from dead), (select count(*) from freed), (select count(*) from told)",
    )
    .persistent(false)
    .fetch_one(connection)
    .await?;
    Ok(Freed { hosts: row.try_get(0)?, deliveries: row.try_get::<i64, _>(1)?.cast_unsigned() })
}

/// Ends as a courier: what is still in its hand is given back at once. Returns how many deliveries that were.
///
/// # Errors
/// What the database said.
pub async fn retire(connection: &mut PgConnection, me: ClaimId) -> Result<u64> {
    let row = sqlx::query!(
        r#"with gone as (delete from courier where id = $1),
                freed as (update delivery set claim = null, recalled = false where claim = $1 returning 1),
                told as (select pg_notify('posthorn_queue', 'due') from freed limit 1)
           select (select count(*) from freed) as "deliveries!", (select count(*) from told) as "told!""#,
        me.0
    )
    .fetch_one(connection)
    .await?;
    Ok(row.deliveries.cast_unsigned())
}
