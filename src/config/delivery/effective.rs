//! What holds for one binding and one domain.
//!
//! Option by option, the first of these that sets it wins: the group's row for the binding and the domain, the
//! binding's row for the domain, the group's row for the domain, the binding, the group, the row for the domain
//! below `[delivery]`, `[delivery]` itself, the built-in value. In each scope one row holds for a domain: that of
//! its name, else the first pattern in the file that matches.

use std::collections::HashMap;
use std::fmt;

use posthorn_model::Domain;

use super::domains::Domains;
use super::limit::{Limited, Names};
use super::{DeliveryOptions, Limit, TlsDemand, label};
use crate::{BindingGroup, Config, Span};

/// The options of all scopes, prepared so that one look-up costs a few hash look-ups and the patterns of the scopes
/// that are concerned.
#[derive(Clone, Debug)]
pub struct DeliveryPolicy {
    global: Prepared,
    domains: Domains,
    bindings: HashMap<String, BindingScope>,
    groups: HashMap<String, GroupScope>,
    built_in: Prepared,
}

/// Every option as it holds for one binding and one domain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EffectiveDelivery {
    /// What TLS must give.
    pub tls: TlsDemand,
    /// Whether DANE is honoured.
    pub dane: bool,
    /// Whether MTA-STS is honoured.
    pub mta_sts: bool,
    /// Connections at once to one site, or to the domains of the row where it was written.
    pub connections: Limit,
    /// Connections at once to one address of a receiver.
    pub connections_per_address: Limit,
    /// Messages before a connection is closed; 0 is no limit.
    pub messages_per_connection: u32,
    /// The most recipients in one transaction; at least 1.
    pub recipients_per_message: u32,
    /// Transactions in a second.
    pub messages_per_second: Limit,
    /// Transactions in an hour.
    pub messages_per_hour: Limit,
    /// New connections in a second.
    pub connections_per_second: Limit,
    /// How long a connection without work is kept.
    pub idle: Span,
    /// How long connecting to one address may take.
    pub connect_time: Span,
    /// How long a reply may take.
    pub reply_time: Span,
    /// How long the reply to a whole message may take.
    pub final_time: Span,
    /// Whether mail waits.
    pub suspend: bool,
    /// Whether mail counts as delivered without being sent.
    pub blackhole: bool,
    /// Whether IPv6 is tried before IPv4.
    pub prefer_ipv6: bool,
    /// Whether commands are sent in groups.
    pub pipelining: bool,
    /// Whether BDAT is used.
    pub chunking: bool,
    /// The first wait; `None` leaves it to the queue policy.
    pub retry_first: Option<Span>,
    /// The longest wait; `None` leaves it to the queue policy.
    pub retry_most: Option<Span>,
    /// When it is given up; `None` leaves it to the queue policy.
    pub expire: Option<Span>,
    /// Where each option was decided, in declared order.
    pub provenance: Vec<(&'static str, Scope)>,
}

/// Where an option of delivery was decided. Indexes count the rows of the configuration from 0. Displays as the key
/// path of the scope, such as `binding_group[0].domain[1]`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Scope {
    /// A `[[binding_group.domain]]` row, with or without a binding.
    GroupDomain(usize, usize),
    /// A `[[binding.domain]]` row.
    BindingDomain(usize, usize),
    /// A `[[binding]]` row.
    Binding(usize),
    /// A `[[binding_group]]` row.
    Group(usize),
    /// A `[[delivery.domain]]` row.
    Domain(usize),
    /// `[delivery]`.
    Global,
    /// Nowhere in delivery: the queue policy decides.
    QueuePolicy,
}

/// One scope's options and the names of its buckets.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    scope: Scope,
    options: DeliveryOptions,
    names: Names,
}

#[derive(Clone, Debug)]
struct BindingScope {
    own: Prepared,
    domains: Domains,
    group: Option<String>,
}

#[derive(Clone, Debug)]
struct GroupScope {
    own: Prepared,
    domains: Domains,
    by_binding: HashMap<String, Domains>,
}

