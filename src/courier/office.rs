//! What all parts of the courier share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use posthorn_config::{
    Bindings, DeliveryPolicy, EffectiveDelivery, Queue, QueuePolicies, QueuePolicy, Routes, TlsDemand,
};
use posthorn_mail::Mail;
use posthorn_mail::departures::Departure;
use posthorn_mail::queue::{Suspended, TraceEntry, Tuning};
use posthorn_model::{MessageId, QueueId};
use posthorn_net::Roots;
use posthorn_net::dns::Dns;
use posthorn_net::egress::{LinkFacts, TlsClient};
use posthorn_net::sts::{Sts, StsPolicy};
use posthorn_net::tls_report::TlsTally;
use tokio::sync::{Notify, mpsc, watch};

use crate::adaptive::{Adaptive, Change, Heard, Setting};
use crate::chance::Chance;
use crate::destination::Way;
use crate::job::Seats;
use crate::keep::Keeper;
use crate::ledger::Ledger;
use crate::life::Life;
use crate::limit::{Limits, Places};
use crate::outcome::shown;
use crate::path::Path;
use crate::settle::{Settled, Verdict};
use crate::site::Site;
use crate::trace;
use crate::view::SiteView;

/// What all parts share.
#[derive(Debug)]
pub(crate) struct Office {
    pub mail: Duties,
    pub dns: Dns,
    pub tls: TlsClient,
    pub roots: Roots,
    pub sts: Option<Sts>,
    pub tally: TlsTally,
    pub queue: Queue,
    pub policies: QueuePolicies,
    pub delivery: DeliveryPolicy,
    pub bindings: Bindings,
    pub routes: Routes,
    /// Whether any route asks who submitted a message.
    pub routes_by_account: bool,
    pub hostname: String,
    pub own_names: Vec<String>,
    pub own_addresses: Vec<IpAddr>,
    /// Mail of others is taken at every address of this machine.
    pub listens_everywhere: bool,
    pub mx_port: u16,
    pub life: Life,
    pub limits: Limits,
    pub connections: Arc<Places>,
    pub adaptive: Adaptive,
    pub seats: Arc<Seats>,
    pub chance: Chance,
    /// What operators suspended.
    pub suspended: Mutex<Vec<Suspended>>,
    /// When operators were heard last, in seconds of the clock.
    pub heard_at: AtomicI64,
    pub sites: Mutex<HashMap<String, Arc<Site>>>,
    /// A site wants more than it has in memory.
    pub hungry: Notify,
    pub ledger: Ledger,
    pub changes: mpsc::Sender<Change>,
    pub stop: watch::Sender<bool>,
}

/// The duties, which have nothing to show of themselves.
#[derive(Clone)]
pub(crate) struct Duties(pub Mail);

impl std::ops::Deref for Duties {
    type Target = Mail;

    fn deref(&self) -> &Mail {
        &self.0
    }
}

impl std::fmt::Debug for Duties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mail")
    }
}

impl Duties {
    /// Adds to the trace; never waits.
    pub(crate) fn tell(
        &self,
        (message, outgoing): (MessageId, Option<QueueId>),
        at: DateTime<Utc>,
        kind: &'static str,
        detail: String,
    ) {
        self.0.queue().tell(TraceEntry {
            message,
            at,
            kind: kind.into(),
            outgoing,
            header_id: None,
            sender: None,
            recipients: Vec::new(),
            detail,
        });
    }
}

impl Office {
    /// Whether the courier stops.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Ends when the courier stops.
    pub(crate) async fn stopping(&self) {
        let mut stop = self.stop.subscribe();
        let _gone = stop.wait_for(|stop| *stop).await;
    }

    /// Sends what became of deliveries to be written down.
    pub(crate) fn settle(&self, settled: Vec<Settled>) {
        if !settled.is_empty() {
            self.ledger.add(settled);
        }
    }

    /// New messages, handed over in memory.
    pub(crate) fn departures(&self) -> mpsc::Receiver<Departure> {
        let octets = usize::try_from(self.queue.resident_bytes.octets()).unwrap_or(usize::MAX);
        self.mail.depart_to(self.life.claim(), (self.queue.resident as usize / 4).clamp(1, WAITING), octets)
    }

    /// Deliveries of one site in memory with which it has enough.
    pub(crate) fn enough(&self) -> usize {
        (self.queue.resident as usize / 4).max(1)
    }

    /// The policy of a sender.
    pub(crate) fn policy(&self, author: Option<&str>) -> &QueuePolicy {
        self.policies.of(author.and_then(|author| Some(author.rsplit_once('@')?.1)))
    }

