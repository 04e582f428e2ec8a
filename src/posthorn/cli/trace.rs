//! `posthorn trace`.

use chrono::{DateTime, SecondsFormat, Utc};
use posthorn_config::Loaded;
use posthorn_mail::accept::id_text;
use posthorn_mail::trace::{Trace, TraceOf};
use posthorn_model::{Address, QueueId};
use posthorn_store::chronicle::TraceEntry;
use serde::Serialize;
use serde_json::Value;

use super::{Misuse, plain_line};
use crate::database::with_mail;
use crate::output::Output;

/// The longest text of one value in a timeline: a whole reply, but not a message.
const LONGEST: usize = 2000;

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub(super) struct Args {
    /// A queue id, the id that the sender was told, or a Message-ID; 0 for what replies changed about delivery
    #[arg(value_name = "ID", group = "which")]
    id: Option<String>,
    /// The latest messages to this recipient
    #[arg(long, value_name = "ADDRESS", group = "which")]
    to: Option<Address>,
    /// The most messages
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: u32,
}

/// A trace as programs read it.
#[derive(Debug, Serialize)]
struct Shown {
    message: String,
    message_id: Option<String>,
    sender: Option<String>,
    recipients: Vec<String>,
    /// Envelopes that are still in the queue.
    queued: Vec<QueueId>,
    entries: Vec<Moment>,
}

/// One thing that happened.
#[derive(Debug, Serialize)]
struct Moment {
    at: DateTime<Utc>,
    what: String,
    queue_id: Option<QueueId>,
    detail: Value,
}

impl From<Trace> for Shown {
    fn from(trace: Trace) -> Self {
        let first = |read: fn(&TraceEntry) -> Option<&String>| trace.entries.iter().find_map(read).cloned();
        Self {
            message: id_text(trace.message),
            message_id: first(|entry| entry.header_id.as_ref()),
            sender: first(|entry| entry.sender.as_ref()),
            recipients: trace.entries.iter().flat_map(|entry| entry.recipients.iter().cloned()).collect(),
            queued: trace.queued,
            entries: trace.entries.into_iter().map(Moment::from).collect(),
        }
    }
}

impl From<TraceEntry> for Moment {
    fn from(entry: TraceEntry) -> Self {
        let detail = serde_json::from_str(&entry.detail).unwrap_or(Value::String(entry.detail));
        Self { at: entry.at, what: entry.kind.into_owned(), queue_id: entry.outgoing, detail }
    }
}

pub(super) async fn run(loaded: &Loaded, args: Args, output: &mut Output) -> anyhow::Result<()> {
    let of = asked(args.id, args.to)?;
    let traces = with_mail(loaded, async |mail| Ok(mail.trace(&of, args.limit).await?)).await?;
    let shown: Vec<_> = traces.into_iter().map(Shown::from).collect();
    if shown.is_empty() && !output.is_json() {
        anyhow::bail!("nothing is known of it: either it never was, or its trace is older than queue.trace_for");
    }
    output.answer(&shown, || shown.iter().map(timeline).collect::<Vec<_>>().join("\n\n"))
}

/// What the words mean: a Message-ID has an `@`; ids of messages and of the queue are written alike.
fn asked(id: Option<String>, to: Option<Address>) -> anyhow::Result<TraceOf> {
    let id = match (id, to) {
        (_, Some(address)) => return Ok(TraceOf::To(address)),
        (Some(id), None) => id,
        (None, None) => return Err(Misuse("name an id, or --to an address".to_owned()).into()),
    };
    if id.contains(['@', '<']) {
        return Ok(TraceOf::Header(id));
    }
    let by_id = id.parse::<QueueId>().ok().map(|id| TraceOf::Id(id.0));
    // Message-IDs without an @ exist, if only in old mail.
    Ok(by_id.unwrap_or(TraceOf::Header(id)))
}

