//! What the way out has learned and must not forget: MTA-STS policies, and counts for TLS reports.

use posthorn_store::sts_policies::{self, StsPolicy};
use posthorn_store::tls_reports::{self, TlsCount};

use super::Queue;
use crate::Result;

impl Queue<'_> {
    /// The policy of a domain that is still in force.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn sts_policy(&self, domain: &str) -> Result<Option<StsPolicy>> {
        let mut connection = self.mail.store.acquire().await?;
        Ok(sts_policies::find(&mut connection, domain, self.mail.now()).await?)
    }

    /// Keeps a policy, in the place of an earlier one.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn keep_sts_policy(&self, policy: &StsPolicy) -> Result<()> {
        let mut connection = self.mail.store.acquire().await?;
        Ok(sts_policies::put(&mut connection, policy).await?)
    }

    /// Forgets a policy. `false` when there was none.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn drop_sts_policy(&self, domain: &str) -> Result<bool> {
        let mut connection = self.mail.store.acquire().await?;
        Ok(sts_policies::remove(&mut connection, domain).await?)
    }

    /// Adds to the counts of TLS sessions (RFC 8460).
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn count_tls(&self, counts: &[TlsCount]) -> Result<()> {
        let mut connection = self.mail.store.acquire().await?;
        Ok(tls_reports::add(&mut connection, counts).await?)
    }
}
