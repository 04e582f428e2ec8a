//! `[tls]`: certificates and what clients must speak.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Certificates and what clients must speak.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The default certificate chain (PEM); unset is `tls/certificate.pem` below `server.data`, self-signed at first.
    #[schemars(extend("format" = "path"))]
    pub certificate: Option<PathBuf>,
    /// The private key (PEM) of the default certificate; unset is `tls/key.pem` below `server.data`.
    #[schemars(extend("format" = "path"))]
    pub key: Option<PathBuf>,
    /// Further certificates, chosen by the server name that the client asks for.
    pub certificates: Vec<Certificate>,
    /// The oldest protocol version that is spoken.
    pub minimum: TlsVersion,
    /// Authorities (PEM) that client certificates are verified with.
    #[schemars(extend("format" = "path"))]
    pub client_ca: Option<PathBuf>,
    /// Authorities (PEM) that vouch for other servers besides the system's, where mail leaves under verified TLS.
    #[schemars(extend("format" = "path"))]
    pub authorities: Option<PathBuf>,
}

impl Tls {
    /// The default certificate and key: as configured, or the pair below the data folder.
    #[must_use]
    pub fn pair(&self, data: &Path) -> CertificatePair {
        CertificatePair {
            certificate: self.certificate.clone().unwrap_or_else(|| data.join("tls/certificate.pem")),
            key: self.key.clone().unwrap_or_else(|| data.join("tls/key.pem")),
            may_create: self.certificate.is_none() && self.key.is_none(),
        }
    }
}

/// Where a certificate chain and its key are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificatePair {
    /// The chain, PEM.
    pub certificate: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
    /// Whether a self-signed pair is written here when nothing is: only where nothing was configured.
    pub may_create: bool,
}

/// A certificate for some server names.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The server names it answers for; empty takes the names inside the certificate.
    #[serde(default)]
    #[schemars(extend("examples" = [["mail.example.org"]]))]
    pub names: Vec<String>,
    /// The chain, PEM, our own certificate first.
    #[schemars(extend("format" = "path"))]
    pub certificate: PathBuf,
    /// The private key, PEM.
    #[schemars(extend("format" = "path"))]
    pub key: PathBuf,
}

/// A TLS protocol version.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
}
