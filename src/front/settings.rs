//! What every session of every protocol is told at its start.

use posthorn_config::{Config, Imap, Mechanism, Smtp};

/// The parts of the configuration that sessions need.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name in greetings, Received headers and Message-IDs.
    pub hostname: String,
    /// The `[smtp]` section.
    pub smtp: Smtp,
    /// The `[imap]` section.
    pub imap: Imap,
    /// SASL mechanisms, strongest first.
    pub mechanisms: Vec<Mechanism>,
}

impl Settings {
    /// Takes what sessions need from the configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        // Clients take the first that they know.
        let strength = |mechanism: &Mechanism| match mechanism {
            Mechanism::ScramSha256Plus => 0,
            Mechanism::ScramSha256 => 1,
            Mechanism::Plain => 2,
            Mechanism::Login => 3,
        };
        let mut mechanisms = config.auth.mechanisms.clone();
        mechanisms.sort_by_key(strength);
        Self {
            hostname: config.server.hostname.clone(),
            smtp: config.smtp.clone(),
            imap: config.imap.clone(),
            mechanisms,
        }
    }
}
