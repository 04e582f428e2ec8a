//! What was seen of the server, minute by minute, and whether it grows.

use super::Stage;
use crate::ledger::Vitals;
use crate::report::{Report, Row};

/// How much the memory may differ: a tenth, and this much for whatever comes and goes.
const MEMORY_SLACK: f64 = 8.0;

/// How many more files may be open.
const FILES_SLACK: f64 = 10.0;

/// What was seen in a minute.
pub(super) struct Minute {
    pub(super) samples: Vec<Vitals>,
    server_cpu: f64,
    own_cpu: f64,
}

impl Minute {
    pub(super) const HEADER: &str =
        "minute   begun  failed  left out  server CPU %  driver CPU %   PSS MiB  files  cached  threads  processes";

    pub(super) fn begin(server_cpu: f64, own_cpu: f64) -> Self {
        Self { samples: Vec::new(), server_cpu, own_cpu }
    }

    /// The minute in words, with the totals of actions so far.
    pub(super) fn line(&self, number: u64, (server_cpu, own_cpu): (f64, f64), stage: &Stage) -> String {
        let share = |seconds: f64| seconds / 60.0 * 100.0;
        format!(
            "{number:>6} {:>7} {:>7} {:>9} {:>13.1} {:>13.1} {:>9.1} {:>6.0} {:>7.0} {:>8.0} {:>10.0}",
            stage.begun.get(),
            stage.failed.get(),
            stage.left_out.get(),
            share(server_cpu - self.server_cpu),
            share(own_cpu - self.own_cpu),
            median(&self.samples, |seen| seen.pss),
            median(&self.samples, |seen| seen.files),
            median(&self.samples, |seen| seen.cached),
            median(&self.samples, |seen| seen.threads),
            median(&self.samples, |seen| f64::from(seen.processes)),
        )
    }
}

/// Everything that was seen.
#[derive(Default)]
pub(super) struct Trend {
    samples: Vec<Vitals>,
}

impl Trend {
    pub(super) fn add(&mut self, minute: Minute) {
        self.samples.extend(minute.samples);
    }

    /// Medians of the second and of the last third; the first is for warming up.
    fn thirds(&self, of: fn(&Vitals) -> f64) -> (f64, f64) {
        let third = self.samples.len() / 3;
        let (_, later) = self.samples.split_at(third);
        let (second, last) = later.split_at(third);
        (median(second, of), median(last, of))
    }

    fn memory(&self) -> (f64, f64, f64) {
        let (second, last) = self.thirds(|seen| seen.pss);
        (second, last, second * 1.1 + MEMORY_SLACK)
    }

    fn files(&self) -> (f64, f64, f64) {
        let (second, last) = self.thirds(|seen| seen.files);
        (second, last, second + FILES_SLACK)
    }

    /// Why this is not flat.
    pub(super) fn fault(&self) -> Option<String> {
        let (second, last, most) = self.memory();
        if last > most {
            return Some(format!("memory grew from {second:.1} to {last:.1} MiB"));
        }
        let (second, last, most) = self.files();
        (last > most).then(|| format!("open files grew from {second:.0} to {last:.0}"))
    }

    pub(super) fn report(&self, workload: &'static str) -> Report {
        let mut report = Report::new(workload);
        for (what, (second, last, most)) in [("PSS MiB", self.memory()), ("open files", self.files())] {
            let row = Row::default().with("median of", what).measure("second third", second, 1);
            report.push(row.measure("last third", last, 1).measure("at most", most, 1));
        }
        report
    }
}

fn median(samples: &[Vitals], of: fn(&Vitals) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trend(pss: impl Fn(f64) -> f64, files: impl Fn(f64) -> f64) -> Trend {
        let samples = (0..90).map(|at| {
            let at = f64::from(at);
            Vitals { pss: pss(at), files: files(at), cached: at, threads: 10.0, processes: 3 }
        });
        Trend { samples: samples.collect() }
    }

    #[test]
    fn growth_is_told_from_warming_up_and_from_noise() {
        let warming = |at: f64| 50.0 + at.min(30.0) * 3.0;
        assert_eq!(trend(warming, |_| 100.0).fault(), None);
        let noisy = |at: f64| 100.0 + (at % 7.0) * 10.0;
        assert_eq!(trend(noisy, |at| 90.0 + at % 5.0).fault(), None);
        // A tenth and eight MiB above 100 are 118.
        let steps = |high: f64| move |at: f64| if at < 60.0 { 100.0 } else { high };
        assert_eq!(trend(steps(117.0), |_| 100.0).fault(), None);
        assert!(trend(steps(119.0), |_| 100.0).fault().is_some_and(|fault| fault.contains("memory")));
        assert_eq!(trend(|_| 1.0, steps(110.0)).fault(), None);
        assert!(trend(|_| 1.0, steps(111.0)).fault().is_some_and(|fault| fault.contains("files")));
    }
}
