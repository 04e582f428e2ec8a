//! Where mail for a domain goes: a route, or its MX hosts, and what they must prove.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use posthorn_config::{EffectiveDelivery, Next, NextHost, Route, TlsDemand};
use posthorn_net::dns::{Answer, Mx, MxAnswer};
use posthorn_net::sts::{StsMode, StsPolicy};
use posthorn_smtp::{Dialect, Reply};

use crate::Office;

/// A way to hand mail over: hosts that are as good as each other, or better.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Path {
    /// What sites are called: the route, or the names of the MX hosts.
    pub name: Arc<str>,
    pub hops: Hops,
    pub dialect: Dialect,
    /// TLS from the first octet.
    pub implicit_tls: bool,
    /// What TLS must give, whatever policies say.
    pub tls: TlsDemand,
    /// The DNS leads here, not the configuration: the receivers may want reports about TLS.
    pub by_mx: bool,
    /// An MTA-STS policy, and whose; in force, every host must prove its name (RFC 8461 §5).
    pub sts: Option<(String, Arc<StsPolicy>)>,
    /// Why the MTA-STS policy that the domain announces cannot be had.
    pub sts_problem: Option<Arc<str>>,
    /// Nobody declared this way: a host that turns out to be ourselves makes it a circle.
    pub may_loop: bool,
    /// The user and where the password is.
    pub login: Option<(String, Option<PathBuf>)>,
}

/// Whom to connect to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Hops {
    /// Hosts by name, best first.
    Hosts(Vec<Hop>),
    /// One address.
    Address(IpAddr, u16),
    /// A Unix socket.
    Socket(PathBuf),
}

/// A host by name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Hop {
    pub preference: u16,
    pub host: String,
    pub port: u16,
    /// DNSSEC proves that this is the host (RFC 7672 §2.2.1).
    pub secure: bool,
}

/// What a domain's path came to.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// This way, until then.
    Path(Box<Path>, Instant),
    /// Nowhere: it counts as delivered.
    Discard,
    /// Not now: a temporary reply of our own.
    Deferred(Reply),
    /// Never: a permanent reply of our own.
    Failed(Reply),
}

impl Path {
    fn new(name: &str, hops: Hops, dialect: Dialect, route: &Route, options: &EffectiveDelivery) -> Self {
        Self {
            name: name.into(),
            hops,
            dialect,
            implicit_tls: false,
            tls: options.tls,
            sts: None,
            by_mx: false,
            sts_problem: None,
            may_loop: route.to == Next::Mx,
            login: route.user.clone().map(|user| (user, route.password_file.clone())),
        }
    }

    /// Whether every host must prove its name, because an MTA-STS policy in force says so (RFC 8461 §5).
    pub(crate) fn enforces_sts(&self) -> bool {
        self.sts.as_ref().is_some_and(|(_, policy)| policy.mode == StsMode::Enforce)
    }

    /// The names of the hosts, for rules about providers.
    pub(crate) fn host_names(&self) -> Vec<String> {
        match &self.hops {
            Hops::Hosts(hops) => hops.iter().map(|hop| hop.host.clone()).collect(),
            Hops::Address(address, _) => vec![address.to_string()],
            Hops::Socket(_) => Vec::new(),
        }
    }

    /// Everything that tells two paths apart.
    pub(crate) fn key(&self) -> String {
        let mut key = format!("{:?} {} {:?} {:?}", self.dialect, self.implicit_tls, self.tls, self.login);
        let _never_fails = write!(
            key,
            " {:?} {:?}",
            self.hops,
            self.sts.as_ref().map(|(domain, policy)| (domain, policy.mode, &policy.mx))
        );
        key
    }
}

/// The path that a route declares, or an address literal; `None` when the DNS must be asked.
pub(crate) fn declared(office: &Office, domain: &str, route: &Route, options: &EffectiveDelivery) -> Option<Found> {
    let name = route.to.to_string();
    let lasting = |name: &str, hops, dialect| {
        let path = Path {
            implicit_tls: matches!(route.to, Next::Smtp { implicit_tls: true, .. }),
            ..Path::new(name, hops, dialect, route, options)
        };
        Some(Found::Path(Box::new(path), Instant::now() + LASTING))
    };
    match &route.to {
        Next::Discard => Some(Found::Discard),
        Next::Reject(text) => Some(Found::Failed(Reply::new(550, 7, 1, text.clone()))),
        Next::LmtpSocket(socket) => lasting(&name, Hops::Socket(socket.clone()), Dialect::Lmtp),
        Next::Smtp { host, port, .. } => lasting(&name, host_hops(host, *port), Dialect::Smtp),
        Next::Lmtp { host, port } => lasting(&name, host_hops(host, *port), Dialect::Lmtp),
        Next::Mx => {
            let address = literal(domain)?;
            if office.own_addresses.contains(&address) {
                let text = format!("mail for {domain} loops back to this server: the address is our own");
                return Some(Found::Failed(Reply::new(554, 4, 6, text)));
            }
            lasting(domain, Hops::Address(address, office.mx_port), Dialect::Smtp)
        }
    }
}

/// Finds the path of a folded domain. With `counts` the domain is told of problems with its policy.
pub(crate) async fn find(
    office: &Office,
    domain: &str,
    route: &Route,
    options: &EffectiveDelivery,
    counts: bool,
) -> Found {
    match declared(office, domain, route, options) {
        Some(found) => found,
        None => {
            let path = Path::new("", Hops::Hosts(Vec::new()), Dialect::Smtp, route, options);
            exchangers(office, domain, options, path, counts).await
        }
    }
}

