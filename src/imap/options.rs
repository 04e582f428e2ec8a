//! How a session is set up.

use std::time::Duration;

/// What a session offers and how much it bears.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server's name in the greeting.
    pub host: String,
    /// What follows the name in the greeting, such as `ready`.
    pub greeting: String,
    /// SASL mechanisms in the order offered, in upper case, such as `SCRAM-SHA-256`. Those ending in `-PLUS` are offered
    /// only under TLS with channel binding.
    pub mechanisms: Vec<String>,
    /// Whether STARTTLS can be offered; pointless and ignored once TLS is up.
    pub tls_available: bool,
    /// Whether LOGIN and AUTHENTICATE wait for TLS.
    pub require_tls: bool,
    /// What ID answers, in order (RFC 2971 §3.3): at most 30 fields; empty answers NIL.
    pub id: Vec<(String, String)>,
    /// Sizes and counts.
    pub limits: Limits,
    /// Times.
    pub timeouts: Timeouts,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            host: "localhost".into(),
            greeting: "ready".into(),
            mechanisms: vec!["PLAIN".into()],
            tls_available: false,
            require_tls: true,
            id: Vec::new(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
        }
    }
}

/// How much a client may send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Octets of one command with all its literals, the messages of APPEND not counted; after login.
    pub command: usize,
    /// The same before login.
    pub command_unauthenticated: usize,
    /// Octets of one message (RFC 7889).
    pub append: u64,
    /// Messages in one APPEND (RFC 3502).
    pub append_messages: u32,
    /// Faulty commands in a row before the session is ended.
    pub faults: u32,
    /// How deep search keys may nest.
    pub search_depth: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            command: 64 * 1024,
            command_unauthenticated: 8 * 1024,
            append: 64 * 1024 * 1024,
            append_messages: 256,
            faults: 20,
            search_depth: 32,
        }
    }
}

/// How long a client may be silent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// Before login, for each command.
    pub unauthenticated: Duration,
    /// After login (RFC 9051 §5.4: at least 30 minutes).
    pub authenticated: Duration,
    /// In IDLE.
    pub idle: Duration,
    /// Between two pieces of an announced message.
    pub append: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            unauthenticated: Duration::from_secs(60),
            authenticated: Duration::from_secs(30 * 60),
            idle: Duration::from_secs(30 * 60),
            append: Duration::from_secs(5 * 60),
        }
    }
}
