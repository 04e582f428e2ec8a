//! The names of the mechanisms.

use std::fmt;

/// A SASL mechanism that [`Exchange`](crate::Exchange) speaks.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Mechanism {
    /// LOGIN: username and password on request; never standardised, kept for old clients.
    Login,
    /// PLAIN (RFC 4616).
    Plain,
    /// SCRAM-SHA-256 (RFC 7677).
    ScramSha256,
    /// SCRAM-SHA-256-PLUS (RFC 7677): SCRAM bound to the TLS session by `tls-exporter` (RFC 9266).
    ScramSha256Plus,
}

impl Mechanism {
    /// All mechanisms, the strongest first: the order to offer them in.
    pub const ALL: [Self; 4] = [Self::ScramSha256Plus, Self::ScramSha256, Self::Plain, Self::Login];

    /// The registered name, such as `SCRAM-SHA-256`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Login => "LOGIN",
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
        }
    }

    /// Finds a mechanism by its name in any case; `None` when it is not spoken here.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }

    /// Whether the password itself crosses the wire, so that TLS is needed (RFC 4616 §4).
    #[must_use]
    pub const fn reveals_password(self) -> bool {
        matches!(self, Self::Login | Self::Plain)
    }

    /// Whether the session must provide a channel binding (RFC 5802 §6).
    #[must_use]
    pub const fn binds_channel(self) -> bool {
        matches!(self, Self::ScramSha256Plus)
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case() {
        for mechanism in Mechanism::ALL {
            assert_eq!(Mechanism::parse(mechanism.name()), Some(mechanism));
            assert_eq!(Mechanism::parse(&mechanism.name().to_lowercase()), Some(mechanism));
        }
        assert_eq!(Mechanism::parse("SCRAM-SHA-1"), None);
        assert_eq!(Mechanism::parse("PLAIN "), None);
    }
}
