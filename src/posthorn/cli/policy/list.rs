//! `posthorn policy list`.

use anyhow::bail;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use posthorn_config::{Loaded, PolicyPattern};
use posthorn_mail::Mail;
use posthorn_policy::orders::{Entry, Orders};
use serde::Serialize;
use serde_json::json;

use super::super::{Misuse, plain_line};
use super::words::{doubt, hint, pattern, time};
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Lists {
    /// Who may write to our people
    #[command(subcommand)]
    In(Change),
    /// Whom our people may write to
    #[command(subcommand)]
    Out(Change),
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Change {
    /// Put somebody on a list
    Add(Add),
    /// Take somebody off the lists
    Remove {
        /// Whom
        #[arg(value_name = "PATTERN", value_parser = pattern, required_unless_present = "all")]
        peers: Vec<PolicyPattern>,
        #[command(flatten)]
        account: Account,
        /// Everybody who is on the lists of the account
        #[arg(long, conflicts_with = "peers")]
        all: bool,
    },
    /// List who is on the lists
    List {
        /// Only the lists of this address or domain, or * [default: all lists]
        #[arg(long = "for", value_name = "PATTERN", value_parser = pattern)]
        account: Option<PolicyPattern>,
        /// Only white lists
        #[arg(long, conflicts_with = "black")]
        white: bool,
        /// Only black lists
        #[arg(long)]
        black: bool,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Add {
    /// Whom: addresses, domains, .domain for those below it, user@*, <>; of those who write, client addresses, networks
    /// and ~names too
    #[arg(value_name = "PATTERN", value_parser = pattern, required = true)]
    peers: Vec<PolicyPattern>,
    #[command(flatten)]
    account: Account,
    /// They may: spared the checks for spam, which gives nobody the right to relay
    #[arg(long, required_unless_present = "black", conflicts_with = "black")]
    white: bool,
    /// They may not
    #[arg(long)]
    black: bool,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Account {
    /// Whose list: an address, a domain, or * for the whole server
    #[arg(long = "for", value_name = "PATTERN", value_parser = pattern, default_value = "*")]
    account: PolicyPattern,
}

/// An entry as programs read it.
#[derive(Serialize)]
struct Shown {
    direction: &'static str,
    account: String,
    peer: String,
    list: &'static str,
    note: String,
    /// Absent where the configuration says so.
    since: Option<DateTime<Utc>>,
}

pub(in crate::cli) async fn run(
    mail: &Mail,
    loaded: &Loaded,
    command: Lists,
    output: &mut Output,
) -> anyhow::Result<()> {
    let orders = Orders::new(mail.clone());
    let (outbound, change) = match command {
        Lists::In(change) => (false, change),
        Lists::Out(change) => (true, change),
    };
    match change {
        Change::Add(add) => put(mail, &orders, outbound, add, output).await,
        Change::Remove { peers, account, .. } => remove(&orders, outbound, &account.account, &peers, output).await,
        Change::List { account, white, black } => {
            let mut rows = rows(&orders, loaded, outbound).await?;
            let account = account.map(|account| account.to_string());
            rows.retain(|row| account.as_ref().is_none_or(|account| row.account == *account));
            rows.retain(|row| !(white && row.list == BLACK || black && row.list == WHITE));
            output.rows(&rows, &["for", "whom", "list", "since", "note"], |row| {
                vec![
                    row.account.clone(),
                    row.peer.clone(),
                    row.list.to_owned(),
                    row.since.map_or_else(|| "configured".to_owned(), time),
                    plain_line(&row.note, 70),
                ]
            })
        }
    }
}

async fn put(mail: &Mail, orders: &Orders, outbound: bool, add: Add, output: &mut Output) -> anyhow::Result<()> {
    let account = add.account.account;
    if !outbound && account.is_of_clients() {
        let message =
            format!("{account} is a client, and --for says whose list it is: write an address, a domain or *");
        return Err(Misuse(message).into());
    }
    if let Some(client) = add.peers.iter().find(|peer| outbound && peer.is_of_clients()) {
        return Err(Misuse(format!("{client} is a client, and mail goes to addresses and domains")).into());
    }
    let note = plain_line(&add.note, 200);
    for peer in &add.peers {
        orders.list(outbound, (&account, peer), add.black, &note).await?;
    }
    doubt(mail, &account).await?;
    let peers: Vec<_> = add.peers.iter().map(ToString::to_string).collect();
    let list = name(add.black);
    let shown =
        json!({ "direction": direction(outbound), "account": account.to_string(), "peers": peers, "list": list });
    output.answer(&shown, || {
        let whom = peers.join(", ");
        match (outbound, add.black) {
            (false, true) => format!("mail from {whom} to {account} is refused"),
            (false, false) => format!("mail from {whom} to {account} is spared the checks for spam"),
            (true, true) => format!("mail from {account} to {whom} is refused"),
            (true, false) => format!("mail from {account} to {whom} is sent whatever less specific lists say"),
        }
    })
}

async fn remove(
    orders: &Orders,
    outbound: bool,
    account: &PolicyPattern,
    peers: &[PolicyPattern],
    output: &mut Output,
) -> anyhow::Result<()> {
    let mut count = 0;
    if peers.is_empty() {
        count = orders.unlist(outbound, account, None).await?;
    }
    for peer in peers {
        let was = orders.unlist(outbound, account, Some(peer)).await?;
        if was == 0 {
            let all = orders.lists().await?;
            let text = account.to_string();
            let known = all.iter().filter(|one| one.outbound == outbound && one.account == text);
            let hint = hint(&peer.to_string(), known.map(|one| one.peer.as_str()));
            bail!("{peer} is on no list of {account}{hint}; see posthorn policy list {} list", direction(outbound));
        }
        count += was;
    }
    output.answer(&json!({ "removed": count }), || match count {
        0 => format!("nobody was on a list of {account}"),
        1 => format!("1 entry is off the lists of {account}"),
        count => format!("{count} entries are off the lists of {account}"),
    })
}

/// The entries of one direction, the configured ones last.
async fn rows(orders: &Orders, loaded: &Loaded, outbound: bool) -> anyhow::Result<Vec<Shown>> {
    let shown = |one: Entry| Shown {
        direction: direction(one.outbound),
        account: one.account,
        peer: one.peer,
        list: name(one.black),
        note: one.note,
        since: Some(one.added_at),
    };
    let all = orders.lists().await?.into_iter().filter(|one| one.outbound == outbound);
    let mut rows: Vec<_> = all.map(shown).collect();
    let section = &loaded.config.policy.access;
    for (peers, black) in [(&section.white, false), (&section.black, true)] {
        rows.extend(peers.iter().filter(|_| !outbound).map(|peer| Shown {
            direction: direction(false),
            account: "*".to_owned(),
            peer: peer.to_string(),
            list: name(black),
            note: String::new(),
            since: None,
        }));
    }
    Ok(rows)
}

const WHITE: &str = "white";
const BLACK: &str = "black";

fn name(black: bool) -> &'static str {
    if black { BLACK } else { WHITE }
}

fn direction(outbound: bool) -> &'static str {
    if outbound { "out" } else { "in" }
}
