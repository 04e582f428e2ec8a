//! Opening the database: version, migrations, pool, and the node number of this process.

use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use posthorn_model::{ClaimId, DeliveryId, MailboxId, MessageId, QueueId};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions};
use sqlx::{ConnectOptions, Connection};

use crate::chronicle::Chronicle;
use crate::ids::Ids;
use crate::node::Node;
use crate::pool::{Pool, Pooled, Transaction};
use crate::schema::{self, Turn};
use crate::writer::{Parcel, Receipt, Writer};
use crate::{Error, Result};

pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// How to open the database.
#[derive(Clone, Debug)]
pub struct Options {
    /// `postgres://…`, as the configuration has it; a Unix socket is `?host=/folder`.
    pub url: String,
    /// Connections of the pool that sessions share.
    pub connections: u32,
    /// Group-commit writers; each is one connection more.
    pub writers: usize,
    /// The most messages of one group commit.
    pub batch: usize,
}

/// An open database: a pool for reading and small changes, and the group-commit writer for deliveries.
#[derive(Clone, Debug)]
pub struct Store {
    options: PgConnectOptions,
    pool: Pool,
    ids: Arc<Ids>,
    writer: Writer,
    chronicle: Chronicle,
    _node: Arc<Node>,
}

/// Applies the migrations, when it is our turn.
///
/// # Errors
/// [`Error::Newer`] when the database was written by a newer program.
pub async fn migrate(url: &str) -> Result<()> {
    let mut turn = Turn::wait(url).await?;
    let migrated = turn.migrate().await;
    turn.end().await;
    migrated
}

impl Store {
    /// Connects, checks the server's version, migrates, and starts the writer.
    ///
    /// # Errors
    /// [`Error::OldServer`], [`Error::Newer`], or what the database said.
    pub async fn open(settings: &Options) -> Result<Self> {
        Self::prepared(settings, Upgrade::Now).await
    }

    /// The same, but the schema of a database that is in use is left as it is.
    ///
    /// # Errors
    /// As [`Store::open`], and [`Error::Outdated`] when the schema is older than this program's.
    pub async fn open_as_is(settings: &Options) -> Result<Self> {
        Self::prepared(settings, Upgrade::Never).await
    }

    async fn prepared(settings: &Options, upgrade: Upgrade) -> Result<Self> {
        let options = options(&settings.url)?;
        // Side by side: a command is often nothing but this and one statement.
        let (_, (node, ids)) = tokio::try_join!(prepare(&options, upgrade), Node::claim(&options))?;
        let pool = Pool::new(options.clone(), settings.connections);
        let writer = Writer::start(&options, settings.writers.max(1), settings.batch.max(1));
        let chronicle = Chronicle::start(&options, Arc::clone(&ids));
        Ok(Self { options, pool, ids, writer, chronicle, _node: Arc::new(node) })
    }

