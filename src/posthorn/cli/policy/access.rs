//! `posthorn policy access`.

use anyhow::bail;
use clap::Subcommand;
use posthorn_mail::Mail;
use posthorn_model::Address;
use posthorn_policy::telling::{Access, ListAccess, list_accesses, open_list, set_list_access};
use serde::Serialize;

use super::super::removed;
use super::words::{hint, one_of};
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Accesses {
    /// List the aliases that not everybody may write to
    List,
    /// Say who may write to an alias; its owners and moderators always may
    Set {
        alias: Address,
        /// Who
        #[arg(value_parser = one_of(Access::ALL, Access::name))]
        access: Access,
        /// Addresses that look after it
        #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
        moderator: Vec<Address>,
        /// Addresses that own it
        #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
        owner: Vec<Address>,
    },
    /// Open an alias to everybody again
    Open { alias: Address },
}

/// As programs read it.
#[derive(Serialize)]
struct Shown {
    alias: String,
    access: &'static str,
    owners: Vec<String>,
    moderators: Vec<String>,
}

impl From<ListAccess> for Shown {
    fn from(one: ListAccess) -> Self {
        let (alias, access) = (one.list.to_string(), one.access.name());
        Self { alias, access, owners: one.owners, moderators: one.moderators }
    }
}

pub(in crate::cli) async fn run(mail: &Mail, command: Accesses, output: &mut Output) -> anyhow::Result<()> {
    match command {
        Accesses::List => {
            let rows: Vec<_> = list_accesses(mail).await?.into_iter().map(Shown::from).collect();
            output.rows(&rows, &["alias", "who may write", "owners", "moderators"], |row| {
                vec![row.alias.clone(), row.access.to_owned(), row.owners.join(" "), row.moderators.join(" ")]
            })
        }
        Accesses::Set { alias, access, moderator, owner } => {
            let folded = |all: Vec<Address>| all.iter().map(|one| one.to_string().to_lowercase()).collect();
            let one = ListAccess { list: alias.clone(), access, owners: folded(owner), moderators: folded(moderator) };
            if !set_list_access(mail, &one).await? {
                return Err(missing(mail, &alias).await?);
            }
            output.answer(&Shown::from(one), || format!("who may write to {alias}: {}", access.name()))
        }
        Accesses::Open { alias } => {
            if !open_list(mail, &alias).await? {
                if mail.aliases(Some(alias.domain())).await?.iter().all(|one| one.address != alias) {
                    return Err(missing(mail, &alias).await?);
                }
                bail!("everybody may write to {alias} already");
            }
            removed(output, "restriction of", &alias)
        }
    }
}

async fn missing(mail: &Mail, alias: &Address) -> anyhow::Result<anyhow::Error> {
    let known: Vec<_> = mail.aliases(None).await?.iter().map(|one| one.address.to_string()).collect();
    let hint = hint(&alias.to_string(), known.iter().map(String::as_str));
    Ok(anyhow::anyhow!("there is no alias {alias}{hint}; see posthorn alias list"))
}
