//! What became of deliveries is written down, with the reports that it calls for, in batches; until it is written,
//! nothing is forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use posthorn_mail::accept::id_text;
use posthorn_mail::queue::{Completion, Outcome};
use posthorn_mail::report::{Finding, Report};
use posthorn_model::{EnhancedCode, Notify, QueueId};
use posthorn_report::Action;
use posthorn_smtp::Reply;
use tokio::time::sleep;

use crate::Office;
use crate::outcome::shown;
use crate::retry::{self, Next, delta};
use crate::settle::{Handover, Settled, Verdict};
use crate::trace;

/// What a verdict comes to at the time when it is written down.
#[derive(Clone, Debug)]
pub(crate) struct Ruling {
    /// The word in the trace; none for what is not worth one.
    pub kind: Option<&'static str>,
    pub outcome: Outcome,
    /// What was said, with its codes.
    pub reply: Option<String>,
    /// When it is tried next.
    pub due: Option<DateTime<Utc>>,
    /// Whether this was an attempt.
    pub attempted: bool,
    /// What the sender may be told.
    pub news: Option<News>,
}

/// What the sender may be told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct News {
    pub action: Action,
    pub status: EnhancedCode,
    pub expired: bool,
    pub retries_until: Option<DateTime<Utc>>,
}

