//! The appliance as a whole: configuration in, running services out, and back down in order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use posthorn_config::{Config, Speaks};
use posthorn_courier::Courier;
use posthorn_front::{Imap, Settings, Smtp};
use posthorn_mail::Mail;
use posthorn_net::{Bound, Listeners, Service, Shutdown};
use posthorn_smtp::Dialect;
use tokio::task::JoinHandle;

use crate::circumstances::Circumstances;
use crate::database::Database;
use crate::secrets;

/// Octets of message bodies in progress when `limits.memory` sets no bound.
const BODY_MEMORY: u64 = 512 << 20;

/// A running appliance.
pub struct Appliance {
    mail: Mail,
    listeners: Listeners,
    database: Database,
    courier: Courier,
    grace: Duration,
    shutdown: Shutdown,
    serving: JoinHandle<()>,
    working: JoinHandle<()>,
}

impl Appliance {
    /// Starts everything: database, migrations, listeners, services. Returns when every listener is bound.
    ///
    /// # Errors
    /// What could not be started, and why; nothing is left running then.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        Self::start_under(config, Circumstances::default()).await
    }

    /// The same in a world that a test made.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_under(config: &Config, world: Circumstances) -> anyhow::Result<Self> {
        let database = Database::open(config).await?;
        match Self::start_on(config, &database, world).await {
            Ok((mail, courier, listeners)) => Ok(Self::run(config, database, mail, courier, listeners)),
            Err(error) => {
                database.close().await;
                Err(error)
            }
        }
    }

    async fn start_on(
        config: &Config,
        database: &Database,
        world: Circumstances,
    ) -> anyhow::Result<(Mail, Courier, Listeners)> {
        let ground = world.ground(config)?;
        let store = database.store(&config.database).await?;
        let body_memory = config.limits.memory.map_or(BODY_MEMORY, |memory| body_memory(memory.octets()));
        let settings = posthorn_mail::Settings {
            body_memory: usize::try_from(body_memory).unwrap_or(usize::MAX),
            clock: world.clock,
            ..secrets::settings(config)?
        };
        let mail = Mail::new(store, settings).await.context("the database cannot be read")?;
        let listeners = Listeners::bind(config)?;
        let settings = posthorn_courier::Settings { mx_port: world.mx_port, ..posthorn_courier::Settings::of(config) };
        let courier = Courier::start(mail.clone(), ground, settings).await.context("the courier does not start")?;
        Ok((mail, courier, listeners))
    }

    fn run(config: &Config, database: Database, mail: Mail, courier: Courier, listeners: Listeners) -> Self {
        let shutdown = Shutdown::new();
        let router = router(config, &mail);
        let serving = {
            let (listeners, shutdown) = (listeners.clone(), shutdown.clone());
            tokio::spawn(async move { listeners.serve(router, shutdown).await })
        };
        let working = {
            let (mail, shutdown) = (mail.clone(), shutdown.clone());
            tokio::spawn(async move { mail.work(shutdown.cutting()).await })
        };
        let grace = config.server.grace.duration();
        Self { mail, listeners, database, courier, grace, shutdown, serving, working }
    }

    /// The duties, for whoever works beside the listeners.
    #[must_use]
    pub fn mail(&self) -> &Mail {
        &self.mail
    }

    /// The database beneath.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Every socket that is open, with the address it really has.
    #[must_use]
    pub fn bound(&self) -> Vec<Bound> {
        self.listeners.bound()
    }

    /// Who takes mail to other hosts.
    #[must_use]
    pub fn courier(&self) -> &Courier {
        &self.courier
    }

    /// The handle to suspend and resume sockets and to look at sessions.
    #[must_use]
    pub fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// The signals that stop it.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Stops in order: no new sessions, goodbyes, what is on its way to other hosts, the last commits, the database.
    pub async fn stop(self) {
        self.shutdown.stop();
        // Both at once, each with its grace; a second signal cuts both.
        let courier = async {
            tokio::select! {
                () = self.courier.stop(self.grace) => {}
                () = self.shutdown.cutting() => {}
            }
        };
        let (served, ()) = tokio::join!(self.serving, courier);
        if let Err(error) = served {
            tracing::error!(%error, "the listeners ended badly");
        }
        self.shutdown.cut();
        if let Err(error) = self.working.await {
            tracing::error!(%error, "the work in the background ended badly");
        }
        self.mail.store().close().await;
        self.database.close().await;
    }
}

/// The share of a memory limit that bodies have: a third of what the program does not use already for itself. A buffer
/// that grows is there twice for a moment, and the allocator gives back later: that is the second third. Sessions,
/// caches and logins have the last.
fn body_memory(limit: u64) -> u64 {
    limit.saturating_sub(posthorn_net::resident().unwrap_or(0)) / 3
}

/// Which service answers which protocol: the one place where rows of the configuration become services.
fn router(config: &Config, mail: &Mail) -> impl Fn(Speaks) -> Option<Arc<dyn Service>> + Send + Sync + 'static {
    let settings = Arc::new(Settings::of(config));
    let smtp = |dialect| Arc::new(Smtp::new(mail.clone(), Arc::clone(&settings), dialect));
    let (relay, submission, lmtp) = (smtp(Dialect::Smtp), smtp(Dialect::Submission), smtp(Dialect::Lmtp));
    let imap = Arc::new(Imap::new(mail.clone(), Arc::clone(&settings)));
    move |speaks| {
        Some(match speaks {
            Speaks::Smtp => relay.clone(),
            Speaks::Submission | Speaks::Submissions => submission.clone(),
            Speaks::Lmtp => lmtp.clone(),
            Speaks::Imap | Speaks::Imaps => imap.clone() as Arc<dyn Service>,
        })
    }
}
