//! `posthorn quarantine`: mail that is held.

mod chosen;

use std::sync::Arc;

use anyhow::bail;
use clap::Subcommand;
use posthorn_config::Loaded;
use posthorn_filter::quarantine::{Again, Held, Quarantine, Release, Released, Status, Wanted};
use posthorn_filter::recipient::orders::Orders;
use posthorn_filter::{Category, Filter, Settings};
use posthorn_mail::Mail;
use posthorn_net::egress::TlsClient;
use serde::Serialize;

use self::chosen::{Chosen, Conditions};
use crate::circumstances::Circumstances;
use crate::database::with_mail;
use crate::output::Output;
use crate::resolver::Asking;

/// Who orders, where nobody says otherwise.
const BY: &str = "administrator";
/// What a sender on a white list scores.
const WANTED: f64 = -100.0;

#[derive(Debug, Subcommand)]
pub(super) enum Quarantines {
    /// List what is held, the newest first
    List {
        #[command(flatten)]
        conditions: Conditions,
        /// Also what was released or deleted for everybody
        #[arg(long)]
        all: bool,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Show a held message, and why it is held
    Show {
        id: String,
        /// The message itself, below the fields that say for whom it is held
        #[arg(long)]
        message: bool,
    },
    /// Deliver held mail to those for whom it is held, without judging it again
    Release(Chosen),
    /// Judge held mail anew, and deliver what passes today
    Requeue(Chosen),
    /// Delete held mail
    Delete(Chosen),
    /// Release held mail, and want mail of its senders from now on
    Whitelist(Chosen),
}

/// As programs read it.
#[derive(Serialize)]
struct Shown {
    id: String,
    at: String,
    category: &'static str,
    score: f64,
    why: String,
    sender: String,
    author: String,
    subject: String,
    message_id: Option<String>,
    client: Option<String>,
    helo: Option<String>,
    size: i64,
    recipients: Vec<For>,
}

#[derive(Serialize)]
struct For {
    recipient: String,
    status: &'static str,
    by: Option<String>,
}

impl From<Held> for Shown {
    fn from(held: Held) -> Self {
        let Held { row, recipients } = held;
        let recipients = recipients.into_iter().map(|one| For {
            recipient: one.recipient,
            status: match one.status {
                Status::Held => "held",
                Status::Released => "released",
                Status::Deleted => "deleted",
            },
            by: one.changed_by,
        });
        Self {
            id: row.mail_id,
            at: row.at.to_rfc3339(),
            category: Category::of_code(row.category).unwrap_or_default().name(),
            score: row.score,
            why: row.why,
            sender: if row.sender.is_empty() { "<>".to_owned() } else { row.sender },
            author: row.author,
            subject: row.subject,
            message_id: row.header_id,
            client: row.client,
            helo: row.helo,
            size: row.size,
            recipients: recipients.collect(),
        }
    }
}

/// What an order came to for one recipient.
#[derive(Serialize)]
struct Outcome {
    id: String,
    recipient: String,
    outcome: String,
}

impl Outcome {
    fn new(held: &Held, recipient: &str, outcome: impl Into<String>) -> Self {
        Self { id: held.row.mail_id.clone(), recipient: recipient.to_owned(), outcome: outcome.into() }
    }
}

/// What is done with each message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verb {
    Release,
    Requeue,
    Delete,
    Whitelist,
}

pub(super) async fn run(loaded: &Loaded, command: Quarantines, output: &mut Output) -> anyhow::Result<()> {
    let config = &loaded.config;
    with_mail(loaded, async |mail| {
        let held = Quarantine::new(mail.clone(), config.server.hostname.to_string(), config.quarantine.clone());
        let (verb, chosen) = match command {
            Quarantines::List { conditions, all, limit } => {
                return list(&held, &conditions.wanted(all, mail.now()), limit, output).await;
            }
            Quarantines::Show { id, message } => return show(&held, &id, message, output).await,
            Quarantines::Release(chosen) => (Verb::Release, chosen),
            Quarantines::Requeue(chosen) => (Verb::Requeue, chosen),
            Quarantines::Delete(chosen) => (Verb::Delete, chosen),
            Quarantines::Whitelist(chosen) => (Verb::Whitelist, chosen),
        };
        let found = chosen.find(&held, mail.now()).await?;
        let filter = match verb {
            Verb::Requeue if !found.is_empty() => Some(engine(mail, loaded).await?),
            _ => None,
        };
        let mut outcomes = Vec::new();
        for one in &found {
            outcomes.extend(carry_out((mail, loaded), (&held, filter.as_ref()), verb, one, &chosen).await?);
        }
        if outcomes.is_empty() {
            bail!("nothing is held like that");
        }
        output.rows(&outcomes, &["id", "recipient", "outcome"], |row| {
            vec![row.id.clone(), row.recipient.clone(), row.outcome.clone()]
        })
    })
    .await
}

