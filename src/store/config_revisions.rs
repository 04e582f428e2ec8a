//! Configurations as they were applied.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::Result;

/// How many of one server are kept.
const KEPT: i64 = 1000;

/// A configuration before it is kept. Who makes it leaves passwords out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewRevision {
    /// The server's host name.
    pub server: String,
    /// Who applied it.
    pub author: String,
    /// The program's version.
    pub version: String,
    /// Everything that held, as TOML.
    pub settings: String,
    /// The files, each with its text.
    pub files: Vec<(String, String)>,
}

/// A configuration that was applied.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Revision {
    /// Its number; later ones are greater.
    pub id: i64,
    /// When it was applied.
    pub at: DateTime<Utc>,
    /// What it was.
    pub what: NewRevision,
}

/// Keeps a configuration, unless it is what this server applied last; gives the number.
///
/// # Errors
/// What the database said.
pub async fn keep(connection: &mut PgConnection, new: &NewRevision, at: DateTime<Utc>) -> Result<Option<i64>> {
    if latest(&mut *connection, &new.server)
        .await?
        .is_some_and(|last| last.what.settings == new.settings && last.what.files == new.files)
    {
        return Ok(None);
    }
    let (paths, texts): (Vec<String>, Vec<String>) = new.files.iter().cloned().unzip();
    let id = sqlx::query_scalar!(
        "insert into config_revision (server, at, author, version, settings, paths, texts)
         values ($1, $2, $3, $4, $5, $6, $7) returning id",
        new.server,
        at,
        new.author,
        new.version,
        new.settings,
        &paths,
        &texts
    )
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query!(
        "delete from config_revision where server = $1 and id <= (
             select id from config_revision where server = $1 order by id desc offset $2 limit 1)",
        new.server,
        KEPT
    )
    .execute(connection)
    .await?;
    Ok(Some(id))
}

/// The newest ones of a server, or of all, newest first.
///
/// # Errors
/// What the database said.
pub async fn list(connection: &mut PgConnection, server: Option<&str>, most: i64) -> Result<Vec<Revision>> {
    let rows = sqlx::query_as!(
        Row,
        "select id, server, at, author, version, settings, paths, texts from config_revision
         where $1::text is null or server = $1 order by id desc limit $2",
        server,
        most
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Revision::from).collect())
}

/// What a server applied last.
///
/// # Errors
/// What the database said.
pub async fn latest(connection: &mut PgConnection, server: &str) -> Result<Option<Revision>> {
    Ok(list(connection, Some(server), 1).await?.pop())
}

/// The one of this number.
///
/// # Errors
/// What the database said.
pub async fn find(connection: &mut PgConnection, id: i64) -> Result<Option<Revision>> {
    let row = sqlx::query_as!(
        Row,
        "select id, server, at, author, version, settings, paths, texts from config_revision where id = $1",
        id
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(Revision::from))
}

struct Row {
    id: i64,
    server: String,
    at: DateTime<Utc>,
    author: String,
    version: String,
    settings: String,
    paths: Vec<String>,
    texts: Vec<String>,
}

impl From<Row> for Revision {
    fn from(row: Row) -> Self {
        let Row { id, server, at, author, version, settings, paths, texts } = row;
        let files = paths.into_iter().zip(texts).collect();
        Self { id, at, what: NewRevision { server, author, version, settings, files } }
    }
}
