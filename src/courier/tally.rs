//! What TLS came to at receivers, counted for their reports (RFC 8460).

use chrono::NaiveDate;
use posthorn_mail::queue::TlsCount;
use posthorn_net::sts::StsProblem;
use posthorn_net::tls_report::{TallyCounts, TallyKey, TlsFailed, TlsResult};

use crate::Office;

impl Office {
    /// A policy could not be had, though one is announced.
    pub(crate) fn count_problem(&self, domain: &str, problem: &StsProblem) {
        let failed = failed(problem.result, None, &problem.text);
        self.tally.failed(&TallyKey::without_policy(domain), failed);
    }

    /// Moves what was counted to the database.
    pub(crate) async fn write_tally(&self) {
        let day = self.mail.now().date_naive();
        let counts: Vec<TlsCount> =
            self.tally.drain().iter().flat_map(|(key, counts)| rows(day, key, counts)).collect();
        if counts.is_empty() {
            return;
        }
        if let Err(error) = self.mail.queue().count_tls(&counts).await {
            tracing::warn!(%error, "counts of TLS sessions are lost");
        }
    }
}

/// One kind of failure.
pub(crate) fn failed(result: TlsResult, host: Option<&str>, reason: &str) -> TlsFailed {
    TlsFailed {
        result,
        sending_ip: None,
        receiving_host: host.map(str::to_owned),
        receiving_ip: None,
        reason: Some(reason.to_owned()).filter(|reason| !reason.is_empty()),
    }
}

fn rows(day: NaiveDate, key: &TallyKey, counts: &TallyCounts) -> Vec<TlsCount> {
    let row = |mx: &str, result: &str, detail: &str, sessions: u64| TlsCount {
        day,
        domain: key.policy_domain.clone(),
        policy_type: key.policy_type.as_str().to_owned(),
        policy: key.policy_strings.join("\n"),
        mx: mx.to_owned(),
        result: result.to_owned(),
        detail: detail.to_owned(),
        sessions: i64::try_from(sessions).unwrap_or(i64::MAX),
    };
    let succeeded = (counts.successes > 0).then(|| row("", "", "", counts.successes));
    let failed = counts.failures.iter().map(|(failed, sessions)| {
        let (host, reason) = (failed.receiving_host.as_deref(), failed.reason.as_deref());
        row(host.unwrap_or_default(), failed.result.as_str(), reason.unwrap_or_default(), *sessions)
    });
    succeeded.into_iter().chain(failed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_become_rows() {
        let key = TallyKey::without_policy("example.org");
        let counts = TallyCounts {
            successes: 3,
            failures: vec![(failed(TlsResult::CertificateExpired, Some("mx.example.org"), "expired"), 2)],
        };
        let day = NaiveDate::from_ymd_opt(2026, 1, 2).expect("a day");
        let rows = rows(day, &key, &counts);
        let seen: Vec<_> = rows.iter().map(|row| (row.mx.as_str(), row.result.as_str(), row.sessions)).collect();
        assert_eq!(seen, [("", "", 3), ("mx.example.org", "certificate-expired", 2)]);
        assert_eq!(rows[0].policy_type, "no-policy-found");
    }
}
