//! Work in the background: what was learned is written down, what the database says is read again, what is old is
//! forgotten.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::TimeDelta;
use posthorn_store::policy::{auto_blacklist, decisions, helo_names, list_access};
use tokio::time::Instant;

use crate::Policy;

/// How often things are written down when nobody was refused.
const WRITE: Duration = Duration::from_millis(500);
/// How long the writer rests in any case, so that what comes together is written together. Whoever was just refused can be
/// seen by an operator this soon.
const REST: Duration = Duration::from_millis(50);
/// How often everything is read again.
const READ: Duration = Duration::from_secs(60);
/// How often clients that never came back are looked for.
const REVIEW: Duration = Duration::from_secs(300);
/// How often what is old is forgotten.
const FORGET: Duration = Duration::from_secs(3600);

impl Policy {
    /// Works until `stop` ends: writes behind, reads again, forgets. What waits to be written then is written.
    pub async fn work(self, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = stop => {}
            () = self.keep() => {}
            () = self.hear() => {}
            () = self.look_up_white_domains() => {}
        }
        if let Err(error) = self.write().await {
            tracing::warn!(%error, "what the policy learned last was not written down");
        }
    }

    /// Writes down what was learned since the last time.
    ///
    /// # Errors
    /// When the store cannot be written; what was to be written is kept for the next time, as far as there is room.
    pub async fn write(&self) -> posthorn_mail::Result<()> {
        self.write_standing().await?;
        let shared = &*self.shared;
        let mut connection = shared.mail.store().acquire().await?;
        let banned = shared.auto_blacklist.unwritten();
        if !banned.is_empty() {
            auto_blacklist::put(&mut connection, &banned).await?;
            shared.auto_blacklist.written(banned.len());
        }
        let names = shared.helo.take_unwritten();
        if !names.is_empty()
            && let Err(error) = helo_names::put(&mut connection, &names).await
        {
            shared.helo.put_back(names);
            return Err(error.into());
        }
        shared.log.flush(&mut connection).await?;
        Ok(())
    }

    /// Reads settings and lists that are kept in memory.
    ///
    /// # Errors
    /// When the store cannot be read; everything stays as it was.
    pub async fn reload(&self) -> posthorn_mail::Result<()> {
        let shared = &*self.shared;
        let mut connection = shared.mail.store().acquire().await?;
        let lists = list_access::list(&mut connection).await?;
        let most = i64::try_from(crate::auto_blacklist::MOST).unwrap_or(i64::MAX);
        let banned = auto_blacklist::list(&mut connection, shared.mail.now(), most).await?;
        drop(connection);
        self.read_standing().await?;
        shared.lists.set(lists);
        shared.auto_blacklist.set(banned);
        shared.senders.forget();
        Ok(())
    }

    /// Forgets what is old, and makes room for the days to come.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn forget(&self) -> posthorn_mail::Result<()> {
        let shared = &*self.shared;
        let now = shared.mail.now();
        let keep = TimeDelta::from_std(shared.section.decisions.lasts.duration()).unwrap_or(TimeDelta::MAX);
        let mut transaction = shared.mail.store().begin().await?;
        decisions::tend(&mut transaction, now, keep).await?;
        transaction.commit().await?;
        let mut connection = shared.mail.store().acquire().await?;
        auto_blacklist::sweep(&mut connection, now).await?;
        shared.helo.sweep(&mut connection, now).await?;
        drop(connection);
        self.forget_standing().await?;
        Ok(())
    }

    /// Looks for clients that never came back after greylisting, and refuses them from now on.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn review(&self) -> posthorn_mail::Result<()> {
        let shared = &*self.shared;
        let now = shared.mail.now();
        let Some(review) = shared.auto_blacklist.review(now) else { return Ok(()) };
        let mut connection = shared.mail.store().acquire().await?;
        let gone = auto_blacklist::review(&mut connection, review, now).await?;
        shared.auto_blacklist.refuse(gone, now);
        Ok(())
    }

    /// Another engine, made of a later configuration, is in charge: from here on this one forgets nothing and bans nobody.
    /// Sessions that began with it are served on.
    pub fn relieve(&self) {
        self.shared.relieved.store(true, Ordering::Relaxed);
    }

    async fn keep(&self) {
        let [mut read, mut review] = [READ, REVIEW].map(|period| Instant::now() + period);
        let mut forget = Instant::now();
        loop {
            let relieved = self.shared.relieved.load(Ordering::Relaxed);
            if due(&mut forget, FORGET) && !relieved {
                told("old decisions are not forgotten", self.forget().await);
            }
            tokio::time::sleep(REST).await;
            // Time passing is as good a reason as a ring.
            let _ = tokio::time::timeout(WRITE, self.shared.acted.notified()).await;
            told("what the policy learned is not written down", self.write().await);
            if due(&mut review, REVIEW) && !relieved {
                told("clients that never came back are not looked for", self.review().await);
            }
            if due(&mut read, READ) {
                told("the policy's lists are not read", self.reload().await);
            }
        }
    }
}

/// Whether a moment has come, and if so the next one.
fn due(moment: &mut Instant, period: Duration) -> bool {
    let is_due = Instant::now() >= *moment;
    if is_due {
        *moment = Instant::now() + period;
    }
    is_due
}

fn told(what: &'static str, outcome: posthorn_mail::Result<()>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "{what}, it is tried again");
    }
}
