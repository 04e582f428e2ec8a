//! `[policy.greylist]`: clients that were never seen are told to come back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PolicyPattern;
use crate::Span;

/// Clients that were never seen are told to come back, which senders of spam rarely do. Logins, and clients that may
/// relay, are not. `posthorn policy greylist` says for whom it holds; the most specific setting decides.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyGreylist {
    /// Whether it holds for those for whom no setting says otherwise.
    pub enable: bool,
    /// Whether it only learns, and refuses nobody.
    pub training: bool,
    /// How long a new client waits.
    pub delay: Span,
    /// The time in which it must come back.
    pub forget: Span,
    /// How long it is known after it last came.
    pub keep: Span,
    /// Whether a client that came back once is trusted with all senders and recipients.
    pub trust_client: bool,
    /// Whether a client that the sender's SPF record names need not wait.
    pub spf: bool,
    /// The bits of an IPv4 address that make a client; with 24, its neighbours are the same client.
    #[schemars(range(min = 8, max = 32))]
    pub ipv4_prefix: u8,
    /// The bits of an IPv6 address that make a client.
    #[schemars(range(min = 16, max = 128))]
    pub ipv6_prefix: u8,
    /// For whom those that our people wrote to need not wait.
    pub correspondents: Correspondents,
    /// Whether a correspondent stands for its whole domain.
    pub correspondent_domains: bool,
    /// How long somebody is a correspondent after the last mail to them.
    pub correspondents_for: Span,
    /// Senders and clients that never wait.
    #[schemars(extend("examples" = [["192.0.2.0/24", "@example.com"]]))]
    pub exempt: Vec<PolicyPattern>,
    /// How many clients, attempts and correspondents are remembered in memory, of each; the database knows all.
    #[schemars(range(min = 1000))]
    pub remembered: u32,
}

/// For whom those that our people wrote to need not wait.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-noun" = "circle"))]
#[serde(rename_all = "lowercase")]
pub enum Correspondents {
    /// For nobody.
    Off,
    /// For the one who wrote.
    #[default]
    User,
    /// For everybody in the domain of the one who wrote.
    Domain,
    /// For everybody here.
    Everyone,
}

impl Default for PolicyGreylist {
    fn default() -> Self {
        Self {
            enable: false,
            training: false,
            delay: Span::from_secs(15 * 60),
            forget: Span::from_secs(86_400),
            keep: Span::from_secs(30 * 86_400),
            trust_client: true,
            spf: true,
            ipv4_prefix: 32,
            ipv6_prefix: 64,
            correspondents: Correspondents::default(),
            correspondent_domains: false,
            correspondents_for: Span::from_secs(90 * 86_400),
            exempt: Vec::new(),
            remembered: 1_000_000,
        }
    }
}
