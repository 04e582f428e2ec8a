//! Putting a backup into an empty database: all of it in one transaction, or nothing.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use posthorn_store::backup::Table;
use posthorn_store::restore::{Found, Restore};
use posthorn_store::schema;

use super::Progress;
use super::contents::{FileRow, Manifest, Preface};
use super::read::{Archive, Event, Wanted};

/// What a restore does beside putting rows in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Everything stays as it was, for a copy that nobody works with: UIDs and modseqs do not skip what clients may have
    /// seen since.
    pub exact: bool,
    /// What waits to leave is held.
    pub hold_queue: bool,
    /// What is in the database may be removed.
    pub replace: bool,
}

/// Everything is in the database, and would last if it were committed.
pub struct Ready {
    restore: Restore,
    /// What was restored.
    pub restored: Restored,
}

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// What was inside.
    pub preface: Preface,
    /// How much of it.
    pub manifest: Manifest,
    /// Configuration and secrets.
    pub files: Vec<(FileRow, Vec<u8>)>,
    /// Recipients whose mail is held.
    pub held: u64,
    /// How long it took.
    pub took: Duration,
}

impl Ready {
    /// Makes it last.
    ///
    /// # Errors
    /// What the database said: nothing is restored then.
    pub async fn commit(self) -> anyhow::Result<Restored> {
        self.restore.commit().await.context("the restore could not be committed, and the database is as it was")?;
        Ok(self.restored)
    }
}

/// Reads an archive into the database behind a URL. Nobody sees any of it before the commit.
///
/// # Errors
/// Why the database is not filled, what is damaged, or what the database said; it is as it was then.
pub async fn prepare(url: &str, path: &Path, options: Options, progress: &Progress) -> anyhow::Result<Ready> {
    let began = tokio::time::Instant::now();
    let mut archive = Archive::open(path, Wanted::All, progress).await?;
    let mut restore = Restore::begin(url).await.context("the database cannot be opened")?;
    make_room(&mut restore, options).await?;
    let versions = archive.preface.versions()?;
    restore.make(&versions).await.context("the archive's schema cannot be made")?;
    let tables = fitting(&mut restore, &archive.preface).await?;
    for table in &tables {
        for partition in &table.partitions {
            restore.partition(&table.name, partition).await?;
        }
    }
    let mut files = Vec::new();
    let manifest = loop {
        match archive.next().await? {
            Event::Piece { table, octets } => {
                let load = restore.load(&tables[table], &octets).await;
                load.with_context(|| format!("rows of table {} cannot be restored", tables[table].name))?;
            }
            Event::File { file, octets } => files.push((archive.preface.files[file].clone(), octets)),
            Event::End(manifest) => break manifest,
        }
    };
    let preface = archive.preface;
    let held = complete(&mut restore, &preface, options).await?;
    Ok(Ready { restore, restored: Restored { preface, manifest, files, held, took: began.elapsed() } })
}

/// Refuses a database that somebody uses.
async fn make_room(restore: &mut Restore, options: Options) -> anyhow::Result<()> {
    let others = restore.others().await?;
    if others > 0 {
        bail!("a server or a command is at work on this database ({others} connections): stop it first");
    }
    match restore.found().await? {
        Found::Nothing => Ok(()),
        Found::Unused => Ok(restore.clear().await?),
        Found::Used { .. } if options.replace => Ok(restore.clear().await?),
        Found::Used { accounts, messages, table } => bail!(
            "the database is not empty: it has {accounts} accounts and {messages} messages. Restore into an empty one \
             (createdb, and database.url or another server.data), or replace what is there with --replace; \
             --account ADDRESS puts one account's mail beside what is there (table {table} has rows)"
        ),
        Found::Foreign { table } => bail!(
            "the database has tables that are not Posthorn's, or not this version's ({table} is one): restore \
             into an empty one (createdb, and database.url)"
        ),
    }
}

/// The archive's tables, all of which the schema has, just so.
async fn fitting(restore: &mut Restore, preface: &Preface) -> anyhow::Result<Vec<Table>> {
    let there = restore.tables().await?;
    let wanted = preface.stored_tables();
    for table in &wanted {
        let fits = there.iter().any(|one| one.name == table.name && one.columns == table.columns);
        if !fits {
            bail!(
                "the archive is damaged: table {} is none of schema version {}",
                table.name,
                preface.schema_version()
            );
        }
    }
    if let Some(missing) = there.iter().find(|one| !wanted.iter().any(|table| table.name == one.name)) {
        bail!("the archive is damaged: it lacks table {}", missing.name);
    }
    Ok(wanted)
}

/// What follows the rows. Returns how many recipients are held.
async fn complete(restore: &mut Restore, preface: &Preface, options: Options) -> anyhow::Result<u64> {
    for sequence in preface.stored_sequences() {
        restore.set_sequence(&sequence).await.context("a sequence cannot be set")?;
    }
    while restore.incomplete() > 0 {
        restore.complete_one().await.context("an index or key cannot be made")?;
    }
    let (from, to) = (preface.schema_version(), schema::newest());
    restore.upgrade().await.with_context(|| format!("the schema cannot be brought from version {from} to {to}"))?;
    if !options.exact {
        restore.renew().await?;
    }
    let held = if options.hold_queue {
        restore.hold_queue(&format!("restored from the backup of {}", moment(preface.at))).await?
    } else {
        0
    };
    restore.analyze().await?;
    Ok(held)
}

/// A moment as people read it.
#[must_use]
pub fn moment(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
