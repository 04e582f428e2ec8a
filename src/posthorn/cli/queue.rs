//! `posthorn queue`.

mod filter;
mod shown;
mod sites;

use anyhow::Context;
use chrono::{DateTime, Utc};
use clap::Subcommand;
use posthorn_config::{Bindings, Loaded, Routes, Span};
use posthorn_courier::{SuspendedSite, suspended_sites};
use posthorn_mail::Mail;
use posthorn_mail::queue::{Affected, Entry, Order, Selection, Suspended};
use posthorn_model::{DeliveryId, Domain, QueueId};
use posthorn_store::queue::{Delivery, Outgoing};
use serde::Serialize;
use serde_json::json;

use self::filter::{Chosen, Conditions};
use self::shown::{Shown, sender, size, time};
use super::{Misuse, parse_domain, plain_line};
use crate::database::with_mail;
use crate::output::{Output, table, tell};

/// Deliveries that an order shows of what it did.
const SAMPLE: u32 = 10;

#[derive(Debug, Subcommand)]
pub(super) enum Queues {
    #[command(flatten)]
    View(View),
    #[command(flatten)]
    Change(Change),
}

/// Commands that change no delivery.
#[derive(Debug, Subcommand)]
pub(super) enum View {
    /// List deliveries, oldest first
    List(List),
    /// Show one envelope with all its recipients
    Show { id: QueueId },
    /// Send nothing more to a domain, or from a binding, for a while
    Suspend {
        #[command(flatten)]
        what: Target,
        /// How long, such as 2h [default: until it is resumed]
        #[arg(long = "for", value_name = "SPAN")]
        span: Option<Span>,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "suspended by an operator")]
        note: String,
    },
    /// Send again to a domain, or from a binding
    Resume(Target),
    /// List what is suspended
    Suspensions,
    /// List the receivers that running servers know: connections, what waits, whether they can be reached
    Sites,
    /// List what replies of receivers changed about delivery
    Adapted,
    /// Say what a reply or a bounce means, and which rule says so
    Classify { text: String },
}

/// Orders about deliveries.
#[derive(Debug, Subcommand)]
pub(super) enum Change {
    /// Try now what waits for later
    Retry(Chosen),
    /// Try deliveries not before they are released
    Hold {
        #[command(flatten)]
        chosen: Chosen,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "held by an operator")]
        note: String,
    },
    /// Let held deliveries go
    Release(Chosen),
    /// Give deliveries up and tell their senders
    Fail {
        #[command(flatten)]
        chosen: Chosen,
        /// What the senders are told
        #[arg(long, value_name = "TEXT", default_value = "given up by the postmaster")]
        reason: String,
    },
    /// Send deliveries another way, or from another binding
    Reroute(Reroute),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    conditions: Conditions,
    /// The most rows
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    /// Go on behind this delivery
    #[arg(long, value_name = "DELIVERY")]
    after: Option<DeliveryId>,
    /// Only say how many there are
    #[arg(long, conflicts_with_all = ["limit", "after"])]
    count: bool,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("way").required(true).multiple(true))]
pub(super) struct Reroute {
    #[command(flatten)]
    chosen: Chosen,
    /// The name of a route, or a next hop such as mx, smtp://host:25 or lmtp:/socket
    #[arg(long, value_name = "ROUTE", group = "way")]
    to: Option<String>,
    /// The binding to send from
    #[arg(long, value_name = "NAME", group = "way")]
    through: Option<String>,
    /// As the configuration says
    #[arg(long, group = "way", conflicts_with_all = ["to", "through"])]
    as_configured: bool,
}

/// A domain or a binding.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Target {
    /// Mail to this domain
    #[arg(long, value_name = "DOMAIN", value_parser = parse_domain, group = "target")]
    domain: Option<Domain>,
    /// Mail from this binding
    #[arg(long, value_name = "NAME", group = "target")]
    binding: Option<String>,
}

