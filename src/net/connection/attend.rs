//! Work for a peer that may hang up before it is done.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use posthorn_wire::Machine;

use super::{Connection, Ended};

impl Connection {
    /// Does `work` while the peer waits for it, and drops it when the peer closes: what nobody will hear of is not done
    /// by halves. Who said goodbye ahead and closes its own direction (as scripts do) still waits. What the peer sends in the meantime is kept for the machine, up to a bound.
    ///
    /// Meant for the middle of an answer, where the machine says [`posthorn_wire::Step::AwaitAnswer`], with work that may
    /// be dropped at any moment.
    ///
    /// # Errors
    /// How the session ended.
    pub async fn attend<M: Machine, W: Future>(&mut self, machine: &mut M, work: W) -> Result<W::Output, Ended> {
        let mut work = pin!(work);
        let mut waits = false;
        loop {
            let room = !waits && machine.buffer().len() < AHEAD;
            tokio::select! {
                biased;
                done = work.as_mut() => return Ok(done),
                read = self.intake.fill(&mut self.stream, machine.buffer()), if room => match read {
                    Ok(0) if machine.has_taken_leave() => waits = true,
                    Ok(0) => return Err(Ended::Eof),
                    Ok(count) => self.vitals.add_received(count),
                    Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Err(Ended::Eof),
                    Err(error) => return Err(Ended::Io(error.kind())),
                },
                () = self.doorway.shutdown.cutting() => return Err(Ended::Cut),
            }
        }
    }

    /// Whether the peer is known to have closed by now, after work that was [attended](Self::attend): for the moment before
    /// something is done that only a reply makes up for. Waits for nothing; that it says no proves nothing.
    pub fn has_hung_up<M: Machine>(&mut self, machine: &mut M) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        while machine.buffer().len() < AHEAD {
            match self.intake.poll(&mut context, &mut self.stream, machine.buffer()) {
                Poll::Pending => return false,
                Poll::Ready(Ok(0)) => return !machine.has_taken_leave(),
                Poll::Ready(Err(_)) => return true,
                Poll::Ready(Ok(count)) => self.vitals.add_received(count),
            }
        }
        false
    }
}

/// Octets that a peer may send ahead; behind them its hanging up is not seen.
const AHEAD: usize = 64 << 10;
