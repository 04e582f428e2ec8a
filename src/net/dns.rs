//! The DNS as mail needs it: mail exchangers, addresses, TLSA and TXT records, each with what DNSSEC says of it.
//!
//! Answers are kept as long as their TTL allows, and a question is asked once however many ask it at the same time.
//! "There is none", "no such name" and "cannot be told now" never mix: the first two make mail come back, the last
//! makes it wait.

mod answer;
mod kept;
mod proving;
mod question;
mod tlsa;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::dnssec::TrustAnchors;
use hickory_proto::rr::{Name, RData, RecordType};

pub use self::answer::{Addresses, Answer, Mx, MxAnswer, MxHost, Texts, TlsaSet};
use self::kept::Kept;
use self::question::{Outcome, Resolvers, Set};
pub use self::tlsa::Tlsa;

/// How the DNS is asked.
#[derive(Clone, Debug)]
pub struct DnsOptions {
    /// Recursive servers; empty: those of the system (`/etc/resolv.conf`, read once), and its hosts file.
    pub servers: Vec<SocketAddr>,
    /// DNSKEY records in zone file form that are trusted instead of the root's built-in keys.
    pub trust_anchor: Option<PathBuf>,
    /// Whether answers are validated.
    pub dnssec: Dnssec,
    /// Time for one try of one query.
    pub timeout: Duration,
    /// Tries of a query, the first included.
    pub attempts: usize,
    /// Record sets that are kept in memory.
    pub cache: u64,
}

impl Default for DnsOptions {
    fn default() -> Self {
        let (timeout, attempts, cache) = (Duration::from_secs(5), 2, 20_000);
        Self { servers: Vec::new(), trust_anchor: None, dnssec: Dnssec::IfPossible, timeout, attempts, cache }
    }
}

/// Whether answers are validated with DNSSEC.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dnssec {
    /// Always: with servers that do not pass DNSSEC on, nothing can be resolved.
    Always,
    /// As soon as the servers have once passed a valid proof of the root on; from then on always. Until then nothing is
    /// secure and every name resolves.
    IfPossible,
    /// Never: nothing is secure.
    Never,
}

/// Why there is no resolver.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The trust anchor file is unreadable or not what it should be.
    #[error("{path}: {reason}")]
    Anchor {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The library refused the settings.
    #[error("DNS settings: {0}")]
    Settings(String),
}

/// A resolver; cheap to clone. Must be made and used inside a tokio runtime.
#[derive(Clone, Debug)]
pub struct Dns {
    resolvers: Arc<Resolvers>,
    kept: Kept,
}

impl Dns {
    /// Makes a resolver; asks nothing yet.
    ///
    /// # Errors
    /// [`DnsError`].
    pub fn new(options: &DnsOptions) -> Result<Self, DnsError> {
        let anchors = match &options.trust_anchor {
            None => TrustAnchors::default(),
            Some(path) => TrustAnchors::from_file(path)
                .map_err(|error| DnsError::Anchor { path: path.clone(), reason: error.to_string() })?,
        };
        Ok(Self { resolvers: Arc::new(Resolvers::new(options, anchors)?), kept: Kept::new(options.cache) })
    }

    /// Where mail for `domain` (A-labels) goes. The hosts' addresses are not looked up, except that an implicit MX must
    /// have one.
    pub async fn mx(&self, domain: &str) -> MxAnswer {
        let set = self.set(domain, RecordType::MX).await;
        match &set.outcome {
            Outcome::Records(records) => exchangers(records, &set),
            Outcome::NoSuchName => MxAnswer::NoSuchDomain,
            Outcome::Temporary(reason) => MxAnswer::Temporary(reason.clone()),
            Outcome::None => match self.addresses(domain).await {
                Answer::Found(addresses) => MxAnswer::Hosts(Mx {
                    hosts: vec![MxHost { preference: 0, host: folded(domain) }],
                    secure: set.secure,
                    implicit: true,
                    expires: set.expires.min(addresses.expires),
                }),
                Answer::None | Answer::NoSuchName => MxAnswer::NoSuchDomain,
                Answer::Temporary(reason) => MxAnswer::Temporary(reason),
            },
        }
    }