impl Target {
    /// What is meant, in the words of the duty.
    fn suspended(self) -> anyhow::Result<Suspended> {
        match (self.domain, self.binding) {
            (Some(domain), _) => Ok(Suspended::Domain(domain.as_str().to_owned())),
            (None, Some(binding)) => Ok(Suspended::Binding(binding)),
            // The command line is not understood otherwise.
            (None, None) => Err(Misuse("name a domain or a binding".to_owned()).into()),
        }
    }
}

pub(super) async fn run(loaded: &Loaded, command: Queues, output: &mut Output) -> anyhow::Result<()> {
    match command {
        Queues::Change(change) => {
            let (chosen, orders) = change.orders(loaded)?;
            with_mail(loaded, async |mail| obey(mail, loaded, (chosen, &orders), output).await).await
        }
        Queues::View(view) => with_mail(loaded, async |mail| look(mail, loaded, view, output).await).await,
    }
}

async fn look(mail: &Mail, loaded: &Loaded, view: View, output: &mut Output) -> anyhow::Result<()> {
    match view {
        View::List(list) => show_list(mail, loaded, list, output).await,
        View::Show { id } => show(mail, id, output).await,
        View::Suspend { what, span, note } => {
            if let Some(binding) = &what.binding {
                known_binding(loaded, binding)?;
            }
            suspend(mail, &what.suspended()?, span, &note, output).await
        }
        View::Resume(what) => resume(mail, &what.suspended()?, output).await,
        View::Suspensions => suspensions(mail, output).await,
        View::Sites => sites::sites(mail, output).await,
        View::Adapted => sites::values_adapted(mail, output).await,
        View::Classify { text } => classify(mail, &text, output),
    }
}

impl Change {
    /// What is chosen, and what to do with it one after the other.
    fn orders(self, loaded: &Loaded) -> anyhow::Result<(Chosen, Vec<Order>)> {
        let (chosen, order) = match self {
            Self::Retry(chosen) => (chosen, Order::Retry),
            Self::Release(chosen) => (chosen, Order::Release),
            Self::Hold { chosen, note } => (chosen, Order::Hold { note: plain_line(&note, 200) }),
            Self::Fail { chosen, reason } => (chosen, Order::Fail { reason: plain_line(&reason, 200) }),
            Self::Reroute(reroute) => return reroute.orders(loaded),
        };
        Ok((chosen, vec![order]))
    }
}

async fn suspend(
    mail: &Mail,
    what: &Suspended,
    span: Option<Span>,
    note: &str,
    output: &mut Output,
) -> anyhow::Result<()> {
    mail.queue().suspend(what, span.map(Span::duration), note).await?;
    let until = span.map(|span| mail.now() + span.duration());
    let shown = json!({ "suspended": what.scope(), "until": until });
    output.answer(&shown, || match until {
        Some(until) => format!("mail of {} waits until {}", what.scope(), time(until)),
        None => format!("mail of {} waits until it is resumed", what.scope()),
    })
}

async fn resume(mail: &Mail, what: &Suspended, output: &mut Output) -> anyhow::Result<()> {
    let was = mail.queue().resume(what, "operator").await?;
    output.answer(&json!({ "resumed": what.scope(), "was_suspended": was }), || match was {
        true => format!("mail of {} is sent again", what.scope()),
        false => format!("mail of {} was not suspended by anybody", what.scope()),
    })
}

fn classify(mail: &Mail, text: &str, output: &mut Output) -> anyhow::Result<()> {
    let (verdict, enhanced) = mail.queue().classify(text);
    let (class, enhanced) = (verdict.class, enhanced.map(|code| code.to_string()));
    let shown = json!({
        "class": class.number(),
        "name": class.name(),
        "category": class.category().as_str(),
        "rule": verdict.rule,
        "enhanced": enhanced,
    });
    let mut properties = vec![
        ("class", class.to_string()),
        ("category", class.category().to_string()),
        ("rule", verdict.rule.to_owned()),
    ];
    properties.extend(enhanced.map(|code| ("enhanced code", code)));
    output.properties(&shown, &properties)
}

