//! Greylisting: for whom it holds, who tried to write to whom, and which clients came back.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::Result;

/// Whether senders wait.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum State {
    /// They do not, unless a more specific setting says otherwise.
    Off,
    /// They do.
    On,
    /// They never do, whatever other settings say.
    Exempt,
}

impl State {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Exempt => "exempt",
        }
    }

    fn number(self) -> i16 {
        match self {
            Self::Off => 0,
            Self::On => 1,
            Self::Exempt => 2,
        }
    }

    fn of(number: i16) -> Self {
        match number {
            1 => Self::On,
            2 => Self::Exempt,
            _ => Self::Off,
        }
    }
}

/// For whom greylisting holds. Both sides are patterns as the configuration writes them, folded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Setting {
    /// The recipients.
    pub account: String,
    /// The senders or clients.
    pub sender: String,
    /// Whether they wait.
    pub state: State,
    /// Why.
    pub note: String,
    /// Since when.
    pub added_at: DateTime<Utc>,
}

/// An attempt to write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Triplet {
    /// A digest of client, sender and recipient, of 16 octets.
    pub key: Vec<u8>,
    /// A network.
    pub client: String,
    /// Folded; empty is the null sender.
    pub sender: String,
    /// Folded.
    pub recipient: String,
    /// The first attempt.
    pub first_seen: DateTime<Utc>,
    /// The last.
    pub last_seen: DateTime<Utc>,
    /// When it waited long enough.
    pub passed_at: Option<DateTime<Utc>>,
    /// How often it was tried.
    pub attempts: i32,
}

/// A client that came back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Client {
    /// Its network.
    pub network: String,
    /// When it did.
    pub passed_at: DateTime<Utc>,
    /// When it was last here.
    pub last_seen: DateTime<Utc>,
}

/// Who is too old to count.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    /// What was first seen before this, and did not pass, is forgotten.
    pub waiting: DateTime<Utc>,
    /// What passed, and was last seen before this, is forgotten.
    pub passed: DateTime<Utc>,
}

/// All settings, by account and sender.
///
/// # Errors
/// What the database said.
pub async fn settings(connection: &mut PgConnection) -> Result<Vec<Setting>> {
    let rows =
        sqlx::query!("select account, sender, state, note, added_at from greylist_setting order by account, sender")
            .fetch_all(connection)
            .await?;
    let all = rows.into_iter().map(|row| Setting {
        account: row.account,
        sender: row.sender,
        state: State::of(row.state),
        note: row.note,
        added_at: row.added_at,
    });
    Ok(all.collect())
}