    /// The options of a way to a domain.
    pub(crate) fn options(&self, way: &Way, domain: &str) -> EffectiveDelivery {
        let mut options = self.delivery.effective(way.route.binding_group.as_deref(), Some(&way.binding.name), domain);
        if let Some(tls) = way.route.tls {
            options.tls = tls;
        }
        if way.require_tls {
            // RFC 8689 §4.2.1
            options.tls = TlsDemand::Verified;
        }
        options
    }

    /// The site that a path leads to: the one that is there, or a new one.
    pub(crate) fn site(self: &Arc<Self>, way: &Way, path: Path, options: EffectiveDelivery) -> Arc<Site> {
        let key = format!(
            "{} {} {:?}",
            way.binding.name,
            path.key(),
            EffectiveDelivery { provenance: Vec::new(), ..options.clone() }
        );
        if let Some(known) = self.sites.lock().get(&key) {
            return Arc::clone(known);
        }
        let site = Site::new(self, Arc::clone(&way.binding), path, options);
        Arc::clone(self.sites.lock().entry(key).or_insert(site))
    }

    /// What operators see of every site, in the order of their names.
    pub(crate) fn views(&self) -> Vec<SiteView> {
        let now = self.mail.now();
        let mut views: Vec<_> = self.all_sites().iter().map(|site| site.view(now)).collect();
        views.sort_by(|a, b| (&a.name, &a.binding).cmp(&(&b.name, &b.binding)));
        views
    }

    /// Every site.
    pub(crate) fn all_sites(&self) -> Vec<Arc<Site>> {
        self.sites.lock().values().cloned().collect()
    }

    /// The MTA-STS policy of a domain that is in force; `None` where there is none. An error says why one that is
    /// announced cannot be had, and no older one is known.
    pub(crate) async fn sts_policy(&self, domain: &str, counts: bool) -> Option<Result<Arc<StsPolicy>, String>> {
        let sts = self.sts.as_ref()?;
        let answer = sts.policy(domain, self.mail.now(), &Keeper(&self.mail)).await;
        if let Some(problem) = &answer.problem {
            tracing::info!(%domain, %problem, "an MTA-STS policy cannot be had");
            if counts {
                self.count_problem(domain, problem);
            }
        }
        let problem = answer.problem.map(|problem| Err(format!("the policy cannot be had: {problem}")));
        answer.policy.map(Ok).or(problem)
    }

    /// Whether a connection that was opened ends at this server: at an address of this machine, where we listen at all
    /// of them.
    pub(crate) fn is_here(&self, facts: &LinkFacts) -> bool {
        let (Some(peer), Some(local)) = (facts.peer, facts.local) else { return false };
        self.listens_everywhere && is_this_machine(peer.ip(), local.ip())
    }

    /// Whether an idle connection should be kept: where others wait for a place it should not.
    pub(crate) fn wants_idle(&self, site: &Site) -> bool {
        self.connections.has_room() && !site.options.suspend
    }

    /// A reply that was no success may match a rule. Its text is written here.
    pub(crate) fn heard(&self, site: &Arc<Site>, heard: Heard<'_>) {
        if heard.reply.is_positive() {
            return;
        }
        let now = self.mail.now();
        let text = shown(heard.reply);
        let changes = site.tuned.heard(Heard { text: &text, ..heard }, site.configured(), now);
        site.note_refusal(now, &text);
        let suspended = changes.iter().find(|change| change.setting == Setting::Suspension).map(|change| change.until);
        self.record(changes);
        if let Some(until) = suspended {
            for other in self.all_sites().iter().filter(|other| Arc::ptr_eq(&other.tuned, &site.tuned)) {
                self.settle(other.put_all_off(until));
            }
        }
    }

    /// Records changes: in the log, in the trace, and where they survive a restart.
    fn record(&self, changes: Vec<Change>) {
        for change in changes {
            tracing::info!(binding = &*change.binding, site = &*change.site, setting = change.setting.word(),
                old = change.old, new = change.new, rule = %change.rule, until = %change.until, reply = %change.reply,
                "delivery adapts");
            self.mail.tell((MessageId(0), None), change.at, "adapted", trace::change(&change));
            if self.changes.try_send(change).is_err() {
                tracing::warn!("too many changes at once: one will not survive a restart");
            }
        }
    }

    /// Lets time pass: suspensions end, values grow, and whoever waits for the time to pass looks again.
    pub(crate) fn pass(self: &Arc<Self>, now: DateTime<Utc>) {
        self.record(self.adaptive.pass(now));
        for site in self.all_sites() {
            site.expand(self);
        }
    }

    /// Forgets what nobody needs.
    pub(crate) fn tidy(&self, now: DateTime<Utc>) {
        self.sites.lock().retain(|_, site| Arc::strong_count(site) > 1 || !site.is_unused());
        self.adaptive.tidy();
        self.limits.tidy(now);
    }

