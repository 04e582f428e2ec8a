//! Putting a copy of everything into an empty database: one transaction, so that it is there as a whole or not at all.
//!
//! The schema is made as it was when the copy was made, without what only costs while rows come in (indexes, keys); these
//! are made behind the rows, and then the schema is brought up to this program's.

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use crate::backup::{Partition, Sequence, Table, quoted, tables};
use crate::connect::{check_version, options};
use crate::schema::{self, Turn, Version};
use crate::{Error, Result};

/// UIDs that are never given out again, because clients may have seen them with messages that came after the copy.
const UIDS_SKIPPED: i64 = 1_000_000;
/// The same for modseqs.
const MODSEQS_SKIPPED: i64 = 1 << 32;

/// What is in a database.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Found {
    /// Not a table.
    Nothing,
    /// A schema, and nothing that anybody owns.
    Unused,
    /// Somebody's data.
    Used {
        /// How many accounts.
        accounts: i64,
        /// How many messages.
        messages: i64,
        /// A table that has rows.
        table: String,
    },
    /// A table that is not ours; nothing may be dropped then.
    Foreign {
        /// Its name.
        table: String,
    },
}

/// What a server writes by itself when it starts on an empty database.
const OF_A_START: &[&str] = &["config_revision", "courier", "setting"];

/// A database that is being filled. Dropped before [`Restore::commit`], it is as it was before.
#[derive(Debug)]
pub struct Restore {
    connection: PgConnection,
    turn: Turn,
    /// What is made behind the rows, in order.
    deferred: Vec<String>,
}

impl Restore {
    /// Connects and begins.
    ///
    /// # Errors
    /// [`Error::OldServer`], or what the database said.
    pub async fn begin(url: &str) -> Result<Self> {
        let turn = Turn::wait(url).await?;
        let mut connection = options(url)?.application_name("posthorn restore").connect().await?;
        check_version(&mut connection).await?;
        sqlx::raw_sql(
            "begin; set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0;
             set local lock_timeout = '10s'; set local maintenance_work_mem = '128MB'",
        )
        .execute(&mut connection)
        .await?;
        Ok(Self { connection, turn, deferred: Vec::new() })
    }

    /// What is there.
    ///
    /// # Errors
    /// What the database said.
    pub async fn found(&mut self) -> Result<Found> {
        let all = self.present().await?;
        let made = schema::made();
        if let Some(table) = all.iter().find(|name| !made.contains(&name.as_str())) {
            return Ok(Found::Foreign { table: table.clone() });
        }
        let applied = schema::applied(&mut self.connection).await?;
        if !schema::is_ours(&applied) {
            return Ok(Found::Foreign { table: schema::TABLE.to_owned() });
        }
        if applied.is_empty() {
            // Names that we would give as well, but no migration of ours gave them.
            let other = all.into_iter().find(|name| name != schema::TABLE);
            return Ok(other.map_or(Found::Nothing, |table| Found::Foreign { table }));
        }
        let names: Vec<String> = tables(&mut self.connection).await?.into_iter().map(|table| table.name).collect();
        let mut used = None;
        for name in names.iter().filter(|name| !OF_A_START.contains(&name.as_str())) {
            let question = format!("select exists (select from {})", quoted(name));
            if sqlx::query_scalar(AssertSqlSafe(question)).fetch_one(&mut self.connection).await? {
                used = Some(name.clone());
                break;
            }
        }
        let Some(table) = used else { return Ok(Found::Unused) };
        let mut counts = [0, 0];
        for (place, name) in [(0, "domain"), (0, "account"), (1, "body"), (1, "outgoing")] {
            if names.iter().any(|there| there == name) {
                let question = format!("select count(*) from {name}");
                let count: i64 = sqlx::query_scalar(AssertSqlSafe(question)).fetch_one(&mut self.connection).await?;
                counts[place] = counts[place].max(count);
            }
        }
        let [accounts, messages] = counts;
        Ok(Found::Used { accounts, messages, table })
    }

