//! Work in the background: hearing what other processes did, and tidying up.

use std::time::Duration;

use posthorn_store::changes::News;
use posthorn_store::{chronicle, orphans, sts_policies, suppressions, tls_reports, tunings};

use crate::Mail;

/// How many changes of an account a client may be behind and still be told exactly which messages are gone.
const KEEP_CHANGES: i64 = 100_000;

/// Values that ran out are kept for so long, so that every courier sees that they did.
const KEEP_TUNINGS: Duration = Duration::from_secs(3600);

/// Counts of TLS sessions are kept for so long.
const KEEP_TLS_COUNTS: Duration = Duration::from_secs(30 * 86_400);

/// How often accounts in memory are compared with the store although nobody said that they changed.
const POLL: Duration = Duration::from_secs(30);

/// Hears other processes' changes and brings sessions up to date. Never returns.
pub(crate) async fn hear(mail: &Mail) {
    loop {
        let mut listener = match mail.store.listener().await {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(%error, "changes of other processes cannot be heard, trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        loop {
            match tokio::time::timeout(POLL, listener.next()).await {
                Ok(Ok(News::Accounts(accounts))) => {
                    for (account, modseq) in accounts {
                        mail.shared.live.touch(account, modseq).await;
                    }
                }
                Ok(Ok(News::Directory)) => mail.directory_changed().await,
                Ok(Ok(News::Lost)) | Err(_) => {
                    mail.shared.routes.clear();
                    for account in mail.shared.live.ids() {
                        mail.shared.live.touch(account, u64::MAX).await;
                    }
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the connection that hears changes broke");
                    break;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Removes messages that no mailbox holds, cuts the change logs, forgets what nobody looks at. Never returns.
pub(crate) async fn reap(mail: &Mail) {
    let mut rounds: u32 = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(10)).await;
        mail.shared.live.sweep();
        if let Err(error) = tidy(mail, rounds.is_multiple_of(360)).await {
            tracing::warn!(%error, "tidying up failed, it is tried again");
        }
        rounds = rounds.wrapping_add(1);
    }
}

async fn tidy(mail: &Mail, cut: bool) -> crate::Result<()> {
    let mut connection = mail.store.acquire().await?;
    while orphans::reap(&mut connection, 500).await?.0 == 500 {}
    mail.give_back().await?;
    if cut {
        orphans::cut_changes(&mut connection, KEEP_CHANGES).await?;
        drop(connection);
        tidy_way_out(mail).await?;
    }
    Ok(())
}

/// Forgets old traces and what the way out no longer needs to know.
async fn tidy_way_out(mail: &Mail) -> crate::Result<()> {
    let now = mail.now();
    let mut transaction = mail.store.begin().await?;
    let keep = chrono::TimeDelta::from_std(mail.shared.trace_for).unwrap_or(chrono::TimeDelta::MAX);
    let forgotten = chronicle::tend(&mut transaction, now, keep).await?;
    transaction.commit().await?;
    if forgotten > 0 {
        tracing::info!(days = forgotten, "old traces were forgotten");
    }
    let mut connection = mail.store.acquire().await?;
    suppressions::sweep(&mut connection, now).await?;
    tunings::sweep(&mut connection, now - KEEP_TUNINGS).await?;
    sts_policies::sweep(&mut connection, now).await?;
    tls_reports::sweep(&mut connection, (now - KEEP_TLS_COUNTS).date_naive()).await?;
    crate::feedback::forget(mail, &mut connection, now).await?;
    Ok(())
}

impl Mail {
    /// Forgets what it remembers of domains, accounts and logins.
    pub(crate) async fn directory_changed(&self) {
        self.shared.routes.clear();
        self.shared.logins.clear();
        self.shared.signers.clear();
        self.shared.names.invalidate_all();
        self.shared.live.reread().await;
    }
}