/// The engine of this configuration, scanners and all.
async fn engine(mail: &Mail, loaded: &Loaded) -> anyhow::Result<Filter> {
    let config = &loaded.config;
    if !config.filter.enable {
        bail!("filter.enable is false: nothing judges mail here; see posthorn quarantine release");
    }
    let ground = Circumstances::default().ground(config)?;
    let tls = TlsClient::new(ground.roots.clone())?;
    let scanners = posthorn_scan::scanners(&config.scanner, &config.server.hostname, &tls);
    let resolver = Arc::new(Asking::new(ground.dns));
    Ok(Filter::open(mail.clone(), Settings::of(config), resolver, scanners).await?)
}

/// One message, for those of the chosen for whom it is held.
async fn carry_out(
    (mail, loaded): (&Mail, &Loaded),
    (held, filter): (&Quarantine, Option<&Filter>),
    verb: Verb,
    one: &Held,
    chosen: &Chosen,
) -> anyhow::Result<Vec<Outcome>> {
    let (to, dry) = (chosen.named(), chosen.dry_run);
    let each = |text: &str| one.waiting(to).iter().map(|row| Outcome::new(one, &row.recipient, text)).collect();
    Ok(match (verb, filter) {
        (Verb::Requeue, Some(filter)) => {
            let again = filter.requeue(one, to, BY, dry).await?;
            let text = |outcome: &Again| match outcome {
                Again::Delivered if dry => "would be delivered".to_owned(),
                Again::Delivered => "delivered".to_owned(),
                Again::Refused(refusal) => format!("still held: {refusal}"),
                Again::Held(why) => format!("still held: {why}"),
            };
            again.iter().map(|row| Outcome::new(one, &row.recipient, text(&row.outcome))).collect()
        }
        (Verb::Delete, _) if dry => each("would be deleted"),
        (_, _) if dry => each("would be released"),
        (Verb::Delete, _) => {
            let outcomes = each("deleted");
            if held.delete(one, to, BY).await? == 0 { Vec::new() } else { outcomes }
        }
        _ => {
            if verb == Verb::Whitelist {
                want(mail, loaded, one, to).await?;
            }
            let order = Release { recipients: to.to_vec(), sender: None, by: BY.to_owned() };
            let done = held.release(one, &order).await?.into_iter();
            let outcome = |Released { recipient, outcome }: Released| {
                let text = outcome.map_or_else(|refusal| format!("still held: {refusal}"), |()| "released".to_owned());
                Outcome::new(one, &recipient, text)
            };
            done.map(outcome).collect()
        }
    })
}

async fn list(held: &Quarantine, wanted: &Wanted, limit: u32, output: &mut Output) -> anyhow::Result<()> {
    let rows: Vec<Shown> = held.list(wanted, limit).await?.into_iter().map(Shown::from).collect();
    let all = if rows.len() as u64 == u64::from(limit) { held.count(wanted).await? } else { rows.len() as u64 };
    output.rows(&rows, &["id", "held at", "what", "from", "to", "subject"], |row| {
        let to: Vec<&str> = row.recipients.iter().map(|one| one.recipient.as_str()).collect();
        let what = format!("{} ({})", row.category, row.why);
        vec![row.id.clone(), row.at.clone(), what, row.sender.clone(), to.join(" "), row.subject.clone()]
    })?;
    if all > rows.len() as u64 {
        crate::output::tell(&format!("{all} messages are held like that; more with --limit"));
    }
    Ok(())
}

async fn find(held: &Quarantine, id: &str) -> anyhow::Result<Held> {
    match held.find(id).await? {
        Some(one) => Ok(one),
        None => bail!("nothing is held as {id}; see posthorn quarantine list"),
    }
}

async fn show(held: &Quarantine, id: &str, message: bool, output: &mut Output) -> anyhow::Result<()> {
    let one = find(held, id).await?;
    if message {
        let Some(octets) = held.copy(&one).await? else { bail!("the message is gone") };
        return output.text(&String::from_utf8_lossy(&octets));
    }
    let shown = Shown::from(one);
    let for_whom: Vec<String> =
        shown.recipients.iter().map(|one| format!("{} ({})", one.recipient, one.status)).collect();
    let properties = [
        ("id", shown.id.clone()),
        ("held at", shown.at.clone()),
        ("what", shown.category.to_owned()),
        ("why", shown.why.clone()),
        ("score", shown.score.to_string()),
        ("from", shown.sender.clone()),
        ("author", shown.author.clone()),
        ("subject", shown.subject.clone()),
        ("client", shown.client.clone().unwrap_or_default()),
        ("helo", shown.helo.clone().unwrap_or_default()),
        ("size", shown.size.to_string()),
        ("for", for_whom.join(", ")),
    ];
    output.properties(&shown, &properties)
}

/// Those for whom it is held want mail of its sender.
async fn want(mail: &Mail, loaded: &Loaded, one: &Held, to: &[String]) -> anyhow::Result<()> {
    let sender = if one.row.sender.is_empty() { &one.row.author } else { &one.row.sender };
    if sender.is_empty() {
        bail!("nobody is named as the sender of {}", one.row.mail_id);
    }
    let orders = Orders::new(mail, &loaded.config.filter);
    for recipient in one.waiting(to) {
        let note = format!("from the quarantine: {}", one.row.mail_id);
        orders.list_sender(&recipient.recipient, sender, WANTED, &note).await??;
    }
    Ok(())
}
