//! A copy of everything, as it was at one moment: one snapshot, which several connections read side by side.
//!
//! Which tables there are is asked of the database, so that a new one needs no line here. Left out are those that are
//! not logged, which a crash empties as well, and the list of migrations, which is read apart.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use crate::connect::options;
use crate::schema::{self, Applied};
use crate::{Error, Result};

/// How often a copy begins again because a table came or went meanwhile.
const ATTEMPTS: usize = 5;

/// A table; of one in partitions, the whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// What is copied of it, in this order.
    pub columns: Vec<Column>,
    /// The partitions that it has; empty for most.
    pub partitions: Vec<Partition>,
    /// What it takes on the disk, about.
    pub octets: i64,
}

/// A column.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as SQL writes it.
    pub kind: String,
}

/// A part of a table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Partition {
    /// Its name.
    pub name: String,
    /// What belongs into it: `DEFAULT` or `FOR VALUES …`.
    pub bounds: String,
}

/// What gives numbers out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sequence {
    /// Its name.
    pub name: String,
    /// The last number given out, or the first one to come.
    pub value: i64,
    /// Whether it was given out.
    pub is_called: bool,
}

/// A database at one moment. Holds a transaction open until it is dropped.
#[derive(Debug)]
pub struct Snapshot {
    options: PgConnectOptions,
    _connection: PgConnection,
    id: String,
    /// The moment.
    pub at: DateTime<Utc>,
    /// The server's version, such as `17.4`.
    pub server: String,
    /// The schema.
    pub versions: Vec<Applied>,
    /// By name.
    pub tables: Vec<Table>,
    /// By name.
    pub sequences: Vec<Sequence>,
}

impl Snapshot {
    /// Takes it. Nobody waits for that, but partitions are not dropped while it lasts.
    ///
    /// # Errors
    /// What the database said; [`Error::Unready`] when it never saw a Posthorn.
    pub async fn take(url: &str) -> Result<Self> {
        let options = options(url)?.application_name("posthorn backup");
        let mut connection = options.connect().await?;
        let server = sqlx::query_scalar("select current_setting('server_version')").fetch_one(&mut connection).await?;
        for _ in 0..ATTEMPTS {
            let expected = names(&mut connection).await?;
            begin(&mut connection).await?;
            // Locks come before the first look, so that what is seen stays.
            let list: Vec<_> = expected.iter().map(|name| quoted(name)).collect();
            if !list.is_empty() {
                let lock = format!("lock table {} in access share mode", list.join(", "));
                if let Err(error) = sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut connection).await {
                    if !is_undefined(&error) {
                        return Err(error.into());
                    }
                    sqlx::raw_sql("rollback").execute(&mut connection).await?;
                    continue;
                }
            }
            if names(&mut connection).await? != expected {
                sqlx::raw_sql("rollback").execute(&mut connection).await?;
                continue;
            }
            let (id, at) = sqlx::query_as("select pg_export_snapshot(), now()").fetch_one(&mut connection).await?;
            let versions = schema::applied(&mut connection).await?;
            if versions.is_empty() {
                return Err(Error::Unready("it is empty, no Posthorn ever started on it"));
            }
            let tables = tables(&mut connection).await?;
            let sequences = sequences(&mut connection).await?;
            return Ok(Self { options, _connection: connection, id, at, server, versions, tables, sequences });
        }
        Err(Error::Unready("tables come and go, the schema is being changed at this moment"))
    }

    /// A connection that sees the same moment.
    ///
    /// # Errors
    /// What the database said.
    pub async fn reader(&self) -> Result<Reader> {
        let mut connection = self.options.connect().await?;
        begin(&mut connection).await?;
        let set = format!("set transaction snapshot '{}'", self.id.replace('\'', ""));
        sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut connection).await?;
        Ok(Reader(connection))
    }
}

/// Reads tables of a snapshot, one after the other.
#[derive(Debug)]
pub struct Reader(PgConnection);

/// The rows of a table in PostgreSQL's binary COPY format, cut anywhere.
pub struct Rows<'r>(BoxStream<'r, sqlx::Result<Bytes>>);

