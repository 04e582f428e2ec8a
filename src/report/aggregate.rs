//! DMARC aggregate reports (RFC 9990, and RFC 7489 before it): who sent how much mail in a domain's name on one day,
//! and what it proved.

mod read;
mod write;

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use self::read::{Unread, read};

/// A whole report.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AggregateReport {
    /// Who reports, in words.
    pub organization: String,
    /// Whom to write to about it.
    pub email: String,
    /// Another way to reach them.
    pub contact: Option<String>,
    /// What the reporter calls it: no two reports of a reporter for a domain have the same.
    pub id: String,
    /// The first second that it is about.
    pub begins: DateTime<Utc>,
    /// The last second that it is about.
    pub ends: DateTime<Utc>,
    /// What the reporter had trouble with.
    pub errors: Vec<String>,
    /// The policy that was found.
    pub policy: PublishedPolicy,
    /// One row per source and outcome.
    pub rows: Vec<AggregateRow>,
    /// Rows that were left out for their number, when it was read.
    pub left_out: u64,
}

/// A domain's policy, as far as reports tell of it.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct PublishedPolicy {
    /// The domain that has the record.
    pub domain: String,
    /// `p`.
    pub policy: String,
    /// `sp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subdomains: Option<String>,
    /// `np`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonexistent: Option<String>,
    /// `adkim=s`.
    #[serde(default)]
    pub strict_dkim: bool,
    /// `aspf=s`.
    #[serde(default)]
    pub strict_spf: bool,
    /// `t=y`.
    #[serde(default)]
    pub testing: bool,
}

/// What was done with mail because of its domain's policy.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Disposition {
    /// Nothing, though nothing showed that it was the domain's.
    #[default]
    None,
    /// Nothing: it was the domain's.
    Pass,
    /// It was treated with suspicion.
    Quarantine,
    /// It was refused.
    Reject,
}

/// Mail of one source with one outcome.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct AggregateRow {
    /// The address that it came from.
    pub source: IpAddr,
    /// How many messages.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub messages: u64,
    /// What was done.
    pub disposition: Disposition,
    /// Whether a signature showed that it was the author's domain's.
    pub dkim: bool,
    /// Whether the reverse path did.
    pub spf: bool,
    /// Why something else was done than the policy says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Override>,
    /// The author's domain.
    pub header_from: String,
    /// The reverse path's domain; `None` where it was not told, empty for the null path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope_from: Option<String>,
    /// The signatures, whosever they were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<SignatureFound>,
    /// SPF, whosever domain it was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathFound>,
}

/// Why something else was done than the policy says.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Override {
    /// Such as `trusted_forwarder` or `local_policy`.
    pub kind: String,
    /// In words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// What a signature came to.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct SignatureFound {
    /// Whose it was.
    pub domain: String,
    /// Its selector.
    #[serde(default)]
    pub selector: String,
    /// Such as `pass`.
    pub result: String,
}

/// What SPF came to.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct PathFound {
    /// The domain that was looked at.
    pub domain: String,
    /// Such as `softfail`.
    pub result: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Disposition {
    /// All of them.
    const ALL: [Self; 4] = [Self::None, Self::Pass, Self::Quarantine, Self::Reject];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str().eq_ignore_ascii_case(word))
    }
}

impl AggregateRow {
    /// Whether the mail was shown to be its author's domain's.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.dkim || self.spf
    }
}

impl AggregateReport {
    /// How many messages passed, and how many did not.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let sum = |passed| {
            let rows = self.rows.iter().filter(|row| row.passes() == passed);
            rows.fold(0_u64, |sum, row| sum.saturating_add(row.messages))
        };
        (sum(true), sum(false))
    }
}
