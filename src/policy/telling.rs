//! What administrators ask and order about the checks of this crate: why something was refused, who is refused for a
//! while, who may write to a list.

use posthorn_mail::{Mail, Result};
use posthorn_model::Address;
use posthorn_store::Transaction;
use posthorn_store::policy::{auto_blacklist, decisions, list_access, news};

pub use posthorn_store::policy::auto_blacklist::Banned;
pub use posthorn_store::policy::decisions::{DecisionRow, Wanted};
pub use posthorn_store::policy::list_access::{Access, ListAccess};

/// The latest decisions of these, the latest first.
///
/// # Errors
/// When the store cannot be read.
pub async fn why(mail: &Mail, wanted: &Wanted, limit: u32) -> Result<Vec<DecisionRow>> {
    let mut connection = mail.store().acquire().await?;
    Ok(decisions::find(&mut connection, wanted, limit).await?)
}

/// Clients that are refused for a while, the latest first.
///
/// # Errors
/// When the store cannot be read.
pub async fn banned(mail: &Mail, limit: u32) -> Result<Vec<Banned>> {
    let mut connection = mail.store().acquire().await?;
    Ok(auto_blacklist::list(&mut connection, mail.now(), limit.into()).await?)
}

/// Forgives a client, named as [`banned`] does; `false` when it was not refused. Servers that run hear of it.
///
/// # Errors
/// When the store cannot be written.
pub async fn forgive(mail: &Mail, network: &str) -> Result<bool> {
    let mut transaction = mail.store().begin().await?;
    let done = auto_blacklist::remove(&mut transaction, network).await?;
    publish(transaction).await?;
    Ok(done)
}

/// The lists that not everybody may write to.
///
/// # Errors
/// When the store cannot be read.
pub async fn list_accesses(mail: &Mail) -> Result<Vec<ListAccess>> {
    let mut connection = mail.store().acquire().await?;
    Ok(list_access::list(&mut connection).await?)
}

/// Says who may write to an alias; `false` when there is no such alias. Servers that run hear of it.
///
/// # Errors
/// When the store cannot be written.
pub async fn set_list_access(mail: &Mail, access: &ListAccess) -> Result<bool> {
    let mut transaction = mail.store().begin().await?;
    let done = list_access::put(&mut transaction, access).await?;
    publish(transaction).await?;
    Ok(done)
}

/// Opens an alias to everybody again; `false` when it was. Servers that run hear of it.
///
/// # Errors
/// When the store cannot be written.
pub async fn open_list(mail: &Mail, list: &Address) -> Result<bool> {
    let mut transaction = mail.store().begin().await?;
    let done = list_access::remove(&mut transaction, list).await?;
    publish(transaction).await?;
    Ok(done)
}

async fn publish(mut transaction: Transaction) -> Result<()> {
    news::tell_settings(&mut transaction).await?;
    Ok(transaction.commit().await?)
}
