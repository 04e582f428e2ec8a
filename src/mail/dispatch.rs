//! Committing what leaves, and handing it to the courier: the one way into the queue.

use posthorn_model::{ClaimId, DeliveryId, MessageId, QueueId};
use posthorn_store::queue::{Completion, Delivery, NewOutgoing, Outcome, Outgoing};
use posthorn_store::writer::{Parcel, Receipt};

use crate::departures::{Octets, Place};
use crate::{Mail, Result};

/// Envelopes that are handed over once they are committed.
struct Waiting {
    at: usize,
    place: Place,
    outgoing: Outgoing,
    rows: Vec<Delivery>,
    octets: Octets,
}

impl Mail {
    /// Commits a parcel. What may leave at once is stored as claimed by the courier of this process and handed to it
    /// afterwards; `octets` are those of each message in the parcel, as they leave. Also says which envelopes were
    /// queued.
    pub(crate) async fn dispatch(
        &self,
        mut parcel: Parcel,
        octets: &[(MessageId, Octets)],
    ) -> Result<(Receipt, Vec<QueueId>)> {
        let ids: Vec<QueueId> = parcel.outgoing.iter().map(|new| new.outgoing.id).collect();
        let waiting = self.board(&mut parcel.outgoing, octets);
        let handed_over = waiting.len();
        let claims = waiting.iter().flat_map(|one| one.rows.iter().map(|row| (row.id, one.place.claim()))).collect();
        let doubt = Doubt::new(self, claims);
        let receipt = self.store.deliver(parcel).await?;
        doubt.resolve();
        let is_queued = |at: usize| receipt.queued.get(at).copied().unwrap_or(false);
        for Waiting { at, place, outgoing, rows, octets } in waiting {
            if is_queued(at) {
                place.depart(outgoing, rows, octets);
            }
        }
        let queued: Vec<QueueId> = (0..ids.len()).filter(|at| is_queued(*at)).map(|at| ids[at]).collect();
        if handed_over < queued.len() {
            self.shared.departures.stir();
        }
        Ok((receipt, queued))
    }

    /// Reserves places with the courier for what may leave at once.
    fn board(&self, outgoing: &mut [NewOutgoing], octets: &[(MessageId, Octets)]) -> Vec<Waiting> {
        let now = self.now();
        let mut waiting = Vec::new();
        for (at, new) in outgoing.iter_mut().enumerate() {
            let due = new.deliveries.iter().all(|delivery| delivery.due_at <= now && delivery.held.is_none());
            let Some((_, octets)) = octets.iter().find(|(message, _)| due && *message == new.outgoing.message) else {
                continue;
            };
            let Some(place) = self.shared.departures.reserve(octets.len()) else { continue };
            new.claim = Some(place.claim());
            let (outgoing, rows) = (new.outgoing.clone(), new.rows());
            waiting.push(Waiting { at, place, outgoing, rows, octets: octets.clone() });
        }
        waiting
    }

    /// Gives back what is in [`Doubt`], as far as it is there.
    pub(crate) async fn give_back(&self) -> Result<()> {
        let doubtful: Vec<(DeliveryId, ClaimId)> = std::mem::take(&mut *self.shared.doubtful.lock());
        if doubtful.is_empty() {
            return Ok(());
        }
        let at = self.now();
        let returned = |(delivery, claim): &(DeliveryId, ClaimId)| Completion {
            delivery: *delivery,
            claim: *claim,
            at,
            binding: None,
            host: None,
            reply: None,
            outcome: Outcome::Returned,
        };
        let completions = doubtful.iter().map(returned).collect();
        match self.store.deliver(Parcel { completions, ..Parcel::default() }).await {
            Ok(receipt) => {
                if receipt.completed.contains(&true) {
                    self.shared.departures.stir();
                }
                Ok(())
            }
            Err(error) => {
                self.shared.doubtful.lock().extend(doubtful);
                Err(error.into())
            }
        }
    }
}

/// Claims of which it is not known whether they are committed: deliveries may lie in the queue in the hand of a courier
/// that does not know of them. When this is dropped before the doubt is over (the commit failed, its answer was lost,
/// nobody waited for it any more) they are given back later.
pub(crate) struct Doubt<'m> {
    mail: &'m Mail,
    claims: Vec<(DeliveryId, ClaimId)>,
}

impl<'m> Doubt<'m> {
    pub(crate) fn new(mail: &'m Mail, claims: Vec<(DeliveryId, ClaimId)>) -> Self {
        Self { mail, claims }
    }

    /// The outcome is known.
    pub(crate) fn resolve(mut self) {
        self.claims.clear();
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if !self.claims.is_empty() {
            self.mail.shared.doubtful.lock().append(&mut self.claims);
            self.mail.shared.departures.stir();
        }
    }
}
