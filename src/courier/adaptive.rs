//! Receivers teach us: what they say changes how mail is sent to them, for a while and within bounds.
//!
//! A rule that matches a reply lowers a value at once (or suspends); when its time is over, the value grows again step
//! by step until it is what the configuration says. A suspension ends with a probe: one connection and few messages.
//! Each change is a [`Change`], which the owner records, so that values survive a restart.

mod rule;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use posthorn_config::{DeliveryAction, DeliveryRule};

pub(crate) use self::rule::{Heard, built_in};
use crate::retry::delta;

/// A value that rules change.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Setting {
    /// Connections at once.
    Connections,
    /// Messages on a connection.
    Messages,
    /// Messages in an hour.
    Rate,
    /// Seconds until the next attempt, after a reply that asks to wait.
    Retry,
    /// Nothing is sent; the value is 1 while it holds.
    Suspension,
}

impl Setting {
    const ALL: [Self; 5] = [Self::Connections, Self::Messages, Self::Rate, Self::Retry, Self::Suspension];

    /// The word in records and traces.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Messages => "messages_per_connection",
            Self::Rate => "messages_per_hour",
            Self::Retry => "retry",
            Self::Suspension => "suspend",
        }
    }

    /// What this word stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setting| setting.word() == word)
    }
}

/// One change: the record of a decision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// When.
    pub at: DateTime<Utc>,
    /// For mail that leaves through this binding …
    pub binding: Arc<str>,
    /// … to this site.
    pub site: Arc<str>,
    /// What changed.
    pub setting: Setting,
    /// From; `None` is what the configuration says.
    pub old: Option<u32>,
    /// To; `None` is what the configuration says.
    pub new: Option<u32>,
    /// Until when it holds; afterwards it grows again.
    pub until: DateTime<Utc>,
    /// The rule, or why else.
    pub rule: String,
    /// What was said; empty when nothing was.
    pub reply: String,
}

/// What the configuration says of a site; 0 is no limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Configured {
    pub connections: u32,
    pub messages: u32,
    pub per_hour: u32,
}

impl Configured {
    fn of(self, setting: Setting) -> u32 {
        match setting {
            Setting::Connections => self.connections,
            Setting::Messages => self.messages,
            Setting::Rate => self.per_hour,
            Setting::Retry | Setting::Suspension => 0,
        }
    }
}

/// What holds at the moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Holding {
    /// `None` is what the configuration says, here and below.
    pub connections: Option<u32>,
    pub messages: Option<u32>,
    pub per_hour: Option<u32>,
    pub suspended_until: Option<DateTime<Utc>>,
}

/// A binding and a site.
type Pair = (Arc<str>, Arc<str>);

/// The rules, and what they made of each site.
#[derive(Debug)]
pub(crate) struct Adaptive {
    rules: Arc<[DeliveryRule]>,
    /// By binding and site.
    sites: Mutex<HashMap<Pair, Arc<Tuned>>>,
}

/// What rules made of one binding and site.
#[derive(Debug)]
pub(crate) struct Tuned {
    binding: Arc<str>,
    site: Arc<str>,
    rules: Arc<[DeliveryRule]>,
    /// Those that can matter here.
    concerned: Vec<usize>,
    /// Known only from before a restart: whose hosts these are is not known yet.
    is_stranger: bool,
    /// Whether anything differs from the configuration: otherwise nobody needs the lock.
    differs: AtomicBool,
    /// Whether anything is counted that must come in a row.
    counts: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    values: HashMap<Setting, Value>,
    hits: HashMap<usize, VecDeque<DateTime<Utc>>>,
    /// A suspension ended, and this many messages went well since.
    probing: Option<u32>,
}

#[derive(Clone, Debug)]
struct Value {
    now: u32,
    /// Where growth ends; 0 when the configuration has no limit.
    configured: u32,
    least: u32,
    until: DateTime<Utc>,
    changed: DateTime<Utc>,
    rule: String,
}

