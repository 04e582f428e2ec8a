//! As the first process of a container we inherit what other processes leave behind: when those end, somebody has to look,
//! or the table of processes fills.
//!
//! Only what nobody here waits for is collected: a child of our own whose end is awaited elsewhere is gone before it was
//! seen twice. Signals are passed on to nobody; a private PostgreSQL is told by its keeper.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, getpid, waitpid};
use tokio::signal::unix::{SignalKind, signal};

/// How long a child that ended may wait for its own keeper.
const PATIENCE: Duration = Duration::from_secs(2);

/// Collects orphans for as long as the process lives, if it is the first of its container.
///
/// # Errors
/// When the signal cannot be listened to.
pub(crate) fn adopt() -> anyhow::Result<()> {
    if !getpid().is_init() {
        return Ok(());
    }
    let mut ended = signal(SignalKind::child())?;
    tokio::spawn(async move {
        while ended.recv().await.is_some() {
            let mut waiting = zombies(getpid());
            while !waiting.is_empty() {
                tokio::time::sleep(PATIENCE).await;
                let now = zombies(getpid());
                now.intersection(&waiting).for_each(|orphan| collect(*orphan));
                waiting = now.difference(&waiting).copied().collect();
            }
        }
    });
    Ok(())
}

fn collect(orphan: i32) {
    if let Some(pid) = Pid::from_raw(orphan)
        && let Err(error) = waitpid(Some(pid), WaitOptions::NOHANG)
    {
        tracing::debug!(pid = orphan, %error, "a process that ended was collected by somebody else");
    }
}

/// Children of a process that ended and that nobody has looked at.
fn zombies(parent: Pid) -> HashSet<i32> {
    let Ok(listed) = fs::read_dir("/proc") else { return HashSet::new() };
    let pids = listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| is_zombie(*pid, parent)).collect()
}

/// Reads proc(5) `stat`: the name stands in parentheses and may hold any, then come state and parent.
fn is_zombie(pid: i32, parent: Pid) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let Some((_, fields)) = stat.rsplit_once(')') else { return false };
    let mut fields = fields.split_whitespace();
    fields.next() == Some("Z") && fields.next() == Some(&parent.as_raw_nonzero().to_string())
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn who_ended_is_seen_and_collected() {
        let mut child = Command::new("true").spawn().expect("started");
        let pid = i32::try_from(child.id()).expect("a process id");
        let began = Instant::now();
        while !zombies(getpid()).contains(&pid) {
            assert!(began.elapsed() < Duration::from_secs(20), "it never ended");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        collect(pid);
        assert!(!zombies(getpid()).contains(&pid));
        // Somebody else was faster: nothing happens, to us or to them.
        collect(pid);
        assert!(child.wait().is_err(), "there is nothing left to wait for");
    }
}
