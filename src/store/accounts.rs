//! Accounts: people and programs that log in and own mailboxes.

use posthorn_model::{AccountId, Address, Domain, DomainId};
use sqlx::PgConnection;

use crate::{Error, Result};

/// What is known of an account besides its mail.
#[derive(Clone)]
pub struct Account {
    /// Which one.
    pub id: AccountId,
    /// Its address, which is also its login.
    pub address: Address,
    /// The name people see.
    pub display_name: String,
    /// The password's hash; nobody can log in without.
    pub password: Option<String>,
    /// SCRAM-SHA-256 keys in text form.
    pub scram: Option<String>,
    /// Whether it may log in and receive.
    pub enabled: bool,
    /// Where its mail goes as well.
    pub forward_to: Vec<String>,
    /// Whether a forwarded message also stays here.
    pub forward_keeps_copy: bool,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Hashes are secrets too.
        f.debug_struct("Account").field("id", &self.id).field("address", &self.address).finish_non_exhaustive()
    }
}

/// An account with its use of space, as lists show it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The account.
    pub account: Account,
    /// Octets of its mail.
    pub used_bytes: i64,
    /// Count of its messages.
    pub used_messages: i64,
    /// `None` is unlimited.
    pub quota_bytes: Option<i64>,
    /// `None` is unlimited.
    pub quota_messages: Option<i64>,
}

struct Row {
    id: i64,
    local: String,
    domain: String,
    display_name: String,
    password: Option<String>,
    scram: Option<String>,
    enabled: bool,
    forward_to: Vec<String>,
    forward_keeps_copy: bool,
}

/// The account with this local part (case folded) in this domain, which is not an alias domain.
///
/// # Errors
/// What the database said.
pub async fn find(connection: &mut PgConnection, local: &str, domain: &Domain) -> Result<Option<Account>> {
    let row = sqlx::query_as!(
        Row,
        "select a.id, a.local, d.name as domain, a.display_name, a.password, a.scram, a.enabled, a.forward_to, a.forward_keeps_copy
         from account a join domain d on d.id = a.domain_id
         where d.name = $2 and a.folded = lower($1)",
        local,
        domain.as_str()
    )
    .fetch_optional(connection)
    .await?;
    row.map(Account::try_from).transpose()
}

/// The account that this login names; an alias domain stands for its domain.
///
/// # Errors
/// What the database said.
pub async fn find_login(connection: &mut PgConnection, login: &Address) -> Result<Option<Account>> {
    let row = sqlx::query_as!(
        Row,
        "select a.id, a.local, d.name as domain, a.display_name, a.password, a.scram, a.enabled, a.forward_to, a.forward_keeps_copy
         from domain named
         join domain d on d.id = coalesce(named.alias_of, named.id)
         join account a on a.domain_id = d.id
         where named.name = $2 and a.folded = lower($1) and a.enabled and d.enabled",
        login.local(),
        login.domain().as_str()
    )
    .fetch_optional(connection)
    .await?;
    row.map(Account::try_from).transpose()
}

/// The oldest enabled account of a domain, or of all.
///
/// # Errors
/// What the database said.
pub async fn oldest(connection: &mut PgConnection, domain: Option<&Domain>) -> Result<Option<AccountId>> {
    let id = sqlx::query_scalar!(
        "select a.id from account a join domain d on d.id = a.domain_id
         where a.enabled and ($1::text is null or d.name = $1) order by a.id limit 1",
        domain.map(Domain::as_str)
    )
    .fetch_optional(connection)
    .await?;
    Ok(id.map(AccountId))
}

/// All accounts, by domain and name.
///
/// # Errors
/// What the database said.
pub async fn list(connection: &mut PgConnection, domain: Option<&Domain>) -> Result<Vec<Listed>> {
    let rows = sqlx::query!(
        "select a.id, a.local, d.name as domain, a.display_name, a.password, a.scram, a.enabled, a.forward_to, a.forward_keeps_copy,
                s.used_bytes, s.used_messages, s.quota_bytes, s.quota_messages
         from account a join domain d on d.id = a.domain_id join mail_state s on s.account_id = a.id
         where $1::text is null or d.name = $1 order by d.name, a.folded",
        domain.map(Domain::as_str)
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let account = Row {
                id: row.id,
                local: row.local,
                domain: row.domain,
                display_name: row.display_name,
                password: row.password,
                scram: row.scram,
                enabled: row.enabled,
                forward_to: row.forward_to,
                forward_keeps_copy: row.forward_keeps_copy,
            };
            Ok(Listed {
                account: Account::try_from(account)?,
                used_bytes: row.used_bytes,
                used_messages: row.used_messages,
                quota_bytes: row.quota_bytes,
                quota_messages: row.quota_messages,
            })
        })
        .collect()
}

