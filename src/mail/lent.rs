//! Mail of other servers, which ask what we make of it: it is checked and signed here, but neither stored nor queued.

use bytes::Bytes;
use posthorn_model::Address;

use crate::accept::LARGE;
use crate::checks::Checked;
use crate::envelope::Envelope;
use crate::{Error, Intake, Mail, Reservation, Result};

/// A message of somebody else's that was looked at.
#[derive(Debug)]
pub struct Lent {
    /// The message, without results that claim to be ours.
    pub octets: Bytes,
    /// The memory that is reserved for it; more of it as copies are made.
    pub reservation: Reservation,
    /// What was found out about its origin; `None` where nothing was.
    pub checked: Option<Checked>,
    /// That as a whole field to put on top; empty where nothing was found out.
    pub results: String,
}

impl Mail {
    /// Finds out what can be about a message that another server took in from `envelope.client`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn check_lent(&self, envelope: &Envelope, body: Intake) -> Result<Lent> {
        let (body, checked) = self.check(envelope, body).await?;
        let field = |checked: &Checked| posthorn_trust::results::field(&self.shared.hostname, &checked.results());
        let results = checked.as_ref().map(field).unwrap_or_default();
        let (octets, reservation) = body.finish();
        Ok(Lent { octets, reservation, checked, results })
    }

    /// The signatures of our domains over a message of another server's: whole fields, empty where no key of ours fits
    /// its author or sender.
    ///
    /// # Errors
    /// When the keys cannot be read, or do not work.
    pub async fn sign_lent(&self, sender: Option<&Address>, header: Bytes, text: Bytes) -> Result<Vec<u8>> {
        if !self.shared.signs {
            return Ok(Vec::new());
        }
        let signers = self.author_signers(sender, &header).await?;
        if signers.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.now();
        if header.len() + text.len() < LARGE {
            return posthorn_trust::sign(&signers, &header, &text, now).map_err(Error::Signing);
        }
        let task = tokio::task::spawn_blocking(move || posthorn_trust::sign(&signers, &header, &text, now));
        task.await.map_err(|_| Error::Internal)?.map_err(Error::Signing)
    }
}