    /// Until when an operator suspended this, where that is so.
    pub(crate) fn is_suspended(&self, binding: &str, domain: &str) -> Option<DateTime<Utc>> {
        let suspended = self.suspended.lock();
        let any = suspended.iter().any(|one| match one {
            Suspended::Binding(name) => name == binding,
            Suspended::Domain(name) => name == domain,
        });
        any.then(|| self.mail.now() + LOOK_AGAIN)
    }

    /// Asks what operators suspended, `called` by them or every few seconds (a call may get lost); whether anything was
    /// resumed.
    pub(crate) async fn hear_operators(self: &Arc<Self>, called: bool) -> bool {
        let seconds = self.mail.now().timestamp();
        if !called && (seconds - self.heard_at.load(Ordering::Relaxed)).abs() < OPERATORS {
            return false;
        }
        self.heard_at.store(seconds, Ordering::Relaxed);
        let Ok(listed) = self.mail.queue().suspensions().await else { return false };
        let mut now_suspended: Vec<_> = listed.into_iter().map(|(what, _)| what).collect();
        now_suspended.sort();
        let before = std::mem::replace(&mut *self.suspended.lock(), now_suspended.clone());
        if before == now_suspended {
            return false;
        }
        let names: Vec<_> = now_suspended.iter().map(Suspended::scope).collect();
        tracing::info!(suspended = ?names, "operators suspended or resumed mail");
        for site in self.all_sites() {
            let binding = site.binding.name.as_str();
            let taken = site.take_out(|row| self.is_suspended(binding, &row.delivery.domain).is_some());
            let until = self.mail.now() + LOOK_AGAIN;
            let put_off =
                taken.into_iter().map(|(outgoing, row)| Settled::quiet(&outgoing, row, Verdict::PutOff(until)));
            self.settle(put_off.collect());
        }
        before.iter().any(|one| !now_suspended.contains(one))
    }
}

/// Keeps changes where they survive a restart.
pub(crate) async fn keep_changes(mail: Duties, mut changes: mpsc::Receiver<Change>) {
    while let Some(change) = changes.recv().await {
        let scope = scope(&change.binding, &change.site);
        let name = change.setting.word();
        let kept = match change.new {
            Some(value) => {
                let tuning = Tuning {
                    scope,
                    name: name.to_owned(),
                    value: f64::from(value),
                    previous: change.old.map(f64::from),
                    changed_at: change.at,
                    // Longer than it holds: afterwards it grows step by step.
                    until: Some(change.until + KEPT),
                    rule: change.rule,
                    reply: Some(change.reply).filter(|reply| !reply.is_empty()),
                };
                mail.queue().keep_tuning(&tuning).await
            }
            None => mail.queue().drop_tuning(&scope, name).await.map(|_| ()),
        };
        if let Err(error) = kept {
            tracing::warn!(%error, "a change of delivery could not be kept");
        }
    }
}

/// The changes of an earlier life.
pub(crate) fn resumed(tuning: Tuning) -> Option<Change> {
    let (site, binding) = tuning.scope.strip_prefix("site ")?.split_once(" binding ")?;
    let value = tuning.value.clamp(0.0, f64::from(u32::MAX)) as u32;
    Some(Change {
        at: tuning.changed_at,
        binding: binding.into(),
        site: site.into(),
        setting: Setting::parse(&tuning.name)?,
        old: tuning.previous.map(|value| value.clamp(0.0, f64::from(u32::MAX)) as u32),
        new: Some(value),
        until: tuning.until? - KEPT,
        rule: tuning.rule,
        reply: tuning.reply.unwrap_or_default(),
    })
}

fn scope(binding: &str, site: &str) -> String {
    format!("site {site} binding {binding}")
}

/// Whether an address that was reached from `local` is one of this machine's own: what stays within it leaves from the
/// address that it goes to.
fn is_this_machine(peer: IpAddr, local: IpAddr) -> bool {
    peer.to_canonical() == local.to_canonical() || peer.to_canonical().is_loopback()
}

/// The most messages that wait between acceptance and agenda.
const WAITING: usize = 4096;
/// When mail that somebody suspended is looked at again.
pub(crate) const LOOK_AGAIN: TimeDelta = TimeDelta::minutes(10);
/// Seconds between two questions for what operators suspended.
const OPERATORS: i64 = 5;
/// How long a value is kept beyond its time, while it grows.
const KEPT: TimeDelta = TimeDelta::hours(12);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_within_this_machine_is_seen() {
        let is = |peer: &str, local: &str| {
            is_this_machine(peer.parse().expect("an address"), local.parse().expect("an address"))
        };
        assert!(is("192.0.2.1", "192.0.2.1") && is("2001:db8::1", "2001:db8::1") && is("127.0.0.5", "127.0.0.1"));
        assert!(is("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!is("192.0.2.2", "192.0.2.1"));
    }
}
