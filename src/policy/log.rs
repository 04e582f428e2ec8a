//! The log of decisions, by which people find out why something was refused: kept in memory for a moment, then written
//! behind. When decisions come faster than they can be written, some are left out and counted.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use posthorn_config::{DecisionsKept, PolicyDecisions};
use posthorn_model::policy::Action;
use posthorn_store::policy::decisions::{self, DecisionRow};
use posthorn_store::{Connection, Result};

use crate::facts::Facts;

/// Decisions that wait to be written, and those of one statement.
const WAITING: usize = 20_000;
const BATCH: usize = 1000;

/// The log.
pub(crate) struct Log {
    kept: DecisionsKept,
    waiting: Mutex<Vec<DecisionRow>>,
    dropped: AtomicU64,
}

impl Log {
    pub(crate) fn new(settings: &PolicyDecisions) -> Self {
        Self { kept: settings.keep, waiting: Mutex::default(), dropped: AtomicU64::new(0) }
    }

    /// Notes what was decided by which rule and why; never waits.
    pub(crate) fn note(&self, facts: &Facts<'_>, action: &Action, rule: &str, why: &str) {
        let wanted = match self.kept {
            DecisionsKept::None => false,
            DecisionsKept::Acted => {
                let harmless = matches!(action, Action::Bcc(_) | Action::Info(_) | Action::Prepend { .. });
                !harmless && !matches!(action, Action::Dunno | Action::Ok)
            }
            DecisionsKept::All => true,
        };
        if !wanted || facts.dry {
            return;
        }
        if self.waiting.lock().len() >= WAITING {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let row = row(facts, action, rule, why);
        self.waiting.lock().push(row);
    }

    /// Writes what waits. What cannot be written stays, as far as there is room.
    pub(crate) async fn flush(&self, connection: &mut Connection) -> Result<()> {
        // What comes meanwhile waits for the next time.
        let mut left = self.waiting.lock().len();
        while left > 0 {
            let mut rows = {
                let mut waiting = self.waiting.lock();
                let some = waiting.len().min(BATCH);
                waiting.drain(..some).collect::<Vec<_>>()
            };
            if rows.is_empty() {
                break;
            }
            left = left.saturating_sub(rows.len());
            let Err(error) = decisions::write(connection, &rows).await else { continue };
            if error.is_lost_connection() {
                let mut waiting = self.waiting.lock();
                rows.append(&mut waiting);
                rows.truncate(WAITING);
                *waiting = rows;
                return Err(error);
            }
            // One that the database does not take must not keep the others; and the partition of a day may just have
            // come between a row and its place.
            for row in rows.chunks(1) {
                if let Err(error) = decisions::write(connection, row).await {
                    tracing::warn!(%error, "a decision was not written down");
                }
            }
        }
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(
                decisions = dropped,
                "decisions are missing in the log: they came faster than they are written"
            );
        }
        Ok(())
    }
}

fn row(facts: &Facts<'_>, action: &Action, rule: &str, why: &str) -> DecisionRow {
    let inquiry = facts.inquiry;
    let mut recipients: Vec<String> = inquiry.recipient.iter().cloned().collect();
    if recipients.is_empty() {
        recipients.extend(inquiry.recipients.iter().take(RECIPIENTS).cloned());
    }
    DecisionRow {
        at: facts.now,
        stage: inquiry.stage.name().to_owned(),
        client: facts.client().map(|client| client.to_string()).unwrap_or_default(),
        client_name: inquiry.client.name.clone().or_else(|| inquiry.client.reverse_name.clone()),
        helo: inquiry.helo.clone(),
        sender: inquiry.sender.clone(),
        recipients,
        login: facts.login().map(str::to_owned),
        tls: inquiry.encryption.as_ref().map(|tls| format!("{} {}", tls.protocol, tls.cipher)),
        instance: inquiry.instance.clone(),
        action: action.to_string(),
        rule: rule.to_owned(),
        why: why.to_owned(),
    }
}

/// Recipients of one decision about several.
const RECIPIENTS: usize = 50;
