//! Which deliveries a command is about.

use chrono::{DateTime, Utc};
use posthorn_config::Span;
use posthorn_mail::queue::{HeaderFilter, Selection};
use posthorn_model::{Address, DeliveryState, Domain, Lane, QueueId};
use posthorn_store::queue::Filter;

use crate::cli::{Misuse, parse_domain};

/// Every condition that is given must hold.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Which deliveries")]
pub(in crate::cli) struct Conditions {
    /// The queue id
    #[arg(long, value_name = "QUEUE-ID")]
    id: Option<QueueId>,
    /// The sender; @example.org is everybody there, <> the null sender
    #[arg(long, value_name = "ADDRESS", value_parser = parse_sender)]
    sender: Option<String>,
    /// The recipient; @example.org is everybody there
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    recipient: Option<String>,
    /// The recipient's domain
    #[arg(long, value_name = "DOMAIN", value_parser = parse_domain)]
    domain: Option<Domain>,
    /// The binding that was used last, or ordered
    #[arg(long, value_name = "NAME")]
    binding: Option<String>,
    /// The lane
    #[arg(long, value_parser = parse_lane)]
    lane: Option<Lane>,
    /// What becomes of it
    #[arg(long)]
    state: Option<State>,
    /// Accepted longer ago than this, such as 2h
    #[arg(long, value_name = "SPAN")]
    older_than: Option<Span>,
    /// Accepted less long ago than this
    #[arg(long, value_name = "SPAN")]
    newer_than: Option<Span>,
    /// A part of the last reply, or of the note
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// The whole Message-ID field
    #[arg(long, value_name = "ID")]
    message_id: Option<String>,
    /// A field of the header and a part of its text; looks into every message that the rest selects
    #[arg(long, value_name = "NAME:TEXT", value_parser = parse_header)]
    header: Option<HeaderFilter>,
}

/// States as people tell them apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum State {
    /// Not tried yet
    New,
    /// In a courier's hand
    Delivering,
    /// Tried without success, waiting for the next try
    Deferred,
    /// Held by an operator
    Held,
    /// Set aside because something is wrong with it
    SetAside,
}

impl Conditions {
    /// What is selected at this moment.
    pub(super) fn selection(self, now: DateTime<Utc>) -> Selection {
        let ago = |span: Span| now - span.duration();
        let (state, in_hand, tried) = match self.state {
            None => (None, None, None),
            Some(State::New) => (Some(DeliveryState::Due), Some(false), Some(false)),
            Some(State::Delivering) => (None, Some(true), None),
            Some(State::Deferred) => (Some(DeliveryState::Due), Some(false), Some(true)),
            Some(State::Held) => (Some(DeliveryState::Held), None, None),
            Some(State::SetAside) => (Some(DeliveryState::SetAside), None, None),
        };
        let filter = Filter {
            outgoing: self.id,
            sender: self.sender,
            recipient: self.recipient,
            domain: self.domain.map(|domain| domain.as_str().to_owned()),
            binding: self.binding,
            lane: self.lane,
            state,
            in_hand,
            tried,
            accepted_before: self.older_than.map(ago),
            accepted_after: self.newer_than.map(ago),
            error: self.error,
            header_id: self.message_id.map(|id| bare(&id).to_owned()),
        };
        Selection { filter, header: self.header }
    }
}

/// What an order is about: at least one condition, or everything on purpose.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Chosen {
    #[command(flatten)]
    conditions: Conditions,
    /// The whole queue, when no condition is given
    #[arg(long)]
    all: bool,
    /// Only say what would be done
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl Chosen {
    /// What is selected at this moment.
    ///
    /// # Errors
    /// When neither a condition nor `--all` is given.
    pub(super) fn selection(self, now: DateTime<Utc>) -> anyhow::Result<Selection> {
        let selection = self.conditions.selection(now);
        if !self.all && selection.header.is_none() && selection.filter == Filter::default() {
            return Err(Misuse("this would be about the whole queue; name a condition, or say --all".to_owned()).into());
        }
        Ok(selection)
    }
}

/// A Message-ID or an address without its angle brackets.
fn bare(id: &str) -> &str {
    let id = id.trim();
    id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(id)
}

