//! Letters that tell people what is held for them: when they are due, of what each was told, and the links in them.

use chrono::{DateTime, TimeDelta, Utc};
use posthorn_model::MessageId;
use sqlx::PgConnection;

use crate::Result;

/// A round that nobody finished for so long is another's.
const ABANDONED: TimeDelta = TimeDelta::minutes(30);

/// Claims the round that was due at this moment. Returns whether it is ours: of all servers on one database, one gets it.
/// When there was never a round before, nobody does: the first letter comes at the next moment.
///
/// # Errors
/// What the database said.
pub async fn claim(connection: &mut PgConnection, due: DateTime<Utc>, now: DateTime<Utc>) -> Result<bool> {
    let claimed = sqlx::query_scalar!(
        r#"insert into digest_round as r (due, claimed_at, done_at)
           values ($1, $2::timestamptz, case when exists (select from digest_round) then null else $2::timestamptz end)
           on conflict (due) do update set claimed_at = $2 where r.done_at is null and r.claimed_at < $3
           returning done_at is null as "open!""#,
        due,
        now,
        now - ABANDONED,
    )
    .fetch_optional(connection)
    .await?;
    Ok(claimed.unwrap_or(false))
}

/// Says that a round is still being worked on. Returns whether it is ours still.
///
/// # Errors
/// What the database said.
pub async fn hold(connection: &mut PgConnection, due: DateTime<Utc>, now: DateTime<Utc>) -> Result<bool> {
    let held = sqlx::query!("update digest_round set claimed_at = $2 where due = $1 and done_at is null", due, now);
    Ok(held.execute(connection).await?.rows_affected() > 0)
}

/// Ends a round. Earlier ones are forgotten.
///
/// # Errors
/// What the database said.
pub async fn finish(connection: &mut PgConnection, due: DateTime<Utc>, now: DateTime<Utc>, letters: u64) -> Result<()> {
    sqlx::query!(
        "update digest_round set done_at = $2, letters = $3 where due = $1",
        due,
        now,
        i64::try_from(letters).unwrap_or(i64::MAX)
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("delete from digest_round where due < $1 and done_at is not null", due).execute(connection).await?;
    Ok(())
}

/// Something that is held for somebody who was not told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Untold {
    /// The message.
    pub message: MessageId,
    /// The number of the recipient.
    pub place: i16,
    /// Since when.
    pub at: DateTime<Utc>,
    /// 1 to 9.
    pub category: i16,
    /// The score.
    pub score: f64,
    /// The reverse path; empty is the null path.
    pub sender: String,
    /// The From field.
    pub author: String,
    /// The subject.
    pub subject: String,
}

/// For whom strangers' mail is held of which they were not told: folded addresses behind `after`, in order.
///
/// # Errors
/// What the database said.
pub async fn waiting(connection: &mut PgConnection, after: &str, limit: i64) -> Result<Vec<String>> {
    let rows = sqlx::query_scalar!(
        "select distinct r.folded from held_recipient r join held h on h.message_id = r.message_id
         where r.folded > $1 and r.status = 1 and r.told_at is null and not h.originating
         order by r.folded limit $2",
        after,
        limit
    );
    Ok(rows.fetch_all(connection).await?)
}

/// Of what somebody was not told, the oldest first.
///
/// # Errors
/// What the database said.
pub async fn untold(connection: &mut PgConnection, folded: &str, limit: i64) -> Result<Vec<Untold>> {
    let rows = sqlx::query!(
        "select h.message_id, r.place, h.at, h.category, h.score, h.sender, h.author, h.subject
         from held_recipient r join held h on h.message_id = r.message_id
         where r.folded = $1 and r.status = 1 and r.told_at is null and not h.originating
         order by h.message_id, r.place limit $2",
        folded,
        limit
    )
    .fetch_all(connection)
    .await?;
    let row = rows.into_iter().map(|row| Untold {
        message: MessageId(row.message_id),
        place: row.place,
        at: row.at,
        category: row.category,
        score: row.score,
        sender: row.sender,
        author: row.author,
        subject: row.subject,
    });
    Ok(row.collect())
}

/// Says of which messages somebody was told; the numbers are those of [`Untold::place`].
///
/// Not up to where: an id is given before its message is judged, and what takes longer is held later under a lower one.
///
/// # Errors
/// What the database said.
pub async fn told(connection: &mut PgConnection, rows: &[(MessageId, i16)], now: DateTime<Utc>) -> Result<()> {
    sqlx::query!(
        "update held_recipient r set told_at = $3 from unnest($1::bigint[], $2::smallint[]) as n (message_id, place)
         where r.message_id = n.message_id and r.place = n.place",
        &rows.iter().map(|(message, _)| message.0).collect::<Vec<_>>(),
        &rows.iter().map(|(_, place)| *place).collect::<Vec<_>>(),
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A link, by the digest of what it says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Link {
    /// SHA-256 of the token.
    pub token: Vec<u8>,
    /// The held message.
    pub message: MessageId,
    /// The number of the recipient.
    pub place: i16,
    /// From when on it is of no use.
    pub expires_at: DateTime<Utc>,
}

/// Keeps links.
///
/// # Errors
/// What the database said.
pub async fn keep(connection: &mut PgConnection, links: &[Link]) -> Result<()> {
    sqlx::query!(
        "insert into release_link (token, message_id, place, expires_at)
         select * from unnest($1::bytea[], $2::bigint[], $3::smallint[], $4::timestamptz[])",
        &links.iter().map(|link| link.token.clone()).collect::<Vec<_>>(),
        &links.iter().map(|link| link.message.0).collect::<Vec<_>>(),
        &links.iter().map(|link| link.place).collect::<Vec<_>>(),
        &links.iter().map(|link| link.expires_at).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The link with this digest.
///
/// # Errors
/// What the database said.
pub async fn find(connection: &mut PgConnection, token: &[u8]) -> Result<Option<Link>> {
    let row = sqlx::query!("select token, message_id, place, expires_at from release_link where token = $1", token);
    Ok(row.fetch_optional(connection).await?.map(|row| Link {
        token: row.token,
        message: MessageId(row.message_id),
        place: row.place,
        expires_at: row.expires_at,
    }))
}

/// Forgets links that expired before this moment.
///
/// # Errors
/// What the database said.
pub async fn forget(connection: &mut PgConnection, before: DateTime<Utc>) -> Result<()> {
    sqlx::query!("delete from release_link where expires_at < $1", before).execute(connection).await?;
    Ok(())
}
