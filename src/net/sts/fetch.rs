//! Fetching a policy over HTTPS (RFC 8461 §3.3): bounded in size and time, without redirects.

use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::{StsOptions, StsProblem};
use crate::TlsError;
use crate::dns::{Answer, Dns};
use crate::egress::{DialOptions, Target, TlsClient, TlsDemand, TlsTerms, dial};
use crate::tls_report::TlsResult;

/// Fetches policies.
#[derive(Debug)]
pub(super) struct Fetcher {
    dns: Dns,
    options: StsOptions,
    tls: TlsClient,
}

impl Fetcher {
    pub(super) fn new(dns: Dns, options: StsOptions) -> Result<Self, TlsError> {
        let tls = TlsClient::new(options.roots.clone())?;
        Ok(Self { dns, options, tls })
    }

    /// The text of the policy of `domain`.
    pub(super) async fn fetch(&self, domain: &str) -> Result<String, StsProblem> {
        let host = format!("mta-sts.{domain}");
        let fetched = timeout(self.options.time, self.get(&host)).await;
        fetched.unwrap_or_else(|_| Err(problem(format!("{host} took too long"))))
    }

    async fn get(&self, host: &str) -> Result<String, StsProblem> {
        let target = Target::Tcp(self.addresses(host).await?);
        let link = dial(&target, &DialOptions::default()).await.map_err(|failure| problem(failure.to_string()))?;
        let terms = TlsTerms {
            demand: TlsDemand::Verified { roots: self.options.roots.clone(), names: vec![host.to_owned()] },
            server_name: host.to_owned(),
            time: self.options.time,
        };
        let link = self.tls.secure(link, &terms).await.map_err(|failure| StsProblem {
            result: TlsResult::StsWebpkiInvalid,
            text: format!("{host}: {failure}"),
        })?;
        let failed = |error: hyper::Error| problem(format!("{host}: {error}"));
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(HEADER_LIMIT)
            .handshake(TokioIo::new(link.stream))
            .await
            .map_err(failed)?;
        let request = Request::get("/.well-known/mta-sts.txt")
            .header(HOST, host)
            .header(USER_AGENT, "posthorn")
            .body(Empty::<Bytes>::new())
            .map_err(|error| problem(error.to_string()))?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(failed)?;
            read(host, response).await
        };
        tokio::pin!(answer);
        // The connection moves its bytes only while somebody waits for it; it may end before the answer is read.
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            _ = connection => answer.await,
        }
    }

    async fn addresses(&self, host: &str) -> Result<Vec<SocketAddr>, StsProblem> {
        if !self.options.addresses.is_empty() {
            return Ok(self.options.addresses.clone());
        }
        match self.dns.addresses(host).await {
            Answer::Found(addresses) => Ok(addresses.in_turn(self.options.port, true)),
            Answer::None | Answer::NoSuchName => Err(problem(format!("{host} has no address"))),
            Answer::Temporary(reason) => Err(problem(format!("{host}: {reason}"))),
        }
    }
}

async fn read(host: &str, response: Response<Incoming>) -> Result<String, StsProblem> {
    // RFC 8461 §3.3: redirects are not followed.
    if response.status() != StatusCode::OK {
        return Err(problem(format!("{host} answers {}", response.status())));
    }
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/plain")) {
        return Err(problem(format!("{host} answers with something that is not text/plain")));
    }
    let body = Limited::new(response.into_body(), BODY_LIMIT).collect().await.map_err(|error| {
        let long = error.downcast_ref::<LengthLimitError>().is_some();
        problem(if long { format!("the policy at {host} is too long") } else { format!("{host}: {error}") })
    })?;
    String::from_utf8(body.to_bytes().into()).map_err(|_| StsProblem {
        result: TlsResult::StsPolicyInvalid,
        text: format!("the policy at {host} is not text"),
    })
}

fn problem(text: String) -> StsProblem {
    StsProblem { result: TlsResult::StsPolicyFetchError, text }
}

/// RFC 8461 §3.3 suggests 64 KiB.
const BODY_LIMIT: usize = 64 * 1024;
const HEADER_LIMIT: usize = 64 * 1024;
