//! What the duties are given when they are taken up.

use std::sync::Arc;

use posthorn_config::{Auth, Binding, Checks, Config, Dkim, Mail as MailSection, Queue, Reports, Route, Srs};
use posthorn_model::{Clock, Domain};
use posthorn_trust::{Resolver, Signer, SigningKey};

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
    /// The `[checks]` section.
    pub checks: Checks,
    /// The `[srs]` section.
    pub srs: Srs,
    /// The `[reports]` section.
    pub reports: Reports,
    /// The `[[route]]` rows.
    pub route: Vec<Route>,
    /// The `[[binding]]` rows.
    pub binding: Vec<Binding>,
    /// What private keys in the database are sealed with; without it there are none.
    pub master_key: Option<[u8; 32]>,
    /// What return paths are authenticated with; without it, something of the installation's own.
    pub srs_secret: Option<Vec<u8>>,
    /// What it was before: return paths that were given out then are still believed.
    pub srs_old_secrets: Vec<Vec<u8>>,
    /// Signing keys from files: domain, selector, and the key.
    pub dkim_files: Vec<(Domain, String, SigningKey)>,
    /// The most octets of message bodies that sessions may hold at once.
    pub body_memory: usize,
    /// Who asks the DNS about strangers' mail; without it nothing is found out.
    pub resolver: Option<Arc<dyn Resolver>>,
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
            checks: config.checks.clone(),
            srs: config.srs.clone(),
            reports: config.reports.clone(),
            route: config.route.clone(),
            binding: config.binding.clone(),
            master_key: None,
            srs_secret: None,
            srs_old_secrets: Vec::new(),
            dkim_files: Vec::new(),
            body_memory: BODY_MEMORY,
            resolver: None,
            clock: Box::new(SystemClock),
        }
    }

    /// The clock, and everything else.
    pub(crate) fn apart(mut self) -> (Self, Box<dyn Clock>) {
        let clock = std::mem::replace(&mut self.clock, Box::new(SystemClock));
        (self, clock)
    }

    /// Writes and reads return paths; `installation` is a secret for want of another.
    pub(crate) fn return_paths(&self, installation: &[u8]) -> Result<ReturnPaths> {
        let domain = match &self.srs.domain {
            Some(domain) => domain.clone(),
            None => Domain::parse(&self.hostname).map_err(|_| Error::Hostname)?,
        };
        let derived = || [b"return paths\0", installation].concat();
        let secret = self.srs_secret.clone().unwrap_or_else(derived);
        Ok(ReturnPaths::new(domain, &secret, &self.srs).also(&self.srs_old_secrets))
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
