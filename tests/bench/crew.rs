//! Work that several sessions do together: each takes the next piece until none is left.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use crate::message::Messages;
use crate::smtp;

/// Pieces of work that are handed out, and how long each took.
pub(crate) struct Share {
    pieces: u64,
    next: Cell<u64>,
    latencies: RefCell<Vec<Duration>>,
}

impl Share {
    pub(crate) fn new(pieces: u64) -> Self {
        let room = usize::try_from(pieces).unwrap_or(0);
        Self { pieces, next: Cell::new(0), latencies: RefCell::new(Vec::with_capacity(room)) }
    }

    /// The number of the next piece, from zero.
    pub(crate) fn take(&self) -> Option<u64> {
        let number = self.next.get();
        (number < self.pieces).then(|| self.next.replace(number + 1))
    }

    /// A piece is done.
    pub(crate) fn took(&self, time: Duration) {
        self.latencies.borrow_mut().push(time);
    }

    /// How long the pieces took.
    pub(crate) fn latencies(&self) -> Vec<Duration> {
        self.latencies.take()
    }
}

/// Runs all of these at once, to their end or to the first fault.
pub(crate) async fn together<F>(sessions: impl IntoIterator<Item = F>) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + 'static,
{
    let tasks: Vec<_> = sessions.into_iter().map(tokio::task::spawn_local).collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// Messages that several sessions send by SMTP or LMTP.
pub(crate) struct Mailing {
    pub(crate) share: Share,
    pub(crate) messages: Messages,
    /// MAIL to DATA, used in turn.
    pub(crate) envelopes: Vec<Vec<u8>>,
}

/// How a session sends.
#[derive(Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) lmtp: bool,
    pub(crate) pipelined: bool,
}

impl Mailing {
    /// One session: it sends until there is nothing left.
    pub(crate) async fn send(self: Rc<Self>, host: String, port: u16, manner: Manner) -> anyhow::Result<()> {
        let mut session = smtp::Session::open(&host, port, manner.lmtp).await?;
        while let Some(number) = self.share.take() {
            let envelope = &self.envelopes[usize::try_from(number)? % self.envelopes.len()];
            session.envelope(envelope, manner.pipelined).await?;
            self.share.took(session.data(|out| self.messages.write(number, out)).await?);
        }
        session.quit().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_piece_is_done_once_and_a_fault_is_told() {
        let share = Rc::new(Share::new(100));
        let work = |share: Rc<Share>| async move {
            while let Some(number) = share.take() {
                tokio::task::yield_now().await;
                share.took(Duration::from_secs(number));
            }
            anyhow::Ok(())
        };
        let fails = || async { anyhow::bail!("broken") };
        let here = tokio::task::LocalSet::new();
        here.run_until(together((0..7).map(|_| work(Rc::clone(&share))))).await.expect("no fault");
        let mut done = share.latencies();
        done.sort_unstable();
        assert_eq!(done, (0..100).map(Duration::from_secs).collect::<Vec<_>>());
        here.run_until(together([fails()])).await.expect_err("broken");
    }
}
