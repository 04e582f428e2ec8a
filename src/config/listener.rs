//! `[[listener]]`: one service on one or more addresses.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::endpoint::yes;
use crate::{Endpoint, FileMode, FilterPort, ListenAddress, MilterPort, Peer, PeerOptions, QuarantinePort};

/// One service on one or more addresses.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// The name in logs, metrics and commands; unique.
    #[schemars(example = &"smtp")]
    pub name: String,
    /// The protocol.
    pub speaks: Speaks,
    /// The addresses, each a text such as `"*:25"` or a table with an `address` and its own options.
    pub listen: Vec<Endpoint>,
    /// Whether any address is bound; a disabled listener is still checked.
    #[serde(default = "yes")]
    pub enable: bool,
    /// Allows an internal service on other than loopback addresses, for named peers or client certificates.
    #[serde(default)]
    pub exposed: bool,
    /// When TLS begins; unset is what the protocol expects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsMode>,
    /// A certificate chain (PEM) for this listener alone; needs `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub certificate: Option<PathBuf>,
    /// The private key (PEM) of that certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub key: Option<PathBuf>,
    /// Whether clients are asked for a certificate.
    #[serde(default)]
    pub client_certificate: ClientCertificate,
    /// Permission bits of Unix sockets.
    #[serde(default)]
    pub file_mode: FileMode,
    /// Connections that the kernel keeps waiting on each address.
    #[serde(default = "default_backlog")]
    #[schemars(range(min = 1))]
    pub listen_backlog: u32,
    /// Sessions of all listeners that speak this protocol; 0 is no limit.
    #[serde(default)]
    pub service_sessions: u32,
    /// Sessions of this listener; 0 is no limit.
    #[serde(default)]
    pub listener_sessions: u32,
    /// What a listener that speaks filter does; unset takes the defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterPort>,
    /// What a listener that speaks am-pdp does; unset takes the defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<QuarantinePort>,
    /// What a listener that speaks milter does; unset takes the defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milter: Option<MilterPort>,
    /// What holds for some networks on every address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peer: Vec<Peer>,
    /// The options that this listener sets for all its clients.
    #[serde(flatten)]
    pub options: PeerOptions,
}

impl Listener {
    /// A row with everything else at its default.
    #[must_use]
    pub fn new(name: &str, speaks: Speaks, listen: impl IntoIterator<Item = ListenAddress>) -> Self {
        Self {
            name: name.to_owned(),
            speaks,
            listen: listen.into_iter().map(Endpoint::from).collect(),
            enable: true,
            exposed: false,
            tls: None,
            certificate: None,
            key: None,
            client_certificate: ClientCertificate::None,
            file_mode: FileMode::default(),
            listen_backlog: default_backlog(),
            service_sessions: 0,
            listener_sessions: 0,
            filter: None,
            quarantine: None,
            milter: None,
            peer: Vec::new(),
            options: PeerOptions::default(),
        }
    }

    /// When TLS begins: as configured, or as the protocol expects.
    #[must_use]
    pub fn tls_mode(&self) -> TlsMode {
        self.tls.unwrap_or_else(|| self.speaks.tls_mode())
    }

    /// Whether it trusts its clients: its protocol does, and is not made for the world by TLS.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        is_internal(self.speaks) && !(self.speaks == Speaks::Release && self.tls_mode() == TlsMode::Implicit)
    }

    /// The permission bits of one endpoint's socket.
    #[must_use]
    pub fn file_mode_of(&self, endpoint: &Endpoint) -> FileMode {
        endpoint.file_mode.unwrap_or(self.file_mode)
    }

    /// The backlog of one endpoint's socket.
    #[must_use]
    pub fn backlog_of(&self, endpoint: &Endpoint) -> u32 {
        endpoint.listen_backlog.unwrap_or(self.listen_backlog)
    }
}