impl DeliveryPolicy {
    /// Prepares the scopes of a configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let mut domains = Domains::default();
        for (at, row) in config.delivery.domain.iter().enumerate() {
            let called = format!("domain \"{}\"", label(row.name.as_ref(), row.pattern.as_ref()));
            let name = row.name.as_ref().map(Domain::as_str);
            domains.add((name, row.pattern.as_ref()), Prepared::new(Scope::Domain(at), &row.options, &called));
        }
        let mut policy = Self {
            global: Prepared::new(Scope::Global, &config.delivery.options, "delivery"),
            domains,
            bindings: HashMap::new(),
            groups: HashMap::new(),
            built_in: Prepared::new(Scope::Global, &DeliveryOptions::built_in(), "delivery"),
        };
        for (at, row) in config.binding.iter().enumerate() {
            let called = format!("binding \"{}\"", row.name);
            let mut domains = Domains::default();
            for (on, inner) in row.domain.iter().enumerate() {
                let inside = format!("{called} domain \"{}\"", label(inner.name.as_ref(), inner.pattern.as_ref()));
                let name = inner.name.as_ref().map(Domain::as_str);
                let inside = Prepared::new(Scope::BindingDomain(at, on), &inner.options, &inside);
                domains.add((name, inner.pattern.as_ref()), inside);
            }
            let own = Prepared::new(Scope::Binding(at), &row.options, &called);
            let scope = BindingScope { own, domains, group: row.group.clone() };
            policy.bindings.entry(row.name.clone()).or_insert(scope);
        }
        for (at, row) in config.binding_group.iter().enumerate() {
            policy.groups.entry(row.name.clone()).or_insert_with(|| GroupScope::new(at, row));
        }
        policy
    }

    /// What holds when mail for a folded domain leaves through a binding of a group. Without a group it is the one
    /// that the binding belongs to; a binding or group that is not configured sets nothing.
    #[must_use]
    pub fn effective(&self, group: Option<&str>, binding: Option<&str>, domain: &str) -> EffectiveDelivery {
        let source = binding.and_then(|name| self.bindings.get(name));
        let group = group.or_else(|| source.and_then(|source| source.group.as_deref()));
        let pool = group.and_then(|name| self.groups.get(name));
        let inside = pool.zip(binding).and_then(|(pool, name)| pool.by_binding.get(name));
        let chain = [
            inside.and_then(|domains| domains.find(domain)),
            source.and_then(|source| source.domains.find(domain)),
            pool.and_then(|pool| pool.domains.find(domain)),
            source.map(|source| &source.own),
            pool.map(|pool| &pool.own),
            self.domains.find(domain),
            Some(&self.global),
            Some(&self.built_in),
        ];
        let mut search = Search { chain, found: Vec::with_capacity(OPTIONS) };
        search.options(&self.built_in)
    }
}

/// How many options there are.
const OPTIONS: usize = 22;

impl GroupScope {
    fn new(at: usize, row: &BindingGroup) -> Self {
        let called = format!("binding_group \"{}\"", row.name);
        let own = Prepared::new(Scope::Group(at), &row.options, &called);
        let (mut domains, mut by_binding) = (Domains::default(), HashMap::<String, Domains>::new());
        for (on, inner) in row.domain.iter().enumerate() {
            let binding = inner.binding.as_ref().map(|name| format!(" binding \"{name}\"")).unwrap_or_default();
            let inside = format!("{called}{binding} domain \"{}\"", label(inner.name.as_ref(), inner.pattern.as_ref()));
            let prepared = Prepared::new(Scope::GroupDomain(at, on), &inner.options, &inside);
            let name = inner.name.as_ref().map(Domain::as_str);
            let rows = match &inner.binding {
                Some(binding) => by_binding.entry(binding.clone()).or_default(),
                None => &mut domains,
            };
            rows.add((name, inner.pattern.as_ref()), prepared);
        }
        Self { own, domains, by_binding }
    }
}

impl Prepared {
    fn new(scope: Scope, options: &DeliveryOptions, label: &str) -> Self {
        Self { scope, options: options.clone(), names: Names::of(label) }
    }
}

