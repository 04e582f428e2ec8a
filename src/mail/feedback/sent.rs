//! Reports to other domains about a day: who wants one, what it says, and that it is sent once.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::Ordering;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use posthorn_model::{Address, Domain};
use posthorn_report::aggregate::{AggregateReport, AggregateRow, PublishedPolicy};
use posthorn_report::tls::{TlsFailure, TlsOutcome, TlsPolicy, TlsRange, TlsReport, TlsSummary};
use posthorn_report::{DailyKind, DailyLetter};
use posthorn_store::daily_reports::{self, DmarcCount, DueReport, ReportKind, UnaskedLetter};
use posthorn_store::queue::Outgoing;
use posthorn_store::tls_reports::{self, TlsCount};
use posthorn_trust::Resolver;

use super::destinations::{Destinations, of_dmarc, of_tls};
use crate::accept::Completion;
use crate::envelope::{Envelope, Recipient, Source};
use crate::route::Route;
use crate::{Error, Mail, Result};

/// Counts of other nodes are written a moment after midnight.
const SETTLED: TimeDelta = TimeDelta::minutes(10);
/// How many days back reports are sent, where they could not be before.
const BACK: u64 = 3;
/// How long somebody may take to send a report before somebody else does.
const CLAIM: TimeDelta = TimeDelta::hours(1);
/// A report that was interrupted is sent once more.
const MOST: i16 = 2;
/// Rows of a report; those with the most messages.
const ROWS: i64 = 20_000;
/// A letter is no larger header than this.
const MAX_HEADER: usize = 64 << 10;
/// Letters that are put into the queue at once; the others follow when it is next looked.
const LETTERS: usize = 1_000;
/// TLS reports in a day to those of one domain who did not ask for any, and to all of them; each address gets one.
const UNASKED: (u32, u32) = (10, 1_000);

/// Which reports are to be sent.
#[derive(Clone, Debug)]
pub struct Which {
    /// The day that they are about.
    pub day: NaiveDate,
    /// The domain that they are for; `None`: all.
    pub domain: Option<String>,
    /// Only to look what would be sent: also what was sent before.
    pub dry: bool,
}

