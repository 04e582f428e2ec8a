//! How many letters an address gets.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

/// More addresses than this are not remembered.
const MOST: usize = 10_000;

/// Letters by address, in the hour that began with the first.
#[derive(Debug, Default)]
pub(super) struct Ration(HashMap<String, Hour>);

#[derive(Debug)]
struct Hour {
    began: DateTime<Utc>,
    sent: u32,
    left_out: u32,
}

impl Ration {
    /// Takes a letter's share: how many were left out before it, or `None` when this one is.
    pub(super) fn take(&mut self, to: &str, now: DateTime<Utc>, per_hour: u32) -> Option<u32> {
        let is_over = |hour: &Hour| now - hour.began >= TimeDelta::hours(1);
        if self.0.len() >= MOST && !self.0.contains_key(to) {
            self.0.retain(|_, hour| !is_over(hour));
            if self.0.len() >= MOST {
                return None;
            }
        }
        let hour = self.0.entry(to.to_owned()).or_insert(Hour { began: now, sent: 0, left_out: 0 });
        if is_over(hour) {
            (hour.began, hour.sent) = (now, 0);
        }
        if hour.sent >= per_hour {
            hour.left_out = hour.left_out.saturating_add(1);
            return None;
        }
        hour.sent += 1;
        Some(std::mem::take(&mut hour.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_hour_tells_what_was_left_out() {
        let mut ration = Ration::default();
        let start = DateTime::<Utc>::UNIX_EPOCH;
        assert_eq!(ration.take("a", start, 2), Some(0));
        assert_eq!(ration.take("a", start, 2), Some(0));
        for _ in 0..3 {
            assert_eq!(ration.take("a", start + TimeDelta::minutes(59), 2), None);
        }
        assert_eq!(ration.take("b", start, 2), Some(0));
        assert_eq!(ration.take("a", start + TimeDelta::minutes(60), 2), Some(3));
        assert_eq!(ration.take("a", start + TimeDelta::minutes(61), 2), Some(0));
    }

    #[test]
    fn memory_is_bounded() {
        let mut ration = Ration::default();
        let start = DateTime::<Utc>::UNIX_EPOCH;
        for at in 0..MOST {
            assert_eq!(ration.take(&at.to_string(), start, 1), Some(0));
        }
        assert_eq!(ration.take("one more", start, 1), None);
        assert_eq!(ration.take("one more", start + TimeDelta::hours(1), 1), Some(0));
        assert_eq!(ration.0.len(), 1);
    }
}
