//! `posthorn alias`.

use anyhow::Context;
use clap::Subcommand;
use posthorn_config::Loaded;
use posthorn_mail::Mail;
use posthorn_model::{Address, Domain};
use posthorn_store::aliases::Alias;
use serde::Serialize;

use super::{parse_domain, refused, removed};
use crate::database::with_mail;
use crate::output::{Output, yes};

#[derive(Debug, Subcommand)]
pub(super) enum Aliases {
    /// Let an address stand for others
    Add {
        address: Address,
        /// Where its mail goes
        #[arg(required = true, value_name = "TARGET")]
        targets: Vec<String>,
    },
    /// List all aliases
    List {
        /// Only those of this domain
        #[arg(long, value_parser = parse_domain)]
        domain: Option<Domain>,
    },
    /// Show one alias
    Show { address: Address },
    /// Change an alias
    Set(Set),
    /// Remove an alias
    Remove { address: Address },
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub(super) struct Set {
    address: Address,
    /// Where its mail goes instead
    #[arg(long, value_name = "ADDRESS,..", value_delimiter = ',', group = "change")]
    targets: Option<Vec<String>>,
    /// Receive mail again
    #[arg(long, group = "change", conflicts_with = "disable")]
    enable: bool,
    /// Receive no mail
    #[arg(long, group = "change")]
    disable: bool,
}

/// An alias as programs read it.
#[derive(Debug, Serialize)]
struct Shown {
    address: String,
    targets: Vec<String>,
    enabled: bool,
}

impl From<Alias> for Shown {
    fn from(alias: Alias) -> Self {
        Self { address: alias.address.to_string(), targets: alias.targets, enabled: alias.enabled }
    }
}

pub(super) async fn run(loaded: &Loaded, command: Aliases, output: &mut Output) -> anyhow::Result<()> {
    with_mail(loaded, async |mail| match command {
        Aliases::Add { address, targets } => {
            refused(mail.add_alias(&address, &targets).await?)?;
            answer(mail, &address, "is added", output).await
        }
        Aliases::List { domain } => {
            let rows: Vec<_> = mail.aliases(domain.as_ref()).await?.into_iter().map(Shown::from).collect();
            output.rows(&rows, &["alias", "targets", "enabled"], |row| {
                vec![row.address.clone(), row.targets.join(", "), yes(row.enabled)]
            })
        }
        Aliases::Show { address } => {
            let shown = find(mail, &address).await?;
            let properties = [
                ("alias", shown.address.clone()),
                ("targets", shown.targets.join(", ")),
                ("enabled", yes(shown.enabled)),
            ];
            output.properties(&shown, &properties)
        }
        Aliases::Set(set) => {
            let enabled = (set.enable || set.disable).then_some(set.enable);
            refused(mail.set_alias(&set.address, set.targets.as_deref(), enabled).await?)?;
            answer(mail, &set.address, "is changed", output).await
        }
        Aliases::Remove { address } => {
            refused(mail.remove_alias(&address).await?)?;
            removed(output, "alias", &address)
        }
    })
    .await
}

async fn find(mail: &Mail, address: &Address) -> anyhow::Result<Shown> {
    let local = address.local().to_lowercase();
    let mut aliases = mail.aliases(Some(address.domain())).await?.into_iter();
    let alias = aliases.find(|alias| alias.address.local().to_lowercase() == local);
    alias.map(Shown::from).with_context(|| format!("there is no alias {address}"))
}

async fn answer(mail: &Mail, address: &Address, done: &str, output: &mut Output) -> anyhow::Result<()> {
    let shown = find(mail, address).await?;
    output.answer(&shown, || format!("alias {address} {done}"))
}
