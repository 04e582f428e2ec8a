//! One account that sessions look at.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use posthorn_model::{AccountId, Keywords, MailboxId, ModSeq, NumberSet};
use posthorn_store::changes::{self, Change, Kind};
use posthorn_store::memberships::{self, Membership};
use posthorn_store::states::{self, State};
use posthorn_store::{Store, mailboxes};
use tokio::sync::watch;

use super::mailbox::LiveMailbox;
use crate::Result;

/// The live state of one account: how far it has read the change log, and the mailboxes that are loaded.
pub struct LiveAccount {
    store: Store,
    id: AccountId,
    /// How far the change log was applied.
    modseq: AtomicU64,
    keywords: RwLock<Arc<Keywords>>,
    has_quota: AtomicBool,
    mailboxes: Mutex<HashMap<MailboxId, Held>>,
    /// One reader of the change log at a time; the others find their work done.
    reading: tokio::sync::Mutex<()>,
    changed: watch::Sender<ModSeq>,
    gone: AtomicBool,
}

struct Held {
    mailbox: Arc<LiveMailbox>,
    used: Instant,
}

impl LiveAccount {
    pub(super) fn new(store: Store, id: AccountId, state: State) -> Self {
        Self {
            store,
            id,
            modseq: AtomicU64::new(state.modseq),
            has_quota: AtomicBool::new(state.has_quota()),
            keywords: RwLock::new(Arc::new(state.keywords)),
            mailboxes: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            changed: watch::Sender::new(state.modseq),
            gone: AtomicBool::new(false),
        }
    }

    /// Whose this is.
    #[must_use]
    pub fn id(&self) -> AccountId {
        self.id
    }