impl Adaptive {
    pub(crate) fn new(rules: Vec<DeliveryRule>) -> Self {
        Self { rules: rules.into(), sites: Mutex::default() }
    }

    /// What is known of mail through `binding` to `site`, whose MX hosts have these names.
    pub(crate) fn tuned(
        &self,
        binding: &Arc<str>,
        site: &Arc<str>,
        hosts: &[String],
        configured: Configured,
    ) -> Arc<Tuned> {
        let mut sites = self.sites.lock();
        let key = (Arc::clone(binding), Arc::clone(site));
        let known = sites.get(&key).cloned();
        if let Some(known) = known.as_ref().filter(|known| !known.is_stranger) {
            return Arc::clone(known);
        }
        let reach = |rule: &DeliveryRule| {
            let hosts = hosts.iter().map(String::as_str);
            rule.provider.as_ref().is_none_or(|provider| hosts.into_iter().any(|host| provider.is_match(host)))
        };
        let concerned = (0..self.rules.len()).filter(|at| reach(&self.rules[*at])).collect();
        let fresh = Arc::new(Tuned::new(binding, site, &self.rules, Some(concerned)));
        // Values from before a restart were kept before the hosts were known.
        if let Some(kept) = known {
            std::mem::swap(&mut *fresh.state.lock(), &mut kept.state.lock());
            for (setting, value) in &mut fresh.state.lock().values {
                value.configured = configured.of(*setting);
            }
            fresh.differs.store(true, Ordering::Relaxed);
        }
        sites.insert(key, Arc::clone(&fresh));
        fresh
    }

    /// Takes the last record of a value from before a restart.
    pub(crate) fn resume(&self, change: &Change) {
        let Some(now) = change.new else { return };
        let key = (Arc::clone(&change.binding), Arc::clone(&change.site));
        let tuned = {
            let mut sites = self.sites.lock();
            let fresh = || Arc::new(Tuned::new(&change.binding, &change.site, &self.rules, None));
            Arc::clone(sites.entry(key).or_insert_with(fresh))
        };
        let value =
            Value { now, configured: 0, least: 1, until: change.until, changed: change.at, rule: change.rule.clone() };
        tuned.state.lock().values.insert(change.setting, value);
        tuned.differs.store(true, Ordering::Relaxed);
    }

    /// Lets time pass for all sites: suspensions end, values grow.
    pub(crate) fn pass(&self, now: DateTime<Utc>) -> Vec<Change> {
        let sites: Vec<_> = self.sites.lock().values().filter(|site| !site.is_plain()).cloned().collect();
        sites.iter().flat_map(|site| site.pass(now)).collect()
    }

    /// Forgets sites that nobody uses and that are as the configuration says.
    pub(crate) fn tidy(&self) {
        self.sites.lock().retain(|_, site| Arc::strong_count(site) > 1 || !site.is_plain());
    }
}

