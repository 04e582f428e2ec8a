//! A whole appliance in this process, on free ports of 127.0.0.1 and a database of its own.

use std::path::Path;
use std::sync::Arc;

use posthorn::assemble::Appliance;
use posthorn::circumstances::Circumstances;
use posthorn_config::{Config, DatabaseUrl, ListenAddress, Listener, Speaks};
use posthorn_mail::Mail;
use posthorn_mail::directory::{NewAccount, PasswordSource};
use posthorn_model::{AccountId, Address, Domain};
use posthorn_net::Local;
use posthorn_sasl::Secret;
use posthorn_store::check::Finding;
use posthorn_store::{accounts, mailboxes, memberships, messages};
use rustls::ClientConfig;
use tempfile::TempDir;

use crate::imap_client::ImapClient;
use crate::postgres::{TestDatabase, database};
use crate::smtp_client::SmtpClient;

/// A change of the configuration.
type Alteration = Box<dyn FnOnce(&mut Config)>;

/// What a server is started with.
#[derive(Default)]
pub struct ServerOptions {
    alter: Vec<Alteration>,
    url: Option<String>,
    world: Circumstances,
}

impl ServerOptions {
    /// One listener per protocol, named after it, everything else as configured by default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes the configuration before the start.
    #[must_use]
    pub fn with(mut self, alter: impl FnOnce(&mut Config) + 'static) -> Self {
        self.alter.push(Box::new(alter));
        self
    }

    /// Runs it in another world, such as one with a clock that is stepped.
    #[must_use]
    pub fn under(mut self, world: Circumstances) -> Self {
        self.world = world;
        self
    }

    /// Uses this database instead of a fresh one; it is not removed.
    #[must_use]
    pub fn on(mut self, url: &str) -> Self {
        self.url = Some(url.to_owned());
        self
    }
}

/// A running appliance with the domain `example.org`. Cut off when dropped; [`stop`](Self::stop) is the orderly way.
pub struct Server {
    appliance: Option<Appliance>,
    config: Config,
    tls: Arc<ClientConfig>,
    folder: TempDir,
    // Last: dropped when nobody uses it any more.
    _database: Option<TestDatabase>,
}