/// An address, or everybody of `@domain`.
fn parse_address(text: &str) -> Result<String, String> {
    let bare = bare(text);
    let understood = match bare.strip_prefix('@') {
        Some(domain) => Domain::parse(domain).map(|_| ()).map_err(|error| error.to_string()),
        None => Address::parse(bare).map(|_| ()).map_err(|error| error.to_string()),
    };
    understood.map_err(|error| format!("{error}; write name@example.org, or @example.org for everybody there"))?;
    Ok(bare.to_owned())
}

/// The same, or `<>` for the null sender.
fn parse_sender(text: &str) -> Result<String, String> {
    if text == "<>" { Ok(String::new()) } else { parse_address(text) }
}

fn parse_lane(text: &str) -> Result<Lane, String> {
    let words = || Lane::ALL.iter().map(|lane| lane.word()).collect::<Vec<_>>().join(", ");
    Lane::parse(text).ok_or_else(|| format!("known lanes: {}", words()))
}

fn parse_header(text: &str) -> Result<HeaderFilter, String> {
    let (name, contains) = text.split_once(':').ok_or("write a field and a part of its text, such as Subject:offer")?;
    let named = !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_graphic());
    if !named || contains.trim().is_empty() {
        return Err("write a field and a part of its text, such as Subject:offer".to_owned());
    }
    Ok(HeaderFilter { name: name.to_owned(), contains: contains.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        chosen: Chosen,
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).expect("a time")
    }

    fn chosen(line: &str) -> anyhow::Result<Selection> {
        Line::try_parse_from(std::iter::once("x").chain(line.split(' ')))?.chosen.selection(now())
    }

    fn filter(line: &str) -> Filter {
        chosen(line).expect("understood").filter
    }

    #[test]
    fn conditions_become_a_filter() {
        let found = filter(
            "--id 1f --sender <> --recipient @b.example --domain B.Example --binding a --lane bulk --error 4.7 --message-id <x@y>",
        );
        assert_eq!(found.outgoing, Some(QueueId(0x1f)));
        assert_eq!(found.sender.as_deref(), Some(""));
        assert_eq!(filter("--sender <Ann@b.example>").sender.as_deref(), Some("Ann@b.example"));
        assert_eq!((found.recipient.as_deref(), found.domain.as_deref()), (Some("@b.example"), Some("b.example")));
        assert_eq!((found.binding.as_deref(), found.lane), (Some("a"), Some(Lane::Bulk)));
        assert_eq!((found.error.as_deref(), found.header_id.as_deref()), (Some("4.7"), Some("x@y")));
        let ages = filter("--older-than 2h --newer-than 1d");
        assert_eq!(ages.accepted_before, Some(now() - TimeDelta::hours(2)));
        assert_eq!(ages.accepted_after, Some(now() - TimeDelta::days(1)));
        let header = chosen("--header Subject:Offer").expect("understood").header;
        assert_eq!(header, Some(HeaderFilter { name: "Subject".to_owned(), contains: "Offer".to_owned() }));
    }

    #[test]
    fn states_are_told_as_people_do() {
        let state = |word: &str| {
            let found = filter(&format!("--state {word}"));
            (found.state, found.in_hand, found.tried)
        };
        let due = Some(DeliveryState::Due);
        assert_eq!(state("new"), (due, Some(false), Some(false)));
        assert_eq!(state("deferred"), (due, Some(false), Some(true)));
        assert_eq!(state("delivering"), (None, Some(true), None));
        assert_eq!(state("held"), (Some(DeliveryState::Held), None, None));
        assert_eq!(state("set-aside"), (Some(DeliveryState::SetAside), None, None));
    }

    #[test]
    fn the_whole_queue_is_only_meant_on_purpose() {
        assert!(chosen("--dry-run").expect_err("refused").is::<Misuse>());
        assert_eq!(filter("--all"), Filter::default());
        for line in ["--sender anna", "--sender @", "--sender a@b@", "--recipient @-", "--recipient <>"] {
            assert!(chosen(line).is_err(), "{line}");
        }
        for line in ["--header Subject", "--header :x", "--lane fast", "--older-than soon", "--id xyz", "--state lost"]
        {
            assert!(chosen(line).is_err(), "{line}");
        }
    }
}
