//! Links that release: who has one releases one message for one recipient, once, as long as it is held.
//!
//! Only a digest of what a link says is kept, so that nobody releases by reading the database or its backups.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use posthorn_mail::Result;
use posthorn_store::filter::digests::{self, Link};
use posthorn_store::filter::held::{self, HeldRecipientRow, Status};

use super::{Held, Quarantine, Release};

/// Random octets of a token.
const TOKEN: usize = 32;
/// Who releases, in the trace.
const BY: &str = "link";

/// What a link leads to.
#[derive(Clone, Debug, PartialEq)]
pub enum Followed {
    /// There is no such link, or there was one long ago.
    Unknown,
    /// It was good until then.
    Expired(DateTime<Utc>),
    /// The message is not held for this recipient any more: since then, and whether because it was released.
    Over {
        /// When that happened.
        at: Option<DateTime<Utc>>,
        /// Whether it was released; else it was deleted.
        released: bool,
    },
    /// It can be released.
    Open(Box<Offer>),
}

/// A message that may be released by who has the link.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// The message.
    pub held: Held,
    /// For whom.
    pub recipient: HeldRecipientRow,
}

/// A new token, and its digest.
pub(super) fn token() -> Result<(String, Vec<u8>)> {
    let mut octets = [0; TOKEN];
    getrandom::fill(&mut octets).map_err(|_| posthorn_mail::Error::Randomness)?;
    Ok((URL_SAFE_NO_PAD.encode(octets), digest(&SHA256, &octets).as_ref().to_vec()))
}

/// The digest of what a link says; `None` for what no link ever said.
fn digest_of(token: &str) -> Option<Vec<u8>> {
    let octets = URL_SAFE_NO_PAD.decode(token).ok().filter(|octets| octets.len() == TOKEN)?;
    Some(digest(&SHA256, &octets).as_ref().to_vec())
}

impl Quarantine {
    /// Looks where a link leads. Nothing changes by that.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn follow(&self, token: &str) -> Result<Followed> {
        let Some(digest) = digest_of(token) else { return Ok(Followed::Unknown) };
        let mut connection = self.mail.store().acquire().await?;
        let Some(Link { message, place, expires_at, .. }) = digests::find(&mut connection, &digest).await? else {
            return Ok(Followed::Unknown);
        };
        let row = held::of_message(&mut connection, message).await?;
        let recipients = held::recipients(&mut connection, &[message]).await?;
        let recipient = recipients.iter().find(|row| row.place == place).cloned();
        let (Some(row), Some(recipient)) = (row, recipient) else {
            return Ok(Followed::Over { at: None, released: false });
        };
        if recipient.status != Status::Held {
            let released = recipient.status == Status::Released;
            return Ok(Followed::Over { at: recipient.changed_at, released });
        }
        if expires_at <= self.mail.now() {
            return Ok(Followed::Expired(expires_at));
        }
        Ok(Followed::Open(Box::new(Offer { held: Held { row, recipients }, recipient })))
    }

    /// Releases what a link leads to, for the one recipient whose link it is. `None` when somebody else was faster.
    ///
    /// # Errors
    /// When the store failed; it stays held then.
    pub async fn accept_offer(
        &self,
        offer: &Offer,
    ) -> Result<Option<std::result::Result<(), posthorn_model::Refusal>>> {
        // Another row may hold it for the same address.
        let only: Vec<HeldRecipientRow> =
            offer.held.recipients.iter().filter(|row| row.place == offer.recipient.place).cloned().collect();
        let held = Held { row: offer.held.row.clone(), recipients: only };
        let order = Release { by: BY.to_owned(), ..Release::default() };
        Ok(self.release(&held, &order).await?.into_iter().next().map(|released| released.outcome))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_token_is_its_digest() {
        let (said, kept) = token().expect("random octets");
        assert_eq!(said.len(), 43);
        assert_eq!(digest_of(&said), Some(kept.clone()));
        assert_ne!(token().expect("random octets").1, kept);
        for nonsense in
            ["", "x", &said[1..], &format!("{said}A"), &said.replace(|c: char| c.is_ascii_alphanumeric(), "+")]
        {
            assert_eq!(digest_of(nonsense), None, "{nonsense}");
        }
    }
}