    /// How many servers and commands are at work on the database.
    ///
    /// # Errors
    /// What the database said.
    pub async fn others(&mut self) -> Result<i64> {
        Ok(sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'posthorn'",
        )
        .fetch_one(&mut self.connection)
        .await?)
    }

    /// Removes all our tables; they come back when this is not committed.
    ///
    /// # Errors
    /// What the database said, such as that something of somebody else's, a view perhaps, depends on them.
    pub async fn clear(&mut self) -> Result<()> {
        let made = schema::made();
        let present = self.present().await?;
        let ours: Vec<_> =
            present.iter().filter(|name| made.contains(&name.as_str())).map(|name| quoted(name)).collect();
        if ours.is_empty() {
            return Ok(());
        }
        // All at once, as they refer to each other; nothing goes with them.
        self.run(&format!("drop table {}", ours.join(", "))).await
    }

    /// Every table of the schema that no extension brought; of one in partitions, the whole.
    async fn present(&mut self) -> Result<Vec<String>> {
        Ok(sqlx::query_scalar(
            "select c.relname::text from pg_class c
             where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p', 'f') and not c.relispartition
               and not exists (select from pg_depend d
                   where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
             order by 1",
        )
        .fetch_all(&mut self.connection)
        .await?)
    }

    /// Makes the schema as it was at a version, ready for rows.
    ///
    /// # Errors
    /// [`Error::Newer`]; [`Error::Migration`] when a version is not the one that this program knows; what the database
    /// said.
    pub async fn make(&mut self, versions: &[Version]) -> Result<()> {
        let known = schema::known();
        for (place, version) in versions.iter().enumerate() {
            match known.get(place) {
                None => return Err(Error::Newer { found: version.number, known: schema::newest() }),
                Some(known) if known.number != version.number || known.checksum != version.checksum => {
                    return Err(Error::Migration(sqlx::migrate::MigrateError::VersionMismatch(version.number)));
                }
                Some(_) => {}
            }
        }
        schema::advance(&mut self.connection, versions.last().map_or(0, |last| last.number)).await?;
        self.defer().await
    }

    /// The tables that there are now.
    ///
    /// # Errors
    /// What the database said.
    pub async fn tables(&mut self) -> Result<Vec<Table>> {
        tables(&mut self.connection).await
    }

    /// Makes a partition that is not there yet.
    ///
    /// # Errors
    /// What the database said; [`Error::Damaged`] for bounds that are none.
    pub async fn partition(&mut self, table: &str, partition: &Partition) -> Result<()> {
        if !is_bounds(&partition.bounds) {
            return Err(Error::Damaged("a partition without bounds"));
        }
        let (name, bounds) = (quoted(&partition.name), &partition.bounds);
        self.run(&format!("create table if not exists {name} partition of {} {bounds}", quoted(table))).await
    }

    /// Puts rows in, which are whole in PostgreSQL's binary COPY format. Returns how many.
    ///
    /// # Errors
    /// What the database said.
    pub async fn load(&mut self, table: &Table, octets: &[u8]) -> Result<u64> {
        let columns: Vec<_> = table.columns.iter().map(|column| quoted(&column.name)).collect();
        // Rows that nobody else ever saw need no second visit of the vacuum; for partitions PostgreSQL cannot do that.
        let freeze = if table.partitions.is_empty() { ", freeze" } else { "" };
        let copy = format!("copy {} ({}) from stdin (format binary{freeze})", quoted(&table.name), columns.join(", "));
        let mut copy = self.connection.copy_in_raw(&copy).await?;
        copy.send(octets).await?;
        Ok(copy.finish().await?)
    }

    /// Where the next numbers begin.
    ///
    /// # Errors
    /// What the database said.
    pub async fn set_sequence(&mut self, sequence: &Sequence) -> Result<()> {
        sqlx::query("select setval($1::regclass, $2, $3)")
            .bind(quoted(&sequence.name))
            .bind(sequence.value)
            .bind(sequence.is_called)
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    /// What is left to be made behind the rows; each is one call of [`Restore::complete_one`].
    #[must_use]
    pub fn incomplete(&self) -> usize {
        self.deferred.len()
    }

    /// Makes one index or key.
    ///
    /// # Errors
    /// What the database said, such as that rows contradict each other.
    pub async fn complete_one(&mut self) -> Result<()> {
        if self.deferred.is_empty() {
            return Ok(());
        }
        let statement = self.deferred.remove(0);
        self.run(&statement).await
    }

    /// Brings the schema up to this program's.
    ///
    /// # Errors
    /// What the database said.
    pub async fn upgrade(&mut self) -> Result<()> {
        schema::advance(&mut self.connection, schema::newest()).await
    }

    /// Sees to it that clients that saw what came after the copy synchronise anew: no UID and no modseq is given out a
    /// second time.
    ///
    /// # Errors
    /// What the database said.
    pub async fn renew(&mut self) -> Result<()> {
        self.run(&format!(
            "update mail_state set modseq = modseq + {MODSEQS_SKIPPED};
             update mailbox b set highest_modseq = s.modseq, uid_next = least(b.uid_next + {UIDS_SKIPPED}, 4294967295)
                 from mail_state s where s.account_id = b.account_id;
             update membership m set modseq = s.modseq from mail_state s where s.account_id = m.account_id;
             delete from change"
        ))
        .await
    }

    /// Holds everything that waits to leave, with a note. Returns how many recipients that are.
    ///
    /// # Errors
    /// What the database said.
    pub async fn hold_queue(&mut self, note: &str) -> Result<u64> {
        let held =
            sqlx::query("update delivery set state = 2, note = $1, claim = null, recalled = false where state = 1")
                .bind(note)
                .execute(&mut self.connection)
                .await?;
        Ok(held.rows_affected())
    }

    /// Tells the planner what is in it, which takes a while and so comes before the commit.
    ///
    /// # Errors
    /// What the database said.
    pub async fn analyze(&mut self) -> Result<()> {
        // PostgreSQL's own tables are not ours to analyze, and it would say so of each.
        let ours: Vec<_> = self.present().await?.iter().map(|name| quoted(name)).collect();
        self.run(&format!("analyze {}", ours.join(", "))).await
    }

    /// Makes it last.
    ///
    /// # Errors
    /// What the database said: nothing is restored then.
    pub async fn commit(mut self) -> Result<()> {
        self.run("commit").await?;
        // It lasts already, however the connection ends.
        let _ = self.connection.close().await;
        self.turn.end().await;
        Ok(())
    }

    async fn run(&mut self, statements: &str) -> Result<()> {
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut self.connection).await?;
        Ok(())
    }

    /// Takes away what is made behind the rows.
    async fn defer(&mut self) -> Result<()> {
        // Keys of others first: they need the keys that they name. What partitions have stays as it is.
        let constraints: Vec<(String, String, String)> = sqlx::query_as(
            "select c.relname::text, k.conname::text, pg_get_constraintdef(k.oid) from pg_constraint k
             join pg_class c on c.oid = k.conrelid
             where c.relnamespace = current_schema()::regnamespace and c.relkind = 'r' and not c.relispartition
               and c.relname <> '_sqlx_migrations' and k.contype in ('p', 'u', 'f')
             order by k.contype = 'f' desc, 1, 2",
        )
        .fetch_all(&mut self.connection)
        .await?;
        for (table, name, definition) in &constraints {
            let (table, name) = (quoted(table), quoted(name));
            self.run(&format!("alter table {table} drop constraint {name}")).await?;
            self.deferred.push(format!("alter table {table} add constraint {name} {definition}"));
        }
        self.deferred.reverse();
        let indexes: Vec<(String, String)> = sqlx::query_as(
            "select i.relname::text, pg_get_indexdef(x.indexrelid) from pg_index x
             join pg_class i on i.oid = x.indexrelid join pg_class c on c.oid = x.indrelid
             where c.relnamespace = current_schema()::regnamespace and c.relkind = 'r' and not c.relispartition
               and c.relname <> '_sqlx_migrations'
             order by 1",
        )
        .fetch_all(&mut self.connection)
        .await?;
        for (name, definition) in indexes {
            self.run(&format!("drop index {}", quoted(&name))).await?;
            self.deferred.push(definition);
        }
        Ok(())
    }
}

/// Whether it is what PostgreSQL prints for a range of numbers or times, and no other SQL.
fn is_bounds(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || " ()',:.+-".contains(c);
    text == "DEFAULT"
        || text.starts_with("FOR VALUES FROM (")
            && text.contains(") TO (")
            && text.ends_with(')')
            && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_no_other_sql() {
        assert!(is_bounds("DEFAULT"));
        assert!(is_bounds("FOR VALUES FROM ('123') TO ('456')"));
        assert!(is_bounds("FOR VALUES FROM ('2026-11-21 00:00:00+00') TO ('2026-11-22 00:00:00+00')"));
        assert!(!is_bounds("FOR VALUES FROM (1) TO (2); drop table account; select (1)"));
        assert!(!is_bounds("default"));
    }
}
