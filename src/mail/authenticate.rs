//! Who somebody is: SASL dialogues against the directory, slowed for guessers, cheap for returning clients.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use posthorn_config::Auth;
use posthorn_model::{AccountId, Address};
use posthorn_sasl::{
    DEFAULT_ITERATIONS, Exchange, Mechanism, SALT_LENGTH, ScramKeys, Secret, ServerContext, Step, password,
};
use posthorn_store::accounts::{self, Account};
use posthorn_store::{aliases, domains};
use tokio::sync::Semaphore;

use crate::{Error, Mail, Result, random};

/// Aliases that are followed to find out whose an address is.
const MOST_ALIASES: usize = 100;

/// Somebody whose password was right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Login {
    /// The account.
    pub account: AccountId,
    /// Its address.
    pub address: Address,
}

/// What came of a step of a login.
#[derive(Debug)]
pub enum Outcome {
    /// Send this and pass on what comes back.
    Challenge(Vec<u8>),
    /// Name or password are wrong, or the message was not one; which, nobody is told.
    Refused,
    /// Too many failures from this address or for this account: try again later.
    Wait,
    /// Logged in.
    Welcome(Login),
}

/// Where a login comes from.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'o> {
    /// The client.
    pub address: IpAddr,
    /// What it speaks, for the trace.
    pub protocol: &'static str,
    /// `tls-exporter` of its TLS session.
    pub channel_binding: Option<&'o [u8]>,
    /// Whether a mechanism that binds to the TLS session was offered.
    pub plus_offered: bool,
}

/// A SASL dialogue in progress.
#[derive(Debug)]
pub struct Dialogue {
    exchange: Exchange,
    address: IpAddr,
    protocol: &'static str,
    username: String,
    /// Set when only the client's acknowledgement of our last message is missing.
    welcome: Option<Login>,
}

/// Logins that were verified lately, under a keyed digest of name and password.
pub(crate) struct Cache {
    key: hmac::Key,
    known: moka::sync::Cache<[u8; 32], Login>,
    /// Envelope senders that an account was found to own.
    senders: moka::sync::Cache<(AccountId, Address), ()>,
    enabled: bool,
    /// Hashing takes a core and 19 MiB each.
    hashing: Arc<Semaphore>,
}

impl Cache {
    pub(crate) fn new(auth: &Auth) -> Result<Self> {
        let remember = auth.cache.duration();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &random::<32>()?),
            known: moka::sync::Cache::builder().max_capacity(100_000).time_to_live(remember).build(),
            senders: moka::sync::Cache::builder().max_capacity(100_000).time_to_live(Duration::from_secs(60)).build(),
            enabled: !remember.is_zero(),
            hashing: Arc::new(Semaphore::new(cores)),
        })
    }

    pub(crate) fn clear(&self) {
        self.known.invalidate_all();
        self.senders.invalidate_all();
    }

    fn digest(&self, username: &str, secret: &Secret) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(username.len() as u64).to_le_bytes());
        context.update(username.as_bytes());
        context.update(secret.expose().as_bytes());
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

