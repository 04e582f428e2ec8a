//! Answers that are still good, and questions that are being asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::rr::{Name, RecordType};
use moka::Expiry;
use moka::future::Cache;

use super::question::{Resolvers, Set};

/// Record sets by name and kind. Whoever asks for one that is being asked for waits for that answer.
#[derive(Clone, Debug)]
pub(super) struct Kept(Cache<(Name, RecordType), Arc<Set>>);

impl Kept {
    pub(super) fn new(most: u64) -> Self {
        Self(Cache::builder().max_capacity(most).expire_after(UntilExpiry).build())
    }

    pub(super) async fn get(&self, resolvers: &Resolvers, name: Name, kind: RecordType) -> Arc<Set> {
        let key = (name, kind);
        let asked = async { Arc::new(resolvers.ask(key.0.clone(), kind).await) };
        let set = self.0.get_with_by_ref(&key, asked).await;
        // The cache removes what expired in its own time.
        if set.expires > Instant::now() {
            return set;
        }
        self.0.invalidate(&key).await;
        let asked = async { Arc::new(resolvers.ask(key.0.clone(), kind).await) };
        self.0.get_with_by_ref(&key, asked).await
    }

    pub(super) fn forget(&self) {
        self.0.invalidate_all();
    }
}

struct UntilExpiry;

impl Expiry<(Name, RecordType), Arc<Set>> for UntilExpiry {
    fn expire_after_create(&self, _: &(Name, RecordType), set: &Arc<Set>, now: Instant) -> Option<Duration> {
        Some(set.expires.saturating_duration_since(now))
    }
}
