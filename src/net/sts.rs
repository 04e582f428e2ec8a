//! MTA-STS (RFC 8461): which hosts a domain wants its mail delivered to, and that they must prove who they are.

mod fetch;
mod policy;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use moka::sync::Cache;

use self::fetch::Fetcher;
pub use self::policy::{StsMode, StsPolicy};
use crate::dns::{Answer, Dns};
use crate::tls_report::TlsResult;
use crate::{Roots, TlsError};

/// How policies are fetched.
#[derive(Clone, Debug)]
pub struct StsOptions {
    /// Who vouches for policy servers.
    pub roots: Roots,
    /// The port of policy servers.
    pub port: u16,
    /// Fixed addresses of all policy servers, instead of those in the DNS; empty outside of tests.
    pub addresses: Vec<SocketAddr>,
    /// Time for one fetch as a whole (RFC 8461 §3.3 suggests a minute).
    pub time: Duration,
}

impl StsOptions {
    /// Port 443, addresses from the DNS, one minute.
    #[must_use]
    pub fn new(roots: Roots) -> Self {
        Self { roots, port: 443, addresses: Vec::new(), time: Duration::from_mins(1) }
    }
}

/// A policy as it is kept between fetches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeptPolicy {
    /// The id of the TXT record that it was fetched for.
    pub id: String,
    /// The policy as it was fetched.
    pub text: String,
    /// When it was fetched, or last found to be current.
    pub fetched_at: DateTime<Utc>,
    /// When it must not be used any more.
    pub expires_at: DateTime<Utc>,
}

/// Where policies are kept. Faults of the keeper are its own to log; a policy that cannot be read is none.
pub trait StsKeeper: Send + Sync {
    /// The policy kept for `domain`, expired or not.
    fn find(&self, domain: &str) -> impl Future<Output = Option<KeptPolicy>> + Send;

    /// Keeps a policy for `domain` in place of any other.
    fn keep(&self, domain: &str, policy: &KeptPolicy) -> impl Future<Output = ()> + Send;
}

/// What a domain wants.
#[derive(Clone, Debug)]
pub struct StsAnswer {
    /// The policy that holds, if any. Mode `none` is told as it is; it demands nothing.
    pub policy: Option<Arc<StsPolicy>>,
    /// A fault on the way, for reports; an older policy may hold all the same.
    pub problem: Option<StsProblem>,
}

/// Why a policy could not be had.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text}")]
pub struct StsProblem {
    /// The kind, for reports.
    pub result: TlsResult,
    /// In words.
    pub text: String,
}

/// Finds policies; cheap to clone.
#[derive(Clone, Debug)]
pub struct Sts {
    dns: Dns,
    fetcher: Arc<Fetcher>,
    /// Fetches that failed, so that a policy server in trouble is left alone for a while (RFC 8461 §3.3).
    failed: Cache<(String, String), StsProblem>,
}

impl Sts {
    /// Makes a finder; asks nothing yet.
    ///
    /// # Errors
    /// [`TlsError::Settings`] when the library refuses its own defaults.
    pub fn new(dns: Dns, options: StsOptions) -> Result<Self, TlsError> {
        let failed = Cache::builder().max_capacity(10_000).time_to_live(LEFT_ALONE).build();
        let fetcher = Arc::new(Fetcher::new(dns.clone(), options)?);
        Ok(Self { dns, fetcher, failed })
    }

    /// The policy of `domain` (A-labels) at the time `now` (RFC 8461 §5.1). What one fetch finds is kept with `keeper`.
    ///
    /// Two that ask at once may fetch twice: whoever asks often should remember the answer for a while.
    pub async fn policy<K: StsKeeper>(&self, domain: &str, now: DateTime<Utc>, keeper: &K) -> StsAnswer {
        let domain = domain.trim_end_matches('.').to_ascii_lowercase();
        let kept = keeper.find(&domain).await.filter(|kept| kept.expires_at > now);
        let old = kept.as_ref().and_then(|kept| StsPolicy::parse(&kept.text).ok()).map(Arc::new);
        let id = match self.dns.txt(&format!("_mta-sts.{domain}")).await {
            Answer::Found(texts) => policy::id(&texts.texts),
            // RFC 8461 §3.3: without a record, or without an answer, a policy that is still good holds on.
            Answer::None | Answer::NoSuchName | Answer::Temporary(_) => None,
        };
        let Some(id) = id else { return StsAnswer { policy: old, problem: None } };
        if let (Some(kept), Some(policy)) = (&kept, &old)
            && kept.id == id
        {
            let fetched = StsAnswer { policy: Some(Arc::clone(policy)), problem: None };
            // RFC 8461 §3.3: a policy in use is fetched anew well before it ends, lest a blocked fetch should undo it.
            let half = (kept.expires_at - kept.fetched_at) / 2;
            if now < kept.fetched_at + half.min(chrono::TimeDelta::days(1)).max(chrono::TimeDelta::minutes(1)) {
                return fetched;
            }
        }
        let key = (domain.clone(), id.clone());
        if let Some(problem) = self.failed.get(&key) {
            return StsAnswer { policy: old, problem: Some(problem) };
        }
        match self.fetch(&domain).await {
            Ok((policy, text)) => {
                let expires_at = now + policy.max_age;
                keeper.keep(&domain, &KeptPolicy { id, text, fetched_at: now, expires_at }).await;
                StsAnswer { policy: Some(Arc::new(policy)), problem: None }
            }
            Err(problem) => {
                tracing::debug!(%domain, %problem, "an MTA-STS policy cannot be had");
                self.failed.insert(key, problem.clone());
                StsAnswer { policy: old, problem: Some(problem) }
            }
        }
    }

    async fn fetch(&self, domain: &str) -> Result<(StsPolicy, String), StsProblem> {
        let text = self.fetcher.fetch(domain).await?;
        let invalid = |text: String| StsProblem { result: TlsResult::StsPolicyInvalid, text };
        Ok((StsPolicy::parse(&text).map_err(|reason| invalid(format!("the MTA-STS policy: {reason}")))?, text))
    }
}

/// RFC 8461 §3.3: at most one try in five minutes.
const LEFT_ALONE: Duration = Duration::from_mins(5);

#[cfg(test)]
mod tests;