impl Reroute {
    fn orders(self, loaded: &Loaded) -> anyhow::Result<(Chosen, Vec<Order>)> {
        if self.as_configured {
            return Ok((self.chosen, vec![Order::Reroute { route: None }, Order::Bind { binding: None }]));
        }
        // The binding comes last: a condition on it must find the same deliveries for both.
        let mut orders = Vec::new();
        if let Some(route) = self.to {
            if Routes::new(&loaded.config.route).named(&route).is_none() {
                let message =
                    format!("\"{route}\" is neither the name of a route nor a next hop such as smtp://host:25");
                return Err(Misuse(message).into());
            }
            orders.push(Order::Reroute { route: Some(route) });
        }
        if let Some(binding) = self.through {
            known_binding(loaded, &binding)?;
            orders.push(Order::Bind { binding: Some(binding) });
        }
        Ok((self.chosen, orders))
    }
}

fn known_binding(loaded: &Loaded, name: &str) -> anyhow::Result<()> {
    if Bindings::new(&loaded.config.binding).named(name).is_some() {
        return Ok(());
    }
    Err(Misuse(format!("there is no binding \"{name}\"")).into())
}

/// Refuses the binding of a condition that selected nothing when there is no such binding. Where it did, mail stands in
/// the queue that left from it before it was removed.
fn perhaps_misspelt(loaded: &Loaded, selection: &Selection) -> anyhow::Result<()> {
    selection.filter.binding.as_deref().map_or(Ok(()), |binding| known_binding(loaded, binding))
}

async fn show_list(mail: &Mail, loaded: &Loaded, list: List, output: &mut Output) -> anyhow::Result<()> {
    let now = mail.now();
    let selection = list.conditions.selection(now);
    if list.count {
        let count = mail.queue().count(&selection).await?;
        if count == 0 {
            perhaps_misspelt(loaded, &selection)?;
        }
        return output.answer(&json!({ "count": count }), || count.to_string());
    }
    let entries = mail.queue().list(&selection, list.after, list.limit).await?;
    if entries.is_empty() {
        perhaps_misspelt(loaded, &selection)?;
    }
    let suspensions = mail.queue().suspensions().await?;
    let row = |entry: &Entry| Shown::new(&entry.outgoing, &entry.delivery).under(&suspensions);
    let rows: Vec<_> = entries.iter().map(row).collect();
    output.rows(&rows, &Shown::HEADINGS, |row| row.row(now))?;
    if let Some(last) = rows.last().filter(|_| !output.is_json() && rows.len() >= list.limit as usize) {
        tell(&format!("there may be more: --after {}", last.delivery));
    }
    Ok(())
}

/// An envelope as programs read it.
#[derive(Serialize)]
struct Envelope {
    queue_id: QueueId,
    message: String,
    /// Who wrote it, where the return path is one of ours.
    sender: Option<String>,
    return_path: Option<String>,
    origin: &'static str,
    size: u64,
    accepted_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    priority: i8,
    header_id: Option<String>,
    body_type: &'static str,
    smtputf8: bool,
    require_tls: bool,
    envid: Option<String>,
    deliver_by: Option<DateTime<Utc>>,
    deliveries: Vec<Shown>,
}

impl Envelope {
    fn new(outgoing: &Outgoing, deliveries: &[Delivery]) -> Self {
        Self {
            queue_id: outgoing.id,
            message: outgoing.message.to_string(),
            sender: outgoing.author().map(str::to_owned),
            return_path: outgoing.sender.clone(),
            origin: outgoing.origin.word(),
            size: outgoing.size,
            accepted_at: outgoing.accepted_at,
            expires_at: outgoing.expires_at,
            priority: outgoing.priority,
            header_id: outgoing.header_id.clone(),
            body_type: outgoing.body_type.word(),
            smtputf8: outgoing.smtputf8,
            require_tls: outgoing.require_tls,
            envid: outgoing.envid.clone(),
            deliver_by: outgoing.deliver_by.map(|(at, _)| at),
            deliveries: deliveries.iter().map(|delivery| Shown::new(outgoing, delivery)).collect(),
        }
    }

