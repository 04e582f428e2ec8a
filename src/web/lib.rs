//! HTTP/1.1 over the listeners' connections, with or without TLS: whoever has pages or numbers to show gives a
//! [`Router`], and gets a service that bounds what a client may send and how long it may take.
//!
//! What this crate deliberately is not: it has no pages of its own, knows no login, and opens no socket.

mod bounds;
mod refusal;

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http_body_util::Limited;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::Service as _;
use hyper::{StatusCode, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use posthorn_net::{Connection, Overload, Peer, Service};
use tokio::time::timeout;

pub use bounds::Bounds;

/// A protocol for [`posthorn_net::Listeners`] that answers by the routes of a [`Router`].
///
/// Handlers find the client as `Extension<Peer>`. When the server stops, requests in progress are answered, and
/// idle connections closed.
#[derive(Clone, Debug)]
pub struct Web {
    router: Router,
    bounds: Bounds,
}

impl Web {
    /// Answers by `router`, within the usual [`Bounds`].
    #[must_use]
    pub fn new(router: Router) -> Self {
        Self { router, bounds: Bounds::default() }
    }

    /// The same within other bounds.
    #[must_use]
    pub fn within(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }
}

impl Service for Web {
    fn serve(&self, connection: Connection) -> BoxFuture<'static, ()> {
        let Self { router, bounds } = self.clone();
        async move { speak(router, bounds, connection).await }.boxed()
    }

    fn refuse(&self, mut connection: Connection, why: Overload) -> BoxFuture<'static, ()> {
        async move {
            let _ = connection.send(Bytes::from_static(refusal::text(why))).await;
            connection.finish().await;
        }
        .boxed()
    }
}

async fn speak(router: Router, bounds: Bounds, connection: Connection) {
    let raw = connection.into_raw();
    let (shutdown, peer, session) = (raw.shutdown(), raw.peer().clone(), raw.id());
    let service = service_fn(move |request| answer(router.clone(), bounds, peer.clone(), request));
    let spoken = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header_time)
        .max_buf_size(bounds.header)
        .max_headers(FIELDS)
        .serve_connection(TokioIo::new(raw), service);
    let mut spoken = std::pin::pin!(spoken);
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            ended = &mut spoken => {
                if let Err(error) = ended {
                    tracing::debug!(session.id = %session, %error, "HTTP session ended");
                }
                return;
            }
            () = shutdown.stopping(), if !stopping => {
                stopping = true;
                spoken.as_mut().graceful_shutdown();
            }
            () = shutdown.cutting() => return,
        }
    }
}

/// Answers one request, in bounded time and with a bounded body.
async fn answer(
    router: Router,
    bounds: Bounds,
    peer: Peer,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let stated =
        request.headers().get(hyper::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if stated.is_some_and(|length: usize| length > bounds.body) {
        return Ok(bare(StatusCode::PAYLOAD_TOO_LARGE));
    }
    let mut request = request.map(|body| Body::new(Limited::new(body, bounds.body)));
    request.extensions_mut().insert(peer);
    let answered = timeout(bounds.request_time, TowerToHyperService::new(router).call(request)).await;
    let mut response = match answered {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => bare(StatusCode::SERVICE_UNAVAILABLE),
    };
    response.headers_mut().entry(X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
    Ok(response)
}

fn bare(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

const CONNECTION: HeaderName = hyper::header::CONNECTION;
/// More fields than any browser or proxy sends.
const FIELDS: usize = 64;
/// The shortest that a header's buffer may be, as the HTTP library has it.
const LEAST_HEADER: usize = 8 * 1024;
/// How long a client may take over a request's header, and be silent between requests.
const HEADER_TIME: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests;
