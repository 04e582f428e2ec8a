//! `posthorn filter senders`.

use anyhow::bail;
use clap::Subcommand;
use posthorn_config::Loaded;
use posthorn_filter::recipient::orders::Orders;
use posthorn_mail::Mail;
use serde::Serialize;

use super::super::removed;
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Senders {
    /// List the senders whom somebody wants, or does not
    List,
    /// Say what a sender's mail scores for an address, a @domain, a @.domain with all below it, or @. for everybody
    Set {
        who: String,
        /// An address, @domain or @.domain
        sender: String,
        /// -100 and less is always wanted, 100 and more never
        #[arg(allow_negative_numbers = true)]
        score: f64,
        /// Why
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Forget what was said of a sender
    Unset { who: String, sender: String },
}

/// As programs read it.
#[derive(Serialize)]
struct Said {
    who: String,
    sender: String,
    score: f64,
    note: String,
}

pub(in crate::cli) async fn run(
    mail: &Mail,
    loaded: &Loaded,
    command: Senders,
    output: &mut Output,
) -> anyhow::Result<()> {
    let orders = Orders::new(mail, &loaded.config.filter);
    match command {
        Senders::List => {
            let rows = orders.senders().await?.into_iter();
            let rows: Vec<Said> =
                rows.map(|row| Said { who: row.who, sender: row.sender, score: row.score, note: row.note }).collect();
            output.rows(&rows, &["who", "sender", "score", "note"], |row| {
                vec![row.who.clone(), row.sender.clone(), row.score.to_string(), row.note.clone()]
            })
        }
        Senders::Set { who, sender, score, note } => {
            if !score.is_finite() {
                bail!("{score} is no score");
            }
            orders.list_sender(&who, &sender, score, &note).await??;
            output.answer(&serde_json::json!({ "who": who, "sender": sender, "score": score }), || {
                format!("mail of {sender} scores {score} for {who}")
            })
        }
        Senders::Unset { who, sender } => {
            if !orders.unlist_sender(&who, &sender).await? {
                bail!("nothing is said of {sender} for {who}; see posthorn filter senders list");
            }
            removed(output, "sender", &sender)
        }
    }
}
