//! Values that live as long as the installation.

use sqlx::PgConnection;

use crate::Result;

/// The value of this name; the first caller's `proposal` is kept for all.
///
/// # Errors
/// What the database said.
pub async fn keep(connection: &mut PgConnection, name: &str, proposal: &[u8]) -> Result<Vec<u8>> {
    sqlx::query!("insert into setting (name, value) values ($1, $2) on conflict do nothing", name, proposal)
        .execute(&mut *connection)
        .await?;
    Ok(sqlx::query_scalar!("select value from setting where name = $1", name).fetch_one(connection).await?)
}
