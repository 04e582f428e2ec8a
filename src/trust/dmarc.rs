//! Whether a message is of the domain that its author's address names, and what that domain wants done when it is not
//! (DMARC, RFC 9989), decided without a socket: a [`Check`] says what it must know of the DNS, and then gives a
//! [`Verdict`] on what reverse path and signatures show.

mod check;
mod record;
mod walk;

use std::fmt;

pub use self::check::Check;
pub use self::record::{Record, ReportUri, mailbox};
pub use self::walk::{organization, published};

/// What a domain wants done with mail that is not shown to be its own.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Policy {
    /// Nothing.
    #[default]
    None,
    /// To be looked at with suspicion.
    Quarantine,
    /// To be refused.
    Reject,
}

/// A result (RFC 8601 §2.7.6 and the registry of RFC 9989).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DmarcResult {
    /// The author's domain has no record, or there is no author.
    None,
    /// A signature or the reverse path shows that it is the domain's.
    Pass,
    /// Nothing shows it.
    Fail,
    /// It cannot be told now: the record is not known, or what may show it cannot be checked.
    TempError,
    /// It can never be told: the message names authors of several domains.
    PermError,
}

/// What a check came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// The result.
    pub result: DmarcResult,
    /// The author's domain, A-labels in small letters; empty when there is none.
    pub domain: String,
    /// Where the record is, and the record.
    pub record: Option<(String, Record)>,
    /// The policy of that record for this domain.
    pub published: Policy,
    /// What is to be done with this message, `t=` and `pct=` considered; [`Policy::None`] unless the result is fail.
    pub policy: Policy,
    /// The reverse path shows it.
    pub spf_aligned: bool,
    /// A signature shows it.
    pub dkim_aligned: bool,
    /// Why, in a sentence without a final stop.
    pub why: String,
}

impl Policy {
    /// The word for it, such as `quarantine`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }

    fn parse(word: &[u8]) -> Option<Self> {
        let all = [Self::None, Self::Quarantine, Self::Reject];
        all.into_iter().find(|policy| policy.as_str().as_bytes().eq_ignore_ascii_case(word))
    }

    /// The next milder one.
    fn milder(self) -> Self {
        match self {
            Self::None | Self::Quarantine => Self::None,
            Self::Reject => Self::Quarantine,
        }
    }
}

impl DmarcResult {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for DmarcResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Verdict {
    /// The result for an Authentication-Results field (RFC 8601 §2.7.6), such as
    /// `dmarc=fail header.from=example.org policy.dmarc=reject`.
    #[must_use]
    pub fn results(&self) -> String {
        let mut text = format!("dmarc={}", self.result);
        if !self.domain.is_empty() {
            text.push_str(&format!(" header.from={}", self.domain));
        }
        if self.record.is_some() && self.result == DmarcResult::Fail {
            text.push_str(&format!(" policy.dmarc={}", self.policy));
        }
        text
    }
}