impl Tuned {
    fn new(binding: &Arc<str>, site: &Arc<str>, rules: &Arc<[DeliveryRule]>, concerned: Option<Vec<usize>>) -> Self {
        Self {
            binding: Arc::clone(binding),
            site: Arc::clone(site),
            rules: Arc::clone(rules),
            is_stranger: concerned.is_none(),
            concerned: concerned.unwrap_or_default(),
            differs: AtomicBool::new(false),
            counts: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// Whether everything is as the configuration says.
    pub(crate) fn is_plain(&self) -> bool {
        !self.differs.load(Ordering::Relaxed)
    }

    /// What holds at the moment.
    pub(crate) fn holding(&self, now: DateTime<Utc>) -> Holding {
        if self.is_plain() {
            return Holding::default();
        }
        let state = self.state.lock();
        let value = |setting| state.values.get(&setting).map(|value: &Value| value.now);
        let probing = state.probing.is_some();
        let suspension = state.values.get(&Setting::Suspension).map(|value| value.until);
        Holding {
            connections: if probing { Some(1) } else { value(Setting::Connections) },
            messages: if probing { Some(PROBE) } else { value(Setting::Messages) },
            per_hour: value(Setting::Rate),
            suspended_until: suspension.filter(|until| *until > now),
        }
    }

    /// A reply that was no success: the first rule that matches acts.
    pub(crate) fn heard(&self, heard: Heard<'_>, configured: Configured, now: DateTime<Utc>) -> Vec<Change> {
        let Some(at) = self.concerned.iter().copied().find(|at| rule::matches(&self.rules[*at], heard)) else {
            return Vec::new();
        };
        let rule = &self.rules[at];
        if rule.in_a_row && !heard.is_about_site() {
            return Vec::new();
        }
        let mut state = self.state.lock();
        if rule.in_a_row {
            self.counts.store(true, Ordering::Relaxed);
        }
        // A probe that is told the same needs no more proof.
        let is_probe = rule.in_a_row && state.probing.is_some();
        if rule.count > 1 && !is_probe && !state.is_hit(at, rule, now) {
            return Vec::new();
        }
        let (setting, is, floor) = match rule.action {
            DeliveryAction::Greylisted => (Setting::Retry, 0, 1),
            DeliveryAction::ReduceConnections => (Setting::Connections, configured.connections, 1),
            DeliveryAction::ReduceMessages => (Setting::Messages, configured.messages, 1),
            DeliveryAction::Suspend => (Setting::Suspension, 0, 1),
            DeliveryAction::Throttle => (Setting::Rate, configured.per_hour, 10),
        };
        let [least, most] = rule.bounds.unwrap_or([floor, u32::MAX]);
        let before = state.values.get(&setting).cloned();
        let old = before.as_ref().map(|value| value.now);
        // What many sessions are told at once is one hint, not many.
        if before.as_ref().is_some_and(|value| now - value.changed < HINT && value.until > now) {
            return Vec::new();
        }
        let half = |value: u32| if value == 0 { UNLIMITED / 2 } else { value / 2 };
        let new = match (rule.action, rule.value, old) {
            (DeliveryAction::Suspend, ..) => 1,
            (DeliveryAction::Greylisted, None, _) => return Vec::new(),
            (DeliveryAction::Greylisted, Some(seconds), _) => seconds,
            (_, Some(value), Some(old)) if value >= old => half(old),
            (_, Some(value), _) if is == 0 || value < is => value,
            (_, _, old) => half(old.unwrap_or(is)),
        };
        let new = new.clamp(least, most.max(least));
        let until = now + delta(rule.lasts.duration());
        if setting == Setting::Suspension {
            state.probing = None;
        }
        let value = Value { now: new, configured: is, least, until, changed: now, rule: rule.name.clone() };
        state.values.insert(setting, value);
        self.differs.store(true, Ordering::Relaxed);
        let (rule, reply) = (rule.name.clone(), heard.text.to_owned());
        vec![self.change(now, (setting, old, Some(new)), until, (rule, reply))]
    }

    /// How long deliveries that were asked to wait do so, instead of the schedule's wait.
    pub(crate) fn asked_to_wait(&self, now: DateTime<Utc>) -> Option<Duration> {
        if self.is_plain() {
            return None;
        }
        let state = self.state.lock();
        let value = state.values.get(&Setting::Retry).filter(|value| value.until > now)?;
        Some(Duration::from_secs(u64::from(value.now)))
    }

    /// All values that differ from the configuration.
    pub(crate) fn values(&self) -> Vec<(Setting, u32, DateTime<Utc>, String)> {
        let state = self.state.lock();
        let value = |(setting, value): (&Setting, &Value)| (*setting, value.now, value.until, value.rule.clone());
        let mut values: Vec<_> = state.values.iter().map(value).collect();
        values.sort_by_key(|(setting, ..)| *setting);
        values
    }

    /// A message went well: a probe may be over, and a row is broken.
    pub(crate) fn went_well(&self) {
        if self.is_plain() && !self.counts.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state.lock();
        let rules = &self.rules;
        state.hits.retain(|at, hits| {
            if rules.get(*at).is_some_and(|rule| rule.in_a_row) {
                hits.drain(..hits.len().div_ceil(2));
            }
            !hits.is_empty()
        });
        let counts = state.hits.keys().any(|at| rules.get(*at).is_some_and(|rule| rule.in_a_row));
        self.counts.store(counts, Ordering::Relaxed);
        if let Some(well) = &mut state.probing {
            *well += 1;
            if *well >= PROBE {
                state.probing = None;
                self.note_whether_plain(&state);
            }
        }
    }

    /// Lets time pass: a suspension ends with a probe, values whose time is over grow by a tenth of what the
    /// configuration says, at most once in [`STEP`].
    fn pass(&self, now: DateTime<Utc>) -> Vec<Change> {
        let mut state = self.state.lock();
        let mut changes = Vec::new();
        let over: Vec<_> = state.values.iter().filter(|(_, value)| value.until <= now).map(|(s, _)| *s).collect();
        for setting in over {
            let Some(value) = state.values.get_mut(&setting) else { continue };
            let old = value.now;
            let grown = match setting {
                Setting::Retry | Setting::Suspension => None,
                _ => {
                    if now - value.changed.max(value.until) < STEP && value.changed >= value.until {
                        continue;
                    }
                    value.grown()
                }
            };
            let why = match (setting, grown) {
                (Setting::Suspension, _) => format!("over: {}; one connection tries", value.rule),
                (_, None) => format!("over: {}", value.rule),
                (_, Some(_)) => format!("grows again after: {}", value.rule),
            };
            match grown {
                Some(new) => (value.now, value.changed) = (new, now),
                None => {
                    state.values.remove(&setting);
                    if setting == Setting::Suspension {
                        state.probing = Some(0);
                    }
                }
            }
            changes.push(self.change(now, (setting, Some(old), grown), now, (why, String::new())));
        }
        self.note_whether_plain(&state);
        changes
    }

    fn note_whether_plain(&self, state: &State) {
        self.differs.store(!state.values.is_empty() || state.probing.is_some(), Ordering::Relaxed);
    }

    fn change(
        &self,
        at: DateTime<Utc>,
        (setting, old, new): (Setting, Option<u32>, Option<u32>),
        until: DateTime<Utc>,
        (rule, reply): (String, String),
    ) -> Change {
        let (binding, site) = (Arc::clone(&self.binding), Arc::clone(&self.site));
        Change { at, binding, site, setting, old, new, until, rule, reply }
    }
}

impl State {
    /// Counts a hit; whether there are enough of them in the rule's span.
    fn is_hit(&mut self, at: usize, rule: &DeliveryRule, now: DateTime<Utc>) -> bool {
        let hits = self.hits.entry(at).or_default();
        let since = now - delta(rule.within.duration());
        hits.retain(|hit| *hit > since);
        hits.push_back(now);
        let enough = hits.len() >= rule.count as usize;
        if enough {
            hits.clear();
        }
        enough
    }
}

impl Value {
    /// One step up; `None` when that is as good as the configuration.
    fn grown(&self) -> Option<u32> {
        let goal = if self.configured == 0 { UNLIMITED } else { self.configured };
        let step = if self.configured == 0 { self.now } else { self.configured / 10 };
        let new = self.now.saturating_add(step.max(1)).max(self.least);
        (new < goal).then_some(new)
    }
}

/// What stands for no limit where it must be halved, and where growth towards no limit ends.
const UNLIMITED: u32 = 36_000;
/// Messages that must go well until a probe is over, and that a probing connection carries.
const PROBE: u32 = 3;
/// A value is lowered at most once in this span.
const HINT: TimeDelta = TimeDelta::seconds(60);
/// A value grows at most once in this span.
const STEP: TimeDelta = TimeDelta::minutes(5);

#[cfg(test)]
mod tests {
    use posthorn_config::DeliveryPhase;
    use posthorn_smtp::Reply;

    use super::*;
    use crate::outcome::shown;

    const CONFIGURED: Configured = Configured { connections: 20, messages: 100, per_hour: 0 };

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000, 0).expect("a time") + TimeDelta::minutes(minutes)
    }

