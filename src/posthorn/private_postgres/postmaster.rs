//! One run of the server process: start, readiness, stop, and a run that somebody left behind.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use super::Error;
use super::cluster::command;
use super::folders::Folders;
use super::os_user::OsUser;
use super::programs::Programs;

/// How often the process table and `postmaster.pid` are looked at while waiting.
const GLANCE: Duration = Duration::from_millis(4);
/// Crash recovery replays up to the whole write-ahead log before the server is ready.
const START_LIMIT: Duration = Duration::from_secs(15 * 60);
/// Backends of a killed server need a moment to notice and to let go of the shared memory.
const ORPHANS_LIMIT: Duration = Duration::from_secs(20);
/// "Fast shutdown" writes a checkpoint.
const FAST_LIMIT: Duration = Duration::from_secs(30);
const IMMEDIATE_LIMIT: Duration = Duration::from_secs(10);
const LOG_LIMIT: u64 = 8 << 20;
const LOG_TAIL: u64 = 4 << 10;
/// Between making a lock file and writing it a server does nothing else.
const UNWRITTEN_LIMIT: Duration = Duration::from_millis(300);
/// Where a server writes its process id, in its cluster.
const PID_FILE: &str = "postmaster.pid";

/// All that it takes to start the server again and again.
#[derive(Debug)]
pub(super) struct Launch {
    postgres: PathBuf,
    cluster: PathBuf,
    log: PathBuf,
    user: OsUser,
}

impl Launch {
    pub(super) fn new(folders: &Folders, programs: &Programs, user: &OsUser) -> Self {
        Self { postgres: programs.postgres(), cluster: folders.cluster(), log: folders.log(), user: user.clone() }
    }

    /// Opens the log for the next run; a long one makes room first.
    fn open_log(&self) -> Result<File, Error> {
        if fs::metadata(&self.log).is_ok_and(|meta| meta.len() > LOG_LIMIT) {
            fs::rename(&self.log, self.log.with_extension("log.1")).map_err(Error::io("rename", &self.log))?;
        }
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        options.open(&self.log).map_err(Error::io("open", &self.log))
    }
}

/// A running server. Dropping it asks it to stop: a start that is given up leaves nothing behind.
#[derive(Debug)]
pub(super) struct Postmaster {
    child: Child,
    pid: u32,
    left: bool,
}

impl Postmaster {
    /// Starts the server and waits until it is ready.
    pub(super) async fn start(launch: &Launch) -> Result<Self, Error> {
        let began = Instant::now();
        loop {
            match Self::try_start(launch).await {
                Err(Error::Failed { log, .. })
                    if log.contains("is still in use") && began.elapsed() < ORPHANS_LIMIT =>
                {
                    sleep(Duration::from_millis(100)).await;
                }
                done => return done,
            }
        }
    }

    /// The server's process id.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the process to end.
    pub(super) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Lets it run on without us.
    pub(super) fn leave(mut self) {
        self.left = true;
    }

    /// Ends the process: fast, then at once, then for good.
    pub(super) async fn stop(mut self) {
        for (signal, patience) in [(Signal::INT, FAST_LIMIT), (Signal::QUIT, IMMEDIATE_LIMIT)] {
            send(self.pid, signal);
            if timeout(patience, self.child.wait()).await.is_ok() {
                return;
            }
            tracing::warn!(pid = self.pid, ?signal, "the private PostgreSQL does not stop");
        }
        if let Err(error) = self.child.kill().await {
            tracing::error!(pid = self.pid, %error, "the private PostgreSQL cannot be killed");
        }
    }

    async fn try_start(launch: &Launch) -> Result<Self, Error> {
        let log = launch.open_log()?;
        let before = log.metadata().map_err(Error::io("inspect", &launch.log))?.len();
        let mut postgres = command(&launch.postgres, &launch.user);
        postgres.arg("-D").arg(&launch.cluster);
        // Its own process group: Ctrl-C at a terminal reaches us, and we stop it in our order.
        postgres.process_group(0);
        postgres.stdout(log.try_clone().map_err(Error::io("open", &launch.log))?).stderr(log);
        let child = postgres.spawn().map_err(Error::io("run", &launch.postgres))?;
        let Some(pid) = child.id() else { return Err(failed(launch, before, "it ended at once")) };
        let mut starting = Self { child, pid, left: false };
        match timeout(START_LIMIT, starting.ready(launch)).await {
            Ok(Ok(None)) => Ok(starting),
            Ok(Ok(Some(status))) => Err(failed(launch, before, &status.to_string())),
            Ok(Err(error)) => Err(Error::io("watch", &launch.postgres)(error)),
            Err(_) => {
                starting.stop().await;
                Err(failed(launch, before, "it was not ready in time"))
            }
        }
    }

    /// `None` when the server accepts connections, its status when it ended instead.
    async fn ready(&mut self, launch: &Launch) -> std::io::Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            if PidFile::read(&launch.cluster).is_some_and(|file| file.pid == self.pid && file.ready) {
                return Ok(None);
            }
            sleep(GLANCE).await;
        }
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        // The id stays ours until the end was waited for.
        if !self.left && matches!(self.child.try_wait(), Ok(None)) {
            send(self.pid, Signal::INT);
        }
    }
}

