//! Whether somebody waits for what becomes of a message, and whether it can still be left at that.

use std::sync::atomic::{AtomicBool, Ordering};

/// Work on a message that is dropped when its mail server hangs up, until the message is given to others: from then on it
/// is done to its end, and who was served is remembered for the time when the mail server comes again.
#[derive(Debug, Default)]
pub(crate) struct Attendance {
    giving: AtomicBool,
    left: AtomicBool,
}

impl Attendance {
    /// From here on others may get the message.
    pub(crate) fn give(&self) {
        self.giving.store(true, Ordering::Relaxed);
    }

    /// The mail server has hung up. Whether the work must go on all the same.
    pub(crate) fn leave(&self) -> bool {
        self.left.store(true, Ordering::Relaxed);
        self.giving.load(Ordering::Relaxed)
    }

    /// Whether nobody hears the answer.
    pub(crate) fn is_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }
}
