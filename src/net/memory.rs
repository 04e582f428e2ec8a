//! The memory that this process uses, for `limits.memory`.

use std::sync::atomic::{AtomicU64, Ordering};

/// Sessions that are served whatever the memory: when so few are there, sending away more gives nothing back, and a
/// server whose own caches have passed the mark would refuse everybody for ever.
pub(crate) const ALWAYS_ADMITTED: u32 = 4;

/// MiB for sessions and messages below which a limit is worth a warning: a few logins at once take as much.
const SCANT: u64 = 64;

/// The last look at our resident memory, compared with a limit.
#[derive(Debug, Default)]
pub(crate) struct MemoryGauge {
    limit: AtomicU64,
    used: AtomicU64,
}

impl MemoryGauge {
    /// A gauge for a limit in octets; 0 is no limit.
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit: AtomicU64::new(limit), used: AtomicU64::new(0) }
    }

    /// Another limit from now on.
    pub(crate) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
        self.look();
    }

    fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Looks again; costs one small read.
    pub(crate) fn look(&self) {
        if self.limit() > 0 {
            self.used.store(resident().unwrap_or(0), Ordering::Relaxed);
        }
    }

    /// Says in the log when the limit leaves little room or none above what is in use before the first session.
    pub(crate) fn judge(&self) {
        let used = self.used.load(Ordering::Relaxed);
        let (limit, used) = (self.limit() >> 20, used.div_ceil(1 << 20));
        match limit.saturating_sub(used) {
            _ if self.limit() == 0 => {}
            0 => tracing::error!(
                "limits.memory is too small to work with: it is {limit} MiB, and {used} MiB are in use before the first \
                 session; messages will be refused for now, and no more than {ALWAYS_ADMITTED} sessions served at once"
            ),
            room if room < SCANT => tracing::warn!(
                "limits.memory is {limit} MiB, and {used} MiB are in use before the first session: large messages and \
                 further sessions will be refused for now when the {room} MiB that are left are in use"
            ),
            _ => {}
        }
    }

    /// Whether new sessions should be put off, apart from [`ALWAYS_ADMITTED`].
    pub(crate) fn is_full(&self) -> bool {
        let limit = self.limit();
        limit > 0 && self.used.load(Ordering::Relaxed) > limit
    }
}

/// The memory that this process uses at the moment, in octets; `None` where the system does not tell.
#[must_use]
pub fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_larger_than_nothing_and_smaller_than_everything() {
        let full = |limit| {
            let gauge = MemoryGauge::new(limit);
            gauge.look();
            gauge.is_full()
        };
        assert!(full(1));
        assert!(!full(u64::MAX));
        assert!(!full(0), "0 is no limit");
    }
}
