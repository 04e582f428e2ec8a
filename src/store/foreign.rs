//! Tables of other programs, read as texts: which columns there are shows when they are read.
//!
//! Nothing is ever written there, and all that is read is of one moment.

use std::collections::HashMap;
use std::str::FromStr as _;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Row as _};

use crate::Result;

/// A row: columns by name, as texts; octets as PostgreSQL writes them, `\x` and hexadecimal digits.
pub type ForeignRow = HashMap<String, Option<String>>;

/// A PostgreSQL database of another program.
pub struct Foreign {
    connection: PgConnection,
}

impl Foreign {
    /// Connects, and takes a picture of what is there. Without a password, that of `PGPASSWORD` or of the password file
    /// that PostgreSQL's own programs read is taken.
    ///
    /// # Errors
    /// What the URL lacks, or what the database said.
    pub async fn open(url: &str, password: Option<&str>) -> Result<Self> {
        let mut options = PgConnectOptions::from_str(url)?.application_name("posthorn import");
        if let Some(password) = password {
            options = options.password(password);
        }
        let mut connection = options.disable_statement_logging().connect().await?;
        sqlx::query("begin isolation level repeatable read read only").execute(&mut connection).await?;
        Ok(Self { connection })
    }

    /// How many rows a table has; `None` when there is none of this name, or nobody let us read it.
    ///
    /// # Errors
    /// What the database said.
    pub async fn count(&mut self, table: &str) -> Result<Option<u64>> {
        let found: bool = sqlx::query_scalar("select coalesce(has_table_privilege(to_regclass($1), 'select'), false)")
            .bind(quoted(table))
            .fetch_one(&mut self.connection)
            .await?;
        if !found {
            return Ok(None);
        }
        let text = format!("select count(*) from {}", quoted(table));
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(text)).fetch_one(&mut self.connection).await?;
        Ok(Some(u64::try_from(count).unwrap_or_default()))
    }

    /// Begins to read a table's rows.
    ///
    /// # Errors
    /// What the database said, such as that there is no such table.
    pub async fn begin(&mut self, table: &str) -> Result<()> {
        let text = format!(
            "declare foreign_rows no scroll cursor for
             select array(select key from jsonb_each_text(fields)), array(select value from jsonb_each_text(fields))
             from (select to_jsonb(t) as fields from {} t) as each",
            quoted(table)
        );
        sqlx::query(AssertSqlSafe(text)).execute(&mut self.connection).await?;
        Ok(())
    }

    /// The next rows of the table that was begun; none when it is at its end, and another one may begin.
    ///
    /// # Errors
    /// What the database said.
    pub async fn next(&mut self) -> Result<Vec<ForeignRow>> {
        let rows = sqlx::query("fetch 1000 from foreign_rows").fetch_all(&mut self.connection).await?;
        if rows.is_empty() {
            sqlx::query("close foreign_rows").execute(&mut self.connection).await?;
        }
        let read = |row: sqlx::postgres::PgRow| {
            let keys: Vec<String> = row.try_get(0)?;
            let values: Vec<Option<String>> = row.try_get(1)?;
            Ok(keys.into_iter().zip(values).collect())
        };
        rows.into_iter().map(read).collect()
    }

    /// Ends the session.
    ///
    /// # Errors
    /// What the database said.
    pub async fn close(self) -> Result<()> {
        Ok(self.connection.close().await?)
    }
}

/// A name as part of a statement.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
