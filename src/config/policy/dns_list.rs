//! `[[policy.dns_list]]` and `[policy.dns_lists]`: what others say of a client.

use posthorn_model::Domain;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AnswerRange, PolicyVerdict};
use crate::Network;

/// A list in the DNS (RFC 5782), of bad or of good clients or names.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyDnsList {
    /// The zone that is asked.
    #[schemars(extend("format" = "hostname"), with = "String", example = &"zen.dnsbl.example")]
    pub zone: Domain,
    /// What is looked up in it.
    #[serde(default)]
    pub of: ListedThing,
    /// What an answer counts that `answers` says nothing else about: above zero is bad, below is good.
    #[serde(default = "one")]
    pub weight: i32,
    /// What certain answers count. Of several answers to one question the heaviest counts on each side.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<DnsListAnswer>,
}

/// What an answer of a list counts.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DnsListAnswer {
    /// Which.
    #[schemars(example = &"127.0.0.10-127.0.0.11")]
    pub is: AnswerRange,
    /// What it counts; 0 is nothing.
    pub weight: i32,
}

/// What a list is about.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-noun" = "word"))]
#[serde(rename_all = "lowercase")]
pub enum ListedThing {
    /// Addresses of clients.
    #[default]
    Client,
    /// Names that clients give in HELO.
    Helo,
    /// Domains of senders.
    Sender,
}

/// What the lists come to, all weights added up. Logins, and clients that may relay, are not looked up.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyDnsLists {
    /// The sum from which on a client is treated as `verdict` says.
    pub threshold: i32,
    /// What is done about it.
    pub verdict: PolicyVerdict,
    /// Clients that are not looked up.
    #[schemars(extend("examples" = [["192.0.2.0/24"]]))]
    pub exempt: Vec<Network>,
}

impl Default for PolicyDnsLists {
    fn default() -> Self {
        Self { threshold: 1, verdict: PolicyVerdict::Reject, exempt: Vec::new() }
    }
}

const fn one() -> i32 {
    1
}
