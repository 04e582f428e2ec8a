//! How engines on one database hear of each other.

use sqlx::PgConnection;
use sqlx::postgres::PgListener;

use crate::Result;

/// The channel. A payload is `ENGINE:settings` or `ENGINE:state`.
pub const CHANNEL: &str = "posthorn_policy";

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum News {
    /// Settings or lists changed.
    Settings,
    /// Another engine learned something.
    State,
    /// The connection was lost for a while: anything may have changed.
    Lost,
}

/// Tells engines, when the transaction commits, that settings or lists changed.
///
/// # Errors
/// What the database said.
pub async fn tell_settings(connection: &mut PgConnection) -> Result<()> {
    tell(connection, ":settings").await
}

/// Tells other engines, when the transaction commits, that this one learned something.
///
/// # Errors
/// What the database said.
pub async fn tell_state(connection: &mut PgConnection, engine: &str) -> Result<()> {
    tell(connection, &format!("{engine}:state")).await
}

async fn tell(connection: &mut PgConnection, payload: &str) -> Result<()> {
    sqlx::query!("select pg_notify('posthorn_policy', $1)", payload).fetch_one(connection).await?;
    Ok(())
}

/// A number below which, at this moment, no change is still under way: whoever asks for it and then reads everything that
/// [`super::greylist::changed`] and the like know from it on has missed nothing.
///
/// # Errors
/// What the database said.
pub async fn floor(connection: &mut PgConnection) -> Result<i64> {
    let floor = sqlx::query_scalar!(r#"select pg_snapshot_xmin(pg_current_snapshot())::text::bigint as "floor!""#);
    Ok(floor.fetch_one(connection).await?)
}

/// Hears what happens.
#[derive(Debug)]
pub struct Listener(PgListener);

impl Listener {
    pub(crate) fn new(listener: PgListener) -> Self {
        Self(listener)
    }

    /// Waits for the next news that is not of this engine; reconnects by itself.
    ///
    /// # Errors
    /// When the database cannot be reached at the moment; call again after a pause.
    pub async fn next(&mut self, engine: &str) -> Result<News> {
        loop {
            let Some(notification) = self.0.try_recv().await? else { return Ok(News::Lost) };
            match notification.payload().split_once(':') {
                Some((_, "settings")) => return Ok(News::Settings),
                Some((other, "state")) if other != engine => return Ok(News::State),
                // Our own, or from a newer program.
                _ => {}
            }
        }
    }
}
