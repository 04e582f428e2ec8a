//! The authorities that certificates of other servers are verified with.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::TlsError;
use crate::tls::{provider, roots};

/// A set of authorities; cheap to clone. Those of the system are read when the first certificate is looked at: a server
/// that sends nothing needs no memory for them.
#[derive(Clone)]
pub struct Roots(Arc<Authorities>);

struct Authorities {
    /// Whether the system's authorities belong to it.
    system: bool,
    own: RootCertStore,
    verifier: OnceLock<Result<Arc<WebPkiServerVerifier>, String>>,
}

impl Roots {
    /// The system's authorities, or built-in ones (Mozilla's) where the system has none, and those in the PEM file
    /// `extra`.
    ///
    /// # Errors
    /// [`TlsError::Unusable`] when the file cannot be read or has no certificate in it.
    pub fn system(extra: Option<&Path>) -> Result<Self, TlsError> {
        let own = match extra {
            None => RootCertStore::empty(),
            Some(path) => {
                let unusable = |reason: String| TlsError::Unusable { path: path.to_owned(), reason };
                let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
                roots(&pem).map_err(unusable)?
            }
        };
        Ok(Self(Arc::new(Authorities { system: true, own, verifier: OnceLock::new() })))
    }

    /// The authorities in a PEM text and nobody else.
    ///
    /// # Errors
    /// [`TlsError::Unusable`] (with an empty path) when there is no certificate in the text.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TlsError> {
        let own = roots(pem).map_err(|reason| TlsError::Unusable { path: Default::default(), reason })?;
        Ok(Self(Arc::new(Authorities { system: false, own, verifier: OnceLock::new() })))
    }

    fn verifier(&self) -> Result<&WebPkiServerVerifier, rustls::Error> {
        let made = self.0.verifier.get_or_init(|| {
            let mut store = if self.0.system { system() } else { RootCertStore::empty() };
            store.extend(self.0.own.roots.iter().cloned());
            let built = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider()).build();
            built.map_err(|error| error.to_string())
        });
        made.as_deref().map_err(|error| rustls::Error::General(error.clone()))
    }

    /// Whether a chain (the server's own certificate first) leads to one of the authorities and is good for one of
    /// `names` (host names; RFC 6125 wildcards count).
    ///
    /// # Errors
    /// What is wrong with it, for the first name.
    pub(crate) fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        names: &[ServerName<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let Some((own, intermediates)) = chain.split_first() else {
            return Err(rustls::Error::NoCertificatesPresented);
        };
        let mut first = None;
        for name in names {
            match self.verifier()?.verify_server_cert(own, intermediates, name, &[], now) {
                Ok(_) => return Ok(()),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or(rustls::Error::General("there is no name to verify".into())))
    }
}

/// The system's authorities, or built-in ones where it has none.
fn system() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some of the system's authorities cannot be read");
    }
    let mut store = RootCertStore::empty();
    let (_, unreadable) = store.add_parsable_certificates(found.certs);
    if unreadable > 0 {
        tracing::debug!(unreadable, "some of the system's authorities are no certificates");
    }
    if store.is_empty() {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    store
}

impl std::fmt::Debug for Roots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Roots(system: {}, own: {})", self.0.system, self.0.own.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_always_some() {
        assert!(system().len() > 10);
        assert!(Roots::system(None).expect("roots").verifier().is_ok());
        assert!(Roots::from_pem(b"nothing").is_err());
        let missing = Roots::system(Some(Path::new("/nonexistent.pem")));
        assert!(matches!(missing, Err(TlsError::Unusable { path, .. }) if path.ends_with("nonexistent.pem")));
    }
}
