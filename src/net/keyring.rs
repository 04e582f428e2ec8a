//! Certificates and keys by server name, read again when their files change.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::TlsError;

/// A chain with its key, and the names it answers for.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Server names; empty takes the names inside the certificate.
    pub(crate) names: Vec<String>,
    /// The chain (PEM).
    pub(crate) certificate: PathBuf,
    /// The private key (PEM).
    pub(crate) key: PathBuf,
}

/// All certificates of a listener. The first source answers for names that no other does, and for clients that name
/// none.
#[derive(Debug)]
pub(crate) struct Keyring {
    sources: Vec<Source>,
    provider: Arc<CryptoProvider>,
    keys: ArcSwap<Keys>,
    watched: Mutex<Watched>,
}

#[derive(Debug)]
struct Keys {
    default: Arc<CertifiedKey>,
    named: HashMap<String, Arc<CertifiedKey>>,
}

#[derive(Debug)]
struct Watched {
    at: Instant,
    stamps: Vec<Stamp>,
}

/// What changes when a file is replaced: its time of change, its size, its inode.
pub(crate) type Stamp = Option<(SystemTime, u64, u64)>;

impl Keyring {
    /// Reads all sources; the first must be there, and each must be a chain and its own key.
    pub(crate) fn load(sources: Vec<Source>, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let watched = Watched { at: Instant::now(), stamps: stamps(&sources) };
        let keys = ArcSwap::from_pointee(read(&sources, &provider)?);
        Ok(Self { sources, provider, keys, watched: Mutex::new(watched) })
    }

    /// Looks for changed files, at most once a second. What cannot be read or does not fit leaves the old keys in use.
    pub(crate) fn refresh(&self) {
        // Another handshake that looks right now does it for this one, too.
        let Some(mut watched) = self.watched.try_lock() else { return };
        if watched.at.elapsed() < LOOK_EVERY {
            return;
        }
        watched.at = Instant::now();
        let stamps = stamps(&self.sources);
        if stamps == watched.stamps {
            return;
        }
        watched.stamps = stamps;
        match read(&self.sources, &self.provider) {
            Ok(keys) => {
                self.keys.store(Arc::new(keys));
                tracing::info!(certificate = %self.sources[0].certificate.display(), "certificates read again");
            }
            Err(error) => tracing::error!(%error, "changed certificates are unusable, the old ones stay in use"),
        }
    }

    fn choose(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let keys = self.keys.load();
        let Some(name) = name else { return Arc::clone(&keys.default) };
        let name = folded(name);
        let wildcard = || name.split_once('.').and_then(|(_, parent)| keys.named.get(&format!("*.{parent}")));
        Arc::clone(keys.named.get(&name).or_else(wildcard).unwrap_or(&keys.default))
    }
}

impl ResolvesServerCert for Keyring {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.choose(hello.server_name()))
    }
}

/// The state of one file, to be compared with a later one.
pub(crate) fn stamp(path: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt as _;
    let meta = fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len(), meta.ino()))
}

fn stamps(sources: &[Source]) -> Vec<Stamp> {
    sources.iter().flat_map(|source| [stamp(&source.certificate), stamp(&source.key)]).collect()
}

fn read(sources: &[Source], provider: &CryptoProvider) -> Result<Keys, TlsError> {
    let mut named = HashMap::new();
    let mut default = None;
    let mut inside = Vec::new();
    for source in sources {
        let key = Arc::new(read_pair(source, provider)?);
        for name in &source.names {
            named.entry(folded(name)).or_insert_with(|| Arc::clone(&key));
        }
        if source.names.is_empty() {
            inside.extend(names_inside(&key).into_iter().map(|name| (name, Arc::clone(&key))));
        }
        default.get_or_insert(key);
    }
    // Names that the configuration states go before names that certificates happen to hold.
    for (name, key) in inside {
        named.entry(folded(&name)).or_insert(key);
    }
    let default = default.ok_or(TlsError::NoCertificate)?;
    Ok(Keys { default, named })
}

pub(crate) fn read_pair(source: &Source, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let unusable = |path: &Path, reason: String| TlsError::Unusable { path: path.to_owned(), reason };
    let bytes = fs::read(&source.certificate).map_err(|error| unusable(&source.certificate, error.to_string()))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.map_err(|error| unusable(&source.certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(unusable(&source.certificate, "no certificate in it".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(&source.key).map_err(|error| unusable(&source.key, error.to_string()))?;
    let key = provider.key_provider.load_private_key(key).map_err(|error| unusable(&source.key, error.to_string()))?;
    let pair = CertifiedKey::new(chain, key);
    pair.keys_match().map_err(|error| unusable(&source.key, format!("not the certificate's key: {error}")))?;
    Ok(pair)
}

fn folded(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

pub(crate) fn names_inside(key: &CertifiedKey) -> Vec<String> {
    let Some(Ok((_, certificate))) = key.cert.first().map(|der| X509Certificate::from_der(der)) else {
        return Vec::new();
    };
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = alternatives.value.general_names.iter();
    names
        .filter_map(|name| if let GeneralName::DNSName(name) = name { Some((*name).to_owned()) } else { None })
        .collect()
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
