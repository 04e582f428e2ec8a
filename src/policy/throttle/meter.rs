//! What was used, by whom.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use posthorn_config::{LimitWindow, Size};
use posthorn_store::policy::throttle::{Counter, Delta};

use super::limits::{Rule, Unit};
use crate::generations::{Generations, Key};

/// Counters that wait to be written; what comes to others is only remembered.
const UNWRITTEN: usize = 200_000;

/// What comes to a counter.
#[derive(Clone, Debug)]
pub(super) struct Charge {
    pub(super) rule: Arc<Rule>,
    pub(super) subject: String,
    pub(super) key: Key,
    pub(super) messages: u64,
    pub(super) octets: u64,
    pub(super) most_messages: Option<u64>,
    pub(super) most_octets: Option<u64>,
}

/// What would be too much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Exceeded {
    pub(super) unit: Unit,
    pub(super) used: f64,
    pub(super) adds: u64,
    pub(super) most: u64,
}

pub(super) struct Meter {
    used: Generations<Used>,
    unwritten: HashMap<Key, Delta>,
}

/// What was used, at a moment.
#[derive(Clone, Copy, Debug)]
struct Used {
    started_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    messages: f64,
    octets: f64,
    noticed_at: Option<DateTime<Utc>>,
    /// When nothing of it counts any more.
    expires_at: DateTime<Utc>,
}

/// What flows away in a second, of messages and of octets; nothing of a fixed window.
fn leaks(rule: &Rule) -> (f64, f64) {
    let rate = |number: Option<u64>| number.map_or(0.0, |number| float(number) / rule.period().as_secs_f64());
    match rule.limit.window {
        LimitWindow::Fixed => (0.0, 0.0),
        LimitWindow::Leaky => (rate(rule.limit.messages), rate(rule.limit.octets.map(Size::octets))),
    }
}

#[expect(clippy::cast_precision_loss, reason = "no limit is so large that one more or less would matter")]
fn float(number: u64) -> f64 {
    number as f64
}

fn period(rule: &Rule) -> TimeDelta {
    TimeDelta::from_std(rule.period()).unwrap_or(TimeDelta::days(36_525))
}

impl Used {
    fn new(now: DateTime<Utc>, rule: &Rule) -> Self {
        Self {
            started_at: now,
            updated_at: now,
            messages: 0.0,
            octets: 0.0,
            noticed_at: None,
            expires_at: now + period(rule),
        }
    }

    /// What is left of it now.
    fn at(self, rule: &Rule, now: DateTime<Utc>) -> Self {
        if rule.limit.window == LimitWindow::Fixed {
            let age = now - self.started_at;
            // A clock that was put back by more than a window begins a new one.
            let is_over = age >= period(rule) || age < -period(rule);
            return if is_over { Self { noticed_at: self.noticed_at, ..Self::new(now, rule) } } else { self };
        }
        let seconds = (now - self.updated_at).as_seconds_f64().max(0.0);
        let (messages, octets) = leaks(rule);
        Self {
            updated_at: now,
            messages: (self.messages - seconds * messages).max(0.0),
            octets: (self.octets - seconds * octets).max(0.0),
            ..self
        }
    }
}

impl Meter {
    /// For at most so many counters.
    pub(super) fn new(most: usize) -> Self {
        Self { used: Generations::new(most), unwritten: HashMap::new() }
    }

    /// What would be too much, if anything.
    pub(super) fn exceeded(&self, charge: &Charge, now: DateTime<Utc>) -> Option<Exceeded> {
        let used = self.now(charge, now);
        let is_beyond = |used: f64, adds: u64, most: u64| used + float(adds) > float(most) + SLACK;
        if let Some(most) = charge.most_messages
            && is_beyond(used.messages, charge.messages, most)
        {
            return Some(Exceeded { unit: Unit::Messages, used: used.messages, adds: charge.messages, most });
        }
        let most = charge.most_octets?;
        is_beyond(used.octets, charge.octets, most).then_some(Exceeded {
            unit: Unit::Octets,
            used: used.octets,
            adds: charge.octets,
            most,
        })
    }

    /// Counts a charge.
    pub(super) fn count(&mut self, charge: &Charge, now: DateTime<Utc>) {
        let mut used = self.now(charge, now);
        let (messages, octets) = (float(charge.messages), float(charge.octets));
        used.messages += messages;
        used.octets += octets;
        used.updated_at = now;
        used.expires_at = used.expires_at.max(now + period(&charge.rule));
        let started_at = used.started_at;
        self.used.put(charge.key, used, |used| used.expires_at > now);
        let (messages_leak, octets_leak) = leaks(&charge.rule);
        let counter = Counter {
            rule: charge.rule.name.clone(),
            subject: charge.subject.clone(),
            started_at,
            updated_at: now,
            messages,
            octets,
        };
        let period_ms = i64::try_from(charge.rule.period().as_millis()).unwrap_or(i64::MAX);
        self.add(charge.key, Delta { counter, period_ms, messages_leak, octets_leak });
    }

