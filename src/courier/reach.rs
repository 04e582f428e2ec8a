//! Opening a connection to a site: the hosts in order, their addresses, TLS as demanded, a login.

use std::net::IpAddr;
use std::sync::Arc;

use posthorn_config::{DeliveryPhase as Phase, TlsDemand};
use posthorn_net::dane::is_usable;
use posthorn_net::dns::Answer;
use posthorn_net::egress::{self, DialOptions, Source, Target, TlsTerms};
use posthorn_net::tls_report::{TallyKey, TlsFailed, TlsResult};
use posthorn_net::{Called, Caller, Parted};
use posthorn_smtp::{Client, ClientEvent, ClientFailure, ClientOptions, ClientTls, Reply};

use crate::adaptive::Heard;
use crate::limit::{Place, Places, Spur};
use crate::path::{Hop, Hops};
use crate::settle::SessionFacts;
use crate::site::{Failure, Site};
use crate::tally::failed;
use crate::{Office, conversation, login};

/// A connection that is ready for a message.
#[derive(Debug)]
pub(crate) struct Line {
    pub caller: Caller<Client>,
    /// The host's name, or its address.
    pub host: Arc<str>,
    pub facts: Arc<SessionFacts>,
    /// Held for its end.
    #[expect(dead_code, reason = "held for its end")]
    pub place: Option<Place>,
}

/// One host to try, with all that is known of it.
struct Candidate {
    host: Arc<str>,
    target: Target,
    /// What the handshake must give, and when there is one.
    demand: egress::TlsDemand,
    server_name: String,
    tls: ClientTls,
    place: Option<Place>,
}

/// Opens a connection to the first host that takes one.
///
/// # Errors
/// What the last of them said, with all of them named where there were several.
pub(crate) async fn reach(office: &Arc<Office>, site: &Arc<Site>) -> Result<Line, Failure> {
    match &site.path.hops {
        Hops::Hosts(hops) => any_of(office, site, hops).await,
        Hops::Address(address, port) => {
            let target = Target::Tcp(vec![(*address, *port).into()]);
            let host: Arc<str> = format!("[{address}]").into();
            fixed(office, site, host, target, address.to_string()).await
        }
        Hops::Socket(path) => {
            let host: Arc<str> = path.display().to_string().into();
            fixed(office, site, host, Target::Unix(path.clone()), "localhost".to_owned()).await
        }
    }
}

async fn any_of(office: &Arc<Office>, site: &Arc<Site>, hops: &[Hop]) -> Result<Line, Failure> {
    let mut failures: Vec<(u16, Failure)> = Vec::new();
    let mut ourselves: Option<(u16, Failure)> = None;
    for hop in in_order(office, site, hops) {
        // RFC 5321 §5.1: what is no better than ourselves would only bring it back.
        if ourselves.as_ref().is_some_and(|(ours, _)| hop.preference >= *ours) {
            continue;
        }
        match by_name(office, site, hop).await {
            Ok(line) => return Ok(line),
            Err(failure) if failure.is_us => ourselves = Some((hop.preference, failure)),
            Err(failure) => {
                if !failure.full {
                    site.note_unwell(&hop.host, office.mail.now());
                }
                failures.push((hop.preference, failure));
            }
        }
    }
    if let Some((ours, failure)) = ourselves {
        failures.retain(|(preference, _)| *preference < ours);
        if failures.is_empty() {
            return Err(failure);
        }
    }
    Err(together(failures.into_iter().map(|(_, failure)| failure).collect()))
}

/// Best first; equals in an order of chance (RFC 5321 §5.1); those that failed lately last.
fn in_order<'h>(office: &Office, site: &Site, hops: &'h [Hop]) -> Vec<&'h Hop> {
    const MOST: usize = 8;
    let now = office.mail.now();
    let mut keyed: Vec<_> =
        hops.iter().map(|hop| (site.is_unwell(&hop.host, now), hop.preference, office.chance.next(), hop)).collect();
    keyed.sort_by_key(|(unwell, preference, chance, _)| (*unwell, *preference, *chance));
    keyed.into_iter().take(MOST).map(|(.., hop)| hop).collect()
}

