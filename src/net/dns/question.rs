//! One question to the servers, and what its answer means.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::dnssec::{DnssecSummary, TrustAnchors};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError as Refused, NetError, NoRecords};
use hickory_resolver::{TokioResolver, system_conf};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::answer::{Answer, LONGEST};
use super::proving::Proving;
use super::{DnsError, DnsOptions, Dnssec, Tlsa};

/// What one question came to.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub(super) outcome: Outcome,
    /// DNSSEC proves the outcome, and every alias on the way to it.
    pub(super) secure: bool,
    /// The name at the end of the aliases, when there are any.
    pub(super) canonical: Option<Name>,
    pub(super) expires: Instant,
}

#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// At least one record of the kind.
    Records(Vec<RData>),
    None,
    NoSuchName,
    Temporary(String),
}

impl Set {
    /// An outcome without proof.
    pub(super) fn told(outcome: Outcome, expires: Instant) -> Self {
        Self { outcome, secure: false, canonical: None, expires }
    }

    /// What was said, as values of one kind.
    pub(super) fn answer<T>(&self, value: impl Fn(&RData) -> Option<T>) -> Answer<Vec<T>> {
        match &self.outcome {
            Outcome::Records(records) => Answer::Found(records.iter().filter_map(value).collect()),
            Outcome::None => Answer::None,
            Outcome::NoSuchName => Answer::NoSuchName,
            Outcome::Temporary(reason) => Answer::Temporary(reason.clone()),
        }
    }

    pub(super) fn records(&self) -> &[RData] {
        if let Outcome::Records(records) = &self.outcome { records } else { &[] }
    }
}

/// The servers, asked with and without proof.
pub(super) struct Resolvers {
    plain: TokioResolver,
    proving: Option<Proving>,
    dnssec: Dnssec,
    /// The servers have passed a valid proof on.
    proved: AtomicBool,
    /// The last look that proved nothing. Locked while somebody looks.
    doubt: tokio::sync::Mutex<Option<Doubt>>,
    complained: Mutex<bool>,
}

#[derive(Clone, Copy)]
struct Doubt {
    until: Instant,
    /// Nobody answered, which says nothing about DNSSEC.
    unanswered: bool,
}

impl Resolvers {
    pub(super) fn new(options: &DnsOptions, anchors: TrustAnchors) -> Result<Self, DnsError> {
        let refused = |error: NetError| DnsError::Settings(error.to_string());
        let servers = if options.servers.is_empty() {
            system_servers()
        } else {
            options.servers.iter().map(|server| name_server(*server)).collect()
        };
        let config = ResolverConfig::from_name_servers(servers.clone());
        let mut plain = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *plain.options_mut() = settings(options);
        let proving = match options.dnssec {
            Dnssec::Never => None,
            Dnssec::Always | Dnssec::IfPossible => {
                Some(Proving::new(servers, settings(options), anchors, options.cache).map_err(refused)?)
            }
        };
        Ok(Self {
            plain: plain.build().map_err(refused)?,
            proving,
            dnssec: options.dnssec,
            proved: AtomicBool::new(false),
            doubt: tokio::sync::Mutex::new(None),
            complained: Mutex::new(false),
        })
    }

    /// Asks the servers.
    pub(super) async fn ask(&self, name: Name, kind: RecordType) -> Set {
        let resolver = self.resolver().await;
        timeout(WHOLE_TIME, ask(resolver, name, kind, 0))
            .await
            .unwrap_or_else(|_| temporary("no DNS server answered in time"))
    }

    /// Forgets the links of chains of trust.
    pub(super) fn forget(&self) {
        if let Some(proving) = &self.proving {
            proving.forget();
        }
    }