    fn properties(&self) -> Vec<(&'static str, String)> {
        let text = |text: &Option<String>| text.as_deref().map(|text| plain_line(text, 1000)).unwrap_or_default();
        let mut all = vec![
            ("queue id", self.queue_id.to_string()),
            ("message", self.message.clone()),
            ("message-id", text(&self.header_id)),
            ("from", sender(self.sender.as_deref())),
            ("return path", text(&self.return_path.clone().filter(|_| self.return_path != self.sender))),
            ("came as", self.origin.to_owned()),
            ("size", size(self.size)),
            ("accepted", time(self.accepted_at)),
            ("expires", time(self.expires_at)),
            ("deliver by", self.deliver_by.map(time).unwrap_or_default()),
            ("priority", if self.priority == 0 { String::new() } else { self.priority.to_string() }),
            ("envelope id", text(&self.envid)),
            (
                "needs",
                [(self.smtputf8, "SMTPUTF8"), (self.require_tls, "REQUIRETLS")]
                    .into_iter()
                    .filter_map(|(needed, word)| needed.then_some(word))
                    .collect::<Vec<_>>()
                    .join(" "),
            ),
        ];
        all.retain(|(_, value)| !value.is_empty());
        all
    }
}

async fn show(mail: &Mail, id: QueueId, output: &mut Output) -> anyhow::Result<()> {
    let found = mail.queue().show(id).await?;
    let (outgoing, deliveries) =
        found.with_context(|| format!("{id} is not in the queue; posthorn trace {id} may tell what became of it"))?;
    let envelope = Envelope::new(&outgoing, &deliveries);
    let now = mail.now();
    output.answer(&envelope, || {
        let parts = std::iter::once(envelope.properties()).chain(envelope.deliveries.iter().map(|d| d.properties(now)));
        parts.map(|part| lines(&part)).collect::<Vec<_>>().join("\n\n")
    })
}

/// Properties under each other.
fn lines(properties: &[(&str, String)]) -> String {
    let width = properties.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    properties.iter().map(|(name, value)| format!("{name:width$}  {value}")).collect::<Vec<_>>().join("\n")
}

async fn suspensions(mail: &Mail, output: &mut Output) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Row {
        suspended: String,
        since: DateTime<Utc>,
        until: Option<DateTime<Utc>>,
        why: String,
    }
    let row = |(what, tuning): (Suspended, posthorn_store::tunings::Tuning)| Row {
        suspended: what.scope(),
        since: tuning.changed_at,
        until: tuning.until,
        why: tuning.rule,
    };
    let tunings = mail.queue().tunings().await?;
    let site = |site: SuspendedSite| Row {
        suspended: format!("site {} from binding {}", site.site, site.binding),
        since: site.since,
        until: Some(site.until),
        why: format!("rule {}: {}", site.rule, site.reply),
    };
    let by_replies = suspended_sites(tunings, mail.now()).into_iter().map(site);
    let by_operators = mail.queue().suspensions().await?;
    let rows: Vec<_> = by_operators.into_iter().map(row).chain(by_replies).collect();
    output.rows(&rows, &["suspended", "since", "until", "why"], |row| {
        let until = row.until.map_or_else(|| "resumed".to_owned(), time);
        vec![plain_line(&row.suspended, 100), time(row.since), until, plain_line(&row.why, 70)]
    })
}

/// What an order did, for programs.
#[derive(Serialize)]
struct Done {
    dry_run: bool,
    deliveries: u64,
    in_hand: u64,
    sample: Vec<Shown>,
}