/// One failure for all: the last reply, with the hosts before it in its text.
fn together(mut failures: Vec<Failure>) -> Failure {
    let full = failures.iter().any(|failure| failure.full);
    let Some(mut last) = failures.pop() else {
        let reply = Reply::new(451, 4, 4, "there is no host to try");
        return Failure { host: None, reply, session: None, full, is_us: false };
    };
    if !failures.is_empty() {
        let mut text = String::new();
        for failure in &failures {
            let host = failure.host.as_deref().unwrap_or_default();
            text.push_str(&format!("{host}: {} {}; ", failure.reply.code, failure.reply.text));
        }
        text.push_str(&format!("{}: {}", last.host.as_deref().unwrap_or_default(), last.reply.text));
        last.reply.text = text.into();
        // Words of several hosts, told by us.
        last.session = None;
    }
    last.full = full;
    last
}

async fn by_name(office: &Arc<Office>, site: &Arc<Site>, hop: &Hop) -> Result<Line, Failure> {
    let host: Arc<str> = hop.host.as_str().into();
    let failed = |reply| Failure { host: Some(Arc::clone(&host)), reply, session: None, full: false, is_us: false };
    let mut addresses = match office.dns.addresses(&hop.host).await {
        Answer::Found(addresses) => addresses,
        Answer::None | Answer::NoSuchName => {
            return Err(failed(Reply::new(451, 4, 4, "the host has no address")));
        }
        Answer::Temporary(reason) => {
            return Err(failed(Reply::new(451, 4, 3, format!("the DNS cannot be asked for the host: {reason}"))));
        }
    };
    let options = &site.options;
    let mut demand = None;
    if options.dane && site.path.tls != TlsDemand::Never && !site.path.implicit_tls {
        match office.dns.dane(hop.secure, &hop.host, hop.port, &addresses).await {
            Answer::Found(set) if is_usable(&set.records) => {
                let names = vec![set.base.clone()];
                demand = Some((egress::TlsDemand::Dane { tlsa: set.records, names }, set.base, ClientTls::Required));
            }
            // RFC 7672 §2.2: TLS all the same, though nobody can be authenticated.
            Answer::Found(set) if !site.path.enforces_sts() && site.path.tls != TlsDemand::Verified => {
                demand = Some((egress::TlsDemand::Opportunistic, set.base, ClientTls::Required));
            }
            Answer::Found(_) | Answer::None | Answer::NoSuchName => {}
            Answer::Temporary(reason) => {
                let text = format!("the host's TLSA records cannot be had: {reason}");
                return Err(failed(Reply::new(451, 7, 5, text)));
            }
        }
    }
    let (demand, server_name, tls) = demand.unwrap_or_else(|| usual(office, site, &hop.host));
    // Addresses that have as many connections as they may are passed over.
    let mut place = None;
    if let Some(most) = options.connections_per_address.limit() {
        let places = |address: IpAddr| places(office, site, address, most);
        addresses.v4.retain(|address| places((*address).into()).has_room());
        addresses.v6.retain(|address| places((*address).into()).has_room());
        let first = addresses.in_turn(hop.port, options.prefer_ipv6).first().map(|first| first.ip());
        let waiter = || Arc::downgrade(&(Arc::clone(site) as Arc<dyn Spur>));
        place = first.and_then(|first| places(first).take(waiter()));
        if place.is_none() {
            let reply = Reply::new(451, 4, 5, "all its addresses have as many connections as they may");
            return Err(Failure { full: true, ..failed(reply) });
        }
    }
    let target = Target::Tcp(addresses.in_turn(hop.port, options.prefer_ipv6));
    open(office, site, Candidate { host, target, demand, server_name, tls, place }).await
}

