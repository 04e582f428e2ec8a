//! What became of deliveries is written down, with the reports that it calls for, in batches; until it is written,
//! nothing is forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use metrics::counter;
use posthorn_mail::accept::id_text;
use posthorn_mail::queue::{Completion, Outcome};
use posthorn_mail::report::{Finding, Report};
use posthorn_model::{EnhancedCode, Notify, QueueId};
use posthorn_report::Action;
use posthorn_smtp::Reply;
use tokio::time::{sleep, timeout};

use crate::Office;
use crate::asked;
use crate::company::Company;
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
    let mut company = Company::default();
    loop {
        let taken = match company.is_empty() {
            true => Ok(office.ledger.take(BATCH, LINGER).await),
            false => timeout(LOOK, office.ledger.take(BATCH, LINGER)).await,
        };
        // Nothing more comes: what waits for company goes, too.
        let over = matches!(taken, Ok(None));
        let batch = taken.ok().flatten().unwrap_or_default();
        let now = office.mail.now();
        let at_once = over || office.is_stopping();
        let batch = company.part(batch, Instant::now(), |settled| is_told(settled, now), at_once);
        if batch.is_empty() {
            match over {
                true => break,
                false => continue,
            }
        }
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
        let cargo = found.iter().find_map(|(at, _)| batch[*at].cargo.clone());
        let found: Vec<_> = found.into_iter().map(|(_, finding)| finding).collect();
        reports.extend(office.mail.report(outgoing, &found, cargo.as_ref().map(|cargo| &cargo.octets)).await?);
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
        counter!("posthorn_deliveries_total", "outcome" => kind).increment(1);
        tracing::info!(queue.id = %outgoing.id, message.id = id_text(outgoing.message),
            recipient = settled.row.delivery.recipient, host = settled.host.as_deref(), reply, "{kind}");
        office.mail.tell((outgoing.message, Some(outgoing.id)), now, kind, trace::attempt(settled, ruling));
    }
}

/// What a verdict comes to.
fn rule(office: &Office, settled: &Settled, now: DateTime<Utc>) -> Ruling {
    let reply = settled.reply.as_ref().map(shown);
    let ruling = |kind, outcome| Ruling { kind, outcome, reply: reply.clone(), due: None, attempted: true, news: None };
    match &settled.verdict {
        Verdict::Deferred | Verdict::NotTried => deferred(office, settled, now, reply),
        Verdict::Delivered(handover) => {
            let wanted = settled.row.delivery.notify.is_some_and(|notify| notify.wants(Notify::SUCCESS));
            let action = match handover {
                Handover::Final => Some(Action::Delivered).filter(|_| wanted),
                Handover::Relayed => Some(Action::Relayed).filter(|_| wanted),
                Handover::Unpromised => Some(Action::Relayed),
                Handover::Passed => None,
            };
            let news = action.map(|action| news(action, status(settled.reply.as_ref(), 2)));
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

/// Whether the sender hears of a delivery that was deferred: it is late, or its time is up.
fn is_told(settled: &Settled, now: DateTime<Utc>) -> bool {
    let expire = settled.site.as_ref().and_then(|site| site.options.expire).map(|span| span.duration());
    matches!(settled.verdict, Verdict::Deferred | Verdict::NotTried)
        && (settled.row.delivery.notice_at.is_some_and(|at| at <= now)
            || retry::end_of(&settled.outgoing, expire) <= now)
}

/// Tried in vain, or not tried because others were a moment ago: another attempt, a word to the sender when it takes
/// long, or the end.
fn deferred(office: &Office, settled: &Settled, now: DateTime<Utc>, reply: Option<String>) -> Ruling {
    let (outgoing, delivery) = (&settled.outgoing, &settled.row.delivery);
    let attempted = settled.verdict != Verdict::NotTried;
    let policy = office.policy(outgoing.author());
    let own;
    let (policy, expire) = match &settled.site {
        Some(site) if site.options.retry_first.or(site.options.retry_most).or(site.options.expire).is_some() => {
            own = policy.with(&site.options);
            (&own, site.options.expire.map(|span| span.duration()))
        }
        _ => (policy, None),
    };
    // What was not tried waits once more as long as before.
    let attempts = if attempted { delivery.attempts.saturating_add(1) } else { delivery.attempts.max(1) };
    let end = retry::end_of(outgoing, expire);
    let due = match retry::next(policy, attempts, now, end, office.chance.part()) {
        Next::At(due) => due,
        Next::Expired => {
            let news = News { expired: true, ..news(Action::Failed, EnhancedCode(5, 4, 7)) };
            let (kind, outcome) = (Some("expired"), Outcome::Gone);
            return Ruling { kind, outcome, reply, due: None, attempted, news: Some(news) };
        }
    };
    let named = settled.reply.as_ref().filter(|reply| settled.session.is_some() && (400..500).contains(&reply.code));
    let named = named.and_then(|reply| asked::wait(&reply.text));
    let asked = named.or_else(|| settled.site.as_ref().and_then(|site| site.tuned.asked_to_wait(now)));
    let due = match asked.filter(|_| attempted && attempts <= ASKED) {
        Some(wait) => (now + delta(wait)).min(end),
        None => due,
    };
    let late = delivery.notice_at.is_some_and(|at| at <= now);
    let notice_at = if late { retry::told_at(outgoing).filter(|by| *by > now) } else { delivery.notice_at };
    // The sender is told when it is due, not hours later, and of how things are then: it is the time of an attempt.
    let due = notice_at.map_or(due, |at| due.min(at));
    let told = News { retries_until: Some(end), ..news(Action::Delayed, status(settled.reply.as_ref(), 4)) };
    Ruling {
        kind: Some("deferred"),
        outcome: Outcome::Deferred { due_at: due, notice_at, attempted },
        reply,
        due: Some(due),
        attempted,
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
/// How often is looked whether what waits for company has it.
const LOOK: Duration = Duration::from_millis(50);
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
