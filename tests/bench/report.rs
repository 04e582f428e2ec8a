//! Numbers in a table for people, or as JSON for programs.

use std::io::Write as _;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value, json};

use crate::ledger::Cost;

/// What a workload found: one row per variant.
pub(crate) struct Report {
    workload: &'static str,
    rows: Vec<Row>,
    fault: Option<String>,
}

/// Named numbers, in the order they are printed.
#[derive(Default)]
pub(crate) struct Row(Vec<(&'static str, Value, String)>);

impl Row {
    /// A count or a label.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        let value = value.into();
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.0.push((name, value, shown));
        self
    }

    /// A measure, shown with so many decimals.
    pub(crate) fn measure(mut self, name: &'static str, value: f64, decimals: usize) -> Self {
        self.0.push((name, json!(value), format!("{value:.decimals$}")));
        self
    }

    /// How long the pieces of a workload took.
    pub(crate) fn latencies(self, mut times: Vec<Duration>) -> Self {
        let (half, most) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
        self.measure("p50 ms", half, 2).measure("p99 ms", most, 2)
    }

    /// What each message cost.
    pub(crate) fn costs(self, cost: Cost, messages: u64) -> Self {
        self.measure("server CPU ms/msg", each(cost.server_cpu, messages), 3)
            .measure("driver CPU ms/msg", each(cost.own_cpu, messages), 3)
            .measure("peak PSS MiB", cost.peak_pss, 1)
    }
}

impl Report {
    pub(crate) fn new(workload: &'static str) -> Self {
        Self { workload, rows: Vec::new(), fault: None }
    }

    pub(crate) fn of(workload: &'static str, row: Row) -> Self {
        Self { workload, rows: vec![row], fault: None }
    }

    pub(crate) fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// What was found is not as it must be: the program fails after it has printed.
    pub(crate) fn faulted(mut self, why: impl Into<String>) -> Self {
        self.fault = Some(why.into());
        self
    }

    pub(crate) fn print(self, json: bool) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        if json {
            let rows: Vec<Value> = self
                .rows
                .into_iter()
                .map(|row| row.0.into_iter().map(|(name, value, _)| (name.to_owned(), value)).collect::<Map<_, _>>())
                .map(Value::Object)
                .collect();
            writeln!(out, "{}", json!({ "workload": self.workload, "rows": rows }))?;
        } else {
            writeln!(out, "{}\n{}", self.workload, table(&self.rows))?;
        }
        self.fault.map_or(Ok(()), |fault| Err(anyhow::anyhow!("{}: {fault}", self.workload)))
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if let Some(first) = rows.first() {
        table.set_header(first.0.iter().map(|(name, ..)| *name));
    }
    for row in rows {
        table.add_row(row.0.iter().map(|(.., shown)| shown));
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The value below which a share of them lies, in milliseconds. Sorts; zero when there is none.
pub(crate) fn percentile(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let at = (times.len() as f64 * share) as usize;
    times.get(at.min(times.len().saturating_sub(1))).map_or(0.0, |time| milliseconds(*time))
}

/// A duration in milliseconds.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// How many a second.
pub(crate) fn rate(count: u64, time: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of a run fit")]
    let count = count as f64;
    count / time.as_secs_f64().max(1e-9)
}

/// Milliseconds for each, of seconds for all.
pub(crate) fn each(seconds: f64, count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of a run fit")]
    let count = count.max(1) as f64;
    seconds * 1000.0 / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_taken_from_sorted_times() {
        let mut times: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert!((percentile(&mut times, 0.5) - 51.0).abs() < 1e-9);
        assert!((percentile(&mut times, 0.99) - 100.0).abs() < 1e-9);
        assert!(percentile(&mut [], 0.5).abs() < 1e-9);
    }
}
