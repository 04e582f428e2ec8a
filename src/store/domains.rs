//! Domains that we receive mail for.

use posthorn_model::{Domain, DomainId};
use sqlx::PgConnection;

use crate::{Error, Result};

/// A domain, or another spelling of one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DomainRow {
    /// Which one.
    pub id: DomainId,
    /// Its name.
    pub name: Domain,
    /// The domain whose names it shares, for an alias domain.
    pub alias_of: Option<Domain>,
    /// Where mail goes for names that nobody has; empty refuses it.
    pub catch_all: Vec<String>,
    /// Whether mail is received for it.
    pub enabled: bool,
}

struct Row {
    id: i64,
    name: String,
    alias_of: Option<String>,
    catch_all: Vec<String>,
    enabled: bool,
}

/// All domains, by name.
///
/// # Errors
/// What the database said.
pub async fn list(connection: &mut PgConnection) -> Result<Vec<DomainRow>> {
    let rows = sqlx::query_as!(
        Row,
        r#"select d.id, d.name, a.name as "alias_of?", d.catch_all, d.enabled
           from domain d left join domain a on a.id = d.alias_of order by d.name"#
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(DomainRow::try_from).collect()
}

/// The domain of this name.
///
/// # Errors
/// What the database said.
pub async fn find(connection: &mut PgConnection, name: &Domain) -> Result<Option<DomainRow>> {
    let row = sqlx::query_as!(
        Row,
        r#"select d.id, d.name, a.name as "alias_of?", d.catch_all, d.enabled
           from domain d left join domain a on a.id = d.alias_of where d.name = $1"#,
        name.as_str()
    )
    .fetch_optional(connection)
    .await?;
    row.map(DomainRow::try_from).transpose()
}

/// Adds a domain; with `alias_of` it becomes another spelling of that one.
///
/// # Errors
/// [`Error::Taken`] when it exists.
pub async fn add(connection: &mut PgConnection, name: &Domain, alias_of: Option<DomainId>) -> Result<DomainId> {
    let id = sqlx::query_scalar!(
        "insert into domain (name, alias_of) values ($1, $2) on conflict do nothing returning id",
        name.as_str(),
        alias_of.map(|id| id.0)
    )
    .fetch_optional(connection)
    .await?;
    id.map(DomainId).ok_or_else(|| Error::Taken(format!("domain {name}")))
}

/// Writes what can change of a domain.
///
/// # Errors
/// What the database said.
pub async fn set(
    connection: &mut PgConnection,
    id: DomainId,
    alias_of: Option<DomainId>,
    catch_all: &[String],
    enabled: bool,
) -> Result<()> {
    sqlx::query!(
        "update domain set alias_of = $2, catch_all = $3, enabled = $4 where id = $1",
        id.0,
        alias_of.map(|id| id.0),
        catch_all,
        enabled
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// How many accounts, aliases and alias domains hang on a domain.
///
/// # Errors
/// What the database said.
pub async fn population(connection: &mut PgConnection, id: DomainId) -> Result<(i64, i64, i64)> {
    let row = sqlx::query!(
        r#"select (select count(*) from account where domain_id = $1) as "accounts!",
                  (select count(*) from alias where domain_id = $1) as "aliases!",
                  (select count(*) from domain where alias_of = $1) as "domains!""#,
        id.0
    )
    .fetch_one(connection)
    .await?;
    Ok((row.accounts, row.aliases, row.domains))
}

/// Removes a domain that nothing hangs on.
///
/// # Errors
/// What the database said; a domain with accounts is kept by a constraint.
pub async fn remove(connection: &mut PgConnection, id: DomainId) -> Result<()> {
    sqlx::query!("delete from domain where id = $1", id.0).execute(connection).await?;
    Ok(())
}

impl TryFrom<Row> for DomainRow {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let parse = |name: &str| Domain::parse(name).map_err(|_| Error::Damaged("domain name"));
        Ok(Self {
            id: DomainId(row.id),
            name: parse(&row.name)?,
            alias_of: row.alias_of.as_deref().map(parse).transpose()?,
            catch_all: row.catch_all,
            enabled: row.enabled,
        })
    }
}
