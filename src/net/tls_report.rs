//! Counters of what TLS came to on the way out, for reports to the domains (RFC 8460).
//!
//! Only counting: who wants reports, and when they go, is known elsewhere.

use std::collections::HashMap;
use std::net::IpAddr;

use parking_lot::Mutex;

use crate::dns::Tlsa;
use crate::sts::StsPolicy;

/// Which policy sessions were judged by (RFC 8460 §4.3.1).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum PolicyType {
    /// No policy was found.
    NoPolicyFound,
    /// An MTA-STS policy.
    Sts,
    /// TLSA records.
    Tlsa,
}

impl PolicyType {
    /// The name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoPolicyFound => "no-policy-found",
            Self::Sts => "sts",
            Self::Tlsa => "tlsa",
        }
    }
}

/// Why a session failed or fell back to plain text (RFC 8460 §4.3).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum TlsResult {
    /// The certificate is for other names.
    CertificateHostMismatch,
    /// The certificate expired.
    CertificateExpired,
    /// No authority that we trust vouches for the certificate.
    CertificateNotTrusted,
    /// DANE was demanded and the domain's TLSA records are not secure.
    DaneRequired,
    /// DNSSEC validation failed.
    DnssecInvalid,
    /// TLS was not offered.
    StarttlsNotSupported,
    /// The MTA-STS policy could not be fetched.
    StsPolicyFetchError,
    /// The MTA-STS policy is not one.
    StsPolicyInvalid,
    /// The policy's web server has no valid certificate.
    StsWebpkiInvalid,
    /// The TLSA records cannot be used.
    TlsaInvalid,
    /// Another failure of validation or of the handshake.
    ValidationFailure,
}

impl TlsResult {
    /// The name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CertificateHostMismatch => "certificate-host-mismatch",
            Self::CertificateExpired => "certificate-expired",
            Self::CertificateNotTrusted => "certificate-not-trusted",
            Self::DaneRequired => "dane-required",
            Self::DnssecInvalid => "dnssec-invalid",
            Self::StarttlsNotSupported => "starttls-not-supported",
            Self::StsPolicyFetchError => "sts-policy-fetch-error",
            Self::StsPolicyInvalid => "sts-policy-invalid",
            Self::StsWebpkiInvalid => "sts-webpki-invalid",
            Self::TlsaInvalid => "tlsa-invalid",
            Self::ValidationFailure => "validation-failure",
        }
    }
}

/// What sessions are counted under.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TallyKey {
    /// The domain that mail is for, which is told of it (RFC 8460 §4.4: `policy-domain`).
    pub policy_domain: String,
    /// The kind of policy.
    pub policy_type: PolicyType,
    /// The policy's lines or the TLSA records in zone file form; empty without a policy.
    pub policy_strings: Vec<String>,
    /// The policy's MX patterns; empty unless it is MTA-STS.
    pub mx_patterns: Vec<String>,
}

impl TallyKey {
    /// Sessions for a domain without a policy.
    #[must_use]
    pub fn without_policy(domain: &str) -> Self {
        let policy_type = PolicyType::NoPolicyFound;
        Self { policy_domain: domain.to_owned(), policy_type, policy_strings: Vec::new(), mx_patterns: Vec::new() }
    }

    /// Sessions judged by an MTA-STS policy.
    #[must_use]
    pub fn of_policy(domain: &str, policy: &StsPolicy) -> Self {
        Self {
            policy_type: PolicyType::Sts,
            policy_strings: policy.lines.clone(),
            mx_patterns: policy.mx.clone(),
            ..Self::without_policy(domain)
        }
    }

    /// Sessions judged by TLSA records.
    #[must_use]
    pub fn of_records(domain: &str, records: &[Tlsa]) -> Self {
        let policy_strings = records.iter().map(ToString::to_string).collect();
        Self { policy_type: PolicyType::Tlsa, policy_strings, ..Self::without_policy(domain) }
    }
}

/// One kind of failure.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TlsFailed {
    /// What went wrong.
    pub result: TlsResult,
    /// Our address.
    pub sending_ip: Option<IpAddr>,
    /// The MX host; none where no session was tried.
    pub receiving_host: Option<String>,
    /// Its address.
    pub receiving_ip: Option<IpAddr>,
    /// In words, for `failure-reason-code`.
    pub reason: Option<String>,
}

