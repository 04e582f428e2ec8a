//! `posthorn dkim`.

use anyhow::bail;
use chrono::{DateTime, Utc};
use clap::Subcommand;
use posthorn_config::{Loaded, Span};
use posthorn_mail::dkim::KeyView;
use posthorn_model::Domain;
use posthorn_trust::KeyType;
use serde::Serialize;

use super::{parse_domain, refused, removed};
use crate::database::with_mail;
use crate::output::{Output, tell};

/// What a domain gets unless somebody says otherwise: every receiver understands the first, the second is short.
const KINDS: [KeyType; 2] = [KeyType::Rsa, KeyType::Ed25519];

#[derive(Debug, Subcommand)]
pub(super) enum Dkims {
    /// Make keys for a domain and print what to publish
    Create {
        #[arg(value_parser = parse_domain)]
        domain: Domain,
        /// rsa or ed25519 [default: one of each]
        #[arg(long, value_name = "KIND", value_parser = parse_kind)]
        algorithm: Vec<KeyType>,
        /// The name below _domainkey [default: the algorithm and the day]
        #[arg(long, value_name = "NAME")]
        selector: Option<String>,
        /// How long the record is published before the key signs
        #[arg(long = "in", value_name = "SPAN", default_value = "0 s")]
        wait: Span,
    },
    /// List keys
    List {
        /// Only those of this domain
        #[arg(long, value_parser = parse_domain)]
        domain: Option<Domain>,
    },
    /// Put fresh keys in the place of those that sign, and print what to publish
    Rotate {
        #[arg(value_parser = parse_domain)]
        domain: Domain,
        /// How long the new records are published before the new keys sign
        #[arg(long = "in", value_name = "SPAN", default_value = "1 d")]
        wait: Span,
    },
    /// Print the records that must be in the DNS, as lines of a zone file
    Dns {
        /// Only those of this domain
        #[arg(value_parser = parse_domain)]
        domain: Option<Domain>,
    },
    /// Remove a key for good
    Remove {
        #[arg(value_parser = parse_domain)]
        domain: Domain,
        selector: String,
    },
}

/// A key as programs read it.
#[derive(Debug, Serialize)]
struct Shown {
    domain: String,
    selector: String,
    algorithm: &'static str,
    state: &'static str,
    overdue: bool,
    created_at: Option<DateTime<Utc>>,
    active_at: Option<DateTime<Utc>>,
    retired_at: Option<DateTime<Utc>>,
    record_name: String,
    record: String,
    /// The record as a line of a zone file.
    zone_line: String,
}

impl From<&KeyView> for Shown {
    fn from(key: &KeyView) -> Self {
        Self {
            domain: key.domain.clone(),
            selector: key.selector.clone(),
            algorithm: key.kind.as_str(),
            state: key.state.word(),
            overdue: key.overdue,
            created_at: key.created_at,
            active_at: key.active_at,
            retired_at: key.retired_at,
            record_name: key.record_name(),
            record: key.record.clone(),
            zone_line: key.zone_line(),
        }
    }
}

pub(super) async fn run(loaded: &Loaded, command: Dkims, output: &mut Output) -> anyhow::Result<()> {
    with_mail(loaded, async |mail| match command {
        Dkims::Create { domain, algorithm, selector, wait } => {
            let kinds = if algorithm.is_empty() { KINDS.to_vec() } else { algorithm };
            let at = mail.now() + wait.duration();
            let made = refused(mail.create_dkim_keys(&domain, &kinds, selector.as_deref(), at).await?)?;
            publish(&made, output)
        }
        Dkims::List { domain } => list(&mail.dkim_keys(domain.as_ref()).await?, output),
        Dkims::Rotate { domain, wait } => {
            let at = mail.now() + wait.duration();
            let keys = refused(mail.rotate_dkim_keys(&domain, at).await?)?;
            publish(&keys, output)
        }
        Dkims::Dns { domain } => {
            let mut keys = mail.dkim_keys(domain.as_ref()).await?;
            keys.retain(|key| key.state.is_published());
            if keys.is_empty() && !output.is_json() {
                bail!("there is nothing to publish; posthorn dkim create DOMAIN makes keys");
            }
            publish(&keys, output)
        }
        Dkims::Remove { domain, selector } => {
            refused(mail.remove_dkim_key(&domain, &selector).await?)?;
            removed(output, "DKIM key", &format!("{selector}._domainkey.{domain}"))
        }
    })
    .await
}

fn list(keys: &[KeyView], output: &mut Output) -> anyhow::Result<()> {
    let day = |at: Option<DateTime<Utc>>| at.map(|at| at.format("%Y-%m-%d %H:%M").to_string()).unwrap_or_default();
    let rows: Vec<_> = keys.iter().map(Shown::from).collect();
    output.rows(&rows, &["domain", "selector", "algorithm", "state", "signs from", "until"], |row| {
        let state = if row.overdue { format!("{}, to be rotated", row.state) } else { row.state.to_owned() };
        vec![
            row.domain.clone(),
            row.selector.clone(),
            row.algorithm.to_owned(),
            state,
            day(row.active_at),
            day(row.retired_at),
        ]
    })
}

/// Zone lines on standard output, so that they can go into a file; what they mean beside it.
fn publish(keys: &[KeyView], output: &mut Output) -> anyhow::Result<()> {
    let rows: Vec<_> = keys.iter().map(Shown::from).collect();
    output.answer(&rows, || rows.iter().map(|row| row.zone_line.as_str()).collect::<Vec<_>>().join("\n"))?;
    if !output.is_json() {
        for row in rows.iter().filter(|row| row.state == "published") {
            let from = row.active_at.map(|at| at.format("%Y-%m-%d %H:%M UTC").to_string()).unwrap_or_default();
            tell(&format!("{} signs from {from}", row.record_name));
        }
    }
    Ok(())
}

fn parse_kind(text: &str) -> Result<KeyType, String> {
    KeyType::parse(text).ok_or_else(|| "known: rsa, ed25519".to_owned())
}
