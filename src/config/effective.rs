//! What holds for one client of one endpoint.
//!
//! Option by option, the first of these that sets it wins: the endpoint's peer blocks from the most specific
//! network outward, the listener's peer blocks likewise, the endpoint, the listener, the protocol's section, the
//! built-in value. `context` follows the same order key by key.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::{
    ClientCertificate, Config, Endpoint, Listener, Mechanism, Network, Peer, PeerOptions, Size, SmtpExtension, Span,
    Speaks,
};

/// The options of one endpoint, sorted once so that a connection costs one scan.
#[derive(Clone, Debug)]
pub struct Policy {
    base: Base,
    endpoint_blocks: Vec<Slot>,
    endpoint: PeerOptions,
    listener_blocks: Vec<Slot>,
    listener: PeerOptions,
    guarded: bool,
    unlisted: Arc<Effective>,
}

/// Every option as it holds for one client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Effective {
    /// Whether the client is let in.
    pub access: Access,
    /// The only extensions to offer; `None` offers all.
    pub smtp_extensions: Option<Vec<SmtpExtension>>,
    /// Whether XCLIENT is accepted.
    pub xclient: bool,
    /// Whether XFORWARD is accepted.
    pub xforward: bool,
    /// Whether the client may send to other hosts without a login.
    pub relay: bool,
    /// Whether a PROXY header must come first.
    pub proxy_protocol: bool,
    /// Sessions of one client address at once; 0 is no limit.
    pub sessions_per_address: u32,
    /// The largest message.
    pub max_message_size: Size,
    /// The most recipients of one message.
    pub max_recipients: u32,
    /// Whether TLS must be up before mail is sent (smtp, lmtp) or a login is taken (submission, imap).
    pub require_tls: bool,
    /// How long a session may be silent; zero is no limit.
    pub idle_time: Span,
    /// How long a session may last in all; zero is no limit.
    pub total_time: Span,
    /// Whether a login is offered, and on submission and imap needed.
    pub auth: bool,
    /// Words for the trace.
    pub context: BTreeMap<String, String>,
    /// Every peer block that the client is in, most specific first, endpoint level first.
    pub blocks: Vec<Block>,
    /// Where each option comes from, by its name (`context.KEY` for the words of `context`).
    pub provenance: Vec<(Cow<'static, str>, Provenance)>,
}

impl Effective {
    /// Whether an extension may be offered. `AUTH` with a mechanism asks for that mechanism.
    #[must_use]
    pub fn offers(&self, extension: SmtpExtension) -> bool {
        let Some(listed) = &self.smtp_extensions else {
            return true;
        };
        listed.iter().any(|known| match (known, extension) {
            (SmtpExtension::Auth(_), SmtpExtension::Auth(None)) => true,
            (SmtpExtension::Auth(None), SmtpExtension::Auth(_)) => true,
            (known, wanted) => *known == wanted,
        })
    }

    /// Whether a login by this mechanism may be offered.
    #[must_use]
    pub fn offers_mechanism(&self, mechanism: Mechanism) -> bool {
        self.auth && self.offers(SmtpExtension::Auth(Some(mechanism)))
    }
}

/// Whether a client is let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Let in without checks of its address.
    Allowed,
    /// Refused at connect.
    Denied,
    /// Let in.
    Ordinary,
}

/// A peer block that a client is in. Its sessions are counted together.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Block {
    /// Where the block is written.
    pub level: Level,
    /// Its place in that list of peers, from 0.
    pub index: usize,
    /// Its network.
    pub network: Network,
    /// The cap on its sessions; 0 is none.
    pub sessions: u32,
}

/// Where a peer block is written.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Level {
    /// Inside one `listen` entry.
    Endpoint,
    /// At the listener.
    Listener,
}

/// Where an effective option comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Provenance {
    /// Nowhere: the built-in value.
    BuiltIn,
    /// The endpoint's own option.
    Endpoint,
    /// A peer block inside the endpoint, by its place.
    EndpointPeer(usize),
    /// An internal listener that names its peers refuses everybody else.
    Guard,
    /// The listener's own option.
    Listener,
    /// A peer block of the listener, by its place.
    ListenerPeer(usize),
    /// A key of a section.
    Section(&'static str),
}

/// A peer block, and how it is found again.
#[derive(Clone, Debug)]
struct Slot {
    index: usize,
    peer: Peer,
}

