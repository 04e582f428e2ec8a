//! The envelope as MAIL and RCPT state it.

use chrono::{DateTime, Utc};
use posthorn_model::{Address, Domain};

/// What MAIL says (RFC 5321 §4.1.1.2 and the extensions' parameters).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sender {
    /// The return path; `None` is the null path `<>`.
    pub path: Option<Address>,
    /// `SIZE`: octets that the client expects to send (RFC 1870).
    pub size: Option<u64>,
    /// `BODY`.
    pub body: BodyType,
    /// `SMTPUTF8`: addresses or headers may hold UTF-8 (RFC 6531).
    pub smtputf8: bool,
    /// `RET`: how much a delivery report returns (RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// `ENVID`, xtext decoded: at most 100 printable ASCII octets (RFC 3461 §4.4).
    pub envid: Option<String>,
    /// `AUTH`, xtext decoded: who submitted the message, `<>` for nobody known (RFC 4954 §5). A claim, not a fact.
    pub auth: Option<String>,
    /// `BY`: how long delivery may take (RFC 2852 §4).
    pub by: Option<By>,
    /// `HOLDFOR` or `HOLDUNTIL` (RFC 4865 §4).
    pub hold: Option<Hold>,
    /// `MT-PRIORITY`: -9 to 9 (RFC 6710 §5).
    pub priority: Option<i8>,
    /// `REQUIRETLS`: every hop needs verified TLS (RFC 8689 §2).
    pub require_tls: bool,
}

/// `BY` (RFC 2852 §4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct By {
    /// Seconds that are left from the end of the MAIL command; zero or less only with [`Late::Notify`].
    pub seconds: i64,
    /// What a message that is late becomes.
    pub late: Late,
    /// Whether every relay reports that it passed the message on.
    pub trace: bool,
}

/// What becomes of a message that could not be delivered in time (RFC 2852 §4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Late {
    /// `N`: the sender is told, delivery goes on.
    Notify,
    /// `R`: it goes back to the sender.
    Return,
}

/// How long a message is kept back (RFC 4865 §4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hold {
    /// `HOLDFOR`: so many seconds from now.
    For(u32),
    /// `HOLDUNTIL`.
    Until(DateTime<Utc>),
}

/// `BODY` (RFC 6152, RFC 3030).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum BodyType {
    /// `7BIT`, also when nothing is said.
    #[default]
    SevenBit,
    /// `8BITMIME`
    EightBit,
    /// `BINARYMIME`: any octets; BDAT only.
    Binary,
}

/// `RET` (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ret {
    /// The whole message.
    Full,
    /// The header section.
    Headers,
}

/// What RCPT says (RFC 5321 §4.1.1.3, RFC 3461).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recipient {
    /// Whom the message is for.
    pub target: Target,
    /// `NOTIFY`; `None` when nothing is said, which means failures (and perhaps delays).
    pub notify: Option<Notify>,
    /// `ORCPT`.
    pub orcpt: Option<OriginalRecipient>,
}

/// A forward path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// An address. A source route before it was dropped (RFC 5321 §3.3).
    Address(Address),
    /// `<Postmaster>` without a domain, whoever that is here (RFC 5321 §4.5.1).
    Postmaster,
}

impl Target {
    /// The address, with `domain` completing a bare postmaster.
    #[must_use]
    pub fn at(&self, domain: &Domain) -> Option<Address> {
        match self {
            Self::Address(address) => Some(address.clone()),
            Self::Postmaster => Address::new("postmaster", domain.clone()).ok(),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Postmaster => f.write_str("postmaster"),
        }
    }
}

/// `NOTIFY`: when the sender wants a report (RFC 3461 §4.1). Nothing set is `NEVER`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Notify {
    /// On delivery.
    pub success: bool,
    /// When delivery failed for good.
    pub failure: bool,
    /// When delivery takes unusually long.
    pub delay: bool,
}

/// `ORCPT`: the address before any rewriting (RFC 3461 §4.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OriginalRecipient {
    /// The address type as written, such as `rfc822` or `utf-8`.
    pub kind: String,
    /// The address, decoded.
    pub address: String,
}
