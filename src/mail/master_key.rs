//! Whether the master key at hand is the one that private keys in the database are sealed with: servers that share a
//! database share it, too.

use posthorn_store::{dkim_keys, settings};

use crate::{Mail, Result};

/// How the master key at hand fits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MasterKeyFit {
    /// There is none at hand.
    None,
    /// It is the one.
    Same,
    /// It is another one than before, and nothing was sealed with that: it is the one from now on.
    New,
    /// These keys in the database are sealed with another one: nobody here can sign with them.
    Other {
        /// How many.
        sealed: usize,
    },
}

impl Mail {
    /// Holds the master key against what the database keeps: something that the first one sealed.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn master_key_fit(&self) -> Result<MasterKeyFit> {
        let Some(master) = &self.shared.master_key else { return Ok(MasterKeyFit::None) };
        let opens = |sealed: &[u8]| master.open(PROOF.0, PROOF.1, sealed).is_ok();
        let own = master.seal(PROOF.0, PROOF.1, PROOF.2).map_err(crate::Error::Signing)?;
        let mut transaction = self.store.begin().await?;
        let known = settings::find(&mut transaction, NAME).await?;
        let before = known.is_some();
        if known.is_some_and(|known| opens(&known)) {
            return Ok(MasterKeyFit::Same);
        }
        let keys = dkim_keys::list(&mut transaction, None).await?;
        let strange = |key: &&dkim_keys::DkimKey| master.open(&key.domain, &key.selector, &key.private).is_err();
        let sealed = keys.iter().filter(strange).count();
        if sealed > 0 {
            return Ok(MasterKeyFit::Other { sealed });
        }
        let kept = if before {
            settings::put(&mut transaction, NAME, &own).await?;
            own
        } else {
            settings::keep(&mut transaction, NAME, &own).await?
        };
        transaction.commit().await?;
        Ok(match (opens(&kept), before) {
            // Another server was first, a moment ago.
            (false, _) => MasterKeyFit::Other { sealed: 0 },
            (true, true) => MasterKeyFit::New,
            (true, false) => MasterKeyFit::Same,
        })
    }
}

/// Where the proof is kept.
const NAME: &str = "dkim.master_key";
/// What is sealed as proof: under a domain and a selector that no key has, so that it is good for nothing else.
const PROOF: (&str, &str, &[u8]) = ("proof", "of the master key", b"posthorn");
