//! When a delivery is tried again, when its sender is told of the delay, and when we give up.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use posthorn_config::QueuePolicy;
use posthorn_mail::queue::Outgoing;
use posthorn_model::ByMode;

/// What follows an attempt that came to nothing yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Next {
    /// Another attempt then.
    At(DateTime<Utc>),
    /// The time is up.
    Expired,
}

/// What follows the attempt that just ended, with which there were `attempts`; `chance` is from 0 to 1. The last one
/// is made when the time is up, however long the wait would be.
pub(crate) fn next(policy: &QueuePolicy, attempts: u32, now: DateTime<Utc>, end: DateTime<Utc>, chance: f64) -> Next {
    if now >= end {
        return Next::Expired;
    }
    let wait = policy.varied(attempts, chance).max(SHORTEST);
    Next::At((now + delta(wait)).min(end))
}

/// When what may not be tried now is looked at again. The end of its life is a time to look as well, but what is over
/// already waits as long as the rest: nothing expires without a last attempt.
pub(crate) fn put_off(until: DateTime<Utc>, now: DateTime<Utc>, end: DateTime<Utc>) -> DateTime<Utc> {
    if end > now { until.min(end) } else { until }
}

/// The end of a message's life: its expiry, or the moment by which it was to be returned (RFC 2852 §4). An operator may
/// have shortened the time for a destination.
pub(crate) fn end_of(outgoing: &Outgoing, expire: Option<Duration>) -> DateTime<Utc> {
    let mut end = outgoing.expires_at;
    if let Some(expire) = expire {
        end = end.min(outgoing.accepted_at + delta(expire));
    }
    match outgoing.deliver_by {
        Some((by, ByMode::Return)) => end.min(by),
        _ => end,
    }
}

/// When the sender is to be told that the message is late (RFC 2852 §4).
pub(crate) fn told_at(outgoing: &Outgoing) -> Option<DateTime<Utc>> {
    outgoing.deliver_by.and_then(|(by, mode)| (mode == ByMode::Notify).then_some(by))
}

/// A span as chrono counts it; absurdly long ones are cut to a century.
pub(crate) fn delta(span: Duration) -> TimeDelta {
    TimeDelta::from_std(span.min(Duration::from_secs(100 * 365 * 86_400))).unwrap_or(TimeDelta::MAX)
}

/// Nothing is tried again at once.
const SHORTEST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use posthorn_config::{Queue, QueuePolicies};

    use super::*;

    #[test]
    fn a_last_attempt_is_made_at_the_end() {
        let policies = QueuePolicies::new(&Queue::default());
        let policy = policies.of(None);
        let start = DateTime::from_timestamp(1_700_000_000, 0).expect("a time");
        let end = start + TimeDelta::days(5);
        let (mut now, mut attempts) = (start, 0);
        let mut waits = Vec::new();
        loop {
            attempts += 1;
            match next(policy, attempts, now, end, 0.5) {
                Next::At(due) => {
                    waits.push((due - now).num_minutes());
                    now = due;
                }
                Next::Expired => break,
            }
        }
        assert_eq!(waits[..8], [20, 40, 80, 160, 320, 640, 720, 720]);
        assert_eq!((now, attempts), (end, 16));
    }

    #[test]
    fn what_is_put_off_beyond_its_end_does_not_turn_in_a_circle() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).expect("a time");
        let until = now + TimeDelta::minutes(10);
        assert_eq!(put_off(until, now, now + TimeDelta::minutes(1)), now + TimeDelta::minutes(1));
        for end in [now, now - TimeDelta::days(1), now + TimeDelta::days(1)] {
            assert_eq!(put_off(until, now, end), until);
        }
    }

    #[test]
    fn waits_are_never_nothing() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).expect("a time");
        let policies = QueuePolicies::new(&Queue::default());
        let mut policy = policies.of(None).clone();
        policy.retry_first = posthorn_config::Span::from_secs(0);
        policy.retry_most = policy.retry_first;
        assert_eq!(next(&policy, 1, now, now + TimeDelta::days(1), 0.0), Next::At(now + TimeDelta::seconds(1)));
    }
}
