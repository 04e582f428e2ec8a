//! TLS for listeners: who we are, which versions, who the client is.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use posthorn_config::{ClientCertificate, TlsVersion};
use posthorn_wire::Secured;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ServerConnection, WebPkiClientVerifier};
use rustls::{ProtocolVersion, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::client_certificate::Lenient;
use crate::keyring::{Keyring, Source, Stamp, stamp};

/// Why TLS cannot be offered as configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Client certificates are asked for, and no authority is configured to verify them with.
    #[error("client certificates are asked for without tls.client_ca")]
    NoAuthority,
    /// No certificate at all.
    #[error("no certificate is configured")]
    NoCertificate,
    /// The library refused the settings.
    #[error("TLS settings: {0}")]
    Settings(#[from] rustls::Error),
    /// A self-signed certificate could not be made.
    #[error("cannot make {path}: {reason}")]
    Create {
        /// Where it would have been.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// A file is missing, unreadable or not what it should be.
    #[error("{path}: {reason}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Everything a listener needs to speak TLS. Files are read again when they change.
#[derive(Debug)]
pub(crate) struct ServerTls {
    keyring: Arc<Keyring>,
    wanted: Wanted,
    current: ArcSwap<Current>,
    watched: Mutex<(Instant, Stamp)>,
}

/// The settings of this moment, which a handshake keeps from its start to its end.
#[derive(Debug)]
pub(crate) struct Current {
    config: Arc<ServerConfig>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

/// What a listener asks of its TLS sessions.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The oldest version spoken.
    pub(crate) minimum: TlsVersion,
    /// Whether clients show certificates.
    pub(crate) client_certificate: ClientCertificate,
    /// The authorities that verify them (PEM).
    pub(crate) client_ca: Option<PathBuf>,
    /// Whether TLS begins in the middle of a session.
    pub(crate) upgrades: bool,
}

impl ServerTls {
    /// Reads certificates, keys and authorities.
    pub(crate) fn load(sources: Vec<Source>, wanted: Wanted) -> Result<Self, TlsError> {
        let keyring = Arc::new(Keyring::load(sources, provider())?);
        let seen = wanted.client_ca.as_deref().and_then(stamp);
        let current = ArcSwap::from_pointee(wanted.build(&keyring)?);
        Ok(Self { keyring, wanted, current, watched: Mutex::new((Instant::now(), seen)) })
    }

    /// The certificates and authorities of this moment.
    pub(crate) fn current(&self) -> Arc<Current> {
        self.keyring.refresh();
        self.refresh_authorities();
        self.current.load_full()
    }

    fn refresh_authorities(&self) {
        let Some(path) = &self.wanted.client_ca else { return };
        let Some(mut watched) = self.watched.try_lock() else { return };
        if watched.0.elapsed() < LOOK_EVERY {
            return;
        }
        let seen = stamp(path);
        let changed = seen != watched.1;
        *watched = (Instant::now(), seen);
        if changed {
            match self.wanted.build(&self.keyring) {
                Ok(current) => self.current.store(Arc::new(current)),
                Err(error) => tracing::error!(%error, "changed client authorities are unusable, the old ones stay"),
            }
        }
    }
}

impl Wanted {
    fn build(&self, keyring: &Arc<Keyring>) -> Result<Current, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(self.versions())?;
        let verifier = match self.client_certificate {
            ClientCertificate::None => None,
            ClientCertificate::Optional | ClientCertificate::Required => Some(self.verifier()?),
        };
        let builder = match &verifier {
            None => builder.with_no_client_auth(),
            Some(strict) if self.client_certificate == ClientCertificate::Required => {
                builder.with_client_cert_verifier(Arc::clone(strict))
            }
            Some(strict) => builder.with_client_cert_verifier(Arc::new(Lenient(Arc::clone(strict)))),
        };
        let mut config = builder.with_cert_resolver(Arc::clone(keyring) as _);
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        // One is enough: mail clients open few connections at once, and each ticket costs octets at the start. After
        // STARTTLS there is none: some clients read and write from two threads then, and a ticket makes them race.
        config.send_tls13_tickets = usize::from(!self.upgrades);
        Ok(Current { config: Arc::new(config), verifier })
    }

    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let path = self.client_ca.as_deref().ok_or(TlsError::NoAuthority)?;
        let unusable = |reason: String| TlsError::Unusable { path: path.to_owned(), reason };
        let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
        let roots = roots(&pem).map_err(unusable)?;
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        builder.build().map_err(|error| unusable(error.to_string()))
    }

    fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        match self.minimum {
            TlsVersion::Tls12 => rustls::ALL_VERSIONS,
            TlsVersion::Tls13 => &[TLS13],
        }
    }
}

impl Current {
    /// An acceptor of one handshake.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// What a finished handshake tells.
    pub(crate) fn secured(&self, session: &ServerConnection) -> Secured {
        let tls13 = session.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        // The exporter is a safe channel binding in TLS 1.2 only with extended master secrets (RFC 9266 §4.2), and
        // the library does not tell whether a session has one.
        let exported = || session.export_keying_material(vec![0; 32], b"EXPORTER-Channel-Binding", Some(b"")).ok();
        Secured {
            version: if tls13 { "TLSv1.3" } else { "TLSv1.2" },
            cipher: session.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())).unwrap_or_default(),
            server_name: session.server_name().map(str::to_owned),
            channel_binding: if tls13 { exported() } else { None },
            client_certificate: session.peer_certificates().and_then(|chain| self.client(chain)),
        }
    }

    /// The subject of the client's certificate if an authority vouches for it. Asked here rather than remembered,
    /// because a resumed session shows a certificate that was judged long ago.
    fn client(&self, chain: &[CertificateDer<'_>]) -> Option<String> {
        let (own, intermediates) = chain.split_first()?;
        match self.verifier.as_ref()?.verify_client_cert(own, intermediates, UnixTime::now()) {
            Ok(_) => subject(own),
            Err(error) => {
                tracing::info!(%error, subject = subject(own), "a client's certificate is not trusted");
                None
            }
        }
    }
}

/// The provider that is used everywhere; no process-wide default is needed.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

/// The authorities in a PEM text; an empty list is an error.
pub(crate) fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for der in CertificateDer::pem_slice_iter(pem) {
        roots.add(der.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("no certificate in it".to_owned()) } else { Ok(roots) }
}

fn subject(der: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject().to_string();
    Some(subject.chars().map(|c| if c.is_control() { '?' } else { c }).collect())
}

const TLS13: &SupportedProtocolVersion = &rustls::version::TLS13;
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
