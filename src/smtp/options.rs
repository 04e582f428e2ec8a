//! What a session is told about itself before its first byte.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::{Dialect, Extension, Extensions};

/// How one server session behaves. Built per connection from the listener's and the peer's effective options.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which of the three protocols is spoken.
    pub dialect: Dialect,
    /// The name in the banner and in the EHLO reply: a host name without spaces.
    pub host: String,
    /// What follows the host name in the banner, such as `ESMTP Posthorn`; one line.
    pub banner: String,
    /// What EHLO offers. A command or parameter that belongs to an absent extension is refused.
    pub extensions: Extensions,
    /// Octets a message may have (RFC 1870); 0 means no limit.
    pub max_size: u64,
    /// Counts, lengths and times.
    pub limits: Limits,
    /// Whether STARTTLS can work now; `false` while [`Extension::StartTls`] is present answers 454 4.7.0.
    pub tls_available: bool,
    /// Before TLS, everything but EHLO, NOOP, RSET, QUIT, STARTTLS, HELP and XCLIENT gets 530 5.7.0 (RFC 3207 §4).
    pub require_tls: bool,
    /// SASL mechanism names in the order offered; with none, AUTH is not offered.
    pub auth: Vec<String>,
    /// AUTH is hidden and answered 538 5.7.11 before TLS (RFC 4954 §4).
    pub auth_needs_tls: bool,
    /// MAIL, VRFY and EXPN without login get 530 5.7.0 (RFC 4954 §6).
    pub auth_required: bool,
    /// How long a message may be kept back; without it FUTURERELEASE is not offered.
    pub hold: Option<LongestHold>,
    /// HELO is answered 550 5.5.1.
    pub require_ehlo: bool,
    /// Whether the client chooses the dialect by its greeting: LHLO makes it [`Dialect::Lmtp`], EHLO and HELO make it
    /// [`Dialect::Smtp`].
    pub by_greeting: bool,
    /// How long the banner is held back to catch peers that talk first; zero turns that off.
    pub banner_delay: Duration,
}

impl Options {
    /// Options of a plain session: every ordinary extension, no TLS, no AUTH, default limits, 50 MiB.
    #[must_use]
    pub fn new(dialect: Dialect, host: impl Into<String>) -> Self {
        Self {
            dialect,
            host: host.into(),
            banner: if dialect == Dialect::Lmtp { "LMTP Posthorn" } else { "ESMTP Posthorn" }.to_owned(),
            extensions: Extensions::ordinary(),
            max_size: 50 << 20,
            limits: Limits::default(),
            tls_available: false,
            require_tls: false,
            auth: Vec::new(),
            auth_needs_tls: true,
            auth_required: false,
            hold: None,
            require_ehlo: false,
            by_greeting: false,
            banner_delay: Duration::ZERO,
        }
    }

    /// Whether the extension is offered and has what it needs.
    pub(crate) fn offers(&self, extension: Extension) -> bool {
        self.extensions.has(extension)
            && match extension {
                Extension::Auth => !self.auth.is_empty(),
                Extension::BinaryMime => self.extensions.has(Extension::Chunking),
                Extension::FutureRelease => self.hold.is_some() && self.dialect != Dialect::Lmtp,
                // What LMTP takes is delivered at once and goes no further.
                Extension::DeliverBy | Extension::MtPriority | Extension::RequireTls => self.dialect != Dialect::Lmtp,
                _ => true,
            }
    }
}

/// The furthest that a message may be kept back: what FUTURERELEASE announces (RFC 4865 §3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LongestHold {
    /// Seconds that `HOLDFOR` may say.
    pub seconds: u32,
    /// The last moment that `HOLDUNTIL` may name.
    pub until: DateTime<Utc>,
}

/// The bounds of one session.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Octets of a command line with CRLF (RFC 5321 §4.5.3.1.4); MAIL, RCPT and XCLIENT get their extensions' room on top.
    pub command_line: usize,
    /// Octets of an AUTH command or response line with CRLF (RFC 4954 §4).
    pub auth_line: usize,
    /// Wrong commands until 421 4.7.0.
    pub bad_commands: u32,
    /// NOOP, RSET, VRFY, EXPN, HELP and repeated EHLO without a message in between until 421 4.7.0.
    pub junk: u32,
    /// Recipients that the application refused until 421 4.7.0.
    pub refused_recipients: u32,
    /// Failed logins until 421 4.7.0.
    pub auth_failures: u32,
    /// Recipients of one message until 452 4.5.3; RCPTMAX of RFC 9422. RFC 5321 §4.5.3.1.8 wants at least 100.
    pub recipients: usize,
    /// Distinct recipient domains of one message until 452 4.5.3; RCPTDOMAINMAX of RFC 9422.
    pub recipient_domains: Option<usize>,
    /// Messages of one session until 452 4.5.3; MAILMAX of RFC 9422.
    pub messages: Option<u32>,
    /// Octets of a message's header section until 550 5.6.0.
    pub header_bytes: u64,
    /// Octets of a text line without CRLF until 550 5.6.0 (RFC 5321 §4.5.3.1.6: 998); `None` allows any length.
    pub text_line: Option<usize>,
    /// Octets of a refused body that are read and thrown away behind the fault, until the session is closed instead.
    pub swallow: u64,
    /// Time for the next whole command (RFC 5321 §4.5.3.2.7: 5 minutes).
    pub idle: Duration,
    /// Time between two pieces of a body (RFC 5321 §4.5.3.2.5: 3 minutes).
    pub body_idle: Duration,
    /// Time for the whole session.
    pub session: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            command_line: 512,
            auth_line: 12_288,
            bad_commands: 20,
            junk: 100,
            refused_recipients: 100,
            auth_failures: 3,
            recipients: 1000,
            recipient_domains: None,
            messages: None,
            header_bytes: 1 << 20,
            text_line: Some(998),
            swallow: 64 << 20,
            idle: Duration::from_mins(5),
            body_idle: Duration::from_mins(3),
            session: None,
        }
    }
}
