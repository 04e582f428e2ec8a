//! `[dkim]`: signatures of our own domains (RFC 6376).

use std::path::{Path, PathBuf};

use posthorn_model::Domain;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// Signatures of our own domains (RFC 6376).
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dkim {
    /// Whether mail of domains that have keys is signed.
    pub sign: bool,
    /// A file of 32 octets that keys in the database are encrypted with; unset is `dkim.key` below `server.data`, made at first.
    #[schemars(extend("format" = "path"), example = &"/run/credentials/posthorn.service/dkim.master_key")]
    pub master_key: Option<PathBuf>,
    /// How long a key signs before it should be rotated; `0 s` is for ever.
    pub key_lifetime: Span,
    /// How long a key that was rotated stays published after its successor began to sign.
    pub overlap: Span,
    /// Keys in files, besides those in the database.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<DkimKeyFile>,
}

impl Default for Dkim {
    fn default() -> Self {
        let day = 86_400;
        Self {
            sign: true,
            master_key: None,
            key_lifetime: Span::from_secs(180 * day),
            overlap: Span::from_secs(7 * day),
            key: Vec::new(),
        }
    }
}

impl Dkim {
    /// The file of the master key, and whether it may be made when it is not there: only where none was configured.
    #[must_use]
    pub fn master_key_file(&self, data: &Path) -> (PathBuf, bool) {
        self.master_key.clone().map_or_else(|| (data.join("dkim.key"), true), |file| (file, false))
    }
}

/// A private key in a file.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DkimKeyFile {
    /// The domain that signs.
    #[schemars(extend("format" = "hostname"), with = "String", example = &"example.org")]
    pub domain: Domain,
    /// The selector below `_domainkey`.
    #[schemars(extend("format" = "hostname"), with = "String", example = &"rsa2026")]
    pub selector: Domain,
    /// The private key, RSA or Ed25519, PEM (PKCS #8).
    #[schemars(extend("format" = "path"), example = &"/etc/posthorn/dkim/example.org.pem")]
    pub file: PathBuf,
}
