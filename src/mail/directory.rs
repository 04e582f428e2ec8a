//! Administering domains, accounts and aliases.

use posthorn_model::{AccountId, Address, Domain, DomainId};
use posthorn_sasl::{SALT_LENGTH, Secret, password};
use posthorn_store::accounts::{self, Account};
use posthorn_store::aliases::{self, Alias};
use posthorn_store::domains::{self, DomainRow};
use posthorn_store::{Connection, Transaction, changes, states};

use crate::authenticate::digests;
use crate::{Error, Mail, Result, random};

/// What a new account starts with.
#[derive(Clone, Debug, Default)]
pub struct NewAccount {
    /// The name people see.
    pub display_name: String,
    /// The password; nobody can log in without.
    pub password: Option<PasswordSource>,
    /// Octets; `None` takes the configured default.
    pub quota_bytes: Option<i64>,
    /// Messages; `None` takes the configured default.
    pub quota_messages: Option<i64>,
}

/// Where a password comes from.
#[derive(Clone)]
pub enum PasswordSource {
    /// The password itself.
    Plain(Secret),
    /// A hash of another system, see [`posthorn_sasl::password::recognise`].
    Hashed(String),
}

impl std::fmt::Debug for PasswordSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Hashes are secrets too.
        f.write_str(match self {
            Self::Plain(_) => "Plain(..)",
            Self::Hashed(_) => "Hashed(..)",
        })
    }
}

/// What to change of an account; `None` leaves it as it is.
#[derive(Clone, Debug, Default)]
pub struct AccountChange {
    /// The name people see.
    pub display_name: Option<String>,
    /// A new password.
    pub password: Option<PasswordSource>,
    /// Whether it may log in and receive.
    pub enabled: Option<bool>,
    /// Octets and messages; zero is unlimited.
    pub quota_bytes: Option<i64>,
    /// Messages; zero is unlimited.
    pub quota_messages: Option<i64>,
    /// Where its mail goes as well.
    pub forward_to: Option<Vec<String>>,
    /// Whether a forwarded message also stays here.
    pub forward_keeps_copy: Option<bool>,
    /// Addresses it may send from besides its own.
    pub delegated: Option<Vec<String>>,
}

/// Why the directory was not changed, in words for the administrator.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unfit {
    /// The name is taken.
    #[error("{0} exists already")]
    Exists(String),
    /// Something hangs on it.
    #[error("{0}")]
    InUse(String),
    /// There is no such thing.
    #[error("there is no {0}")]
    Missing(String),
    /// A hash of a scheme we cannot check.
    #[error("the password hash is of no use: {0}")]
    Password(#[from] password::UnknownScheme),
    /// What was given is no address.
    #[error("{0} is not an address")]
    NoAddress(String),
}

/// What an administrative duty answers.
pub type Answer<T> = Result<std::result::Result<T, Unfit>>;

/// A quota as the store has it: zero is unlimited.
#[must_use]
pub fn quota_of(number: i64) -> Option<i64> {
    (number > 0).then_some(number)
}