impl Server {
    /// Starts it.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(options: ServerOptions) -> Self {
        Self::try_start(options).await.unwrap_or_else(|error| panic!("the server does not start: {error:?}"))
    }

    /// Starts it, or says why not.
    ///
    /// # Errors
    /// What [`Appliance::start`] says.
    pub async fn try_start(options: ServerOptions) -> anyhow::Result<Self> {
        crate::trace::begin();
        let folder = tempfile::tempdir()?;
        let (fresh, url) = match options.url {
            Some(url) => (None, url),
            None => {
                let fresh = database(posthorn_store::migrate).await;
                let url = fresh.url.clone();
                (Some(fresh), url)
            }
        };
        let mut config = self::config(folder.path(), &url);
        for alter in options.alter {
            alter(&mut config);
        }
        let appliance = Appliance::start_under(&config, options.world).await?;
        let pem = std::fs::read(config.tls.pair(&config.server.data).certificate)?;
        let tls = posthorn_net::client_config(&pem)?;
        let this = Self { appliance: Some(appliance), config, tls, folder, _database: fresh };
        let domain = Domain::parse("example.org")?;
        // A database that was used before has it.
        let _present = this.mail().add_domain(&domain, None).await?;
        Ok(this)
    }

    /// The appliance itself.
    #[must_use]
    pub fn appliance(&self) -> &Appliance {
        self.appliance.as_ref().expect("it runs until it is stopped")
    }

    /// The appliance itself, to be changed.
    ///
    /// # Panics
    /// When it was stopped.
    pub fn appliance_mut(&mut self) -> &mut Appliance {
        self.appliance.as_mut().expect("it runs until it is stopped")
    }

    /// The duties.
    #[must_use]
    pub fn mail(&self) -> &Mail {
        self.appliance().mail()
    }

    /// What it was started with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A folder that lives as long as the server.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Trusts the server's certificate.
    #[must_use]
    pub fn tls(&self) -> &Arc<ClientConfig> {
        &self.tls
    }

    /// The TCP port of the first listener that speaks this.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn port(&self, speaks: Speaks) -> u16 {
        let tcp = |local: Local| if let Local::Tcp(address) = local { Some(address.port()) } else { None };
        let mut bound = self.appliance().bound().into_iter().filter(|bound| bound.speaks == speaks);
        bound.find_map(|bound| tcp(bound.address)).expect("a TCP listener")
    }

    /// The TCP port of the listener with this name.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn port_of(&self, listener: &str) -> u16 {
        let tcp = |local: Local| if let Local::Tcp(address) = local { Some(address.port()) } else { None };
        let mut bound = self.appliance().bound().into_iter().filter(|bound| &*bound.listener == listener);
        bound.find_map(|bound| tcp(bound.address)).expect("a TCP listener")
    }

    /// Adds an account.
    ///
    /// # Panics
    /// When that is refused.
    pub async fn account(&self, address: &str, password: &str) -> AccountId {
        self.account_from(address, PasswordSource::Plain(Secret::new(password.to_owned()))).await
    }

    /// Adds an account whose password costs no hashing now.
    ///
    /// # Panics
    /// When that is refused.
    pub async fn account_from(&self, address: &str, password: PasswordSource) -> AccountId {
        let new = NewAccount { password: Some(password), ..NewAccount::default() };
        self.mail().add_account(&parsed(address), new).await.expect("the store works").expect("a new account")
    }

    /// Adds an account that nobody can log in to.
    ///
    /// # Panics
    /// When that is refused.
    pub async fn mailbox_only(&self, address: &str) -> AccountId {
        let added = self.mail().add_account(&parsed(address), NewAccount::default()).await;
        added.expect("the store works").expect("a new account")
    }

    /// Adds an alias.
    ///
    /// # Panics
    /// When that is refused.
    pub async fn alias(&self, address: &str, targets: &[&str]) {
        let targets: Vec<String> = targets.iter().map(|target| (*target).to_owned()).collect();
        self.mail().add_alias(&parsed(address), &targets).await.expect("the store works").expect("a new alias");
    }

    /// Adds a domain, or with `alias_of` another spelling of one.
    ///
    /// # Panics
    /// When that is refused.
    pub async fn domain(&self, name: &str, alias_of: Option<&str>) {
        let parse = |name: &str| Domain::parse(name).expect("a domain");
        let added = self.mail().add_domain(&parse(name), alias_of.map(parse).as_ref()).await;
        added.expect("the store works").expect("a new domain");
    }

    /// Every message in a mailbox, octet by octet, in the order of UIDs; nothing when there is no such mailbox.
    ///
    /// # Panics
    /// When the store fails.
    pub async fn messages(&self, address: &str, mailbox: &str) -> Vec<Vec<u8>> {
        let mut connection = self.mail().store().acquire().await.expect("the store works");
        let found = accounts::find_login(&mut connection, &parsed(address)).await.expect("the store works");
        let account = found.expect("an account").id;
        let found = mailboxes::find(&mut connection, account, mailbox).await.expect("the store works");
        let Some(mailbox) = found else { return Vec::new() };
        let members = memberships::from(&mut connection, account, mailbox.id, 1).await.expect("the store works");
        let mut whole = Vec::with_capacity(members.len());
        for member in members {
            let mut octets = Vec::new();
            for part in 0.. {
                let read = messages::part(&mut connection, member.message, part).await.expect("the store works");
                match read {
                    Some(more) => octets.extend(more),
                    None => break,
                }
            }
            whole.push(octets);
        }
        whole
    }

    /// What `posthorn check` finds.
    ///
    /// # Panics
    /// When the store fails.
    pub async fn check(&self) -> Vec<Finding> {
        let mut connection = self.mail().store().acquire().await.expect("the store works");
        let mut findings = Vec::new();
        for place in 0..posthorn_store::check::invariants().len() {
            findings.extend(posthorn_store::check::check(&mut connection, place).await.expect("the store works"));
        }
        findings
    }

    /// A client of the first listener that speaks this: greeted, EHLO (or LHLO) said, under TLS where that is implicit.
    pub async fn smtp(&self, speaks: Speaks) -> SmtpClient {
        let mut client = self.greeted(speaks).await;
        client.hello(if speaks == Speaks::Lmtp { "LHLO" } else { "EHLO" }).await;
        client
    }

    /// The same, with only the greeting read.
    ///
    /// # Panics
    /// When the server does not greet.
    pub async fn greeted(&self, speaks: Speaks) -> SmtpClient {
        let mut client = SmtpClient::raw(self.port(speaks), &self.tls).await;
        if speaks == Speaks::Submissions {
            client = SmtpClient::over(client.stream.secure(&self.tls).await, &self.tls);
        }
        let greeting = client.reply().await;
        assert!(greeting.starts_with("220 "), "{greeting}");
        client
    }

    /// An IMAP client under TLS.
    pub async fn imap(&self) -> ImapClient {
        ImapClient::secure(self.port(Speaks::Imaps), &self.tls).await
    }

    /// An IMAP client in the clear.
    pub async fn imap_plain(&self) -> ImapClient {
        ImapClient::plain(self.port(Speaks::Imap), &self.tls).await
    }

    /// Stops it in order.
    pub async fn stop(mut self) {
        if let Some(appliance) = self.appliance.take() {
            appliance.stop().await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(appliance) = &self.appliance {
            appliance.shutdown().cut();
        }
    }
}

/// Small pools: many servers share one PostgreSQL.
fn config(data: &Path, url: &str) -> Config {
    let mut config = Config::default();
    config.server.data = data.to_owned();
    config.server.hostname = "localhost".to_owned();
    config.database.url = Some(DatabaseUrl::parse(url).expect("a URL"));
    config.database.connections = 4;
    // Nothing leaves loopback unless a test has a DNS server there.
    config.checks.enable = false;
    config.filter.enable = false;
    config.listener = Speaks::ALL.map(listener).to_vec();
    config
}

/// A listener on a free port of 127.0.0.1, named after its protocol.
#[must_use]
pub fn listener(speaks: Speaks) -> Listener {
    Listener::new(speaks.name(), speaks, [ListenAddress::tcp([127, 0, 0, 1].into(), 0)])
}

/// The row of a protocol, to be altered.
///
/// # Panics
/// When there is none.
pub fn row(config: &mut Config, speaks: Speaks) -> &mut Listener {
    config.listener.iter_mut().find(|row| row.speaks == speaks).expect("a row for each protocol")
}

fn parsed(address: &str) -> Address {
    Address::parse(address).expect("an address")
}