    /// Which of the two resolvers is to be asked: see [`Dnssec`].
    async fn resolver(&self) -> Asked<'_> {
        let Some(proving) = &self.proving else { return Asked::Plain(&self.plain) };
        let (plain, sure) = (Asked::Plain(&self.plain), Asked::Proving(proving));
        if self.dnssec == Dnssec::Always || self.proved.load(Ordering::Relaxed) {
            return sure;
        }
        let mut doubt = self.doubt.lock().await;
        if self.proved.load(Ordering::Relaxed) {
            return sure;
        }
        let known = (*doubt).filter(|doubt| doubt.until > Instant::now());
        let unanswered = match known {
            Some(known) => known.unanswered,
            None => match timeout(WHOLE_TIME, proving.lookup(Name::root(), RecordType::DNSKEY)).await {
                Ok(Ok(lookup)) if DnssecSummary::from_records(lookup.answers().iter()) == DnssecSummary::Secure => {
                    tracing::debug!("the DNS servers pass DNSSEC on");
                    self.proved.store(true, Ordering::Relaxed);
                    return sure;
                }
                Err(_) | Ok(Err(NetError::Timeout | NetError::Io(_) | NetError::NoConnections)) => true,
                Ok(_) => false,
            },
        };
        if known.is_none() {
            let time = if unanswered { SHORTEST } else { LOOK_AGAIN };
            *doubt = Some(Doubt { until: Instant::now() + time, unanswered });
            if !unanswered && !std::mem::replace(&mut *self.complained.lock(), true) {
                tracing::error!("the DNS servers do not pass valid DNSSEC proofs on: DANE cannot be used");
            }
        }
        // Whoever is not answered asks on: the question itself will find out.
        if unanswered { sure } else { plain }
    }
}

impl std::fmt::Debug for Resolvers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolvers").field("dnssec", &self.dnssec).field("proved", &self.proved).finish_non_exhaustive()
    }
}

/// One of the two resolvers.
#[derive(Clone, Copy)]
enum Asked<'r> {
    Plain(&'r TokioResolver),
    Proving(&'r Proving),
}

impl Asked<'_> {
    async fn lookup(self, name: Name, kind: RecordType) -> Result<Lookup, NetError> {
        match self {
            Self::Plain(plain) => plain.lookup(name, kind).await,
            Self::Proving(proving) => proving.lookup(name, kind).await,
        }
    }
}

/// One question with what follows from it.
async fn ask(resolver: Asked<'_>, name: Name, kind: RecordType, aliases: usize) -> Set {
    match resolver.lookup(name.clone(), kind).await {
        Ok(lookup) => positive(&name, kind, lookup.answers(), Some(lookup.valid_until())),
        Err(NetError::Dns(Refused::NoRecordsFound(none))) => negative(&name, &none),
        // Proved to be insecure: such an answer is as good as one from an unsigned zone.
        Err(NetError::Dns(Refused::Nsec { response, proof, .. })) if !proof.is_bogus() => {
            if response.answers.iter().any(|record| record.record_type() == kind) {
                return Set { secure: false, ..positive(&name, kind, &response.answers, None) };
            }
            let query = response.queries.first().cloned().unwrap_or_default();
            let mut none = NoRecords::new(query, response.response_code);
            none.negative_ttl = response.negative_ttl();
            negative(&name, &none)
        }
        // The library judges a proof that there is nothing at the end of an alias by the alias' own name.
        Err(NetError::Dns(Refused::DnssecBogus)) if aliases < MOST_ALIASES => {
            let alias = Box::pin(past_alias(resolver, &name, kind, aliases)).await;
            alias.unwrap_or_else(|| temporary(&reason(&NetError::Dns(Refused::DnssecBogus))))
        }
        Err(error) => temporary(&reason(&error)),
    }
}

/// What is at the end of the alias `name`, asked for by itself; none if it is no alias.
async fn past_alias(resolver: Asked<'_>, name: &Name, kind: RecordType, aliases: usize) -> Option<Set> {
    let lookup = resolver.lookup(name.clone(), RecordType::CNAME).await.ok()?;
    let alias = positive(name, RecordType::CNAME, lookup.answers(), Some(lookup.valid_until()));
    let target = alias.canonical?;
    let end = ask(resolver, target.clone(), kind, aliases + 1).await;
    Some(Set {
        outcome: end.outcome,
        secure: alias.secure && end.secure,
        canonical: end.canonical.or(Some(target)),
        expires: alias.expires.min(end.expires),
    })
}

/// A TLSA record's data.
pub(super) fn tlsa(data: &RData) -> Option<Tlsa> {
    let RData::TLSA(tlsa) = data else { return None };
    Some(Tlsa {
        usage: tlsa.cert_usage.into(),
        selector: tlsa.selector.into(),
        matching: tlsa.matching.into(),
        data: tlsa.cert_data.clone(),
    })
}

/// A TXT record's pieces as one text.
pub(super) fn joined(data: &RData) -> Option<String> {
    let RData::TXT(txt) = data else { return None };
    Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned())
}

