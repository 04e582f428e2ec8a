//! The courier's life: a lease that is renewed, and after which nothing more is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use posthorn_mail::Mail;
use posthorn_model::ClaimId;
use tokio::sync::mpsc::Sender;

use crate::Office;
use crate::agenda::News;

/// The claim, and how long it is good.
#[derive(Debug)]
pub(crate) struct Life {
    claim: AtomicI64,
    began: Instant,
    /// Milliseconds after the beginning.
    valid_until: AtomicU64,
    lease: Duration,
}

/// What a renewal came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Renewal {
    /// It holds on.
    Renewed,
    /// It ran out, and others may have taken over: a new life must begin.
    Lost,
    /// The database did not answer; what was renewed before still holds for its time.
    Unknown,
}

impl Life {
    /// Enlists.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(crate) async fn begin(mail: &Mail, host: &str, lease: Duration) -> posthorn_mail::Result<Self> {
        let began = Instant::now();
        let claim = mail.queue().enlist(host, lease).await?;
        let life = Self { claim: AtomicI64::new(claim.0), began, valid_until: AtomicU64::new(0), lease };
        life.extend(began);
        Ok(life)
    }

    /// The present claim.
    pub(crate) fn claim(&self) -> ClaimId {
        ClaimId(self.claim.load(Ordering::Acquire))
    }

    /// Whether anything may be sent under the claim.
    pub(crate) fn is_valid(&self) -> bool {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        now < self.valid_until.load(Ordering::Acquire)
    }

    /// How often the lease is renewed.
    pub(crate) fn rhythm(&self) -> Duration {
        (self.lease / 3).max(Duration::from_millis(20))
    }

    /// Renews the lease.
    pub(crate) async fn renew(&self, mail: &Mail) -> Renewal {
        // Counted from before the question: the answer may have been long on its way.
        let asked = Instant::now();
        match mail.queue().renew(self.claim(), self.lease).await {
            Ok(true) => {
                self.extend(asked);
                Renewal::Renewed
            }
            Ok(false) => {
                self.valid_until.store(0, Ordering::Release);
                Renewal::Lost
            }
            Err(error) => {
                tracing::warn!(%error, "the courier's lease could not be renewed");
                Renewal::Unknown
            }
        }
    }

    /// Begins anew under another claim.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(crate) async fn begin_anew(&self, mail: &Mail, host: &str) -> posthorn_mail::Result<()> {
        let asked = Instant::now();
        let claim = mail.queue().enlist(host, self.lease).await?;
        self.claim.store(claim.0, Ordering::Release);
        self.extend(asked);
        Ok(())
    }

    /// A tenth of the lease is left unused, for clocks that do not run alike.
    fn extend(&self, from: Instant) {
        let until = from.duration_since(self.began) + self.lease - self.lease / 10;
        self.valid_until.store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
    }
}

/// Renews the lease until the courier stops.
pub(crate) async fn live(office: Arc<Office>, tell: Sender<News>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(office.life.rhythm()) => {}
            () = office.stopping() => return,
        }
        tend(&office, &tell).await;
    }
}

/// Renews the lease, and takes over from couriers whose lease ran out. A life that ended is told.
pub(crate) async fn tend(office: &Office, tell: &Sender<News>) {
    match office.life.renew(&office.mail).await {
        Renewal::Renewed => {
            if free_dead(&office.mail).await {
                let _ends = tell.send(News::Due).await;
            }
        }
        Renewal::Lost => {
            let _ends = tell.send(News::LifeLost).await;
        }
        // After the database was away for longer than a lease, the dead one would be ourselves: what was sent meanwhile
        // would be sent again.
        Renewal::Unknown => {}
    }
}

/// Frees what dead couriers had in hand; whether there was anything.
async fn free_dead(mail: &Mail) -> bool {
    match mail.queue().free_dead().await {
        Ok(freed) if freed.deliveries > 0 => {
            tracing::warn!(hosts = ?freed.hosts, deliveries = freed.deliveries, "took over from couriers that are gone");
            true
        }
        Ok(_) => false,
        Err(error) => {
            tracing::debug!(%error, "dead couriers could not be looked for");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lease_ends_by_itself() {
        let began = Instant::now();
        let lease = Duration::from_millis(50);
        let life = Life { claim: AtomicI64::new(1), began, valid_until: AtomicU64::new(0), lease };
        assert!(!life.is_valid());
        life.extend(Instant::now());
        assert!(life.is_valid());
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert!(!life.is_valid());
    }
}
