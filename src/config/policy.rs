//! `[policy]`: what is refused before it is accepted, and what servers elsewhere are told.

mod access;
mod action;
mod address_range;
mod answer_range;
mod auto_blacklist;
mod decisions;
mod dns_list;
mod greylist;
mod group;
mod helo;
mod limits;
mod lookup;
mod party;
mod pattern;
mod recipients;
mod reverse_dns;
mod rule;
mod sender;
mod service;
mod service_address;
mod stage;
mod throttle;
mod verdict;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use access::PolicyAccess;
pub use action::PolicyAction;
pub use address_range::{AddressRange, AddressRangeError};
pub use answer_range::{AnswerRange, AnswerRangeError};
pub use auto_blacklist::PolicyAutoBlacklist;
pub use decisions::{DecisionsKept, PolicyDecisions};
pub use dns_list::{DnsListAnswer, ListedThing, PolicyDnsList, PolicyDnsLists};
pub use greylist::{Correspondents, PolicyGreylist};
pub use group::{DEEPEST_GROUP, PolicyGroup};
pub use helo::PolicyHelo;
pub use lookup::PolicyLookup;
pub use party::{Party, PartyError, Who};
pub use pattern::{PolicyPattern, PolicyPatternError};
pub use recipients::PolicyRecipients;
pub use reverse_dns::PolicyReverseDns;
pub use rule::PolicyRule;
pub use sender::PolicySender;
pub use service::PolicyService;
pub use service_address::{ServiceAddress, ServiceAddressError};
pub use stage::PolicyStage;
pub use throttle::{LimitKind, LimitPer, LimitWindow, PolicyLimit, PolicyThrottle};
pub use verdict::PolicyVerdict;

use crate::Network;
use crate::check::Checker;

/// What is refused before it is accepted, and what servers elsewhere are told.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicySection {
    /// Whether our own SMTP asks at all; the listeners that speak `policy` always answer.
    pub enable: bool,
    /// Whether mail passes, as far as checks go, while the database is away. Otherwise our own SMTP says so (451), and servers elsewhere get no answer and take their default action.
    pub fail_open: bool,
    /// Clients of servers elsewhere that count as those that may relay; our own listeners say that by `relay`.
    pub trusted: Vec<Network>,
    /// Who may say to be whom.
    pub sender: PolicySender,
    /// What a client calls itself.
    pub helo: PolicyHelo,
    /// What the DNS calls a client.
    pub reverse_dns: PolicyReverseDns,
    /// What lists in the DNS come to.
    pub dns_lists: PolicyDnsLists,
    /// Lists in the DNS.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_list: Vec<PolicyDnsList>,
    /// What questions to the DNS may cost.
    pub lookup: PolicyLookup,
    /// White and black lists.
    pub access: PolicyAccess,
    /// New clients are told to come back.
    pub greylist: PolicyGreylist,
    /// How much mail is too much.
    pub throttle: PolicyThrottle,
    /// How many recipients one message may have.
    pub recipients: PolicyRecipients,
    /// Clients that never come back.
    pub auto_blacklist: PolicyAutoBlacklist,
    /// Names for several parties.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<PolicyGroup>,
    /// What is done with mail from some to others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rule: Vec<PolicyRule>,
    /// Policy servers of others, which are asked after the rules.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub service: Vec<PolicyService>,
    /// The log that says why something was refused.
    pub decisions: PolicyDecisions,
}

impl Default for PolicySection {
    fn default() -> Self {
        Self {
            enable: true,
            fail_open: false,
            trusted: [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)].map(Network::from).into(),
            sender: PolicySender::default(),
            helo: PolicyHelo::default(),
            reverse_dns: PolicyReverseDns::default(),
            dns_lists: PolicyDnsLists::default(),
            dns_list: Vec::new(),
            lookup: PolicyLookup::default(),
            access: PolicyAccess::default(),
            greylist: PolicyGreylist::default(),
            throttle: PolicyThrottle::default(),
            recipients: PolicyRecipients::default(),
            auto_blacklist: PolicyAutoBlacklist::default(),
            group: Vec::new(),
            rule: Vec::new(),
            service: Vec::new(),
            decisions: PolicyDecisions::default(),
        }
    }
}

/// Judges what the keys say together.
pub(crate) fn check(checker: &mut Checker<'_>) {
    limits::check(checker);
    group::check(checker);
    rule::check(checker);
    throttle::check(checker);
    service::check(checker);
}