async fn fixed(
    office: &Arc<Office>,
    site: &Arc<Site>,
    host: Arc<str>,
    target: Target,
    name: String,
) -> Result<Line, Failure> {
    let (demand, server_name, tls) = usual(office, site, &name);
    let mut place = None;
    if let (Target::Tcp(addresses), Some(most)) = (&target, site.options.connections_per_address.limit()) {
        let waiter = Arc::downgrade(&(Arc::clone(site) as Arc<dyn Spur>));
        let first = addresses.first().map(|first| first.ip());
        place = first.and_then(|first| places(office, site, first, most).take(waiter));
        if place.is_none() {
            let reply = Reply::new(451, 4, 5, "its address has as many connections as it may");
            return Err(Failure { host: Some(host), reply, session: None, full: true, is_us: false });
        }
    }
    open(office, site, Candidate { host, target, demand, server_name, tls, place }).await
}

/// The connections that this and other sites may have to an address together.
fn places(office: &Office, site: &Site, address: IpAddr, most: u32) -> Arc<Places> {
    let bucket = &site.options.connections_per_address.bucket;
    office.limits.places(&format!("{bucket} {address}"), most as usize)
}

/// What TLS must give where DANE says nothing.
fn usual(office: &Office, site: &Site, host: &str) -> (egress::TlsDemand, String, ClientTls) {
    let verified = || egress::TlsDemand::Verified { roots: office.roots.clone(), names: vec![host.to_owned()] };
    let (demand, tls) = match site.path.tls {
        _ if site.path.enforces_sts() => (verified(), ClientTls::Required),
        TlsDemand::Verified => (verified(), ClientTls::Required),
        TlsDemand::Required => (egress::TlsDemand::Opportunistic, ClientTls::Required),
        TlsDemand::Opportunistic => (egress::TlsDemand::Opportunistic, ClientTls::IfOffered),
        TlsDemand::Never => (egress::TlsDemand::Opportunistic, ClientTls::Never),
    };
    (demand, host.to_owned(), tls)
}

/// Connects and speaks until the server is ready for a message. Where TLS is not demanded and its handshake fails, the
/// connection is made once more without it (RFC 7435 §3).
async fn open(office: &Arc<Office>, site: &Arc<Site>, mut candidate: Candidate) -> Result<Line, Failure> {
    let spoken = speak(office, site, &candidate, None).await;
    count(office, site, &candidate, &spoken);
    let stuck = match spoken {
        Ok((caller, facts)) => return Ok(line(caller, candidate, facts)),
        Err(Stuck { downgrade: Some(problem), .. }) if candidate.tls == ClientTls::IfOffered => {
            candidate.tls = ClientTls::Never;
            match speak(office, site, &candidate, Some(problem)).await {
                Ok((caller, facts)) => return Ok(line(caller, candidate, facts)),
                Err(stuck) => stuck,
            }
        }
        Err(stuck) => stuck,
    };
    if !stuck.is_us {
        let (phase, reply) = (stuck.phase, &stuck.reply);
        office.heard(site, Heard { phase, reply, text: "", domain: "", tried: true, repeated: false });
    }
    let session = stuck.said_by.map(Arc::new);
    let is_us = stuck.is_us;
    Err(Failure { host: Some(candidate.host), reply: stuck.reply, session, full: false, is_us })
}

