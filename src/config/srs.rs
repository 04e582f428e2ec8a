//! `[srs]`: the senders of mail that is forwarded.

use std::path::PathBuf;

use posthorn_model::Domain;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The senders of mail that is forwarded: rewritten, so that the next host's SPF check is about us (SRS).
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Srs {
    /// Whether senders are rewritten.
    pub enable: bool,
    /// The domain of rewritten senders, whose mail must come back to us; unset is `server.hostname`.
    #[schemars(extend("format" = "hostname"), with = "Option<String>", example = &"mail.example.org")]
    pub domain: Option<Domain>,
    /// A file, at least 16 octets, that rewritten senders are authenticated with, as by other implementations of SRS, whose secret may be used; unset is a secret of the installation, kept in the database.
    #[schemars(extend("format" = "path"), example = &"/run/credentials/posthorn.service/srs.secret")]
    pub secret: Option<PathBuf>,
    /// Files with secrets of the past: rewritten senders that were given out then are still taken.
    #[schemars(extend("examples" = [["/run/credentials/posthorn.service/srs.old"]]))]
    pub old_secrets: Vec<PathBuf>,
    /// How many days bounces to a rewritten sender are taken.
    #[schemars(range(min = 1, max = 500))]
    pub days: u32,
}

impl Default for Srs {
    fn default() -> Self {
        Self { enable: true, domain: None, secret: None, old_secrets: Vec::new(), days: 21 }
    }
}