/// What holds where no peer, endpoint or listener says anything.
#[derive(Clone, Copy, Debug)]
struct Base {
    sessions_per_address: (u32, Provenance),
    max_message_size: Size,
    max_recipients: u32,
    has_login: bool,
    /// Its clients say whom they speak for.
    forwards: bool,
    /// Its clients took the mail in already, and so it goes to other hosts.
    relays: bool,
    idle_time: (Span, Provenance),
    total_time: (Span, Provenance),
}

impl Policy {
    /// Prepares what holds on one endpoint of one listener.
    #[must_use]
    pub fn new(config: &Config, listener: &Listener, endpoint: &Endpoint) -> Self {
        let named = !listener.peer.is_empty() || !endpoint.peer.is_empty();
        let certified = listener.client_certificate == ClientCertificate::Required;
        let mut policy = Self {
            base: Base::new(config, listener.speaks),
            endpoint_blocks: sorted(&endpoint.peer),
            endpoint: endpoint.options.clone(),
            listener_blocks: sorted(&listener.peer),
            listener: listener.options.clone(),
            guarded: listener.is_internal() && (named || !certified),
            unlisted: Arc::new(Effective::nothing()),
        };
        policy.unlisted = Arc::new(policy.resolve(&[], policy.guarded));
        policy
    }

    /// What holds for a client. v4-mapped clients are IPv4 clients; a client on a Unix socket is `127.0.0.1`.
    #[must_use]
    pub fn effective(&self, client: IpAddr) -> Arc<Effective> {
        let client = client.to_canonical();
        let inside = self.endpoint_blocks.iter().map(|slot| (Level::Endpoint, slot));
        let around = self.listener_blocks.iter().map(|slot| (Level::Listener, slot));
        let matching: Vec<_> = inside.chain(around).filter(|(_, slot)| slot.peer.network.contains(client)).collect();
        if !matching.is_empty() {
            return Arc::new(self.resolve(&matching, false));
        }
        if self.guarded && client.is_loopback() {
            return Arc::new(self.resolve(&[], false));
        }
        Arc::clone(&self.unlisted)
    }

    fn resolve(&self, matching: &[(Level, &Slot)], guard: bool) -> Effective {
        let mut chain: Vec<(Provenance, &PeerOptions)> = Vec::with_capacity(matching.len() + 2);
        chain.extend(matching.iter().map(|(level, slot)| (provenance(*level, slot.index), &slot.peer.options)));
        chain.push((Provenance::Endpoint, &self.endpoint));
        chain.push((Provenance::Listener, &self.listener));
        let mut search = Search { chain, found: Vec::with_capacity(16) };
        let mut effective = search.options(&self.base);
        effective.blocks = matching.iter().map(|(level, slot)| block(*level, slot)).collect();
        effective.provenance = search.found;
        if guard {
            effective.access = Access::Denied;
            effective.provenance.retain(|(name, _)| name != "deny");
            effective.provenance.insert(0, (Cow::Borrowed("deny"), Provenance::Guard));
        }
        effective
    }
}

impl Base {
    fn new(config: &Config, speaks: Speaks) -> Self {
        use Provenance::{BuiltIn, Section};
        let (idle_time, total_time) = match speaks {
            Speaks::Imap | Speaks::Imaps => {
                let (idle, total) = (config.imap.idle_time, config.imap.total_time);
                ((idle, Section("imap.idle_time")), (total, Section("imap.total_time")))
            }
            Speaks::Smtp
            | Speaks::Submission
            | Speaks::Submissions
            | Speaks::Lmtp
            | Speaks::Reinject
            | Speaks::ReinjectExpand => {
                let (idle, total) = (config.smtp.idle_time, config.smtp.total_time);
                ((idle, Section("smtp.idle_time")), (total, Section("smtp.total_time")))
            }
            // Postfix closes after 300 and 1000 seconds itself, and whoever is asked should not be first.
            Speaks::Policy | Speaks::SrsForward | Speaks::SrsReverse => {
                ((Span::from_secs(330), BuiltIn), (Span::ZERO, BuiltIn))
            }
            // A mail server keeps its connections for the next message.
            Speaks::Filter | Speaks::AmPdp => ((Span::from_secs(600), BuiltIn), (Span::ZERO, BuiltIn)),
            // A scraper comes once a minute or more often, and may keep its connection.
            // A browser keeps its connection for the next page.
            Speaks::Release => ((Span::from_secs(60), BuiltIn), (Span::ZERO, BuiltIn)),
            Speaks::Metrics => ((Span::from_secs(120), BuiltIn), (Span::ZERO, BuiltIn)),
            // It is silent for as long as the mail server's client is.
            Speaks::Milter => ((Span::from_secs(7200), BuiltIn), (Span::ZERO, BuiltIn)),
        };
        // All processes of a mail server come from one address.
        let sessions_per_address = match speaks {
            Speaks::Policy
            | Speaks::SrsForward
            | Speaks::SrsReverse
            | Speaks::Filter
            | Speaks::Reinject
            | Speaks::ReinjectExpand
            | Speaks::AmPdp
            | Speaks::Milter => (0, BuiltIn),
            _ => (config.limits.sessions_per_address, Section("limits.sessions_per_address")),
        };
        Self {
            sessions_per_address,
            max_message_size: config.mail.max_message_size,
            max_recipients: config.smtp.max_recipients,
            has_login: speaks.has_login(),
            forwards: matches!(speaks, Speaks::Filter | Speaks::Reinject | Speaks::ReinjectExpand),
            relays: matches!(speaks, Speaks::Reinject | Speaks::ReinjectExpand),
            idle_time,
            total_time,
        }
    }
}