    /// The addresses of `host` (A-labels). One family is enough: when the other cannot be told, it is left out.
    pub async fn addresses(&self, host: &str) -> Answer<Addresses> {
        let (a, aaaa) = tokio::join!(self.set(host, RecordType::A), self.set(host, RecordType::AAAA));
        let v4 = a.records().iter().filter_map(|data| if let RData::A(a) = data { Some(a.0) } else { None });
        let v6 = aaaa.records().iter().filter_map(|data| if let RData::AAAA(a) = data { Some(a.0) } else { None });
        let (v4, v6): (Vec<_>, Vec<_>) = (v4.take(MOST_ADDRESSES).collect(), v6.take(MOST_ADDRESSES).collect());
        if v4.is_empty() && v6.is_empty() {
            return match (&a.outcome, &aaaa.outcome) {
                (Outcome::Temporary(reason), _) | (_, Outcome::Temporary(reason)) => Answer::Temporary(reason.clone()),
                (Outcome::NoSuchName, Outcome::NoSuchName) => Answer::NoSuchName,
                _ => Answer::None,
            };
        }
        // A family that cannot be told takes nothing away from the proof of the addresses that are used; otherwise
        // whoever disturbs one question could switch DANE off.
        let told = |set: &Set| !matches!(set.outcome, Outcome::Temporary(_));
        let secure = [&a, &aaaa].into_iter().filter(|set| told(set)).all(|set| set.secure);
        let canonical = a.canonical.as_ref().or(aaaa.canonical.as_ref()).map(text);
        Answer::Found(Addresses { v4, v6, secure, canonical, expires: a.expires.min(aaaa.expires) })
    }

    /// The secure TLSA records of `port` at `host` (RFC 7672 §2.2.3). Insecure ones are none. When they cannot be told
    /// (a server failed, or the answer is bogus), the host must not be used now (RFC 7672 §2.1.2).
    pub async fn tlsa(&self, host: &str, port: u16) -> Answer<TlsaSet> {
        let set = self.set(&format!("_{port}._tcp.{host}"), RecordType::TLSA).await;
        match &set.outcome {
            Outcome::Records(records) if set.secure => Answer::Found(TlsaSet {
                records: records.iter().filter_map(question::tlsa).take(MOST_RECORDS).collect(),
                base: folded(host),
                expires: set.expires,
            }),
            Outcome::Records(_) | Outcome::None => Answer::None,
            Outcome::NoSuchName => Answer::NoSuchName,
            Outcome::Temporary(reason) => Answer::Temporary(reason.clone()),
        }
    }

    /// The TLSA records that hold for a session with `host`, given how its name was found (`mx_secure`) and its
    /// addresses: only when both are secure, and under its canonical name first (RFC 7672 §2.2.2, §2.2.3).
    pub async fn dane(&self, mx_secure: bool, host: &str, port: u16, addresses: &Addresses) -> Answer<TlsaSet> {
        if !mx_secure || !addresses.secure {
            return Answer::None;
        }
        if let Some(canonical) = &addresses.canonical {
            match self.tlsa(canonical, port).await {
                Answer::None | Answer::NoSuchName => {}
                told => return told,
            }
        }
        self.tlsa(host, port).await
    }

    /// The TXT records of `name`.
    pub async fn txt(&self, name: &str) -> Answer<Texts> {
        let set = self.set(name, RecordType::TXT).await;
        match &set.outcome {
            Outcome::Records(records) => Answer::Found(Texts {
                texts: records.iter().filter_map(question::joined).collect(),
                secure: set.secure,
                expires: set.expires,
            }),
            Outcome::None => Answer::None,
            Outcome::NoSuchName => Answer::NoSuchName,
            Outcome::Temporary(reason) => Answer::Temporary(reason.clone()),
        }
    }

    /// The A records of `host` (A-labels), or with `v6` its AAAA records.
    pub async fn addresses_of(&self, host: &str, v6: bool) -> Answer<Vec<IpAddr>> {
        let set = self.set(host, if v6 { RecordType::AAAA } else { RecordType::A }).await;
        set.answer(|data| match data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        })
    }

    /// The hosts of the MX records of `domain` (A-labels), best first; no implicit MX, and a null MX is a host with an
    /// empty name.
    pub async fn exchangers(&self, domain: &str) -> Answer<Vec<String>> {
        let set = self.set(domain, RecordType::MX).await;
        match set
            .answer(|data| if let RData::MX(mx) = data { Some((mx.preference, plain(&mx.exchange))) } else { None })
        {
            Answer::Found(mut hosts) => {
                hosts.sort_by_key(|(preference, _)| *preference);
                Answer::Found(hosts.into_iter().map(|(_, host)| host).collect())
            }
            Answer::None => Answer::None,
            Answer::NoSuchName => Answer::NoSuchName,
            Answer::Temporary(reason) => Answer::Temporary(reason),
        }
    }

    /// The names that the PTR records of an address give it. Whoever holds the address writes them: they prove nothing
    /// until they lead back to it.
    pub async fn names(&self, address: IpAddr) -> Answer<Vec<String>> {
        let set = self.of(Name::from(address), RecordType::PTR).await;
        set.answer(|data| if let RData::PTR(name) = data { Some(plain(&name.0)) } else { None })
    }

    /// Forgets all answers, for an operator who has just changed a zone.
    pub fn forget(&self) {
        self.resolvers.forget();
        self.kept.forget();
    }

    async fn set(&self, name: &str, kind: RecordType) -> Arc<Set> {
        let Some(name) = fully_qualified(name) else {
            return Arc::new(Set::told(Outcome::NoSuchName, Instant::now()));
        };
        self.of(name, kind).await
    }

    async fn of(&self, name: Name, kind: RecordType) -> Arc<Set> {
        self.kept.get(&self.resolvers, name, kind).await
    }
}

