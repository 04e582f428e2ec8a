//! What is demanded of a TLS session, and what came of it.

use std::io;
use std::time::Duration;

use rustls::CertificateError;

use crate::Roots;
use crate::dns::Tlsa;
use crate::tls_report::TlsResult;

/// What a TLS session must be like.
#[derive(Clone, Debug)]
pub enum TlsDemand {
    /// Secrecy and no more: any certificate will do (RFC 7435).
    Opportunistic,
    /// A certificate that one of `roots` vouches for, good for one of `names`.
    Verified {
        /// Who is believed.
        roots: Roots,
        /// Host names, without wildcards.
        names: Vec<String>,
    },
    /// A certificate that matches one of the records (RFC 7672 §3). If none of them is usable, secrecy and no more: the
    /// caller must not fall back to plain text then either (RFC 7672 §2.2).
    Dane {
        /// The TLSA records, proved secure.
        tlsa: Vec<Tlsa>,
        /// The names that count with usage 2 (RFC 7672 §3.2.2): the TLSA base domain, then the domain that mail is for
        /// and, where it is an alias, what it stands for.
        names: Vec<String>,
    },
}

/// How a handshake is to go.
#[derive(Clone, Debug)]
pub struct TlsTerms {
    /// What is demanded.
    pub demand: TlsDemand,
    /// The name sent to the server (RFC 6066 §3): the MX host, or the TLSA base domain with DANE (RFC 7672 §8.1). An
    /// address is allowed and not sent.
    pub server_name: String,
    /// Time for the handshake.
    pub time: Duration,
}

/// What came of a handshake.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsFacts {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The suite's name, such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// How the server proved who it is.
    pub authenticated: Authenticated,
    /// What is wrong with the certificate, in words, where that was allowed.
    pub problem: Option<String>,
}

/// How a server proved who it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Authenticated {
    /// An authority vouches for its name.
    Certificate,
    /// Its certificate matches a TLSA record of usage 2.
    DaneTa,
    /// Its certificate matches a TLSA record of usage 3.
    DaneEe,
    /// Not at all.
    No,
}

impl Authenticated {
    /// A word for traces: `verified`, `dane-ta`, `dane-ee`, `unverified`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "verified",
            Self::DaneTa => "dane-ta",
            Self::DaneEe => "dane-ee",
            Self::No => "unverified",
        }
    }
}

/// Why there is no TLS session.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text}")]
pub struct TlsFailure {
    /// The kind, for reports.
    pub result: TlsResult,
    /// In words.
    pub text: String,
}

impl TlsFailure {
    pub(super) fn handshake(text: &str) -> Self {
        Self { result: TlsResult::ValidationFailure, text: text.to_owned() }
    }

    pub(super) fn of(error: &rustls::Error) -> Self {
        Self { result: result(error), text: words(error) }
    }

    pub(super) fn of_io(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(error) => Self::of(error),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                Self::handshake("the server closed the connection during the TLS handshake")
            }
            None => Self::handshake(&format!("the TLS handshake failed: {error}")),
        }
    }
}

/// A fault of TLS in words for people who run mail servers.
pub(super) fn words(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(error) = error else { return format!("the TLS handshake failed: {error}") };
    match error {
        CertificateError::ApplicationVerificationFailure => {
            "the certificate matches none of the TLSA records".to_owned()
        }
        CertificateError::Expired => "the certificate has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            let at = i64::try_from(not_after.as_secs()).ok().and_then(|at| chrono::DateTime::from_timestamp(at, 0));
            at.map_or_else(
                || "the certificate has expired".to_owned(),
                |at| format!("the certificate expired on {}", at.format("%Y-%m-%d %H:%M UTC")),
            )
        }
        CertificateError::NotValidForName => "the certificate is for other names".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented: Vec<_> = presented.iter().take(5).map(|name| plain(name)).collect();
            format!("the certificate is not for {} but for {}", expected.to_str(), presented.join(", "))
        }
        CertificateError::BadSignature => "the certificate is not signed by the authority that it names".to_owned(),
        CertificateError::UnknownIssuer => "no known authority vouches for the certificate".to_owned(),
        other => format!("the certificate is not good: {other}"),
    }
}

/// The name alone: rustls writes `DnsName("mx.example")`.
fn plain(name: &str) -> &str {
    name.split('"').nth(1).unwrap_or(name)
}

fn result(error: &rustls::Error) -> TlsResult {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            TlsResult::CertificateExpired
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => TlsResult::CertificateHostMismatch,
        rustls::Error::InvalidCertificate(CertificateError::BadSignature | CertificateError::UnknownIssuer) => {
            TlsResult::CertificateNotTrusted
        }
        _ => TlsResult::ValidationFailure,
    }
}
