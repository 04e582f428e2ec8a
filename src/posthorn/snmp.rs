//! What is counted, for net-snmp's agent, which asks by `pass_persist` (snmpd.conf(5)).
//!
//! The numbers stand where AMAVIS-MIB has them, so that whoever watches an amavisd finds them: messages by category (the
//! MIB numbers the categories as we do), how long judging took, and what waits in the queue.

use std::io::{self, BufRead, Write};

use posthorn_config::HeldCategory;

use crate::top::Sample;

/// `enterprises.15312.2.1`, in whose subtree all of it is.
const AMAVIS: [u64; 9] = [1, 3, 6, 1, 4, 1, 15312, 2, 1];
/// Counters of 32 bits begin anew here (RFC 2578 §7.1.6).
const COUNTER: f64 = 4_294_967_296.0;

/// One thing that can be asked for.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    oid: Vec<u64>,
    kind: &'static str,
    value: String,
}

/// Answers until the agent ends. `look` reads the numbers; while it cannot, there are none.
///
/// # Errors
/// When the agent cannot be heard or answered any more.
pub fn converse(
    mut read: impl BufRead,
    mut write: impl Write,
    mut look: impl FnMut() -> anyhow::Result<Sample>,
) -> io::Result<()> {
    let mut word = String::new();
    while line(&mut read, &mut word)? && !word.is_empty() {
        match word.as_str() {
            "PING" => writeln!(write, "PONG")?,
            "get" | "getnext" => {
                let is_next = word == "getnext";
                line(&mut read, &mut word)?;
                let rows = look().map(|sample| rows(&sample)).unwrap_or_default();
                let asked = parsed(&word).unwrap_or_default();
                let found = rows.iter().find(|row| if is_next { row.oid > asked } else { row.oid == asked });
                match found {
                    Some(Row { oid, kind, value }) => writeln!(write, "{}\n{kind}\n{value}", written(oid))?,
                    None => writeln!(write, "NONE")?,
                }
            }
            "set" => {
                line(&mut read, &mut word)?;
                line(&mut read, &mut word)?;
                writeln!(write, "not-writable")?;
            }
            _ => writeln!(write, "NONE")?,
        }
        write.flush()?;
    }
    Ok(())
}

/// A line without its end; `false` at the end of everything.
fn line(read: &mut impl BufRead, into: &mut String) -> io::Result<bool> {
    into.clear();
    let count = read.read_line(into)?;
    into.truncate(into.trim_end().len());
    Ok(count > 0)
}

/// Everything there is, in the order of its names.
fn rows(sample: &Sample) -> Vec<Row> {
    let named = |place: &[u64], kind, value: String| Row { oid: [&AMAVIS[..], place, &[0]].concat(), kind, value };
    let counter = |value: f64| format!("{:.0}", value.rem_euclid(COUNTER));
    let gauge = |value: f64| format!("{:.0}", value.clamp(0.0, COUNTER - 1.0));
    let queue = |state| gauge(sample.total("posthorn_queue_deliveries", &[("state", state)]));
    let verdicts = |labels: &[(&str, &str)]| counter(sample.total("posthorn_filter_verdicts_total", labels));
    let mut rows = vec![
        named(&[1, 1, 1], "string", format!("Posthorn {}", env!("CARGO_PKG_VERSION"))),
        // inMsgs
        named(&[1, 2, 1], "counter", verdicts(&[])),
    ];
    // contentCleanMsgs to contentVirusMsgs
    for category in HeldCategory::ALL {
        let place = [1, 10, u64::from(category.code().unsigned_abs()), 1];
        rows.push(named(&place, "counter", verdicts(&[("category", category.name())])));
    }
    // timeElapsedTotal, in hundredths of a second
    let elapsed = sample.total("posthorn_filter_seconds_sum", &[]) * 100.0;
    rows.push(named(&[1, 16, 1], "integer", format!("{:.0}", elapsed.clamp(0.0, f64::from(i32::MAX)))));
    // mtaQueueEntriesIncoming, Active and Deferred
    for (at, state) in [(2, "due"), (3, "in delivery"), (4, "deferred")] {
        rows.push(named(&[3, 1, at], "gauge", queue(state)));
    }
    rows
}

fn parsed(oid: &str) -> Option<Vec<u64>> {
    oid.strip_prefix('.')?.split('.').map(|number| number.parse().ok()).collect()
}

fn written(oid: &[u64]) -> String {
    oid.iter().map(|number| format!(".{number}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "posthorn_filter_verdicts_total{category=\"clean\"} 7\n\
        posthorn_filter_verdicts_total{category=\"virus\"} 4294967298\nposthorn_filter_seconds_sum 1.234\n\
        posthorn_queue_deliveries{state=\"deferred\"} 3\n";

    fn said(asked: &str) -> String {
        let mut out = Vec::new();
        converse(asked.as_bytes(), &mut out, || Ok(Sample::parse(TEXT))).expect("it is heard");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn what_is_asked_for_is_told() {
        assert_eq!(said("PING\n"), "PONG\n");
        let clean = ".1.3.6.1.4.1.15312.2.1.1.10.1.1.0";
        assert_eq!(said(&format!("get\n{clean}\n")), format!("{clean}\ncounter\n7\n"));
        assert_eq!(said("get\n.1.3.6.1.4.1.15312.2.1.1.10.9.1.0\n"), ".1.3.6.1.4.1.15312.2.1.1.10.9.1.0\ncounter\n2\n");
        assert_eq!(said("get\n.1.3.6.1.4.1.15312.2.1.1.10.1.1\n"), "NONE\n");
        assert_eq!(said("set\n.1.3\ninteger 5\nPING\n"), "not-writable\nPONG\n");
        assert_eq!(said("dance\nPING\n"), "NONE\nPONG\n");
        // An empty line is the agent's goodbye.
        assert_eq!(said("\nPING\n"), "");
    }

    #[test]
    fn a_walk_comes_past_everything_once() {
        let (mut oid, mut seen) = (".1.3.6.1.4.1.15312.2.1".to_owned(), Vec::new());
        loop {
            let answer = said(&format!("getnext\n{oid}\n"));
            let Some(next) = answer.lines().next().filter(|line| *line != "NONE") else { break };
            assert!(!seen.contains(&next.to_owned()), "{next}");
            seen.push(next.to_owned());
            oid = next.to_owned();
        }
        assert_eq!(seen.len(), rows(&Sample::parse(TEXT)).len());
        assert_eq!(seen.last().map(String::as_str), Some(".1.3.6.1.4.1.15312.2.1.3.1.4.0"));
    }

    #[test]
    fn without_numbers_there_is_nothing() {
        let mut out = Vec::new();
        let asked = "getnext\n.1.3.6.1.4.1.15312.2.1\n";
        converse(asked.as_bytes(), &mut out, || anyhow::bail!("nobody answers")).expect("it is heard");
        assert_eq!(out, b"NONE\n");
    }
}
