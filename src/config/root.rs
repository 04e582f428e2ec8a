//! The root: every section, and the listeners of an appliance that nobody configured.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Auth, Backup, Binding, BindingGroup, Checks, Database, Delivery, DeliveryRule, Dkim, Dns, FilterPort,
    FilterSection, FilterWay, Imap, Limits, ListenAddress, Listener, Log, Mail, PolicySection, Quarantine, Queue,
    Reports, Route, Scanner, Server, ServiceAddress, Smtp, Speaks, Srs, Tls,
};

/// The whole configuration. Code receives its own section, never this.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who this machine is and where it keeps its things.
    pub server: Server,
    /// The one PostgreSQL, private or elsewhere.
    pub database: Database,
    /// Copies that are made by themselves. `posthorn backup` makes one at any time.
    pub backup: Backup,
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
    /// What is refused before it is accepted.
    pub policy: PolicySection,
    /// What is found out about mail from strangers: SPF, DKIM, ARC and DMARC, written into its `Authentication-Results`.
    pub checks: Checks,
    /// How mail is judged, and what becomes of it.
    pub filter: FilterSection,
    /// Mail that is held until somebody releases or deletes it.
    pub quarantine: Quarantine,
    /// Whom we ask about names.
    pub dns: Dns,
    /// Signatures of our own domains (RFC 6376).
    pub dkim: Dkim,
    /// The senders of mail that is forwarded: rewritten, so that the next host's SPF check is about us (SRS).
    pub srs: Srs,
    /// What mail systems tell each other once a day: what was found of mail in a domain's name (DMARC, RFC 9990), and of TLS towards it (RFC 8460).
    pub reports: Reports,
    /// Engines of others that look at messages before they are accepted.
    pub scanner: Vec<Scanner>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: Server::default(),
            database: Database::default(),
            backup: Backup::default(),
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
            policy: PolicySection::default(),
            checks: Checks::default(),
            filter: FilterSection::default(),
            quarantine: Quarantine::default(),
            dns: Dns::default(),
            dkim: Dkim::default(),
            srs: Srs::default(),
            reports: Reports::default(),
            scanner: Vec::new(),
        }
    }
}

/// The standard ports on every address; on loopback what trusts its clients.
fn default_listeners() -> Vec<Listener> {
    let public = |speaks: Speaks, port| {
        let any = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
        Listener::new(speaks.name(), speaks, any.map(|address| ListenAddress::tcp(address, port)))
    };
    let internal = |speaks: Speaks, port| {
        Listener::new(speaks.name(), speaks, [ListenAddress::tcp(Ipv4Addr::LOCALHOST.into(), port)])
    };
    let named = |name: &str, listener: Listener| Listener { name: name.to_owned(), ..listener };
    let reinjection = ServiceAddress::Tcp((Ipv4Addr::LOCALHOST, 10_025).into());
    let originating = FilterPort { way: FilterWay::Originating, next_hop: Some(reinjection), ..FilterPort::default() };
    vec![
        public(Speaks::Smtp, 25),
        public(Speaks::Submissions, 465),
        public(Speaks::Submission, 587),
        public(Speaks::Imaps, 993),
        public(Speaks::Imap, 143),
        internal(Speaks::Lmtp, 24),
        internal(Speaks::Policy, 7777),
        internal(Speaks::SrsForward, 7778),
        internal(Speaks::SrsReverse, 7779),
        named("filter-inbound", internal(Speaks::Filter, 10_024)),
        Listener { filter: Some(originating), ..named("filter-outbound", internal(Speaks::Filter, 10_026)) },
        // Judged mail comes back to the mail server that asked, and only then to us when we are told so.
        Listener { enable: false, ..internal(Speaks::Reinject, 10_025) },
        Listener { enable: false, ..internal(Speaks::ReinjectExpand, 10_028) },
        internal(Speaks::AmPdp, 9998),
        internal(Speaks::Milter, 2500),
        internal(Speaks::Metrics, 9464),
        // Links in letters lead here, through a proxy or with a certificate: it is opened with them.
        Listener { enable: false, ..internal(Speaks::Release, 8025) },
    ]
}
