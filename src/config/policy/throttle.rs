//! `[policy.throttle]`: how much mail is too much.

use posthorn_model::Address;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PolicyPattern, PolicyVerdict};
use crate::check::Checker;
use crate::{AddressRange, Size, Span};

/// How much mail is too much. What counts is known in memory, and shared with other servers on the same database within
/// a second.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyThrottle {
    /// Whether anything is counted.
    pub enable: bool,
    /// Whether mail within one domain of ours, or from one of ours to another, counts as well.
    pub count_internal: bool,
    /// Who is told, once a window, that somebody met a limit; nobody when empty.
    #[schemars(extend("examples" = [["postmaster@example.org"]]))]
    pub notify: Vec<AddressRange>,
    /// How many counters are kept in memory; the database knows all.
    #[schemars(range(min = 1000))]
    pub remembered: u32,
    /// Limits. `posthorn policy throttle` sets more; one that it sets for the same kind and pattern takes the place of
    /// the one here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limit: Vec<PolicyLimit>,
}

impl Default for PolicyThrottle {
    fn default() -> Self {
        Self { enable: true, count_internal: false, notify: Vec::new(), remembered: 200_000, limit: Vec::new() }
    }
}

/// A limit. A number that is left out is that of the next less specific limit that fits; 0 is no limit.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyLimit {
    /// Which mail.
    pub kind: LimitKind,
    /// Whose: of outbound mail the login or else the sender, of inbound mail the recipient, of external mail the sender;
    /// or the client.
    #[serde(default = "everyone")]
    pub who: PolicyPattern,
    /// What is counted together.
    #[serde(default)]
    pub per: LimitPer,
    /// The time that the numbers are about.
    pub period: Span,
    /// How time passes.
    #[serde(default)]
    pub window: LimitWindow,
    /// What is done about mail beyond it.
    #[serde(default = "reject")]
    pub verdict: PolicyVerdict,
    /// Messages in the period; one to several recipients counts as many times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<u64>,
    /// Octets in the period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub octets: Option<Size>,
    /// Recipients of one message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients: Option<u64>,
    /// Octets of one message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
}

fn everyone() -> PolicyPattern {
    PolicyPattern::Everyone
}

fn reject() -> PolicyVerdict {
    PolicyVerdict::Reject
}

/// Which mail a limit is about.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[schemars(extend("x-noun" = "kind"))]
#[serde(rename_all = "lowercase")]
pub enum LimitKind {
    /// From logins, and from clients that may relay.
    Outbound,
    /// To recipients here, from outside.
    Inbound,
    /// From outside, by who sends it.
    External,
}

impl LimitKind {
    /// All of them, by their numbers in the database.
    pub const ALL: [Self; 3] = [Self::Outbound, Self::Inbound, Self::External];

    /// The word in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
            Self::External => "external",
        }
    }
}

/// What is counted together.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-noun" = "unit"))]
#[serde(rename_all = "lowercase")]
pub enum LimitPer {
    /// Each account that the pattern means: logins, senders or recipients; each address of clients.
    #[default]
    Each,
    /// Each login.
    Login,
    /// Each sender.
    Sender,
    /// Each recipient.
    Recipient,
    /// Each address of a client.
    Client,
    /// Each network of clients: /24, or /64 of IPv6.
    Network,
    /// Everything that the pattern means.
    Together,
}

impl LimitPer {
    /// All of them, by their numbers in the database.
    pub const ALL: [Self; 7] =
        [Self::Each, Self::Login, Self::Sender, Self::Recipient, Self::Client, Self::Network, Self::Together];

    /// The word in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Each => "each",
            Self::Login => "login",
            Self::Sender => "sender",
            Self::Recipient => "recipient",
            Self::Client => "client",
            Self::Network => "network",
            Self::Together => "together",
        }
    }
}

/// How time passes for a limit.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-noun" = "window"))]
#[serde(rename_all = "lowercase")]
pub enum LimitWindow {
    /// A window begins with the first message, and ends after the period.
    #[default]
    Fixed,
    /// What was used flows away evenly, all of it in one period.
    Leaky,
}

impl LimitWindow {
    /// The word in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Leaky => "leaky",
        }
    }
}

impl PolicyThrottle {
    /// The addresses that are told of limits.
    pub fn notified(&self) -> impl Iterator<Item = &Address> {
        self.notify.iter().filter_map(|one| match one {
            AddressRange::Address(address) => Some(address),
            AddressRange::Domains(_) => None,
        })
    }
}

/// Judges the limits.
pub(crate) fn check(checker: &mut Checker<'_>) {
    let throttle = &checker.config().policy.throttle;
    for (at, one) in throttle.notify.iter().enumerate() {
        if matches!(one, AddressRange::Domains(_)) {
            checker.refuse(&format!("policy.throttle.notify[{at}]"), format!("{one} is not one address"));
        }
    }
    for (at, limit) in throttle.limit.iter().enumerate() {
        let key = format!("policy.throttle.limit[{at}]");
        if limit.period == Span::ZERO {
            checker.refuse(&format!("{key}.period"), "a period of no time holds nothing".to_owned());
        }
        let is_earlier = |other: &PolicyLimit| (other.kind, &other.who) == (limit.kind, &limit.who);
        if throttle.limit[..at].iter().any(is_earlier) {
            let message = format!("there is an {} limit for {} already", limit.kind.name(), limit.who);
            checker.refuse(&format!("{key}.who"), message);
        }
    }
}
