//! Keeps the server running: a task that starts it again when it dies and stops it when told to.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::postmaster::{Launch, Postmaster};

/// The first wait before a restart, also after a short run: mail waits meanwhile. Doubled with every start that fails.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What others may know about the server's process.
#[derive(Debug, Default)]
pub(super) struct Vitals {
    pid: AtomicU32,
    restarts: AtomicU64,
}

impl Vitals {
    pub(super) fn pid(&self) -> u32 {
        self.pid.load(Ordering::Acquire)
    }

    pub(super) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Acquire)
    }
}

/// What the supervising task is told.
#[derive(Clone, Copy, Debug)]
enum Order {
    Leave,
    Stop,
}

/// The handle of the supervising task. Dropping it stops the server as well.
#[derive(Debug)]
pub(super) struct Supervisor {
    order: oneshot::Sender<Order>,
    task: JoinHandle<()>,
}

impl Supervisor {
    pub(super) fn spawn(launch: Launch, postmaster: Postmaster, vitals: Arc<Vitals>) -> Self {
        let (order, orders) = oneshot::channel();
        vitals.pid.store(postmaster.pid(), Ordering::Release);
        let task = tokio::spawn(supervise(launch, postmaster, vitals, orders));
        Self { order, task }
    }

    /// Stops the server and returns when it is gone.
    pub(super) async fn stop(self) {
        self.finish(Order::Stop).await;
    }

    /// Leaves the server to itself.
    pub(super) async fn leave(self) {
        self.finish(Order::Leave).await;
    }

    async fn finish(self, order: Order) {
        // The task ends by an order only; when its runtime took it down, the server was stopped with it.
        let _ = self.order.send(order);
        let _ = self.task.await;
    }
}

async fn supervise(
    launch: Launch,
    mut postmaster: Postmaster,
    vitals: Arc<Vitals>,
    mut orders: oneshot::Receiver<Order>,
) {
    loop {
        tokio::select! {
            order = &mut orders => {
                return match order {
                    Ok(Order::Leave) => postmaster.leave(),
                    // A dropped handle means stop.
                    Ok(Order::Stop) | Err(_) => postmaster.stop().await,
                };
            }
            outcome = postmaster.ended() => {
                let outcome = outcome.map_or_else(|error| error.to_string(), |status| status.to_string());
                tracing::error!(pid = vitals.pid(), outcome, "the private PostgreSQL died and is started again");
            }
        }
        postmaster = match revive(&launch, &mut orders).await {
            ControlFlow::Continue(postmaster) => postmaster,
            ControlFlow::Break(()) => return,
        };
        vitals.restarts.fetch_add(1, Ordering::AcqRel);
        vitals.pid.store(postmaster.pid(), Ordering::Release);
        tracing::info!(pid = vitals.pid(), "the private PostgreSQL is back");
    }
}

/// Tries to start the server until it works or we are told to stop.
async fn revive(launch: &Launch, orders: &mut oneshot::Receiver<Order>) -> ControlFlow<(), Postmaster> {
    let mut wait = FIRST_WAIT;
    loop {
        tokio::select! {
            _ = &mut *orders => return ControlFlow::Break(()),
            () = sleep(wait) => {}
        }
        wait = (wait * 2).min(LONGEST_WAIT);
        // Not interrupted in the middle: a half-started server would be left behind.
        match Postmaster::start(launch).await {
            Ok(postmaster) => return ControlFlow::Continue(postmaster),
            Err(error) => tracing::error!(%error, "the private PostgreSQL does not start"),
        }
    }
}
