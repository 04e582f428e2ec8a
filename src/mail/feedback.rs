//! What mail systems tell each other once a day: strangers' mail is counted here for the reports that its authors'
//! domains ask for (DMARC, RFC 9990), the reports are written and sent (those on TLS, too: RFC 8460), and what others
//! report about our own domains is read.

mod destinations;
mod proof;
mod received;
mod sent;
mod views;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, Utc};
use parking_lot::Mutex;
use posthorn_model::Address;
use posthorn_report::aggregate::{AggregateRow, PathFound, PublishedPolicy, SignatureFound};
use posthorn_store::daily_reports::{self, DmarcCount};
use posthorn_store::{Connection, received_reports};
use posthorn_trust::dmarc::{DmarcResult, Record, mailbox};

pub use self::sent::{DailyReport, Fate, Which};
pub use posthorn_report::aggregate::{Disposition, Override};
pub use posthorn_store::daily_reports::{DueReport, ReportKind, SentReport};
pub use posthorn_store::received_reports::{ReceivedReport, ReceivedRow, SourceSum};

use crate::checks::Checked;
use crate::envelope::Envelope;
use crate::{Mail, Result};

/// How often what was counted is written.
const WRITTEN_EACH: Duration = Duration::from_secs(5);
/// How often it is looked for reports that are due.
const SENT_EACH: Duration = Duration::from_secs(60);
/// Outcomes that are counted between two writes; beyond that nothing new is counted.
const OUTCOMES: usize = 20_000;
/// Signatures of a message that are told of.
const SIGNATURES: usize = 10;
/// Days for which counts are kept.
const COUNTED_DAYS: u64 = 14;
/// Days for which it is kept what was sent.
const SENT_DAYS: u64 = 90;

/// What was done with a message because of its domain's policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Applied {
    /// What was done; of a message that passed it is not looked at.
    pub disposition: Disposition,
    /// Why that is something else than the policy says.
    pub reason: Option<Override>,
}

impl Applied {
    /// Nothing, for a reason of our own.
    #[must_use]
    pub fn none(why: &str) -> Self {
        Self { disposition: Disposition::None, reason: Some(reason("local_policy", why)) }
    }
}

/// What was counted and not yet written.
#[derive(Default)]
pub(crate) struct Counted {
    outcomes: Mutex<HashMap<Outcome, i64>>,
    /// Somebody was told that reports cannot be signed.
    warned: AtomicBool,
}

#[derive(Clone, Eq, Hash, PartialEq)]
struct Outcome {
    day: NaiveDate,
    domain: String,
    policy: String,
    row: String,
}

fn reason(kind: &str, comment: &str) -> Override {
    Override { kind: kind.to_owned(), comment: comment.to_owned() }
}

impl Mail {
    /// Counts a stranger's message for the report to its author's domain, where that asks for one; `header` is the
    /// message's.
    pub fn count_dmarc(&self, checked: &Checked, envelope: &Envelope, header: &[u8], applied: &Applied) {
        let verdict = &checked.dmarc;
        let (Some((domain, record)), Some(client)) = (&verdict.record, &envelope.client) else { return };
        let told = matches!(verdict.result, DmarcResult::Pass | DmarcResult::Fail);
        if !self.shared.reports.dmarc || !told || !record.aggregate.iter().any(|one| mailbox(&one.uri).is_some()) {
            return;
        }
        let passes = verdict.result == DmarcResult::Pass;
        if self.is_report(envelope, header, passes) {
            return;
        }
        let sender = envelope.sender.as_ref();
        let row = AggregateRow {
            source: client.address.to_canonical(),
            messages: 0,
            disposition: if passes { Disposition::Pass } else { applied.disposition },
            dkim: verdict.dkim_aligned,
            spf: verdict.spf_aligned,
            reasons: applied.reason.iter().filter(|_| !passes).cloned().collect(),
            header_from: verdict.domain.clone(),
            envelope_from: Some(sender.map(|sender| sender.domain().as_str().to_owned()).unwrap_or_default()),
            signatures: signatures(checked),
            path: Some(PathFound { domain: checked.spf.domain.clone(), result: checked.spf.result.to_string() }),
        };
        let (Ok(policy), Ok(row)) = (serde_json::to_string(&published(domain, record)), serde_json::to_string(&row))
        else {
            return;
        };
        let outcome = Outcome { day: self.now().date_naive(), domain: domain.clone(), policy, row };
        let mut outcomes = self.shared.counted.outcomes.lock();
        if outcomes.len() < OUTCOMES || outcomes.contains_key(&outcome) {
            *outcomes.entry(outcome).or_default() += 1;
        }
    }

