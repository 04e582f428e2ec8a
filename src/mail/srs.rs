//! Rewritten senders (SRS) for other mail servers that forward: a table each way.

use posthorn_model::Address;

use crate::{Mail, Result};

impl Mail {
    /// The sender that a server beside us is to use for mail of this sender that it sends on. `None` when the sender can
    /// stay as it is: it is in a domain of ours, senders are not rewritten here, or the rewritten one would be too long.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn rewritten_sender(&self, sender: &Address) -> Result<Option<Address>> {
        let Some(rewritten) = self.shared.paths.rewritten(sender, self.now()) else { return Ok(None) };
        // Who checks our mail asks about our own domains anyway.
        Ok(self.our_domain(sender.domain()).await?.is_none().then_some(rewritten))
    }

    /// Whom a rewritten sender stands for; `None` when it is none of ours, is forged, or has expired.
    #[must_use]
    pub fn original_sender_of(&self, recipient: &Address) -> Option<Address> {
        self.shared.paths.original(recipient, self.now()).ok()
    }
}
