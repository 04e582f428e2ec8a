//! `posthorn domain`.

use anyhow::Context;
use clap::Subcommand;
use posthorn_config::Loaded;
use posthorn_mail::Mail;
use posthorn_model::Domain;
use posthorn_store::domains::DomainRow;
use serde::Serialize;

use super::{parse_domain, refused, removed};
use crate::database::with_mail;
use crate::output::{Output, yes};

#[derive(Debug, Subcommand)]
pub(super) enum Domains {
    /// Receive mail for a domain
    Add {
        #[arg(value_parser = parse_domain)]
        name: Domain,
        /// Make it another spelling of this domain
        #[arg(long, value_name = "DOMAIN", value_parser = parse_domain)]
        alias_of: Option<Domain>,
    },
    /// List all domains
    List,
    /// Show one domain
    Show {
        #[arg(value_parser = parse_domain)]
        name: Domain,
    },
    /// Change a domain
    Set(Set),
    /// Remove a domain that nothing hangs on any more
    Remove {
        #[arg(value_parser = parse_domain)]
        name: Domain,
    },
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub(super) struct Set {
    #[arg(value_parser = parse_domain)]
    name: Domain,
    /// Where mail for unknown names goes
    #[arg(long, value_name = "ADDRESS,..", value_delimiter = ',', group = "change", conflicts_with = "no_catch_all")]
    catch_all: Option<Vec<String>>,
    /// Refuse mail for unknown names
    #[arg(long, group = "change")]
    no_catch_all: bool,
    /// Receive mail again
    #[arg(long, group = "change", conflicts_with = "disable")]
    enable: bool,
    /// Receive no mail
    #[arg(long, group = "change")]
    disable: bool,
}

/// A domain as programs read it.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    alias_of: Option<String>,
    catch_all: Vec<String>,
    enabled: bool,
}

impl From<DomainRow> for Shown {
    fn from(row: DomainRow) -> Self {
        Self {
            name: row.name.to_string(),
            alias_of: row.alias_of.as_ref().map(ToString::to_string),
            catch_all: row.catch_all,
            enabled: row.enabled,
        }
    }
}

pub(super) async fn run(loaded: &Loaded, command: Domains, output: &mut Output) -> anyhow::Result<()> {
    with_mail(loaded, async |mail| match command {
        Domains::Add { name, alias_of } => {
            refused(mail.add_domain(&name, alias_of.as_ref()).await?)?;
            answer(mail, &name, "is added", output).await
        }
        Domains::List => {
            let rows: Vec<_> = mail.domains().await?.into_iter().map(Shown::from).collect();
            output.rows(&rows, &["domain", "alias of", "catch-all", "enabled"], |row| {
                vec![
                    row.name.clone(),
                    row.alias_of.clone().unwrap_or_default(),
                    row.catch_all.join(", "),
                    yes(row.enabled),
                ]
            })
        }
        Domains::Show { name } => {
            let shown = find(mail, &name).await?;
            let properties = [
                ("domain", shown.name.clone()),
                ("alias of", shown.alias_of.clone().unwrap_or_else(|| "-".to_owned())),
                ("catch-all", if shown.catch_all.is_empty() { "-".to_owned() } else { shown.catch_all.join(", ") }),
                ("enabled", yes(shown.enabled)),
            ];
            output.properties(&shown, &properties)
        }
        Domains::Set(set) => {
            let catch_all = if set.no_catch_all { Some(Vec::new()) } else { set.catch_all };
            let enabled = (set.enable || set.disable).then_some(set.enable);
            refused(mail.set_domain(&set.name, catch_all, enabled).await?)?;
            answer(mail, &set.name, "is changed", output).await
        }
        Domains::Remove { name } => {
            refused(mail.remove_domain(&name).await?)?;
            removed(output, "domain", &name)
        }
    })
    .await
}

async fn find(mail: &Mail, name: &Domain) -> anyhow::Result<Shown> {
    let row = mail.domains().await?.into_iter().find(|row| row.name == *name);
    row.map(Shown::from).with_context(|| format!("there is no domain {name}"))
}

async fn answer(mail: &Mail, name: &Domain, done: &str, output: &mut Output) -> anyhow::Result<()> {
    let shown = find(mail, name).await?;
    output.answer(&shown, || format!("domain {name} {done}"))
}
