//! What the server's processes have used, out of `/proc`.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::report::{Report, Row};

/// `/proc` counts in hundredths of a second, whatever the kernel was built with (`proc(5)`, `USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Between two looks at the memory; a look costs the server's processes a lock.
const LOOK: Duration = Duration::from_millis(1000);

/// One line of `/proc/PID/stat`.
struct Stat {
    parent: u32,
    /// Of the process and of the children that it has reaped, so that what has come and gone is counted.
    ticks: u64,
    threads: u32,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name in parentheses may hold anything; the fields after it are numbered from 3 in proc(5).
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let ticks = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
        Some(Self { parent: fields.get(1)?.parse().ok()?, ticks, threads: fields.get(17)?.parse().ok()? })
    }
}

/// All processes of the machine, by id.
fn processes() -> HashMap<u32, Stat> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let text = std::fs::read(entry.path().join("stat")).ok()?;
            Some((pid, Stat::parse(&String::from_utf8_lossy(&text))?))
        })
        .collect()
}

/// The roots and all their descendants.
fn family(all: &HashMap<u32, Stat>, roots: &[u32]) -> HashSet<u32> {
    let mut family: HashSet<u32> = roots.iter().copied().filter(|pid| all.contains_key(pid)).collect();
    loop {
        let born: Vec<u32> = all
            .iter()
            .filter(|(pid, stat)| family.contains(&stat.parent) && !family.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if born.is_empty() {
            return family;
        }
        family.extend(born);
    }
}

/// Seconds of CPU that the family has used so far.
pub(crate) fn cpu(roots: &[u32]) -> f64 {
    let all = processes();
    let ticks: u64 = family(&all, roots).iter().filter_map(|pid| all.get(pid)).map(|stat| stat.ticks).sum();
    #[expect(clippy::cast_precision_loss, reason = "ticks of a machine's life fit")]
    let ticks = ticks as f64;
    ticks / TICKS_PER_SECOND
}

/// Sum of PSS in KiB: memory that processes share counts once.
pub(crate) fn memory(roots: &[u32]) -> u64 {
    family(&processes(), roots).iter().filter_map(|pid| pss(*pid)).sum()
}

/// The state of the server's processes at one moment, all of them together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vitals {
    /// Sum of PSS in MiB.
    pub(crate) pss: f64,
    /// Open files and sockets, without `cached`; none where the processes are somebody else's.
    pub(crate) files: f64,
    /// Files that descendants of the named processes hold open by their names: the backends of a database keep tables
    /// open as they come across them, up to a number.
    pub(crate) cached: f64,
    pub(crate) threads: f64,
    pub(crate) processes: u32,
}

/// Looks at the server's processes.
pub(crate) fn vitals(roots: &[u32]) -> Vitals {
    let all = processes();
    let mut vitals = Vitals { pss: 0.0, files: 0.0, cached: 0.0, threads: 0.0, processes: 0 };
    for pid in family(&all, roots) {
        let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        for file in entries.filter_map(|entry| std::fs::read_link(entry.path()).ok()) {
            let is_cached = file.is_absolute() && !roots.contains(&pid);
            *(if is_cached { &mut vitals.cached } else { &mut vitals.files }) += 1.0;
        }
        vitals.pss += mebibytes(pss(pid).unwrap_or(0));
        vitals.threads += all.get(&pid).map_or(0.0, |stat| f64::from(stat.threads));
        vitals.processes += 1;
    }
    vitals
}

/// How many processes there are, and their memory.
pub(crate) fn inventory(roots: &[u32]) -> Report {
    let roots: HashSet<u32> = roots.iter().copied().collect();
    let all = processes();
    let family = family(&all, &roots.iter().copied().collect::<Vec<_>>());
    let sum = |pids: &HashSet<u32>| pids.iter().filter_map(|pid| pss(*pid)).sum::<u64>();
    let row = Row::default().with("processes", family.len()).measure("PSS MiB", mebibytes(sum(&family)), 1).measure(
        "of it the roots",
        mebibytes(sum(&roots)),
        1,
    );
    Report::of("memory", row)
}

fn mebibytes(kibibytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "kibibytes of a machine's memory fit")]
    let kibibytes = kibibytes as f64;
    kibibytes / 1024.0
}

fn pss(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Seconds of CPU that the calling thread has used.
pub(crate) fn own_cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_ascii_whitespace().next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0)).as_secs_f64()
}

/// Watches the server while a workload runs.
pub(crate) struct Ledger {
    roots: Vec<u32>,
    server_cpu: f64,
    own_cpu: f64,
    peak: Arc<AtomicU64>,
    stop: mpsc::Sender<()>,
    watcher: JoinHandle<()>,
}

/// What a workload cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Seconds of CPU of all of the server's processes.
    pub(crate) server_cpu: f64,
    /// Seconds of CPU of this program.
    pub(crate) own_cpu: f64,
    /// The highest sum of PSS that was seen, in MiB.
    pub(crate) peak_pss: f64,
}

impl Ledger {
    pub(crate) fn open(roots: Vec<u32>) -> Self {
        let peak = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = mpsc::channel();
        // A thread of its own, so that its reading is neither a pause nor a cost of the driver.
        let watcher = std::thread::spawn({
            let (peak, roots) = (Arc::clone(&peak), roots.clone());
            move || {
                while stopped.recv_timeout(LOOK) == Err(mpsc::RecvTimeoutError::Timeout) {
                    peak.fetch_max(memory(&roots), Ordering::Relaxed);
                }
            }
        });
        Self { server_cpu: cpu(&roots), own_cpu: own_cpu(), roots, peak, stop, watcher }
    }

    pub(crate) fn close(self) -> Cost {
        let Self { roots, server_cpu, own_cpu: before, peak, stop, watcher } = self;
        let (server_cpu, own_cpu) = (cpu(&roots) - server_cpu, own_cpu() - before);
        drop(stop);
        let _panicked = watcher.join();
        let peak = peak.load(Ordering::Relaxed).max(memory(&roots));
        Cost { server_cpu, own_cpu, peak_pss: mebibytes(peak) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_is_skipped() {
        let stat =
            Stat::parse("7 (a) b (c) S 3 7 7 0 -1 4194304 1 2 3 4 10 20 30 40 20 0 9 0 77").expect("a line of stat");
        assert_eq!((stat.parent, stat.ticks, stat.threads), (3, 100, 9));
    }

    #[test]
    fn grandchildren_belong_to_the_family() {
        let stat = |parent| Stat { parent, ticks: 0, threads: 1 };
        let all = HashMap::from([(1, stat(0)), (2, stat(1)), (3, stat(2)), (4, stat(9))]);
        assert_eq!(family(&all, &[1]), HashSet::from([1, 2, 3]));
        assert_eq!(family(&all, &[5]), HashSet::new());
    }

    #[test]
    fn this_process_uses_cpu_and_memory() {
        assert!(memory(&[std::process::id()]) > 0);
        let seen = vitals(&[std::process::id()]);
        assert!(seen.pss > 0.0 && seen.files >= 3.0 && seen.threads >= 1.0 && seen.processes >= 1, "{seen:?}");
        assert!(own_cpu() > 0.0);
    }
}
