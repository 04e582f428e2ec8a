//! The trace: what happened to each message, told by whoever did it, and read by who asks.
//!
//! Telling never waits and never fails: entries go through a bounded channel to a connection of their own, which does not
//! wait for the disk either. When they come faster than they can be written, some are dropped and counted: mail goes
//! first.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use posthorn_model::{MessageId, QueueId};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::ids::Ids;
use crate::partitions::ByDay;
use crate::{Result, ids, pool};

mod reading;

pub use reading::{by_header_id, by_recipient, latest, message_of, of_message};

/// Entries that wait to be written, and entries of one statement.
const WAITING: usize = 8192;
const BATCH: usize = 500;

/// How long the first entry of a statement waits for others.
const LINGER: Duration = Duration::from_millis(100);

/// How often what was dropped is said.
const REMINDER: Duration = Duration::from_secs(60);

/// How long a database that is away is left alone.
const PAUSE: Duration = Duration::from_millis(500);

/// No entry's detail is kept beyond so many octets.
const DETAIL: usize = 64 << 10;

/// Ids are time-ordered, so a day is a range of them.
const DAYS: ByDay = ByDay {
    name: "trace",
    key: "message_id",
    // "trac" in ASCII
    lock: 0x7472_6163,
    start: |moment| ids::first_at(moment).to_string(),
};

/// Makes the partitions of the days to come, and forgets what happened longer than `keep` ago. To be called once an hour
/// or so, inside a transaction of its own. Returns how many days were forgotten.
///
/// # Errors
/// What the database said; among it that readers were in the way for two seconds, which the next call makes good.
pub async fn tend(connection: &mut PgConnection, now: DateTime<Utc>, keep: TimeDelta) -> Result<usize> {
    DAYS.tend(connection, now, keep).await
}

/// Something that happened to a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TraceEntry {
    /// To which. 0 when it happened to none, such as a limit that changed.
    pub message: MessageId,
    /// When.
    pub at: DateTime<Utc>,
    /// What: one short word such as `accepted` or `delivered`.
    pub kind: Cow<'static, str>,
    /// To which envelope.
    pub outgoing: Option<QueueId>,
    /// The Message-ID field without angle brackets, by which the message is found. Once per message is enough.
    pub header_id: Option<String>,
    /// The reverse path.
    pub sender: Option<String>,
    /// The recipients by which the message is found. Once per message is enough; later entries name theirs in `detail`.
    pub recipients: Vec<String>,
    /// Everything else, as a JSON object.
    pub detail: String,
}

enum Told {
    Entry(i64, TraceEntry),
    Flush(oneshot::Sender<()>),
}

/// Where entries are told.
#[derive(Clone, Debug)]
pub struct Chronicle {
    sender: mpsc::WeakSender<Told>,
    open: Arc<Mutex<Option<mpsc::Sender<Told>>>>,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
    ids: Arc<Ids>,
    dropped: Arc<AtomicU64>,
}

impl Chronicle {
    pub(crate) fn start(options: &PgConnectOptions, ids: Arc<Ids>) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let dropped = Arc::new(AtomicU64::new(0));
        let options = options.clone().options([("synchronous_commit", "off")]);
        let weak = sender.downgrade();
        let task = tokio::spawn(run(options, receiver, Arc::clone(&dropped)));
        Self {
            sender: weak,
            open: Arc::new(Mutex::new(Some(sender))),
            task: Arc::new(Mutex::new(Some(task))),
            ids,
            dropped,
        }
    }

    /// Adds an entry; never waits. When there is no room it is dropped, and the log says so once a minute.
    pub fn tell(&self, entry: TraceEntry) {
        let told = Told::Entry(self.ids.next(), entry);
        if self.sender.upgrade().is_none_or(|sender| sender.try_send(told).is_err()) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns when everything told before is written (or given up).
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        let Some(sender) = self.sender.upgrade() else { return };
        if sender.send(Told::Flush(done)).await.is_ok() {
            drop(sender);
            // An error means that the chronicle ends, with everything written.
            let _ = written.await;
        }
    }

    /// Writes what is waiting and ends.
    pub(crate) async fn close(&self) {
        self.open.lock().take();
        let task = self.task.lock().take();
        if let Some(task) = task
            && task.await.is_err()
        {
            tracing::error!("the chronicle ended by a panic");
        }
    }
}

/// What was gathered for one statement.
#[derive(Default)]
struct Gathered {
    entries: Vec<(i64, TraceEntry)>,
    flushes: Vec<oneshot::Sender<()>>,
}

