//! What administrators order: for whom greylisting holds, what the limits are, who is on which list, whose servers are
//! white. Engines that run hear of each order at once.
//!
//! The same questions and answers as [`crate::telling`], for the other tables.

use chrono::{DateTime, Utc};
use posthorn_config::{LimitKind, PolicyGreylist, PolicyLimit, PolicyPattern};
use posthorn_mail::{Mail, Result};
use posthorn_model::Domain;
use posthorn_store::policy::{access, greylist, news, throttle, white_domains};
use posthorn_trust::{Resolver, spf};

pub use posthorn_store::policy::access::Entry;
pub use posthorn_store::policy::greylist::{Setting, State, Triplet};
pub use posthorn_store::policy::throttle::Counter;
pub use posthorn_store::policy::white_domains::WhiteDomain;

use crate::throttle::{limit_of, row_of, rule_name};

/// Orders and questions to the tables; needs no engine that runs.
#[derive(Clone)]
pub struct Orders {
    mail: Mail,
}

impl Orders {
    /// For the database of these duties.
    #[must_use]
    pub fn new(mail: Mail) -> Self {
        Self { mail }
    }

    /// For whom greylisting holds, by account and sender.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn greylist_settings(&self) -> Result<Vec<Setting>> {
        let mut connection = self.mail.store().acquire().await?;
        Ok(greylist::settings(&mut connection).await?)
    }

    /// Says whether senders wait for an account, in the place of what was said before.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn set_greylist(
        &self,
        account: &PolicyPattern,
        sender: &PolicyPattern,
        state: State,
        note: &str,
    ) -> Result<()> {
        let setting = Setting {
            account: account.to_string(),
            sender: sender.to_string(),
            state,
            note: note.to_owned(),
            added_at: self.mail.now(),
        };
        let mut transaction = self.mail.store().begin().await?;
        greylist::put_setting(&mut transaction, &setting).await?;
        news::tell_settings(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// Takes a setting back; `false` when there was none.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn unset_greylist(&self, account: &PolicyPattern, sender: &PolicyPattern) -> Result<bool> {
        let mut transaction = self.mail.store().begin().await?;
        let was = greylist::remove_setting(&mut transaction, &account.to_string(), &sender.to_string()).await?;
        news::tell_settings(&mut transaction).await?;
        transaction.commit().await?;
        Ok(was)
    }

    /// What waits: attempts that did not pass, the latest first; for a recipient, if one is named.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn held(&self, section: &PolicyGreylist, recipient: Option<&str>, limit: u32) -> Result<Vec<Triplet>> {
        let since = crate::greylist::horizon(section, self.mail.now()).waiting;
        let mut connection = self.mail.store().acquire().await?;
        Ok(greylist::held(&mut connection, since, recipient, limit.into()).await?)
    }

    /// The domains whose servers are white, with their networks.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn white_domains(&self) -> Result<Vec<WhiteDomain>> {
        let mut connection = self.mail.store().acquire().await?;
        Ok(white_domains::list(&mut connection).await?)
    }

    /// Makes a domain's servers white; `false` when they were. Its networks are looked up by [`Self::look_up`], and every
    /// hour by engines that run.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn add_white_domain(&self, domain: &Domain) -> Result<bool> {
        let mut connection = self.mail.store().acquire().await?;
        Ok(white_domains::add(&mut connection, domain.as_str(), self.mail.now()).await?)
    }

    /// Makes them as others again; `false` when they were.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn remove_white_domain(&self, domain: &Domain) -> Result<bool> {
        let mut transaction = self.mail.store().begin().await?;
        let was = white_domains::remove(&mut transaction, domain.as_str()).await?;
        news::tell_settings(&mut transaction).await?;
        transaction.commit().await?;
        Ok(was)
    }

    /// Looks the networks of a domain up at once, and keeps them if it is a white one. Why they cannot be told is the
    /// inner error.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn look_up(
        &self,
        domain: &Domain,
        resolver: &dyn Resolver,
    ) -> Result<std::result::Result<Vec<String>, String>> {
        let found = spf::networks(domain.as_str(), resolver).await;
        let kept = found.as_deref().map_err(String::as_str);
        let mut transaction = self.mail.store().begin().await?;
        white_domains::refresh(&mut transaction, domain.as_str(), kept, self.mail.now()).await?;
        news::tell_settings(&mut transaction).await?;
        transaction.commit().await?;
        Ok(found)
    }

    /// The limits that were set here; those of the configuration are not among them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn limits(&self) -> Result<Vec<PolicyLimit>> {
        let mut connection = self.mail.store().acquire().await?;
        Ok(throttle::limits(&mut connection).await?.iter().filter_map(limit_of).collect())
    }

    /// Sets a limit, in the place of the one of the same kind and pattern.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn set_limit(&self, limit: &PolicyLimit) -> Result<()> {
        let mut transaction = self.mail.store().begin().await?;
        throttle::put_limit(&mut transaction, &row_of(limit)).await?;
        news::tell_settings(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// Takes a limit back; `false` when there was none.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn unset_limit(&self, kind: LimitKind, who: &PolicyPattern) -> Result<bool> {
        let number = LimitKind::ALL.into_iter().zip(0_i16..).find(|(one, _)| *one == kind).map_or(0, |(_, at)| at);
        let mut transaction = self.mail.store().begin().await?;
        let was = throttle::remove_limit(&mut transaction, number, &who.to_string()).await?;
        news::tell_settings(&mut transaction).await?;
        transaction.commit().await?;
        Ok(was)
    }

    /// What was used of limits and by whom, as engines wrote it down half a second ago; those that last longest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn used(&self, limit: u32) -> Result<Vec<Counter>> {
        let mut connection = self.mail.store().acquire().await?;
        Ok(throttle::latest(&mut connection, self.mail.now(), limit.into()).await?)
    }

    /// Lets somebody begin anew: under one limit or (`None`) under all, one subject as [`Self::used`] names it or all.
    /// Returns how many counters there were.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn reset(&self, limit: Option<(LimitKind, &PolicyPattern)>, subject: Option<&str>) -> Result<u64> {
        let rule = limit.map(|(kind, who)| rule_name(kind, who));
        let mut transaction = self.mail.store().begin().await?;
        let count = throttle::reset(&mut transaction, rule.as_deref(), subject).await?;
        news::tell_state(&mut transaction, "").await?;
        transaction.commit().await?;
        Ok(count)
    }

    /// The white and black lists, inbound first, by account and peer; those of the configuration are not among them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn lists(&self) -> Result<Vec<Entry>> {
        let mut connection = self.mail.store().acquire().await?;
        Ok(access::list(&mut connection).await?)
    }

    /// Puts somebody on a list, in the place of what was said of the same pair before.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn list(
        &self,
        outbound: bool,
        pair: (&PolicyPattern, &PolicyPattern),
        black: bool,
        note: &str,
    ) -> Result<()> {
        let (account, peer) = (pair.0.to_string(), pair.1.to_string());
        let entry = Entry { outbound, account, peer, black, note: note.to_owned(), added_at: self.mail.now() };
        let mut transaction = self.mail.store().begin().await?;
        access::put(&mut transaction, &entry).await?;
        news::tell_settings(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// Takes a peer, or (`None`) all, off the lists of an account. Returns how many there were.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn unlist(&self, outbound: bool, account: &PolicyPattern, peer: Option<&PolicyPattern>) -> Result<u64> {
        let peer = peer.map(ToString::to_string);
        let mut transaction = self.mail.store().begin().await?;
        let count = access::remove(&mut transaction, outbound, &account.to_string(), peer.as_deref()).await?;
        news::tell_settings(&mut transaction).await?;
        transaction.commit().await?;
        Ok(count)
    }

    /// The present moment, by the clock of the duties.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.mail.now()
    }
}
