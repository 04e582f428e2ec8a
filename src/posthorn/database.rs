//! The one PostgreSQL: the configured one, or the private one below the data folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use anyhow::{Context, bail};
use posthorn_config::{Config, Loaded};
use posthorn_mail::{Mail, Settings};
use posthorn_store::{Options, Store};
use tokio::time::{Instant, sleep};

use crate::backup;
use crate::private_postgres::{self, PrivatePostgres};
use crate::secrets;
use crate::serve::interrupted;

/// Octets of message bodies that a command may hold: it has one large one at a time, and refuses none that is stored.
const COMMAND_BODY_MEMORY: usize = 1 << 30;
/// A command does one thing after the other.
const COMMAND_CONNECTIONS: u32 = 2;

/// How long a command waits for another command, or for a server that starts or stops.
const PATIENCE: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(50);

/// A PostgreSQL that can be connected to.
#[derive(Debug)]
pub struct Database {
    /// Where the store connects; may hold a password.
    url: String,
    /// The same for people.
    shown: String,
    /// The private server, when it is ours to stop.
    private: Option<PrivatePostgres>,
    /// A command that starts a private server does so alone: others would have it stopped beneath them.
    turn: Option<File>,
}

impl Database {
    /// For a server: the configured PostgreSQL, or the private one, started.
    ///
    /// # Errors
    /// What [`private_postgres::Error`] says, such as another server using the data folder.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        if let Some(url) = &config.database.url {
            return Ok(Self { url: url.reveal().to_owned(), shown: url.to_string(), private: None, turn: None });
        }
        let settings = private_settings(config);
        // A command at work ends soon.
        let _turn = turn(&settings).await?;
        Self::start(settings).await
    }

    async fn start(settings: private_postgres::Settings) -> anyhow::Result<Self> {
        let private = PrivatePostgres::start(settings).await?;
        Ok(Self { url: private.url(), shown: private.url(), private: Some(private), turn: None })
    }

    /// For a command: the same, or the private PostgreSQL of the server that runs on this data folder.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub async fn open_beside(config: &Config) -> anyhow::Result<Self> {
        if config.database.url.is_some() {
            return Self::open(config).await;
        }
        let settings = private_settings(config);
        let turn = turn(&settings).await?;
        let began = Instant::now();
        loop {
            let error = match Self::start(settings.clone()).await {
                Ok(database) => return Ok(Self { turn: Some(turn), ..database }),
                Err(error) if is_in_use(&error) => error,
                failed => return failed,
            };
            // The other commands wait for their turn, so this is a server, and it stays.
            if let Some(url) = private_postgres::url_of_running(&settings)? {
                return Ok(Self { shown: url.clone(), url, private: None, turn: None });
            }
            if began.elapsed() > PATIENCE {
                return Err(error);
            }
            sleep(GLANCE).await;
        }
    }

    /// The connection URL; may hold a password, so not for logs.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The private server, when this process runs it.
    #[must_use]
    pub fn private(&self) -> Option<&PrivatePostgres> {
        self.private.as_ref()
    }

    /// Opens the store: checks the version, migrates, after a backup where the database is in use.
    ///
    /// # Errors
    /// With what to do about it where that is known.
    pub async fn store(&self, config: &Config, section: &posthorn_config::Database) -> anyhow::Result<Store> {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let options = Options {
            url: self.url.clone(),
            connections: section.connections,
            writers: count(section.writers),
            batch: count(section.batch_rows),
        };
        match Store::open_as_is(&options).await {
            Err(posthorn_store::Error::Outdated { .. }) => {
                backup::upgrade::upgrade(config, &self.url).await?;
                Store::open(&options).await.map_err(|error| self.explained(error))
            }
            opened => opened.map_err(|error| self.explained(error)),
        }
    }

    /// Stops the private server when it is ours.
    pub async fn close(self) {
        if let Some(private) = self.private {
            private.shutdown().await;
        }
        drop(self.turn);
    }

    fn explained(&self, error: posthorn_store::Error) -> anyhow::Error {
        use posthorn_store::Error;
        let advice = match &error {
            Error::Newer { .. } | Error::OldServer { .. } => return error.into(),
            _ if !error.is_lost_connection() => "",
            _ if self.private.is_some() => "; postgres.log in the data folder may say more",
            _ => {
                "; is it running, and is database.url right? Without database.url, Posthorn runs a PostgreSQL of its own"
            }
        };
        let text = format!("{} cannot be opened: {error}{advice}", self.shown);
        if error.is_lost_connection() { Away(text).into() } else { anyhow::anyhow!(text) }
    }
}

