//! The queue of mail that leaves, for those who work it: the courier that delivers, and operators that look and order.

mod body;
mod keeping;
mod orders;
mod suspensions;
mod views;

use std::time::Duration;

use chrono::{DateTime, Utc};
use posthorn_model::{ClaimId, DeliveryId, MessageId};
use posthorn_store::queue;
use posthorn_store::writer::Parcel;

use crate::dispatch::Doubt;
use crate::report::Report;
use crate::{Mail, Result};

pub use body::{Body, Parts};
pub use orders::{Affected, Entry, HeaderFilter, Order, Selection};
pub use posthorn_store::chronicle::TraceEntry;
pub use posthorn_store::queue::{
    Claimed, Completion, CourierView, Delivery, Filter, Freed, Listener, News, Outcome, Outgoing, Wanted, Work,
};
pub use posthorn_store::sts_policies::StsPolicy;
pub use posthorn_store::tls_reports::TlsCount;
pub use posthorn_store::tunings::Tuning;
pub use suspensions::{SUSPEND, Suspended};

/// The queue; from [`Mail::queue`].
#[derive(Clone, Copy)]
pub struct Queue<'m> {
    mail: &'m Mail,
}

impl Mail {
    /// The queue of mail that leaves.
    #[must_use]
    pub fn queue(&self) -> Queue<'_> {
        Queue { mail: self }
    }
}

impl Queue<'_> {
    /// Makes this process a courier for `lease` from now, by the database's clock. The host only tells people where it is.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn enlist(&self, host: &str, lease: Duration) -> Result<ClaimId> {
        let me = self.mail.store.claim_id();
        let mut connection = self.mail.store.acquire().await?;
        queue::enlist(&mut connection, me, host, lease).await?;
        Ok(me)
    }

    /// Renews the lease to `lease` from now. `false` when it ran out and others took over: nothing more may be sent
    /// under this claim.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn renew(&self, me: ClaimId, lease: Duration) -> Result<bool> {
        let mut connection = self.mail.store.acquire().await?;
        Ok(queue::renew(&mut connection, me, lease).await?)
    }

    /// Takes deliveries out of the hands of couriers whose lease ran out.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn free_dead(&self) -> Result<Freed> {
        let mut connection = self.mail.store.acquire().await?;
        Ok(queue::free_dead(&mut connection).await?)
    }

    /// Ends as a courier; what is still in its hand is given back. Returns how many deliveries that were.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn retire(&self, me: ClaimId) -> Result<u64> {
        let mut connection = self.mail.store.acquire().await?;
        Ok(queue::retire(&mut connection, me).await?)
    }

    /// Claims what is due.
    ///
    /// # Errors
    /// When the store cannot be written. Nothing is claimed then; where the outcome of the commit is unknown, it is given
    /// back as soon as the store can be written again.
    pub async fn claim(&self, me: ClaimId, wanted: &Wanted<'_>) -> Result<Claimed> {
        self.mail.give_back().await?;
        // One transaction: what is claimed and then cannot be read would be in nobody's hand.
        let mut transaction = self.mail.store.begin().await?;
        let claimed = queue::claim(&mut transaction, me, self.mail.now(), wanted).await?;
        let ids = claimed.work.iter().flat_map(|(_, deliveries)| deliveries.iter().map(|delivery| (delivery.id, me)));
        let doubt = Doubt::new(self.mail, ids.collect());
        transaction.commit().await?;
        doubt.resolve();
        Ok(claimed)
    }

    /// Which deliveries in this courier's hand an operator changed.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn recalled(&self, me: ClaimId) -> Result<Vec<DeliveryId>> {
        let mut connection = self.mail.store.acquire().await?;
        Ok(queue::recalled(&mut connection, me).await?)
    }

    /// When the next delivery that nobody has in hand becomes due, later than now.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn next_due(&self) -> Result<Option<DateTime<Utc>>> {
        let mut connection = self.mail.store.acquire().await?;
        Ok(queue::next_due(&mut connection, self.mail.now()).await?)
    }

    /// Hears what other processes did to the queue.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn listener(&self) -> Result<Listener> {
        Ok(self.mail.store.queue_listener().await?)
    }

    /// Records what became of deliveries, with the reports about them, in one commit; one answer per completion,
    /// `false` where the claim was no longer ours.
    ///
    /// # Errors
    /// When the commit failed or its outcome is unknown. Asking again is safe: what was recorded answers `false`.
    pub async fn complete(&self, completions: Vec<Completion>, reports: Vec<Report>) -> Result<Vec<bool>> {
        let parcel = Parcel { completions, ..Parcel::default() };
        self.mail.commit_reports(parcel, reports).await
    }

    /// The octets of a message that leaves; those of large ones come piece by piece.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn body(&self, message: MessageId, size: u64) -> Result<Option<Body>> {
        body::open(self.mail, message, size).await
    }

    /// Makes everything of these domains that waits for later due at this time.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn bring_forward(&self, domains: &[String], due_at: DateTime<Utc>) -> Result<u64> {
        let mut connection = self.mail.store.acquire().await?;
        Ok(queue::bring_forward(&mut connection, domains, due_at).await?)
    }

    /// Puts everything of these domains that would be due earlier off to this time.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn postpone(&self, domains: &[String], due_at: DateTime<Utc>) -> Result<u64> {
        let mut connection = self.mail.store.acquire().await?;
        Ok(queue::postpone(&mut connection, domains, due_at).await?)
    }

    /// The courier of this process, while one listens for departures.
    #[must_use]
    pub fn courier(&self) -> Option<ClaimId> {
        self.mail.shared.departures.courier()
    }

    /// Adds to the trace; never waits.
    pub fn tell(&self, entry: TraceEntry) {
        self.mail.store.chronicle().tell(entry);
    }
}
