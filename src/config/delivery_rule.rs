//! `[[delivery_rule]]`: what replies of receivers teach us.

mod check;
mod code;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use check::check;
pub use code::{CodePattern, CodePatternError};

use crate::{DomainRange, Pattern, Span};

/// What a reply changes about further delivery. A rule fits a reply when all of its conditions do; the first rule
/// that fits acts, those of the file before the built-in ones.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DeliveryRule {
    /// The name in the trace; unique.
    #[schemars(example = &"greylisting")]
    pub name: String,
    /// A regular expression on the text of the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"greylist|try again later")]
    pub when: Option<Pattern>,
    /// The reply code, such as `450`, or `4xx` for several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"4xx")]
    pub code: Option<CodePattern>,
    /// The enhanced code, such as `4.7.1`, or `4.7.x` for several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"4.7.x")]
    pub enhanced: Option<CodePattern>,
    /// When in the session the reply came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<DeliveryPhase>,
    /// A regular expression on the name of an MX host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"\\.mail\\.example\\.com$")]
    pub provider: Option<Pattern>,
    /// Domains of recipients: `example.com`, `.example.com` for what is below it; empty is all.
    #[serde(default)]
    #[schemars(extend("examples" = [["example.com"]]))]
    pub domains: Vec<DomainRange>,
    /// How many such replies there must be.
    #[serde(default = "once")]
    #[schemars(range(min = 1))]
    pub count: u32,
    /// Whether they must come in a row. A message that is taken halves what was counted. What may be about one recipient or one message does not count: only what comes before RCPT, with 421, with the enhanced code X.3.X, or to another try.
    #[serde(default)]
    pub in_a_row: bool,
    /// The time in which they must come; `0 s` is any time, for a `count` of 1.
    #[serde(default)]
    pub within: Span,
    /// What is done.
    pub action: DeliveryAction,
    /// What the action sets: connections, messages in a connection, messages in an hour, or seconds until the next try; unset halves the number, or leaves the wait as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<u32>,
    /// The least and the most that the number may become.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = [[1, 100]]))]
    pub bounds: Option<[u32; 2]>,
    /// How long it holds.
    #[serde(default = "an_hour", rename = "for")]
    pub lasts: Span,
}

/// When in a session a reply came.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-noun" = "phase"))]
#[serde(rename_all = "lowercase")]
pub enum DeliveryPhase {
    /// While connecting: what the network says.
    Connect,
    /// The greeting.
    Greeting,
    /// EHLO, HELO or LHLO.
    Ehlo,
    /// STARTTLS.
    Starttls,
    /// The login.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA or the first BDAT.
    Data,
    /// The end of the message.
    Body,
}

impl DeliveryPhase {
    /// The word in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Greeting => "greeting",
            Self::Ehlo => "ehlo",
            Self::Starttls => "starttls",
            Self::Auth => "auth",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::Data => "data",
            Self::Body => "body",
        }
    }
}

/// What a rule does about a binding and a site.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-noun" = "action"))]
#[serde(rename_all = "snake_case")]
pub enum DeliveryAction {
    /// Sends nothing.
    Suspend,
    /// Lowers the connections at once.
    ReduceConnections,
    /// Lowers the messages in a connection.
    ReduceMessages,
    /// Lowers the messages in an hour.
    Throttle,
    /// Sets the wait before another try.
    Greylisted,
}

impl DeliveryAction {
    /// The word in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
            Self::ReduceConnections => "reduce_connections",
            Self::ReduceMessages => "reduce_messages",
            Self::Throttle => "throttle",
            Self::Greylisted => "greylisted",
        }
    }
}

impl DeliveryRule {
    /// Why the rule cannot work, with the key that is wrong; `None` when it can.
    #[must_use]
    pub fn fault(&self) -> Option<(&'static str, String)> {
        check::fault(self)
    }

    /// Whether its conditions about the receiver hold: the folded domain of the recipient, the names of MX hosts.
    #[must_use]
    pub fn concerns<'h>(&self, domain: &str, hosts: impl IntoIterator<Item = &'h str>) -> bool {
        let provider = |pattern: &Pattern| hosts.into_iter().any(|host| pattern.is_match(host));
        (self.domains.is_empty() || self.domains.iter().any(|range| range.contains(domain)))
            && self.provider.as_ref().is_none_or(provider)
    }
}

const fn once() -> u32 {
    1
}

const fn an_hour() -> Span {
    Span::from_secs(3600)
}