impl Gathered {
    fn take(&mut self, told: Told) {
        match told {
            Told::Entry(place, entry) => self.entries.push((place, entry)),
            Told::Flush(done) => self.flushes.push(done),
        }
    }
}

async fn run(options: PgConnectOptions, mut told: mpsc::Receiver<Told>, dropped: Arc<AtomicU64>) {
    let mut connection = None;
    let mut reminded = Instant::now();
    while let Some(gathered) = gather(&mut told).await {
        write(&options, &mut connection, &gathered.entries, &told).await;
        for done in gathered.flushes {
            let _gone = done.send(());
        }
        if reminded.elapsed() >= REMINDER || told.is_closed() {
            reminded = Instant::now();
            let count = dropped.swap(0, Ordering::Relaxed);
            if count > 0 {
                tracing::warn!(entries = count, "trace entries were dropped: they come faster than they are written");
            }
        }
    }
}

async fn gather(told: &mut mpsc::Receiver<Told>) -> Option<Gathered> {
    let mut gathered = Gathered::default();
    gathered.take(told.recv().await?);
    let until = Instant::now() + LINGER;
    while gathered.entries.len() < BATCH && gathered.flushes.is_empty() {
        match timeout_at(until, told.recv()).await {
            Ok(Some(more)) => gathered.take(more),
            Ok(None) | Err(_) => break,
        }
    }
    Some(gathered)
}

/// Writes a batch. While the database is away it waits, unless the program ends; what the database refuses is tried
/// one by one and dropped where that fails.
async fn write(
    options: &PgConnectOptions,
    connection: &mut Option<PgConnection>,
    entries: &[(i64, TraceEntry)],
    told: &mpsc::Receiver<Told>,
) {
    if entries.is_empty() {
        return;
    }
    loop {
        let error = match insert(options, connection, entries).await {
            Ok(()) => return,
            Err(error) => error,
        };
        if error.is_lost_connection() {
            *connection = None;
            if told.is_closed() {
                tracing::warn!(%error, entries = entries.len(), "trace entries were not written");
                return;
            }
            sleep(PAUSE).await;
            continue;
        }
        if let [(_, entry)] = entries {
            tracing::warn!(%error, message.id = %entry.message, kind = %entry.kind, "a trace entry was not written");
            return;
        }
        for one in entries.chunks(1) {
            if let Err(error) = insert(options, connection, one).await {
                tracing::warn!(%error, "a trace entry was not written");
            }
        }
        return;
    }
}

async fn insert(
    options: &PgConnectOptions,
    connection: &mut Option<PgConnection>,
    entries: &[(i64, TraceEntry)],
) -> Result<()> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(pool::connect(options).await?),
    };
    let each = |pick: fn(&TraceEntry) -> Option<Cow<'_, str>>| {
        entries.iter().map(|(_, entry)| pick(entry).map(clean)).collect::<Vec<_>>()
    };
    sqlx::query!(
        "insert into trace (message_id, place, at, kind, outgoing_id, header_id, sender, recipients, detail)
         select message_id, place, at, kind, outgoing_id, header_id, sender, string_to_array(recipients, E'\\n'), detail
         from unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::text[], $5::bigint[], $6::text[], $7::text[],
                     $8::text[], $9::text[])
             as t (message_id, place, at, kind, outgoing_id, header_id, sender, recipients, detail)",
        &entries.iter().map(|(_, entry)| entry.message.0).collect::<Vec<_>>(),
        &entries.iter().map(|(place, _)| *place).collect::<Vec<_>>(),
        &entries.iter().map(|(_, entry)| entry.at).collect::<Vec<_>>(),
        &each(|entry| Some(Cow::Borrowed(&entry.kind))) as _,
        &entries.iter().map(|(_, entry)| entry.outgoing.map(|id| id.0)).collect::<Vec<_>>() as _,
        &each(|entry| entry.header_id.as_deref().map(Cow::Borrowed)) as _,
        &each(|entry| entry.sender.as_deref().map(Cow::Borrowed)) as _,
        &each(|entry| recipients(&entry.recipients)) as _,
        &each(|entry| Some(Cow::Borrowed(detail(&entry.detail)))) as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Folded, one a line; an address holds no line end.
fn recipients(all: &[String]) -> Option<Cow<'_, str>> {
    match all {
        [] => None,
        [one] => Some(Cow::Owned(one.to_lowercase())),
        more => Some(Cow::Owned(more.join("\n").to_lowercase())),
    }
}

/// PostgreSQL's text holds every character but one.
fn clean(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { text }
}

/// What is too long is not JSON any more when it is cut: it is left out.
fn detail(text: &str) -> &str {
    if text.len() <= DETAIL { text } else { r#"{"omitted":"too long"}"# }
}
