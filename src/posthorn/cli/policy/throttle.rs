//! `posthorn policy throttle`.

use anyhow::bail;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use posthorn_config::{
    LimitKind, LimitPer, LimitWindow, Loaded, PolicyLimit, PolicyPattern, PolicyVerdict, Size, Span,
};
use posthorn_mail::Mail;
use posthorn_policy::orders::Orders;
use serde::Serialize;
use serde_json::json;

use super::super::{Misuse, plain_line, removed};
use super::words::{doubt, hint, one_of, pattern, time};
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Throttles {
    /// List the limits, those of the configuration too
    List,
    /// Set a limit, in the place of the one of the same kind for the same people
    Set(Box<Set>),
    /// Take a limit back; the one of the configuration, or a less specific one, holds again
    Delete(Limit),
    /// List what was used, and by whom
    Usage {
        /// The most rows
        #[arg(long, value_name = "N", default_value_t = 200)]
        limit: u32,
    },
    /// Have somebody begin anew
    Reset {
        /// Whose counter, as `usage` names it [default: everybody's]
        subject: Option<String>,
        /// Only under the limits of this kind
        #[arg(long, value_parser = kind(), requires = "who")]
        kind: Option<LimitKind>,
        /// Only under the limit for these
        #[arg(long, value_name = "PATTERN", value_parser = pattern, requires = "kind")]
        who: Option<PolicyPattern>,
        /// Everybody, under all limits
        #[arg(long, conflicts_with_all = ["subject", "kind"])]
        all: bool,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Limit {
    /// Which mail
    #[arg(value_parser = kind())]
    kind: LimitKind,
    /// Whose: an address, a domain, .domain, a client address or network, or *
    #[arg(value_name = "PATTERN", value_parser = pattern)]
    who: PolicyPattern,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Set {
    #[command(flatten)]
    limit: Limit,
    /// The time that the numbers are about
    #[arg(long, value_name = "SPAN")]
    period: Span,
    /// Messages in the period; one to several recipients counts as many times; 0 is no limit
    #[arg(long, value_name = "N")]
    messages: Option<u64>,
    /// Octets in the period, such as 1GiB; 0 is no limit
    #[arg(long, value_name = "SIZE")]
    octets: Option<Size>,
    /// Recipients of one message; 0 is no limit
    #[arg(long, value_name = "N")]
    recipients: Option<u64>,
    /// Octets of one message; 0 is no limit
    #[arg(long, value_name = "SIZE")]
    size: Option<Size>,
    /// What is counted together
    #[arg(long, value_name = "UNIT", value_parser = one_of(LimitPer::ALL, LimitPer::name), default_value = "each")]
    per: LimitPer,
    /// How time passes
    #[arg(long, value_parser = one_of([LimitWindow::Fixed, LimitWindow::Leaky], LimitWindow::name), default_value = "fixed")]
    window: LimitWindow,
    /// What is done about mail beyond it
    #[arg(long, value_parser = one_of(VERDICTS, PolicyVerdict::name), default_value = "reject")]
    verdict: PolicyVerdict,
}

const VERDICTS: [PolicyVerdict; 6] = [
    PolicyVerdict::Off,
    PolicyVerdict::Warn,
    PolicyVerdict::Defer,
    PolicyVerdict::Reject,
    PolicyVerdict::Hold,
    PolicyVerdict::Discard,
];

fn kind() -> impl clap::builder::TypedValueParser<Value = LimitKind> {
    one_of(LimitKind::ALL, LimitKind::name)
}

/// A limit as programs read it.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    limit: PolicyLimit,
    /// `database`, or `configuration`.
    from: &'static str,
}

#[derive(Serialize)]
struct Used {
    limit: String,
    subject: String,
    messages: f64,
    octets: f64,
    started_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

pub(in crate::cli) async fn run(
    mail: &Mail,
    loaded: &Loaded,
    command: Throttles,
    output: &mut Output,
) -> anyhow::Result<()> {
    let orders = Orders::new(mail.clone());
    match command {
        Throttles::List => list(&orders, loaded, output).await,
        Throttles::Set(set) => {
            let limit = set.limit()?;
            orders.set_limit(&limit).await?;
            doubt(mail, &limit.who).await?;
            let text = format!("{} mail of {}: {}", limit.kind.name(), limit.who, numbers(&limit));
            output.answer(&Shown { limit, from: "database" }, || text)
        }
        Throttles::Delete(Limit { kind, who }) => delete(&orders, loaded, (kind, &who), output).await,
        Throttles::Usage { limit } => usage(&orders, limit, output).await,
        Throttles::Reset { subject, kind, who, all } => {
            if subject.is_none() && kind.is_none() && !all {
                return Err(Misuse("name who begins anew, or a limit by --kind and --who, or say --all".into()).into());
            }
            let limit = kind.zip(who.as_ref());
            let subject = subject.map(|subject| subject.to_lowercase());
            let count = orders.reset(limit, subject.as_deref()).await?;
            if let (0, Some(subject)) = (count, &subject) {
                let used = orders.used(10_000).await?;
                let hint = hint(subject, used.iter().map(|one| one.subject.as_str()));
                bail!("nothing is counted of {subject}{hint}; see posthorn policy throttle usage");
            }
            output.answer(&json!({ "reset": count }), || match count {
                1 => "1 counter begins anew".to_owned(),
                count => format!("{count} counters begin anew"),
            })
        }
    }
}

impl Set {
    fn limit(self) -> anyhow::Result<PolicyLimit> {
        if self.period == Span::ZERO {
            return Err(Misuse("a period of no time holds nothing; write one such as --period 1h".to_owned()).into());
        }
        let numbers = (self.messages, self.octets, self.recipients, self.size);
        if numbers == (None, None, None, None) {
            let message = "a limit needs a number: --messages, --octets, --recipients or --size";
            return Err(Misuse(message.to_owned()).into());
        }
        Ok(PolicyLimit {
            kind: self.limit.kind,
            who: self.limit.who,
            per: self.per,
            period: self.period,
            window: self.window,
            verdict: self.verdict,
            messages: self.messages,
            octets: self.octets,
            recipients: self.recipients,
            size: self.size,
        })
    }
}

async fn list(orders: &Orders, loaded: &Loaded, output: &mut Output) -> anyhow::Result<()> {
    let set = orders.limits().await?;
    let is_set = |one: &PolicyLimit| set.iter().any(|other| (other.kind, &other.who) == (one.kind, &one.who));
    let declared = loaded.config.policy.throttle.limit.iter().filter(|one| !is_set(one)).cloned();
    let declared = declared.map(|limit| Shown { limit, from: "configuration" }).collect::<Vec<_>>();
    let mut rows: Vec<_> = set.into_iter().map(|limit| Shown { limit, from: "database" }).chain(declared).collect();
    rows.sort_by_cached_key(|row| (row.limit.kind, row.limit.who.to_string()));
    output.rows(&rows, &["kind", "who", "limit", "per", "window", "beyond it", "from"], |row| {
        let limit = &row.limit;
        vec![
            limit.kind.name().to_owned(),
            limit.who.to_string(),
            numbers(limit),
            limit.per.name().to_owned(),
            limit.window.name().to_owned(),
            limit.verdict.name().to_owned(),
            row.from.to_owned(),
        ]
    })
}

/// Its numbers in words.
fn numbers(limit: &PolicyLimit) -> String {
    let number = |text: String, none: bool, what: &str| if none { format!("any number of {what}") } else { text };
    let period = limit.period;
    let mut said = Vec::new();
    if let Some(count) = limit.messages {
        said.push(number(format!("{count} messages in {period}"), count == 0, "messages"));
    }
    if let Some(octets) = limit.octets {
        said.push(number(format!("{octets} in {period}"), octets.octets() == 0, "octets"));
    }
    if let Some(count) = limit.recipients {
        said.push(number(format!("{count} recipients a message"), count == 0, "recipients a message"));
    }
    if let Some(size) = limit.size {
        said.push(number(format!("{size} a message"), size.octets() == 0, "octets a message"));
    }
    said.join(", ")
}

async fn delete(
    orders: &Orders,
    loaded: &Loaded,
    (kind, who): (LimitKind, &PolicyPattern),
    output: &mut Output,
) -> anyhow::Result<()> {
    if orders.unset_limit(kind, who).await? {
        return removed(output, "limit", &format!("{} {who}", kind.name()));
    }
    if loaded.config.policy.throttle.limit.iter().any(|one| one.kind == kind && one.who == *who) {
        bail!(
            "the {} limit for {who} is in the configuration ([[policy.throttle.limit]]); take it out there, or lift it: posthorn policy throttle set {} {who} --period 1h --messages 0",
            kind.name(),
            kind.name()
        );
    }
    let known: Vec<_> = orders.limits().await?.iter().map(|one| format!("{} {}", one.kind.name(), one.who)).collect();
    let hint = hint(&format!("{} {who}", kind.name()), known.iter().map(String::as_str));
    bail!("there is no {} limit for {who}{hint}; see posthorn policy throttle list", kind.name())
}

async fn usage(orders: &Orders, limit: u32, output: &mut Output) -> anyhow::Result<()> {
    let used = orders.used(limit).await?;
    let rows: Vec<_> = used
        .into_iter()
        .map(|one| Used {
            limit: one.rule,
            subject: one.subject,
            messages: one.messages,
            octets: one.octets,
            started_at: one.started_at,
            updated_at: one.updated_at,
        })
        .collect();
    output.rows(&rows, &["limit", "whose", "messages", "octets", "window began", "as of"], |row| {
        vec![
            row.limit.clone(),
            plain_line(&row.subject, 80),
            format!("{:.0}", row.messages),
            format!("{:.0}", row.octets),
            time(row.started_at),
            time(row.updated_at),
        ]
    })
}
