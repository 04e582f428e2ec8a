//! The way out: connecting to another server, and TLS with what is demanded of it.

mod connect;
mod passing;
#[cfg(test)]
pub(crate) mod rig;
mod terms;
mod verifier;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use posthorn_wire::Secured;
use rustls::client::{ClientConnection, Resumption};
use rustls::{ClientConfig, ProtocolVersion};
use rustls_pki_types::{ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, TlsStream};

pub use self::connect::{DialFailure, DialOptions, Source, Target, dial};
pub use self::terms::{Authenticated, TlsDemand, TlsFacts, TlsFailure, TlsTerms};
use self::verifier::{Anybody, Demanded};
use crate::stream::Stream;
use crate::tls::provider;
use crate::{Roots, TlsError};

/// A connection to another server, before anything is said on it.
pub struct Link {
    pub(crate) stream: Stream,
    pub(crate) facts: LinkFacts,
    /// TLS facts for the machine that will speak over it.
    pub(crate) secured: Option<Secured>,
}

/// What is known of a connection to another server.
#[derive(Clone, Debug, Default)]
pub struct LinkFacts {
    /// The server's address; none for a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Our address; none for a Unix socket.
    pub local: Option<SocketAddr>,
    /// How long connecting took, failed addresses included.
    pub connected_in: Duration,
    /// TLS, when it is up.
    pub tls: Option<TlsFacts>,
}

impl Link {
    /// What is known of the connection.
    #[must_use]
    pub fn facts(&self) -> &LinkFacts {
        &self.facts
    }
}

/// The octets of a connection, for protocols without a machine.
impl AsyncRead for Link {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, from)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// The client's side of TLS; cheap to clone, one per process.
#[derive(Clone, Debug)]
pub struct TlsClient {
    roots: Roots,
    anybody: Arc<ClientConfig>,
}

impl TlsClient {
    /// A client that judges certificates by `roots` where nothing else is demanded, for the record only.
    ///
    /// # Errors
    /// [`TlsError::Settings`] when the library refuses its own defaults.
    pub fn new(roots: Roots) -> Result<Self, TlsError> {
        let anybody = config(Arc::new(Anybody::default()))?;
        Ok(Self { roots, anybody: Arc::new(anybody) })
    }

    /// Shakes hands over a link (implicit TLS).
    ///
    /// # Errors
    /// What the other side did wrong, or that it took too long. The link is gone then.
    pub async fn secure(&self, link: Link, terms: &TlsTerms) -> Result<Link, TlsFailure> {
        let Link { stream, mut facts, .. } = link;
        let (stream, tls, secured) = self.handshake(stream, terms).await?;
        facts.tls = Some(tls);
        Ok(Link { stream, facts, secured: Some(secured) })
    }

    /// Shakes hands over a stream. Boxed inside: it is rare and its state is large.
    pub(crate) async fn handshake(
        &self,
        stream: Stream,
        terms: &TlsTerms,
    ) -> Result<(Stream, TlsFacts, Secured), TlsFailure> {
        let name = server_name(&terms.server_name)?;
        let (config, demanded) = self.config(&terms.demand).map_err(|error| TlsFailure::of(&error))?;
        let connector = TlsConnector::from(config);
        let shake = Box::pin(async move {
            Ok::<_, io::Error>(match stream {
                Stream::Tcp(plain) => {
                    Stream::TlsTcp(Box::new(TlsStream::Client(connector.connect(name, plain).await?)))
                }
                Stream::Unix(plain) => {
                    Stream::TlsUnix(Box::new(TlsStream::Client(connector.connect(name, plain).await?)))
                }
                Stream::Gone | Stream::TlsTcp(_) | Stream::TlsUnix(_) => {
                    return Err(io::ErrorKind::NotConnected.into());
                }
            })
        });
        let stream = match timeout(terms.time, shake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(TlsFailure::of_io(&error)),
            Err(_) => return Err(TlsFailure::handshake("the TLS handshake took too long")),
        };
        let session = match &stream {
            Stream::TlsTcp(stream) => client_session(stream),
            Stream::TlsUnix(stream) => client_session(stream),
            Stream::Gone | Stream::Tcp(_) | Stream::Unix(_) => None,
        };
        let Some(session) = session else { return Err(TlsFailure::handshake("there is no TLS session")) };
        let (authenticated, problem) = match demanded {
            Some(demanded) => demanded.outcome(),
            None => self.judge(session, terms),
        };
        let facts = facts(session, authenticated, problem);
        let secured = secured(session, &terms.server_name);
        Ok((stream, facts, secured))
    }

    fn config(&self, demand: &TlsDemand) -> Result<(Arc<ClientConfig>, Option<Arc<Demanded>>), rustls::Error> {
        if let TlsDemand::Opportunistic = demand {
            return Ok((Arc::clone(&self.anybody), None));
        }
        let demanded = Arc::new(Demanded::new(demand.clone())?);
        let mut config = config(Arc::clone(&demanded) as _)?;
        // A resumed session would pass by the verifier, whose demand may be another one by then.
        config.resumption = Resumption::disabled();
        Ok((Arc::new(config), Some(demanded)))
    }

    /// What the certificate would have been worth, had anything been demanded.
    fn judge(&self, session: &ClientConnection, terms: &TlsTerms) -> (Authenticated, Option<String>) {
        let Some(chain) = session.peer_certificates() else {
            return (Authenticated::No, Some("the server shows no certificate".to_owned()));
        };
        let names: Vec<_> = ServerName::try_from(terms.server_name.as_str()).into_iter().collect();
        match self.roots.verify(chain, &names, UnixTime::now()) {
            Ok(()) => (Authenticated::Certificate, None),
            Err(error) => (Authenticated::No, Some(terms::words(&error))),
        }
    }
}

fn config(verifier: Arc<dyn rustls::client::danger::ServerCertVerifier>) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsFailure> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| TlsFailure::handshake(&format!("{name} is no name that TLS can ask for")))
}

fn client_session<S>(stream: &TlsStream<S>) -> Option<&ClientConnection> {
    if let TlsStream::Client(stream) = stream { Some(stream.get_ref().1) } else { None }
}

fn facts(session: &ClientConnection, authenticated: Authenticated, problem: Option<String>) -> TlsFacts {
    TlsFacts { version: version(session), cipher: cipher(session), authenticated, problem }
}

fn secured(session: &ClientConnection, server_name: &str) -> Secured {
    let tls13 = session.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    let exported = || session.export_keying_material(vec![0; 32], b"EXPORTER-Channel-Binding", Some(b"")).ok();
    Secured {
        version: version(session),
        cipher: cipher(session),
        server_name: Some(server_name.to_owned()),
        // RFC 9266 §4.2: safe in TLS 1.3 only, as the library does not tell of extended master secrets.
        channel_binding: if tls13 { exported() } else { None },
        client_certificate: None,
    }
}

fn version(session: &ClientConnection) -> &'static str {
    if session.protocol_version() == Some(ProtocolVersion::TLSv1_3) { "TLSv1.3" } else { "TLSv1.2" }
}

fn cipher(session: &ClientConnection) -> String {
    session.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())).unwrap_or_default()
}

#[cfg(test)]
mod tests;