    fn adaptive(host: &str) -> (Adaptive, Arc<Tuned>) {
        let adaptive = Adaptive::new(built_in().expect("sound"));
        let tuned = adaptive.tuned(&"default".into(), &host.into(), &[host.to_owned()], CONFIGURED);
        (adaptive, tuned)
    }

    fn heard<'a>(phase: DeliveryPhase, reply: &'a Reply, text: &'a str) -> Heard<'a> {
        Heard { phase, reply, text, domain: "example.com", tried: false, repeated: false }
    }

    fn say(tuned: &Tuned, reply: &Reply, now: DateTime<Utc>) -> Vec<Change> {
        let text = shown(reply);
        tuned.heard(heard(DeliveryPhase::Greeting, reply, &text), CONFIGURED, now)
    }

    #[test]
    fn connections_are_halved_once_a_minute_and_grow_again() {
        let (adaptive, tuned) = adaptive("mx.example.net");
        let busy = Reply::plain(421, "too many connections");
        let changes = say(&tuned, &busy, at(0));
        assert_eq!((changes[0].old, changes[0].new, changes[0].until), (None, Some(10), at(30)));
        assert_eq!(say(&tuned, &busy, at(0)), [], "the same hint");
        assert_eq!(say(&tuned, &busy, at(2))[0].new, Some(5));
        assert_eq!(tuned.holding(at(2)).connections, Some(5));
        assert_eq!(adaptive.pass(at(31)), [], "it holds");
        let mut values = Vec::new();
        for minute in 32..200 {
            values.extend(adaptive.pass(at(minute)).into_iter().map(|change| (minute, change.new)));
        }
        assert_eq!(values[..3], [(32, Some(7)), (37, Some(9)), (42, Some(11))]);
        assert_eq!(values.last(), Some(&(67, None)));
        assert!(tuned.is_plain());
        for minute in (300..400).step_by(2) {
            say(&tuned, &busy, at(minute));
        }
        assert_eq!(tuned.holding(at(400)).connections, Some(1), "never none");
    }

