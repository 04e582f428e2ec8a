//! What is known of reports, for those who administer.

use chrono::{DateTime, Utc};
use posthorn_store::daily_reports::{self, ReportKind, SentReport};
use posthorn_store::received_reports::{self, ReceivedReport, ReceivedRow, SourceSum};

use crate::{Mail, Result};

impl Mail {
    /// Reports of others that begin at or after a moment, the newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn received_reports(
        &self,
        kind: ReportKind,
        domain: Option<&str>,
        since: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<ReceivedReport>> {
        let mut connection = self.store.acquire().await?;
        Ok(received_reports::list(&mut connection, kind, domain, since, i64::from(limit)).await?)
    }

    /// A report of others with its rows.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn received_report(
        &self,
        kind: ReportKind,
        id: i64,
    ) -> Result<Option<(ReceivedReport, Vec<ReceivedRow>)>> {
        let mut connection = self.store.acquire().await?;
        let Some(report) = received_reports::find(&mut connection, kind, id).await? else { return Ok(None) };
        let rows = received_reports::rows(&mut connection, id).await?;
        Ok(Some((report, rows)))
    }

    /// Sums of what others reported since a moment, by domain and source.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn received_sums(
        &self,
        kind: ReportKind,
        domain: Option<&str>,
        since: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<SourceSum>> {
        let mut connection = self.store.acquire().await?;
        Ok(received_reports::sums(&mut connection, kind, domain, since, i64::from(limit)).await?)
    }

    /// Our own reports to others, the newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn sent_reports(&self, kind: ReportKind, domain: Option<&str>, limit: u32) -> Result<Vec<SentReport>> {
        let mut connection = self.store.acquire().await?;
        Ok(daily_reports::sent(&mut connection, kind, domain, i64::from(limit)).await?)
    }
}