/// The counts of one key.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TallyCounts {
    /// Sessions that met the policy.
    pub successes: u64,
    /// Sessions that did not, by kind of failure; each kind once.
    pub failures: Vec<(TlsFailed, u64)>,
}

/// All counters of a process, since they were last taken. Bounded: past the bound new keys and new kinds of failure
/// are not counted.
#[derive(Debug, Default)]
pub struct TlsTally {
    counts: Mutex<HashMap<TallyKey, TallyCounts>>,
}

impl TlsTally {
    /// Counts a session that met the policy.
    pub fn succeeded(&self, key: &TallyKey) {
        self.with(key, |counts| counts.successes += 1);
    }

    /// Counts a session that did not.
    pub fn failed(&self, key: &TallyKey, failed: TlsFailed) {
        self.with(key, |counts| {
            if let Some((_, count)) = counts.failures.iter_mut().find(|(known, _)| *known == failed) {
                *count += 1;
            } else if counts.failures.len() < KINDS {
                counts.failures.push((failed, 1));
            }
        });
    }

    /// Takes everything counted so far; counting begins anew.
    #[must_use]
    pub fn drain(&self) -> Vec<(TallyKey, TallyCounts)> {
        std::mem::take(&mut *self.counts.lock()).into_iter().collect()
    }

    fn with(&self, key: &TallyKey, count: impl FnOnce(&mut TallyCounts)) {
        let mut counts = self.counts.lock();
        if let Some(counts) = counts.get_mut(key) {
            count(counts);
        } else if counts.len() < KEYS {
            count(counts.entry(key.clone()).or_default());
        }
    }
}

/// Keys between two drains.
const KEYS: usize = 100_000;
/// Kinds of failure per key.
const KINDS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(domain: &str) -> TallyKey {
        TallyKey::without_policy(domain)
    }

    fn expired(host: &str) -> TlsFailed {
        TlsFailed {
            result: TlsResult::CertificateExpired,
            sending_ip: None,
            receiving_host: Some(host.into()),
            receiving_ip: None,
            reason: None,
        }
    }

    #[test]
    fn each_kind_is_counted_once_and_taken_once() {
        let tally = TlsTally::default();
        tally.succeeded(&key("a.example"));
        tally.succeeded(&key("a.example"));
        tally.failed(&key("a.example"), expired("mx1"));
        tally.failed(&key("a.example"), expired("mx1"));
        tally.failed(&key("a.example"), expired("mx2"));
        tally.failed(&key("b.example"), expired("mx2"));
        let mut drained = tally.drain();
        drained.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(drained[0].1.successes, 2);
        assert_eq!(drained[0].1.failures, [(expired("mx1"), 2), (expired("mx2"), 1)]);
        assert_eq!((drained[1].1.successes, drained[1].1.failures.len()), (0, 1));
        assert!(tally.drain().is_empty());
    }

    #[test]
    fn policies_are_told_in_their_own_words() {
        let policy = StsPolicy::parse("version: STSv1\nmode: testing\nmx: *.a.example\nmax_age: 60\n").expect("policy");
        let key = TallyKey::of_policy("a.example", &policy);
        assert_eq!((key.policy_type.as_str(), key.mx_patterns), ("sts", vec!["*.a.example".to_owned()]));
        assert_eq!(key.policy_strings, ["version: STSv1", "mode: testing", "mx: *.a.example", "max_age: 60"]);
        let key = TallyKey::of_records("a.example", &[Tlsa { usage: 3, selector: 1, matching: 1, data: vec![0xab] }]);
        assert_eq!((key.policy_type.as_str(), key.policy_strings), ("tlsa", vec!["3 1 1 ab".to_owned()]));
    }

    #[test]
    fn a_flood_of_kinds_is_bounded() {
        let tally = TlsTally::default();
        for n in 0..KINDS * 2 {
            tally.failed(&key("a.example"), expired(&format!("mx{n}")));
        }
        assert_eq!(tally.drain()[0].1.failures.len(), KINDS);
    }
}
