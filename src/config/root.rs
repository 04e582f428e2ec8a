//! The root: every section, and the listeners of an appliance that nobody configured.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Auth, Database, Imap, Limits, ListenAddress, Listener, Log, Mail, Server, Smtp, Speaks, Tls};

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
