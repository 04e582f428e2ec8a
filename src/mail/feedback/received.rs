//! Reports of others about our domains: read out of letters that are delivered as ever. Anybody may write to an address
//! that a DNS record names, so letters must prove whose they are, and what is kept of a day is bounded.

use bytes::Bytes;
use metrics::counter;
use posthorn_model::{Address, Domain};
use posthorn_report::aggregate::AggregateReport;
use posthorn_report::tls::TlsReport;
use posthorn_report::{Daily, daily};
use posthorn_store::received_reports::{self, Kept, ReceivedReport, ReceivedRow, ReportKind, Room};
use posthorn_trust::dmarc;
use tokio::sync::Semaphore;

use super::proof::{Proof, is_below, proof};
use crate::checks::Checked;
use crate::envelope::Envelope;
use crate::{Mail, Result};

/// Reports of one letter.
const MOST: usize = 20;
/// One letter is unpacked at a time: what unpacks to much shall not do so many times at once.
static READING: Semaphore = Semaphore::const_new(1);

impl Mail {
    /// Reads a message to one of the addresses for reports. What is not kept is logged and counted: the message is
    /// delivered anyway.
    pub(crate) async fn read_daily(&self, envelope: &Envelope, raw: &[u8], checked: Option<&Checked>) {
        if !envelope.recipients.iter().any(|recipient| self.takes_reports(&recipient.address)) {
            return;
        }
        let sender = self.sender_of(envelope, raw, checked).await;
        if let Proof::Nothing(why) = &sender.proof {
            return sender.not_kept("letter", "unproven", why);
        }
        // A small file may be a large document.
        let octets = Bytes::copy_from_slice(raw);
        let Ok(turn) = READING.acquire().await else { return };
        let read = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            daily(&octets)
        });
        let Ok((reports, flaws)) = read.await else {
            return sender.not_kept("letter", "failed", "it was not read to its end");
        };
        for flaw in flaws.iter().take(MOST) {
            sender.not_kept("letter", "unreadable", flaw);
        }
        for report in reports.into_iter().take(MOST) {
            let kind = match &report {
                Daily::Aggregate(_) => "dmarc",
                Daily::Tls(_) => "tls",
            };
            match self.keep_daily(report, &sender).await {
                Ok(Ok(outcome)) => count(kind, outcome),
                Ok(Err((outcome, why))) => sender.not_kept(kind, outcome, &why),
                Err(error) => sender.not_kept(kind, "failed", &error.to_string()),
            }
        }
    }

    /// Whether others send their reports to this address.
    pub(super) fn takes_reports(&self, address: &str) -> bool {
        let wanted = &self.shared.reports.received;
        if wanted.is_empty() {
            return false;
        }
        Address::parse(address).is_ok_and(|address| {
            wanted
                .iter()
                .any(|one| one.domain() == address.domain() && one.local().eq_ignore_ascii_case(address.local()))
        })
    }

    /// Keeps a report: one word for what became of it, or one for why it is not kept, and the reason.
    async fn keep_daily(
        &self,
        report: Daily,
        sender: &Sender,
    ) -> Result<std::result::Result<&'static str, (&'static str, String)>> {
        let (kind, report, rows) = match report {
            Daily::Aggregate(report) => self.of_aggregate(report, sender),
            Daily::Tls(report) => self.of_tls(report, sender),
        };
        // RFC 8460 §3: what the reporter did not sign is ignored.
        if kind == ReportKind::Tls && sender.proof == Proof::Path {
            return Ok(Err(("unproven", "a TLS report has no signature of its author's domain".to_owned())));
        }
        let ours = match Domain::parse(&report.domain) {
            Ok(domain) => self.is_local(&domain).await? || sender.is_kin(domain.as_str()),
            Err(_) => false,
        };
        if !ours {
            return Ok(Err(("not ours", format!("it is about {}, no domain of ours", report.domain))));
        }
        let section = &self.shared.reports;
        let room = Room {
            day: self.now().date_naive(),
            sender: &sender.organization,
            of_sender: section.rows_per_sender,
            of_day: section.rows_per_day,
        };
        let mut transaction = self.store.begin().await?;
        let kept = received_reports::add(&mut transaction, kind, &report, &rows, &room).await?;
        match kept {
            Kept::New => transaction.commit().await?,
            Kept::Known | Kept::SenderFull | Kept::DayFull => transaction.rollback().await?,
        }
        let full = |of: &str, most: u32| format!("{of} has no more room today (reports.rows_per_{of} = {most})");
        match kept {
            Kept::SenderFull => return Ok(Err(("sender full", full("sender", room.of_sender)))),
            Kept::DayFull => return Ok(Err(("day full", full("day", room.of_day)))),
            Kept::New | Kept::Known => {}
        }
        let is_new = kept == Kept::New;
        let ReceivedReport { domain, organization, name, good, bad, .. } = &report;
        tracing::info!(domain, organization, name, good, bad, is_new, "report about a day received");
        Ok(Ok(if is_new { "kept" } else { "known" }))
    }

    async fn sender_of(&self, envelope: &Envelope, raw: &[u8], checked: Option<&Checked>) -> Sender {
        let header = &raw[..posthorn_mime::header_end(raw).unwrap_or(raw.len())];
        let author = posthorn_mime::Facts::of(header).from.and_then(|from| Address::parse(&from.address).ok());
        let domain = author.map(|author| author.domain().as_str().to_owned()).unwrap_or_default();
        let proof = proof(checked);
        let organization = match (&proof, &self.shared.resolver) {
            // What anybody may claim parts nothing.
            (Proof::Unchecked | Proof::Nothing(_), _) => UNPROVEN.to_owned(),
            (Proof::Signature | Proof::Path, None) => domain.clone(),
            (Proof::Signature | Proof::Path, Some(resolver)) => {
                dmarc::organization(&domain, &**resolver).await.unwrap_or_else(|_| domain.clone())
            }
        };
        let to = envelope.recipients.iter().filter_map(|recipient| Address::parse(&recipient.address).ok());
        let to = to.map(|address| address.domain().as_str().to_owned()).collect();
        Sender { domain, organization, proof, to }
    }

    fn of_aggregate(&self, report: AggregateReport, sender: &Sender) -> (ReportKind, ReceivedReport, Vec<ReceivedRow>) {
        let (good, bad) = report.counts();
        let rows = report.rows.iter().map(|row| {
            let (messages, passes) = (number(row.messages), row.passes());
            let of = |is_so: bool| if is_so { messages } else { 0 };
            ReceivedRow {
                source: row.source.to_string(),
                good: of(passes),
                bad: of(!passes),
                dkim: of(row.dkim),
                spf: of(row.spf),
                detail: json(row),
            }
        });
        let rows = rows.collect();
        let contact = match &report.contact {
            Some(contact) => format!("{} {contact}", report.email),
            None => report.email.clone(),
        };
        let kept = ReceivedReport {
            domain: text(&report.policy.domain),
            organization: text(if report.organization.is_empty() { &report.email } else { &report.organization }),
            contact: text(&contact),
            name: text(&report.id),
            begins_at: report.begins,
            ends_at: report.ends,
            policy: json(&report.policy),
            good: number(good),
            bad: number(bad),
            ..self.blank(sender)
        };
        (ReportKind::Dmarc, kept, rows)
    }

    fn of_tls(&self, report: TlsReport, sender: &Sender) -> (ReportKind, ReceivedReport, Vec<ReceivedRow>) {
        let (good, bad) = report.counts();
        let mut rows = Vec::new();
        for outcome in &report.policies {
            if outcome.summary.successes > 0 || outcome.failures.is_empty() {
                let told: u64 = outcome.failures.iter().map(|failure| failure.sessions).sum();
                rows.push(ReceivedRow {
                    source: outcome.policy.mx.join(" "),
                    good: number(outcome.summary.successes),
                    bad: number(outcome.summary.failures.saturating_sub(told)),
                    detail: json(&outcome.policy),
                    ..ReceivedRow::default()
                });
            }
            rows.extend(outcome.failures.iter().map(|failure| ReceivedRow {
                source: failure.mx.clone().or_else(|| failure.receiver.clone()).unwrap_or_default(),
                bad: number(failure.sessions),
                detail: json(failure),
                ..ReceivedRow::default()
            }));
        }
        let policies: Vec<_> = report.policies.iter().map(|outcome| &outcome.policy).collect();
        let domain = report.policies.first().map(|outcome| outcome.policy.domain.as_str()).unwrap_or_default();
        let kept = ReceivedReport {
            domain: text(domain),
            organization: text(&report.organization),
            contact: text(&report.contact),
            name: text(&report.id),
            begins_at: report.range.begins,
            ends_at: report.range.ends,
            policy: json(&policies),
            good: number(good),
            bad: number(bad),
            ..self.blank(sender)
        };
        (ReportKind::Tls, kept, rows)
    }

    fn blank(&self, sender: &Sender) -> ReceivedReport {
        let now = self.now();
        ReceivedReport {
            id: self.store.message_id().0,
            received_at: now,
            domain: String::new(),
            organization: String::new(),
            contact: String::new(),
            name: String::new(),
            begins_at: now,
            ends_at: now,
            sender: sender.domain.clone(),
            proven: matches!(sender.proof, Proof::Signature | Proof::Path),
            policy: String::new(),
            good: 0,
            bad: 0,
        }
    }
}

/// Who sent a letter, and to which domains of ours.
struct Sender {
    /// The author's.
    domain: String,
    /// Whose letters count together.
    organization: String,
    proof: Proof,
    to: Vec<String>,
}

/// The organization of all whose letters nobody looked at: no domain's name.
const UNPROVEN: &str = "?";

impl Sender {
    /// Tells those who administer that something is not kept.
    fn not_kept(&self, kind: &'static str, outcome: &'static str, reason: &str) {
        count(kind, outcome);
        tracing::warn!(from = self.domain, kind, outcome, reason, "a report about a day is not kept");
    }

    /// Whether a domain is above or below one that the letter is for.
    fn is_kin(&self, domain: &str) -> bool {
        self.to.iter().any(|own| is_below(own, domain) || is_below(domain, own))
    }
}

fn count(kind: &'static str, outcome: &'static str) {
    counter!("posthorn_received_reports_total", "kind" => kind, "outcome" => outcome).increment(1);
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// PostgreSQL's text holds no NUL.
fn text(text: &str) -> String {
    text.replace('\0', "")
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