/// MX records as hosts, or the word that there are none.
fn exchangers(records: &[RData], set: &Set) -> MxAnswer {
    let exchangers = records.iter().filter_map(|data| if let RData::MX(mx) = data { Some(mx) } else { None });
    let mut hosts: Vec<_> =
        exchangers.map(|mx| MxHost { preference: mx.preference, host: text(&mx.exchange) }).collect();
    // RFC 7505 §3: a null MX stands alone. Beside others it names no host, and is passed over.
    if let [only] = &hosts[..]
        && only.host.is_empty()
    {
        return MxAnswer::Null;
    }
    hosts.retain(|host| !host.host.is_empty());
    if hosts.is_empty() {
        return MxAnswer::Null;
    }
    hosts.sort_by_key(|host| host.preference);
    hosts.truncate(MOST_HOSTS);
    MxAnswer::Hosts(Mx { hosts, secure: set.secure, implicit: false, expires: set.expires })
}

/// A name as it is, whatever octets its labels hold: nothing in it is an escape.
fn fully_qualified(name: &str) -> Option<Name> {
    let labels = name.strip_suffix('.').unwrap_or(name).split('.').map(str::as_bytes);
    if !name.is_ascii() || labels.clone().any(<[u8]>::is_empty) {
        return None;
    }
    let mut name = Name::from_labels(labels).ok()?;
    name.set_fqdn(true);
    Some(name.to_lowercase())
}

/// A name in lower case without the final dot; the root is empty.
fn text(name: &Name) -> String {
    folded(&name.to_ascii())
}

/// The same without escapes, as [`fully_qualified`] takes it, where that can be written.
fn plain(name: &Name) -> String {
    let sound = |label: &[u8]| label.is_ascii() && !label.contains(&b'.');
    if !name.iter().all(sound) {
        return text(name);
    }
    let labels: Vec<_> = name.iter().map(String::from_utf8_lossy).collect();
    labels.join(".").to_ascii_lowercase()
}

fn folded(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// More mail exchangers than this serve nobody.
const MOST_HOSTS: usize = 100;
/// Of each family; a host with more would keep a connection busy with dialling.
const MOST_ADDRESSES: usize = 16;
const MOST_RECORDS: usize = 64;

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::MX;

    use super::*;

    fn answer(records: &[(u16, &str)]) -> MxAnswer {
        let records = records.iter().map(|(n, host)| RData::MX(MX::new(*n, Name::from_ascii(host).expect("name"))));
        exchangers(&records.collect::<Vec<_>>(), &Set::told(Outcome::None, Instant::now()))
    }

    #[test]
    fn hosts_come_best_first_and_folded() {
        let MxAnswer::Hosts(mx) = answer(&[(20, "B.Example."), (10, "a.example."), (20, "c.example.")]) else {
            panic!("no hosts");
        };
        let hosts: Vec<_> = mx.hosts.iter().map(|mx| mx.host.as_str()).collect();
        assert_eq!(hosts, ["a.example", "b.example", "c.example"]);
        assert!(!mx.implicit && !mx.secure);
    }

    #[test]
    fn the_root_as_host_is_no_mail() {
        assert_eq!(answer(&[(0, ".")]), MxAnswer::Null);
        assert!(matches!(answer(&[(0, "."), (5, "a.example.")]), MxAnswer::Hosts(mx) if mx.hosts.len() == 1));
    }

    #[tokio::test]
    async fn the_systems_servers_will_do() {
        assert!(Dns::new(&DnsOptions::default()).is_ok());
        let missing = DnsOptions { trust_anchor: Some("/nonexistent".into()), ..DnsOptions::default() };
        assert!(matches!(Dns::new(&missing), Err(DnsError::Anchor { .. })));
    }

    #[test]
    fn odd_labels_are_written_as_they_are() {
        let odd = fully_qualified("Foo:bar/b z.example").expect("a name");
        assert_eq!(plain(&odd), "foo:bar/b z.example");
        assert_eq!(plain(&Name::root()), "");
        let dotted = Name::from_labels([&b"a.b"[..], b"example"]).expect("a name");
        assert_ne!(plain(&dotted), "a.b.example");
    }

    #[test]
    fn names_are_absolute_or_none() {
        assert_eq!(fully_qualified("Example.COM").map(|name| name.to_ascii()).as_deref(), Some("example.com."));
        assert_eq!(fully_qualified("a\\.b\"c").map(|name| name.num_labels()), Some(2));
        for broken in ["", ".", "a..b", "ä.example", &"x".repeat(64), &"abcdefg.".repeat(40)] {
            assert_eq!(fully_qualified(broken), None, "{broken:?}");
        }
    }
}
