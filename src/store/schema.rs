//! The schema's versions: the migrations that this program knows, and those that a database has.

use chrono::{DateTime, Utc};
use sqlx::migrate::Migrate;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::connect::{MIGRATIONS, migrate_over, options};
use crate::{Error, Result};

/// Where sqlx notes what it applied.
pub(crate) const TABLE: &str = "_sqlx_migrations";

/// The first half of the advisory lock of who changes a whole schema ("uphn" in ASCII).
const LOCK: i64 = 0x7570_686e;

/// A migration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Version {
    /// Its number, from 1.
    pub number: i64,
    /// What its file is called behind the number.
    pub name: String,
    /// SHA-384 of its text.
    pub checksum: Vec<u8>,
}

/// A migration that a database has.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Which.
    pub version: Version,
    /// When it was applied.
    pub at: DateTime<Utc>,
}

/// Everything that this program knows, in order.
#[must_use]
pub fn known() -> Vec<Version> {
    let version = |migration: &sqlx::migrate::Migration| Version {
        number: migration.version,
        name: migration.description.replace(' ', "_"),
        checksum: migration.checksum.to_vec(),
    };
    MIGRATIONS.iter().map(version).collect()
}

/// The newest version that this program knows.
#[must_use]
pub fn newest() -> i64 {
    MIGRATIONS.iter().map(|known| known.version).max().unwrap_or_default()
}

/// The text of a migration, which is SQL.
#[must_use]
pub fn text(number: i64) -> Option<&'static str> {
    MIGRATIONS.iter().find(|known| known.version == number).map(|known| known.sql.as_str())
}

/// The tables that the migrations make, partitions among them, and the list of migrations itself.
pub(crate) fn made() -> Vec<&'static str> {
    let made = MIGRATIONS.iter().flat_map(|known| known.sql.as_str().lines()).filter_map(|line| {
        let rest = line.strip_prefix("create table ").or_else(|| line.strip_prefix("create unlogged table "))?;
        rest.split([' ', '(']).next()
    });
    made.chain([TABLE]).collect()
}

/// Whether what a database has is how every Posthorn up to this one begins, and not another program's list.
pub(crate) fn is_ours(applied: &[Applied]) -> bool {
    let known = known();
    let same = |(known, one): (&Version, &Applied)| {
        known.number == one.version.number && known.checksum == one.version.checksum
    };
    applied.len() <= known.len() && known.iter().zip(applied).all(same)
}

/// What a database has, in order; nothing when it never saw a Posthorn.
///
/// # Errors
/// What the database said.
pub async fn applied(connection: &mut PgConnection) -> Result<Vec<Applied>> {
    let is_there: bool =
        sqlx::query_scalar("select to_regclass($1) is not null").bind(TABLE).fetch_one(&mut *connection).await?;
    if !is_there {
        return Ok(Vec::new());
    }
    let rows: Vec<(i64, String, Vec<u8>, DateTime<Utc>)> = sqlx::query_as(
        "select version, description, checksum, installed_on from _sqlx_migrations where success order by version",
    )
    .fetch_all(connection)
    .await?;
    let applied = |(number, name, checksum, at): (i64, String, _, _)| Applied {
        version: Version { number, name: name.replace(' ', "_"), checksum },
        at,
    };
    Ok(rows.into_iter().map(applied).collect())
}

/// The same of the database behind a URL.
///
/// # Errors
/// What the database said.
pub async fn applied_at(url: &str) -> Result<Vec<Applied>> {
    use sqlx::ConnectOptions;
    let mut connection = options(url)?.connect().await?;
    let applied = applied(&mut connection).await?;
    connection.close().await?;
    Ok(applied)
}

/// Versions that this program knows and the database lacks.
///
/// # Errors
/// [`Error::Newer`] when the database has one that this program does not know; [`Error::Migration`] when one of them
/// had another text.
pub fn pending(applied: &[Applied]) -> Result<Vec<Version>> {
    let known = known();
    for one in applied {
        match known.iter().find(|known| known.number == one.version.number) {
            None => return Err(Error::Newer { found: one.version.number, known: newest() }),
            Some(known) if known.checksum != one.version.checksum => {
                return Err(Error::Migration(sqlx::migrate::MigrateError::VersionMismatch(known.number)));
            }
            Some(_) => {}
        }
    }
    Ok(known.into_iter().filter(|known| !applied.iter().any(|one| one.version.number == known.number)).collect())
}

