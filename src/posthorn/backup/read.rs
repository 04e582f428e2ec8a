//! Reading a backup: from front to back, each member held against the preface and, at the end, against the manifest.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use aws_lc_rs::digest;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use super::container::{Input, LARGEST, Member, Unpacker};
use super::contents::{MANIFEST, Manifest, PREFACE, Preface, SEAL, Sum};
use super::tuples::Rows;
use super::{Progress, hex, sha256};

/// No piece is larger than this before compression.
const LARGEST_PIECE: usize = 512 << 20;
/// Pieces that are read ahead.
const AHEAD: usize = 4;

/// What comes out of an archive.
#[derive(Debug)]
pub enum Event {
    /// A piece of a table.
    Piece {
        /// The table's place in the preface.
        table: usize,
        /// In PostgreSQL's binary COPY format.
        octets: Vec<u8>,
    },
    /// A file.
    File {
        /// Its place in the preface.
        file: usize,
        /// What is in it.
        octets: Vec<u8>,
    },
    /// The end; everything that was wanted agrees with it.
    End(Manifest),
}

/// What is wanted of an archive.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// Everything, so that everything is verified.
    All,
    /// These tables; the others are passed over.
    Tables(Vec<&'static str>),
}

/// An archive that is being read.
#[derive(Debug)]
pub struct Archive {
    /// What is inside.
    pub preface: Preface,
    events: mpsc::Receiver<anyhow::Result<Event>>,
    _reading: JoinHandle<()>,
}

impl Archive {
    /// Reads the preface, and the rest when it is asked for.
    ///
    /// # Errors
    /// When it is no backup, or of a newer form, or damaged.
    pub async fn open(path: &Path, wanted: Wanted, progress: &Progress) -> anyhow::Result<Self> {
        let path: PathBuf = path.to_owned();
        let progress = progress.clone();
        let opened = spawn_blocking(move || Pass::begin(&path, wanted, progress)).await;
        let mut pass = opened.context("the reader ended badly")??;
        let preface = pass.preface.clone();
        let (sender, events) = mpsc::channel(AHEAD);
        let reading = spawn_blocking(move || {
            loop {
                let event = pass.next();
                let is_last = matches!(event, Err(_) | Ok(Event::End(_)));
                if sender.blocking_send(event).is_err() || is_last {
                    break;
                }
            }
        });
        Ok(Self { preface, events, _reading: reading })
    }

    /// What comes next; nothing comes behind the end.
    ///
    /// # Errors
    /// What is damaged, and where.
    pub async fn next(&mut self) -> anyhow::Result<Event> {
        self.events.recv().await.context("the reader ended badly")?
    }
}

/// Reads everything and believes nothing: the manifest, when all agrees with it.
///
/// # Errors
/// What is damaged, and where.
pub async fn verify(path: &Path, progress: &Progress) -> anyhow::Result<(Preface, Manifest)> {
    let mut archive = Archive::open(path, Wanted::All, progress).await?;
    loop {
        if let Event::End(manifest) = archive.next().await? {
            return Ok((archive.preface, manifest));
        }
    }
}

/// One pass over an archive.
struct Pass {
    unpacker: Unpacker,
    preface: Preface,
    wanted: Wanted,
    places: HashMap<String, usize>,
    counts: Vec<Count>,
    files: usize,
    hash: String,
    progress: Progress,
}

/// What was read of a table.
struct Count {
    hash: digest::Context,
    rows: u64,
    octets: u64,
    pieces: u32,
    skipped: bool,
}

impl Pass {
    fn begin(path: &Path, wanted: Wanted, progress: Progress) -> anyhow::Result<Self> {
        let (input, size) = Input::open(path)?;
        progress.set_of(size.unwrap_or_default());
        let mut unpacker = Unpacker::new(input);
        let Some(member) = unpacker.next_member()?.filter(|member| member.name == PREFACE) else {
            bail!("the archive is no backup of Posthorn");
        };
        let octets = unpacker.read(&member)?;
        let preface = Preface::read(&octets)?;
        let places = preface.tables.iter().enumerate().map(|(place, table)| (table.name.clone(), place)).collect();
        let count =
            || Count { hash: digest::Context::new(&digest::SHA256), rows: 0, octets: 0, pieces: 0, skipped: false };
        let counts = preface.tables.iter().map(|_| count()).collect();
        Ok(Self { unpacker, preface, wanted, places, counts, files: 0, hash: sha256(&octets), progress })
    }

    fn next(&mut self) -> anyhow::Result<Event> {
        loop {
            let before = self.unpacker.at();
            let event = self.member();
            let passed = self.unpacker.at() - before;
            self.progress.add(usize::try_from(passed).unwrap_or_default());
            if let Some(event) = event? {
                return Ok(event);
            }
        }
    }

