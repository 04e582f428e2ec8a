//! The mailboxes that sessions look at, kept in memory once for all of them and brought up to date from the change log.

mod account;
mod mailbox;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use posthorn_model::{AccountId, ModSeq};
use posthorn_store::{Store, states};

pub use account::LiveAccount;
pub use mailbox::{LiveMailbox, Survey, Update};

use crate::{Error, Result};

/// How long an account that nobody looks at stays in memory.
const LINGER: Duration = Duration::from_secs(300);

/// All accounts that sessions look at.
pub struct Live {
    store: Store,
    accounts: Mutex<HashMap<AccountId, Held>>,
}

struct Held {
    account: Arc<LiveAccount>,
    used: Instant,
}

impl Live {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, accounts: Mutex::default() }
    }

    /// The account's live state; made from the store when nobody looked at it lately.
    ///
    /// # Errors
    /// [`Error::NoAccount`], or when the store cannot be read.
    pub async fn account(&self, id: AccountId) -> Result<Arc<LiveAccount>> {
        if let Some(account) = self.present(id) {
            return Ok(account);
        }
        let mut connection = self.store.acquire().await?;
        let state = states::read(&mut connection, id).await?.ok_or(Error::NoAccount)?;
        drop(connection);
        let fresh = Arc::new(LiveAccount::new(self.store.clone(), id, state));
        let mut accounts = self.accounts.lock();
        let held = accounts.entry(id).or_insert(Held { account: fresh, used: Instant::now() });
        Ok(Arc::clone(&held.account))
    }

    /// Something was committed for this account, up to this modseq: whoever looks at it is told, and reads the change
    /// log. Costs nothing when nobody looks.
    pub async fn touch(&self, id: AccountId, modseq: ModSeq) {
        let Some(account) = self.watched(id) else { return };
        if let Err(error) = account.refresh_to(modseq).await {
            tracing::warn!(account.id = %id, %error, "sessions could not be told of a change");
        }
        if account.is_gone() {
            self.forget(id);
        }
    }

    /// The same, without waiting for it.
    pub fn touch_soon(&self, id: AccountId, modseq: ModSeq) {
        let Some(account) = self.watched(id) else { return };
        tokio::spawn(async move {
            if let Err(error) = account.refresh_to(modseq).await {
                tracing::warn!(account.id = %id, %error, "sessions could not be told of a change");
            }
        });
    }

    /// Limits may have changed: the accounts in memory read theirs anew.
    pub(crate) async fn reread(&self) {
        let accounts: Vec<_> = self.accounts.lock().values().map(|held| Arc::clone(&held.account)).collect();
        for account in accounts {
            if let Err(error) = account.reread().await {
                tracing::warn!(account.id = %account.id(), %error, "limits could not be read anew");
            }
        }
    }

    /// Forgets an account that was removed; its sessions are told.
    pub fn forget(&self, id: AccountId) {
        let held = self.accounts.lock().remove(&id);
        if let Some(held) = held {
            held.account.vanish();
        }
    }

    /// The accounts in memory.
    #[must_use]
    pub fn ids(&self) -> Vec<AccountId> {
        self.accounts.lock().keys().copied().collect()
    }

    /// Lets go of accounts and mailboxes that nobody looked at for a while.
    pub(crate) fn sweep(&self) {
        self.accounts.lock().retain(|_, held| {
            held.account.sweep(LINGER);
            Arc::strong_count(&held.account) > 1 || held.used.elapsed() < LINGER
        });
    }

    /// The account, if some session looks at it. One that only lingers catches up when it is looked at again.
    fn watched(&self, id: AccountId) -> Option<Arc<LiveAccount>> {
        let accounts = self.accounts.lock();
        accounts.get(&id).map(|held| &held.account).filter(|account| account.is_watched()).cloned()
    }

    fn present(&self, id: AccountId) -> Option<Arc<LiveAccount>> {
        let mut accounts = self.accounts.lock();
        let held = accounts.get_mut(&id)?;
        held.used = Instant::now();
        Some(Arc::clone(&held.account))
    }
}
