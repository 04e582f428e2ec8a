//! What the appliance does at this moment, out of two looks at what it counts.

mod sample;
pub mod screen;

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

pub use self::sample::Sample;
use crate::output::table;

/// Looks that the line of history holds.
const HISTORY: usize = 60;

/// What happens now: numbers of this moment, and rates (per second) since the look before.
#[derive(Clone, Debug, Serialize)]
pub struct Moment {
    /// The version that runs.
    pub version: String,
    /// Whether the database answers.
    pub database: bool,
    /// Octets of memory.
    pub memory: f64,
    /// How long the first message that is due has waited beyond its time, in seconds.
    pub late_by: f64,
    /// Messages that came, by way and answer, per second.
    pub messages: Vec<Rate>,
    /// The mean time from the end of a message to its answer, in seconds.
    pub answered_in: Option<f64>,
    /// Attempts to deliver, by outcome, per second.
    pub deliveries: Vec<Rate>,
    /// Logins, by protocol and result, per second.
    pub logins: Vec<Rate>,
    /// Recipients that wait, by state.
    pub queue: Vec<Rate>,
    /// Sessions, by listener.
    pub sessions: Vec<Rate>,
    /// Verdicts of the filter, by category, per second.
    pub verdicts: Vec<Rate>,
    /// Commits of messages per second, and how many parcels shared one.
    pub commits: f64,
    /// Parcels of one commit, in the mean.
    pub parcels: Option<f64>,
}

/// A number with its name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rate {
    /// Such as `smtp taken`.
    pub name: String,
    /// How much, or how much per second.
    pub value: f64,
}

impl Moment {
    /// Out of two looks that lie this far apart. Without an earlier one there are no rates.
    #[must_use]
    pub fn between(before: Option<&Sample>, now: &Sample, apart: Duration) -> Self {
        let seconds = apart.as_secs_f64().max(0.001);
        let rate = |name: &str, labels: &[&str]| -> Vec<Rate> {
            let Some(before) = before else { return Vec::new() };
            let growth = |one: &sample::Line| {
                // A server that began anew counts from nothing.
                let earlier = before.value(name, &one.labels).filter(|earlier| *earlier <= one.value).unwrap_or(0.0);
                (one.value - earlier) / seconds
            };
            now.lines(name).map(|one| Rate { name: one.named(labels), value: growth(one) }).collect()
        };
        let gauge = |name: &str, label: &str| -> Vec<Rate> {
            now.lines(name).map(|one| Rate { name: one.named(&[label]), value: one.value }).collect()
        };
        // No summands make -0.
        let all = |name: &str| rate(name, &[]).iter().map(|one| one.value).sum::<f64>() + 0.0;
        let mean = |sum: &str, count: &str| Some(all(sum) / all(count)).filter(|mean| mean.is_finite());
        let one = |name: &str| now.lines(name).map(|one| one.value).fold(0.0, f64::max);
        let version = now.lines("posthorn_build_info").next().map(|one| one.named(&["version"]));
        Self {
            version: version.unwrap_or_default(),
            database: one("posthorn_database_up") > 0.0,
            memory: one("process_resident_memory_bytes"),
            late_by: one("posthorn_queue_late_by_seconds"),
            messages: rate("posthorn_messages_total", &["way", "outcome"]),
            answered_in: mean("posthorn_message_seconds_sum", "posthorn_message_seconds_count"),
            deliveries: rate("posthorn_deliveries_total", &["outcome"]),
            logins: rate("posthorn_logins_total", &["protocol", "result"]),
            queue: gauge("posthorn_queue_deliveries", "state"),
            sessions: gauge("posthorn_sessions", "listener"),
            verdicts: rate("posthorn_filter_verdicts_total", &["category"]),
            commits: all("posthorn_commit_parcels_count"),
            parcels: mean("posthorn_commit_parcels_sum", "posthorn_commit_parcels_count"),
        }
    }

    /// Messages taken per second.
    #[must_use]
    pub fn taken(&self) -> f64 {
        self.messages.iter().filter(|rate| rate.name.ends_with(" taken")).map(|rate| rate.value).sum::<f64>() + 0.0
    }