/// A message as a timeline, times in UTC.
fn timeline(shown: &Shown) -> String {
    let mut lines = vec![format!("message {}", shown.message)];
    let mut head = |name: &str, value: &str| {
        if !value.is_empty() {
            lines.push(format!("  {name:10} {}", plain_line(value, LONGEST)));
        }
    };
    head("message-id", shown.message_id.as_deref().unwrap_or_default());
    head("from", shown.sender.as_deref().unwrap_or_default());
    head("to", &shown.recipients.join(", "));
    let queued: Vec<_> = shown.queued.iter().map(ToString::to_string).collect();
    head("in queue", &queued.join(", "));
    let mut day = String::new();
    for moment in &shown.entries {
        let date = moment.at.format("%Y-%m-%d").to_string();
        if date != day {
            lines.push(format!("{date} (UTC)"));
            day = date;
        }
        lines.push(told(moment));
    }
    lines.join("\n")
}

fn told(moment: &Moment) -> String {
    let time = moment.at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let clock = time.get(11..23).unwrap_or(&time);
    let mut line = format!("  {clock}  {}", plain_line(&moment.what, 100));
    if let Some(id) = moment.queue_id {
        line.push_str(&format!(" [{id}]"));
    }
    match &moment.detail {
        Value::Object(details) => {
            for (name, value) in details.iter().filter(|(_, value)| !value.is_null()) {
                let name = plain_line(&name.replace('_', " "), 100);
                let words = words(value);
                let mut lines = words.lines();
                let first = lines.next().unwrap_or_default();
                line.push_str(&format!("\n{:16}{name}: {}", "", plain_line(first, LONGEST)));
                for more in lines {
                    line.push_str(&format!("\n{:18}{}", "", plain_line(more, LONGEST)));
                }
            }
        }
        Value::Null => {}
        other => line.push_str(&format!("\n{:16}{}", "", plain_line(&words(other), LONGEST))),
    }
    line
}

/// A value as people write it: lists with commas, objects as they are.
fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use posthorn_model::MessageId;

    use super::*;

    #[test]
    fn ids_are_told_apart() {
        let of = |id: &str| asked(Some(id.to_owned()), None).expect("understood");
        assert_eq!(of("<a@b.example>"), TraceOf::Header("<a@b.example>".to_owned()));
        assert_eq!(of("a@b.example"), TraceOf::Header("a@b.example".to_owned()));
        assert_eq!(of("6f3a2b1c0d9e8f7"), TraceOf::Id(0x6f3_a2b1_c0d9_e8f7));
        assert_eq!(of("no-id-at-all"), TraceOf::Header("no-id-at-all".to_owned()));
        assert!(asked(None, None).expect_err("nothing").is::<Misuse>());
    }

    fn entry(seconds: i64, kind: &'static str, detail: &str) -> TraceEntry {
        TraceEntry {
            message: MessageId(7),
            at: DateTime::from_timestamp(1_800_000_000 + seconds, 250_000_000).expect("a time"),
            kind: kind.into(),
            outgoing: (seconds > 0).then_some(QueueId(0x1f)),
            header_id: (seconds == 0).then(|| "a@b.example".to_owned()),
            sender: None,
            recipients: Vec::new(),
            detail: detail.to_owned(),
        }
    }

    #[test]
    fn a_timeline_can_be_read() {
        let entries = vec![
            entry(0, "taken", "{\"size\":5,\"peer\":null,\"tls\":true}"),
            entry(1, "attempt", "{\"last_reply\":\"450 4.7.1 \\u001b[31mlater\",\"hosts\":[\"a\",\"b\"]}"),
            entry(2, "attempt", "{\"reply\":\"450 4.7.1 not now\\ncome later\"}"),
            entry(86_400, "delivered", "not JSON"),
        ];
        let shown = Shown::from(Trace { message: MessageId(7), entries, queued: vec![QueueId(0x1f)] });
        let text = timeline(&shown);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[..6],
            [
                "message 7",
                "  message-id a@b.example",
                "  in queue   1f",
                "2027-01-15 (UTC)",
                "  08:00:00.250  taken",
                "                size: 5",
            ]
        );
        assert_eq!(lines[6], "                tls: yes");
        assert_eq!(lines[7], "  08:00:01.250  attempt [1f]");
        assert!(
            text.contains("                hosts: a, b") && text.contains("last reply: 450 4.7.1 \u{fffd}[31mlater")
        );
        assert!(text.contains("                reply: 450 4.7.1 not now\n                  come later\n"), "{text}");
        assert!(text.ends_with("2027-01-16 (UTC)\n  08:00:00.250  delivered [1f]\n                not JSON"), "{text}");
    }
}
