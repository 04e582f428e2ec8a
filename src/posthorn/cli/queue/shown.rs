//! Deliveries as people and programs read them.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use posthorn_config::Size;
use posthorn_mail::queue::{Suspended, Tuning};
use posthorn_model::{DeliveryId, DeliveryState, QueueId};
use posthorn_store::queue::{Delivery, Outgoing};
use serde::Serialize;

use crate::cli::plain_line;

/// One delivery with what matters of its envelope.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    pub(super) queue_id: QueueId,
    /// Goes on as `--after`.
    pub(super) delivery: DeliveryId,
    message: String,
    pub(super) sender: Option<String>,
    pub(super) recipient: String,
    domain: String,
    pub(super) state: &'static str,
    lane: &'static str,
    pub(super) attempts: u32,
    accepted_at: DateTime<Utc>,
    due_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    size: u64,
    route: Option<String>,
    binding: Option<String>,
    last_at: Option<DateTime<Utc>>,
    last_host: Option<String>,
    last_reply: Option<String>,
    note: Option<String>,
    /// Why it is not tried although it is due.
    suspended: Option<String>,
    header_id: Option<String>,
}

impl Shown {
    pub(super) fn new(outgoing: &Outgoing, delivery: &Delivery) -> Self {
        Self {
            queue_id: outgoing.id,
            delivery: delivery.id,
            message: outgoing.message.to_string(),
            sender: outgoing.author().map(str::to_owned),
            recipient: delivery.recipient.clone(),
            domain: delivery.domain.clone(),
            state: state(delivery),
            lane: delivery.lane.word(),
            attempts: delivery.attempts,
            accepted_at: outgoing.accepted_at,
            due_at: delivery.due_at,
            expires_at: outgoing.expires_at,
            size: outgoing.size,
            route: delivery.route.clone(),
            binding: delivery.binding.clone(),
            last_at: delivery.last_at,
            last_host: delivery.last_host.clone(),
            last_reply: delivery.last_reply.clone(),
            note: delivery.note.clone(),
            suspended: None,
            header_id: outgoing.header_id.clone(),
        }
    }

    /// Says so where an operator suspended its domain or its binding.
    pub(super) fn under(mut self, suspensions: &[(Suspended, Tuning)]) -> Self {
        let covers = |what: &Suspended| match what {
            Suspended::Domain(name) => *name == self.domain,
            Suspended::Binding(name) => Some(name) == self.binding.as_ref(),
        };
        if matches!(self.state, "new" | "deferred")
            && let Some((what, tuning)) = suspensions.iter().find(|(what, _)| covers(what))
        {
            self.suspended = Some(format!("{} suspended: {}", what.scope(), tuning.rule));
        }
        self
    }

    /// The headings of [`Self::row`].
    pub(super) const HEADINGS: [&str; 8] = ["queue id", "age", "size", "from", "to", "state", "next", "why"];

    /// A line of the table.
    pub(super) fn row(&self, now: DateTime<Utc>) -> Vec<String> {
        vec![
            self.queue_id.to_string(),
            span(now - self.accepted_at),
            size(self.size),
            sender(self.sender.as_deref()),
            plain_line(&self.recipient, 60),
            self.state.to_owned(),
            self.next(now),
            plain_line(self.why(), 70),
        ]
    }

    /// Why it is still here.
    fn why(&self) -> &str {
        [&self.suspended, &self.note, &self.last_reply].into_iter().flatten().next().map_or("", String::as_str)
    }

    /// When it is tried next, in words.
    fn next(&self, now: DateTime<Utc>) -> String {
        match self.state {
            "held" | "set-aside" => String::new(),
            "delivering" => "now".to_owned(),
            _ if self.due_at <= now => "now".to_owned(),
            _ => format!("in {}", span(self.due_at - now)),
        }
    }

    /// Everything, for one recipient.
    pub(super) fn properties(&self, now: DateTime<Utc>) -> Vec<(&'static str, String)> {
        let text = |text: &Option<String>| text.as_deref().map(|text| plain_line(text, 1000)).unwrap_or_default();
        let mut all = vec![
            ("to", plain_line(&self.recipient, 1000)),
            ("state", self.state.to_owned()),
            ("lane", self.lane.to_owned()),
            ("tries", self.attempts.to_string()),
            ("next try", format!("{} ({})", time(self.due_at), self.next(now))),
            ("last try", self.last_at.map(time).unwrap_or_default()),
            ("last host", text(&self.last_host)),
            ("last reply", text(&self.last_reply)),
            ("note", text(&self.note)),
            ("suspended", text(&self.suspended)),
            ("route", text(&self.route)),
            ("binding", text(&self.binding)),
            ("delivery", self.delivery.to_string()),
        ];
        if matches!(self.state, "held" | "set-aside") {
            all.retain(|(name, _)| *name != "next try");
        }
        all.retain(|(_, value)| !value.is_empty());
        all
    }
}

/// What becomes of a delivery, in one word.
fn state(delivery: &Delivery) -> &'static str {
    match delivery.state {
        _ if delivery.claim.is_some() => "delivering",
        DeliveryState::Held | DeliveryState::SetAside => delivery.state.word(),
        DeliveryState::Due if delivery.attempts > 0 => "deferred",
        DeliveryState::Due => "new",
    }
}

/// A sender, `<>` for the null path.
pub(super) fn sender(sender: Option<&str>) -> String {
    sender.map_or_else(|| "<>".to_owned(), |sender| plain_line(sender, 60))
}

/// A moment as people and programs read it.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A length of time in its largest whole unit, such as `3h`.
pub(super) fn span(span: TimeDelta) -> String {
    let seconds = span.num_seconds().max(0);
    let units = [(86_400, "d"), (3600, "h"), (60, "min")];
    match units.into_iter().find(|(length, _)| seconds >= *length) {
        Some((length, unit)) => format!("{}{unit}", seconds / length),
        None => format!("{seconds}s"),
    }
}

/// Octets, rounded to a unit that a person can compare.
pub(super) fn size(octets: u64) -> String {
    let units = [1_u64 << 30, 1 << 20, 1 << 10];
    let unit = units.into_iter().find(|unit| octets >= *unit).unwrap_or(1);
    Size::bytes(octets / unit * unit).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_sizes_are_rounded_down() {
        for (seconds, shown) in [(-5, "0s"), (59, "59s"), (60, "1min"), (7199, "1h"), (172_800, "2d")] {
            assert_eq!(span(TimeDelta::seconds(seconds)), shown);
        }
        for (octets, shown) in [(0, "0 B"), (1023, "1023 B"), (1025, "1 KiB"), (5_300_000, "5 MiB")] {
            assert_eq!(size(octets), shown);
        }
        assert_eq!(sender(None), "<>");
    }
}