    /// Reads one member; nothing comes of what is passed over.
    fn member(&mut self) -> anyhow::Result<Option<Event>> {
        let Some(member) = self.unpacker.next_member()? else { bail!("the archive is damaged: it has no manifest") };
        if member.name == MANIFEST {
            return Ok(Some(Event::End(self.end(&member)?)));
        }
        if let Some(rest) = member.name.strip_prefix("tables/") {
            let place = rest.split_once('/').and_then(|(table, _)| self.places.get(table).copied());
            let place = place.with_context(|| unknown(&member))?;
            return self.piece(&member, place);
        }
        if member.name == format!("files/{}.zst", self.files) && self.files < self.preface.files.len() {
            let octets = expand(&self.unpacker.read(&member)?, &member)?;
            let row = &self.preface.files[self.files];
            if row.sha256 != sha256(&octets) {
                bail!("the archive is damaged: {} at octet {} is another than it was", row.path.display(), member.at);
            }
            self.files += 1;
            return Ok(Some(Event::File { file: self.files - 1, octets }));
        }
        bail!(unknown(&member))
    }

    fn piece(&mut self, member: &Member, place: usize) -> anyhow::Result<Option<Event>> {
        let table = &self.preface.tables[place].name;
        let count = &mut self.counts[place];
        if member.name != format!("tables/{table}/{:06}.copy.zst", count.pieces) {
            bail!(
                "the archive is damaged: at octet {} {} stands where piece {} of table {table} belongs",
                member.at,
                member.name,
                count.pieces
            );
        }
        count.pieces += 1;
        if let Wanted::Tables(names) = &self.wanted
            && !names.contains(&table.as_str())
        {
            count.skipped = true;
            self.unpacker.skip(member)?;
            return Ok(None);
        }
        let octets = expand(&self.unpacker.read(member)?, member)?;
        let rows = Rows::of(&octets).and_then(Rows::count);
        count.rows += rows.with_context(|| format!("{} at octet {} is damaged", member.name, member.at))?;
        count.octets += octets.len() as u64;
        count.hash.update(&octets);
        Ok(Some(Event::Piece { table: place, octets }))
    }

    /// Holds everything against the manifest.
    fn end(&mut self, member: &Member) -> anyhow::Result<Manifest> {
        let text = self.unpacker.read(member)?;
        let Some(seal) = self.unpacker.next_member()?.filter(|member| member.name == SEAL) else {
            bail!("the archive is damaged: the manifest has no seal");
        };
        if self.unpacker.read(&seal)? != sha256(&text).as_bytes() {
            bail!("the archive is damaged: the manifest at octet {} is another than it was", member.at);
        }
        if self.unpacker.next_member()?.is_some() {
            bail!("the archive is damaged: something follows its seal");
        }
        let manifest: Manifest = serde_json::from_slice(&text).context("the manifest cannot be understood")?;
        if manifest.preface != self.hash {
            bail!("the archive is damaged: the preface is another than it was");
        }
        if manifest.tables.len() != self.counts.len() || self.files != self.preface.files.len() {
            bail!("the archive is damaged: tables or files are missing");
        }
        for (place, expected) in manifest.tables.iter().enumerate() {
            let count = &self.counts[place];
            let sha256 =
                if count.skipped { expected.sha256.clone() } else { hex(count.hash.clone().finish().as_ref()) };
            let (rows, octets) =
                if count.skipped { (expected.rows, expected.octets) } else { (count.rows, count.octets) };
            let name = self.preface.tables[place].name.clone();
            let found = Sum { name, rows, octets, pieces: count.pieces, sha256 };
            if found != *expected {
                bail!(
                    "the archive is damaged: table {} has {} rows in {} pieces with the hash {}, the manifest says {} in {} \
                     with {}",
                    found.name,
                    found.rows,
                    found.pieces,
                    found.sha256,
                    expected.rows,
                    expected.pieces,
                    expected.sha256
                );
            }
        }
        Ok(manifest)
    }
}

fn unknown(member: &Member) -> String {
    format!("the archive is damaged: at octet {} stands {:?}, which does not belong there", member.at, member.name)
}

/// What was compressed.
fn expand(octets: &[u8], member: &Member) -> anyhow::Result<Vec<u8>> {
    let damaged = || format!("the archive is damaged: {} at octet {} does not decompress", member.name, member.at);
    let size = zstd::bulk::Decompressor::upper_bound(octets).filter(|size| *size <= LARGEST_PIECE);
    let size = size.with_context(damaged)?;
    debug_assert!(octets.len() as u64 <= LARGEST, "bounded by the container");
    zstd::bulk::Decompressor::new()?.decompress(octets, size).with_context(damaged)
}