    /// Wakes when something in the account changed.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<ModSeq> {
        self.changed.subscribe()
    }

    /// Whether the account was removed.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// The account was removed: whoever works in it is told.
    pub(super) fn vanish(&self) {
        self.gone.store(true, Ordering::Release);
        self.changed.send_modify(|_| {});
    }

    /// Whether some session wants to be told of changes.
    pub(super) fn is_watched(&self) -> bool {
        self.changed.receiver_count() > 0
    }

    /// The account's keywords as last read or written.
    #[must_use]
    pub fn keywords(&self) -> Arc<Keywords> {
        Arc::clone(&self.keywords.read())
    }

    /// Whether the account's space is limited.
    #[must_use]
    pub fn has_quota(&self) -> bool {
        self.has_quota.load(Ordering::Relaxed)
    }

    /// Reads keywords and limits anew.
    pub(crate) async fn reread(&self) -> Result<()> {
        let mut connection = self.store.acquire().await?;
        if let Some(state) = states::read(&mut connection, self.id).await? {
            self.has_quota.store(state.has_quota(), Ordering::Relaxed);
            self.set_keywords(state.keywords);
        }
        Ok(())
    }

    /// The mailbox with all its messages; loaded when nobody looked at it lately. `None` when there is none.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn mailbox(&self, id: MailboxId) -> Result<Option<Arc<LiveMailbox>>> {
        self.refresh().await?;
        if let Some(held) = self.mailboxes.lock().get_mut(&id) {
            held.used = Instant::now();
            return Ok(Some(Arc::clone(&held.mailbox)));
        }
        let _one_at_a_time = self.reading.lock().await;
        if let Some(held) = self.mailboxes.lock().get(&id) {
            return Ok(Some(Arc::clone(&held.mailbox)));
        }
        // What is committed while this reads has a modseq above ours, so the next refresh applies it again, which
        // changes nothing.
        let mut connection = self.store.acquire().await?;
        let Some(row) = mailboxes::read(&mut connection, self.id, id).await? else { return Ok(None) };
        let messages = memberships::from(&mut connection, self.id, id, 1).await?;
        drop(connection);
        let mailbox = Arc::new(LiveMailbox::new(&row, messages, self.modseq.load(Ordering::Acquire)));
        self.mailboxes.lock().insert(id, Held { mailbox: Arc::clone(&mailbox), used: Instant::now() });
        Ok(Some(mailbox))
    }

    /// Reads the change log from where we are and applies it to the mailboxes that are loaded.
    ///
    /// # Errors
    /// When the store cannot be read; sessions keep what they have.
    pub async fn refresh(&self) -> Result<()> {
        self.refresh_to(ModSeq::MAX).await
    }

    /// The same, unless the log was applied up to `wanted` already, as by another session of the same commit.
    pub(super) async fn refresh_to(&self, wanted: ModSeq) -> Result<()> {
        let _one_at_a_time = self.reading.lock().await;
        let from = self.modseq.load(Ordering::Acquire);
        if from >= wanted {
            return Ok(());
        }
        let mut connection = self.store.acquire().await?;
        let changes = changes::since(&mut connection, self.id, from).await?;
        if changes.is_empty() {
            // Somebody said that there was something: the account may be gone with its log.
            if wanted != ModSeq::MAX && states::read(&mut connection, self.id).await?.is_none() {
                self.vanish();
            }
            return Ok(());
        }
        let loaded: Vec<(MailboxId, Arc<LiveMailbox>)> =
            self.mailboxes.lock().iter().map(|(id, held)| (*id, Arc::clone(&held.mailbox))).collect();
        let last = changes.last().map_or(from, |change| change.modseq);
        let rows = self.rows(&mut connection, &loaded, &changes).await?;
        for ((id, mailbox), rows) in loaded.iter().zip(rows) {
            let of: Vec<&Change> = changes.iter().filter(|change| change.mailbox == *id).collect();
            if of.iter().any(|change| change.kind == Kind::Mailbox)
                && mailboxes::read(&mut connection, self.id, *id).await?.is_none()
            {
                mailbox.vanish(last);
                self.mailboxes.lock().remove(id);
            }
            if !of.is_empty() {
                mailbox.apply(&of, rows, last);
            }
        }
        if changes.iter().any(adds_rows)
            && let Some(state) = states::read(&mut connection, self.id).await?
        {
            self.set_keywords(state.keywords);
        }
        drop(connection);
        self.advance(last);
        Ok(())
    }

    /// For each loaded mailbox the present rows of what was added or flagged.
    async fn rows(
        &self,
        connection: &mut posthorn_store::Connection,
        loaded: &[(MailboxId, Arc<LiveMailbox>)],
        changes: &[Change],
    ) -> Result<Vec<Vec<Membership>>> {
        let mut all = Vec::with_capacity(loaded.len());
        for (id, _) in loaded {
            let mut uids = NumberSet::new();
            for change in changes.iter().filter(|change| change.mailbox == *id && adds_rows(change)) {
                change.uids.ranges().for_each(|range| uids.insert_range(range));
            }
            all.push(match uids.is_empty() {
                true => Vec::new(),
                false => memberships::among(connection, self.id, *id, &uids).await?,
            });
        }
        Ok(all)
    }

    /// Applies what this process itself just committed, without reading it back, when nothing came in between;
    /// otherwise reads the change log.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn committed(&self, changes: &[Change], rows: &[(MailboxId, Vec<Membership>)]) -> Result<()> {
        let Some(modseq) = changes.first().map(|change| change.modseq) else { return Ok(()) };
        {
            let _one_at_a_time = self.reading.lock().await;
            let at = self.modseq.load(Ordering::Acquire);
            if modseq <= at {
                return Ok(());
            }
            if modseq == at + 1 {
                for (id, held) in self.mailboxes.lock().iter() {
                    let of: Vec<&Change> = changes.iter().filter(|change| change.mailbox == *id).collect();
                    let rows = rows.iter().filter(|(of, _)| of == id).flat_map(|(_, rows)| rows.iter().copied());
                    if !of.is_empty() {
                        held.mailbox.apply(&of, rows.collect(), modseq);
                    }
                }
                self.advance(modseq);
                return Ok(());
            }
        }
        self.refresh().await
    }

    /// Keywords are only ever added, so a shorter list is an older one, read before another session's commit.
    pub(crate) fn set_keywords(&self, keywords: Keywords) {
        let mut known = self.keywords.write();
        if keywords.names().len() > known.names().len() {
            *known = Arc::new(keywords);
        }
    }

    pub(super) fn sweep(&self, linger: Duration) {
        self.mailboxes.lock().retain(|_, held| Arc::strong_count(&held.mailbox) > 1 || held.used.elapsed() < linger);
    }

    fn advance(&self, modseq: ModSeq) {
        self.modseq.fetch_max(modseq, Ordering::AcqRel);
        self.changed.send_replace(modseq);
    }
}

fn adds_rows(change: &Change) -> bool {
    matches!(change.kind, Kind::Added | Kind::Flagged)
}