impl Reader {
    /// All rows of a table.
    ///
    /// # Errors
    /// What the database said.
    pub async fn rows(&mut self, table: &Table) -> Result<Rows<'_>> {
        let columns: Vec<_> = table.columns.iter().map(|column| quoted(&column.name)).collect();
        let copy =
            format!("copy (select {} from {}) to stdout (format binary)", columns.join(", "), quoted(&table.name));
        Ok(Rows(self.0.copy_out_raw(&copy).await?))
    }

    /// Ends it.
    pub async fn end(self) {
        // It changed nothing, so that nothing is lost however it ends.
        let _ = self.0.close().await;
    }
}

impl Rows<'_> {
    /// What comes next.
    ///
    /// # Errors
    /// What the database said.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        Ok(self.0.next().await.transpose()?)
    }
}

async fn begin(connection: &mut PgConnection) -> Result<()> {
    // A copy may take hours, and its first connection only waits meanwhile.
    sqlx::raw_sql(
        "begin isolation level repeatable read read only;
         set local statement_timeout = 0;
         set local idle_in_transaction_session_timeout = 0",
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A name as SQL writes it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn is_undefined(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("42P01"))
}

/// The tables that are copied, in the order of their names.
const COPIED: &str = "from pg_class c
    where c.relnamespace = current_schema()::regnamespace
      and c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence = 'p'
      and c.relname <> '_sqlx_migrations'
      and not exists (select from pg_depend d
          where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')";

async fn names(connection: &mut PgConnection) -> Result<Vec<String>> {
    let question = format!("select c.relname::text {COPIED} order by 1");
    Ok(sqlx::query_scalar(AssertSqlSafe(question)).persistent(false).fetch_all(connection).await?)
}

/// The tables that are copied, as they are.
pub(crate) async fn tables(connection: &mut PgConnection) -> Result<Vec<Table>> {
    // What defaults to the transaction's number means nothing in another server: it is given anew.
    let question = format!(
        "select c.relname::text,
                (select coalesce(sum(pg_table_size(t.relid)), 0)::bigint from pg_partition_tree(c.oid) t)
                    + pg_table_size(c.oid),
                array(select a.attname::text from pg_attribute a
                      left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
                      where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
                        and coalesce(pg_get_expr(d.adbin, d.adrelid), '') not like '%pg_current_xact_id()%'
                      order by a.attnum),
                array(select format_type(a.atttypid, a.atttypmod) from pg_attribute a
                      left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
                      where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
                        and coalesce(pg_get_expr(d.adbin, d.adrelid), '') not like '%pg_current_xact_id()%'
                      order by a.attnum),
                array(select p.relname::text from pg_inherits i join pg_class p on p.oid = i.inhrelid
                      where i.inhparent = c.oid order by p.relname),
                array(select pg_get_expr(p.relpartbound, p.oid) from pg_inherits i join pg_class p on p.oid = i.inhrelid
                      where i.inhparent = c.oid order by p.relname)
         {COPIED} order by 1"
    );
    type Row = (String, i64, Vec<String>, Vec<String>, Vec<String>, Vec<String>);
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(question)).persistent(false).fetch_all(connection).await?;
    let table = |(name, octets, columns, kinds, partitions, bounds): Row| Table {
        name,
        octets,
        columns: columns.into_iter().zip(kinds).map(|(name, kind)| Column { name, kind }).collect(),
        partitions: partitions.into_iter().zip(bounds).map(|(name, bounds)| Partition { name, bounds }).collect(),
    };
    Ok(rows.into_iter().map(table).collect())
}

async fn sequences(connection: &mut PgConnection) -> Result<Vec<Sequence>> {
    let names: Vec<String> = sqlx::query_scalar(
        "select c.relname::text from pg_class c
         where c.relnamespace = current_schema()::regnamespace and c.relkind = 'S' order by 1",
    )
    .persistent(false)
    .fetch_all(&mut *connection)
    .await?;
    let mut sequences = Vec::with_capacity(names.len());
    for name in names {
        let question = format!("select last_value, is_called from {}", quoted(&name));
        let (value, is_called) =
            sqlx::query_as(AssertSqlSafe(question)).persistent(false).fetch_one(&mut *connection).await?;
        sequences.push(Sequence { name, value, is_called });
    }
    Ok(sequences)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_quotes() {
        assert_eq!(quoted("a\"; drop table b; --"), "\"a\"\"; drop table b; --\"");
    }
}