    #[test]
    fn a_suspension_ends_with_a_probe() {
        let (adaptive, tuned) = adaptive("mta5.am0.yahoodns.net");
        let reply = Reply::new(421, 7, 0, "[TSS04] temporarily deferred");
        let changes = say(&tuned, &reply, at(0));
        assert_eq!((changes[0].setting, changes[0].until), (Setting::Suspension, at(240)));
        assert_eq!(tuned.holding(at(1)).suspended_until, Some(at(240)));
        assert_eq!(adaptive.pass(at(239)), []);
        assert_eq!(adaptive.pass(at(240))[0].new, None);
        assert_eq!(
            tuned.holding(at(240)),
            Holding { connections: Some(1), messages: Some(3), per_hour: None, suspended_until: None }
        );
        assert_eq!(say(&tuned, &reply, at(241)).len(), 1, "the probe is told to go away: suspended again");
        assert_eq!(adaptive.pass(at(700)).len(), 1);
        (0..3).for_each(|_| tuned.went_well());
        assert!(tuned.is_plain());
    }

    #[test]
    fn values_survive_a_restart() {
        let (first, tuned) = adaptive("gmail-smtp-in.l.google.com");
        let change = say(&tuned, &Reply::new(421, 7, 28, "unusual rate of mail"), at(0)).remove(0);
        assert_eq!((change.setting, change.new), (Setting::Rate, Some(600)));
        assert_eq!(Setting::parse(change.setting.word()), Some(Setting::Rate));
        drop(first);
        let second = Adaptive::new(built_in().expect("sound"));
        second.resume(&change);
        let hosts = ["gmail-smtp-in.l.google.com".to_owned()];
        let tuned = second.tuned(&change.binding, &change.site, &hosts, CONFIGURED);
        assert_eq!(tuned.holding(at(1)).per_hour, Some(600));
        assert_eq!(say(&tuned, &Reply::new(421, 7, 28, "unusual rate of mail"), at(5))[0].new, Some(300));
        second.tidy();
        assert_eq!(second.sites.lock().len(), 1);
    }