    /// When nobody was told of this window yet: since when it is one. Then somebody is.
    pub(super) fn noticed(&mut self, charge: &Charge, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut used = self.now(charge, now);
        let since = match charge.rule.limit.window {
            LimitWindow::Fixed => used.started_at,
            LimitWindow::Leaky => now - period(&charge.rule),
        };
        if used.noticed_at.is_some_and(|noticed| noticed >= since) {
            return None;
        }
        used.noticed_at = Some(now);
        self.used.put(charge.key, used, |used| used.expires_at > now);
        Some(since)
    }

    /// Takes what the database says, together with what is not written there yet.
    pub(super) fn take(&mut self, key: Key, rule: &Rule, row: &Counter, now: DateTime<Utc>) {
        let noticed_at = self.used.peek(key).and_then(|used| used.noticed_at);
        let mut used = Used {
            started_at: row.started_at,
            updated_at: row.updated_at,
            messages: row.messages,
            octets: row.octets,
            noticed_at,
            expires_at: row.updated_at.max(row.started_at) + period(rule),
        };
        if let Some(delta) = self.unwritten.get(&key) {
            let at = delta.counter.updated_at.max(used.updated_at);
            used = used.at(rule, at);
            used.messages += delta.counter.messages;
            used.octets += delta.counter.octets;
        }
        self.used.put(key, used, |used| used.expires_at > now);
    }

    /// What is to be written, taken away.
    pub(super) fn take_unwritten(&mut self) -> HashMap<Key, Delta> {
        std::mem::take(&mut self.unwritten)
    }

    /// What could not be written.
    pub(super) fn put_back(&mut self, key: Key, delta: Delta, now: DateTime<Utc>) {
        let window = TimeDelta::milliseconds(delta.period_ms);
        if delta.counter.updated_at + window > now {
            self.add(key, delta);
        }
    }

    /// Lets go what counts no more.
    pub(super) fn sweep(&mut self, now: DateTime<Utc>) {
        self.used.retain(|used| used.expires_at > now);
    }

    fn now(&self, charge: &Charge, now: DateTime<Utc>) -> Used {
        let used = self.used.peek(charge.key).copied();
        used.map_or_else(|| Used::new(now, &charge.rule), |used| used.at(&charge.rule, now))
    }

    fn add(&mut self, key: Key, delta: Delta) {
        let room = self.unwritten.len() < UNWRITTEN;
        let Delta { counter, .. } = &delta;
        match self.unwritten.get_mut(&key) {
            Some(known) => {
                let is_new = known.messages_leak == 0.0
                    && known.octets_leak == 0.0
                    && counter.started_at - known.counter.started_at >= TimeDelta::milliseconds(known.period_ms);
                if is_new {
                    *known = delta;
                    return;
                }
                known.counter.messages += counter.messages;
                known.counter.octets += counter.octets;
                known.counter.started_at = known.counter.started_at.min(counter.started_at);
                known.counter.updated_at = known.counter.updated_at.max(counter.updated_at);
            }
            None if room => drop(self.unwritten.insert(key, delta)),
            None => {}
        }
    }

    #[cfg(test)]
    fn len(&self) -> (usize, usize) {
        (self.used.len(), self.unwritten.len())
    }
}

/// Fractions of a message flow away: who waited for exactly one may have it.
const SLACK: f64 = 1e-6;

#[cfg(test)]
mod tests {
    use posthorn_config::{LimitKind, LimitPer, PolicyLimit, PolicyVerdict, Span};

    use super::*;

    fn rule(window: LimitWindow) -> Arc<Rule> {
        Arc::new(Rule::new(PolicyLimit {
            kind: LimitKind::Outbound,
            who: "*".parse().expect("a pattern"),
            per: LimitPer::Each,
            period: Span::from_secs(3600),
            window,
            verdict: PolicyVerdict::Reject,
            messages: Some(100),
            octets: Some(Size::bytes(1_000_000)),
            recipients: None,
            size: None,
        }))
    }

