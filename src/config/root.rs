//! The root: every section, and the listeners of an appliance that nobody configured.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Auth, Binding, BindingGroup, Database, Delivery, DeliveryRule, Dkim, Dns, Imap, Limits, ListenAddress, Listener,
    Log, Mail, Queue, Route, Server, Smtp, Speaks, Srs, Tls,
};

/// The whole configuration. Code receives its own section, never this.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who this machine is and where it keeps its things.
    pub server: Server,
    /// The one PostgreSQL, private or elsewhere.
    pub database: Database,
    /// Certificates and what clients must speak.
    pub tls: Tls,
    /// How people log in and what guessing costs.
    pub auth: Auth,
    /// What holds for every message and mailbox.
    pub mail: Mail,
    /// SMTP, submission and LMTP sessions.
    pub smtp: Smtp,
    /// IMAP sessions.
    pub imap: Imap,
    /// What the whole process may use.
    pub limits: Limits,
    /// What is written about the work.
    pub log: Log,
    /// The services and their addresses; the first row that is configured replaces the default rows.
    pub listener: Vec<Listener>,
    /// How long mail is tried, and what of it is kept in memory.
    pub queue: Queue,
    /// How mail leaves, unless a binding, a group or a domain says otherwise.
    pub delivery: Delivery,
    /// The addresses that mail leaves from, each with options of its own.
    pub binding: Vec<Binding>,
    /// Bindings that share work and limits.
    pub binding_group: Vec<BindingGroup>,
    /// Where some mail goes instead of to the MX hosts of its domain.
    pub route: Vec<Route>,
    /// What replies of receivers change about further delivery, before the built-in rules.
    pub delivery_rule: Vec<DeliveryRule>,
    /// Whom we ask about names.
    pub dns: Dns,
    /// Signatures of our own domains (RFC 6376).
    pub dkim: Dkim,
    /// The senders of mail that is forwarded: rewritten, so that the next host's SPF check is about us (SRS).
    pub srs: Srs,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: Server::default(),
            database: Database::default(),
            tls: Tls::default(),
            auth: Auth::default(),
            mail: Mail::default(),
            smtp: Smtp::default(),
            imap: Imap::default(),
            limits: Limits::default(),
            log: Log::default(),
            listener: default_listeners(),
            queue: Queue::default(),
            delivery: Delivery::default(),
            binding: Vec::new(),
            binding_group: Vec::new(),
            route: Vec::new(),
            delivery_rule: Vec::new(),
            dns: Dns::default(),
            dkim: Dkim::default(),
            srs: Srs::default(),
        }
    }
}

/// The standard ports on every address, LMTP on loopback.
fn default_listeners() -> Vec<Listener> {
    let public = |speaks: Speaks, port| {
        let any = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
        Listener::new(speaks.name(), speaks, any.map(|address| ListenAddress::tcp(address, port)))
    };
    vec![
        public(Speaks::Smtp, 25),
        public(Speaks::Submissions, 465),
        public(Speaks::Submission, 587),
        public(Speaks::Imaps, 993),
        public(Speaks::Imap, 143),
        Listener::new("lmtp", Speaks::Lmtp, [ListenAddress::tcp(Ipv4Addr::LOCALHOST.into(), 24)]),
    ]
}
