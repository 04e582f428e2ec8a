//! MTA-STS policies are kept in the database.

use chrono::DateTime;
use chrono::Utc;
use posthorn_mail::Mail;
use posthorn_mail::queue::StsPolicy;
use posthorn_net::sts::{KeptPolicy, StsKeeper};

/// Keeps policies through the duties.
#[derive(Clone, Copy)]
pub(crate) struct Keeper<'m>(pub &'m Mail);

impl StsKeeper for Keeper<'_> {
    async fn find(&self, domain: &str) -> Option<KeptPolicy> {
        match self.0.queue().sts_policy(domain).await {
            Ok(found) => found.map(|kept| policy(kept.id, kept.policy, kept.fetched_at, kept.expires_at)),
            Err(error) => {
                tracing::warn!(%domain, %error, "a kept MTA-STS policy cannot be read");
                None
            }
        }
    }

    async fn keep(&self, domain: &str, policy: &KeptPolicy) {
        let KeptPolicy { id, text, fetched_at, expires_at } = policy.clone();
        let policy = StsPolicy { domain: domain.to_owned(), id, policy: text, fetched_at, expires_at };
        if let Err(error) = self.0.queue().keep_sts_policy(&policy).await {
            tracing::warn!(%domain, %error, "an MTA-STS policy cannot be kept");
        }
    }
}

fn policy(id: String, text: String, fetched_at: DateTime<Utc>, expires_at: DateTime<Utc>) -> KeptPolicy {
    KeptPolicy { id, text, fetched_at, expires_at }
}
