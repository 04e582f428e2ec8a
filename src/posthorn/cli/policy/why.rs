//! `posthorn policy why` and `posthorn policy banned`.

use std::net::IpAddr;

use anyhow::bail;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use posthorn_config::{Loaded, Span};
use posthorn_mail::Mail;
use posthorn_policy::telling::{self, Banned, DecisionRow, Wanted};
use serde::Serialize;

use super::super::{plain_line, removed};
use super::words::{hint, time, until};
use crate::output::{Output, tell};

#[derive(Debug, Args)]
pub(in crate::cli) struct Why {
    /// Only what is from this sender; <> is the null sender
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// Only what is for this recipient
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// Only what a client at this address said
    #[arg(long, value_name = "ADDRESS")]
    client: Option<IpAddr>,
    /// Only what this login said
    #[arg(long, value_name = "ADDRESS")]
    login: Option<String>,
    /// Only what is younger
    #[arg(long, value_name = "SPAN")]
    newer_than: Option<Span>,
    /// The most rows
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Bans {
    /// List clients that are refused for a while
    List {
        /// The most rows
        #[arg(long, value_name = "N", default_value_t = 1000)]
        limit: u32,
    },
    /// Let a client try again
    Forgive {
        /// As `list` names it
        client: String,
    },
}

/// A decision as programs read it.
#[derive(Serialize)]
struct Shown {
    at: DateTime<Utc>,
    stage: String,
    client: String,
    client_name: Option<String>,
    helo: Option<String>,
    sender: Option<String>,
    recipients: Vec<String>,
    login: Option<String>,
    tls: Option<String>,
    instance: String,
    action: String,
    rule: String,
    why: String,
}

impl From<DecisionRow> for Shown {
    fn from(row: DecisionRow) -> Self {
        Self {
            at: row.at,
            stage: row.stage,
            client: row.client,
            client_name: row.client_name,
            helo: row.helo,
            sender: row.sender,
            recipients: row.recipients,
            login: row.login,
            tls: row.tls,
            instance: row.instance,
            action: row.action,
            rule: row.rule,
            why: row.why,
        }
    }
}

pub(in crate::cli) async fn run(mail: &Mail, loaded: &Loaded, args: Why, output: &mut Output) -> anyhow::Result<()> {
    let wanted = Wanted {
        sender: args.from.map(|from| if from == "<>" { String::new() } else { from }),
        recipient: args.to,
        client: args.client.map(|client| client.to_canonical().to_string()),
        login: args.login,
        since: args.newer_than.map(|span| mail.now() - span.duration()),
    };
    let rows: Vec<_> = telling::why(mail, &wanted, args.limit).await?.into_iter().map(Shown::from).collect();
    output.rows(&rows, &["when", "stage", "client", "sender", "recipients", "action", "rule", "why"], |row| {
        let sender = match row.sender.as_deref() {
            None => "",
            Some("") => "<>",
            Some(sender) => sender,
        };
        vec![
            time(row.at),
            row.stage.clone(),
            row.client.clone(),
            plain_line(sender, 80),
            plain_line(&row.recipients.join(" "), 120),
            plain_line(&row.action, 120),
            row.rule.clone(),
            plain_line(&row.why, 200),
        ]
    })?;
    if rows.is_empty() && !output.is_json() {
        let kept = loaded.config.policy.decisions.lasts;
        tell(&format!(
            "nothing is known of this; decisions are kept for {kept}, and posthorn policy explain tells what would be decided now"
        ));
    }
    Ok(())
}

/// A client as programs read it.
#[derive(Serialize)]
struct Refused {
    client: String,
    reason: String,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
}

impl From<Banned> for Refused {
    fn from(one: Banned) -> Self {
        Self { client: one.network, reason: one.reason, since: one.since, until: one.until }
    }
}

pub(in crate::cli) async fn bans(mail: &Mail, command: Bans, output: &mut Output) -> anyhow::Result<()> {
    match command {
        Bans::List { limit } => {
            let rows: Vec<_> = telling::banned(mail, limit).await?.into_iter().map(Refused::from).collect();
            let now = mail.now();
            output.rows(&rows, &["client", "since", "ends", "reason"], |row| {
                vec![row.client.clone(), time(row.since), until(now, row.until), plain_line(&row.reason, 120)]
            })
        }
        Bans::Forgive { client } => {
            if !telling::forgive(mail, &client).await? {
                let all = telling::banned(mail, 10_000).await?;
                let hint = hint(&client, all.iter().map(|one| one.network.as_str()));
                bail!("{client} is not refused for what it did{hint}; see posthorn policy banned list");
            }
            removed(output, "ban of", &client)
        }
    }
}