    #[test]
    fn several_hits_may_be_needed() {
        let (_, tuned) = adaptive("mxs.mail.ru");
        let spam = Reply::plain(550, "spam message rejected");
        assert!((0..9).all(|minute| say(&tuned, &spam, at(minute)).is_empty()));
        assert_eq!(say(&tuned, &spam, at(9))[0].setting, Setting::Suspension);
        let (_, tuned) = adaptive("mxs.mail.ru");
        assert!((0..40).all(|turn| say(&tuned, &spam, at(turn * 2)).is_empty()), "too slow to matter");
    }

    #[test]
    fn a_site_that_refuses_everything_is_left_alone() {
        let (adaptive, tuned) = adaptive("mx.example.net");
        let busy = Reply::new(451, 3, 2, "not now");
        let text = shown(&busy);
        let hear = |phase, tried, repeated, minute| {
            let one = Heard { tried, repeated, ..heard(phase, &busy, &text) };
            tuned.heard(one, CONFIGURED, at(minute))
        };
        for minute in 0..19 {
            assert_eq!(hear(DeliveryPhase::Mail, false, false, minute), [], "{minute}");
            assert_eq!(hear(DeliveryPhase::Mail, false, true, minute), [], "the same transaction");
        }
        // One that is taken halves what was counted: ten in nine.
        tuned.went_well();
        assert!((19..29).all(|minute| hear(DeliveryPhase::Body, true, false, minute).is_empty()));
        let changes = hear(DeliveryPhase::Body, true, false, 29);
        assert_eq!((changes[0].setting, changes[0].until), (Setting::Suspension, at(44)));
        assert_eq!(adaptive.pass(at(44)).len(), 1);
        assert_eq!(hear(DeliveryPhase::Mail, false, false, 45).len(), 1, "a probe needs to be told once");
        assert_eq!(adaptive.pass(at(60)).len(), 1);
        (0..3).for_each(|_| tuned.went_well());
        assert!(tuned.is_plain());
    }

    #[test]
    fn greylisting_and_mailboxes_say_nothing_about_the_site() {
        let (_, tuned) = adaptive("mx.example.net");
        let grey = Reply::new(451, 7, 1, "come later");
        let full = Reply::new(452, 2, 2, "no room");
        let lost = Reply::new(451, 4, 2, "gone");
        for minute in 0..200 {
            for (phase, reply, tried) in [
                (DeliveryPhase::Rcpt, &grey, false),
                (DeliveryPhase::Body, &grey, false),
                (DeliveryPhase::Rcpt, &full, true),
                (DeliveryPhase::Connect, &grey, true),
                (DeliveryPhase::Mail, &lost, true),
            ] {
                let text = shown(reply);
                let one = Heard { tried, ..heard(phase, reply, &text) };
                assert_eq!(tuned.heard(one, CONFIGURED, at(minute)), [], "{phase:?} {text}");
            }
        }
    }

    #[test]
    fn greylisting_sets_the_wait() {
        let (adaptive, tuned) = adaptive("mx.example.net");
        assert_eq!(tuned.asked_to_wait(at(0)), None);
        say(&tuned, &Reply::new(451, 7, 1, "Greylisted, try again"), at(0));
        assert_eq!(tuned.asked_to_wait(at(1)), Some(Duration::from_secs(330)));
        assert_eq!(adaptive.pass(at(61)).len(), 1);
        assert_eq!(tuned.asked_to_wait(at(61)), None);
    }
}
