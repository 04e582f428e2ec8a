//! Work in the background: what was learned is written down, what recipients want is read again, what is old is forgotten.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::Filter;

/// How often things are written down.
const WRITE: Duration = Duration::from_millis(500);
/// How often, in writings, what is old is forgotten.
const FORGET: u32 = 7200;
/// How often, in writings, what others learned is read.
const READ: u32 = 120;
/// How long nothing is heard before everything is read.
const POLL: Duration = Duration::from_secs(60);
/// How long a database that is away is left alone.
const PAUSE: Duration = Duration::from_millis(500);

impl Filter {
    /// Works until `stop` ends: writes behind, reads again, forgets. What waits to be written then is written.
    pub async fn work(self, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = stop => {}
            () = self.keep() => {}
            () = self.write_digests() => {}
            () = self.hear() => {}
            () = self.listen() => {}
            () = self.write_letters() => {}
        }
        self.post().await;
        if let Err(error) = self.write().await {
            tracing::warn!(%error, "what the filter learned last was not written down");
        }
    }

    /// Writes down what was learned since the last time.
    ///
    /// # Errors
    /// When the store cannot be written; what was to be written is kept for the next time.
    pub async fn write(&self) -> posthorn_mail::Result<()> {
        let mut connection = self.shared.mail.store().acquire().await?;
        self.shared.scoring.write(&mut connection, self.shared.mail.now()).await
    }

    /// Forgets what is old, and makes room for the days to come.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn forget(&self) -> posthorn_mail::Result<()> {
        self.shared.quarantine.tend().await?;
        let mut connection = self.shared.mail.store().acquire().await?;
        self.shared.scoring.forget(&mut connection, self.shared.mail.now()).await
    }

    /// Reads what other processes learned.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn read(&self) -> posthorn_mail::Result<()> {
        let mut connection = self.shared.mail.store().acquire().await?;
        self.shared.scoring.read(&mut connection, self.shared.mail.now()).await
    }

    /// Another engine, made of a later configuration, is in charge: from here on this one forgets nothing, and writes to
    /// nobody what is held for them. Sessions that began with it are served on.
    pub fn relieve(&self) {
        self.shared.relieved.store(true, Ordering::Relaxed);
    }

    fn is_relieved(&self) -> bool {
        self.shared.relieved.load(Ordering::Relaxed)
    }

    /// Writes letters about held mail until it is relieved. Never returns.
    async fn write_digests(&self) {
        let relieved = async {
            while !self.is_relieved() {
                tokio::time::sleep(WRITE).await;
            }
        };
        tokio::select! {
            () = self.shared.quarantine.write_digests() => {}
            () = relieved => {}
        }
        std::future::pending().await
    }

    async fn keep(&self) {
        let mut rounds: u32 = 0;
        loop {
            if rounds.is_multiple_of(FORGET)
                && !self.is_relieved()
                && let Err(error) = self.forget().await
            {
                tracing::warn!(%error, "what is old is not forgotten, it is tried again");
            }
            tokio::time::sleep(WRITE).await;
            rounds = rounds.wrapping_add(1);
            if let Err(error) = self.write().await {
                tracing::warn!(%error, "what the filter learned is not written down, it is tried again");
            }
            if rounds.is_multiple_of(READ)
                && let Err(error) = self.read().await
            {
                tracing::warn!(%error, "what others learned is not read, it is tried again");
            }
        }
    }

    /// Hears that settings changed. Never returns.
    async fn hear(&self) {
        loop {
            let mut listener = match self.shared.mail.store().filter_listener().await {
                Ok(listener) => listener,
                Err(error) => {
                    tracing::warn!(%error, "changes of settings cannot be heard, trying again");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            loop {
                if let Err(error) = self.reload().await {
                    tracing::warn!(%error, "settings of recipients cannot be read, trying again");
                    break;
                }
                match tokio::time::timeout(POLL, listener.next()).await {
                    Ok(Ok(())) | Err(_) => {}
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "the connection that hears changes of settings broke");
                        break;
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
