//! How engines on one database stay of one mind: settings and lists are read when somebody says that they changed, and
//! what others learned is taken over as soon as they wrote it down. Domains whose servers are white are looked up anew.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::TimeDelta;
use posthorn_model::Address;
use posthorn_store::policy::news::{self, News};
use posthorn_store::policy::{access, greylist, throttle, white_domains};
use posthorn_trust::spf;

use crate::Policy;
use crate::throttle::Notice;

/// How long nothing is heard before everything is read.
const POLL: Duration = Duration::from_secs(60);
/// How long a database that is away is left alone.
const PAUSE: Duration = Duration::from_millis(500);
/// How often white domains are looked at, and how long what their records say is taken for true.
const LOOK: Duration = Duration::from_secs(60);
const TRUE_FOR: TimeDelta = TimeDelta::hours(1);
/// How long the records of one domain may take.
const PATIENCE: Duration = Duration::from_secs(60);

impl Policy {
    /// Writes down what greylisting and throttling learned, and tells other engines.
    pub(crate) async fn write_standing(&self) -> posthorn_mail::Result<()> {
        let shared = &*self.shared;
        let now = shared.mail.now();
        let mut connection = shared.mail.store().acquire().await?;
        let exchange = shared.exchange.lock().await;
        let counted = shared.throttle.flush(&mut connection, now, &shared.digest).await?;
        let learned = shared.greylist.flush(&mut connection, now).await?;
        drop(exchange);
        if counted || learned {
            news::tell_state(&mut connection, &shared.name).await?;
        }
        for notice in shared.throttle.take_notices() {
            let Notice { rule, subject, since, at, .. } = &notice;
            if throttle::notice(&mut connection, (rule, subject), *since, *at).await? {
                self.tell(&notice).await;
            }
        }
        Ok(())
    }

    /// Reads for whom greylisting holds, the limits, and the white and black lists.
    pub(crate) async fn read_standing(&self) -> posthorn_mail::Result<()> {
        let shared = &*self.shared;
        let mut connection = shared.mail.store().acquire().await?;
        let settings = greylist::settings(&mut connection).await?;
        let domains = white_domains::list(&mut connection).await?;
        let limits = throttle::limits(&mut connection).await?;
        let entries = access::list(&mut connection).await?;
        shared.greylist.set(&settings, &domains);
        shared.throttle.set(&limits);
        shared.access.set(&entries);
        Ok(())
    }

    /// Takes over what other engines learned since the last time.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn catch_up(&self) -> posthorn_mail::Result<()> {
        let shared = &*self.shared;
        let now = shared.mail.now();
        let mut connection = shared.mail.store().acquire().await?;
        let _exchange = shared.exchange.lock().await;
        // What is under way now is read the next time.
        let next = news::floor(&mut connection).await?;
        let since = shared.floor.load(Ordering::Relaxed);
        shared.throttle.catch_up(&mut connection, since, now, &shared.digest).await?;
        shared.greylist.catch_up(&mut connection, since, now, &shared.digest).await?;
        shared.floor.store(next, Ordering::Relaxed);
        Ok(())
    }

    /// Forgets what is old.
    pub(crate) async fn forget_standing(&self) -> posthorn_mail::Result<()> {
        let shared = &*self.shared;
        let now = shared.mail.now();
        let mut connection = shared.mail.store().acquire().await?;
        shared.greylist.sweep(&mut connection, now).await?;
        shared.throttle.sweep(&mut connection, now).await?;
        Ok(())
    }

    /// Hears what other engines and administrators do. Never returns.
    pub(crate) async fn hear(&self) {
        let shared = &*self.shared;
        loop {
            let mut listener = match shared.mail.store().policy_listener().await {
                Ok(listener) => listener,
                Err(error) => {
                    tracing::warn!(%error, "other policy engines cannot be heard, trying again");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            // From here on nothing is missed; memory is filled, and what was written meanwhile is taken over.
            if let Err(error) = self.fill().await {
                tracing::warn!(%error, "what the policy learned earlier cannot be read, trying again");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            loop {
                let outcome = match tokio::time::timeout(POLL, listener.next(&shared.name)).await {
                    Ok(Ok(News::State)) | Err(_) => self.catch_up().await,
                    Ok(Ok(News::Settings)) => self.reload().await,
                    Ok(Ok(News::Lost)) => match self.reload().await {
                        Ok(()) => self.catch_up().await,
                        error => error,
                    },
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "the connection that hears other policy engines broke");
                        break;
                    }
                };
                if let Err(error) = outcome {
                    tracing::warn!(%error, "changes of the policy cannot be read, trying again");
                    tokio::time::sleep(PAUSE).await;
                    break;
                }
            }
        }
    }

    /// Reads into memory all that counts, where it does not hold it yet.
    async fn fill(&self) -> posthorn_mail::Result<()> {
        let shared = &*self.shared;
        if !shared.greylist.is_whole() {
            shared.greylist.load(shared.mail.store(), shared.mail.now(), &shared.digest).await?;
        }
        self.reload().await?;
        self.catch_up().await
    }

    /// Looks white domains up, when it is time. Never returns.
    pub(crate) async fn look_up_white_domains(&self) {
        loop {
            if let Err(error) = self.refresh_white_domains(false).await {
                tracing::warn!(%error, "white domains are not looked up, it is tried again");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Looks up the white domains whose networks are an hour old, or all of them.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn refresh_white_domains(&self, all: bool) -> posthorn_mail::Result<()> {
        let shared = &*self.shared;
        let now = shared.mail.now();
        let domains = white_domains::list(&mut *shared.mail.store().acquire().await?).await?;
        let is_old =
            |white: &&white_domains::WhiteDomain| all || white.refreshed_at.is_none_or(|at| now - at >= TRUE_FOR);
        let mut changed = false;
        for white in domains.iter().filter(is_old) {
            let walk = spf::networks(&white.domain, shared.asking.resolver());
            let found =
                tokio::time::timeout(PATIENCE, walk).await.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            let found = found.as_deref().map_err(String::as_str);
            let mut transaction = shared.mail.store().begin().await?;
            changed |= white_domains::refresh(&mut transaction, &white.domain, found, now).await?;
            transaction.commit().await?;
        }
        if changed {
            news::tell_settings(&mut *shared.mail.store().acquire().await?).await?;
            self.read_standing().await?;
        }
        Ok(())
    }

    /// Tells the administrators that somebody met a limit.
    async fn tell(&self, notice: &Notice) {
        let shared = &*self.shared;
        tracing::info!(rule = notice.rule, subject = notice.subject, why = notice.why, "somebody met a limit");
        let text = format!(
            "{} met a limit of this server at {}.\r\n\r\n{}\r\n\r\nNobody is told again in this window.\r\n",
            notice.subject,
            notice.at.format("%F %T UTC"),
            notice.why
        );
        let to: Vec<Address> = shared.throttle.section().notified().cloned().collect();
        for address in to {
            let subject = format!("Limit met: {}", notice.subject);
            if let Err(error) = shared.mail.notify(&address, &subject, &text).await {
                tracing::warn!(%error, recipient = %address, "nobody could be told that a limit was met");
            }
        }
    }
}