    fn charge(rule: &Arc<Rule>, key: Key, messages: u64, octets: u64) -> Charge {
        Charge {
            rule: Arc::clone(rule),
            subject: key.to_string(),
            key,
            messages,
            octets,
            most_messages: Some(100),
            most_octets: Some(1_000_000),
        }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).expect("a moment")
    }

    /// Counts as long as there is room, one by one.
    fn fill(meter: &mut Meter, rule: &Arc<Rule>, now: DateTime<Utc>) -> u64 {
        let one = charge(rule, 1, 1, 1);
        (0..1000).take_while(|_| meter.exceeded(&one, now).is_none().then(|| meter.count(&one, now)).is_some()).count()
            as u64
    }

    #[test]
    fn a_fixed_window_holds_a_hundred_and_then_rolls() {
        let (mut meter, rule) = (Meter::new(1000), rule(LimitWindow::Fixed));
        assert_eq!(fill(&mut meter, &rule, at(0)), 100);
        let exceeded = meter.exceeded(&charge(&rule, 1, 1, 1), at(3599)).expect("the 101st");
        assert_eq!((exceeded.unit, exceeded.most), (Unit::Messages, 100));
        assert!(meter.exceeded(&charge(&rule, 2, 1, 1), at(0)).is_none(), "somebody else");
        assert_eq!(fill(&mut meter, &rule, at(3600)), 100);
        // Ten recipients count ten, and the last one that fits is let through.
        assert!(meter.exceeded(&charge(&rule, 3, 101, 1), at(0)).is_some());
        meter.count(&charge(&rule, 3, 91, 1), at(0));
        assert!(meter.exceeded(&charge(&rule, 3, 10, 1), at(0)).is_some());
        assert!(meter.exceeded(&charge(&rule, 3, 9, 1), at(0)).is_none());
    }

    #[test]
    fn volume_counts_before_it_is_let_through() {
        let (mut meter, rule) = (Meter::new(1000), rule(LimitWindow::Fixed));
        meter.count(&charge(&rule, 1, 1, 600_000), at(0));
        let exceeded = meter.exceeded(&charge(&rule, 1, 1, 400_001), at(1)).expect("too much");
        assert_eq!((exceeded.unit, exceeded.adds), (Unit::Octets, 400_001));
        assert!(meter.exceeded(&charge(&rule, 1, 1, 400_000), at(1)).is_none());
    }

    #[test]
    fn a_leaky_window_gives_back_in_proportion() {
        let (mut meter, rule) = (Meter::new(1000), rule(LimitWindow::Leaky));
        assert_eq!(fill(&mut meter, &rule, at(0)), 100);
        assert_eq!(fill(&mut meter, &rule, at(1800)), 50);
        assert_eq!(fill(&mut meter, &rule, at(1800)), 0);
        assert_eq!(fill(&mut meter, &rule, at(1836)), 1);
        assert_eq!(fill(&mut meter, &rule, at(100_000)), 100);
    }

    #[test]
    fn the_administrator_is_told_once_a_window() {
        let (mut meter, rule) = (Meter::new(1000), rule(LimitWindow::Fixed));
        let one = charge(&rule, 1, 1, 1);
        meter.count(&one, at(0));
        assert_eq!(meter.noticed(&one, at(10)), Some(at(0)));
        assert_eq!(meter.noticed(&one, at(20)), None);
        assert_eq!(meter.noticed(&one, at(3600)), Some(at(3600)));
    }

    #[test]
    fn what_the_database_says_counts_with_what_it_does_not_know_yet() {
        let (mut meter, rule) = (Meter::new(1000), rule(LimitWindow::Fixed));
        meter.count(&charge(&rule, 1, 10, 0), at(0));
        let deltas = meter.take_unwritten();
        assert_eq!(deltas[&1].counter.messages, 10.0);
        meter.count(&charge(&rule, 1, 5, 0), at(1));
        let row = Counter { messages: 60.0, ..deltas[&1].counter.clone() };
        meter.take(1, &rule, &row, at(1));
        assert!(meter.exceeded(&charge(&rule, 1, 35, 0), at(2)).is_none());
        assert!(meter.exceeded(&charge(&rule, 1, 36, 0), at(2)).is_some());
        // What could not be written is written the next time.
        let deltas = meter.take_unwritten();
        meter.put_back(1, deltas[&1].clone(), at(3));
        meter.count(&charge(&rule, 1, 1, 0), at(4));
        assert_eq!(meter.take_unwritten()[&1].counter.messages, 6.0);
    }

    #[test]
    fn hundreds_of_thousands_of_senders_are_bounded() {
        let (mut meter, rule) = (Meter::new(10_000), rule(LimitWindow::Fixed));
        for number in 0..250_000_u32 {
            meter.count(&charge(&rule, Key::from(number) << 64 | Key::from(number), 1, 1), at(0));
        }
        let (used, unwritten) = meter.len();
        assert!(used <= 10_000, "{used}");
        assert_eq!(unwritten, UNWRITTEN);
    }
}