/// One walk outward per option, noting where it ended.
struct Search<'p> {
    chain: [Option<&'p Prepared>; 8],
    found: Vec<(&'static str, Scope)>,
}

impl<'p> Search<'p> {
    fn options(&mut self, built_in: &'p Prepared) -> EffectiveDelivery {
        // The built-in options set all but the last three, so `or` is never looked at.
        let or = &built_in.options;
        EffectiveDelivery {
            tls: self.pick("tls", |o| o.tls).or(or.tls).unwrap_or_default(),
            dane: self.flag("dane", |o| o.dane),
            mta_sts: self.flag("mta_sts", |o| o.mta_sts),
            connections: self.limit(Limited::Connections, |o| o.connections, built_in),
            connections_per_address: self.limit(
                Limited::ConnectionsPerAddress,
                |o| o.connections_per_address,
                built_in,
            ),
            messages_per_connection: self.number("messages_per_connection", |o| o.messages_per_connection),
            recipients_per_message: self.number("recipients_per_message", |o| o.recipients_per_message).max(1),
            messages_per_second: self.limit(Limited::MessagesPerSecond, |o| o.messages_per_second, built_in),
            messages_per_hour: self.limit(Limited::MessagesPerHour, |o| o.messages_per_hour, built_in),
            connections_per_second: self.limit(Limited::ConnectionsPerSecond, |o| o.connections_per_second, built_in),
            idle: self.span("idle", |o| o.idle),
            connect_time: self.span("connect_time", |o| o.connect_time),
            reply_time: self.span("reply_time", |o| o.reply_time),
            final_time: self.span("final_time", |o| o.final_time),
            suspend: self.flag("suspend", |o| o.suspend),
            blackhole: self.flag("blackhole", |o| o.blackhole),
            prefer_ipv6: self.flag("prefer_ipv6", |o| o.prefer_ipv6),
            pipelining: self.flag("pipelining", |o| o.pipelining),
            chunking: self.flag("chunking", |o| o.chunking),
            retry_first: self.pick("retry_first", |o| o.retry_first),
            retry_most: self.pick("retry_most", |o| o.retry_most),
            expire: self.pick("expire", |o| o.expire),
            provenance: std::mem::take(&mut self.found),
        }
    }

    /// The innermost scope that sets an option, and the value.
    fn first<T>(&self, read: impl Fn(&'p DeliveryOptions) -> Option<T>) -> Option<(&'p Prepared, T)> {
        self.chain.iter().flatten().find_map(|scope| read(&scope.options).map(|value| (*scope, value)))
    }

    fn pick<T>(&mut self, name: &'static str, read: impl Fn(&'p DeliveryOptions) -> Option<T>) -> Option<T> {
        let found = self.first(read);
        self.found.push((name, found.as_ref().map_or(Scope::QueuePolicy, |(scope, _)| scope.scope)));
        found.map(|(_, value)| value)
    }

    fn flag(&mut self, name: &'static str, read: impl Fn(&'p DeliveryOptions) -> Option<bool>) -> bool {
        self.pick(name, read).unwrap_or_default()
    }

    fn number(&mut self, name: &'static str, read: impl Fn(&'p DeliveryOptions) -> Option<u32>) -> u32 {
        self.pick(name, read).unwrap_or_default()
    }

    fn span(&mut self, name: &'static str, read: impl Fn(&'p DeliveryOptions) -> Option<Span>) -> Span {
        self.pick(name, read).unwrap_or_default()
    }

    fn limit(
        &mut self,
        limited: Limited,
        read: impl Fn(&'p DeliveryOptions) -> Option<u32>,
        built_in: &'p Prepared,
    ) -> Limit {
        let (scope, value) = self.first(read).unwrap_or((built_in, 0));
        self.found.push((limited.option(), scope.scope));
        let counts = limited.counts(scope.scope.is_for_domains());
        Limit { value, bucket: scope.names.name(limited), counts }
    }
}

