//! Time as an argument: whoever needs the hour is given a clock, so that tests can step it.

use chrono::{DateTime, Utc};

/// Tells the wall-clock time. The real one lives beside the ground crates; tests bring their own.
pub trait Clock: Send + Sync {
    /// The present moment in UTC.
    fn now(&self) -> DateTime<Utc>;
}