async fn obey(
    mail: &Mail,
    loaded: &Loaded,
    (chosen, orders): (Chosen, &[Order]),
    output: &mut Output,
) -> anyhow::Result<()> {
    let now = mail.now();
    let dry_run = chosen.dry_run;
    let selection: Selection = chosen.selection(now)?;
    let mut affected = Affected::default();
    for (at, order) in orders.iter().enumerate() {
        let next = mail.queue().order(&selection, order, dry_run, if at == 0 { SAMPLE } else { 0 }).await?;
        let sample = if at == 0 { next.sample } else { std::mem::take(&mut affected.sample) };
        affected =
            Affected { count: next.count.max(affected.count), in_hand: next.in_hand.max(affected.in_hand), sample };
    }
    if affected.count == 0 {
        perhaps_misspelt(loaded, &selection)?;
    }
    let done = Done {
        dry_run,
        deliveries: affected.count,
        in_hand: affected.in_hand,
        sample: affected.sample.iter().map(|entry| Shown::new(&entry.outgoing, &entry.delivery)).collect(),
    };
    output.answer(&done, || said(&done, now))
}

/// What an order did, for people: how many, and some of them as they were.
fn said(done: &Done, now: DateTime<Utc>) -> String {
    let noun = if done.deliveries == 1 { "delivery" } else { "deliveries" };
    let verb = if done.dry_run { "would be changed" } else { "changed" };
    let mut text = format!("{} {noun} {verb}", done.deliveries);
    if done.in_hand > 0 {
        text.push_str(&format!(", {} of them on the wire: what is being sent ends as it may", done.in_hand));
    }
    if !done.sample.is_empty() {
        text.push_str(match (done.dry_run, done.deliveries > done.sample.len() as u64) {
            (true, false) => ":",
            (true, true) => ", the oldest of them:",
            (false, false) => "; before, they were:",
            (false, true) => "; before, the oldest of them were:",
        });
        let rows = done.sample.iter().map(|row| row.row(now));
        text.push_str(&format!("\n\n{}", table(false, &Shown::HEADINGS, rows)));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: Queues,
    }

    fn orders(line: &str, config: &str) -> anyhow::Result<Vec<Order>> {
        let mut loaded = Loaded::defaults();
        loaded.config = toml::from_str(config)?;
        match Line::try_parse_from(std::iter::once("queue").chain(line.split(' ')))?.command {
            Queues::Change(change) => Ok(change.orders(&loaded)?.1),
            Queues::View(_) => Ok(Vec::new()),
        }
    }

    #[test]
    fn a_way_must_be_known() {
        let config = "[[route]]\nname = 'partner'\nrecipients = ['*']\n[[binding]]\nname = 'b'\n";
        let route = |route: Option<&str>| Order::Reroute { route: route.map(str::to_owned) };
        let bind = |binding: Option<&str>| Order::Bind { binding: binding.map(str::to_owned) };
        let found = orders("reroute --binding a --through b --to partner", config).expect("known");
        assert_eq!(found, [route(Some("partner")), bind(Some("b"))]);
        let found = orders("reroute --all --to smtp://relay.example", config).expect("known");
        assert_eq!(found, [route(Some("smtp://relay.example"))]);
        assert_eq!(orders("reroute --all --as-configured", config).expect("known"), [route(None), bind(None)]);
        for line in ["reroute --all --to partnr", "reroute --all --through a"] {
            assert!(orders(line, config).expect_err(line).is::<Misuse>(), "{line}");
        }
    }

    #[test]
    fn notes_stay_on_one_line() {
        let found = orders("hold --all --note a\nb", "").expect("known");
        assert_eq!(found, [Order::Hold { note: "a b".to_owned() }]);
    }

    #[test]
    fn an_order_says_how_many_and_which() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).expect("a time");
        let done = |dry_run, deliveries, in_hand| said(&Done { dry_run, deliveries, in_hand, sample: Vec::new() }, now);
        assert_eq!(done(true, 1, 0), "1 delivery would be changed");
        assert_eq!(
            done(false, 12, 2),
            "12 deliveries changed, 2 of them on the wire: what is being sent ends as it may"
        );
    }
}
