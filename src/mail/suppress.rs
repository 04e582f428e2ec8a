//! The suppression list: recipients that do not exist, so that nothing more is sent to them for a while.

use std::time::Duration;

use chrono::{DateTime, Utc};
use posthorn_model::{Address, Domain, EnhancedCode, Refusal};
use posthorn_store::suppressions;

use crate::{Mail, Result};

/// Recipients who were found not to be on the list a moment ago, by the sender's domain: what another process puts there
/// is seen as late as this.
pub(crate) type Unsuppressed = moka::sync::Cache<(Domain, Address), ()>;

pub(crate) fn unsuppressed() -> Unsuppressed {
    moka::sync::Cache::builder().max_capacity(50_000).time_to_live(Duration::from_secs(15)).build()
}

pub use posthorn_store::suppressions::Suppression;

impl Mail {
    /// Refuses a recipient at another host who is on the suppression list for this sender.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn check_suppression(
        &self,
        sender: Option<&Address>,
        recipient: &Address,
    ) -> Result<std::result::Result<(), Refusal>> {
        let Some(sender) = sender else { return Ok(Ok(())) };
        if !self.shared.policies.of(Some(sender.domain().as_str())).suppress {
            return Ok(Ok(()));
        }
        let asked = (sender.domain().clone(), recipient.clone());
        if self.shared.unsuppressed.contains_key(&asked) {
            return Ok(Ok(()));
        }
        let mut connection = self.store.acquire().await?;
        let recipients = [recipient.to_string()];
        let found = suppressions::find(&mut connection, sender.domain().as_str(), &recipients, self.now()).await?;
        let Some(entry) = found.first() else {
            self.shared.unsuppressed.insert(asked, ());
            return Ok(Ok(()));
        };
        // One line of it is enough for a reply.
        let reason: String = entry.reason.lines().next().unwrap_or_default().chars().take(200).collect();
        let by_hand = entry.class == i16::from(posthorn_report::Class::ADMIN_FAILURE.number());
        let day = entry.added_at.format("%Y-%m-%d");
        let text = if by_hand {
            format!("nothing is sent from here to {recipient} since {day}: {reason}")
        } else {
            format!("{recipient} refused mail on {day}: {reason}")
        };
        Ok(Err(Refusal::new(550, EnhancedCode(5, 1, 1), text)))
    }

    /// Entries of a sender's domain (`None`: of all), recipients in order, behind the one named.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn suppressions(&self, sender_domain: Option<&str>, after: &str, limit: u32) -> Result<Vec<Suppression>> {
        let mut connection = self.store.acquire().await?;
        Ok(suppressions::list(&mut connection, sender_domain, after, limit).await?)
    }

    /// What is known of one recipient for senders of a domain.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn find_suppression(&self, sender_domain: &str, recipient: &Address) -> Result<Option<Suppression>> {
        let mut connection = self.store.acquire().await?;
        let recipients = [recipient.to_string()];
        let mut found = suppressions::find(&mut connection, sender_domain, &recipients, self.now()).await?;
        Ok(found.pop())
    }

    /// Puts a recipient on the list by hand, for senders of a domain or (`None`) for all.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn suppress(
        &self,
        sender_domain: Option<&str>,
        recipient: &Address,
        reason: &str,
        expires_at: Option<DateTime<Utc>>,
    ) -> Result<()> {
        let entry = Suppression {
            sender_domain: sender_domain.unwrap_or_default().to_owned(),
            recipient: recipient.to_string(),
            class: i16::from(posthorn_report::Class::ADMIN_FAILURE.number()),
            reason: reason.to_owned(),
            message: None,
            added_at: self.now(),
            expires_at,
        };
        let mut connection = self.store.acquire().await?;
        suppressions::put(&mut connection, &entry).await?;
        self.shared.unsuppressed.invalidate_all();
        Ok(())
    }

    /// Takes a recipient off the list, for senders of a domain or (`None`) for all. Returns how many entries there were.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn forgive(&self, sender_domain: Option<&str>, recipient: &str) -> Result<u64> {
        let mut connection = self.store.acquire().await?;
        Ok(suppressions::remove(&mut connection, sender_domain, recipient).await?)
    }
}
