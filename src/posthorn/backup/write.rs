//! Writing a backup: tables are read side by side in one snapshot, compressed on all cores, and written one piece behind
//! the other.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use aws_lc_rs::digest;
use posthorn_store::backup::{Reader, Snapshot, Table};
use posthorn_store::schema::Applied;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};

use super::container::Packer;
use super::contents::{FORMAT, MANIFEST, Manifest, Migration, PREFACE, Preface, SEAL, SequenceRow, Sum, TableRow};
use super::files::Files;
use super::tuples::{Cutter, Piece};
use super::{Progress, hex, sha256};

/// Octets of a piece before compression, at least.
const PIECE: usize = 2 << 20;
/// Tables that are read side by side.
const READERS: usize = 2;
/// Pieces of one table that are compressed side by side.
const IN_HAND: usize = 4;
/// Members that wait to be written.
const WAITING: usize = 4;

/// What is to be written, and how.
pub struct Wanted {
    /// The server's name.
    pub host: String,
    /// Configuration and secrets.
    pub files: Files,
    /// Whether the secrets are among them.
    pub with_secrets: bool,
    /// How hard zstd tries: 1 to 19.
    pub level: i32,
}

/// What was written.
#[derive(Debug)]
pub struct Written<W> {
    /// Where to.
    pub out: W,
    /// Octets of the archive.
    pub octets: u64,
    /// What is inside.
    pub preface: Preface,
    /// How much of it.
    pub manifest: Manifest,
    /// How long it took.
    pub took: Duration,
}

/// A member on its way.
struct Packet {
    name: String,
    octets: Vec<u8>,
}

/// Writes a backup of the database behind a URL, while servers work on it.
///
/// # Errors
/// What the database or the writer said.
pub async fn write<W>(url: &str, wanted: Wanted, out: W, progress: &Progress) -> anyhow::Result<Written<W>>
where
    W: Write + Send + 'static,
{
    let began = tokio::time::Instant::now();
    let snapshot = Snapshot::take(url).await.context("the database cannot be read")?;
    let total: i64 = snapshot.tables.iter().map(|table| table.octets).sum();
    progress.set_of(total.unsigned_abs());
    let preface = preface(&snapshot, &wanted);
    let text = serde_json::to_vec_pretty(&preface)?;
    let mut manifest = Manifest { preface: sha256(&text), tables: Vec::new() };
    let time = u64::try_from(snapshot.at.timestamp()).unwrap_or_default();
    let (packets, writing) = writer(out, time);
    let sent = async {
        send(&packets, PREFACE.to_owned(), text).await?;
        for (place, (_, octets)) in wanted.files.into_iter().enumerate() {
            let packed = compress(&octets, wanted.level)?;
            send(&packets, format!("files/{place}.zst"), packed).await?;
        }
        manifest.tables = tables(&snapshot, wanted.level, &packets, progress).await?;
        let text = serde_json::to_vec_pretty(&manifest)?;
        let seal = sha256(&text);
        send(&packets, MANIFEST.to_owned(), text).await?;
        send(&packets, SEAL.to_owned(), seal.into_bytes()).await
    }
    .await;
    drop(packets);
    let written = match (writing.await.context("the writer ended badly")?, sent) {
        // The writer's trouble is the cause of the other.
        (Err(error), _) => return Err(error).context("the archive cannot be written"),
        (Ok(_), Err(error)) => return Err(error),
        (Ok(written), Ok(())) => written,
    };
    let (out, octets) = written;
    Ok(Written { out, octets, preface, manifest, took: began.elapsed() })
}

fn preface(snapshot: &Snapshot, wanted: &Wanted) -> Preface {
    Preface {
        format: FORMAT,
        posthorn: env!("CARGO_PKG_VERSION").to_owned(),
        host: wanted.host.clone(),
        at: snapshot.at,
        postgresql: snapshot.server.clone(),
        schema: snapshot.versions.iter().map(|Applied { version, .. }| Migration::of(version)).collect(),
        tables: snapshot.tables.iter().map(TableRow::of).collect(),
        sequences: snapshot.sequences.iter().map(SequenceRow::of).collect(),
        files: wanted.files.iter().map(|(row, _)| row.clone()).collect(),
        with_secrets: wanted.with_secrets,
    }
}