/// A report, and what became of it.
#[derive(Clone, Debug)]
pub struct DailyReport {
    /// The day that it is about.
    pub day: NaiveDate,
    /// The domain that it is for.
    pub domain: String,
    /// Messages or sessions.
    pub counted: i64,
    /// Whom it goes to.
    pub to: Vec<String>,
    /// Whom it does not go to though the domain wants that, each with the reason.
    pub left_out: Vec<String>,
    /// The name of its file.
    pub file: String,
    /// Octets of that file.
    pub size: usize,
    /// What is in the file, unpacked; empty where there is nobody to send it to.
    pub document: String,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a report.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fate {
    /// It would be sent.
    Ready,
    /// It is in the queue.
    Sent,
    /// Nobody gets it; it is not looked at again.
    Unwanted,
    /// It cannot be told now whether somebody wants it, or it cannot be signed: it is tried again.
    Waits(String),
    /// Another process sends it, or it was begun too often.
    Elsewhere,
    /// The mail system refused it.
    Refused(String),
}

impl Mail {
    /// Sends all reports that are due and that this configuration wants sent. What cannot be sent now is tried again when
    /// this is next called.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn send_daily_reports(&self) -> Result<()> {
        let Some(resolver) = self.shared.resolver.clone() else { return Ok(()) };
        let section = &self.shared.reports;
        let today = self.now().date_naive();
        let day = |back| today.checked_sub_days(Days::new(back)).unwrap_or(today);
        let mut letters = 0;
        for (kind, wanted) in [(ReportKind::Dmarc, section.dmarc), (ReportKind::Tls, section.tls)] {
            if !wanted {
                continue;
            }
            let mut connection = self.store.acquire().await?;
            let due = daily_reports::due(&mut connection, kind, (day(BACK), day(1)), false).await?;
            drop(connection);
            for one in due.iter().filter(|one| self.is_time(one)) {
                let report = self.send_daily(kind, one, false, &*resolver).await?;
                letters += if report.fate == Fate::Sent { report.to.len() } else { 0 };
                if letters >= LETTERS {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Sends the reports about a day, whatever the hour and whatever the configuration wants; or looks what they would be.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn send_daily_reports_of(
        &self,
        kind: ReportKind,
        which: &Which,
        resolver: &dyn Resolver,
    ) -> Result<Vec<DailyReport>> {
        let mut connection = self.store.acquire().await?;
        let due = daily_reports::due(&mut connection, kind, (which.day, which.day), which.dry).await?;
        drop(connection);
        let wanted = due.iter().filter(|due| which.domain.as_ref().is_none_or(|domain| *domain == due.domain));
        let mut reports = Vec::new();
        for due in wanted {
            reports.push(self.send_daily(kind, due, which.dry, resolver).await?);
        }
        Ok(reports)
    }

    /// Whether the moment of a domain has come.
    fn is_time(&self, due: &DueReport) -> bool {
        let spread = self.shared.reports.spread.duration().as_secs();
        self.now() >= moment(&self.shared.hostname, due, spread)
    }

    /// Whether what leaves is one of our letters with a report about a day.
    #[must_use]
    pub fn is_own_report(&self, outgoing: &Outgoing) -> bool {
        let named = || outgoing.header_id.as_deref()?.rsplit_once('@');
        outgoing.sender.is_none()
            && outgoing.account.is_none()
            && named().is_some_and(|(id, host)| host == self.shared.hostname && is_report_id(id))
    }

    async fn send_daily(
        &self,
        kind: ReportKind,
        due: &DueReport,
        dry: bool,
        resolver: &dyn Resolver,
    ) -> Result<DailyReport> {
        let mut report = DailyReport {
            day: due.day,
            domain: due.domain.clone(),
            counted: due.counted,
            to: Vec::new(),
            left_out: Vec::new(),
            file: String::new(),
            size: 0,
            document: String::new(),
            fate: Fate::Unwanted,
        };
        let found = match kind {
            ReportKind::Dmarc => of_dmarc(&due.domain, resolver).await,
            ReportKind::Tls => of_tls(&due.domain, resolver).await,
        };
        let found = match found {
            Ok(found) => found,
            Err(why) => return Ok(DailyReport { fate: Fate::Waits(why), ..report }),
        };
        let sender = self.report_sender()?;
        report.left_out.clone_from(&found.left_out);
        if found.some.is_empty() {
            return self.settle(kind, due, report, dry).await;
        }
        if let Some(why) = self.unsigned(&sender).await? {
            return Ok(DailyReport { fate: Fate::Waits(why), ..report });
        }
        let document = self.document(kind, due, &sender).await?;
        let (id, from) = (report_id(kind, due), sender.to_string());
        let letter = DailyLetter {
            kind: match kind {
                ReportKind::Dmarc => DailyKind::Aggregate,
                ReportKind::Tls => DailyKind::Tls,
            },
            from: &from,
            to: &[],
            domain: &due.domain,
            submitter: &self.shared.hostname,
            id: &id,
            range: range(due.day),
            date: self.now(),
            document: &document,
        };
        let packed = letter.packed();
        let (recipients, refusing) = self.takers(&found, packed.len(), due, dry).await?;
        report.to = recipients.iter().map(|recipient| recipient.address.clone()).collect();
        report.left_out.extend(refusing);
        (report.file, report.size) = (letter.file_name(), packed.len());
        let octets = DailyLetter { to: &report.to, ..letter }.build(&packed);
        report.document = document;
        if recipients.is_empty() || dry {
            return self.settle(kind, due, report, dry).await;
        }
        if !self.claim_report(kind, due).await? {
            return Ok(DailyReport { fate: Fate::Elsewhere, ..report });
        }
        report.fate = self.post(&octets, recipients).await?;
        self.finish_report(kind, due, &report).await?;
        Ok(report)
    }

    /// What there is nobody to send to, or is not to be sent.
    async fn settle(
        &self,
        kind: ReportKind,
        due: &DueReport,
        mut report: DailyReport,
        dry: bool,
    ) -> Result<DailyReport> {
        match (dry, report.to.is_empty()) {
            (true, false) => report.fate = Fate::Ready,
            (true, true) => {}
            (false, _) if self.claim_report(kind, due).await? => self.finish_report(kind, due, &report).await?,
            (false, _) => report.fate = Fate::Elsewhere,
        }
        Ok(report)
    }

    /// Those of the destinations that take a report of this size and that mail goes to; why the others do not.
    async fn takers(
        &self,
        found: &Destinations,
        size: usize,
        due: &DueReport,
        dry: bool,
    ) -> Result<(Vec<Recipient>, Vec<String>)> {
        let (mut recipients, mut left_out) = (Vec::new(), Vec::new());
        for one in &found.some {
            let address = &one.address;
            if let Some(limit) = one.limit.filter(|limit| *limit < size as u64) {
                left_out.push(format!("{address}: it takes {limit} octets, the report has {size}"));
                continue;
            }
            let route = self.route(address).await?;
            if !matches!(*route, Route::Local { .. } | Route::Remote) {
                left_out.push(format!("{address}: there is no such recipient"));
                continue;
            }
            if !one.agreed
                && let Some(why) = self.unasked(address, &route, due, dry).await?
            {
                left_out.push(format!("{address}: {why}"));
                continue;
            }
            recipients.push(Recipient { address: address.to_string(), route, orcpt: None, notify: None });
        }
        Ok((recipients, left_out))
    }

    /// Why somebody who did not say that it wants reports about others does not get this one.
    async fn unasked(
        &self,
        address: &Address,
        route: &Route,
        due: &DueReport,
        dry: bool,
    ) -> Result<Option<&'static str>> {
        if matches!(route, Route::Local { .. }) {
            return Ok(Some("nobody here asked for reports about others"));
        }
        if dry {
            return Ok(None);
        }
        let host = address.domain().as_str().to_owned();
        let letter =
            UnaskedLetter { sent_on: self.now().date_naive(), address: address.to_string().to_lowercase(), host };
        let mut connection = self.store.acquire().await?;
        let may = daily_reports::allow_unasked(&mut connection, &letter, due, UNASKED).await?;
        Ok((!may).then_some("who did not ask for reports about others gets one letter a day"))
    }

    async fn claim_report(&self, kind: ReportKind, due: &DueReport) -> Result<bool> {
        let now = self.now();
        let mut connection = self.store.acquire().await?;
        let attempts = daily_reports::claim(&mut connection, kind, due, (now, now - CLAIM), MOST).await?;
        Ok(attempts.is_some())
    }

    async fn finish_report(&self, kind: ReportKind, due: &DueReport, report: &DailyReport) -> Result<()> {
        let mut outcome = match &report.fate {
            Fate::Sent => format!("to {}", report.to.join(", ")),
            Fate::Refused(why) => format!("refused: {why}"),
            _ if report.left_out.is_empty() => "the domain does not ask for it".to_owned(),
            _ => "nobody takes it".to_owned(),
        };
        if !report.left_out.is_empty() {
            outcome.push_str("; not to ");
            outcome.push_str(&report.left_out.join("; not to "));
        }
        let mut connection = self.store.acquire().await?;
        daily_reports::finish(&mut connection, kind, due, self.now(), &outcome).await?;
        tracing::info!(domain = due.domain, day = %due.day, outcome, "report about a day");
        Ok(())
    }

    /// Why reports cannot be signed, which receivers demand.
    async fn unsigned(&self, sender: &Address) -> Result<Option<String>> {
        if self.shared.signs && !self.signers(sender.domain()).await?.is_empty() {
            return Ok(None);
        }
        let domain = sender.domain();
        let why = format!("{domain} has no DKIM key to sign reports with (posthorn dkim create {domain})");
        if !self.shared.counted.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!("reports to other domains are not sent: {why}");
        }
        Ok(Some(why))
    }

    pub(super) fn report_sender(&self) -> Result<Address> {
        if let Some(sender) = &self.shared.reports.sender {
            return Ok(sender.clone());
        }
        let host = Domain::parse(&self.shared.hostname).map_err(|_| Error::Hostname)?;
        Address::new("postmaster", host).map_err(|_| Error::Hostname)
    }

    async fn document(&self, kind: ReportKind, due: &DueReport, sender: &Address) -> Result<String> {
        let section = &self.shared.reports;
        let organization = section.organization.clone().unwrap_or_else(|| self.shared.hostname.clone());
        let (id, (begins, ends)) = (report_id(kind, due), range(due.day));
        let mut connection = self.store.acquire().await?;
        Ok(match kind {
            ReportKind::Dmarc => {
                let counts = daily_reports::of_day(&mut connection, due.day, &due.domain, ROWS).await?;
                let (policy, rows, errors) = aggregated(&counts, due);
                let contact = section.contact.clone();
                let email = sender.to_string();
                let left_out = 0;
                AggregateReport { organization, email, contact, id, begins, ends, errors, policy, rows, left_out }
                    .to_xml()
            }
            ReportKind::Tls => {
                let counts = tls_reports::of_day(&mut connection, due.day, Some(&due.domain)).await?;
                let contact = section.contact.clone().unwrap_or_else(|| sender.to_string());
                let range = TlsRange { begins, ends };
                TlsReport { organization, range, contact, id, policies: by_policy(&counts) }.to_json()
            }
        })
    }

    /// Puts a letter into the queue, from the null path: what cannot be delivered is nobody's concern.
    async fn post(&self, octets: &[u8], recipients: Vec<Recipient>) -> Result<Fate> {
        let mut body = self.intake();
        if let Err(refusal) = body.push(octets) {
            return Ok(Fate::Refused(refusal.to_string()));
        }
        let envelope = Envelope { recipients, source: Source::Relay, ..Envelope::default() };
        let completion = Completion {
            local: posthorn_mime::return_path(None),
            max_hops: 100,
            max_header: MAX_HEADER,
            ..Completion::default()
        };
        Ok(match self.accept(&envelope, body, completion, true).await? {
            Ok(accepted) => match accepted.outcomes.into_iter().find_map(std::result::Result::err) {
                Some(refusal) if accepted.queued.is_empty() && accepted.places.is_empty() => {
                    Fate::Refused(refusal.to_string())
                }
                _ => Fate::Sent,
            },
            Err(refusal) => Fate::Refused(refusal.to_string()),
        })
    }
}

/// The same whenever it is sent again, so that who gets it twice can tell.
fn report_id(kind: ReportKind, due: &DueReport) -> String {
    let word = match kind {
        ReportKind::Dmarc => "dmarc",
        ReportKind::Tls => "tls",
    };
    format!("{}.{word}.{}", due.day.format("%Y%m%d"), due.domain)
}

fn is_report_id(id: &str) -> bool {
    let mut words = id.splitn(3, '.');
    let is_day = words.next().is_some_and(|day| day.len() == 8 && day.bytes().all(|octet| octet.is_ascii_digit()));
    is_day && matches!(words.next(), Some("dmarc" | "tls")) && words.next().is_some()
}

/// When a domain's report goes: at the same moment from each node, at another from each server.
fn moment(hostname: &str, due: &DueReport, spread: u64) -> DateTime<Utc> {
    let mut hasher = DefaultHasher::new();
    (hostname, &due.domain).hash(&mut hasher);
    let late = i64::try_from(hasher.finish() % spread.max(1)).unwrap_or(0);
    range(due.day).1 + SETTLED + TimeDelta::seconds(late)
}

/// The first and the last second of a day.
fn range(day: NaiveDate) -> (DateTime<Utc>, DateTime<Utc>) {
    let begins = day.and_time(NaiveTime::MIN).and_utc();
    (begins, begins + TimeDelta::seconds(86_399))
}

/// The policy under which most mail was judged, the rows, and what is to be said about them.
fn aggregated(counts: &[DmarcCount], due: &DueReport) -> (PublishedPolicy, Vec<AggregateRow>, Vec<String>) {
    let mut policies: HashMap<&str, i64> = HashMap::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut rows: Vec<AggregateRow> = Vec::with_capacity(counts.len());
    for count in counts {
        *policies.entry(&count.policy).or_default() += count.messages;
        let messages = u64::try_from(count.messages).unwrap_or(0);
        if let Some(place) = places.get(count.outcome.as_str()) {
            rows[*place].messages += messages;
        } else if let Ok(row) = serde_json::from_str::<AggregateRow>(&count.outcome) {
            places.insert(&count.outcome, rows.len());
            rows.push(AggregateRow { messages, ..row });
        }
    }
    let mut errors = Vec::new();
    if policies.len() > 1 {
        errors.push(format!("the policy changed during the day: {} were found", policies.len()));
    }
    let told: i64 = counts.iter().map(|count| count.messages).sum();
    if told < due.counted {
        errors.push(format!("{} messages of rare outcomes are left out", due.counted - told));
    }
    let most = policies.iter().max_by_key(|(policy, messages)| (**messages, **policy));
    let policy = most.and_then(|(policy, _)| serde_json::from_str(policy).ok());
    let policy = policy.unwrap_or_else(|| PublishedPolicy { domain: due.domain.clone(), ..PublishedPolicy::default() });
    (policy, rows, errors)
}

/// What was counted of TLS, policy by policy.
fn by_policy(counts: &[TlsCount]) -> Vec<TlsOutcome> {
    let mut outcomes: Vec<TlsOutcome> = Vec::new();
    for group in counts.chunk_by(|a, b| (&a.policy_type, &a.policy) == (&b.policy_type, &b.policy)) {
        let lines: Vec<String> = group[0].policy.lines().map(str::to_owned).collect();
        let pattern = |line: &String| Some(line.strip_prefix("mx:")?.trim().to_owned());
        let mx = if group[0].policy_type == "sts" { lines.iter().filter_map(pattern).collect() } else { Vec::new() };
        let policy = TlsPolicy { kind: group[0].policy_type.clone(), lines, domain: group[0].domain.clone(), mx };
        let mut outcome = TlsOutcome { policy, summary: TlsSummary::default(), failures: Vec::new() };
        for count in group {
            let sessions = u64::try_from(count.sessions).unwrap_or(0);
            if count.result.is_empty() {
                outcome.summary.successes += sessions;
                continue;
            }
            let said = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
            outcome.summary.failures += sessions;
            outcome.failures.push(TlsFailure {
                result: count.result.clone(),
                mx: said(&count.mx),
                sessions,
                reason: said(&count.detail),
                ..TlsFailure::default()
            });
        }
        outcomes.push(outcome);
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_domain_has_its_moment() {
        let day = NaiveDate::from_ymd_opt(2026, 1, 2).expect("a day");
        let of = |host: &str, domain: &str, spread| {
            moment(host, &DueReport { day, domain: domain.to_owned(), counted: 1 }, spread)
        };
        let first = "2026-01-03T00:09:59Z".parse::<DateTime<Utc>>().expect("a time");
        assert_eq!(of("mx.example", "a.example", 0), first, "what was counted elsewhere is written by then");
        let spread = 4 * 3600;
        let mut moments: Vec<_> = (0..50).map(|n| of("mx.example", &format!("d{n}.example"), spread)).collect();
        assert!(moments.iter().all(|one| (first..first + TimeDelta::hours(4)).contains(one)), "{moments:?}");
        assert_eq!(of("mx.example", "d7.example", spread), moments[7], "it does not change");
        assert_ne!(of("mx2.example", "d7.example", spread), moments[7], "receivers do not hear all servers at once");
        moments.sort_unstable();
        moments.dedup();
        assert!(moments.len() > 45, "{moments:?}");
    }

    #[test]
    fn our_reports_are_known_by_their_names() {
        let day = NaiveDate::from_ymd_opt(2026, 1, 2).expect("a day");
        let due = DueReport { day, domain: "a.example".to_owned(), counted: 1 };
        for kind in [ReportKind::Dmarc, ReportKind::Tls] {
            assert!(is_report_id(&report_id(kind, &due)));
        }
        for other in ["20260102.tls", "2026010.tls.a.example", "20260102.x.a.example", "a.tls.20260102", ""] {
            assert!(!is_report_id(other), "{other}");
        }
    }
}
