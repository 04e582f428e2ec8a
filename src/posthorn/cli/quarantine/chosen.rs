//! Which held mail a command is about.

use anyhow::bail;
use chrono::{DateTime, Utc};
use posthorn_config::{HeldCategory, Span};
use posthorn_filter::quarantine::{Held, Quarantine, Wanted};

use crate::cli::Misuse;

/// Every condition that is given must hold.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Which mail")]
pub(in crate::cli) struct Conditions {
    /// For this address; @example.org is everybody there
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// From this reverse path; <> is the null path
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// What it is: clean, trouble, oversized, bad-header, spammy, spam, unchecked, banned or virus
    #[arg(long, value_name = "CATEGORY", value_parser = parse_category)]
    category: Option<HeldCategory>,
    /// Held longer ago than this, such as 2d
    #[arg(long, value_name = "SPAN")]
    older_than: Option<Span>,
    /// Held less long ago than this
    #[arg(long, value_name = "SPAN")]
    newer_than: Option<Span>,
}

impl Conditions {
    /// What is wanted at this moment.
    pub(super) fn wanted(&self, settled: bool, now: DateTime<Utc>) -> Wanted {
        let ago = |span: Span| now - span.duration();
        Wanted {
            recipient: self.to.clone(),
            sender: self.from.clone().map(|from| if from == "<>" { String::new() } else { from }),
            category: self.category.map(HeldCategory::code),
            since: self.newer_than.map(ago),
            before: self.older_than.map(ago),
            below: None,
            settled,
        }
    }

    fn is_empty(&self) -> bool {
        let Self { to, from, category, older_than, newer_than } = self;
        to.is_none() && from.is_none() && category.is_none() && older_than.is_none() && newer_than.is_none()
    }
}

/// What an order is about: ids, or conditions, or everything on purpose.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Chosen {
    /// As `posthorn quarantine list` names them
    ids: Vec<String>,
    /// For this address only; @example.org is everybody there
    #[arg(long, value_name = "ADDRESS")]
    to: Vec<String>,
    /// From this reverse path; <> is the null path
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// What it is: clean, trouble, oversized, bad-header, spammy, spam, unchecked, banned or virus
    #[arg(long, value_name = "CATEGORY", value_parser = parse_category)]
    category: Option<HeldCategory>,
    /// Held longer ago than this, such as 2d
    #[arg(long, value_name = "SPAN")]
    older_than: Option<Span>,
    /// Held less long ago than this
    #[arg(long, value_name = "SPAN")]
    newer_than: Option<Span>,
    /// All that is held, when nothing else is said
    #[arg(long)]
    all: bool,
    /// Only say what would be done
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// Messages that are read at once.
const PORTION: u32 = 500;

impl Chosen {
    /// The recipients it is about; empty for all for whom it is held.
    pub(super) fn named(&self) -> &[String] {
        &self.to
    }

    /// The messages, the newest first.
    pub(super) async fn find(&self, quarantine: &Quarantine, now: DateTime<Utc>) -> anyhow::Result<Vec<Held>> {
        let conditions = |to: Option<String>| Conditions {
            to,
            from: self.from.clone(),
            category: self.category,
            older_than: self.older_than,
            newer_than: self.newer_than,
        };
        let others = conditions(None);
        if !self.ids.is_empty() {
            if !others.is_empty() || self.all {
                return Err(Misuse("ids say already which mail; only --to may stand beside them".to_owned()).into());
            }
            let mut found = Vec::with_capacity(self.ids.len());
            for id in &self.ids {
                let Some(one) = quarantine.find(id).await? else {
                    bail!("nothing is held as {id}; see posthorn quarantine list");
                };
                found.push(one);
            }
            return Ok(found);
        }
        if others.is_empty() && self.to.is_empty() && !self.all {
            return Err(Misuse("say which mail: ids, conditions, or --all".to_owned()).into());
        }
        let to: Vec<Option<String>> =
            if self.to.is_empty() { vec![None] } else { self.to.iter().cloned().map(Some).collect() };
        let mut found: Vec<Held> = Vec::new();
        for to in to {
            let mut wanted = conditions(to).wanted(false, now);
            loop {
                let some = quarantine.list(&wanted, PORTION).await?;
                let is_last = some.len() < PORTION as usize;
                wanted.below = some.last().map(|last| last.row.message).or(wanted.below);
                for one in some {
                    if !found.iter().any(|other| other.row.message == one.row.message) {
                        found.push(one);
                    }
                }
                if is_last {
                    break;
                }
            }
        }
        Ok(found)
    }
}

fn parse_category(word: &str) -> Result<HeldCategory, String> {
    HeldCategory::named(word).ok_or_else(|| {
        let all: Vec<&str> = HeldCategory::ALL.into_iter().map(HeldCategory::name).collect();
        format!("known: {}", all.join(", "))
    })
}
