//! Recipients of one message whose sender hears of them wait for each other, so that one report tells of all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use posthorn_model::QueueId;

use crate::settle::Settled;

/// What waits for others of its message that are still in hand.
#[derive(Debug, Default)]
pub(crate) struct Company(HashMap<QueueId, Waiting>);

#[derive(Debug)]
struct Waiting {
    since: Instant,
    settled: Vec<Settled>,
}

impl Company {
    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lets those of a batch wait that `waits` says so of, and gives out the others together with what has waited
    /// enough: nothing else of its message is in hand, or the time is over. With `at_once`, that is everything.
    pub(crate) fn part(
        &mut self,
        batch: Vec<Settled>,
        now: Instant,
        waits: impl Fn(&Settled) -> bool,
        at_once: bool,
    ) -> Vec<Settled> {
        let mut ready = Vec::with_capacity(batch.len());
        for settled in batch {
            if waits(&settled) {
                let since = Waiting { since: now, settled: Vec::new() };
                self.0.entry(settled.outgoing.id).or_insert(since).settled.push(settled);
            } else {
                ready.push(settled);
            }
        }
        self.0.retain(|_, waiting| {
            let over = at_once || now.duration_since(waiting.since) >= LONGEST || waiting.is_complete();
            if over {
                ready.append(&mut waiting.settled);
            }
            !over
        });
        ready
    }
}

impl Waiting {
    /// Whether all that is in hand of the message is here: whoever has a recipient of it in hand holds its envelope.
    fn is_complete(&self) -> bool {
        self.settled.iter().all(|one| {
            let here = self.settled.iter().filter(|other| Arc::ptr_eq(&one.outgoing, &other.outgoing)).count();
            Arc::strong_count(&one.outgoing) <= here
        })
    }
}

/// How long the first of them waits for the others: they may still be on their way to hosts that do not answer.
const LONGEST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::tests::job;
    use crate::settle::Verdict;

    #[test]
    fn recipients_of_one_message_come_out_together() {
        let mut job = job(&["a@example.org", "b@example.org", "c@example.org"]);
        let outgoing = Arc::clone(&job.outgoing);
        let mut settle = || Settled::quiet(&outgoing, job.rows.remove(0), Verdict::Deferred);
        let (first, second, quick) = (settle(), settle(), settle());
        let is_late = |settled: &Settled| settled.row.delivery.recipient != "c@example.org";
        let now = Instant::now();
        let mut company = Company::default();
        let out = company.part(vec![first, quick], now, is_late, false);
        assert_eq!(out.len(), 1, "what nobody hears of does not wait");
        drop(out);
        assert!(company.part(Vec::new(), now, is_late, false).is_empty(), "the job is still in hand");
        assert!(company.part(vec![second], now, is_late, false).is_empty());
        drop((job, outgoing));
        assert_eq!(company.part(Vec::new(), now, is_late, false).len(), 2);
        assert!(company.is_empty());
    }

    #[test]
    fn nothing_waits_for_ever() {
        let mut job = job(&["a@example.org"]);
        let late = Settled::quiet(&job.outgoing, job.rows.remove(0), Verdict::Deferred);
        let now = Instant::now();
        let mut company = Company::default();
        assert!(company.part(vec![late], now, |_| true, false).is_empty());
        assert!(company.part(Vec::new(), now + LONGEST / 2, |_| true, false).is_empty());
        let out = company.part(Vec::new(), now + LONGEST, |_| true, false);
        assert_eq!(out.len(), 1);
        assert_eq!(company.part(out, now, |_| true, true).len(), 1, "at the end nobody waits");
    }
}
