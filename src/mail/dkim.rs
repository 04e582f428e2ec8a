//! Keys that our domains sign with: making, listing, rotating, and what to publish of them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use posthorn_model::Domain;
use posthorn_store::dkim_keys::{self, DkimAlgorithm, DkimKey};
use posthorn_store::{Connection, changes};
use posthorn_trust::{KeyType, MasterKey, SigningKey, zone_line};

use crate::directory::{Answer, Unfit};
use crate::master_key::MasterKeyFit;
use crate::{Error, Mail, Result};

/// One key of a domain, as people see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyView {
    /// The domain that signs.
    pub domain: String,
    /// What stands before `._domainkey` in the DNS.
    pub selector: String,
    /// RSA or Ed25519.
    pub kind: KeyType,
    /// Where it is kept, and what it does now.
    pub state: KeyState,
    /// When it was made; `None` for keys in files.
    pub created_at: Option<DateTime<Utc>>,
    /// When it begins to sign.
    pub active_at: Option<DateTime<Utc>>,
    /// When it stops.
    pub retired_at: Option<DateTime<Utc>>,
    /// The value of the TXT record, such as `v=DKIM1; k=rsa; p=…`.
    pub record: String,
    /// Whether it has signed for longer than `dkim.key_lifetime`.
    pub overdue: bool,
}

/// What a key does now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyState {
    /// Signs.
    Active,
    /// From a file: signs as long as the file is configured.
    File,
    /// Stays published for mail that is on its way.
    Overlap,
    /// Is published so that receivers know it when it begins to sign.
    Published,
    /// Does nothing any more and may be removed.
    Retired,
}

impl KeyState {
    /// Whether its record must be in the DNS.
    #[must_use]
    pub fn is_published(self) -> bool {
        self != Self::Retired
    }

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::File => "file",
            Self::Overlap => "overlap",
            Self::Published => "published",
            Self::Retired => "retired",
        }
    }
}

impl KeyView {
    /// The name of its TXT record, without a dot at the end.
    #[must_use]
    pub fn record_name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }

    /// Its TXT record as a line of a zone file.
    #[must_use]
    pub fn zone_line(&self) -> String {
        zone_line(&self.selector, &self.domain, &self.record)
    }
}

impl Mail {
    /// Makes keys for a domain, one of each kind named, that sign from `active_at` on. Without a selector they are named
    /// after their kind and the day, and a kind of which the domain has a key that nothing ends is refused.
    ///
    /// # Errors
    /// When the store fails, or there is no randomness.
    pub async fn create_dkim_keys(
        &self,
        domain: &Domain,
        kinds: &[KeyType],
        selector: Option<&str>,
        active_at: DateTime<Utc>,
    ) -> Answer<Vec<KeyView>> {
        let Some(master) = &self.shared.master_key else { return Ok(Err(no_master_key())) };
        if matches!(self.master_key_fit().await?, MasterKeyFit::Other { .. }) {
            return Ok(Err(other_master_key()));
        }
        if selector.is_some() && kinds.len() != 1 {
            return Ok(Err(Unfit::InUse("a selector is for one key: name one algorithm with it".to_owned())));
        }
        if selector.is_some_and(|selector| Domain::parse(selector).map_or(true, |name| name.is_literal())) {
            return Ok(Err(Unfit::Missing("such selector: letters, digits, hyphens and dots are allowed".to_owned())));
        }
        let mut transaction = self.store.begin().await?;
        if !self.is_own(&mut transaction, domain).await? {
            return Ok(Err(Unfit::Missing(format!("domain {domain}"))));
        }
        let known = dkim_keys::list(&mut transaction, Some(domain.as_str())).await?;
        let signs = |row: &&DkimKey| kinds.contains(&kind_of(row.algorithm)) && row.retired_at.is_none();
        if selector.is_none()
            && let Some(row) = known.iter().find(signs)
        {
            let (kind, selector) = (kind_of(row.algorithm), &row.selector);
            let text = format!(
                "{domain} has the {kind} key {selector} already: posthorn dkim rotate {domain} puts a fresh one in its place; --selector makes one more"
            );
            return Ok(Err(Unfit::InUse(text)));
        }
        let mut made = Vec::with_capacity(kinds.len());
        for kind in kinds {
            let selector = match selector {
                Some(given) => given.to_ascii_lowercase(),
                None => self.fresh_selector(*kind, &known),
            };
            let key = self.make_key(master, domain, &selector, (*kind, active_at)).await?;
            match dkim_keys::add(&mut transaction, &key).await {
                Ok(()) => made.push(self.view(&key)),
                Err(error) if error.is_conflict() => {
                    return Ok(Err(Unfit::Exists(format!("key {selector} of {domain}"))));
                }
                Err(error) => return Err(error.into()),
            }
        }
        changes::tell_directory(&mut transaction).await?;
        transaction.commit().await?;
        self.shared.signers.clear();
        Ok(Ok(made))
    }

