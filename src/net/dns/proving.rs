//! The resolver that proves its answers, put together so that keys and delegations are not asked for again and again:
//! the library asks the servers anew for each link of each chain of trust.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, BoxStream, StreamExt as _};
use hickory_proto::dnssec::TrustAnchors;
use hickory_proto::op::{DnsRequest, DnsRequestOptions, DnsResponse, Query};
use hickory_proto::rr::{Name, RecordType};
use hickory_resolver::caching_client::CachingClient;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::dnssec::DnssecDnsHandle;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer as _, RetryDnsHandle};
use hickory_resolver::net::{DnsError as Refused, NetError};
use hickory_resolver::{Hosts, NameServerPool, PoolContext, TlsConfig};
use moka::Expiry;
use moka::future::Cache;

/// Proves answers with DNSSEC.
pub(super) struct Proving {
    client: CachingClient<DnssecDnsHandle<Remembering>>,
    options: DnsRequestOptions,
    hosts: Hosts,
    links: Links,
}

impl Proving {
    pub(super) fn new(
        servers: Vec<NameServerConfig>,
        settings: ResolverOpts,
        anchors: TrustAnchors,
        most: u64,
    ) -> Result<Self, NetError> {
        let mut options = DnsRequestOptions::default();
        options.recursion_desired = true;
        options.use_edns = true;
        options.edns_payload_len = settings.edns_payload_len;
        options.edns_set_dnssec_ok = true;
        let hosts = match settings.use_hosts_file {
            ResolveHosts::Always | ResolveHosts::Auto => Hosts::from_system().unwrap_or_default(),
            ResolveHosts::Never => Hosts::default(),
        };
        let attempts = settings.attempts;
        let context = Arc::new(PoolContext::new(settings, TlsConfig::new()?));
        let pool = NameServerPool::from_config(servers, context, TokioRuntimeProvider::default());
        let links: Links = Cache::builder().max_capacity(most).expire_after(UntilExpiry).build();
        let handle = Remembering { servers: RetryDnsHandle::new(pool, attempts), links: links.clone() };
        let handle = DnssecDnsHandle::with_trust_anchor(handle, Arc::new(anchors));
        Ok(Self { client: CachingClient::new(0, handle, true), options, hosts, links })
    }

    pub(super) async fn lookup(&self, name: Name, kind: RecordType) -> Result<Lookup, NetError> {
        let query = Query::query(name, kind);
        match self.hosts.lookup_static_host(&query) {
            Some(known) => Ok(known),
            None => self.client.lookup(query, self.options).await,
        }
    }

    pub(super) fn forget(&self) {
        self.links.invalidate_all();
    }
}

/// The servers, with a memory for what chains of trust are made of. What is remembered is proved anew each time.
#[derive(Clone)]
struct Remembering {
    servers: RetryDnsHandle<NameServerPool<TokioRuntimeProvider>>,
    links: Links,
}

type Links = Cache<(Name, RecordType), Arc<Link>>;

/// One answer as it came.
struct Link {
    answer: Result<DnsResponse, NetError>,
    expires: Instant,
}

impl DnsHandle for Remembering {
    type Response = BoxStream<'static, Result<DnsResponse, NetError>>;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let link = request.queries.first().filter(|query| LINKS.contains(&query.query_type()));
        let key = link.map(|query| (query.name().to_lowercase(), query.query_type()));
        let Self { servers, links } = self.clone();
        stream::once(async move {
            let asked = async move { servers.send(request).first_answer().await };
            match key {
                None => asked.await,
                Some(key) => links.get_with(key, async { Arc::new(Link::of(asked.await)) }).await.answer.clone(),
            }
        })
        .boxed()
    }
}

impl Link {
    fn of(answer: Result<DnsResponse, NetError>) -> Self {
        let ttl = match &answer {
            Ok(response) => response.answers.iter().map(|record| record.ttl).min(),
            Err(NetError::Dns(Refused::NoRecordsFound(none))) => none.negative_ttl,
            Err(_) => None,
        };
        let time = Duration::from_secs(ttl.unwrap_or_default().into()).min(LONGEST);
        Self { answer, expires: Instant::now() + time }
    }
}

struct UntilExpiry;

impl Expiry<(Name, RecordType), Arc<Link>> for UntilExpiry {
    fn expire_after_create(&self, _: &(Name, RecordType), link: &Arc<Link>, now: Instant) -> Option<Duration> {
        Some(link.expires.saturating_duration_since(now))
    }
}

/// What chains of trust are made of.
const LINKS: [RecordType; 3] = [RecordType::DNSKEY, RecordType::DS, RecordType::NS];
/// A forged answer that proves nothing does harm for this long at most.
const LONGEST: Duration = Duration::from_mins(5);