fn host_hops(host: &NextHost, port: u16) -> Hops {
    match host {
        NextHost::Address(address) => Hops::Address(*address, port),
        NextHost::Name(name) => {
            Hops::Hosts(vec![Hop { preference: 0, host: name.as_str().to_owned(), port, secure: true }])
        }
    }
}

/// The address of an address literal (RFC 5321 §4.1.3).
fn literal(domain: &str) -> Option<IpAddr> {
    let inside = domain.strip_prefix('[')?.strip_suffix(']')?;
    inside.strip_prefix("IPv6:").unwrap_or(inside).parse().ok()
}

async fn exchangers(office: &Office, domain: &str, options: &EffectiveDelivery, path: Path, counts: bool) -> Found {
    let mx = match office.dns.mx(domain).await {
        MxAnswer::Hosts(mx) => mx,
        // RFC 7505 §4.1
        MxAnswer::Null => return Found::Failed(Reply::new(556, 1, 10, format!("{domain} takes no mail (null MX)"))),
        MxAnswer::NoSuchDomain => {
            return Found::Failed(Reply::new(
                550,
                1,
                2,
                format!("the domain {domain} does not exist or has no mail host"),
            ));
        }
        MxAnswer::Temporary(reason) => {
            return Found::Deferred(Reply::new(450, 4, 3, format!("the DNS cannot be asked for {domain}: {reason}")));
        }
    };
    let Some(mut hops) = without_us(office, &mx).await else {
        let text = format!("mail for {domain} loops back to this server: its best MX host is ourselves");
        return Found::Failed(Reply::new(554, 4, 6, text));
    };
    let (mut sts, mut sts_problem) = (None, None);
    // RFC 8461 §2: the policy of a domain with DANE counts only where DANE says nothing, which is known host by host.
    let policy = if options.mta_sts { office.sts_policy(domain, counts).await } else { None };
    if let Some(Err(problem)) = &policy {
        sts_problem = Some(Arc::from(problem.as_str()));
    }
    if let Some(Ok(policy)) = policy.filter(|policy| policy.as_ref().is_ok_and(|policy| policy.mode != StsMode::None)) {
        if policy.mode == StsMode::Enforce {
            let all = hops.len();
            hops.retain(|hop| policy.allows(&hop.host));
            if hops.is_empty() {
                let text = format!("none of the {all} MX hosts of {domain} is one that its MTA-STS policy names");
                return Found::Deferred(Reply::new(450, 7, 5, text));
            }
        }
        sts = Some((domain.to_owned(), policy));
    }
    let names: Vec<_> = hops.iter().map(|hop| hop.host.as_str()).collect();
    let name = shortened(&names);
    let expires = mx.expires.clamp(Instant::now() + SHORTEST, Instant::now() + LASTING);
    Found::Path(
        Box::new(Path { name: name.into(), hops: Hops::Hosts(hops), sts, sts_problem, by_mx: true, ..path }),
        expires,
    )
}

/// The hosts that are better than ourselves, should we be among them (RFC 5321 §5.1); `None` when there is none.
async fn without_us(office: &Office, mx: &Mx) -> Option<Vec<Hop>> {
    let mut ours = None;
    for host in &mx.hosts {
        if ours.is_none_or(|preference| host.preference < preference) && is_ours(office, &host.host).await {
            ours = Some(host.preference);
        }
    }
    let better = mx.hosts.iter().filter(|host| ours.is_none_or(|preference| host.preference < preference));
    let hop = |host: &posthorn_net::dns::MxHost| Hop {
        preference: host.preference,
        host: host.host.clone(),
        port: office.mx_port,
        secure: mx.secure,
    };
    let mut hops: Vec<_> = better.map(hop).collect();
    hops.sort_by(|a, b| (a.preference, &a.host).cmp(&(b.preference, &b.host)));
    (!hops.is_empty()).then_some(hops)
}

async fn is_ours(office: &Office, host: &str) -> bool {
    if office.own_names.iter().any(|name| name == host) {
        return true;
    }
    if office.own_addresses.is_empty() {
        return false;
    }
    let Answer::Found(found) = office.dns.addresses(host).await else { return false };
    let v4 = found.v4.iter().copied().map(IpAddr::V4);
    v4.chain(found.v6.iter().copied().map(IpAddr::V6)).any(|address| office.own_addresses.contains(&address))
}

/// The names of a set of hosts on one line that is not too long.
fn shortened(names: &[&str]) -> String {
    const SHOWN: usize = 4;
    let mut text = names[..names.len().min(SHOWN)].join(",");
    if names.len() > SHOWN {
        let _never_fails = write!(text, ",+{}", names.len() - SHOWN);
    }
    text
}

/// How long what the configuration says, or a very long TTL, is believed without looking again.
const LASTING: Duration = Duration::from_hours(1);
/// How long an answer is used at least: a TTL of nothing would mean a question per message.
const SHORTEST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_addresses() {
        assert_eq!(literal("[192.0.2.1]"), "192.0.2.1".parse().ok());
        assert_eq!(literal("[IPv6:2001:db8::1]"), "2001:db8::1".parse().ok());
        assert_eq!((literal("example.com"), literal("[x]")), (None, None));
    }

    #[test]
    fn sites_are_named_by_their_hosts() {
        assert_eq!(shortened(&["a.example", "b.example"]), "a.example,b.example");
        assert_eq!(shortened(&["a", "b", "c", "d", "e", "f"]), "a,b,c,d,+2");
    }
}
