//! Rates and places, shared by name: a limit that was written once is one bucket, whoever inherits it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;

/// All limits in force, by the name of the scope that wrote them.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    rates: Mutex<HashMap<Arc<str>, Arc<Rate>>>,
    places: Mutex<HashMap<Arc<str>, Arc<Places>>>,
}

impl Limits {
    /// The rate of that name, at `count` per `period`; a name met again takes the new pace and keeps what was used.
    pub(crate) fn rate(&self, name: &str, count: u32, period: Duration) -> Arc<Rate> {
        let mut rates = self.rates.lock();
        if let Some(known) = rates.get(name) {
            known.set(count, period);
            return Arc::clone(known);
        }
        let rate = Arc::new(Rate::new(count, period));
        rates.insert(name.into(), Arc::clone(&rate));
        rate
    }

    /// The places of that name, of which there are `most`.
    pub(crate) fn places(&self, name: &str, most: usize) -> Arc<Places> {
        let mut all = self.places.lock();
        if let Some(known) = all.get(name) {
            known.state.lock().most = most;
            return Arc::clone(known);
        }
        let places = Arc::new(Places::new(most));
        all.insert(name.into(), Arc::clone(&places));
        places
    }

    /// Forgets limits that nobody holds and that are as good as new.
    pub(crate) fn tidy(&self, now: DateTime<Utc>) {
        self.rates.lock().retain(|_, rate| Arc::strong_count(rate) > 1 || !rate.is_full(now));
        self.places.lock().retain(|_, places| Arc::strong_count(places) > 1);
    }
}

/// A token bucket.
#[derive(Debug)]
pub(crate) struct Rate(Mutex<Bucket>);

#[derive(Debug)]
struct Bucket {
    per_second: f64,
    /// What may go at once after a pause.
    burst: f64,
    tokens: f64,
    at: Option<DateTime<Utc>>,
}

impl Rate {
    fn new(count: u32, period: Duration) -> Self {
        let rate = Self(Mutex::new(Bucket { per_second: 1.0, burst: 1.0, tokens: 0.0, at: None }));
        rate.set(count, period);
        let mut bucket = rate.0.lock();
        bucket.tokens = bucket.burst;
        drop(bucket);
        rate
    }

    fn set(&self, count: u32, period: Duration) {
        let mut bucket = self.0.lock();
        let count = f64::from(count.max(1));
        bucket.per_second = count / period.as_secs_f64().max(0.001);
        // A tenth of a second's or a minute's worth of an hour may go at once, so that no window of the period holds
        // much more than the limit says.
        bucket.burst = (count / if period > Duration::from_secs(1) { 60.0 } else { 10.0 }).max(1.0);
        bucket.tokens = bucket.tokens.min(bucket.burst);
    }

    /// Takes one.
    ///
    /// # Errors
    /// When the next one is there.
    pub(crate) fn take(&self, now: DateTime<Utc>) -> Result<(), DateTime<Utc>> {
        let mut bucket = self.0.lock();
        bucket.refill(now);
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        let missing = (1.0 - bucket.tokens) / bucket.per_second;
        Err(now + TimeDelta::microseconds((missing * 1e6).ceil().min(1e13) as i64))
    }

    /// Gives one back that was not used.
    pub(crate) fn give_back(&self) {
        let mut bucket = self.0.lock();
        bucket.tokens = (bucket.tokens + 1.0).min(bucket.burst);
    }

    fn is_full(&self, now: DateTime<Utc>) -> bool {
        let mut bucket = self.0.lock();
        bucket.refill(now);
        bucket.tokens >= bucket.burst
    }
}

impl Bucket {
    fn refill(&mut self, now: DateTime<Utc>) {
        // A clock that was set back gives nothing and takes nothing.
        let passed = self.at.replace(now).map_or(0.0, |at| (now - at).as_seconds_f64().max(0.0));
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst);
    }
}

/// Takes one of each, or of none.
///
/// # Errors
/// When trying again makes sense.
pub(crate) fn take_all<'a>(
    rates: impl Iterator<Item = &'a Arc<Rate>> + Clone,
    now: DateTime<Utc>,
) -> Result<(), DateTime<Utc>> {
    for (at, rate) in rates.clone().enumerate() {
        if let Err(when) = rate.take(now) {
            rates.take(at).for_each(|taken| taken.give_back());
            return Err(when);
        }
    }
    Ok(())
}