/// Counts what TLS came to for the domains whose mail waits, each by the policy that was found for it (RFC 8460 §4.3).
fn count(office: &Office, site: &Site, candidate: &Candidate, spoken: &Result<(Caller<Client>, SessionFacts), Stuck>) {
    if !site.path.by_mx || candidate.tls == ClientTls::Never {
        return;
    }
    // Were the session for a report counted, each report would have the next one to tell of.
    let Some(domains) = site.domains(|outgoing| !office.mail.is_own_report(outgoing)) else { return };
    let keys: Vec<TallyKey> = match (&candidate.demand, &site.path.sts) {
        (egress::TlsDemand::Dane { tlsa, .. }, _) => {
            domains.iter().map(|domain| TallyKey::of_records(domain, tlsa)).collect()
        }
        (_, Some((domain, policy))) => vec![TallyKey::of_policy(domain, policy)],
        (_, None) => domains.iter().map(|domain| TallyKey::without_policy(domain)).collect(),
    };
    let host = Some(&*candidate.host);
    let failure = match spoken {
        Ok((_, facts)) if facts.tls.is_empty() => Some(failed(TlsResult::StarttlsNotSupported, host, "")),
        Ok((_, facts)) => testing(site, candidate, facts),
        Err(Stuck { tls: Some(result), reply, .. }) => Some(failed(*result, host, &reply.text)),
        // It did not come as far as TLS.
        Err(_) => return,
    };
    for key in &keys {
        match &failure {
            None => office.tally.succeeded(key),
            Some(failure) => office.tally.failed(key, failure.clone()),
        }
    }
}

/// What a policy in testing mode would have refused (RFC 8461 §5): the mail goes all the same.
fn testing(site: &Site, candidate: &Candidate, facts: &SessionFacts) -> Option<TlsFailed> {
    let (_, policy) = site.path.sts.as_ref().filter(|_| !site.path.enforces_sts())?;
    let host = Some(&*candidate.host);
    if !policy.allows(&candidate.host) {
        return Some(failed(TlsResult::ValidationFailure, host, "the policy does not name this MX host"));
    }
    let problem = facts.problem.as_deref()?;
    Some(failed(TlsResult::ValidationFailure, host, problem))
}

fn line(caller: Caller<Client>, candidate: Candidate, facts: SessionFacts) -> Line {
    Line { caller, host: candidate.host, facts: Arc::new(facts), place: candidate.place }
}

/// How far a connection came.
struct Stuck {
    phase: Phase,
    reply: Reply,
    /// The connection on which the host said the reply; `None` where the words are ours.
    said_by: Option<SessionFacts>,
    /// TLS went wrong, and how.
    downgrade: Option<String>,
    tls: Option<TlsResult>,
    /// The host is ourselves.
    is_us: bool,
}

impl Stuck {
    fn new(phase: Phase, reply: Reply) -> Self {
        Self { phase, reply, said_by: None, downgrade: None, tls: None, is_us: false }
    }

    /// The host is ourselves (RFC 5321 §5.1).
    fn ourselves(why: &str) -> Self {
        let reply = Reply::new(554, 4, 6, format!("the mail loops back to this server: {why}"));
        Self { is_us: true, ..Self::new(Phase::Connect, reply) }
    }
}

async fn speak(
    office: &Arc<Office>,
    site: &Arc<Site>,
    candidate: &Candidate,
    problem: Option<String>,
) -> Result<(Caller<Client>, SessionFacts), Stuck> {
    let options = &site.options;
    let source = source(site);
    let dial = DialOptions { source, connect_time: options.connect_time.duration(), ..DialOptions::default() };
    let mut link = egress::dial(&candidate.target, &dial)
        .await
        .map_err(|failure| Stuck::new(Phase::Connect, Reply::new(451, 4, 1, failure.to_string())))?;
    if site.path.may_loop && office.is_here(link.facts()) {
        return Err(Stuck::ourselves("the connection to it ends at this server"));
    }
    let terms = TlsTerms {
        demand: candidate.demand.clone(),
        server_name: candidate.server_name.clone(),
        time: options.reply_time.duration().min(TLS_TIME),
    };
    if site.path.implicit_tls {
        let secured = office.tls.secure(link, &terms).await;
        link = secured.map_err(|failure| Stuck::new(Phase::Connect, Reply::new(451, 7, 5, failure.to_string())))?;
    }
    let name = site.binding.hostname.as_ref().map_or(office.hostname.as_str(), |name| name.as_str());
    let tls = if site.path.implicit_tls { ClientTls::Never } else { candidate.tls };
    let client = ClientOptions {
        tls,
        reply_wait: options.reply_time.duration(),
        final_wait: options.final_time.duration(),
        pipelining: options.pipelining,
        ..ClientOptions::new(site.path.dialect, name)
    };
    let client = Client::new(client, std::time::Instant::now());
    let mut caller = Caller::new(client, link, office.tls.clone(), terms);
    greet(&mut caller).await?;
    let called = &caller.machine().capabilities().host;
    if site.path.may_loop && office.own_names.iter().any(|own| own.eq_ignore_ascii_case(called)) {
        return Err(Stuck::ourselves(&format!("it calls itself {called}, as we do")));
    }
    if let Some((user, file)) = &site.path.login
        && let Err(reply) = login::log_in(&mut caller, user, file.as_deref()).await
    {
        // Our own words about a login are all 451.
        let said_by = (reply.code != 451).then(|| facts(&caller, problem));
        return Err(Stuck { said_by, ..Stuck::new(Phase::Auth, reply) });
    }
    let facts = facts(&caller, problem);
    Ok((caller, facts))
}