/// Waits until nobody else changes the schema, and keeps others from it for as long as the connection lives.
pub(crate) async fn wait_for_turn(connection: &mut PgConnection) -> Result<()> {
    sqlx::query("select pg_advisory_lock($1)").bind(LOCK).execute(connection).await?;
    Ok(())
}

/// Holds the right to change the schema of a database: whoever else wants it waits.
#[derive(Debug)]
pub struct Turn(PgConnection);

impl Turn {
    /// Waits for it.
    ///
    /// # Errors
    /// What the database said.
    pub async fn wait(url: &str) -> Result<Self> {
        use sqlx::ConnectOptions;
        let mut connection = options(url)?.application_name("posthorn upgrade").connect().await?;
        wait_for_turn(&mut connection).await?;
        Ok(Self(connection))
    }

    /// Applies what is missing.
    ///
    /// # Errors
    /// [`Error::Newer`] when the database was written by a newer program.
    pub async fn migrate(&mut self) -> Result<()> {
        migrate_over(&mut self.0).await
    }

    /// What the database has.
    ///
    /// # Errors
    /// What the database said.
    pub async fn applied(&mut self) -> Result<Vec<Applied>> {
        applied(&mut self.0).await
    }

    /// Gives it back.
    pub async fn end(self) {
        // The server takes the lock back with the connection, however that ends.
        let _ = self.0.close().await;
    }
}

/// Applies what is missing up to a version, inside the caller's transaction.
///
/// # Errors
/// What the database said.
pub(crate) async fn advance(connection: &mut PgConnection, up_to: i64) -> Result<()> {
    connection.ensure_migrations_table(TABLE).await.map_err(Error::Migration)?;
    let applied = applied(connection).await?;
    for migration in MIGRATIONS.iter().filter(|known| known.version <= up_to) {
        if applied.iter().any(|one| one.version.number == migration.version) {
            continue;
        }
        sqlx::raw_sql(AssertSqlSafe(migration.sql.as_str())).execute(&mut *connection).await?;
        sqlx::query(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
             values ($1, $2, true, $3, 0)",
        )
        .bind(migration.version)
        .bind(&*migration.description)
        .bind(&*migration.checksum)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_up_from_one() {
        let numbers: Vec<_> = known().iter().map(|version| version.number).collect();
        assert_eq!(numbers, (1..=newest()).collect::<Vec<_>>());
        assert!(text(1).is_some_and(|text| text.contains("create table account")));
        assert_eq!(text(newest() + 1), None);
    }

    #[test]
    fn others_are_told_from_ours() {
        let applied = |version: Version| Applied { version, at: DateTime::UNIX_EPOCH };
        let mut some: Vec<_> = known().into_iter().take(2).map(applied).collect();
        assert!(is_ours(&some) && is_ours(&known().into_iter().map(applied).collect::<Vec<_>>()));
        some[1].version.checksum[0] ^= 1;
        assert!(!is_ours(&some));
        assert!(!is_ours(&known().into_iter().skip(1).map(applied).collect::<Vec<_>>()));
        let made = made();
        for name in ["account", "courier_view", "trace_rest", "list_access", "held", TABLE] {
            assert!(made.contains(&name), "{name}: {made:?}");
        }
    }

    #[test]
    fn what_is_missing_is_pending_and_what_is_newer_is_refused() {
        let applied = |version: Version| Applied { version, at: DateTime::UNIX_EPOCH };
        let mut old: Vec<_> = known().into_iter().take(2).map(applied).collect();
        let numbers: Vec<_> = pending(&old).expect("older").iter().map(|version| version.number).collect();
        assert_eq!(numbers, (3..=newest()).collect::<Vec<_>>());
        old[1].version.checksum[0] ^= 1;
        assert!(matches!(pending(&old), Err(Error::Migration(_))));
        let newer = Version { number: newest() + 1, name: "x".into(), checksum: Vec::new() };
        let newer: Vec<_> = known().into_iter().chain([newer]).map(applied).collect();
        assert!(matches!(pending(&newer), Err(Error::Newer { .. })));
    }
}
