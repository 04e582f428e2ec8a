//! `posthorn policy greylist`.

use anyhow::bail;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use posthorn_config::{Loaded, PolicyPattern};
use posthorn_mail::Mail;
use posthorn_model::Domain;
use posthorn_policy::orders::{Orders, Setting, State};
use serde::Serialize;
use serde_json::json;

use super::super::{parse_domain, plain_line, removed};
use super::words::{doubt, hint, pattern, time, until};
use crate::circumstances::Circumstances;
use crate::output::Output;
use crate::resolver::Asking;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Greylists {
    /// List for whom it holds, and who never waits
    List,
    /// Have senders wait
    Enable(Change),
    /// Let senders through at once
    Disable(Change),
    /// Take such an order back: what is said less specifically holds again
    Delete(Pair),
    /// List what waits to be tried again
    Held {
        /// Only what is for this recipient
        #[arg(long, value_name = "ADDRESS")]
        to: Option<String>,
        /// The most rows
        #[arg(long, value_name = "N", default_value_t = 200)]
        limit: u32,
    },
    /// Let a sender or client through from now on, at its next attempt
    Pass {
        /// ADDRESS, DOMAIN, client address or network
        #[arg(value_parser = pattern)]
        sender: PolicyPattern,
        /// For whom [default: everybody]
        #[arg(long, value_name = "PATTERN", value_parser = pattern, default_value = "*")]
        to: PolicyPattern,
    },
    /// Administer who never waits
    #[command(subcommand)]
    Whitelist(Whitelist),
    /// Administer the domains whose servers never wait, as their records name them
    #[command(subcommand)]
    Domains(Domains),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Pair {
    /// For whom: an address, a domain, .domain for those below it, or *
    #[arg(long, value_name = "PATTERN", value_parser = pattern, default_value = "*")]
    to: PolicyPattern,
    /// From whom: the same, or user@*, a client address or network, ~name of a client
    #[arg(long, value_name = "PATTERN", value_parser = pattern, default_value = "*")]
    from: PolicyPattern,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Change {
    #[command(flatten)]
    pair: Pair,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Whitelist {
    /// Have senders or clients never wait
    Add {
        /// An address, a domain, user@*, a client address or network, ~name of a client
        #[arg(value_parser = pattern)]
        sender: PolicyPattern,
        /// For whom [default: everybody]
        #[arg(long, value_name = "PATTERN", value_parser = pattern, default_value = "*")]
        to: PolicyPattern,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "")]
        note: String,
    },
    /// Have them wait as others do
    Remove {
        #[arg(value_parser = pattern)]
        sender: PolicyPattern,
        /// For whom [default: everybody]
        #[arg(long, value_name = "PATTERN", value_parser = pattern, default_value = "*")]
        to: PolicyPattern,
    },
    /// List who never waits
    List,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Domains {
    /// Have a domain's servers never wait
    Add {
        #[arg(value_parser = parse_domain)]
        domain: Domain,
    },
    /// Have them wait as others do
    Remove {
        #[arg(value_parser = parse_domain)]
        domain: Domain,
    },
    /// List them, with their networks
    List,
    /// Read the records again now; servers do every hour
    Refresh {
        /// Only of these [default: of all]
        #[arg(value_parser = parse_domain)]
        domains: Vec<Domain>,
    },
}

/// A setting as programs read it.
#[derive(Serialize)]
struct Shown {
    to: String,
    from: String,
    state: &'static str,
    note: String,
    since: DateTime<Utc>,
}

#[derive(Serialize)]
struct Held {
    client: String,
    sender: String,
    recipient: String,
    attempts: i32,
    first_seen: DateTime<Utc>,
    last_seen: DateTime<Utc>,
    /// From when on an attempt passes.
    passes_at: DateTime<Utc>,
}

#[derive(Serialize)]
struct White {
    domain: String,
    networks: Vec<String>,
    refreshed_at: Option<DateTime<Utc>>,
    problem: Option<String>,
}

pub(in crate::cli) async fn run(
    mail: &Mail,
    loaded: &Loaded,
    command: Greylists,
    output: &mut Output,
) -> anyhow::Result<()> {
    let orders = Orders::new(mail.clone());
    match command {
        Greylists::List => list(&orders, |_| true, output).await,
        Greylists::Enable(change) => set(mail, &orders, change, State::On, output).await,
        Greylists::Disable(change) => set(mail, &orders, change, State::Off, output).await,
        Greylists::Delete(pair) => delete(&orders, &pair, |state| state != State::Exempt, output).await,
        Greylists::Held { to, limit } => held(&orders, loaded, to.as_deref(), limit, output).await,
        Greylists::Pass { sender, to } => {
            let change = Change { pair: Pair { to, from: sender }, note: "let through by an operator".to_owned() };
            set(mail, &orders, change, State::Exempt, output).await
        }
        Greylists::Whitelist(Whitelist::Add { sender, to, note }) => {
            set(mail, &orders, Change { pair: Pair { to, from: sender }, note }, State::Exempt, output).await
        }
        Greylists::Whitelist(Whitelist::Remove { sender, to }) => {
            delete(&orders, &Pair { to, from: sender }, |state| state == State::Exempt, output).await
        }
        Greylists::Whitelist(Whitelist::List) => list(&orders, |state| state == State::Exempt, output).await,
        Greylists::Domains(command) => domains(&orders, loaded, command, output).await,
    }
}

async fn list(orders: &Orders, wanted: fn(State) -> bool, output: &mut Output) -> anyhow::Result<()> {
    let settings = orders.greylist_settings().await?.into_iter().filter(|setting| wanted(setting.state));
    let shown = |one: Setting| Shown {
        to: one.account,
        from: one.sender,
        state: one.state.name(),
        note: one.note,
        since: one.added_at,
    };
    let rows: Vec<_> = settings.map(shown).collect();
    output.rows(&rows, &["to", "from", "state", "since", "note"], |row| {
        vec![row.to.clone(), row.from.clone(), row.state.to_owned(), time(row.since), plain_line(&row.note, 70)]
    })
}

async fn set(mail: &Mail, orders: &Orders, change: Change, state: State, output: &mut Output) -> anyhow::Result<()> {
    let Pair { to, from } = change.pair;
    if to.is_of_clients() {
        bail!("{to} is a client, and --to says for whom mail is: write an address, a domain or *");
    }
    orders.set_greylist(&to, &from, state, &plain_line(&change.note, 200)).await?;
    doubt(mail, &to).await?;
    let shown = json!({ "to": to.to_string(), "from": from.to_string(), "state": state.name() });
    output.answer(&shown, || match state {
        State::On => format!("mail from {from} to {to} waits; see what does: posthorn policy greylist held"),
        State::Off => format!("mail from {from} to {to} does not wait"),
        State::Exempt => format!("mail from {from} to {to} never waits"),
    })
}

async fn delete(orders: &Orders, pair: &Pair, wanted: fn(State) -> bool, output: &mut Output) -> anyhow::Result<()> {
    let (to, from) = (pair.to.to_string(), pair.from.to_string());
    let settings = orders.greylist_settings().await?;
    if !settings.iter().any(|one| wanted(one.state) && one.account == to && one.sender == from) {
        let known: Vec<_> = settings.iter().map(|one| format!("{} {}", one.account, one.sender)).collect();
        let hint = hint(&format!("{to} {from}"), known.iter().map(String::as_str));
        bail!("nothing is said of mail from {from} to {to}{hint}; see posthorn policy greylist list");
    }
    orders.unset_greylist(&pair.to, &pair.from).await?;
    removed(output, "what was said of mail", &format!("from {from} to {to}"))
}

async fn held(
    orders: &Orders,
    loaded: &Loaded,
    to: Option<&str>,
    limit: u32,
    output: &mut Output,
) -> anyhow::Result<()> {
    let section = &loaded.config.policy.greylist;
    let now = orders.now();
    let recipient = to.map(str::to_lowercase);
    let found = orders.held(section, recipient.as_deref(), limit).await?;
    let rows: Vec<_> = found
        .into_iter()
        .map(|one| Held {
            passes_at: one.first_seen + section.delay.duration(),
            client: one.client,
            sender: one.sender,
            recipient: one.recipient,
            attempts: one.attempts,
            first_seen: one.first_seen,
            last_seen: one.last_seen,
        })
        .collect();
    output.rows(&rows, &["client", "sender", "recipient", "first tried", "tries", "passes"], |row| {
        let sender = if row.sender.is_empty() { "<>" } else { &row.sender };
        vec![
            row.client.clone(),
            plain_line(sender, 80),
            plain_line(&row.recipient, 80),
            time(row.first_seen),
            row.attempts.to_string(),
            until(now, row.passes_at),
        ]
    })
}

async fn domains(orders: &Orders, loaded: &Loaded, command: Domains, output: &mut Output) -> anyhow::Result<()> {
    let known = orders.white_domains().await?;
    let among = |domain: &Domain| known.iter().any(|one| one.domain == domain.as_str());
    let names = || known.iter().map(|one| one.domain.as_str());
    match command {
        Domains::Add { domain } => {
            if !orders.add_white_domain(&domain).await? {
                bail!("the servers of {domain} never wait already");
            }
            refresh(orders, loaded, vec![domain], output).await
        }
        Domains::Remove { domain } => {
            if !orders.remove_white_domain(&domain).await? {
                bail!("{domain} is none of the domains whose servers never wait{}", hint(domain.as_str(), names()));
            }
            removed(output, "white domain", &domain)
        }
        Domains::List => {
            let rows: Vec<_> = known
                .into_iter()
                .map(|one| White {
                    domain: one.domain,
                    networks: one.networks,
                    refreshed_at: one.refreshed_at,
                    problem: one.problem,
                })
                .collect();
            show(&rows, output)
        }
        Domains::Refresh { domains } => {
            if let Some(stranger) = domains.iter().find(|one| !among(one)) {
                let hint = hint(stranger.as_str(), names());
                bail!("{stranger} is none of the domains whose servers never wait{hint}");
            }
            let all = || known.iter().filter_map(|one| Domain::parse(&one.domain).ok()).collect();
            let wanted = if domains.is_empty() { all() } else { domains };
            refresh(orders, loaded, wanted, output).await
        }
    }
}

async fn refresh(orders: &Orders, loaded: &Loaded, domains: Vec<Domain>, output: &mut Output) -> anyhow::Result<()> {
    let resolver = Asking::new(Circumstances::default().ground(&loaded.config)?.dns);
    let mut rows = Vec::new();
    for domain in domains {
        let found = orders.look_up(&domain, &resolver).await?;
        let refreshed_at = Some(orders.now());
        let (networks, problem) = match found {
            Ok(networks) => (networks, None),
            Err(problem) => (Vec::new(), Some(problem)),
        };
        rows.push(White { domain: domain.to_string(), networks, refreshed_at, problem });
    }
    show(&rows, output)
}

fn show(rows: &[White], output: &mut Output) -> anyhow::Result<()> {
    output.rows(rows, &["domain", "read", "networks", "problem"], |row| {
        vec![
            row.domain.clone(),
            row.refreshed_at.map_or_else(|| "never".to_owned(), time),
            shortened(&row.networks),
            plain_line(row.problem.as_deref().unwrap_or_default(), 100),
        ]
    })
}

/// The first networks, and how many more there are.
fn shortened(networks: &[String]) -> String {
    let shown = networks.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(" ");
    match networks.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

const SHOWN: usize = 4;
