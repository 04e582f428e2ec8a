//! What the duties are given when they are taken up.

use std::sync::Arc;

use posthorn_config::{Auth, Binding, Config, Dkim, Mail as MailSection, Queue, Route, Srs};
use posthorn_model::{Clock, Domain};
use posthorn_trust::{Signer, SigningKey};

use crate::dkim::{KeyState, KeyView};
use crate::return_paths::ReturnPaths;
use crate::{Error, Result, SystemClock};

/// The most octets of message bodies that sessions hold at once, unless somebody says otherwise.
const BODY_MEMORY: usize = 256 << 20;

/// What [`Mail::new`](crate::Mail::new) needs besides the store.
pub struct Settings {
    /// Our host name: of reports, return paths and results.
    pub hostname: String,
    /// The `[mail]` section.
    pub mail: MailSection,
    /// The `[auth]` section.
    pub auth: Auth,
    /// The `[queue]` section.
    pub queue: Queue,
    /// The `[dkim]` section.
    pub dkim: Dkim,
    /// The `[srs]` section.
    pub srs: Srs,
    /// The `[[route]]` rows.
    pub route: Vec<Route>,
    /// The `[[binding]]` rows.
    pub binding: Vec<Binding>,
    /// What private keys in the database are sealed with; without it there are none.
    pub master_key: Option<[u8; 32]>,
    /// What return paths are authenticated with; without it, something of the installation's own.
    pub srs_secret: Option<Vec<u8>>,
    /// Signing keys from files: domain, selector, and the key.
    pub dkim_files: Vec<(Domain, String, SigningKey)>,
    /// The most octets of message bodies that sessions may hold at once.
    pub body_memory: usize,
    /// The clock, for tests that step it.
    pub clock: Box<dyn Clock>,
}

impl Settings {
    /// What the configuration says, the system's clock, and no secrets: those are in files, which the caller reads.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            hostname: config.server.hostname.clone(),
            mail: config.mail.clone(),
            auth: config.auth.clone(),
            queue: config.queue.clone(),
            dkim: config.dkim.clone(),
            srs: config.srs.clone(),
            route: config.route.clone(),
            binding: config.binding.clone(),
            master_key: None,
            srs_secret: None,
            dkim_files: Vec::new(),
            body_memory: BODY_MEMORY,
            clock: Box::new(SystemClock),
        }
    }

    /// Writes and reads return paths; `installation` is a secret for want of another.
    pub(crate) fn return_paths(&self, installation: &[u8]) -> Result<ReturnPaths> {
        let domain = match &self.srs.domain {
            Some(domain) => domain.clone(),
            None => Domain::parse(&self.hostname).map_err(|_| Error::Hostname)?,
        };
        let derived = || [b"return paths\0", installation].concat();
        let secret = self.srs_secret.clone().unwrap_or_else(derived);
        Ok(ReturnPaths::new(domain, &secret, &self.srs))
    }

    /// The signers of keys in files, and the keys as people see them.
    pub(crate) fn keys_in_files(&mut self) -> (Vec<Signer>, Vec<KeyView>) {
        let (mut signers, mut views) = (Vec::new(), Vec::new());
        for (domain, selector, key) in self.dkim_files.drain(..) {
            let (kind, record) = (key.kind(), key.record());
            let signer = Signer::new(domain.clone(), &selector, Arc::new(key));
            let (Ok(signer), Ok(record)) = (signer, record) else {
                tracing::error!(%domain, selector, "a DKIM key in a file is of no use");
                continue;
            };
            signers.push(signer);
            views.push(KeyView {
                domain: domain.as_str().to_owned(),
                selector,
                kind,
                state: KeyState::File,
                created_at: None,
                active_at: None,
                retired_at: None,
                record,
                overdue: false,
            });
        }
        (signers, views)
    }
}