/// Makes a setting, in the place of what was said before.
///
/// # Errors
/// What the database said.
pub async fn put_setting(connection: &mut PgConnection, setting: &Setting) -> Result<()> {
    sqlx::query!(
        "insert into greylist_setting (account, sender, state, note, added_at) values ($1, $2, $3, $4, $5)
         on conflict (account, sender) do update
         set state = excluded.state, note = excluded.note, added_at = excluded.added_at",
        setting.account,
        setting.sender,
        setting.state.number(),
        setting.note,
        setting.added_at
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes a setting back; `false` when there was none.
///
/// # Errors
/// What the database said.
pub async fn remove_setting(connection: &mut PgConnection, account: &str, sender: &str) -> Result<bool> {
    let done = sqlx::query!("delete from greylist_setting where account = $1 and sender = $2", account, sender)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Writes attempts down, each key once; what others wrote of the same stays where it says more.
///
/// # Errors
/// What the database said.
pub async fn put_triplets(connection: &mut PgConnection, rows: &[Triplet], horizon: Horizon) -> Result<()> {
    let texts = |pick: fn(&Triplet) -> &String| rows.iter().map(|one| pick(one).clone()).collect::<Vec<_>>();
    sqlx::query!(
        "insert into greylist_triplet as old
             (key, client, sender, recipient, first_seen, last_seen, passed_at, attempts)
         select * from unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[],
                              $7::timestamptz[], $8::int[]) as t (key, client, sender, recipient, first_seen, last_seen,
                              passed_at, attempts)
         order by key
         on conflict (key) do update
         set first_seen = case when old.passed_at is null and old.first_seen > $9
                                 or old.passed_at is not null and old.last_seen > $10
                               then least(old.first_seen, excluded.first_seen) else excluded.first_seen end,
             passed_at = case when old.passed_at is not null and old.last_seen > $10
                              then least(old.passed_at, excluded.passed_at) else excluded.passed_at end,
             attempts = case when old.passed_at is null and old.first_seen > $9
                               or old.passed_at is not null and old.last_seen > $10
                             then old.attempts + excluded.attempts else excluded.attempts end,
             last_seen = greatest(old.last_seen, excluded.last_seen),
             revision = default",
        &rows.iter().map(|one| one.key.clone()).collect::<Vec<_>>(),
        &texts(|one| &one.client),
        &texts(|one| &one.sender),
        &texts(|one| &one.recipient),
        &rows.iter().map(|one| one.first_seen).collect::<Vec<_>>(),
        &rows.iter().map(|one| one.last_seen).collect::<Vec<_>>(),
        &rows.iter().map(|one| one.passed_at).collect::<Vec<_>>() as _,
        &rows.iter().map(|one| one.attempts).collect::<Vec<_>>(),
        horizon.waiting,
        horizon.passed
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes down that clients came back or were here, each once; where `trusted`, what else of theirs waits is forgotten.
///
/// # Errors
/// What the database said.
pub async fn put_clients(connection: &mut PgConnection, rows: &[Client], trusted: bool) -> Result<()> {
    let networks = rows.iter().map(|one| one.network.clone()).collect::<Vec<_>>();
    sqlx::query!(
        "insert into greylist_client as old (network, passed_at, last_seen)
         select * from unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) as t (network, passed_at, last_seen)
         order by network
         on conflict (network) do update
         set passed_at = least(old.passed_at, excluded.passed_at),
             last_seen = greatest(old.last_seen, excluded.last_seen), revision = default",
        &networks,
        &rows.iter().map(|one| one.passed_at).collect::<Vec<_>>(),
        &rows.iter().map(|one| one.last_seen).collect::<Vec<_>>()
    )
    .execute(&mut *connection)
    .await?;
    if trusted {
        sqlx::query!("delete from greylist_triplet where client = any ($1) and passed_at is null", &networks)
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// What is known of these attempts.
///
/// # Errors
/// What the database said.
pub async fn find_triplets(connection: &mut PgConnection, keys: &[Vec<u8>]) -> Result<Vec<Triplet>> {
    Ok(sqlx::query_as!(
        Triplet,
        "select key, client, sender, recipient, first_seen, last_seen, passed_at, attempts
         from greylist_triplet where key = any ($1)",
        keys
    )
    .fetch_all(connection)
    .await?)
}

/// What is known of these clients.
///
/// # Errors
/// What the database said.
pub async fn find_clients(connection: &mut PgConnection, networks: &[String]) -> Result<Vec<Client>> {
    Ok(sqlx::query_as!(
        Client,
        "select network, passed_at, last_seen from greylist_client where network = any ($1)",
        networks
    )
    .fetch_all(connection)
    .await?)
}

/// Attempts that count, in the order of their keys, behind one of them.
///
/// # Errors
/// What the database said.
pub async fn page(connection: &mut PgConnection, behind: &[u8], horizon: Horizon, limit: i64) -> Result<Vec<Triplet>> {
    Ok(sqlx::query_as!(
        Triplet,
        "select key, client, sender, recipient, first_seen, last_seen, passed_at, attempts
         from greylist_triplet
         where key > $1 and (passed_at is null and first_seen > $2 or passed_at is not null and last_seen > $3)
         order by key limit $4",
        behind,
        horizon.waiting,
        horizon.passed,
        limit
    )
    .fetch_all(connection)
    .await?)
}

/// Clients that came back, those seen last first.
///
/// # Errors
/// What the database said.
pub async fn latest_clients(connection: &mut PgConnection, limit: i64) -> Result<Vec<Client>> {
    Ok(sqlx::query_as!(
        Client,
        "select network, passed_at, last_seen from greylist_client order by last_seen desc limit $1",
        limit
    )
    .fetch_all(connection)
    .await?)
}

/// Attempts that were written since a [`super::news::floor`].
///
/// # Errors
/// What the database said.
pub async fn changed_triplets(connection: &mut PgConnection, since: i64, limit: i64) -> Result<Vec<Triplet>> {
    Ok(sqlx::query_as!(
        Triplet,
        "select key, client, sender, recipient, first_seen, last_seen, passed_at, attempts
         from greylist_triplet
         where revision >= $1 and revision < pg_snapshot_xmax(pg_current_snapshot())::text::bigint limit $2",
        since,
        limit
    )
    .fetch_all(connection)
    .await?)
}

/// Clients that were written since a [`super::news::floor`].
///
/// # Errors
/// What the database said.
pub async fn changed_clients(connection: &mut PgConnection, since: i64, limit: i64) -> Result<Vec<Client>> {
    Ok(sqlx::query_as!(
        Client,
        "select network, passed_at, last_seen from greylist_client
         where revision >= $1 and revision < pg_snapshot_xmax(pg_current_snapshot())::text::bigint limit $2",
        since,
        limit
    )
    .fetch_all(connection)
    .await?)
}

/// What waits: attempts that did not pass, the latest first; for a recipient, if one is named.
///
/// # Errors
/// What the database said.
pub async fn held(
    connection: &mut PgConnection,
    since: DateTime<Utc>,
    recipient: Option<&str>,
    limit: i64,
) -> Result<Vec<Triplet>> {
    Ok(sqlx::query_as!(
        Triplet,
        "select key, client, sender, recipient, first_seen, last_seen, passed_at, attempts
         from greylist_triplet
         where passed_at is null and first_seen > $1 and ($2::text is null or recipient = lower($2))
         order by first_seen desc limit $3",
        since,
        recipient,
        limit
    )
    .fetch_all(connection)
    .await?)
}

/// Forgets what is too old, at most `limit` rows of each kind. Returns how many.
///
/// # Errors
/// What the database said.
pub async fn sweep(connection: &mut PgConnection, horizon: Horizon, limit: i64) -> Result<u64> {
    let triplets = sqlx::query!(
        "delete from greylist_triplet where key in
         (select key from greylist_triplet
          where last_seen < greatest($1::timestamptz, $2::timestamptz)
            and (passed_at is null and first_seen <= $1 or passed_at is not null and last_seen <= $2) limit $3)",
        horizon.waiting,
        horizon.passed,
        limit
    )
    .execute(&mut *connection)
    .await?;
    let clients = sqlx::query!(
        "delete from greylist_client where network in
         (select network from greylist_client where last_seen <= $1 limit $2)",
        horizon.passed,
        limit
    )
    .execute(connection)
    .await?;
    Ok(triplets.rows_affected() + clients.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for state in [State::Off, State::On, State::Exempt] {
            assert_eq!(State::of(state.number()), state);
        }
    }
}
