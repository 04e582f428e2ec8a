//! Making the directory equal to a file: domains, accounts and aliases as somebody declared them.
//!
//! [`Declared::parse`] reads the file, [`Mail::plan`] compares it with what is there, [`Mail::carry_out`] makes the
//! changes, one transaction each: what was cut short is finished by applying the file again.

mod declared;
mod plan;

use aws_lc_rs::digest;
use posthorn_model::{AccountId, Address, Domain};
use posthorn_store::{accounts, domains, settings};

pub use declared::{AccountRow, AliasRow, Complaint, Declared, DomainRow, Place};
pub use plan::{Change, Current, CurrentAccount, Field, Kind, Plan, Step, Terms};

use crate::directory::{Answer, Unfit, quota_of, real_domain};
use crate::{Mail, Result};
use plan::Deed;

impl Mail {
    /// What has to change so that the directory equals a file; rows that cannot be carried out otherwise.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn plan(&self, declared: &Declared, prune: bool) -> Result<std::result::Result<Plan, Vec<Complaint>>> {
        let default = self.section();
        let number = |number: u64| quota_of(i64::try_from(number).unwrap_or(i64::MAX));
        let terms = Terms {
            prune,
            quota_bytes: number(default.quota.octets()),
            quota_messages: number(default.quota_messages),
        };
        Ok(Plan::new(declared, &self.current(declared).await?, &terms))
    }

    /// Makes the changes of a plan in their order and stops at the first that is refused, because somebody else
    /// changed the directory meanwhile.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn carry_out(&self, plan: &Plan) -> Answer<()> {
        for step in &plan.steps {
            if let Err(unfit) = self.perform(&step.deed).await? {
                return Ok(Err(unfit));
            }
        }
        let mut connection = self.store().acquire().await?;
        for (address, fingerprint) in &plan.remember {
            let Some(account) = accounts::find(&mut connection, address.local(), address.domain()).await? else {
                continue;
            };
            let name = setting_of(account.id);
            if settings::find(&mut connection, &name).await?.as_ref() != Some(fingerprint) {
                settings::put(&mut connection, &name, fingerprint).await?;
            }
        }
        Ok(Ok(()))
    }

    async fn current(&self, declared: &Declared) -> Result<Current> {
        let listed = self.accounts(None).await?;
        let mut connection = self.store().acquire().await?;
        let wanted: std::collections::HashSet<_> = declared.accounts.iter().map(|row| key_of(&row.address)).collect();
        let mut present = Vec::with_capacity(listed.len());
        for listed in listed {
            let id = listed.account.id;
            // Only what is compared is asked for.
            let (delegated, applied) = if wanted.contains(&key_of(&listed.account.address)) {
                let applied = settings::find(&mut connection, &setting_of(id)).await?;
                (accounts::delegated(&mut connection, id).await?, applied)
            } else {
                (Vec::new(), None)
            };
            present.push(CurrentAccount { listed, delegated, applied });
        }
        drop(connection);
        Ok(Current { domains: self.domains().await?, accounts: present, aliases: self.aliases(None).await? })
    }

    async fn perform(&self, deed: &Deed) -> Answer<()> {
        match deed {
            Deed::AddAccount(address, new, rest) => match self.add_account(address, (**new).clone()).await? {
                Ok(_) => self.set_account(address, (**rest).clone()).await,
                Err(unfit) => Ok(Err(unfit)),
            },
            Deed::AddAlias(row) => match self.add_alias(&row.address, &row.targets).await? {
                Ok(()) if row.enabled => Ok(Ok(())),
                Ok(()) => self.set_alias(&row.address, None, Some(false)).await,
                Err(unfit) => Ok(Err(unfit)),
            },
            Deed::AddDomain(row) => match self.add_domain(&row.name, row.alias_of.as_ref()).await? {
                Ok(()) => self.set_domain(&row.name, Some(row.catch_all.clone()), Some(row.enabled)).await,
                Err(unfit) => Ok(Err(unfit)),
            },
            Deed::RemoveAccount(address) => self.remove_account(address).await,
            Deed::RemoveAlias(address) => self.remove_alias(address).await,
            Deed::RemoveDomain(name) => self.remove_domain(name).await,
            Deed::SetAccount(address, change) => self.set_account(address, (**change).clone()).await,
            Deed::SetAlias(row) => self.set_alias(&row.address, Some(&row.targets), Some(row.enabled)).await,
            Deed::SetDomain(row) => match self.respell_domain(&row.name, row.alias_of.as_ref()).await? {
                Ok(()) => self.set_domain(&row.name, Some(row.catch_all.clone()), Some(row.enabled)).await,
                Err(unfit) => Ok(Err(unfit)),
            },
        }
    }

    /// Makes a domain another spelling of one, or one of its own again.
    async fn respell_domain(&self, name: &Domain, alias_of: Option<&Domain>) -> Answer<()> {
        let mut transaction = self.store().begin().await?;
        let Some(row) = domains::find(&mut transaction, name).await? else {
            return Ok(Err(Unfit::Missing(format!("domain {name}"))));
        };
        if row.alias_of.as_ref() == alias_of {
            return Ok(Ok(()));
        }
        let target = match alias_of {
            None => None,
            Some(target) => match real_domain(&mut transaction, target).await? {
                Ok(target) => Some(target),
                Err(unfit) => return Ok(Err(unfit)),
            },
        };
        let (accounts, aliases, others) = domains::population(&mut transaction, row.id).await?;
        if target.is_some() && accounts + aliases + others > 0 {
            let text = format!(
                "domain {name} has {accounts} accounts, {aliases} aliases and {others} alias domains: \
                 only a domain without any can become an alias domain"
            );
            return Ok(Err(Unfit::InUse(text)));
        }
        domains::set(&mut transaction, row.id, target, &row.catch_all, row.enabled).await?;
        self.publish(transaction).await.map(Ok)
    }
}

/// What two spellings of one address have in common.
fn key_of(address: &Address) -> String {
    format!("{}@{}", address.local().to_lowercase(), address.domain())
}

/// What is remembered of a hash.
fn fingerprint(hash: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, hash.as_bytes()).as_ref().to_vec()
}

/// The name of the setting that remembers an account's applied hash.
fn setting_of(account: AccountId) -> String {
    format!("applied password of account {}", account.0)
}