impl Dialogue {
    /// Begins a login with a mechanism.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn new(mechanism: Mechanism, origin: Origin<'_>) -> Result<Self> {
        let context = ServerContext {
            channel_binding: origin.channel_binding.map(<[u8]>::to_vec),
            plus_offered: origin.plus_offered,
            nonce: random()?,
        };
        let exchange = Exchange::new(mechanism, context);
        Ok(Self {
            exchange,
            address: origin.address,
            protocol: origin.protocol,
            username: String::new(),
            welcome: None,
        })
    }

    /// Takes the client's next message; `None` when it sent none with its choice of mechanism.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn step(&mut self, mail: &Mail, message: Option<&[u8]>) -> Result<Outcome> {
        if let Some(login) = self.welcome.take() {
            return Ok(Outcome::Welcome(login));
        }
        let mut step = self.exchange.step(message);
        if let Step::NeedCredentials { username } = step {
            if mail.shared.failures.is_barred(self.address, &username) {
                return Ok(Outcome::Wait);
            }
            let keys = mail.scram_keys(&username).await?;
            self.username = username;
            step = self.exchange.with_keys(keys);
        }
        match step {
            Step::Challenge(challenge) => Ok(Outcome::Challenge(challenge)),
            Step::Done { username, authorization, final_message } => {
                let login = mail.find_login(&username).await?.filter(|_| same(&username, authorization.as_deref()));
                let Some(account) = login else { return Ok(self.fail(mail, &username).await) };
                mail.shared.failures.forgive(&username);
                mail.shared.failures.at_home(self.address, &username);
                let login = Login { account: account.id, address: account.address };
                if final_message.is_empty() {
                    return Ok(Outcome::Welcome(login));
                }
                self.welcome = Some(login);
                Ok(Outcome::Challenge(final_message))
            }
            Step::Verify { authorization, username, password } => {
                if !same(&username, authorization.as_deref()) {
                    return Ok(self.fail(mail, &username).await);
                }
                mail.login(self.address, self.protocol, &username, password).await
            }
            Step::Failed(reason) => {
                tracing::debug!(peer.ip = %self.address, protocol = self.protocol, %reason, "authentication failed");
                let username = std::mem::take(&mut self.username);
                Ok(self.fail(mail, &username).await)
            }
            Step::NeedCredentials { .. } => Ok(Outcome::Refused),
        }
    }

    async fn fail(&self, mail: &Mail, username: &str) -> Outcome {
        mail.fail(self.address, self.protocol, username).await
    }
}