    /// All keys (of a domain), those in files too.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn dkim_keys(&self, domain: Option<&Domain>) -> Result<Vec<KeyView>> {
        let mut connection = self.store.acquire().await?;
        let rows = dkim_keys::list(&mut connection, domain.map(Domain::as_str)).await?;
        let mut views: Vec<KeyView> = rows.iter().map(|row| self.view(row)).collect();
        let wanted = |view: &&KeyView| domain.is_none_or(|domain| view.domain == domain.as_str());
        views.extend(self.shared.file_keys.iter().filter(wanted).cloned());
        views.sort_by(|a, b| a.domain.cmp(&b.domain));
        Ok(views)
    }

    /// Puts fresh keys in the place of those that sign for a domain: the new ones begin at `at`, and the old ones stop
    /// then and stay published for the overlap. Returns all that must be in the DNS.
    ///
    /// # Errors
    /// When the store fails, or there is no randomness.
    pub async fn rotate_dkim_keys(&self, domain: &Domain, at: DateTime<Utc>) -> Answer<Vec<KeyView>> {
        let Some(master) = &self.shared.master_key else { return Ok(Err(no_master_key())) };
        if matches!(self.master_key_fit().await?, MasterKeyFit::Other { .. }) {
            return Ok(Err(other_master_key()));
        }
        let mut transaction = self.store.begin().await?;
        let rows = dkim_keys::list(&mut transaction, Some(domain.as_str())).await?;
        let ends = |row: &&DkimKey| row.retired_at.is_none_or(|retired| retired > at);
        let old: Vec<&DkimKey> = rows.iter().filter(ends).collect();
        if old.is_empty() {
            return Ok(Err(Unfit::Missing(format!("key of {domain} to rotate"))));
        }
        let mut kinds: Vec<KeyType> = Vec::new();
        for row in &old {
            let kind = kind_of(row.algorithm);
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
            dkim_keys::retire(&mut transaction, &row.domain, &row.selector, Some(at)).await?;
        }
        for kind in kinds {
            let selector = self.fresh_selector(kind, &rows);
            let key = self.make_key(master, domain, &selector, (kind, at)).await?;
            dkim_keys::add(&mut transaction, &key).await?;
        }
        changes::tell_directory(&mut transaction).await?;
        transaction.commit().await?;
        self.shared.signers.clear();
        let mut views = self.dkim_keys(Some(domain)).await?;
        views.retain(|view| view.state.is_published());
        Ok(Ok(views))
    }

    /// Removes a key for good.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn remove_dkim_key(&self, domain: &Domain, selector: &str) -> Answer<()> {
        let mut transaction = self.store.begin().await?;
        if !dkim_keys::remove(&mut transaction, domain.as_str(), selector).await? {
            return Ok(Err(Unfit::Missing(format!("key {selector} of {domain}"))));
        }
        changes::tell_directory(&mut transaction).await?;
        transaction.commit().await?;
        self.shared.signers.clear();
        Ok(Ok(()))
    }

    async fn is_own(&self, connection: &mut Connection, domain: &Domain) -> Result<bool> {
        // Reports are from the host's own name, which need not be a mail domain.
        let host = Domain::parse(&self.shared.hostname).is_ok_and(|host| host == *domain);
        Ok(host || posthorn_store::domains::find(connection, domain).await?.is_some())
    }

    fn fresh_selector(&self, kind: KeyType, known: &[DkimKey]) -> String {
        let base = format!("{}{}", kind.as_str(), self.now().format("%Y%m%d"));
        let taken = |name: &str| known.iter().any(|key| key.selector == name);
        if !taken(&base) {
            return base;
        }
        let numbered = (2..).map(|number| format!("{base}-{number}"));
        numbered.into_iter().find(|name| !taken(name)).unwrap_or(base)
    }

    async fn make_key(
        &self,
        master: &MasterKey,
        domain: &Domain,
        selector: &str,
        (kind, active_at): (KeyType, DateTime<Utc>),
    ) -> Result<DkimKey> {
        // RSA keys take a while to find.
        let key = tokio::task::spawn_blocking(move || SigningKey::generate(kind));
        let key = key.await.map_err(|_| Error::Internal)?.map_err(Error::Signing)?;
        let record = key.record().map_err(Error::Signing)?;
        let public = record.rsplit_once("p=").and_then(|(_, coded)| BASE64.decode(coded.trim()).ok());
        let secret = key.to_pkcs8().map_err(Error::Signing)?;
        Ok(DkimKey {
            domain: domain.as_str().to_owned(),
            selector: selector.to_owned(),
            algorithm: match kind {
                KeyType::Rsa => DkimAlgorithm::Rsa,
                KeyType::Ed25519 => DkimAlgorithm::Ed25519,
            },
            private: master.seal(domain.as_str(), selector, &secret).map_err(Error::Signing)?,
            public: public.ok_or(Error::Internal)?,
            created_at: self.now(),
            active_at,
            retired_at: None,
        })
    }

    fn view(&self, key: &DkimKey) -> KeyView {
        let (now, section) = (self.now(), &self.shared.dkim);
        let kind = kind_of(key.algorithm);
        let lifetime = section.key_lifetime.duration();
        KeyView {
            domain: key.domain.clone(),
            selector: key.selector.clone(),
            kind,
            state: state(key, now, section.overlap.duration()),
            created_at: Some(key.created_at),
            active_at: Some(key.active_at),
            retired_at: key.retired_at,
            record: format!("v=DKIM1; k={}; p={}", kind.as_str(), BASE64.encode(&key.public)),
            overdue: !lifetime.is_zero() && key.retired_at.is_none() && key.active_at + lifetime < now,
        }
    }
}

fn state(key: &DkimKey, now: DateTime<Utc>, overlap: Duration) -> KeyState {
    match key.retired_at {
        Some(retired) if retired + overlap <= now => KeyState::Retired,
        Some(retired) if retired <= now => KeyState::Overlap,
        _ if key.active_at > now => KeyState::Published,
        _ => KeyState::Active,
    }
}

fn kind_of(algorithm: DkimAlgorithm) -> KeyType {
    match algorithm {
        DkimAlgorithm::Rsa => KeyType::Rsa,
        DkimAlgorithm::Ed25519 => KeyType::Ed25519,
    }
}

fn other_master_key() -> Unfit {
    let text = "the master key (dkim.master_key) is not the one that the keys of this database are sealed with";
    Unfit::InUse(text.to_owned())
}

fn no_master_key() -> Unfit {
    Unfit::Missing("master key (dkim.master_key) to keep private keys with".to_owned())
}
