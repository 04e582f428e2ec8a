//! The authorities that certificates of other servers are verified with.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::TlsError;
use crate::tls::{provider, roots};

/// A set of authorities; cheap to clone.
#[derive(Clone)]
pub struct Roots {
    verifier: Arc<WebPkiServerVerifier>,
    count: usize,
}

impl Roots {
    /// The system's authorities, or built-in ones (Mozilla's) where the system has none, and those in the PEM file
    /// `extra`.
    ///
    /// # Errors
    /// [`TlsError::Unusable`] when the file cannot be read or has no certificate in it.
    pub fn system(extra: Option<&Path>) -> Result<Self, TlsError> {
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
        if let Some(path) = extra {
            let unusable = |reason: String| TlsError::Unusable { path: path.to_owned(), reason };
            let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
            store.extend(roots(&pem).map_err(unusable)?.roots);
        }
        Self::of(store)
    }

    /// The authorities in a PEM text and nobody else.
    ///
    /// # Errors
    /// [`TlsError::Unusable`] (with an empty path) when there is no certificate in the text.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TlsError> {
        Self::of(roots(pem).map_err(|reason| TlsError::Unusable { path: Default::default(), reason })?)
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
            match self.verifier.verify_server_cert(own, intermediates, name, &[], now) {
                Ok(_) => return Ok(()),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or(rustls::Error::General("there is no name to verify".into())))
    }

    fn of(store: RootCertStore) -> Result<Self, TlsError> {
        let count = store.len();
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider())
            .build()
            .map_err(|error| TlsError::Unusable { path: Default::default(), reason: error.to_string() })?;
        Ok(Self { verifier, count })
    }
}

impl std::fmt::Debug for Roots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Roots({})", self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_always_some() {
        let roots = Roots::system(None).expect("roots");
        assert!(roots.count > 10);
        assert!(Roots::from_pem(b"nothing").is_err());
        let missing = Roots::system(Some(Path::new("/nonexistent.pem")));
        assert!(matches!(missing, Err(TlsError::Unusable { path, .. }) if path.ends_with("nonexistent.pem")));
    }
}
