//! Held mail is handed out: delivery and the end of holding are one commit, so that it comes once, whatever fails between.

use bytes::Bytes;
use posthorn_model::{Address, EnhancedCode, Refusal};
use posthorn_store::filter::held::{self, NewRelease, Status};

use super::Treatment;
use crate::accept::Completion;
use crate::envelope::Envelope;
use crate::{Error, Mail, Result};

/// What became of a held message for one recipient.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HandedOut {
    /// It is delivered, or in the queue, and held no longer.
    Delivered,
    /// It stays held.
    Refused(Refusal),
    /// It was not held any more: somebody else was faster.
    Gone,
}

impl Mail {
    /// Delivers a held message to the one recipient of an envelope, as `treatment` says.
    ///
    /// # Errors
    /// When the store cannot be read, or the commit failed or its outcome is unknown: asking again is safe.
    pub async fn hand_out(
        &self,
        envelope: &Envelope,
        octets: &Bytes,
        completion: Completion,
        treatment: &Treatment,
        release: NewRelease,
    ) -> Result<HandedOut> {
        let mut one = Envelope { releases: Some(release.clone()), ..envelope.clone() };
        for is_last in [false, true] {
            let mut body = self.intake();
            if let Err(refusal) = body.push(octets) {
                return Ok(HandedOut::Refused(refusal));
            }
            let examined = match self.examine(&one, body, completion.clone()).await? {
                Ok(examined) => examined,
                Err(refusal) => return Ok(HandedOut::Refused(refusal)),
            };
            match self.take(&one, examined, std::slice::from_ref(treatment), true).await {
                Ok(Ok(accepted)) => {
                    let refused = accepted.outcomes.into_iter().find_map(std::result::Result::err);
                    return Ok(refused.map_or(HandedOut::Delivered, HandedOut::Refused));
                }
                Ok(Err(refusal)) => return Ok(HandedOut::Refused(refusal)),
                // A mailbox is full or changing, or it is held no more.
                Err(Error::Store(posthorn_store::Error::Refused)) => {}
                Err(error) => return Err(error),
            }
            let rows = held::recipients(&mut *self.store.acquire().await?, &[release.message]).await?;
            if !rows.iter().any(|row| row.place == release.place && row.status == Status::Held) {
                return Ok(HandedOut::Gone);
            }
            if is_last {
                break;
            }
            // What is remembered of the way is a minute old at most.
            self.shared.routes.clear();
            self.shared.junk.forget();
            for recipient in &mut one.recipients {
                if let Ok(address) = Address::parse(&recipient.address) {
                    recipient.route = self.route(&address).await?;
                }
            }
        }
        for recipient in &one.recipients {
            if let Err(refusal) = self.room(&recipient.route, octets.len() as u64).await? {
                return Ok(HandedOut::Refused(refusal));
            }
        }
        Ok(HandedOut::Refused(Refusal::new(452, EnhancedCode(4, 2, 2), "the mailbox is changing or full")))
    }
}