    /// As people read it.
    #[must_use]
    pub fn text(&self, terminal: bool, history: &History) -> String {
        let database = if self.database { "up" } else { "AWAY" };
        let memory = self.memory / f64::from(1 << 20);
        let mut text = format!(
            "posthorn {}   database {database}   memory {memory:.0} MiB   late by {:.0} s   {:.1} commits/s",
            self.version, self.late_by, self.commits
        );
        if let Some(parcels) = self.parcels {
            text.push_str(&format!(" of {parcels:.1}"));
        }
        if let Some(seconds) = self.answered_in {
            text.push_str(&format!("   answers in {:.1} ms", seconds * 1000.0));
        }
        text.push_str(&format!("\n\ntaken/s {:>8.1}  {}\n\n", self.taken(), history.bars()));
        let columns: [(&str, &[Rate], bool); 6] = [
            ("in /s", &self.messages, true),
            ("out /s", &self.deliveries, true),
            ("logins /s", &self.logins, true),
            ("verdicts /s", &self.verdicts, true),
            ("queue", &self.queue, false),
            ("sessions", &self.sessions, false),
        ];
        let height = columns.iter().map(|(_, rates, _)| rates.len()).max().unwrap_or(0);
        let cell = |rates: &[Rate], fraction: bool, row: usize| match rates.get(row) {
            None => String::new(),
            Some(rate) if fraction => format!("{:>8.1} {}", rate.value, rate.name),
            Some(rate) => format!("{:>6.0} {}", rate.value, rate.name),
        };
        let rows = (0..height).map(|row| columns.iter().map(|(_, rates, part)| cell(rates, *part, row)).collect());
        let headings: Vec<_> = columns.iter().map(|(heading, ..)| *heading).collect();
        text.push_str(&table(terminal, &headings, rows));
        text.push('\n');
        text
    }
}

/// The latest rates of taken messages, newest last.
#[derive(Clone, Debug, Default)]
pub struct History(VecDeque<f64>);

impl History {
    /// Takes one more.
    pub fn add(&mut self, rate: f64) {
        if self.0.len() == HISTORY {
            self.0.pop_front();
        }
        self.0.push_back(rate);
    }

    /// As bars, the highest of them full.
    fn bars(&self) -> String {
        const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let most = self.0.iter().copied().fold(0.0, f64::max);
        let bar = |rate: &f64| {
            let eighths = if most > 0.0 { (rate / most * 7.0).round() } else { 0.0 };
            BARS.iter().enumerate().find(|(at, _)| *at as f64 >= eighths).map_or('█', |(_, bar)| *bar)
        };
        self.0.iter().map(bar).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "# HELP posthorn_messages_total x\n\
        posthorn_build_info{version=\"0.1.0\"} 1\n\
        posthorn_messages_total{way=\"smtp\",outcome=\"taken\"} 10\n\
        posthorn_message_seconds_sum{way=\"smtp\"} 1\nposthorn_message_seconds_count{way=\"smtp\"} 10\n\
        posthorn_sessions{listener=\"smtp\",speaks=\"smtp\"} 3\nposthorn_database_up 1\n";
    const SECOND: &str = "posthorn_messages_total{way=\"smtp\",outcome=\"taken\"} 30\n\
        posthorn_messages_total{way=\"lmtp\",outcome=\"refused\"} 4\n\
        posthorn_message_seconds_sum{way=\"smtp\"} 1.5\nposthorn_message_seconds_count{way=\"smtp\"} 30\n\
        posthorn_sessions{listener=\"smtp\",speaks=\"smtp\"} 5\nposthorn_database_up 0\n";

    #[test]
    fn rates_are_what_came_since() {
        let (first, second) = (Sample::parse(FIRST), Sample::parse(SECOND));
        let moment = Moment::between(Some(&first), &second, Duration::from_secs(2));
        let named = |name: &str, value| Rate { name: name.into(), value };
        assert_eq!(moment.messages, [named("smtp taken", 10.0), named("lmtp refused", 2.0)]);
        assert_eq!(moment.sessions, [named("smtp", 5.0)]);
        assert_eq!(moment.answered_in, Some(0.025));
        assert!((moment.taken() - 10.0).abs() < 1e-9 && !moment.database);
        let text = moment.text(false, &History::default());
        assert!(text.contains("database AWAY") && text.contains("10.0 smtp taken"), "{text}");
    }

    #[test]
    fn a_server_that_began_anew_counts_from_nothing() {
        let (first, second) = (Sample::parse(SECOND), Sample::parse(FIRST));
        let moment = Moment::between(Some(&first), &second, Duration::from_secs(1));
        assert!((moment.taken() - 10.0).abs() < 1e-9);
        assert!(Moment::between(None, &first, Duration::from_secs(1)).messages.is_empty());
    }

    #[test]
    fn bars_are_drawn_to_the_highest() {
        let mut history = History::default();
        [0.0, 5.0, 10.0].into_iter().for_each(|rate| history.add(rate));
        assert_eq!(history.bars(), "▁▅█");
        (0..100).for_each(|_| history.add(1.0));
        assert_eq!(history.bars().chars().count(), HISTORY);
    }
}
