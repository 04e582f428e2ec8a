//! `posthorn suppression`.

use anyhow::bail;
use chrono::{DateTime, Utc};
use clap::Subcommand;
use posthorn_config::{Loaded, Span};
use posthorn_mail::suppress::Suppression;
use posthorn_model::{Address, Domain};
use serde::Serialize;

use super::{parse_domain, plain_line, removed};
use crate::database::with_mail;
use crate::output::{Output, tell};

#[derive(Debug, Subcommand)]
pub(super) enum Suppressions {
    /// List recipients that nothing is sent to
    List {
        /// Only those for senders of this domain
        #[arg(long, value_name = "DOMAIN", value_parser = parse_domain)]
        sender: Option<Domain>,
        /// The most rows
        #[arg(long, value_name = "N", default_value_t = 1000)]
        limit: u32,
        /// Go on behind this recipient
        #[arg(long, value_name = "ADDRESS", default_value = "")]
        after: String,
    },
    /// Send nothing more to a recipient
    Add {
        recipient: Address,
        /// Only mail from senders of this domain [default: all mail]
        #[arg(long, value_name = "DOMAIN", value_parser = parse_domain)]
        sender: Option<Domain>,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "added by an operator")]
        reason: String,
        /// For how long, such as 14d [default: for ever]
        #[arg(long = "for", value_name = "SPAN")]
        span: Option<Span>,
    },
    /// Send to a recipient again
    Remove {
        recipient: Address,
        /// Only mail from senders of this domain [default: whatever is on the list]
        #[arg(long, value_name = "DOMAIN", value_parser = parse_domain)]
        sender: Option<Domain>,
    },
}

/// An entry as programs read it.
#[derive(Debug, Serialize)]
struct Shown {
    recipient: String,
    /// Empty is all senders.
    sender_domain: String,
    class: i16,
    reason: String,
    message: Option<String>,
    added_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
}

impl From<Suppression> for Shown {
    fn from(entry: Suppression) -> Self {
        Self {
            recipient: entry.recipient,
            sender_domain: entry.sender_domain,
            class: entry.class,
            reason: entry.reason,
            message: entry.message.map(|id| id.to_string()),
            added_at: entry.added_at,
            expires_at: entry.expires_at,
        }
    }
}

pub(super) async fn run(loaded: &Loaded, command: Suppressions, output: &mut Output) -> anyhow::Result<()> {
    with_mail(loaded, async |mail| match command {
        Suppressions::List { sender, limit, after } => {
            let sender = sender.as_ref().map(Domain::as_str);
            let found = mail.suppressions(sender, &after, limit).await?;
            let rows: Vec<_> = found.into_iter().map(Shown::from).collect();
            list(&rows, limit, output)
        }
        Suppressions::Add { recipient, sender, reason, span } => {
            let expires_at = span.map(|span| mail.now() + span.duration());
            let reason = plain_line(&reason, 200);
            mail.suppress(sender.as_ref().map(Domain::as_str), &recipient, &reason, expires_at).await?;
            let shown = serde_json::json!({ "suppressed": recipient.to_string(), "until": expires_at });
            output.answer(&shown, || format!("nothing more is sent to {recipient}"))
        }
        Suppressions::Remove { recipient, sender } => {
            if mail.forgive(sender.as_ref().map(Domain::as_str), &recipient.to_string()).await? == 0 {
                bail!("{recipient} is not on the list");
            }
            removed(output, "suppression of", &recipient)
        }
    })
    .await
}

fn list(rows: &[Shown], limit: u32, output: &mut Output) -> anyhow::Result<()> {
    let day = |at: DateTime<Utc>| at.format("%Y-%m-%d").to_string();
    output.rows(rows, &["recipient", "for senders of", "class", "since", "until", "reason"], |row| {
        let senders = if row.sender_domain.is_empty() { "all" } else { &row.sender_domain };
        vec![
            plain_line(&row.recipient, 100),
            plain_line(senders, 100),
            row.class.to_string(),
            day(row.added_at),
            row.expires_at.map_or_else(|| "for ever".to_owned(), day),
            plain_line(&row.reason, 70),
        ]
    })?;
    if let Some(last) = rows.last().filter(|_| !output.is_json() && rows.len() >= limit as usize) {
        tell(&format!("there may be more: --after {}", plain_line(&last.recipient, 400)));
    }
    Ok(())
}
