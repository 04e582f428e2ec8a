//! SMTP extensions as peers are offered them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Mechanism;

/// An EHLO keyword that can be offered or kept back.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SmtpExtension {
    /// RFC 4954; one mechanism, or all that are configured.
    Auth(Option<Mechanism>),
    /// RFC 3030 §3.
    BinaryMime,
    /// RFC 3030 §2.
    Chunking,
    /// RFC 2852.
    DeliverBy,
    /// RFC 3461.
    Dsn,
    /// RFC 6152.
    EightBitMime,
    /// RFC 2034.
    EnhancedStatusCodes,
    /// RFC 4865; on submission only.
    FutureRelease,
    /// RFC 5321 §4.1.1.8.
    Help,
    /// RFC 9422.
    Limits,
    /// RFC 6710; for logged-in users and peers that may relay.
    MtPriority,
    /// RFC 2920.
    Pipelining,
    /// RFC 8689; under TLS only.
    RequireTls,
    /// RFC 1870.
    Size,
    /// RFC 6531.
    SmtpUtf8,
    /// RFC 3207.
    StartTls,
    /// The client may restate whom it speaks for; still needs `xclient = true`.
    Xclient,
    /// The client may name the original client for the log; still needs `xforward = true`.
    Xforward,
}

/// A word that is no extension that we know.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("unknown SMTP extension \"{0}\"")]
pub struct UnknownExtension(pub String);

impl SmtpExtension {
    /// Every keyword without a parameter.
    pub const ALL: [Self; 18] = [
        Self::Auth(None),
        Self::BinaryMime,
        Self::Chunking,
        Self::DeliverBy,
        Self::Dsn,
        Self::EightBitMime,
        Self::EnhancedStatusCodes,
        Self::FutureRelease,
        Self::Help,
        Self::Limits,
        Self::MtPriority,
        Self::Pipelining,
        Self::RequireTls,
        Self::Size,
        Self::SmtpUtf8,
        Self::StartTls,
        Self::Xclient,
        Self::Xforward,
    ];

    /// The EHLO keyword, upper case, without parameters.
    #[must_use]
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Auth(_) => "AUTH",
            Self::BinaryMime => "BINARYMIME",
            Self::Chunking => "CHUNKING",
            Self::DeliverBy => "DELIVERBY",
            Self::Dsn => "DSN",
            Self::EightBitMime => "8BITMIME",
            Self::EnhancedStatusCodes => "ENHANCEDSTATUSCODES",
            Self::FutureRelease => "FUTURERELEASE",
            Self::Help => "HELP",
            Self::Limits => "LIMITS",
            Self::MtPriority => "MT-PRIORITY",
            Self::Pipelining => "PIPELINING",
            Self::RequireTls => "REQUIRETLS",
            Self::Size => "SIZE",
            Self::SmtpUtf8 => "SMTPUTF8",
            Self::StartTls => "STARTTLS",
            Self::Xclient => "XCLIENT",
            Self::Xforward => "XFORWARD",
        }
    }

    /// Everything that may be written in a configuration.
    pub(crate) fn spellings() -> Vec<String> {
        let mechanisms = Mechanism::ALL.into_iter().map(|mechanism| Self::Auth(Some(mechanism)));
        Self::ALL.into_iter().chain(mechanisms).map(|extension| extension.to_string()).collect()
    }
}

impl FromStr for SmtpExtension {
    type Err = UnknownExtension;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || UnknownExtension(text.to_owned());
        let mut words = text.split_ascii_whitespace();
        let (word, parameter) = (words.next().ok_or_else(refuse)?, words.next());
        let known =
            Self::ALL.into_iter().find(|known| known.keyword().eq_ignore_ascii_case(word)).ok_or_else(refuse)?;
        if words.next().is_some() {
            return Err(refuse());
        }
        match (known, parameter) {
            (known, None) => Ok(known),
            (Self::Auth(_), Some(name)) => Mechanism::from_name(name).map(|m| Self::Auth(Some(m))).ok_or_else(refuse),
            _ => Err(refuse()),
        }
    }
}

impl fmt::Display for SmtpExtension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.keyword())?;
        match self {
            Self::Auth(Some(mechanism)) => write!(f, " {}", mechanism.name()),
            _ => Ok(()),
        }
    }
}

impl Serialize for SmtpExtension {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SmtpExtension {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for SmtpExtension {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SmtpExtension".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "smtp-extension" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_comes_back() {
        for spelling in SmtpExtension::spellings() {
            let extension: SmtpExtension = spelling.to_lowercase().parse().expect("known");
            assert_eq!(extension.to_string(), spelling);
        }
    }

    #[test]
    fn unknown_words_and_parameters_are_refused() {
        for text in ["", "CHUNKIN", "SIZE 100", "AUTH CRAM-MD5", "AUTH PLAIN LOGIN"] {
            assert!(text.parse::<SmtpExtension>().is_err(), "{text:?}");
        }
    }
}
