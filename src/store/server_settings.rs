//! What a PostgreSQL says of itself, as far as the safety of mail depends on it.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::Result;

/// Settings that hold in our sessions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerSettings {
    /// The version, such as `17.6`.
    pub version: String,
    /// Whether commits are flushed to the disk.
    pub fsync: bool,
    /// `on`, `local`, `off` and so on: what a commit waits for.
    pub synchronous_commit: String,
    /// Whether torn pages can be mended after a crash.
    pub full_page_writes: bool,
    /// Whether pages carry checksums.
    pub data_checksums: bool,
    /// The encoding of the database, such as `UTF8`.
    pub encoding: String,
    /// Connections that it takes.
    pub max_connections: i32,
    /// Connections that are open now, over all databases.
    pub connections: i64,
    /// Its clock.
    pub now: DateTime<Utc>,
}

/// Asks for them.
///
/// # Errors
/// When the database does not answer.
pub async fn read(connection: &mut PgConnection) -> Result<ServerSettings> {
    let row = sqlx::query!(
        r#"select current_setting('server_version') as "version!",
            current_setting('fsync')::bool as "fsync!",
            current_setting('synchronous_commit') as "synchronous_commit!",
            current_setting('full_page_writes')::bool as "full_page_writes!",
            current_setting('data_checksums')::bool as "data_checksums!",
            pg_encoding_to_char(encoding) as "encoding!",
            current_setting('max_connections')::int as "max_connections!",
            (select count(*) from pg_stat_activity where backend_type = 'client backend') as "connections!",
            clock_timestamp() as "now!"
        from pg_database where datname = current_database()"#
    )
    .fetch_one(connection)
    .await?;
    Ok(ServerSettings {
        version: row.version,
        fsync: row.fsync,
        synchronous_commit: row.synchronous_commit,
        full_page_writes: row.full_page_writes,
        data_checksums: row.data_checksums,
        encoding: row.encoding,
        max_connections: row.max_connections,
        connections: row.connections,
        now: row.now,
    })
}

/// Whether it answers at all.
///
/// # Errors
/// Why not.
pub async fn answers(connection: &mut PgConnection) -> Result<()> {
    sqlx::query!("select 1 as one").fetch_one(connection).await?;
    Ok(())
}