fn positive(name: &Name, kind: RecordType, answers: &[Record], until: Option<Instant>) -> Set {
    let mut end = name;
    for _ in 0..MOST_ALIASES {
        let alias = answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *end => Some(&target.0),
            _ => None,
        });
        match alias {
            Some(target) => end = target,
            None => break,
        }
    }
    let wanted = |record: &&Record| record.record_type() == kind && record.name == *end;
    let records: Vec<_> = answers.iter().filter(wanted).map(|record| record.data.clone()).collect();
    let now = Instant::now();
    let ttl = answers.iter().map(|record| Duration::from_secs(record.ttl.into())).min().unwrap_or_default();
    let expires = until.map_or(now + ttl, |until| until.min(now + ttl)).clamp(now + SHORTEST, now + LONGEST);
    Set {
        outcome: if records.is_empty() { Outcome::None } else { Outcome::Records(records) },
        secure: DnssecSummary::from_records(answers.iter()) == DnssecSummary::Secure,
        canonical: (end != name).then(|| end.to_lowercase()),
        expires,
    }
}

fn negative(name: &Name, none: &NoRecords) -> Set {
    let outcome = match none.response_code {
        ResponseCode::NXDomain => Outcome::NoSuchName,
        ResponseCode::NoError => Outcome::None,
        other => return temporary(&format!("a DNS server answered {other}")),
    };
    let proofs = none.authorities.as_deref().unwrap_or_default();
    // RFC 2308 §5: as long as the SOA record says. The library leaves the sum out where it has proved the answer.
    let soa = proofs.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    });
    let ttl = none.negative_ttl.or(soa).map_or(SHORTEST, |ttl| Duration::from_secs(ttl.into()));
    Set {
        outcome,
        // The end of an alias proves nothing about the alias.
        secure: none.query.name() == name && DnssecSummary::from_records(proofs.iter()) == DnssecSummary::Secure,
        canonical: None,
        expires: Instant::now() + ttl.clamp(SHORTEST, LONGEST_NONE),
    }
}

fn temporary(reason: &str) -> Set {
    Set::told(Outcome::Temporary(reason.to_owned()), Instant::now() + SHORTEST)
}

fn reason(error: &NetError) -> String {
    match error {
        NetError::Dns(Refused::DnssecBogus | Refused::Nsec { .. }) => "DNSSEC validation failed".to_owned(),
        NetError::Dns(Refused::ResponseCode(code)) => format!("a DNS server answered {code}"),
        NetError::Timeout => "no DNS server answered in time".to_owned(),
        NetError::NoConnections => "no DNS server can be reached".to_owned(),
        NetError::Io(error) => format!("no DNS server can be reached: {error}"),
        other => other.to_string(),
    }
}

/// The system's servers; without any, the machine itself is one, as resolv.conf(5) has it.
fn system_servers() -> Vec<NameServerConfig> {
    match system_conf::read_system_conf() {
        Ok((system, _)) if !system.name_servers().is_empty() => system.name_servers,
        Ok(_) => vec![NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into())],
        Err(error) => {
            tracing::warn!(%error, "no DNS servers are configured in this system, 127.0.0.1 is asked");
            vec![NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into())]
        }
    }
}

fn name_server(server: std::net::SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    NameServerConfig::new(server.ip(), true, connections.into())
}

fn settings(options: &DnsOptions) -> ResolverOpts {
    let mut settings = ResolverOpts::default();
    settings.timeout = options.timeout;
    // The library counts what comes after the first.
    settings.attempts = options.attempts.saturating_sub(1);
    // Answers are kept by us, with the meaning that we give them.
    settings.cache_size = 0;
    settings.edns0 = true;
    settings.max_active_requests = 1024;
    settings.try_tcp_on_error = true;
    settings.use_hosts_file = if options.servers.is_empty() { ResolveHosts::Always } else { ResolveHosts::Never };
    settings
}

/// Time for a question with all that its proof takes.
const WHOLE_TIME: Duration = Duration::from_secs(60);
/// Failures, and answers without a TTL, are believed this long, so that a crowd does not ask one by one.
const SHORTEST: Duration = Duration::from_secs(1);
/// RFC 2308 §5: absence is believed for a few hours at most.
const LONGEST_NONE: Duration = Duration::from_hours(3);
const LOOK_AGAIN: Duration = Duration::from_mins(10);
const MOST_ALIASES: usize = 16;
