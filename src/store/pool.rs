//! Connections that sessions share for reading and for small changes.
//!
//! A pool of our own, because a connection must cost nothing to give back: a general pool asks the server after each
//! use whether it still lives, which doubles the round trips of a mail server's short reads. Here the one used last is
//! used next (few backends stay warm), and only a connection that rested is asked.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Executor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Error, Result};

/// A connection is tried before it is used when that was last done longer ago. The database may have restarted, and
/// what failed is given back like everything else: so one that is broken lives this long at most.
const TRUSTED: Duration = Duration::from_millis(100);

/// A connection that nobody needed for so long is closed, with the memory that its backend holds.
const SPARE: Duration = Duration::from_secs(60);

/// How long a session waits for a connection, or for a database that restarts.
const PATIENCE: Duration = Duration::from_secs(10);

/// The shared connections.
#[derive(Clone, Debug)]
pub(crate) struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: PgConnectOptions,
    places: Arc<Semaphore>,
    most: usize,
    /// The one used last is at the end.
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    connection: PgConnection,
    since: Instant,
    tried: Instant,
}

/// A connection in use; given back when dropped.
#[derive(Debug)]
pub struct Pooled {
    /// `None` only while it is dropped.
    connection: Option<PgConnection>,
    tried: Instant,
    pool: Pool,
    _place: OwnedSemaphorePermit,
}

/// A transaction; rolled back when dropped.
#[derive(Debug)]
pub struct Transaction {
    /// `None` only while it ends.
    pooled: Option<Pooled>,
}

impl Pool {
    pub(crate) fn new(options: PgConnectOptions, connections: u32) -> Self {
        let most = usize::try_from(connections.max(1)).unwrap_or(1);
        let places = Arc::new(Semaphore::new(most));
        Self(Arc::new(Shared { options, places, most, idle: Mutex::default() }))
    }

    pub(crate) async fn acquire(&self) -> Result<Pooled> {
        let place = Arc::clone(&self.0.places).acquire_owned();
        let place = match tokio::time::timeout(PATIENCE, place).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => return Err(Error::Stopping),
            Err(_) => return Err(Error::Database(sqlx::Error::PoolTimedOut)),
        };
        while let Some(mut idle) = self.next_idle() {
            let mut tried = idle.tried;
            if tried.elapsed() > TRUSTED {
                if idle.connection.ping().await.is_err() {
                    continue;
                }
                tried = Instant::now();
            }
            return Ok(Pooled { connection: Some(idle.connection), tried, pool: self.clone(), _place: place });
        }
        let connection = connect(&self.0.options).await?;
        Ok(Pooled { connection: Some(connection), tried: Instant::now(), pool: self.clone(), _place: place })
    }

    pub(crate) async fn begin(&self) -> Result<Transaction> {
        let mut pooled = self.acquire().await?;
        pooled.say("begin").await?;
        Ok(Transaction { pooled: Some(pooled) })
    }

    /// Connections in use, and those that are spare.
    pub(crate) fn usage(&self) -> (usize, usize) {
        let shared = &*self.0;
        (shared.most.saturating_sub(shared.places.available_permits()), shared.idle.lock().len())
    }

    /// Lets nobody in any more and closes what is idle.
    pub(crate) async fn close(&self) {
        self.0.places.close();
        let idle = std::mem::take(&mut *self.0.idle.lock());
        for one in idle {
            // The server is glad of a goodbye, but needs none.
            let _ = one.connection.close().await;
        }
    }

    /// The connection used last; those that were spare for long are let go.
    fn next_idle(&self) -> Option<Idle> {
        let mut idle = self.0.idle.lock();
        let spare = idle.iter().take_while(|one| one.since.elapsed() > SPARE).count();
        let last = idle.pop();
        let gone = spare.min(idle.len());
        idle.drain(..gone);
        last
    }

    fn give_back(&self, connection: PgConnection, tried: Instant) {
        if !self.0.places.is_closed() {
            self.0.idle.lock().push(Idle { connection, since: Instant::now(), tried });
        }
    }
}

impl Pooled {
    /// Begins or ends a transaction. The connection is given back only when that is certain: should this fail, or be
    /// dropped half-way, nobody else may inherit an open transaction, so the connection is closed.
    async fn say(&mut self, statement: &'static str) -> Result<()> {
        if let Some(mut connection) = self.connection.take() {
            connection.execute(statement).await?;
            self.connection = Some(connection);
        }
        Ok(())
    }
}

impl Deref for Pooled {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect("present until dropped")
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("present until dropped")
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.give_back(connection, self.tried);
        }
    }
}

impl Transaction {
    /// Makes everything done in it last.
    ///
    /// # Errors
    /// When the commit failed or its outcome is unknown: nothing may be acknowledged.
    pub async fn commit(mut self) -> Result<()> {
        if let Some(mut pooled) = self.pooled.take() {
            pooled.say("commit").await?;
        }
        Ok(())
    }

    /// Undoes everything done in it; the connection is good for the next.
    ///
    /// # Errors
    /// When the connection is lost: then it is undone as well.
    pub async fn rollback(mut self) -> Result<()> {
        if let Some(mut pooled) = self.pooled.take() {
            pooled.say("rollback").await?;
        }
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.pooled.as_ref().expect("present until it ends")
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.pooled.as_mut().expect("present until it ends")
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let Some(mut pooled) = self.pooled.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                // What fails here closes the connection, which rolls back as well.
                runtime.spawn(async move { pooled.say("rollback").await });
            }
            // Without a runtime the server rolls back when the connection closes.
            Err(_) => drop(pooled.connection.take()),
        }
    }
}

/// Connects, waiting for a database that restarts.
pub(crate) async fn connect(options: &PgConnectOptions) -> Result<PgConnection> {
    let mut pause = Duration::from_millis(20);
    let give_up = tokio::time::Instant::now() + PATIENCE;
    loop {
        match options.connect().await {
            Ok(connection) => return Ok(connection),
            Err(error) if tokio::time::Instant::now() + pause > give_up => return Err(error.into()),
            Err(_) => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(100));
            }
        }
    }
}