/// The database does not answer: what was asked may succeed later.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Away(pub(crate) String);

/// Whether something failed because the database does not answer.
#[must_use]
pub fn is_away(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let store = match cause.downcast_ref() {
            Some(posthorn_mail::Error::Store(error)) => Some(error),
            _ => cause.downcast_ref::<posthorn_store::Error>(),
        };
        cause.is::<Away>() || store.is_some_and(posthorn_store::Error::is_lost_connection)
    })
}

/// Does a command's work on the duties, and closes everything behind it however it ends.
///
/// # Errors
/// When the database cannot be opened, or what the work says.
pub async fn with_mail<T>(loaded: &Loaded, work: impl AsyncFnOnce(&Mail) -> anyhow::Result<T>) -> anyhow::Result<T> {
    with_mail_at(loaded, async |mail, _| work(mail).await).await
}

/// The same for work that also has a connection of its own, to this URL.
///
/// # Errors
/// As [`with_mail`].
pub async fn with_mail_at<T>(
    loaded: &Loaded,
    work: impl AsyncFnOnce(&Mail, &str) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let database = Database::open_beside(&loaded.config).await?;
    let done = tokio::select! {
        done = on_mail(&database, &loaded.config, async |mail| work(mail, database.url()).await) => done,
        // Our private server must not be left behind.
        why = interrupted() => Err(why),
    };
    database.close().await;
    done
}

async fn on_mail<T>(
    database: &Database,
    config: &Config,
    work: impl AsyncFnOnce(&Mail) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mail = open_mail(database, config).await?;
    let done = work(&mail).await;
    mail.store().close().await;
    done
}

async fn open_mail(database: &Database, config: &Config) -> anyhow::Result<Mail> {
    let section = posthorn_config::Database { connections: COMMAND_CONNECTIONS, writers: 1, ..config.database.clone() };
    let store = database.store(config, &section).await?;
    let settings = Settings { body_memory: COMMAND_BODY_MEMORY, ..secrets::settings_at_hand(config) };
    Mail::new(store, settings).await.context("the database cannot be read")
}

/// How the private server is run under this configuration.
#[must_use]
pub fn private_settings(config: &Config) -> private_postgres::Settings {
    let mut settings = private_postgres::Settings::new(&config.server.data);
    settings.binaries.clone_from(&config.database.binaries);
    settings.user.clone_from(&config.database.user);
    // Sessions, writers, listening for changes, and room for commands beside them.
    let wanted = config.database.connections.saturating_add(config.database.writers).saturating_add(20);
    settings.connections = settings.connections.max(wanted);
    settings
}

/// Waits until no other command runs a private server on this folder.
async fn turn(settings: &private_postgres::Settings) -> anyhow::Result<File> {
    // Makes the folder with its owner and mode when there is none.
    private_postgres::url_of_running(settings)?;
    let path = settings.data.join("command.lock");
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.with_context(|| format!("{} cannot be opened", path.display()))?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => sleep(GLANCE).await,
            Err(TryLockError::WouldBlock) => {
                bail!("another posthorn command is at work on {}", settings.data.display())
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{} cannot be locked", path.display()));
            }
        }
    }
}

fn is_in_use(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(private_postgres::Error::InUse { .. }))
}

/// The whole chain of causes in one line, none told twice.
#[must_use]
pub fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let words = cause.to_string();
        // Transparent errors repeat their cause, and some print it themselves.
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        let error = anyhow::anyhow!("no entry").context("cannot open: no entry").context("outer");
        assert_eq!(chain(&error), "outer: cannot open: no entry");
    }

    #[test]
    fn the_private_server_has_room_for_the_pool() {
        let mut config = Config::default();
        config.database.connections = 100;
        config.database.writers = 2;
        let settings = private_settings(&config);
        assert_eq!(settings.connections, 122);
        assert_eq!((settings.data, settings.user), (config.server.data, config.database.user));
    }
}
