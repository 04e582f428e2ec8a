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

/// The value of this name, when there is one.
///
/// # Errors
/// What the database said.
pub async fn find(connection: &mut PgConnection, name: &str) -> Result<Option<Vec<u8>>> {
    Ok(sqlx::query_scalar!("select value from setting where name = $1", name).fetch_optional(connection).await?)
}

/// Keeps a value, in the place of an earlier one.
///
/// # Errors
/// What the database said.
pub async fn put(connection: &mut PgConnection, name: &str, value: &[u8]) -> Result<()> {
    sqlx::query!(
        "insert into setting (name, value) values ($1, $2) on conflict (name) do update set value = excluded.value",
        name,
        value
    )
    .execute(connection)
    .await?;
    Ok(())
}