impl Mail {
    /// Compares a name and a password with the directory. A wrong pair is answered late.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn login(&self, from: IpAddr, protocol: &'static str, username: &str, secret: Secret) -> Result<Outcome> {
        // Also before the cache is asked: or whoever is barred could go on guessing what is in it, and fast.
        if self.shared.failures.is_barred(from, username) {
            tracing::warn!(peer.ip = %from, protocol, login = username, "too many failed logins, refused unseen");
            return Ok(Outcome::Wait);
        }
        let cache = &self.shared.logins;
        let digest = cache.enabled.then(|| cache.digest(username, &secret));
        if let Some(known) = digest.and_then(|digest| cache.known.get(&digest)) {
            self.shared.failures.at_home(from, username);
            return Ok(Outcome::Welcome(known));
        }
        let account = self.find_login(username).await?;
        let Some(account) = self.compare(account, secret).await? else {
            return Ok(self.fail(from, protocol, username).await);
        };
        self.shared.failures.forgive(username);
        self.shared.failures.at_home(from, username);
        let login = Login { account: account.id, address: account.address };
        if let Some(digest) = digest {
            cache.known.insert(digest, login.clone());
        }
        Ok(Outcome::Welcome(login))
    }

    /// The login of this name, vouched for by a front end that we trust (XCLIENT).
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn trusted_login(&self, username: &str) -> Result<Option<Login>> {
        let account = self.find_login(username).await?;
        Ok(account.map(|account| Login { account: account.id, address: account.address }))
    }

    /// Whether somebody may send with this envelope sender: their own address in any spelling of its domain and with
    /// any detail, an alias that leads to them, or an address delegated to them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn may_send_as(&self, login: &Login, sender: &Address) -> Result<bool> {
        let key = (login.account, sender.clone());
        if self.shared.logins.senders.contains_key(&key) {
            return Ok(true);
        }
        let owns = self.owns(login, sender).await?;
        if owns {
            self.shared.logins.senders.insert(key, ());
        }
        Ok(owns)
    }

    async fn owns(&self, login: &Login, sender: &Address) -> Result<bool> {
        let mut connection = self.store.acquire().await?;
        let real = match domains::find(&mut connection, sender.domain()).await? {
            Some(domain) => domain.alias_of.unwrap_or(domain.name),
            None => sender.domain().clone(),
        };
        let own = |local: &str| {
            real == *login.address.domain() && local.to_lowercase() == login.address.local().to_lowercase()
        };
        let (user, _) = sender.subaddress(self.shared.section.subaddress_separator);
        if own(sender.local()) || own(user) {
            return Ok(true);
        }
        let delegated = accounts::delegated(&mut connection, login.account).await?;
        let spellings = [sender.to_string(), format!("{}@{real}", sender.local())].map(|text| text.to_lowercase());
        if delegated.iter().any(|address| spellings.contains(&address.to_lowercase())) {
            return Ok(true);
        }
        self.alias_leads_to(&mut connection, sender, login.account).await
    }

    /// Whether an alias, or aliases of aliases, stand for the account. Catch-alls and forwards of others do not count.
    async fn alias_leads_to(
        &self,
        connection: &mut posthorn_store::Connection,
        alias: &Address,
        account: AccountId,
    ) -> Result<bool> {
        let separator = self.shared.section.subaddress_separator;
        let mut open = vec![alias.clone()];
        let mut seen = std::collections::HashSet::new();
        while let Some(address) = open.pop() {
            if !seen.insert(address.to_string().to_lowercase()) || seen.len() > MOST_ALIASES {
                continue;
            }
            let Some(domain) = domains::find(connection, address.domain()).await?.filter(|domain| domain.enabled)
            else {
                continue;
            };
            let name = domain.alias_of.unwrap_or(domain.name);
            // As mail goes: the whole name first, then the name in front of a detail.
            let whole = (address.local(), address.subaddress(separator).0);
            for local in [whole.0, whole.1] {
                if let Some(found) = accounts::find(connection, local, &name).await? {
                    if found.id == account {
                        return Ok(true);
                    }
                    break;
                }
                if let Some(targets) = aliases::find(connection, local, &name).await? {
                    open.extend(targets.iter().filter_map(|target| Address::parse(target).ok()));
                    break;
                }
            }
        }
        Ok(false)
    }

    /// The account if the secret is its password. Takes as long when there is no account.
    async fn compare(&self, account: Option<Account>, secret: Secret) -> Result<Option<Account>> {
        let stored = account.as_ref().and_then(|account| account.password.clone());
        let wants_scram = account.as_ref().is_some_and(|account| account.scram.is_none());
        let permit = Arc::clone(&self.shared.logins.hashing).acquire_owned().await.map_err(|_| Error::Internal)?;
        let salts = (random::<16>()?, random::<SALT_LENGTH>()?);
        let work = move || {
            let _one_core = permit;
            let known = stored.is_some();
            let verdict = password::verify(stored.as_deref().unwrap_or(password::DECOY), &secret);
            let Ok(verdict) = verdict else { return (false, None) };
            let renew = known && verdict.matches && (verdict.outdated || wants_scram);
            (known && verdict.matches, renew.then(|| digests(&secret, salts)))
        };
        let (matches, renewed) = tokio::task::spawn_blocking(work).await.map_err(|_| Error::Internal)?;
        let Some(account) = account.filter(|_| matches) else { return Ok(None) };
        if let Some((hash, scram)) = renewed {
            let mut connection = self.store.acquire().await?;
            accounts::set_password(&mut connection, account.id, Some(&hash), Some(&scram)).await?;
        }
        Ok(Some(account))
    }

    /// Counts a failure, and takes its time to say so.
    async fn fail(&self, from: IpAddr, protocol: &'static str, username: &str) -> Outcome {
        let pause = self.shared.failures.record(from, username);
        tracing::warn!(peer.ip = %from, protocol, login = username, "wrong credentials");
        tokio::time::sleep(pause).await;
        Outcome::Refused
    }

    async fn scram_keys(&self, username: &str) -> Result<ScramKeys> {
        let stored = self.find_login(username).await?.and_then(|account| account.scram);
        let decoy = || ScramKeys::decoy(&username.to_lowercase(), &self.shared.secret);
        Ok(stored.and_then(|text| ScramKeys::parse(&text).ok()).unwrap_or_else(decoy))
    }

    async fn find_login(&self, username: &str) -> Result<Option<Account>> {
        let Ok(address) = Address::parse(username) else { return Ok(None) };
        let mut connection = self.store.acquire().await?;
        Ok(accounts::find_login(&mut connection, &address).await?)
    }
}

/// The argon2id hash and the SCRAM keys of a password, in text form. Takes time: call it where blocking is allowed.
pub(crate) fn digests(secret: &Secret, (salt, scram_salt): ([u8; 16], [u8; SALT_LENGTH])) -> (String, String) {
    let hash = password::hash(secret, &salt);
    let scram = ScramKeys::derive(secret, &scram_salt, DEFAULT_ITERATIONS).to_string();
    (hash, scram)
}

/// Nobody acts for somebody else here.
fn same(username: &str, authorization: Option<&str>) -> bool {
    authorization.is_none_or(|wanted| wanted.is_empty() || wanted.eq_ignore_ascii_case(username))
}