/// The protocols that a listener can speak.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-noun" = "protocol"))]
#[serde(rename_all = "lowercase")]
pub enum Speaks {
    /// Mail from other servers (RFC 5321): no login, STARTTLS.
    Smtp,
    /// Mail from our own people (RFC 6409): login, STARTTLS.
    Submission,
    /// The same under TLS from the first byte (RFC 8314).
    Submissions,
    /// Local delivery (RFC 2033): internal.
    Lmtp,
    /// Mailboxes (RFC 9051), STARTTLS.
    Imap,
    /// The same under TLS from the first byte (RFC 8314).
    Imaps,
    /// The policy engine for other mail servers (Postfix policy delegation): internal.
    Policy,
    /// Senders rewritten for forwarding (SRS), as a Postfix tcp_table: internal.
    #[serde(rename = "srs-forward")]
    SrsForward,
    /// Rewritten senders turned back, likewise: internal.
    #[serde(rename = "srs-reverse")]
    SrsReverse,
    /// A content filter for other mail servers, by SMTP or LMTP with XFORWARD: internal.
    Filter,
    /// Judged mail comes back: neither policy nor filter, nor are aliases followed: internal.
    Reinject,
    /// The same, and aliases are followed: internal.
    #[serde(rename = "reinject-expand")]
    ReinjectExpand,
    /// Release from quarantine, and verdicts for helpers (AM.PDP): internal.
    #[serde(rename = "am-pdp")]
    AmPdp,
    /// The filter as a milter (protocol 6): internal.
    Milter,
    /// What is counted (OpenMetrics) and whether all is well, by HTTP: internal.
    Metrics,
    /// Held mail, released by its recipients through the links in their letters (HTTP; HTTPS where TLS begins with the first byte): internal without TLS, and public with it.
    Release,
}

impl Speaks {
    /// Every protocol.
    pub const ALL: [Self; 16] = [
        Self::Smtp,
        Self::Submission,
        Self::Submissions,
        Self::Lmtp,
        Self::Imap,
        Self::Imaps,
        Self::Policy,
        Self::SrsForward,
        Self::SrsReverse,
        Self::Filter,
        Self::Reinject,
        Self::ReinjectExpand,
        Self::AmPdp,
        Self::Milter,
        Self::Metrics,
        Self::Release,
    ];

    /// The name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Submission => "submission",
            Self::Submissions => "submissions",
            Self::Lmtp => "lmtp",
            Self::Imap => "imap",
            Self::Imaps => "imaps",
            Self::Policy => "policy",
            Self::SrsForward => "srs-forward",
            Self::SrsReverse => "srs-reverse",
            Self::Filter => "filter",
            Self::Reinject => "reinject",
            Self::ReinjectExpand => "reinject-expand",
            Self::AmPdp => "am-pdp",
            Self::Milter => "milter",
            Self::Metrics => "metrics",
            Self::Release => "release",
        }
    }

    /// When TLS begins unless the listener says otherwise.
    #[must_use]
    pub const fn tls_mode(self) -> TlsMode {
        match self {
            Self::Smtp | Self::Submission | Self::Imap => TlsMode::StartTls,
            Self::Submissions | Self::Imaps => TlsMode::Implicit,
            Self::Lmtp
            | Self::Policy
            | Self::SrsForward
            | Self::SrsReverse
            | Self::Filter
            | Self::Reinject
            | Self::ReinjectExpand
            | Self::AmPdp
            | Self::Milter
            | Self::Release
            | Self::Metrics => TlsMode::None,
        }
    }

    /// Whether people log in here, which by default needs TLS.
    #[must_use]
    pub const fn has_login(self) -> bool {
        matches!(self, Self::Submission | Self::Submissions | Self::Imap | Self::Imaps)
    }
}

/// Whether a protocol trusts its clients and so belongs on loopback or behind named peers.
#[must_use]
pub const fn is_internal(speaks: Speaks) -> bool {
    !matches!(speaks, Speaks::Smtp | Speaks::Submission | Speaks::Submissions | Speaks::Imap | Speaks::Imaps)
}

/// When TLS begins.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// Never.
    None,
    /// When the client asks for it.
    StartTls,
    /// With the first byte.
    Implicit,
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificate {
    /// Not asked.
    #[default]
    None,
    /// Asked; a missing or unverified one is noted.
    Optional,
    /// Asked; without a verified one there is no session.
    Required,
}

impl ClientCertificate {
    /// Whether clients are not asked at all.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

const fn default_backlog() -> u32 {
    500
}