impl Effective {
    fn nothing() -> Self {
        Self {
            access: Access::Denied,
            smtp_extensions: None,
            xclient: false,
            xforward: false,
            relay: false,
            proxy_protocol: false,
            sessions_per_address: 0,
            max_message_size: Size::bytes(0),
            max_recipients: 0,
            require_tls: false,
            idle_time: Span::ZERO,
            total_time: Span::ZERO,
            auth: false,
            context: BTreeMap::new(),
            blocks: Vec::new(),
            provenance: Vec::new(),
        }
    }
}

/// One walk outward per option, noting where it ended.
struct Search<'p> {
    chain: Vec<(Provenance, &'p PeerOptions)>,
    found: Vec<(Cow<'static, str>, Provenance)>,
}

impl<'p> Search<'p> {
    fn options(&mut self, base: &Base) -> Effective {
        use Provenance::{BuiltIn, Section};
        let allow = self.pick("allow", |o| o.allow, (false, BuiltIn));
        let deny = self.pick("deny", |o| o.deny, (false, BuiltIn));
        let size_limit = (base.max_message_size, Section("mail.max_message_size"));
        let recipients = (base.max_recipients, Section("smtp.max_recipients"));
        let per_address = base.sessions_per_address;
        let idle_time = base.idle_time;
        let total_time = base.total_time;
        Effective {
            access: match (deny, allow) {
                (true, _) => Access::Denied,
                (false, true) => Access::Allowed,
                (false, false) => Access::Ordinary,
            },
            smtp_extensions: self
                .pick("smtp_extensions", |o| o.smtp_extensions.as_ref().map(Some), (None, BuiltIn))
                .cloned(),
            xclient: self.pick("xclient", |o| o.xclient, (false, BuiltIn)),
            xforward: self.pick("xforward", |o| o.xforward, (base.forwards, BuiltIn)),
            relay: self.pick("relay", |o| o.relay, (base.relays, BuiltIn)),
            proxy_protocol: self.pick("proxy_protocol", |o| o.proxy_protocol, (false, BuiltIn)),
            sessions_per_address: self.pick("sessions_per_address", |o| o.sessions_per_address, per_address),
            max_message_size: self
                .pick("max_message_size", |o| o.max_message_size, size_limit)
                .min(base.max_message_size),
            max_recipients: self.pick("max_recipients", |o| o.max_recipients, recipients),
            require_tls: self.pick("require_tls", |o| o.require_tls, (base.has_login, BuiltIn)),
            idle_time: self.pick("idle_time", |o| o.idle_time, idle_time),
            total_time: self.pick("total_time", |o| o.total_time, total_time),
            auth: self.pick("auth", |o| o.auth, (base.has_login, BuiltIn)),
            context: self.context(),
            blocks: Vec::new(),
            provenance: Vec::new(),
        }
    }

    fn pick<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(&'p PeerOptions) -> Option<T>,
        otherwise: (T, Provenance),
    ) -> T {
        let set = self.chain.iter().find_map(|(origin, options)| read(options).map(|value| (value, *origin)));
        let (value, origin) = set.unwrap_or(otherwise);
        self.found.push((Cow::Borrowed(name), origin));
        value
    }

    fn context(&mut self) -> BTreeMap<String, String> {
        let mut merged = BTreeMap::new();
        for (origin, options) in &self.chain {
            for (key, value) in &options.context {
                if !merged.contains_key(key) {
                    merged.insert(key.clone(), value.clone());
                    self.found.push((format!("context.{key}").into(), *origin));
                }
            }
        }
        merged
    }
}

fn provenance(level: Level, index: usize) -> Provenance {
    match level {
        Level::Endpoint => Provenance::EndpointPeer(index),
        Level::Listener => Provenance::ListenerPeer(index),
    }
}

fn block(level: Level, slot: &Slot) -> Block {
    Block { level, index: slot.index, network: slot.peer.network, sessions: slot.peer.sessions.unwrap_or(0) }
}

/// Most specific network first; blocks of one length keep their order.
fn sorted(peers: &[Peer]) -> Vec<Slot> {
    let mut slots: Vec<_> = peers.iter().enumerate().map(|(index, peer)| Slot { index, peer: peer.clone() }).collect();
    slots.sort_by_key(|slot| std::cmp::Reverse(slot.peer.network.prefix()));
    slots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::tests::load_text;

    const LISTENER: &str = "
[smtp]
max_recipients = 77
[[listener]]
name = 'smtp'
speaks = 'smtp'
max_message_size = '40 MiB'
require_tls = true
context = { site = 'outer', tier = 'edge' }
listen = [
  { address = '*:25', idle_time = '2 min', max_recipients = 66, peer = [
      { network = '10.0.0.1', max_recipients = 1, context = { site = 'host' } },
      { network = '10.0.0.0/24', max_recipients = 24, xforward = true, sessions = 9 },
  ] },
  '*:26',
]
[[listener.peer]]
network = '10.0.0.0/16'
max_recipients = 16
xclient = true
relay = true
max_message_size = '1 MiB'
sessions = 50
context = { site = 'block', rack = '7' }
[[listener.peer]]
network = '10.0.0.1/32'
require_tls = false
relay = false
";

    fn policy(on: usize) -> Policy {
        let config = load_text(LISTENER).config;
        Policy::new(&config, &config.listener[0], &config.listener[0].listen[on])
    }

    fn effective(policy: &Policy, client: &str) -> Arc<Effective> {
        policy.effective(client.parse().expect("an address"))
    }

    fn words(effective: &Effective) -> Vec<(&str, &str)> {
        effective.context.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }

    #[test]
    fn the_most_specific_wins_option_by_option() {
        let host = effective(&policy(0), "10.0.0.1");
        assert_eq!(host.max_recipients, 1);
        assert!(host.xforward && host.xclient && !host.require_tls && !host.relay);
        assert_eq!(host.max_message_size, Size::mebibytes(1));
        assert_eq!(host.idle_time, Span::from_secs(120));
        assert_eq!(words(&host), [("rack", "7"), ("site", "host"), ("tier", "edge")]);

        let near = effective(&policy(0), "10.0.0.2");
        assert_eq!((near.max_recipients, near.require_tls), (24, true));
        assert_eq!(words(&near)[1], ("site", "block"));

        let block = effective(&policy(0), "10.0.9.9");
        assert_eq!(block.max_recipients, 16);
        assert!(block.xclient && block.relay && !block.xforward);

        let stranger = effective(&policy(0), "192.0.2.1");
        assert_eq!(stranger.max_recipients, 66);
        assert_eq!(stranger.max_message_size, Size::mebibytes(40));
        assert!(stranger.blocks.is_empty() && !stranger.xclient && !stranger.relay);
        assert_eq!(words(&stranger), [("site", "outer"), ("tier", "edge")]);
    }

    #[test]
    fn another_address_of_the_listener_has_no_part_in_it() {
        let stranger = effective(&policy(1), "192.0.2.1");
        assert_eq!(stranger.max_recipients, 77);
        assert_eq!(stranger.idle_time, Span::from_secs(300));
        assert_eq!(effective(&policy(1), "10.0.0.2").max_recipients, 16);
    }

    #[test]
    fn matching_blocks_come_most_specific_first() {
        let host = effective(&policy(0), "10.0.0.1");
        let blocks: Vec<_> =
            host.blocks.iter().map(|b| (b.level, b.index, b.network.to_string(), b.sessions)).collect();
        assert_eq!(
            blocks,
            [
                (Level::Endpoint, 0, "10.0.0.1".to_owned(), 0),
                (Level::Endpoint, 1, "10.0.0.0/24".to_owned(), 9),
                (Level::Listener, 1, "10.0.0.1".to_owned(), 0),
                (Level::Listener, 0, "10.0.0.0/16".to_owned(), 50),
            ]
        );
    }

    #[test]
    fn mapped_clients_are_the_same_clients() {
        for client in ["10.0.0.1", "10.0.0.2", "10.0.9.9", "192.0.2.1"] {
            assert_eq!(effective(&policy(0), client), effective(&policy(0), &format!("::ffff:{client}")), "{client}");
        }
    }

    #[test]
    fn strangers_share_one_answer() {
        let policy = policy(0);
        assert!(Arc::ptr_eq(&effective(&policy, "192.0.2.1"), &effective(&policy, "2001:db8::1")));
    }

    fn access(options: &str, client: &str) -> Access {
        let row = "[[listener]]\nname = 'a'\nspeaks = 'smtp'\nlisten = ['*:25']\n";
        let config = load_text(&format!("{row}{options}")).config;
        effective(&Policy::new(&config, &config.listener[0], &config.listener[0].listen[0]), client).access
    }

    #[test]
    fn deny_beats_allow_and_can_be_taken_back() {
        let peer = |line: &str| format!("[[listener.peer]]\nnetwork = '10.0.0.0/8'\n{line}\n");
        assert_eq!(access(&peer("allow = true"), "10.0.0.1"), Access::Allowed);
        assert_eq!(access(&peer("allow = true"), "11.0.0.1"), Access::Ordinary);
        assert_eq!(access(&peer("allow = true\ndeny = true"), "10.0.0.1"), Access::Denied);
        assert_eq!(access(&format!("deny = true\n{}", peer("allow = true")), "10.0.0.1"), Access::Denied);
        assert_eq!(access(&format!("deny = true\n{}", peer("deny = false")), "10.0.0.1"), Access::Ordinary);
        assert_eq!(access(&format!("deny = true\n{}", peer("deny = false")), "11.0.0.1"), Access::Denied);
    }

    #[test]
    fn an_internal_listener_knows_only_its_peers() {
        let row = "[[listener]]\nname = 'a'\nspeaks = 'lmtp'\nexposed = true\nlisten = ['*:24']\n[[listener.peer]]\nnetwork = '10.0.0.0/8'\n";
        let config = load_text(row).config;
        let policy = Policy::new(&config, &config.listener[0], &config.listener[0].listen[0]);
        assert_eq!(effective(&policy, "10.1.1.1").access, Access::Ordinary);
        assert_eq!(effective(&policy, "127.0.0.1").access, Access::Ordinary);
        assert_eq!(effective(&policy, "192.0.2.1").access, Access::Denied);
        assert_eq!(effective(&policy, "192.0.2.1").provenance[0], ("deny".into(), Provenance::Guard));
    }

    #[test]
    fn protocols_have_their_own_built_in_values() {
        let config = Config::default();
        let at = |speaks: Speaks| {
            let listener = config.listener.iter().find(|row| row.speaks == speaks).expect("a default row");
            effective(&Policy::new(&config, listener, &listener.listen[0]), "127.0.0.1")
        };
        assert!(!at(Speaks::Smtp).auth && !at(Speaks::Smtp).require_tls);
        assert!(at(Speaks::Submission).auth && at(Speaks::Submission).require_tls);
        assert!(!at(Speaks::Lmtp).auth);
        assert_eq!(at(Speaks::Imap).idle_time, config.imap.idle_time);
        assert_eq!(at(Speaks::Imap).sessions_per_address, config.limits.sessions_per_address);
    }

    #[test]
    fn extensions_are_offered_as_listed() {
        let mut some = (*effective(&policy(0), "192.0.2.1")).clone();
        assert!(some.offers(SmtpExtension::Chunking));
        some.auth = true;
        some.smtp_extensions = Some(vec![SmtpExtension::Size, SmtpExtension::Auth(Some(Mechanism::Login))]);
        assert!(some.offers(SmtpExtension::Size) && !some.offers(SmtpExtension::Chunking));
        assert!(some.offers(SmtpExtension::Auth(None)));
        assert!(some.offers_mechanism(Mechanism::Login) && !some.offers_mechanism(Mechanism::Plain));
        some.smtp_extensions = Some(vec![SmtpExtension::Auth(None)]);
        assert!(some.offers_mechanism(Mechanism::Plain));
        some.auth = false;
        assert!(!some.offers_mechanism(Mechanism::Plain));
    }
}
