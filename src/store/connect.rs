//! Opening the database: version, migrations, pool, and the node number of this process.

use std::str::FromStr;
use std::sync::Arc;

use posthorn_model::{MailboxId, MessageId};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::Mutex;

use crate::ids::Ids;
use crate::pool::{Pool, Pooled, Transaction};
use crate::writer::{Parcel, Placement, Writer};
use crate::{Error, Result};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// First half of the advisory lock that gives each process its node number ("node" in ASCII).
const NODE_LOCK: i32 = 0x6e6f_6465;

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
    /// Holds the advisory lock of our node number as long as the process lives.
    _node: Arc<Mutex<PgConnection>>,
}

/// Applies the migrations under PostgreSQL's advisory lock.
///
/// # Errors
/// [`Error::Newer`] when the database was written by a newer program.
pub async fn migrate(url: &str) -> Result<()> {
    let mut connection = options(url)?.connect().await?;
    migrate_over(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

impl Store {
    /// Connects, checks the server's version, migrates, and starts the writer.
    ///
    /// # Errors
    /// [`Error::OldServer`], [`Error::Newer`], or what the database said.
    pub async fn open(settings: &Options) -> Result<Self> {
        let options = options(&settings.url)?;
        let mut node_connection = options.connect().await?;
        check_version(&mut node_connection).await?;
        migrate_over(&mut node_connection).await?;
        let node = claim_node(&mut node_connection).await?;
        let pool = Pool::new(options.clone(), settings.connections);
        let writer = Writer::start(&options, settings.writers.max(1), settings.batch.max(1));
        Ok(Self { options, pool, ids: Arc::new(Ids::new(node)), writer, _node: Arc::new(Mutex::new(node_connection)) })
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

    /// Stores one message in the mailboxes named, together with what other sessions deliver at this moment, and
    /// returns after the commit. One outcome per target, in their order.
    ///
    /// # Errors
    /// When the commit failed or its outcome is unknown: nothing may be acknowledged.
    pub async fn deliver(&self, parcel: Parcel) -> Result<Vec<Placement>> {
        self.writer.deliver(parcel).await
    }

    /// A fresh message id, larger than all earlier ones of this process.
    #[must_use]
    pub fn message_id(&self) -> MessageId {
        MessageId(self.ids.next())
    }

    /// A fresh mailbox id.
    #[must_use]
    pub fn mailbox_id(&self) -> MailboxId {
        MailboxId(self.ids.next())
    }

    /// A connection that hears [`crate::changes::CHANNEL`].
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn listener(&self) -> Result<crate::changes::Listener> {
        let alone = PgPoolOptions::new().max_connections(1).connect_lazy_with(self.options.clone());
        let mut listener = PgListener::connect_with(&alone).await?;
        listener.listen(crate::changes::CHANNEL).await?;
        Ok(crate::changes::Listener::new(listener))
    }

    /// Closes the pool and waits for the writer to finish what it was given.
    pub async fn close(&self) {
        self.writer.close().await;
        self.pool.close().await;
    }
}

fn options(url: &str) -> Result<PgConnectOptions> {
    Ok(PgConnectOptions::from_str(url)?
        .application_name("posthorn")
        // Each statement here has one good plan; planning it anew would cost more than running it.
        .options([("plan_cache_mode", "force_generic_plan")])
        .statement_cache_capacity(200)
        .disable_statement_logging())
}

async fn check_version(connection: &mut PgConnection) -> Result<()> {
    let number: i32 =
        sqlx::query_scalar("select current_setting('server_version_num')::int").fetch_one(&mut *connection).await?;
    if number >= 150_000 {
        return Ok(());
    }
    let found = sqlx::query_scalar("select current_setting('server_version')").fetch_one(connection).await?;
    Err(Error::OldServer { found })
}

async fn migrate_over(connection: &mut PgConnection) -> Result<()> {
    MIGRATIONS.run(connection).await.map_err(|error| match error {
        MigrateError::VersionMissing(found) => {
            Error::Newer { found, known: MIGRATIONS.iter().map(|known| known.version).max().unwrap_or_default() }
        }
        error => Error::Migration(error),
    })
}

/// Claims the lowest node number that no other process on this database holds.
async fn claim_node(connection: &mut PgConnection) -> Result<u16> {
    for node in 0..1024_u16 {
        let mine: bool = sqlx::query_scalar("select pg_try_advisory_lock($1, $2)")
            .bind(NODE_LOCK)
            .bind(i32::from(node))
            .fetch_one(&mut *connection)
            .await?;
        if mine {
            return Ok(node);
        }
    }
    Err(Error::Damaged("1024 processes hold node numbers on this database"))
}
