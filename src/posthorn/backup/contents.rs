//! What a backup says of itself: in front what is inside, behind it how much of it and its hashes.

use std::path::PathBuf;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use posthorn_store::backup::{Column, Partition, Sequence, Table};
use posthorn_store::schema::Version;
use serde::{Deserialize, Serialize};

use super::hex;

/// The form of the archives that are written, and the newest that is read.
pub const FORMAT: u32 = 1;

/// The member in front.
pub const PREFACE: &str = "preface.json";
/// The last member but one.
pub const MANIFEST: &str = "manifest.json";
/// The last member.
pub const SEAL: &str = "seal";

/// What is inside.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Preface {
    /// [`FORMAT`].
    pub format: u32,
    /// Who wrote it, such as `0.1.0`.
    pub posthorn: String,
    /// The server's name.
    pub host: String,
    /// The moment that it shows.
    pub at: DateTime<Utc>,
    /// The version of the PostgreSQL that it comes from.
    pub postgresql: String,
    /// The schema's migrations, in order.
    pub schema: Vec<Migration>,
    /// By name.
    pub tables: Vec<TableRow>,
    /// What gives numbers out.
    pub sequences: Vec<SequenceRow>,
    /// Configuration and secrets.
    pub files: Vec<FileRow>,
    /// Whether the secrets are among the files.
    pub with_secrets: bool,
}

/// A migration.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Migration {
    number: i64,
    name: String,
    /// SHA-384.
    checksum: String,
}

/// A table.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TableRow {
    /// Its name.
    pub name: String,
    /// Name and type of each column.
    columns: Vec<(String, String)>,
    /// Name and bounds of each partition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    partitions: Vec<(String, String)>,
}

/// A sequence.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SequenceRow {
    name: String,
    value: i64,
    is_called: bool,
}

/// A file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FileRow {
    /// Where it was.
    pub path: PathBuf,
    /// What it is, in words.
    pub what: String,
    /// Whether it is a secret.
    pub secret: bool,
    /// How many octets.
    pub octets: u64,
    /// Their hash.
    pub sha256: String,
}

/// How much there is of it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Manifest {
    /// The hash of the member in front.
    pub preface: String,
    /// In the order of the preface.
    pub tables: Vec<Sum>,
}

/// How much there is of a table.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Sum {
    /// The table.
    pub name: String,
    /// Rows.
    pub rows: u64,
    /// Octets of all pieces.
    pub octets: u64,
    /// Pieces.
    pub pieces: u32,
    /// The hash of all pieces, one behind the other.
    pub sha256: String,
}

impl Preface {
    /// Reads the member in front.
    ///
    /// # Errors
    /// When it is none, or of a newer form.
    pub fn read(octets: &[u8]) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Form {
            format: u32,
            posthorn: String,
        }
        let form: Form = serde_json::from_slice(octets).context("the archive is no backup of Posthorn")?;
        if form.format > FORMAT {
            bail!(
                "the archive was written by Posthorn {} in form {}, this program ({}) reads up to {FORMAT}: \
                 restore with that Posthorn",
                form.posthorn,
                form.format,
                env!("CARGO_PKG_VERSION")
            );
        }
        serde_json::from_slice(octets).context("the archive is damaged: its preface cannot be understood")
    }

    /// The schema's version.
    #[must_use]
    pub fn schema_version(&self) -> i64 {
        self.schema.last().map_or(0, |last| last.number)
    }

    /// The tables as the store knows them.
    #[must_use]
    pub fn stored_tables(&self) -> Vec<Table> {
        self.tables.iter().map(TableRow::stored).collect()
    }

    /// The migrations as the store knows them.
    ///
    /// # Errors
    /// When a checksum is none.
    pub fn versions(&self) -> anyhow::Result<Vec<Version>> {
        self.schema.iter().map(Migration::version).collect()
    }

    /// The sequences as the store knows them.
    #[must_use]
    pub fn stored_sequences(&self) -> Vec<Sequence> {
        let sequence =
            |row: &SequenceRow| Sequence { name: row.name.clone(), value: row.value, is_called: row.is_called };
        self.sequences.iter().map(sequence).collect()
    }

    /// The place of a column in the rows of a table.
    ///
    /// # Errors
    /// When there is none.
    pub fn column(&self, table: &str, column: &str) -> anyhow::Result<usize> {
        let row = self.tables.iter().find(|row| row.name == table);
        row.and_then(|row| row.columns.iter().position(|(name, _)| name == column))
            .with_context(|| format!("the archive has no column {column} of a table {table}"))
    }
}

impl TableRow {
    /// For the preface.
    #[must_use]
    pub fn of(table: &Table) -> Self {
        Self {
            name: table.name.clone(),
            columns: table.columns.iter().map(|column| (column.name.clone(), column.kind.clone())).collect(),
            partitions: table.partitions.iter().map(|part| (part.name.clone(), part.bounds.clone())).collect(),
        }
    }

    fn stored(&self) -> Table {
        let column = |(name, kind): &(String, String)| Column { name: name.clone(), kind: kind.clone() };
        let partition = |(name, bounds): &(String, String)| Partition { name: name.clone(), bounds: bounds.clone() };
        Table {
            name: self.name.clone(),
            columns: self.columns.iter().map(column).collect(),
            partitions: self.partitions.iter().map(partition).collect(),
            octets: 0,
        }
    }
}

impl SequenceRow {
    /// For the preface.
    #[must_use]
    pub fn of(sequence: &Sequence) -> Self {
        Self { name: sequence.name.clone(), value: sequence.value, is_called: sequence.is_called }
    }
}

impl Migration {
    /// For the preface.
    #[must_use]
    pub fn of(version: &Version) -> Self {
        Self { number: version.number, name: version.name.clone(), checksum: hex(&version.checksum) }
    }

    fn version(&self) -> anyhow::Result<Version> {
        let digits = self.checksum.as_bytes().chunks(2);
        let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let checksum = digits.map(octet).collect::<Option<Vec<_>>>();
        let checksum = checksum.context("the archive is damaged: a checksum in its preface is none")?;
        Ok(Version { number: self.number, name: self.name.clone(), checksum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_form_is_told_plainly() {
        let error = Preface::read(br#"{"format":9,"posthorn":"3.0.0","other":1}"#).expect_err("newer").to_string();
        assert!(error.starts_with("the archive was written by Posthorn 3.0.0 in form 9, this program"), "{error}");
        assert!(Preface::read(b"{}").is_err());
    }

    #[test]
    fn checksums_come_back() {
        let version = Version { number: 1, name: "spine".into(), checksum: vec![0, 15, 255] };
        assert_eq!(Migration::of(&version).version().expect("read"), version);
        let odd = Migration { checksum: "0g".into(), ..Migration::of(&version) };
        assert!(odd.version().is_err());
    }
}