/// Adds an account without password; its mail state is made by [`crate::states::create`].
///
/// # Errors
/// [`Error::Taken`] when an account or alias has the name.
pub async fn add(connection: &mut PgConnection, domain: DomainId, address: &Address) -> Result<AccountId> {
    let id = sqlx::query_scalar!(
        "insert into account (domain_id, local, folded)
         select $1, $2, lower($2)
         where not exists (select from alias where domain_id = $1 and folded = lower($2))
         on conflict do nothing returning id",
        domain.0,
        address.local()
    )
    .fetch_optional(connection)
    .await?;
    id.map(AccountId).ok_or_else(|| Error::Taken(address.to_string()))
}

/// Writes what can change of an account besides its password.
///
/// # Errors
/// What the database said.
pub async fn set(connection: &mut PgConnection, account: &Account) -> Result<()> {
    sqlx::query!(
        "update account set display_name = $2, enabled = $3, forward_to = $4, forward_keeps_copy = $5 where id = $1",
        account.id.0,
        account.display_name,
        account.enabled,
        &account.forward_to,
        account.forward_keeps_copy
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the hash and the SCRAM keys of a new password.
///
/// # Errors
/// What the database said.
pub async fn set_password(
    connection: &mut PgConnection,
    id: AccountId,
    password: Option<&str>,
    scram: Option<&str>,
) -> Result<()> {
    sqlx::query!("update account set password = $2, scram = $3 where id = $1", id.0, password, scram)
        .execute(connection)
        .await?;
    Ok(())
}

/// Removes an account with all its mail; bodies are left to the reaper.
///
/// # Errors
/// What the database said.
pub async fn remove(connection: &mut PgConnection, id: AccountId) -> Result<()> {
    sqlx::query!(
        "with gone as (delete from membership where account_id = $1 returning message_id)
         insert into orphan (message_id) select message_id from gone",
        id.0
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("delete from mailbox where account_id = $1", id.0).execute(&mut *connection).await?;
    sqlx::query!("delete from subscription where account_id = $1", id.0).execute(&mut *connection).await?;
    sqlx::query!("delete from change where account_id = $1", id.0).execute(&mut *connection).await?;
    sqlx::query!("delete from mail_state where account_id = $1", id.0).execute(&mut *connection).await?;
    sqlx::query!("delete from account where id = $1", id.0).execute(connection).await?;
    Ok(())
}

/// The address of an account.
///
/// # Errors
/// What the database said, or damage.
pub async fn address(connection: &mut PgConnection, id: AccountId) -> Result<Option<Address>> {
    let row = sqlx::query!(
        "select a.local, d.name as domain from account a join domain d on d.id = a.domain_id where a.id = $1",
        id.0
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let domain = Domain::parse(&row.domain).map_err(|_| Error::Damaged("account in an unreadable domain"))?;
    Ok(Some(Address::from_parts(row.local, domain).map_err(|_| Error::Damaged("account with an unreadable name"))?))
}

/// Delegated addresses of an account.
///
/// # Errors
/// What the database said.
pub async fn delegated(connection: &mut PgConnection, id: AccountId) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar!("select address from delegate where account_id = $1 order by address", id.0)
        .fetch_all(connection)
        .await?)
}

/// Replaces the delegated addresses of an account.
///
/// # Errors
/// What the database said.
pub async fn set_delegated(connection: &mut PgConnection, id: AccountId, addresses: &[String]) -> Result<()> {
    sqlx::query!("delete from delegate where account_id = $1", id.0).execute(&mut *connection).await?;
    sqlx::query!(
        "insert into delegate (account_id, address) select distinct $1::bigint, a from unnest($2::text[]) a",
        id.0,
        addresses
    )
    .execute(connection)
    .await?;
    Ok(())
}

impl TryFrom<Row> for Account {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let domain = Domain::parse(&row.domain).map_err(|_| Error::Damaged("domain name"))?;
        Ok(Self {
            id: AccountId(row.id),
            address: Address::from_parts(row.local, domain).map_err(|_| Error::Damaged("local part"))?,
            display_name: row.display_name,
            password: row.password,
            scram: row.scram,
            enabled: row.enabled,
            forward_to: row.forward_to,
            forward_keeps_copy: row.forward_keeps_copy,
        })
    }
}