    /// Whether a message is itself a report about a day. Reports do not tell of those, or two servers that report to each
    /// other would do so for ever. Elsewhere than at our addresses for them, what claims to be one must be its author's, or
    /// any forgery could hide from its victim.
    fn is_report(&self, envelope: &Envelope, header: &[u8], passes: bool) -> bool {
        if envelope.recipients.iter().all(|recipient| self.takes_reports(&recipient.address)) {
            return true;
        }
        posthorn_report::is_daily(header) && (passes || self.is_from_us(header))
    }

    /// Whether a message says that it is from whom our reports are from.
    fn is_from_us(&self, header: &[u8]) -> bool {
        let author = posthorn_mime::Facts::of(header).from.and_then(|from| Address::parse(&from.address).ok());
        author.is_some_and(|author| self.report_sender().is_ok_and(|sender| sender == author))
    }

    /// Writes what was counted; it is kept when that fails.
    pub async fn keep_counted(&self) {
        let taken = std::mem::take(&mut *self.shared.counted.outcomes.lock());
        if taken.is_empty() {
            return;
        }
        if let Err(error) = self.write_counted(&taken).await {
            tracing::warn!(%error, "counts for DMARC reports were not written, it is tried again");
            let mut outcomes = self.shared.counted.outcomes.lock();
            for (outcome, messages) in taken {
                if outcomes.len() < OUTCOMES || outcomes.contains_key(&outcome) {
                    *outcomes.entry(outcome).or_default() += messages;
                }
            }
        }
    }

    async fn write_counted(&self, taken: &HashMap<Outcome, i64>) -> Result<()> {
        let counts: Vec<DmarcCount> = taken
            .iter()
            .map(|(outcome, messages)| DmarcCount {
                day: outcome.day,
                domain: outcome.domain.clone(),
                policy: outcome.policy.clone(),
                outcome: outcome.row.clone(),
                messages: *messages,
            })
            .collect();
        let mut connection = self.store.acquire().await?;
        Ok(daily_reports::add(&mut connection, &counts).await?)
    }
}

fn signatures(checked: &Checked) -> Vec<SignatureFound> {
    let whole = checked.signatures.signatures.iter().filter(|one| !one.domain.is_empty() && !one.selector.is_empty());
    whole
        .take(SIGNATURES)
        .map(|one| SignatureFound {
            domain: one.domain.clone(),
            selector: one.selector.clone(),
            result: one.result.as_str().to_owned(),
        })
        .collect()
}

fn published(domain: &str, record: &Record) -> PublishedPolicy {
    let word = |policy: posthorn_trust::dmarc::Policy| policy.as_str().to_owned();
    PublishedPolicy {
        domain: domain.to_owned(),
        policy: word(record.policy),
        subdomains: record.subdomain_policy.map(word),
        nonexistent: record.nonexistent_policy.map(word),
        strict_dkim: record.strict_dkim,
        strict_spf: record.strict_spf,
        testing: record.testing,
    }
}

/// Writes what was counted. Never returns.
pub(crate) async fn write(mail: &Mail) {
    loop {
        tokio::time::sleep(WRITTEN_EACH).await;
        mail.keep_counted().await;
    }
}

/// Sends the reports that are due. Never returns.
pub(crate) async fn send(mail: &Mail) {
    tokio::time::sleep(WRITTEN_EACH).await;
    loop {
        if let Err(error) = mail.send_daily_reports().await {
            tracing::warn!(%error, "reports about yesterday were not all sent, it is tried again");
        }
        tokio::time::sleep(SENT_EACH).await;
    }
}

/// Forgets what nobody needs any more.
pub(crate) async fn forget(mail: &Mail, connection: &mut Connection, now: DateTime<Utc>) -> Result<()> {
    let today = now.date_naive();
    let before = |days| today.checked_sub_days(Days::new(days)).unwrap_or(today);
    daily_reports::sweep(connection, before(COUNTED_DAYS), before(SENT_DAYS)).await?;
    let keep = chrono::TimeDelta::from_std(mail.shared.reports.keep.duration()).ok();
    if let Some(before) = keep.and_then(|keep| now.checked_sub_signed(keep)) {
        received_reports::sweep(connection, before).await?;
    }
    Ok(())
}
