//! What became of deliveries, on its way to be written down. Its bound is that of the deliveries in memory: each keeps its
//! seat until it is written.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::settle::Settled;

/// A queue with one reader.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Settled>,
    closed: bool,
}

impl Ledger {
    /// Adds what became of some deliveries.
    pub(crate) fn add(&self, mut settled: Vec<Settled>) {
        let mut state = self.state.lock();
        let was_empty = state.waiting.is_empty();
        if was_empty {
            state.waiting = settled;
        } else {
            state.waiting.append(&mut settled);
        }
        drop(state);
        if was_empty {
            self.filled.notify_one();
        }
    }

    /// Takes the first of what waits, at most `most`, after it has waited `linger` for company; `None` when nothing waits
    /// and nothing more comes.
    pub(crate) async fn take(&self, most: usize, linger: Duration) -> Option<Vec<Settled>> {
        let mut lingered = false;
        loop {
            {
                let mut state = self.state.lock();
                if state.waiting.len() > most {
                    let left = state.waiting.split_off(most);
                    return Some(std::mem::replace(&mut state.waiting, left));
                }
                let waiting = !state.waiting.is_empty();
                if waiting && (lingered || state.closed) {
                    return Some(std::mem::take(&mut state.waiting));
                }
                if state.closed {
                    return None;
                }
                lingered = waiting;
            }
            if lingered {
                sleep(linger).await;
            } else {
                self.filled.notified().await;
            }
        }
    }

    /// Nothing more comes.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::job::tests::job;
    use crate::settle::Verdict;

    #[tokio::test]
    async fn everything_comes_out_in_order_before_the_end() {
        let ledger = Ledger::default();
        let recipients = ["a@example.org", "b@example.org", "c@example.org"];
        for recipient in recipients {
            let job = job(&[recipient]);
            let outgoing = Arc::clone(&job.outgoing);
            ledger.add(job.rows.into_iter().map(|row| Settled::quiet(&outgoing, row, Verdict::Returned)).collect());
        }
        ledger.close();
        let mut seen = Vec::new();
        while let Some(some) = ledger.take(2, Duration::ZERO).await {
            assert!(some.len() <= 2);
            seen.extend(some.into_iter().map(|settled| settled.row.delivery.recipient));
        }
        assert_eq!(seen, recipients);
    }
}