impl Mail {
    /// All domains, by name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn domains(&self) -> Result<Vec<DomainRow>> {
        let mut connection = self.store.acquire().await?;
        Ok(domains::list(&mut connection).await?)
    }

    /// All accounts (of a domain), by name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn accounts(&self, domain: Option<&Domain>) -> Result<Vec<accounts::Listed>> {
        let mut connection = self.store.acquire().await?;
        Ok(accounts::list(&mut connection, domain).await?)
    }

    /// All aliases (of a domain), by name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn aliases(&self, domain: Option<&Domain>) -> Result<Vec<Alias>> {
        let mut connection = self.store.acquire().await?;
        Ok(aliases::list(&mut connection, domain).await?)
    }

    /// Where an alias leads, found as mail finds it: behind an alias domain, the whole name first, then without its
    /// detail. `None` when there is no such alias.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn alias_targets(&self, address: &Address) -> Result<Option<Vec<String>>> {
        let Some(domain) = self.our_domain(address.domain()).await? else { return Ok(None) };
        let mut connection = self.store.acquire().await?;
        let (user, _) = address.subaddress(self.section().subaddress_separator);
        for local in [address.local(), user] {
            if let Some(targets) = aliases::find(&mut connection, local, &domain).await? {
                return Ok(Some(targets));
            }
        }
        Ok(None)
    }

    /// Addresses delegated to an account.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn delegated(&self, account: AccountId) -> Result<Vec<String>> {
        let mut connection = self.store.acquire().await?;
        Ok(accounts::delegated(&mut connection, account).await?)
    }

    /// Adds a domain, or with `alias_of` another spelling of one.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn add_domain(&self, name: &Domain, alias_of: Option<&Domain>) -> Answer<()> {
        let mut transaction = self.store.begin().await?;
        let target = match alias_of {
            Some(target) => match real_domain(&mut transaction, target).await? {
                Ok(target) => Some(target),
                Err(unfit) => return Ok(Err(unfit)),
            },
            None => None,
        };
        match domains::add(&mut transaction, name, target).await {
            Ok(_) => self.publish(transaction).await.map(Ok),
            Err(posthorn_store::Error::Taken(name)) => Ok(Err(Unfit::Exists(name))),
            Err(error) => Err(error.into()),
        }
    }

    /// Changes where a domain's mail for unknown names goes, and whether it receives at all.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn set_domain(&self, name: &Domain, catch_all: Option<Vec<String>>, enabled: Option<bool>) -> Answer<()> {
        if let Some(unfit) = catch_all.iter().flatten().find_map(|text| not_an_address(text)) {
            return Ok(Err(unfit));
        }
        let mut transaction = self.store.begin().await?;
        let Some(row) = domains::find(&mut transaction, name).await? else {
            return Ok(Err(Unfit::Missing(format!("domain {name}"))));
        };
        let alias_of = match &row.alias_of {
            Some(target) => domains::find(&mut transaction, target).await?.map(|target| target.id),
            None => None,
        };
        let catch_all = catch_all.unwrap_or(row.catch_all);
        domains::set(&mut transaction, row.id, alias_of, &catch_all, enabled.unwrap_or(row.enabled)).await?;
        self.publish(transaction).await.map(Ok)
    }

    /// Removes a domain that has neither accounts nor aliases nor alias domains.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn remove_domain(&self, name: &Domain) -> Answer<()> {
        let mut transaction = self.store.begin().await?;
        let Some(row) = domains::find(&mut transaction, name).await? else {
            return Ok(Err(Unfit::Missing(format!("domain {name}"))));
        };
        let (accounts, aliases, others) = domains::population(&mut transaction, row.id).await?;
        if accounts + aliases + others > 0 {
            let text = format!(
                "domain {name} still has {accounts} accounts, {aliases} aliases and {others} alias domains: remove them first"
            );
            return Ok(Err(Unfit::InUse(text)));
        }
        domains::remove(&mut transaction, row.id).await?;
        self.publish(transaction).await.map(Ok)
    }

    /// Adds an account with its mailboxes.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn add_account(&self, address: &Address, new: NewAccount) -> Answer<AccountId> {
        let digests = match hashed(new.password).await? {
            Ok(digests) => digests,
            Err(unfit) => return Ok(Err(unfit)),
        };
        let mut transaction = self.store.begin().await?;
        let domain = match real_domain(&mut transaction, address.domain()).await? {
            Ok(domain) => domain,
            Err(unfit) => return Ok(Err(unfit)),
        };
        let id = match accounts::add(&mut transaction, domain, address).await {
            Ok(id) => id,
            Err(posthorn_store::Error::Taken(name)) => return Ok(Err(Unfit::Exists(name))),
            Err(error) => return Err(error.into()),
        };
        let default = &self.shared.section;
        let bytes = new.quota_bytes.unwrap_or(i64::try_from(default.quota.octets()).unwrap_or(i64::MAX));
        let messages = new.quota_messages.unwrap_or(i64::try_from(default.quota_messages).unwrap_or(i64::MAX));
        states::create(&mut transaction, id, quota_of(bytes), quota_of(messages)).await?;
        self.furnish(&mut transaction, id).await?;
        if let Some((hash, scram)) = digests {
            accounts::set_password(&mut transaction, id, Some(&hash), scram.as_deref()).await?;
        }
        if !new.display_name.is_empty()
            && let Some(mut account) = accounts::find(&mut transaction, address.local(), address.domain()).await?
        {
            account.display_name = new.display_name;
            accounts::set(&mut transaction, &account).await?;
        }
        self.publish(transaction).await?;
        Ok(Ok(id))
    }

    /// Changes an account.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn set_account(&self, address: &Address, change: AccountChange) -> Answer<()> {
        let addresses = change.forward_to.iter().flatten().chain(change.delegated.iter().flatten());
        if let Some(unfit) = addresses.into_iter().find_map(|text| not_an_address(text)) {
            return Ok(Err(unfit));
        }
        let digests = match hashed(change.password.clone()).await? {
            Ok(digests) => digests,
            Err(unfit) => return Ok(Err(unfit)),
        };
        let mut transaction = self.store.begin().await?;
        let Some(mut account) = accounts::find(&mut transaction, address.local(), address.domain()).await? else {
            return Ok(Err(Unfit::Missing(format!("account {address}"))));
        };
        if let Some((hash, scram)) = digests {
            accounts::set_password(&mut transaction, account.id, Some(&hash), scram.as_deref()).await?;
        }
        if change.quota_bytes.is_some() || change.quota_messages.is_some() {
            let state = states::read(&mut transaction, account.id).await?.ok_or(Error::NoAccount)?;
            let bytes = change.quota_bytes.map_or(state.quota_bytes, quota_of);
            let messages = change.quota_messages.map_or(state.quota_messages, quota_of);
            states::set_quota(&mut transaction, account.id, bytes, messages).await?;
        }
        if let Some(delegated) = &change.delegated {
            accounts::set_delegated(&mut transaction, account.id, delegated).await?;
        }
        merge(&mut account, change);
        accounts::set(&mut transaction, &account).await?;
        self.publish(transaction).await.map(Ok)
    }

    /// Removes an account with all its mail.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn remove_account(&self, address: &Address) -> Answer<()> {
        let mut transaction = self.store.begin().await?;
        let Some(account) = accounts::find(&mut transaction, address.local(), address.domain()).await? else {
            return Ok(Err(Unfit::Missing(format!("account {address}"))));
        };
        // The lock lets a delivery in progress finish first.
        let state = states::advance(&mut transaction, account.id).await?;
        accounts::remove(&mut transaction, account.id).await?;
        if let Some(state) = state {
            // For other processes' sessions in it.
            changes::tell(&mut transaction, account.id, state.modseq).await?;
        }
        self.publish(transaction).await?;
        self.shared.live.forget(account.id);
        Ok(Ok(()))
    }

    /// Adds an alias.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn add_alias(&self, address: &Address, targets: &[String]) -> Answer<()> {
        if let Some(unfit) = targets.iter().find_map(|text| not_an_address(text)) {
            return Ok(Err(unfit));
        }
        let mut transaction = self.store.begin().await?;
        let domain = match real_domain(&mut transaction, address.domain()).await? {
            Ok(domain) => domain,
            Err(unfit) => return Ok(Err(unfit)),
        };
        match aliases::add(&mut transaction, domain, address, &normalised(targets)).await {
            Ok(()) => self.publish(transaction).await.map(Ok),
            Err(posthorn_store::Error::Taken(name)) => Ok(Err(Unfit::Exists(name))),
            Err(error) => Err(error.into()),
        }
    }

    /// Changes an alias.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn set_alias(&self, address: &Address, targets: Option<&[String]>, enabled: Option<bool>) -> Answer<()> {
        if let Some(unfit) = targets.into_iter().flatten().find_map(|text| not_an_address(text)) {
            return Ok(Err(unfit));
        }
        let mut transaction = self.store.begin().await?;
        let missing = || Unfit::Missing(format!("alias {address}"));
        let Some(domain) = domains::find(&mut transaction, address.domain()).await? else { return Ok(Err(missing())) };
        let present = aliases::list(&mut transaction, Some(address.domain())).await?;
        let folded = address.local().to_lowercase();
        let Some(mut alias) = present.into_iter().find(|alias| alias.address.local().to_lowercase() == folded) else {
            return Ok(Err(missing()));
        };
        if let Some(targets) = targets {
            alias.targets = normalised(targets);
        }
        alias.enabled = enabled.unwrap_or(alias.enabled);
        aliases::set(&mut transaction, domain.id, &alias).await?;
        self.publish(transaction).await.map(Ok)
    }

    /// Removes an alias.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn remove_alias(&self, address: &Address) -> Answer<()> {
        let mut transaction = self.store.begin().await?;
        let missing = || Unfit::Missing(format!("alias {address}"));
        let Some(domain) = domains::find(&mut transaction, address.domain()).await? else { return Ok(Err(missing())) };
        if !aliases::remove(&mut transaction, domain.id, address).await? {
            return Ok(Err(missing()));
        }
        self.publish(transaction).await.map(Ok)
    }

    /// Commits a change to the directory and lets every process forget what it remembered.
    pub(crate) async fn publish(&self, mut transaction: Transaction) -> Result<()> {
        changes::tell_directory(&mut transaction).await?;
        transaction.commit().await?;
        self.directory_changed().await;
        Ok(())
    }
}

