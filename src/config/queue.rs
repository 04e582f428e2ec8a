//! `[queue]`: how long mail is tried, and what of it is kept in memory.

mod check;
mod policy;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use check::check;
pub use policy::{QueuePolicies, QueuePolicy};

use crate::{DomainRange, Ratio, Size, Span};

/// How long mail is tried, and what of it is kept in memory.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Queue {
    /// The policy of mail that no row of `[[queue.policy]]` is for.
    #[serde(flatten)]
    pub options: QueueOptions,
    /// The most deliveries that one process holds in memory; the rest waits in the database.
    #[schemars(range(min = 1))]
    pub resident: u32,
    /// The most octets of message text that one process holds for them.
    pub resident_bytes: Size,
    /// The most connections to other hosts at once, all sites together.
    #[schemars(range(min = 1))]
    pub connections: u32,
    /// How long the work of a process that died stays its own.
    pub lease: Span,
    /// How long the trace of a message is kept.
    pub trace_for: Span,
    /// Policies for the mail of some senders.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policy: Vec<SenderPolicy>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            options: QueueOptions::built_in(),
            resident: 20_000,
            resident_bytes: Size::mebibytes(128),
            connections: 1000,
            lease: Span::from_secs(60),
            trace_for: Span::from_secs(30 * DAY),
            policy: Vec::new(),
        }
    }
}

/// What a queue policy says; what a row leaves unset is as `[queue]` has it.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct QueueOptions {
    /// The first wait before another try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_first: Option<Span>,
    /// What each further wait is multiplied with; at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_factor: Option<Ratio>,
    /// The longest wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_most: Option<Span>,
    /// The part of a wait by which it is made longer or shorter at random; at most 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_jitter: Option<Ratio>,
    /// When mail that could not be delivered goes back to its sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire: Option<Span>,
    /// When the sender is told that mail is delayed; `0 s` is never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_notice: Option<Span>,
    /// Whether an address that does not exist is remembered, and further mail to it refused at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppress: Option<bool>,
    /// How long it is remembered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppress_for: Option<Span>,
    /// Whether each recipient gets a return path of its own (VERP), by which late bounces are told apart. It is in the domain of the sender where that is one of ours, else in that of `server.hostname`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verp: Option<bool>,
}

impl QueueOptions {
    /// What `[queue]` holds while nobody wrote anything: every option.
    #[must_use]
    pub const fn built_in() -> Self {
        Self {
            retry_first: Some(Span::from_secs(1200)),
            retry_factor: Some(Ratio::thousandths(2000)),
            retry_most: Some(Span::from_secs(12 * 3600)),
            retry_jitter: Some(Ratio::thousandths(100)),
            expire: Some(Span::from_secs(5 * DAY)),
            delay_notice: Some(Span::from_secs(4 * 3600)),
            suppress: Some(true),
            suppress_for: Some(Span::from_secs(14 * DAY)),
            verp: Some(false),
        }
    }
}

/// A policy for the mail of some senders.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SenderPolicy {
    /// The name in the trace and in commands; unique.
    #[schemars(example = &"newsletters")]
    pub name: String,
    /// The domains of envelope senders: `example.org`, `.example.org` for what is below it; the most specific wins.
    #[schemars(extend("examples" = [["news.example.org"]]))]
    pub senders: Vec<DomainRange>,
    /// The options that this row sets.
    #[serde(flatten)]
    pub options: QueueOptions,
}

/// Seconds.
const DAY: u32 = 86_400;
