//! Databases that live for as long as something is tried out in them.

use std::fmt;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use crate::Result;
use crate::backup::quoted;
use crate::connect::options;

/// The first key of the advisory lock that a run holds on its database's name from before it is made until it is gone. Such
/// locks are seen from every database of the server (pg_locks), and end with their session.
const LOCKS: i32 = 0x7665_7269;

/// What the names look like: what it is for, the moment, the process.
const NAMES: &str = "^posthorn_verify_[0-9]{14}_[0-9]+$";

/// A database that lives for as long as something is tried out in it.
pub struct Scratch {
    options: PgConnectOptions,
    /// Holds the lock.
    keeper: PgConnection,
    name: String,
    url: String,
}

impl Scratch {
    /// Makes one beside the database of a URL; `None` where that is not allowed.
    ///
    /// # Errors
    /// What the database said.
    pub async fn make(url: &str) -> Result<Option<Self>> {
        let name = format!("posthorn_verify_{}_{}", chrono::Utc::now().format("%Y%m%d%H%M%S"), std::process::id());
        let options = options(url)?;
        let mut keeper = options.connect().await?;
        sqlx::raw_sql("set idle_session_timeout = 0").execute(&mut keeper).await?;
        sqlx::query("select pg_advisory_lock($1, hashtext($2))").bind(LOCKS).bind(&name).execute(&mut keeper).await?;
        let made = sqlx::raw_sql(AssertSqlSafe(format!(
            "create database {} template template0 encoding 'UTF8' locale 'C'",
            quoted(&name)
        )))
        .execute(&mut keeper)
        .await;
        match made {
            Ok(_) => Ok(Some(Self { options, keeper, url: at(url, &name), name })),
            Err(error) if code(&error).as_deref() == Some("42501") => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Drops our role's databases whose runs are dead. Returns their names.
    ///
    /// # Errors
    /// What the database said.
    pub async fn sweep(url: &str) -> Result<Vec<String>> {
        let mut connection = options(url)?.connect().await?;
        // The lock is older than the database, so one without was left behind.
        let left: Vec<String> = sqlx::query_scalar(
            "select d.datname::text from pg_database d
             where d.datname ~ $1 and pg_get_userbyid(d.datdba) = current_user
               and not exists (select from pg_locks l where l.locktype = 'advisory' and l.classid::bigint = $2
                   and l.objid::bigint = hashtext(d.datname::text)::bigint & 4294967295)
             order by 1",
        )
        .bind(NAMES)
        .bind(i64::from(LOCKS))
        .fetch_all(&mut connection)
        .await?;
        let mut dropped = Vec::new();
        for name in left {
            // Without force: PostgreSQL refuses while anybody is connected, as an earlier program without a lock may be.
            let drop = format!("drop database if exists {}", quoted(&name));
            match sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut connection).await {
                Ok(_) => dropped.push(name),
                Err(error) if code(&error).as_deref() == Some("55006") => {}
                Err(error) => return Err(error.into()),
            }
        }
        connection.close().await?;
        Ok(dropped)
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Drops it with everything in it.
    ///
    /// # Errors
    /// What the database said.
    pub async fn drop_it(self) -> Result<()> {
        // The keeper may have been cut off meanwhile.
        let mut connection = self.options.connect().await?;
        sqlx::raw_sql(AssertSqlSafe(format!("drop database if exists {} with (force)", quoted(&self.name))))
            .execute(&mut connection)
            .await?;
        connection.close().await?;
        // Its lock ends with it, however that ends.
        let _ = self.keeper.close().await;
        Ok(())
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The server's code for an error.
fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned())
}

/// The same URL with another database.
fn at(url: &str, name: &str) -> String {
    let (whole, query) = url.split_once('?').unwrap_or((url, ""));
    let start = whole.find("://").map_or(0, |at| at + 3);
    let server = whole[start..].find('/').map_or(whole, |at| &whole[..start + at]);
    let rest: Vec<_> = query.split('&').filter(|part| !part.is_empty() && !part.starts_with("dbname=")).collect();
    let mark = if rest.is_empty() { "" } else { "?" };
    format!("{server}/{name}{mark}{}", rest.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_database_of_the_same_server() {
        for (url, other) in [
            ("postgres://a:b@h:5/c?host=/x&dbname=d", "postgres://a:b@h:5/n?host=/x"),
            ("postgres://a@%2Frun/c", "postgres://a@%2Frun/n"),
            ("postgres://h", "postgres://h/n"),
        ] {
            assert_eq!(at(url, "n"), other);
        }
    }
}