/// Greeting, EHLO, STARTTLS.
async fn greet(caller: &mut Caller<Client>) -> Result<(), Stuck> {
    let (mut failed, mut not_offered, mut refused) = (None, false, false);
    loop {
        match caller.next().await {
            Called::Event(ClientEvent::Ready) => return Ok(()),
            Called::Event(ClientEvent::Failed(failure)) => {
                not_offered = failure == ClientFailure::TlsNotOffered;
                refused = matches!(failure, ClientFailure::Refused(_));
                failed = Some(conversation::words(&failure));
            }
            Called::Event(_) => {}
            Called::Closed(parted) => {
                let downgrade = match &parted {
                    Parted::Tls(failure) => Some(failure.to_string()),
                    _ => None,
                };
                let tls = match &parted {
                    Parted::Tls(failure) => Some(failure.result),
                    _ if not_offered => Some(TlsResult::StarttlsNotSupported),
                    _ => None,
                };
                let phase = phase(caller, &parted, failed.as_ref());
                let said_by = refused.then(|| facts(caller, None));
                let reply = failed.unwrap_or_else(|| conversation::lost(&parted));
                return Err(Stuck { phase, reply, said_by, downgrade, tls, is_us: false });
            }
        }
    }
}

/// Where it was that a session did not come to anything.
fn phase(caller: &mut Caller<Client>, parted: &Parted, said: Option<&Reply>) -> Phase {
    let greeted = caller.machine().capabilities() != &posthorn_smtp::Capabilities::default();
    match parted {
        Parted::Tls(_) | Parted::Injected => Phase::Starttls,
        _ if said.is_some_and(|reply| reply.enhanced.is_some_and(|code| (code.1, code.2) == (7, 4))) => Phase::Starttls,
        _ if greeted => Phase::Starttls,
        _ if caller.received() > 0 && said.is_none_or(|reply| reply.code == 502) => Phase::Ehlo,
        _ => Phase::Greeting,
    }
}

fn facts(caller: &Caller<Client>, problem: Option<String>) -> SessionFacts {
    let facts = caller.facts();
    let tls = facts.tls.as_ref();
    SessionFacts {
        peer: facts.peer,
        local: facts.local,
        tls: tls
            .map(|tls| format!("{} {} {}", tls.version, tls.cipher, tls.authenticated.as_str()))
            .unwrap_or_default(),
        problem: problem.or_else(|| tls.and_then(|tls| tls.problem.clone())),
    }
}

fn source(site: &Site) -> Source {
    let mut source = Source::default();
    for address in &site.binding.addresses {
        match address {
            std::net::IpAddr::V4(v4) => source.v4 = source.v4.or(Some(*v4)),
            std::net::IpAddr::V6(v6) => source.v6 = source.v6.or(Some(*v6)),
        }
    }
    source
}

/// A handshake takes no longer than this, however long replies may.
const TLS_TIME: std::time::Duration = std::time::Duration::from_secs(60);