/// What writes members, and hands the writer back at the end.
fn writer<W>(out: W, time: u64) -> (mpsc::Sender<Packet>, JoinHandle<std::io::Result<(W, u64)>>)
where
    W: Write + Send + 'static,
{
    let (packets, mut arriving) = mpsc::channel::<Packet>(WAITING);
    let writing = spawn_blocking(move || {
        let mut packer = Packer::new(out, time);
        while let Some(packet) = arriving.blocking_recv() {
            packer.put(&packet.name, &packet.octets)?;
        }
        packer.finish()
    });
    (packets, writing)
}

async fn send(packets: &mpsc::Sender<Packet>, name: String, octets: Vec<u8>) -> anyhow::Result<()> {
    packets.send(Packet { name, octets }).await.ok().context("the archive cannot be written")
}

/// Sends all tables, the largest first. Returns their sums in the order of the snapshot.
async fn tables(
    snapshot: &Snapshot,
    level: i32,
    packets: &mpsc::Sender<Packet>,
    progress: &Progress,
) -> anyhow::Result<Vec<Sum>> {
    let mut order: Vec<_> = snapshot.tables.iter().cloned().enumerate().collect();
    order.sort_by_key(|(_, table)| table.octets);
    let waiting = Arc::new(Mutex::new(order));
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let mut reader = snapshot.reader().await.context("the database cannot be read")?;
        let (waiting, packets, progress) = (Arc::clone(&waiting), packets.clone(), progress.clone());
        readers.spawn(async move {
            let mut sums = Vec::new();
            loop {
                let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some((place, table)) = next else { break };
                let sum = copy(&mut reader, &table, level, &packets, &progress).await;
                sums.push((place, sum.with_context(|| format!("table {} cannot be read", table.name))?));
            }
            reader.end().await;
            anyhow::Ok(sums)
        });
    }
    let mut sums = Vec::new();
    while let Some(read) = readers.join_next().await {
        sums.extend(read.context("a reader ended badly")??);
    }
    sums.sort_by_key(|(place, _)| *place);
    Ok(sums.into_iter().map(|(_, sum)| sum).collect())
}

/// Sends one table.
async fn copy(
    reader: &mut Reader,
    table: &Table,
    level: i32,
    packets: &mpsc::Sender<Packet>,
    progress: &Progress,
) -> anyhow::Result<Sum> {
    let mut sum = Sum { name: table.name.clone(), ..Sum::default() };
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut in_hand: VecDeque<JoinHandle<anyhow::Result<Vec<u8>>>> = VecDeque::new();
    let mut sent = 0;
    let mut cutter = Cutter::default();
    let mut rows = reader.rows(table).await?;
    loop {
        let next = rows.next().await?;
        let has_ended = next.is_none();
        if let Some(octets) = next {
            cutter.push(&octets)?;
        }
        if let Some(Piece { octets, rows }) = cutter.cut(if has_ended { 0 } else { PIECE }) {
            hash.update(&octets);
            sum.rows += rows;
            sum.octets += octets.len() as u64;
            sum.pieces += 1;
            progress.add(octets.len());
            in_hand.push_back(spawn_blocking(move || compress(&octets, level)));
        }
        while in_hand.len() > if has_ended { 0 } else { IN_HAND - 1 } {
            let Some(piece) = in_hand.pop_front() else { break };
            let octets = piece.await.context("the compression ended badly")??;
            send(packets, format!("tables/{}/{sent:06}.copy.zst", table.name), octets).await?;
            sent += 1;
        }
        if has_ended {
            break;
        }
    }
    if !cutter.has_ended() {
        bail!("the rows break off");
    }
    sum.sha256 = hex(hash.finish().as_ref());
    Ok(sum)
}

/// One frame of zstd that knows its size and its checksum.
fn compress(octets: &[u8], level: i32) -> anyhow::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(level)?;
    compressor.include_checksum(true)?;
    Ok(compressor.compress(octets)?)
}
