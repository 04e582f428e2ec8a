//! All sessions that run: started here, seen here, reaped here.

use std::any::Any;
use std::collections::HashMap;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

use crate::SessionId;
use crate::vitals::Vitals;

/// One running session, as an administrator sees it.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// Its name in logs and traces.
    pub id: SessionId,
    /// The listener that took it.
    pub listener: Arc<str>,
    /// The client's address; `None` while a PROXY header is awaited.
    pub address: Option<IpAddr>,
    /// How long it has run.
    pub age: Duration,
    /// How long the application has been at work on one event; `None` while it waits for the client.
    pub busy: Option<Duration>,
    /// Octets received, as plain text.
    pub received: u64,
    /// Octets sent, as plain text.
    pub sent: u64,
}

/// The running sessions. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions {
    tracker: TaskTracker,
    live: Arc<Mutex<HashMap<SessionId, Live>>>,
}

#[derive(Debug)]
struct Live {
    vitals: Arc<Vitals>,
    task: AbortHandle,
}

impl Sessions {
    /// Runs a session as a task. Its panic is logged and ends nothing else.
    pub(crate) fn spawn(&self, vitals: Arc<Vitals>, session: impl Future<Output = ()> + Send + 'static) {
        let place = Registered { id: vitals.id, live: Arc::clone(&self.live) };
        let seen = Arc::clone(&vitals);
        // The entry is there before the task can end and take it away.
        let mut live = self.live.lock();
        let task = self.tracker.spawn(async move {
            let _place = place;
            if let Err(panic) = AssertUnwindSafe(session).catch_unwind().await {
                tracing::error!(
                    session.id = %seen.id,
                    listener = %seen.listener,
                    reason = reason(panic.as_ref()),
                    "a session panicked"
                );
            }
        });
        live.insert(vitals.id, Live { vitals, task: task.abort_handle() });
    }

    /// All sessions at this moment, oldest first.
    pub(crate) fn view(&self) -> Vec<SessionView> {
        let mut views: Vec<_> = self.live.lock().values().map(|live| view(&live.vitals)).collect();
        views.sort_by_key(|view| view.id);
        views
    }

    /// Ends one session where it stands; whether there was one.
    pub(crate) fn cut(&self, id: SessionId) -> bool {
        self.live.lock().get(&id).map(|live| live.task.abort()).is_some()
    }

    /// Ends all sessions where they stand.
    pub(crate) fn cut_all(&self) {
        self.live.lock().values().for_each(|live| live.task.abort());
    }

    /// Ends sessions whose application has been at work on one event for longer than `limit`.
    pub(crate) fn reap(&self, limit: Duration) {
        for live in self.live.lock().values() {
            if let Some(busy) = live.vitals.busy_for().filter(|busy| *busy > limit) {
                tracing::error!(
                    session.id = %live.vitals.id,
                    listener = %live.vitals.listener,
                    seconds = busy.as_secs(),
                    "a stuck session is ended"
                );
                live.task.abort();
            }
        }
    }

    /// Returns when no session runs and none will.
    pub(crate) async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

struct Registered {
    id: SessionId,
    live: Arc<Mutex<HashMap<SessionId, Live>>>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.live.lock().remove(&self.id);
    }
}

fn view(vitals: &Vitals) -> SessionView {
    SessionView {
        id: vitals.id,
        listener: Arc::clone(&vitals.listener),
        address: vitals.address.get().copied(),
        age: vitals.started.elapsed(),
        busy: vitals.busy_for(),
        received: vitals.received(),
        sent: vitals.sent(),
    }
}

fn reason(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stuck_and_panicking_sessions_end_alone() {
        let sessions = Sessions::default();
        let vitals = || Arc::new(Vitals::new("test".into()));
        let (stuck, well) = (vitals(), vitals());
        stuck.busy();
        sessions.spawn(Arc::clone(&stuck), std::future::pending());
        sessions.spawn(Arc::clone(&well), std::future::pending());
        sessions.spawn(vitals(), async { panic!("on purpose") });
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_eq!(sessions.view().len(), 2, "the panic took one");
        sessions.reap(Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(1)).await;
        let left = sessions.view();
        assert_eq!(left.iter().map(|view| view.id).collect::<Vec<_>>(), [well.id]);
        assert!(sessions.cut(well.id));
        sessions.ended().await;
        assert!(!sessions.cut(well.id));
    }
}
