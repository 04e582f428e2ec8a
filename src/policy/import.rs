//! Taking over what another policy server was told: its tables are read, its rows become orders of ours, and a report
//! says what became of each.
//!
//! What was ordered here stays as it is, so a second run changes nothing.

mod dump;
mod iredapd;
mod plan;

use std::collections::HashMap;

use posthorn_mail::Result;
use posthorn_store::foreign::{Foreign, ForeignRow};

pub use dump::{DumpError, read_dump};
pub use iredapd::{TRIPLETS, iredapd};
pub use plan::{Plan, Remark, Report, TableReport};

/// Rows of another program's tables.
#[derive(Debug, Default)]
pub struct Tables {
    /// By the table's name; present and empty when there is such a table without rows.
    rows: HashMap<String, Vec<ForeignRow>>,
    octets: usize,
}

/// A source holds too much.
#[derive(Debug, thiserror::Error)]
#[error("the tables hold more than {MOST_ROWS} rows, or more than {} GiB", MOST_OCTETS >> 30)]
pub struct TooMuch;

/// Rows that are held in memory.
const MOST_ROWS: usize = 5_000_000;
/// Octets of texts that are held in memory.
const MOST_OCTETS: usize = 4 << 30;

impl Tables {
    /// Whether no table was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn found(&mut self, table: &str) {
        self.rows.entry(table.to_owned()).or_default();
    }

    fn add(&mut self, table: &str, rows: Vec<ForeignRow>) -> std::result::Result<(), TooMuch> {
        let texts = rows.iter().flat_map(HashMap::values).flatten();
        self.octets += texts.map(String::len).sum::<usize>();
        let count = self.rows.values().map(Vec::len).sum::<usize>() + rows.len();
        if count > MOST_ROWS || self.octets > MOST_OCTETS {
            return Err(TooMuch);
        }
        self.rows.entry(table.to_owned()).or_default().extend(rows);
        Ok(())
    }

    /// The rows of a table; `None` when it was not found.
    #[must_use]
    pub fn of(&self, table: &str) -> Option<&[ForeignRow]> {
        self.rows.get(table).map(Vec::as_slice)
    }
}

/// Reads those of these tables that a PostgreSQL database has. After each portion `progress` is told of the rows read,
/// and of all that there are.
///
/// # Errors
/// When the database cannot be reached or read; the inner error, when it holds too much.
pub async fn read_postgres(
    url: &str,
    password: Option<&str>,
    names: &[&str],
    tables: &mut Tables,
    mut progress: impl FnMut(u64, u64),
) -> Result<std::result::Result<(), TooMuch>> {
    let mut foreign = Foreign::open(url, password).await?;
    let (mut present, mut all, mut done) = (Vec::new(), 0, 0);
    for name in names {
        if let Some(count) = foreign.count(name).await? {
            present.push(*name);
            all += count;
        }
    }
    for name in present {
        tables.found(name);
        foreign.begin(name).await?;
        loop {
            let rows = foreign.next().await?;
            if rows.is_empty() {
                break;
            }
            done += rows.len() as u64;
            if let Err(too_much) = tables.add(name, rows) {
                return Ok(Err(too_much));
            }
            progress(done, all);
        }
    }
    foreign.close().await?;
    Ok(Ok(()))
}