/// The domain of this name, which must not be an alias domain.
pub(crate) async fn real_domain(connection: &mut Connection, name: &Domain) -> Answer<DomainId> {
    Ok(match domains::find(connection, name).await? {
        None => Err(Unfit::Missing(format!("domain {name}"))),
        Some(row) => match row.alias_of {
            None => Ok(row.id),
            Some(of) => Err(Unfit::InUse(format!("domain {name} is an alias of {of}: use {of} instead"))),
        },
    })
}

fn merge(account: &mut Account, change: AccountChange) {
    if let Some(display_name) = change.display_name {
        account.display_name = display_name;
    }
    if let Some(enabled) = change.enabled {
        account.enabled = enabled;
    }
    if let Some(forward_to) = change.forward_to {
        account.forward_to = normalised(&forward_to);
    }
    if let Some(keep) = change.forward_keeps_copy {
        account.forward_keeps_copy = keep;
    }
}

/// Hash and, where the password itself is known, SCRAM keys.
async fn hashed(source: Option<PasswordSource>) -> Answer<Option<(String, Option<String>)>> {
    let secret = match source {
        None => return Ok(Ok(None)),
        Some(PasswordSource::Hashed(hash)) => {
            return Ok(match password::recognise(&hash) {
                Ok(_) => Ok(Some((hash, None))),
                Err(unknown) => Err(unknown.into()),
            });
        }
        Some(PasswordSource::Plain(secret)) => secret,
    };
    let salts = (random::<16>()?, random::<SALT_LENGTH>()?);
    let (hash, scram) =
        tokio::task::spawn_blocking(move || digests(&secret, salts)).await.map_err(|_| Error::Internal)?;
    Ok(Ok(Some((hash, Some(scram)))))
}

fn not_an_address(text: &str) -> Option<Unfit> {
    Address::parse(text).is_err().then(|| Unfit::NoAddress(text.to_owned()))
}

/// Targets as their one spelling, so that they compare.
fn normalised(targets: &[String]) -> Vec<String> {
    targets.iter().filter_map(|text| Address::parse(text).ok()).map(|address| address.to_string()).collect()
}