impl Scope {
    /// Whether the scope names the domains that it is for.
    #[must_use]
    pub const fn is_for_domains(self) -> bool {
        matches!(self, Self::GroupDomain(..) | Self::BindingDomain(..) | Self::Domain(_))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GroupDomain(group, row) => write!(f, "binding_group[{group}].domain[{row}]"),
            Self::BindingDomain(binding, row) => write!(f, "binding[{binding}].domain[{row}]"),
            Self::Binding(binding) => write!(f, "binding[{binding}]"),
            Self::Group(group) => write!(f, "binding_group[{group}]"),
            Self::Domain(row) => write!(f, "delivery.domain[{row}]"),
            Self::Global => f.write_str("delivery"),
            Self::QueuePolicy => f.write_str("queue"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::delivery::Counts;
    use crate::load::tests::load_text;

    /// Every scope that can set an option for the binding `a` of the group `g` and `example.com`, in the order in
    /// which they win: the table that the row is written in, what the row says of itself, the scope.
    const SCOPES: [(&str, &str, Scope); 7] = [
        ("[[binding_group.domain]]", "binding = 'a'\nname = 'example.com'", Scope::GroupDomain(0, 0)),
        ("[[binding.domain]]", "name = 'example.com'", Scope::BindingDomain(0, 0)),
        ("[[binding_group.domain]]", "name = 'example.com'", Scope::GroupDomain(0, 0)),
        ("[[binding]]", "name = 'a'\ngroup = 'g'", Scope::Binding(0)),
        ("[[binding_group]]", "name = 'g'", Scope::Group(0)),
        ("[[delivery.domain]]", "name = 'example.com'", Scope::Domain(0)),
        ("[delivery]", "", Scope::Global),
    ];

    /// A configuration in which exactly these of the scopes set an option, each to its place in the order.
    fn written(option: &str, setting: &[usize]) -> String {
        let line = |at: usize| if setting.contains(&at) { format!("{option} = {}\n", at + 1) } else { String::new() };
        let row = |at: usize| {
            // Rows for domains are only there when they set something.
            let (header, own, _) = SCOPES[at];
            let needed = header.starts_with('[') && !header.contains("domain") || setting.contains(&at);
            if needed { format!("{header}\n{own}\n{}", line(at)) } else { String::new() }
        };
        // TOML wants a table's rows behind it.
        [6, 5, 3, 1, 4, 0, 2].map(row).concat()
    }

    fn policy(text: &str) -> DeliveryPolicy {
        DeliveryPolicy::new(&load_text(text).config)
    }

    fn origin(effective: &EffectiveDelivery, option: &str) -> Option<Scope> {
        effective.provenance.iter().find(|(name, _)| *name == option).map(|(_, scope)| *scope)
    }

    #[test]
    fn the_order_of_the_scopes_is_kept_for_every_subset() {
        for subset in 0_u32..128 {
            let setting: Vec<_> = (0..7).filter(|at| subset & (1 << at) != 0).collect();
            let text = written("recipients_per_message", &setting);
            let effective = policy(&text).effective(None, Some("a"), "example.com");
            let found = (effective.recipients_per_message, origin(&effective, "recipients_per_message"));
            let expected = match setting.first() {
                Some(first) => (*first as u32 + 1, Some(SCOPES[*first].2)),
                None => (100, Some(Scope::Global)),
            };
            assert_eq!(found, expected, "{setting:?}\n{text}");
        }
    }

    #[test]
    fn each_scope_holds_for_its_own() {
        let all: Vec<_> = (0..7).collect();
        let policy = policy(&written("recipients_per_message", &all));
        let at = |group, binding, domain| policy.effective(group, binding, domain).recipients_per_message;
        for (group, binding, domain, value) in [
            (None, Some("a"), "example.com", 1),
            (Some("g"), Some("a"), "example.com", 1),
            (Some("other"), Some("a"), "example.com", 2),
            (Some("g"), None, "example.com", 3),
            (Some("g"), Some("other"), "example.com", 3),
            (None, Some("a"), "example.net", 4),
            (Some("g"), None, "example.net", 5),
            (None, None, "example.com", 6),
            (None, Some("other"), "example.com", 6),
            (None, None, "example.net", 7),
            (None, None, "[192.0.2.1]", 7),
        ] {
            assert_eq!(at(group, binding, domain), value, "{group:?} {binding:?} {domain}");
        }
    }

    #[test]
    fn zero_and_false_are_settings() {
        let policy = policy(
            "[delivery]\nmessages_per_second = 5\nsuspend = true\nidle = 9\nretry_first = '1 min'\n\
             [[delivery.domain]]\nname = 'example.com'\nmessages_per_second = 0\nsuspend = false\nidle = 0\n",
        );
        let (zero, unset) = (policy.effective(None, None, "example.com"), policy.effective(None, None, "example.net"));
        assert_eq!((zero.messages_per_second.limit(), unset.messages_per_second.limit()), (None, Some(5)));
        assert_eq!((zero.suspend, unset.suspend), (false, true));
        assert_eq!((zero.idle, unset.idle), (Span::ZERO, Span::from_secs(9)));
        assert_eq!(zero.retry_first, Some(Span::from_secs(60)));
        assert_eq!(origin(&zero, "messages_per_second"), Some(Scope::Domain(0)));
        assert_eq!(origin(&zero, "retry_first"), Some(Scope::Global));
        assert_eq!(origin(&zero, "retry_most"), Some(Scope::QueuePolicy));
    }

    #[test]
    fn literals_win_and_patterns_go_by_the_file() {
        let policy = policy(
            "[[delivery.domain]]\npattern = '\\.com$'\nconnections = 1\n\
             [[delivery.domain]]\npattern = '^EXAMPLE\\.'\nconnections = 2\nchunking = true\n\
             [[delivery.domain]]\nname = 'Example.COM'\nconnections = 3\n",
        );
        let at = |domain| policy.effective(None, None, domain);
        for (domain, value) in [("example.com", 3), ("a.example.com", 1), ("example.org", 2), ("a.org", 20)] {
            assert_eq!(at(domain).connections.value, value, "{domain}");
        }
        // One row of a scope counts: the pattern's other options do not shine through.
        assert!(at("example.org").chunking && !at("example.com").chunking);
    }

    #[test]
    fn a_row_that_sets_nothing_lets_the_next_scope_speak() {
        let policy = policy(
            "[delivery]\nconnections = 7\n[[binding]]\nname = 'a'\nchunking = true\n\
             [[binding.domain]]\nname = 'example.com'\npipelining = false\n",
        );
        let effective = policy.effective(None, Some("a"), "example.com");
        assert_eq!((effective.connections.value, effective.chunking, effective.pipelining), (7, true, false));
        let scopes: Vec<_> = effective.provenance.iter().map(|(name, _)| *name).collect();
        assert_eq!(scopes.len(), OPTIONS);
        assert_eq!((scopes[0], scopes[OPTIONS - 1]), ("tls", "expire"));
    }

    const POOL: &str = "[[binding_group]]
name = 'g'
messages_per_second = 10
connections = 50
[[binding_group.domain]]
pattern = '\\.example$'
messages_per_hour = 100
connections = 4
[[binding]]
name = 'a'
group = 'g'
[[binding]]
name = 'b'
group = 'g'
[[binding]]
name = 'own'
group = 'g'
messages_per_second = 10
";

    #[test]
    fn who_inherits_a_limit_shares_its_bucket() {
        let policy = policy(POOL);
        let rate = |binding, domain| policy.effective(None, Some(binding), domain).messages_per_second;
        let shared = rate("a", "one.example");
        assert_eq!(
            (shared.value, &*shared.bucket, shared.counts),
            (10, "binding_group \"g\": messages_per_second", Counts::All)
        );
        assert_eq!(rate("b", "two.test"), shared);
        assert!(Arc::ptr_eq(&rate("b", "two.test").bucket, &shared.bucket));
        // Written again, if only the same number, it is another bucket.
        let own = rate("own", "one.example");
        assert_eq!((own.value, &*own.bucket), (10, "binding \"own\": messages_per_second"));

        let hourly = |binding, domain| policy.effective(None, Some(binding), domain).messages_per_hour;
        assert_eq!(
            &*hourly("a", "one.example").bucket,
            "binding_group \"g\" domain \"/\\.example$/\": messages_per_hour"
        );
        assert_eq!(hourly("a", "one.example"), hourly("own", "two.example"));
        assert_eq!(hourly("a", "one.test").limit(), None);
    }

    #[test]
    fn connections_are_counted_for_each_site_unless_domains_are_named() {
        let policy = policy(POOL);
        let at = |domain| policy.effective(None, Some("a"), domain);
        assert_eq!((at("one.test").connections.value, at("one.test").connections.counts), (50, Counts::Site));
        assert_eq!((at("a.example").connections.value, at("a.example").connections.counts), (4, Counts::All));
        assert_eq!(at("a.example").connections, at("b.example").connections);
        let built_in = policy.effective(None, None, "one.test");
        assert_eq!(
            (&*built_in.connections.bucket, built_in.connections.counts),
            ("delivery: connections", Counts::Site)
        );
        assert_eq!(built_in.connections_per_address.counts, Counts::Address);
    }

    #[test]
    fn the_most_specific_rows_name_their_binding() {
        let policy = policy(
            "[[binding]]\nname = 'a'\ngroup = 'g'\n[[binding_group]]\nname = 'g'\n\
             [[binding_group.domain]]\nbinding = 'a'\nname = 'example.com'\nconnections_per_second = 1\n",
        );
        let limit = policy.effective(None, Some("a"), "example.com").connections_per_second;
        assert_eq!(&*limit.bucket, "binding_group \"g\" binding \"a\" domain \"example.com\": connections_per_second");
        assert_eq!(policy.effective(Some("g"), None, "example.com").connections_per_second.limit(), None);
    }

    #[test]
    fn nothing_written_gives_the_built_in_values() {
        let effective = policy("").effective(None, None, "example.com");
        assert_eq!((effective.tls, effective.dane, effective.mta_sts), (TlsDemand::Opportunistic, true, true));
        assert_eq!((effective.connections.value, effective.recipients_per_message), (20, 100));
        assert_eq!((effective.reply_time, effective.expire), (Span::from_secs(300), None));
        // A configuration made by hand without any option still has all of them.
        let bare = Config {
            delivery: crate::Delivery { options: DeliveryOptions::default(), domain: Vec::new() },
            ..Config::default()
        };
        assert_eq!(DeliveryPolicy::new(&bare).effective(None, None, "example.com"), effective);
    }
}