/// Writes down whatever comes, until nobody can send any more.
pub(crate) async fn work(office: Arc<Office>) {
    while let Some(batch) = office.ledger.take(BATCH, LINGER).await {
        let now = office.mail.now();
        let rulings: Vec<Ruling> = batch.iter().map(|settled| rule(&office, settled, now)).collect();
        let mut pause = FIRST_PAUSE;
        while let Err(error) = write(&office, &batch, &rulings, now).await {
            // The deliveries stay in hand, and their seats taken, so that no more than these can come together.
            tracing::error!(%error, deliveries = batch.len(), "what became of deliveries could not be recorded yet");
            if office.is_stopping() && pause > LAST_PAUSE {
                tracing::error!(deliveries = batch.len(), "given up: these may be delivered a second time");
                break;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        tell(&office, &batch, &rulings, now);
    }
}

/// One commit: completions and reports.
async fn write(
    office: &Office,
    batch: &[Settled],
    rulings: &[Ruling],
    now: DateTime<Utc>,
) -> posthorn_mail::Result<()> {
    let mut findings: BTreeMap<QueueId, Vec<(usize, Finding<'_>)>> = BTreeMap::new();
    for (at, (settled, ruling)) in batch.iter().zip(rulings).enumerate() {
        if let Some(news) = ruling.news {
            findings.entry(settled.outgoing.id).or_default().push((at, finding(settled, ruling, news, now)));
        }
    }
    let mut reports: Vec<Report> = Vec::new();
    for found in findings.into_values() {
        let Some(outgoing) = found.first().map(|(at, _)| &batch[*at].outgoing) else { continue };
        let found: Vec<_> = found.into_iter().map(|(_, finding)| finding).collect();
        reports.extend(office.mail.report(outgoing, &found, None).await?);
    }
    let completions = batch.iter().zip(rulings).map(|(settled, ruling)| completion(office, settled, ruling, now));
    let recorded = office.mail.queue().complete(completions.collect(), reports).await?;
    let lost = recorded.iter().filter(|recorded| !**recorded).count();
    if lost > 0 {
        tracing::warn!(deliveries = lost, "deliveries were no longer ours when they were done");
    }
    Ok(())
}

fn completion(office: &Office, settled: &Settled, ruling: &Ruling, now: DateTime<Utc>) -> Completion {
    Completion {
        delivery: settled.row.delivery.id,
        claim: settled.row.delivery.claim.unwrap_or_else(|| office.life.claim()),
        at: now,
        binding: settled.site.as_ref().map(|site| site.binding_name.to_string()),
        host: settled.host.as_deref().map(str::to_owned),
        reply: ruling.reply.clone(),
        outcome: ruling.outcome.clone(),
    }
}

fn finding<'a>(settled: &'a Settled, ruling: &Ruling, news: News, now: DateTime<Utc>) -> Finding<'a> {
    Finding {
        delivery: &settled.row.delivery,
        action: news.action,
        status: news.status,
        // A host that was not connected to has said nothing.
        host: settled.session.as_ref().and(settled.host.as_deref()).map(str::to_owned),
        reply: ruling.reply.clone(),
        at: Some(now),
        retries_until: news.retries_until,
        expired: news.expired,
    }
}

fn tell(office: &Office, batch: &[Settled], rulings: &[Ruling], now: DateTime<Utc>) {
    for (settled, ruling) in batch.iter().zip(rulings) {
        let Some(kind) = ruling.kind else { continue };
        let outgoing = &settled.outgoing;
        let reply = ruling.reply.as_deref().unwrap_or_default();
        tracing::info!(queue.id = %outgoing.id, message.id = id_text(outgoing.message), to = settled.row.delivery.recipient,
            host = settled.host.as_deref(), reply, "{kind}");
        office.mail.tell((outgoing.message, Some(outgoing.id)), now, kind, trace::attempt(settled, ruling));
    }
}

/// What a verdict comes to.
fn rule(office: &Office, settled: &Settled, now: DateTime<Utc>) -> Ruling {
    let reply = settled.reply.as_ref().map(shown);
    let ruling = |kind, outcome| Ruling { kind, outcome, reply: reply.clone(), due: None, attempted: true, news: None };
    match &settled.verdict {
        Verdict::Deferred => deferred(office, settled, now, reply),
        Verdict::Delivered(handover) => {
            let wanted = settled.row.delivery.notify.is_some_and(|notify| notify.wants(Notify::SUCCESS));
            let action = match handover {
                Handover::Final => Some(Action::Delivered),
                Handover::Relayed => Some(Action::Relayed),
                Handover::Passed => None,
            };
            let news = action.filter(|_| wanted).map(|action| news(action, status(settled.reply.as_ref(), 2)));
            Ruling { news, ..ruling(Some("delivered"), Outcome::Gone) }
        }
        Verdict::Failed => {
            let news = news(Action::Failed, status(settled.reply.as_ref(), 5));
            Ruling { news: Some(news), ..ruling(Some("failed"), Outcome::Gone) }
        }
        Verdict::PutOff(until) => {
            let due = retry::put_off(*until, now, retry::end_of(&settled.outgoing, None));
            let notice_at = settled.row.delivery.notice_at;
            let outcome = Outcome::Deferred { due_at: due, notice_at, attempted: false };
            Ruling { due: Some(due), attempted: false, ..ruling(None, outcome) }
        }
        Verdict::Returned => Ruling { attempted: false, ..ruling(None, Outcome::Returned) },
        Verdict::SetAside(why) => {
            Ruling { attempted: false, ..ruling(Some("set aside"), Outcome::SetAside { note: why.clone() }) }
        }
    }
}

/// Tried in vain: another attempt, a word to the sender when it takes long, or the end.
fn deferred(office: &Office, settled: &Settled, now: DateTime<Utc>, reply: Option<String>) -> Ruling {
    let (outgoing, delivery) = (&settled.outgoing, &settled.row.delivery);
    let policy = office.policy(outgoing.sender.as_deref());
    let own;
    let (policy, expire) = match &settled.site {
        Some(site) if site.options.retry_first.or(site.options.retry_most).or(site.options.expire).is_some() => {
            own = policy.with(&site.options);
            (&own, site.options.expire.map(|span| span.duration()))
        }
        _ => (policy, None),
    };
    let attempts = delivery.attempts.saturating_add(1);
    let end = retry::end_of(outgoing, expire);
    let due = match retry::next(policy, attempts, now, end, office.chance.part()) {
        Next::At(due) => due,
        Next::Expired => {
            let news = News { expired: true, ..news(Action::Failed, EnhancedCode(5, 4, 7)) };
            let (kind, outcome) = (Some("expired"), Outcome::Gone);
            return Ruling { kind, outcome, reply, due: None, attempted: true, news: Some(news) };
        }
    };
    let asked = settled.site.as_ref().and_then(|site| site.tuned.asked_to_wait(now));
    let due = match asked.filter(|_| attempts <= ASKED) {
        Some(wait) => (now + delta(wait)).min(end),
        None => due,
    };
    let late = delivery.notice_at.is_some_and(|at| at <= now);
    // The sender wants to know at that time, not hours later: it is the time of an attempt as well.
    let by = retry::told_at(outgoing).filter(|by| *by > now);
    let due = by.filter(|by| delivery.notice_at.is_some_and(|at| at <= *by)).map_or(due, |by| due.min(by));
    let told = News { retries_until: Some(end), ..news(Action::Delayed, status(settled.reply.as_ref(), 4)) };
    let notice_at = if late { by } else { delivery.notice_at };
    Ruling {
        kind: Some("deferred"),
        outcome: Outcome::Deferred { due_at: due, notice_at, attempted: true },
        reply,
        due: Some(due),
        attempted: true,
        news: late.then_some(told),
    }
}

fn news(action: Action, status: EnhancedCode) -> News {
    News { action, status, expired: false, retries_until: None }
}

/// The status of a report: the reply's own where its class fits, else the class alone.
fn status(reply: Option<&Reply>, class: u8) -> EnhancedCode {
    let own = reply.and_then(|reply| reply.enhanced).filter(|code| code.0 == class);
    own.unwrap_or(EnhancedCode(class, 0, 0))
}

/// Deliveries that are written down together.
const BATCH: usize = 1000;
/// How long the first of them waits for others: nobody waits for this commit, and what it costs is shared. What a server
/// that is killed delivered within this time and did not write down is delivered twice.
const LINGER: Duration = Duration::from_millis(25);
/// Attempts for which a receiver's wish to wait comes before the schedule.
const ASKED: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Beyond this, whoever stops does not wait for the database.
const LAST_PAUSE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_fits_the_action() {
        assert_eq!(status(Some(&Reply::new(550, 1, 1, "x")), 5), EnhancedCode(5, 1, 1));
        assert_eq!(status(Some(&Reply::plain(550, "x")), 5), EnhancedCode(5, 0, 0));
        assert_eq!(status(Some(&Reply::new(554, 4, 0, "x")), 4), EnhancedCode(4, 0, 0));
        assert_eq!(status(None, 2), EnhancedCode(2, 0, 0));
    }
}
