//! The Junk folders of recipients.

use std::sync::Arc;
use std::time::Duration;

use posthorn_model::{AccountId, MailboxId, SpecialUse};
use posthorn_store::mailboxes;

use crate::envelope::Envelope;
use crate::route::{Destination, Route};
use crate::{Mail, Result};

/// Folders found lately.
pub(crate) struct Junk(moka::sync::Cache<AccountId, Option<(MailboxId, String)>>);

impl Junk {
    pub(crate) fn new() -> Self {
        let lasting = Duration::from_secs(60);
        Self(moka::sync::Cache::builder().max_capacity(50_000).time_to_live(lasting).build())
    }

    pub(crate) fn forget_of(&self, account: AccountId) {
        self.0.invalidate(&account);
    }

    pub(crate) fn forget(&self) {
        self.0.invalidate_all();
    }
}

impl Mail {
    /// The envelope with every mailbox here replaced by its account's Junk folder. Who has none finds it where it
    /// would have been.
    pub(crate) async fn junked(&self, envelope: &Envelope) -> Result<Envelope> {
        let mut envelope = envelope.clone();
        envelope.terms.junk = true;
        for recipient in &mut envelope.recipients {
            recipient.route = self.junked_route(&recipient.route).await?;
        }
        Ok(envelope)
    }

    /// The same of one route.
    pub(crate) async fn junked_route(&self, route: &Arc<Route>) -> Result<Arc<Route>> {
        let Route::Local { places, onward } = &**route else { return Ok(Arc::clone(route)) };
        let mut changed = Vec::with_capacity(places.len());
        for place in places {
            changed.push(match self.junk_of(place.account).await? {
                Some((mailbox, folder)) => Destination { mailbox, folder, ..place.clone() },
                None => place.clone(),
            });
        }
        Ok(Arc::new(Route::Local { places: changed, onward: onward.clone() }))
    }

    async fn junk_of(&self, account: AccountId) -> Result<Option<(MailboxId, String)>> {
        if let Some(known) = self.shared.junk.0.get(&account) {
            return Ok(known);
        }
        let folders = mailboxes::list(&mut *self.store.acquire().await?, account).await?;
        let junk = folders.into_iter().find(|folder| folder.special_use == Some(SpecialUse::Junk));
        let found = junk.map(|folder| (folder.id, folder.name));
        self.shared.junk.0.insert(account, found.clone());
        Ok(found)
    }
}