/// A bounded number of something that is held for a while, such as connections.
#[derive(Debug)]
pub(crate) struct Places {
    state: Mutex<Taken>,
}

#[derive(Debug)]
struct Taken {
    used: usize,
    most: usize,
    waiting: Vec<Weak<dyn Spur>>,
}

/// Who waits for a place.
pub(crate) trait Spur: std::fmt::Debug + Send + Sync {
    /// A place is free: try again.
    fn spur(self: Arc<Self>);
}

/// A place, free again when dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Places>);

impl Places {
    fn new(most: usize) -> Self {
        Self { state: Mutex::new(Taken { used: 0, most, waiting: Vec::new() }) }
    }

    /// How many are taken.
    pub(crate) fn used(&self) -> usize {
        self.state.lock().used
    }

    /// Whether there is a place at the moment.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.state.lock();
        state.used < state.most
    }

    /// A place, unless all are taken; `waiter` is then spurred when one is free.
    pub(crate) fn take(self: &Arc<Self>, waiter: Weak<dyn Spur>) -> Option<Place> {
        let mut state = self.state.lock();
        if state.used < state.most {
            state.used += 1;
            return Some(Place(Arc::clone(self)));
        }
        if !state.waiting.iter().any(|known| Weak::ptr_eq(known, &waiter)) {
            state.waiting.push(waiter);
        }
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.0.state.lock();
            state.used -= 1;
            if state.used < state.most { std::mem::take(&mut state.waiting) } else { Vec::new() }
        };
        waiting.into_iter().filter_map(|one| one.upgrade()).for_each(Spur::spur);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn at(millis: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_700_000_000_000 + millis).expect("a time")
    }

    #[test]
    fn a_rate_is_kept_over_time() {
        let rate = Rate::new(10, Duration::from_secs(1));
        let sent = (0..10_000).filter(|millis| rate.take(at(*millis)).is_ok()).count();
        assert!((100..=101).contains(&sent), "{sent}");
        let _rest = rate.take(at(10_000));
        let when = rate.take(at(10_000)).expect_err("used up");
        assert!(when > at(10_000) && when <= at(10_101), "{when}");
        assert_eq!(rate.take(when), Ok(()));
    }

    #[test]
    fn an_hourly_rate_is_spread() {
        let rate = Rate::new(3600, Duration::from_hours(1));
        let first_minute = (0..60_000).filter(|millis| rate.take(at(*millis)).is_ok()).count();
        assert!(first_minute <= 120, "{first_minute}");
    }

    #[test]
    fn one_name_is_one_bucket() {
        let limits = Limits::default();
        let one = limits.rate("global: messages_per_second", 1, Duration::from_secs(1));
        let other = limits.rate("global: messages_per_second", 1, Duration::from_secs(1));
        assert_eq!(one.take(at(0)), Ok(()));
        assert!(other.take(at(0)).is_err());
        let own = limits.rate("binding \"a\": messages_per_second", 1, Duration::from_secs(1));
        assert!(take_all([&own, &one].into_iter(), at(0)).is_err());
        assert_eq!(own.take(at(0)), Ok(()), "what could not be used was given back");
        drop((one, other, own));
        limits.tidy(at(0));
        assert_eq!(limits.rates.lock().len(), 2);
        limits.tidy(at(2000));
        assert_eq!(limits.rates.lock().len(), 0);
    }

    #[test]
    fn a_clock_set_back_stops_nothing() {
        let rate = Rate::new(1, Duration::from_secs(1));
        assert_eq!(rate.take(at(3_600_000)), Ok(()));
        assert!(rate.take(at(0)).is_err());
        assert_eq!(rate.take(at(1000)), Ok(()));
    }

    #[derive(Debug, Default)]
    struct Counter(AtomicUsize);

    impl Spur for Counter {
        fn spur(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_waits_for_a_place_is_told_once() {
        let places = Limits::default().places("global: connections", 1);
        let waiter = Arc::new(Counter::default());
        let weak = || Arc::downgrade(&(Arc::clone(&waiter) as Arc<dyn Spur>));
        let held = places.take(weak()).expect("free");
        assert!(places.take(weak()).is_none() && places.take(weak()).is_none());
        drop(held);
        assert_eq!(waiter.0.load(Ordering::Relaxed), 1);
        assert!(places.take(weak()).is_some());
        assert_eq!(waiter.0.load(Ordering::Relaxed), 1);
    }
}