    /// Connections of the pool that are in use, and those that are spare.
    #[must_use]
    pub fn pool_usage(&self) -> (usize, usize) {
        self.pool.usage()
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// When no connection can be had within ten seconds.
    pub async fn begin(&self) -> Result<Transaction> {
        self.pool.begin().await
    }

    /// A connection for reading outside a transaction.
    ///
    /// # Errors
    /// When no connection can be had within ten seconds.
    pub async fn acquire(&self) -> Result<Pooled> {
        self.pool.acquire().await
    }

    /// Stores messages in the mailboxes named, queues what leaves and records what left, together with what other
    /// sessions have at this moment, and returns after the commit.
    ///
    /// # Errors
    /// When the commit failed or its outcome is unknown: nothing may be acknowledged.
    pub async fn deliver(&self, parcel: Parcel) -> Result<Receipt> {
        self.writer.deliver(parcel).await
    }

    /// Where the trace is told.
    #[must_use]
    pub fn chronicle(&self) -> &Chronicle {
        &self.chronicle
    }

    /// A fresh message id, larger than all earlier ones of this process.
    #[must_use]
    pub fn message_id(&self) -> MessageId {
        MessageId(self.ids.next())
    }

    /// The id of a message of another program's, of the millisecond of `moment`: always the same for the same seed.
    #[must_use]
    pub fn message_id_at(moment: DateTime<Utc>, seed: u32) -> MessageId {
        MessageId(crate::ids::first_at(moment) | i64::from(seed & 0x3f_ffff))
    }

    /// A fresh mailbox id.
    #[must_use]
    pub fn mailbox_id(&self) -> MailboxId {
        MailboxId(self.ids.next())
    }

    /// A fresh queue id.
    #[must_use]
    pub fn queue_id(&self) -> QueueId {
        QueueId(self.ids.next())
    }

    /// A fresh id of one recipient.
    #[must_use]
    pub fn delivery_id(&self) -> DeliveryId {
        DeliveryId(self.ids.next())
    }

    /// A fresh id of a courier.
    #[must_use]
    pub fn claim_id(&self) -> ClaimId {
        ClaimId(self.ids.next())
    }

    /// A connection that hears [`crate::changes::CHANNEL`].
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn listener(&self) -> Result<crate::changes::Listener> {
        Ok(crate::changes::Listener::new(self.listen(crate::changes::CHANNEL).await?))
    }

    /// A connection that hears [`crate::queue::CHANNEL`].
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn queue_listener(&self) -> Result<crate::queue::Listener> {
        Ok(crate::queue::Listener::new(self.listen(crate::queue::CHANNEL).await?))
    }

    /// A connection that hears [`crate::policy::news::CHANNEL`].
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn policy_listener(&self) -> Result<crate::policy::news::Listener> {
        Ok(crate::policy::news::Listener::new(self.listen(crate::policy::news::CHANNEL).await?))
    }

    /// Hears when settings of the filter change.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn filter_listener(&self) -> Result<crate::filter::settings::Listener> {
        Ok(crate::filter::settings::Listener::new(self.listen(crate::filter::settings::CHANNEL).await?))
    }

    async fn listen(&self, channel: &str) -> Result<PgListener> {
        let alone = PgPoolOptions::new().max_connections(1).connect_lazy_with(self.options.clone());
        let mut listener = PgListener::connect_with(&alone).await?;
        listener.listen(channel).await?;
        Ok(listener)
    }

    /// Closes the pool and waits for the writer and the chronicle to finish what they were given.
    pub async fn close(&self) {
        self.writer.close().await;
        self.chronicle.close().await;
        self.pool.close().await;
    }
}

pub(crate) fn options(url: &str) -> Result<PgConnectOptions> {
    Ok(PgConnectOptions::from_str(url)?
        .application_name("posthorn")
        // Each statement here has one good plan; planning it anew would cost more than running it, and compiling it
        // (which the server does when it takes a plan for expensive) a hundred times more.
        .options([("plan_cache_mode", "force_generic_plan"), ("jit", "off")])
        .statement_cache_capacity(200)
        .disable_statement_logging())
}

/// What becomes of a schema in use that is older than this program's.
#[derive(Clone, Copy)]
enum Upgrade {
    Now,
    Never,
}

/// Sees to it that the server and the schema are what this program needs.
async fn prepare(options: &PgConnectOptions, upgrade: Upgrade) -> Result<()> {
    let mut connection = options.connect().await?;
    check_version(&mut connection).await?;
    let mut applied = schema::applied(&mut connection).await?;
    if applied.is_empty() {
        // Who finds it half made by somebody else must not take it for one of an earlier program, and keep it from being
        // finished by a backup.
        schema::wait_for_turn(&mut connection).await?;
        applied = schema::applied(&mut connection).await?;
    }
    match (applied.last(), upgrade) {
        (Some(last), Upgrade::Never) if !schema::pending(&applied)?.is_empty() => {
            return Err(Error::Outdated { found: last.version.number, known: schema::newest() });
        }
        _ => migrate_over(&mut connection).await?,
    }
    // Our turn ends with it.
    connection.close().await?;
    Ok(())
}

pub(crate) async fn check_version(connection: &mut PgConnection) -> Result<()> {
    let number: i32 =
        sqlx::query_scalar("select current_setting('server_version_num')::int").fetch_one(&mut *connection).await?;
    if number >= 150_000 {
        return Ok(());
    }
    let found = sqlx::query_scalar("select current_setting('server_version')").fetch_one(connection).await?;
    Err(Error::OldServer { found })
}

pub(crate) async fn migrate_over(connection: &mut PgConnection) -> Result<()> {
    MIGRATIONS.run(connection).await.map_err(|error| match error {
        MigrateError::VersionMissing(found) => {
            Error::Newer { found, known: MIGRATIONS.iter().map(|known| known.version).max().unwrap_or_default() }
        }
        error => Error::Migration(error),
    })
}
