//! The configuration: one struct per section, documented in place; schema, reference and example are printed from
//! those structs, so that nothing is written down twice.
//!
//! [`load`] reads and merges the sources, [`check()`] judges what they say together, [`Policy`] answers what
//! holds for one client of one endpoint, [`DeliveryPolicy`] what holds for mail that leaves, [`Routes`] where it goes,
//! [`QueuePolicies`] how long it is tried. What it deliberately is not: a place for data that changes at run time
//! (domains, accounts, aliases live in the database), and not a socket, certificate or clock.

mod auth;
mod backup;
mod bind;
mod binding;
mod check;
mod checks;
mod database;
mod delivery;
mod delivery_rule;
mod dkim;
mod dns;
mod domain_range;
mod effective;
mod endpoint;
mod explain;
mod exposure;
mod extension;
mod file_mode;
mod filter;
mod filter_ports;
mod imap;
mod limits;
mod listener;
mod load;
mod log;
mod mail;
mod name_server;
mod network;
mod origin;
mod pattern;
mod peer;
mod policy;
mod problem;
mod quarantine;
mod queue;
mod ratio;
mod reference;
mod render;
mod reports;
mod root;
mod route;
mod scanner;
mod schema;
mod server;
mod show;
mod size;
mod smtp;
mod source;
mod span;
mod srs;
mod tls;
mod tree;
mod verify;

pub use auth::{Auth, Mechanism};
pub use backup::Backup;
pub use bind::{ListenAddress, ListenAddressError};
pub use binding::{Binding, BindingGroup, Bindings, GroupDomain, Pool};
pub use check::{check, check_without_files};
pub use checks::Checks;
pub use database::{Database, DatabaseUrl, without_password};
pub use delivery::{
    Counts, Delivery, DeliveryDomain, DeliveryOptions, DeliveryPolicy, EffectiveDelivery, ExplainedDelivery, Limit,
    NoSuchScope, Scope, TlsDemand,
};
pub use delivery_rule::{CodePattern, CodePatternError, DeliveryAction, DeliveryPhase, DeliveryRule};
pub use dkim::{Dkim, DkimKeyFile};
pub use dns::Dns;
pub use domain_range::{DomainRange, DomainRangeError};
pub use effective::{Access, Block, Effective, Level, Policy, Provenance};
pub use endpoint::Endpoint;
pub use explain::{Explained, NoSuchEndpoint};
pub use exposure::{Exposure, exposure};
pub use extension::{SmtpExtension, UnknownExtension};
pub use file_mode::{FileMode, FileModeError};
pub use filter::{
    Destiny, FileRuleAction, FilterClassifier, FilterDestiny, FilterDisclaimer, FilterDmarc, FilterExtension,
    FilterFileRule, FilterLevels, FilterNotices, FilterPoints, FilterPointsError, FilterRule, FilterScores,
    FilterSection, FilterUriList, UriListAnswer,
};
pub use filter_ports::{FilterAsked, FilterPort, FilterWay, MilterHold, MilterPort, NextHopSpeaks, QuarantinePort};
pub use imap::Imap;
pub use limits::Limits;
pub use listener::{ClientCertificate, Listener, Speaks, TlsMode, is_internal};
pub use load::{Loaded, load, load_what_can_be};
pub use log::{Log, LogFormat, LogLevel};
pub use mail::{Mail, SpecialFolders};
pub use name_server::{NameServer, NameServerError};
pub use network::{Network, NetworkError};
pub use origin::Origin;
pub use pattern::{Pattern, PatternError};
pub use peer::{Peer, PeerOptions};
pub use policy::{
    AddressRange, AddressRangeError, AnswerRange, AnswerRangeError, Correspondents, DEEPEST_GROUP, DecisionsKept,
    DnsListAnswer, LimitKind, LimitPer, LimitWindow, ListedThing, Party, PartyError, PolicyAccess, PolicyAction,
    PolicyAutoBlacklist, PolicyDecisions, PolicyDnsList, PolicyDnsLists, PolicyGreylist, PolicyGroup, PolicyHelo,
    PolicyLimit, PolicyLookup, PolicyPattern, PolicyPatternError, PolicyRecipients, PolicyReverseDns, PolicyRule,
    PolicySection, PolicySender, PolicyService, PolicyStage, PolicyThrottle, PolicyVerdict, ServiceAddress,
    ServiceAddressError, Who,
};
pub use problem::{Problem, Problems, nearest};
pub use quarantine::{HeldCategory, Quarantine, QuarantineDigest};
pub use queue::{Queue, QueueOptions, QueuePolicies, QueuePolicy, SenderPolicy};
pub use ratio::{Ratio, RatioError};
pub use reference::{example, reference, schema};
pub use reports::Reports;
pub use root::Config;
pub use route::{Next, NextError, NextHost, Route, Routes};
pub use scanner::{Scanner, ScannerFailure, ScannerKind, ScannerShown, ScannerWay};
pub use server::Server;
pub use size::{Size, SizeError};
pub use smtp::Smtp;
pub use source::Sources;
pub use span::{Span, SpanError};
pub use srs::Srs;
pub use tls::{Certificate, CertificatePair, Tls, TlsVersion};
