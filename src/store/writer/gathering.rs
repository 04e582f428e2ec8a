//! What becomes one commit.

use std::time::Duration;

use tokio::sync::mpsc;

use super::Job;

/// A batch ends here even when more is waiting.
const BATCH_BYTES: usize = 16 << 20;

/// How long a batch waits for others while they come in numbers: a commit costs the database about as much for ten messages
/// as for one. Behind a smaller batch than [`CROWD`] nobody is waited for: they would be the ones who wait.
const LINGER: Duration = Duration::from_millis(1);
/// A batch of so many has a crowd behind it.
pub(super) const CROWD: usize = 3;

/// What is waiting, once there is something; empty when nothing comes any more.
pub(super) async fn gather(jobs: &mut mpsc::Receiver<Job>, most: usize, crowded: bool) -> Vec<Job> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    let mut next = jobs.recv().await;
    let mut lingers = crowded;
    while let Some(job) = next.take() {
        bytes += job.packed.bytes;
        batch.push(job);
        if batch.len() >= most || bytes >= BATCH_BYTES {
            break;
        }
        next = jobs.try_recv().ok();
        if next.is_none() && std::mem::take(&mut lingers) {
            tokio::time::sleep(LINGER).await;
            next = jobs.try_recv().ok();
        }
    }
    batch
}
