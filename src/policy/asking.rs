//! Questions to the DNS at a bounded price: a time for each, a number at once, and a rest for who does not answer.
//!
//! A dead server costs the first questions their time; after a few failures nobody waits for it any more, but for one
//! probe when its rest is over. Whoever is not asked is unknown, which refuses nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use posthorn_config::PolicyLookup;
use posthorn_trust::{Found, Resolver};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

/// Who asks the DNS for the rules.
pub struct Asking {
    resolver: Arc<dyn Resolver>,
    settings: PolicyLookup,
    /// For questions that are about nobody's list.
    general: Breaker,
}

/// What is known of somebody who is asked: a list, or the DNS in general.
pub struct Breaker {
    failures: AtomicU32,
    most: u32,
    rests_until: Mutex<Option<Instant>>,
    places: Semaphore,
}

/// Questions in general are about names that strangers choose: a few of them without an answer say nothing.
const STRANGERS: u32 = 10;

impl Asking {
    /// Asks a resolver, at such a price.
    #[must_use]
    pub fn new(resolver: Arc<dyn Resolver>, settings: PolicyLookup) -> Self {
        let general = Breaker::new(settings.failures.saturating_mul(STRANGERS), settings.at_once);
        Self { resolver, settings, general }
    }

    /// The resolver, for [`Self::in_time`] and [`Self::ask_list`].
    #[must_use]
    pub fn resolver(&self) -> &dyn Resolver {
        &*self.resolver
    }

    /// Something new that can fail by itself.
    #[must_use]
    pub fn breaker(&self) -> Breaker {
        Breaker::new(self.settings.failures, self.settings.at_once)
    }

    /// What questions come to, or why there was no time for them. An answer that says nothing is one: only silence counts
    /// against the DNS.
    pub(crate) async fn in_time<T>(&self, questions: impl Future<Output = T>) -> Result<T, &'static str> {
        let _place = self.general.enter(self.time())?;
        match timeout(self.time(), questions).await {
            Ok(answer) => {
                self.general.answered();
                Ok(answer)
            }
            Err(_) => {
                self.general.failed(self.settings.rest.duration());
                Err(NO_ANSWER)
            }
        }
    }

    /// The answer of a list.
    pub async fn ask_list<T>(&self, list: &Breaker, question: impl Future<Output = Found<T>>) -> Found<T> {
        let place = match list.enter(self.time()) {
            Err(why) => return Found::Later(why.to_owned()),
            Ok(place) => place,
        };
        let answer = timeout(self.time(), question).await.unwrap_or_else(|_| Found::Later(NO_ANSWER.to_owned()));
        drop(place);
        match answer {
            Found::Later(_) => list.failed(self.settings.rest.duration()),
            _ => list.answered(),
        }
        answer
    }

    fn time(&self) -> Duration {
        self.settings.time.duration()
    }
}

impl Breaker {
    fn new(most: u32, places: u32) -> Self {
        Self {
            failures: AtomicU32::new(0),
            most: most.max(1),
            rests_until: Mutex::new(None),
            places: Semaphore::new(places.max(1) as usize),
        }
    }

    /// A place to wait in, or why nobody may wait now. The first behind a rest is a probe: until its time is over, the
    /// others go on without.
    fn enter(&self, time: Duration) -> Result<SemaphorePermit<'_>, &'static str> {
        {
            let mut rests_until = self.rests_until.lock();
            if let Some(until) = *rests_until {
                let now = Instant::now();
                if now < until {
                    return Err(RESTS);
                }
                *rests_until = Some(now + time);
            }
        }
        self.places.try_acquire().map_err(|_| CROWDED)
    }

    fn answered(&self) {
        if self.failures.swap(0, Ordering::Relaxed) >= self.most {
            *self.rests_until.lock() = None;
        }
    }

    fn failed(&self, rest: Duration) {
        let failures = self.failures.load(Ordering::Relaxed).saturating_add(1);
        self.failures.store(failures, Ordering::Relaxed);
        if failures >= self.most {
            *self.rests_until.lock() = Some(Instant::now() + rest);
        }
    }
}

const NO_ANSWER: &str = "no answer in time";
const RESTS: &str = "not asked: it did not answer a moment ago";
const CROWDED: &str = "not asked: too many questions wait for it";

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::net::IpAddr;

    use posthorn_trust::resolver::Asked;

    use super::*;

    /// Nobody.
    struct Silence;

    impl Resolver for Silence {
        fn addresses<'a>(&'a self, _: &'a str) -> Asked<'a, Vec<IpAddr>> {
            Box::pin(pending())
        }

        fn addresses_of<'a>(&'a self, _: &'a str, _: bool) -> Asked<'a, Vec<IpAddr>> {
            Box::pin(pending())
        }

        fn texts<'a>(&'a self, _: &'a str) -> Asked<'a, Vec<String>> {
            Box::pin(pending())
        }

        fn exchangers<'a>(&'a self, _: &'a str) -> Asked<'a, Vec<String>> {
            Box::pin(pending())
        }

        fn names(&self, _: IpAddr) -> Asked<'_, Vec<String>> {
            Box::pin(pending())
        }
    }

    fn asking() -> Asking {
        Asking::new(Arc::new(Silence), PolicyLookup { at_once: 4, ..PolicyLookup::default() })
    }

    fn silent() -> impl Future<Output = Found<()>> {
        pending()
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_list_costs_three_times_three_seconds_and_then_nothing() {
        let asking = asking();
        let list = asking.breaker();
        let begun = Instant::now();
        for _ in 0..10_000 {
            assert!(matches!(asking.ask_list(&list, silent()).await, Found::Later(_)));
        }
        assert_eq!(begun.elapsed().as_secs(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn behind_its_rest_one_question_is_a_probe() {
        let asking = asking();
        let list = asking.breaker();
        for _ in 0..3 {
            asking.ask_list(&list, silent()).await;
        }
        tokio::time::advance(Duration::from_secs(30)).await;
        let probe = asking.ask_list(&list, async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Found::Some(())
        });
        let other = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            asking.ask_list(&list, ready(Found::Some(()))).await
        };
        let (probe, other) = tokio::join!(probe, other);
        assert_eq!((probe, other), (Found::Some(()), Found::Later(RESTS.to_owned())));
        assert_eq!(asking.ask_list(&list, ready(Found::Some(()))).await, Found::Some(()));
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_wait_at_once() {
        let asking = asking();
        let list = asking.breaker();
        let begun = Instant::now();
        let four = async {
            tokio::join!(
                asking.ask_list(&list, silent()),
                asking.ask_list(&list, silent()),
                asking.ask_list(&list, silent()),
                asking.ask_list(&list, silent())
            )
        };
        let fifth = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            (asking.ask_list(&list, ready(Found::Some(()))).await, begun.elapsed())
        };
        let (_, (fifth, waited)) = tokio::join!(four, fifth);
        assert_eq!(fifth, Found::Later(CROWDED.to_owned()));
        assert!(waited < Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_silent_names_of_strangers_stop_nobody() {
        let asking = asking();
        for _ in 0..29 {
            assert_eq!(asking.in_time(pending::<()>()).await, Err(NO_ANSWER));
        }
        assert_eq!(asking.in_time(ready(1)).await, Ok(1));
        for _ in 0..30 {
            assert_eq!(asking.in_time(pending::<()>()).await, Err(NO_ANSWER));
        }
        assert_eq!(asking.in_time(ready(1)).await, Err(RESTS));
    }
}
