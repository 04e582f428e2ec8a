//! How long a message may wait for the answers to its questions, by how the ones before it fared.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// What is thought of somebody who is asked.
#[derive(Debug)]
pub(crate) struct Patience {
    /// For all questions about one message, while nothing speaks against it.
    time: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When a message last had to go without answers, while no answer has come since then.
    unanswered: Option<Instant>,
    /// Until when a message waits longer than the others, to find out.
    tried_until: Option<Instant>,
}

/// How a message fared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fared {
    /// Nobody had to be waited for: what was asked is remembered.
    Unasked,
    /// What was waited for came.
    Answered,
    /// The time was over before everything had come.
    Unanswered,
}

/// How long somebody who did not answer is not waited for.
const DOUBT: Duration = Duration::from_secs(10);

impl Patience {
    pub(crate) fn new(time: Duration) -> Self {
        Self { time, state: Mutex::default() }
    }

    /// The time for a message's questions. While nobody answers, one at a time waits a tenth, and the crowd beside it a
    /// hundredth: enough for what is remembered.
    pub(crate) fn time(&self, now: Instant) -> Duration {
        let mut state = self.state.lock();
        if state.unanswered.is_none_or(|last| now.duration_since(last) >= DOUBT) {
            return self.time;
        }
        if state.tried_until.is_some_and(|until| now < until) {
            return self.time / 100;
        }
        let time = self.time / 10;
        state.tried_until = Some(now + time);
        time
    }

    /// Says how a message fared.
    pub(crate) fn learn(&self, fared: Fared, now: Instant) {
        let mut state = self.state.lock();
        match fared {
            Fared::Unasked => {}
            Fared::Answered => *state = State::default(),
            Fared::Unanswered => state.unanswered = Some(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tries_while_the_others_go_on() {
        let (patience, now) = (Patience::new(Duration::from_secs(10)), Instant::now());
        let at = |milliseconds| now + Duration::from_millis(milliseconds);
        assert_eq!(patience.time(now), Duration::from_secs(10));
        patience.learn(Fared::Unanswered, at(10_000));
        let wait = |milliseconds| patience.time(at(milliseconds)).as_millis();
        assert_eq!([wait(10_001), wait(10_002), wait(11_000), wait(11_001), wait(11_002)], [1000, 100, 100, 1000, 100]);
        patience.learn(Fared::Unasked, at(11_003));
        assert_eq!(wait(11_004), 100, "what is remembered says nothing of who is asked");
        patience.learn(Fared::Unanswered, at(12_000));
        patience.learn(Fared::Answered, at(12_001));
        assert_eq!(wait(12_002), 10_000);
        patience.learn(Fared::Unanswered, at(20_000));
        assert_eq!(wait(30_000), 10_000, "for a while only");
    }
}
