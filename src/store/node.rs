//! The number that makes this process's ids its own: an advisory lock, held for as long as the process lives.
//!
//! The lock goes with its connection, so when PostgreSQL restarts the number is anybody's. The connection listens: its end
//! is noticed at once, and a number is claimed again, the same one unless somebody took it. Ids made in between bear the
//! old number. Should another process have claimed that at the same time and made the same id in the same millisecond,
//! the key that it belongs to refuses the second: nothing is mixed up, and the sender tries again.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::ids::Ids;
use crate::{Error, Result};

/// First half of the advisory lock that gives each process its node number ("node" in ASCII).
const LOCK: i32 = 0x6e6f_6465;

const NODES: u16 = 1024;

const PAUSE: Duration = Duration::from_millis(50);

/// Holds a number until it is dropped.
#[derive(Debug)]
pub(crate) struct Node(JoinHandle<()>);

impl Node {
    /// Claims the lowest number that no other process on this database holds, and keeps one claimed.
    pub(crate) async fn claim(options: &PgConnectOptions) -> Result<(Self, Arc<Ids>)> {
        let (connection, node) = hold(options, 0).await?;
        let ids = Arc::new(Ids::new(node));
        Ok((Self(tokio::spawn(keep(options.clone(), connection, node, Arc::clone(&ids)))), ids))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn keep(options: PgConnectOptions, mut connection: PgListener, mut node: u16, ids: Arc<Ids>) {
    loop {
        // It listens to nothing: it returns when the connection is lost.
        if matches!(connection.try_recv().await, Ok(Some(_))) {
            continue;
        }
        (connection, node) = loop {
            match hold(&options, node).await {
                Ok(held) => break held,
                Err(_) => sleep(PAUSE).await,
            }
        };
        ids.renumber(node);
        tracing::info!(node, "the database was away: a node number is claimed again");
    }
}

/// A connection that holds a number.
async fn hold(options: &PgConnectOptions, wish: u16) -> Result<(PgListener, u16)> {
    let alone = PgPoolOptions::new().max_connections(1).connect_lazy_with(options.clone());
    let mut connection = PgListener::connect_with(&alone).await?;
    connection.eager_reconnect(false);
    let node = claim(&mut connection, wish).await?;
    Ok((connection, node))
}

/// Claims a number: the one wished for, or the next that is free.
async fn claim(connection: &mut PgListener, wish: u16) -> Result<u16> {
    for number in (0..NODES).map(|step| (wish + step) % NODES) {
        let mine: bool = sqlx::query_scalar("select pg_try_advisory_lock($1, $2)")
            .bind(LOCK)
            .bind(i32::from(number))
            .fetch_one(&mut *connection)
            .await?;
        if mine {
            return Ok(number);
        }
    }
    Err(Error::Damaged("1024 processes hold node numbers on this database"))
}