/// Sends a signal to a server; one that is gone needs none.
fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Stops a server that runs on the cluster without us: its posthorn was killed. Lock files of one that is dead do not
/// bar the next start. The caller holds the folder's lock.
pub(super) async fn stop_leftover(folders: &Folders) -> Result<(), Error> {
    let cluster = folders.cluster();
    let locks = [cluster.join(PID_FILE), folders.socket_lock()];
    for lock in &locks {
        forget_unwritten(lock).await;
    }
    if let Some(PidFile { pid, .. }) = PidFile::read(&cluster)
        && runs_on(pid, &cluster)
    {
        end_leftover(pid, &cluster).await?;
    }
    for lock in &locks {
        forget_impostor(lock, &cluster);
    }
    Ok(())
}

/// Removes a lock file that stays empty: the power went while it was written, and PostgreSQL would refuse to start.
async fn forget_unwritten(lock: &Path) {
    let is_empty = || fs::metadata(lock).is_ok_and(|meta| meta.len() == 0);
    if !is_empty() {
        return;
    }
    // A server that just starts writes it at once.
    sleep(UNWRITTEN_LIMIT).await;
    if is_empty() {
        let _ = fs::remove_file(lock);
    }
}

async fn end_leftover(pid: u32, cluster: &Path) -> Result<(), Error> {
    tracing::info!(pid, "a PostgreSQL was left behind in the data folder: stopping it");
    for (signal, patience) in
        [(Signal::INT, FAST_LIMIT), (Signal::QUIT, IMMEDIATE_LIMIT), (Signal::KILL, IMMEDIATE_LIMIT)]
    {
        send(pid, signal);
        let began = Instant::now();
        while began.elapsed() < patience {
            if !runs_on(pid, cluster) {
                return Ok(());
            }
            sleep(GLANCE).await;
        }
    }
    Err(Error::Unstoppable { folder: cluster.to_owned(), pid })
}

/// Whether a server of this cluster accepts connections, whoever runs it.
pub(super) fn is_ready(cluster: &Path) -> bool {
    PidFile::read(cluster).is_some_and(|file| file.ready && runs_on(file.pid, cluster))
}

/// What `postmaster.pid` says: the process id in the first line, "ready" in the eighth.
#[derive(Debug, Eq, PartialEq)]
struct PidFile {
    pid: u32,
    ready: bool,
}

impl PidFile {
    fn read(cluster: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(cluster.join(PID_FILE)).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        // A single-user backend writes its process id negated.
        let pid: i64 = lines.next()?.trim().parse().ok()?;
        let pid = u32::try_from(pid.unsigned_abs()).ok()?;
        let ready = lines.nth(6).is_some_and(|status| status.trim_end() == "ready");
        Some(Self { pid, ready })
    }
}

/// Whether the process is a server of this cluster: it works in the cluster's folder. A dead or unreaped process
/// works nowhere.
fn runs_on(pid: u32, cluster: &Path) -> bool {
    match fs::read_link(format!("/proc/{pid}/cwd")) {
        Ok(folder) => folder == cluster,
        // Root in a container may not look into another user's process; how it was started is public.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            arguments.split(|b| *b == 0).any(|argument| argument == cluster.as_os_str().as_bytes())
        }
        Err(_) => false,
    }
}

/// Removes a lock file whose process id belongs to anybody else, as after a restart of a machine or container, or to
/// a dead server that nobody has waited for: PostgreSQL itself would refuse to start. Backends that still hold the
/// shared memory are found by it nevertheless.
fn forget_impostor(lock: &Path, cluster: &Path) {
    let Some(PidFile { pid, .. }) = fs::read_to_string(lock).ok().and_then(|text| PidFile::parse(&text)) else {
        return;
    };
    let alive = i32::try_from(pid).ok().and_then(Pid::from_raw).is_some_and(|pid| test_kill_process(pid).is_ok());
    if alive && !runs_on(pid, cluster) && Path::new("/proc/self/cwd").exists() {
        let _ = fs::remove_file(lock);
    }
}

fn failed(launch: &Launch, before: u64, outcome: &str) -> Error {
    let log = tail(&launch.log, before).unwrap_or_else(|error| format!("({}: {error})", launch.log.display()));
    Error::Failed { program: "postgres", outcome: outcome.to_owned(), log }
}

/// What was written behind `before`, at most the last few lines.
fn tail(path: &Path, before: u64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let end = file.metadata()?.len();
    file.seek(SeekFrom::Start(before.max(end.saturating_sub(LOG_TAIL)).min(end)))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pid_files() {
        let text = "4711\n/data/postgres\n1700000000\n5432\n/data/run\n\n  5432001   0\nready   \n";
        assert_eq!(PidFile::parse(text), Some(PidFile { pid: 4711, ready: true }));
        let starting = text.replace("ready   ", "starting");
        assert_eq!(PidFile::parse(&starting), Some(PidFile { pid: 4711, ready: false }));
        assert_eq!(PidFile::parse("-12\n"), Some(PidFile { pid: 12, ready: false }));
        for broken in ["", "\n", "pid\n", "99999999999999\n"] {
            assert_eq!(PidFile::parse(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn only_processes_in_the_folder_run_on_the_cluster() {
        let here = std::env::current_dir().expect("there is one");
        assert!(runs_on(std::process::id(), &here));
        assert!(!runs_on(std::process::id(), Path::new("/nowhere")));
    }
}
