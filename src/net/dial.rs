//! The client's side of TLS, as far as the appliance's own self-check needs it.

use std::io;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::TlsError;
use crate::tls::{provider, roots};

/// A client that trusts the certificates in `ca_pem` (PEM) and nobody else.
///
/// # Errors
/// [`TlsError::Unusable`] (with an empty path) when there is no certificate in the text.
pub fn client_config(ca_pem: &[u8]) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = roots(ca_pem).map_err(|reason| TlsError::Unusable { path: Default::default(), reason })?;
    Ok(Arc::new(plain(roots)?))
}

/// Connects by TCP and shakes hands at once (implicit TLS); the server must prove to be `name`.
///
/// # Errors
/// What the connection or the handshake says; `InvalidInput` when `name` is neither a host name nor an address.
pub async fn dial_tls(
    to: impl ToSocketAddrs,
    name: &str,
    config: &Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    secure(stream, name, config).await
}

/// Shakes hands over a stream that is already open (after STARTTLS); the server must prove to be `name`.
///
/// # Errors
/// As [`dial_tls`].
pub async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    name: &str,
    config: &Arc<ClientConfig>,
) -> io::Result<TlsStream<S>> {
    let name = ServerName::try_from(name.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await
}

fn plain(roots: RootCertStore) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
