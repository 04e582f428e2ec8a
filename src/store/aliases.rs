//! Aliases: addresses that stand for other addresses.

use posthorn_model::{Address, Domain, DomainId};
use sqlx::PgConnection;

use crate::{Error, Result};

/// An address and where its mail goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Alias {
    /// The address that people write to.
    pub address: Address,
    /// Where the mail goes, local or not.
    pub targets: Vec<String>,
    /// Whether it receives.
    pub enabled: bool,
}

/// The enabled targets of this local part (case folded) in this domain.
///
/// # Errors
/// What the database said.
pub async fn find(connection: &mut PgConnection, local: &str, domain: &Domain) -> Result<Option<Vec<String>>> {
    Ok(sqlx::query_scalar!(
        "select a.targets from alias a join domain d on d.id = a.domain_id
         where d.name = $2 and a.folded = lower($1) and a.enabled",
        local,
        domain.as_str()
    )
    .fetch_optional(connection)
    .await?)
}

/// All aliases, by domain and name.
///
/// # Errors
/// What the database said.
pub async fn list(connection: &mut PgConnection, domain: Option<&Domain>) -> Result<Vec<Alias>> {
    let rows = sqlx::query!(
        "select a.local, d.name as domain, a.targets, a.enabled
         from alias a join domain d on d.id = a.domain_id
         where $1::text is null or d.name = $1 order by d.name, a.folded",
        domain.map(Domain::as_str)
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let domain = Domain::parse(&row.domain).map_err(|_| Error::Damaged("domain name"))?;
            let address = Address::from_parts(row.local, domain).map_err(|_| Error::Damaged("local part"))?;
            Ok(Alias { address, targets: row.targets, enabled: row.enabled })
        })
        .collect()
}

/// Adds an alias.
///
/// # Errors
/// [`Error::Taken`] when an account or alias has the name.
pub async fn add(connection: &mut PgConnection, domain: DomainId, address: &Address, targets: &[String]) -> Result<()> {
    let done = sqlx::query!(
        "insert into alias (domain_id, local, folded, targets)
         select $1, $2, lower($2), $3
         where not exists (select from account where domain_id = $1 and folded = lower($2))
         on conflict do nothing",
        domain.0,
        address.local(),
        targets
    )
    .execute(connection)
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(Error::Taken(address.to_string())) }
}

/// Writes what can change of an alias; `false` when there is none.
///
/// # Errors
/// What the database said.
pub async fn set(connection: &mut PgConnection, domain: DomainId, alias: &Alias) -> Result<bool> {
    let done = sqlx::query!(
        "update alias set targets = $3, enabled = $4 where domain_id = $1 and folded = lower($2)",
        domain.0,
        alias.address.local(),
        &alias.targets,
        alias.enabled
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Removes an alias; `false` when there was none.
///
/// # Errors
/// What the database said.
pub async fn remove(connection: &mut PgConnection, domain: DomainId, address: &Address) -> Result<bool> {
    let done = sqlx::query!("delete from alias where domain_id = $1 and folded = lower($2)", domain.0, address.local())
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}
