//! What couriers know of their sites, asked by whoever wants to see it: another process, mostly.

use std::time::Duration;

use posthorn_model::ClaimId;
use posthorn_store::queue::{self, CourierView};
use tokio::time::{Instant, sleep};

use super::Queue;
use crate::Result;

impl Queue<'_> {
    /// Asks all couriers for their sites, and waits at most this long for the answers: one for each courier that is
    /// alive, without sites where it did not answer in time.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn views(&self, patience: Duration) -> Result<Vec<CourierView>> {
        let mut connection = self.mail.store.acquire().await?;
        let asked = queue::ask_views(&mut connection).await?;
        let end = Instant::now() + patience;
        loop {
            let views = queue::views(&mut connection, asked).await?;
            if views.iter().all(|view| view.sites.is_some()) || Instant::now() >= end {
                return Ok(views);
            }
            sleep(PAUSE).await;
        }
    }

    /// Answers as a courier; the sites are JSON.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn show_sites(&self, me: ClaimId, sites: &str) -> Result<()> {
        let mut connection = self.mail.store.acquire().await?;
        Ok(queue::put_view(&mut connection, me, sites).await?)
    }
}

/// Between two looks for answers.
const PAUSE: Duration = Duration::from_millis(25);
