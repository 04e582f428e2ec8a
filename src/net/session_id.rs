//! A session's name in logs, traces and Received headers.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Identifies a session across restarts: the second of the process's start, then a counter. Written as 13 letters
/// and digits (Crockford's base 32, lower case), in order of creation.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionId(pub u64);

impl SessionId {
    /// The next id of this process.
    #[must_use]
    pub fn next() -> Self {
        static BASE: OnceLock<u64> = OnceLock::new();
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let base = *BASE.get_or_init(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            since.as_secs().saturating_sub(EPOCH) << COUNTER_BITS
        });
        Self(base.wrapping_add(COUNTER.fetch_add(1, Ordering::Relaxed)))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; 13];
        for (place, letter) in text.iter_mut().rev().enumerate() {
            *letter = ALPHABET[(self.0 >> (5 * place)) as usize & 31];
        }
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 2024-01-01T00:00:00Z, so that 32 bits of seconds last for a century beside the counter.
const EPOCH: u64 = 1_704_067_200;
const COUNTER_BITS: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_short_and_sorts_like_the_number() {
        assert_eq!(SessionId(0).to_string(), "0000000000000");
        assert_eq!(SessionId(u64::MAX).to_string(), "fzzzzzzzzzzzz");
        assert!(SessionId(31).to_string() < SessionId(32).to_string());
        let (one, two) = (SessionId::next(), SessionId::next());
        assert!(one < two && one.to_string() < two.to_string());
    }
}
