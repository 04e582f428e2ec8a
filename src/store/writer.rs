//! Group commit: what all sessions store, queue and finish is gathered while the last commit runs, and committed at once.

mod gathering;
mod queue;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use metrics::histogram;
use posthorn_model::{AccountId, DeliveryId, Flags, MailboxId, MessageId, ModSeq, Uid};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Executor};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use self::gathering::{CROWD, gather};
use crate::filter::held::{self, NewHeld, NewRelease};
use crate::queue::{Completion, NewOutgoing};
use crate::{Error, Result, blob, pool};

/// How many octets of text one body row holds before packing.
pub const PART_SIZE: usize = 1 << 20;

/// A connection that was idle for longer is tried before it is trusted.
const STALE: Duration = Duration::from_millis(500);

/// The queue's tables are empty at one moment and large at the next: its statements are planned anew this often, because
/// a plan that was made while they were empty reads them whole for each row.
const REPLAN: Duration = Duration::from_secs(2);

/// One message as it is to be stored, everything that is known of it computed.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// From [`crate::Store::message_id`].
    pub id: MessageId,
    /// When we took responsibility.
    pub received_at: DateTime<Utc>,
    /// The Date field, where it could be read.
    pub sent_at: Option<DateTime<Utc>>,
    /// The Message-ID field, without angle brackets.
    pub message_id: Option<String>,
    /// The header block with the empty line that ends it.
    pub header: Bytes,
    /// Everything after the header block.
    pub text: Bytes,
    /// ENVELOPE, ready for the wire.
    pub envelope: Vec<u8>,
    /// BODYSTRUCTURE, ready for the wire.
    pub bodystructure: Vec<u8>,
    /// Offsets of all parts.
    pub structure: Vec<u8>,
    /// The first readable words.
    pub preview: String,
}

/// A mailbox that a message goes to.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Whose mailbox.
    pub account: AccountId,
    /// Which one.
    pub mailbox: MailboxId,
    /// The flags that the message starts with.
    pub flags: Flags,
    /// INTERNALDATE.
    pub internal_date: DateTime<Utc>,
    /// Targets of one parcel with the same number stand or fall together: one that is refused refuses all of them.
    pub bond: u16,
}

/// What one session has committed together: all of it or nothing, except for targets that are refused.
#[derive(Clone, Debug, Default)]
pub struct Parcel {
    /// Each message with the mailboxes that it goes to: none when it only leaves.
    pub messages: Vec<(NewMessage, Vec<Target>)>,
    /// Envelopes that leave, of these messages or of such as are stored.
    pub outgoing: Vec<NewOutgoing>,
    /// What became of deliveries.
    pub completions: Vec<Completion>,
    /// Messages that are held: of the parcel's.
    pub held: Vec<NewHeld>,
    /// Held messages that this delivers: unless each is held still, nothing of the parcel is done, and the commit fails with
    /// [`Error::Refused`]. The same holds when a target is refused.
    pub released: Vec<NewRelease>,
    /// Messages that are only written when a completion of one of these deliveries is, such as a report about them: so
    /// that it is not written twice, nor by a courier who lost its claim.
    pub conditions: Vec<(MessageId, Vec<DeliveryId>)>,
    /// Messages without which nothing of the parcel is done: when a target of one of them is refused, or its condition does
    /// not hold, the commit fails with [`Error::Refused`] or another error.
    pub firm: Vec<MessageId>,
}

/// What became of a parcel that was committed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Receipt {
    /// One per target, in their order.
    pub placements: Vec<Placement>,
    /// One per outgoing: `false` when it was not queued, because a target that it is bound to was refused.
    pub queued: Vec<bool>,
    /// One per completion: `false` when the delivery is no longer in the hand of who completes it; nothing was changed.
    pub completed: Vec<bool>,
}

/// What became of one target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Placement {
    /// There is no such mailbox.
    NoMailbox,
    /// The account's quota has no room for it.
    OverQuota,
    /// Committed.
    Placed {
        /// The UID it got.
        uid: Uid,
        /// UIDVALIDITY of the mailbox.
        uid_validity: u32,
        /// The account's modification sequence of this commit.
        modseq: ModSeq,
    },
    /// Nothing was wrong with this target, but another that it stands or falls with was refused.
    Withheld,
}

impl Placement {
    /// The commit's modseq, where the message was placed.
    #[must_use]
    pub fn modseq(&self) -> Option<ModSeq> {
        match self {
            Self::Placed { modseq, .. } => Some(*modseq),
            _ => None,
        }
    }
}

/// A parcel whose octets are packed, so that the writer only moves them.
struct Packed {
    parcel: Parcel,
    bodies: Vec<Body>,
    bytes: usize,
}

impl Packed {
    /// The messages with their targets and bodies, in one walk: a client may append thousands at once.
    fn messages(&self) -> impl Iterator<Item = (&NewMessage, &[Target], &[Body])> {
        let mut rest = self.bodies.as_slice();
        self.parcel.messages.iter().map(move |(message, targets)| {
            let count = rest.iter().take_while(|body| body.message == message.id.0).count();
            let (own, others) = rest.split_at(count);
            rest = others;
            (message, targets.as_slice(), own)
        })
    }
}

struct Body {
    message: i64,
    part: i32,
    header: Option<Vec<u8>>,
    text: Vec<u8>,
}

struct Job {
    packed: Packed,
    answer: oneshot::Sender<Result<Receipt>>,
}

/// The handle that sessions share.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    open: Arc<Mutex<Option<[mpsc::Sender<Job>; 2]>>>,
    tasks: Arc<Mutex<Vec<JoinHandle<()>>>>,
    /// What somebody waits for before they say yes.
    urgent: mpsc::WeakSender<Job>,
    /// Completions, which nobody waits for: on a connection of their own, so that they never make a batch of the others
    /// longer.
    afterwards: mpsc::WeakSender<Job>,
}

impl Writer {
    pub(crate) fn start(options: &PgConnectOptions, writers: usize, batch: usize) -> Self {
        let line = |writers: usize| {
            let (sender, receiver) = mpsc::channel(1024);
            let receiver = Arc::new(Mutex::new(receiver));
            let task = || tokio::spawn(run(options.clone(), Arc::clone(&receiver), batch));
            (sender, (0..writers).map(|_| task()).collect::<Vec<_>>())
        };
        let ((urgent, mut tasks), (afterwards, last)) = (line(writers), line(1));
        tasks.extend(last);
        let weak = (urgent.downgrade(), afterwards.downgrade());
        let open = Arc::new(Mutex::new(Some([urgent, afterwards])));
        Self { open, tasks: Arc::new(Mutex::new(tasks)), urgent: weak.0, afterwards: weak.1 }
    }

    pub(crate) async fn deliver(&self, parcel: Parcel) -> Result<Receipt> {
        let line = if parcel.completions.is_empty() { &self.urgent } else { &self.afterwards };
        let packed = pack(parcel).await?;
        let (answer, outcome) = oneshot::channel();
        let sender = line.upgrade().ok_or(Error::Stopping)?;
        sender.send(Job { packed, answer }).await.map_err(|_| Error::Stopping)?;
        drop(sender);
        outcome.await.map_err(|_| Error::Stopping)?
    }

    pub(crate) async fn close(&self) {
        self.open.lock().await.take();
        for task in self.tasks.lock().await.drain(..) {
            if task.await.is_err() {
                tracing::error!("the group-commit writer ended by a panic");
            }
        }
    }
}

/// Compresses the bodies; large ones away from the threads that serve sessions.
async fn pack(parcel: Parcel) -> Result<Packed> {
    let bytes: usize = parcel.messages.iter().map(|(message, _)| message.header.len() + message.text.len()).sum();
    let work = move || {
        let bodies = parcel.messages.iter().flat_map(|(message, _)| bodies(message)).collect();
        Packed { parcel, bodies, bytes }
    };
    if bytes <= PART_SIZE {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Damaged("compression failed"))
}

fn bodies(message: &NewMessage) -> impl Iterator<Item = Body> + '_ {
    let first = message.text.len().min(PART_SIZE);
    let head = Body {
        message: message.id.0,
        part: 0,
        header: Some(blob::pack(&message.header)),
        text: blob::pack(&message.text[..first]),
    };
    let rest = message.text[first..].chunks(PART_SIZE).zip(1..).map(|(octets, part)| Body {
        message: message.id.0,
        part,
        header: None,
        text: blob::pack(octets),
    });
    std::iter::once(head).chain(rest)
}

/// One writer: takes what is waiting, commits it, answers, and takes what has gathered meanwhile.
async fn run(options: PgConnectOptions, jobs: Arc<Mutex<mpsc::Receiver<Job>>>, most: usize) {
    let mut connection = Idle { connection: None, since: Instant::now(), planned: Instant::now() };
    let mut crowded = false;
    loop {
        let batch = gather(&mut *jobs.lock().await, most, crowded).await;
        if batch.is_empty() {
            return;
        }
        crowded = batch.len() >= CROWD;
        commit(&options, &mut connection, batch).await;
    }
}

/// Commits a batch. When the statement itself is refused, each parcel is tried alone, so that one that cannot be
/// stored does not fail the others. When the connection is lost the outcome is unknown, and nothing is tried again.
async fn commit(options: &PgConnectOptions, connection: &mut Idle, batch: Vec<Job>) {
    let parcels: Vec<&Packed> = batch.iter().map(|job| &job.packed).collect();
    let began = Instant::now();
    let written = write(options, connection, &parcels).await;
    histogram!("posthorn_commit_parcels").record(parcels.len() as f64);
    histogram!("posthorn_commit_seconds").record(began.elapsed());
    match written {
        Ok(outcomes) => {
            for (job, outcome) in batch.into_iter().zip(outcomes) {
                let _gone = job.answer.send(Ok(outcome));
            }
        }
        Err(error) if batch.len() > 1 && !error.is_lost_connection() => {
            tracing::warn!(%error, parcels = batch.len(), "a batch was refused; its messages are tried one by one");
            for job in batch {
                let outcome = write(options, connection, &[&job.packed]).await;
                let _gone = job.answer.send(outcome.map(|mut one| one.pop().unwrap_or_default()));
            }
        }
        Err(Error::Refused) => {
            for job in batch {
                let _gone = job.answer.send(Err(Error::Refused));
            }
        }
        Err(error) => {
            tracing::error!(%error, parcels = batch.len(), "messages were not stored");
            let text = error.to_string();
            for job in batch {
                let _gone = job.answer.send(Err(Error::Database(sqlx::Error::Protocol(text.clone()))));
            }
        }
    }
}

/// A writer's connection between two batches.
struct Idle {
    connection: Option<PgConnection>,
    since: Instant,
    planned: Instant,
}

impl Idle {
    /// The connection, made anew when the database went away while nothing was written: a batch must not fail for it.
    async fn wake(&mut self, options: &PgConnectOptions) -> Result<PgConnection> {
        if let Some(mut connection) = self.connection.take()
            && (self.since.elapsed() < STALE || connection.ping().await.is_ok())
        {
            return Ok(connection);
        }
        pool::connect(options).await
    }
}

async fn write(options: &PgConnectOptions, idle: &mut Idle, parcels: &[&Packed]) -> Result<Vec<Receipt>> {
    let mut connection = idle.wake(options).await?;
    let queues = |packed: &&Packed| !packed.parcel.outgoing.is_empty() || !packed.parcel.completions.is_empty();
    if idle.planned.elapsed() > REPLAN && parcels.iter().any(queues) {
        connection.execute("discard plans").await?;
        idle.planned = Instant::now();
    }
    let outcome = record(&mut connection, parcels).await;
    if !outcome.as_ref().is_err_and(|error| error.is_lost_connection()) {
        (idle.connection, idle.since) = (Some(connection), Instant::now());
    }
    outcome
}

/// The columns of `writer/deliver.sql`, gathered over all parcels.
#[derive(Default)]
struct Columns<'p> {
    /// Which parcel each target is of.
    parcel: Vec<usize>,
    bond: Vec<i64>,
    message: Vec<i64>,
    account: Vec<i64>,
    mailbox: Vec<i64>,
    flags: Vec<i64>,
    internal_date: Vec<DateTime<Utc>>,
    size: Vec<i64>,
    messages: Vec<&'p NewMessage>,
    bodies: Vec<&'p Body>,
}

impl<'p> Columns<'p> {
    fn of(parcels: &[&'p Packed], void: &HashSet<MessageId>) -> Self {
        let mut columns = Self::default();
        for (number, packed) in parcels.iter().enumerate() {
            for (message, targets, bodies) in packed.messages() {
                if targets.is_empty() || void.contains(&message.id) {
                    continue;
                }
                columns.bodies.extend(bodies);
                columns.messages.push(message);
                for target in targets {
                    columns.parcel.push(number);
                    columns.bond.push(((number as i64) << 16) | i64::from(target.bond));
                    columns.message.push(message.id.0);
                    columns.account.push(target.account.0);
                    columns.mailbox.push(target.mailbox.0);
                    columns.flags.push(target.flags.0.cast_signed());
                    columns.internal_date.push(target.internal_date);
                    columns.size.push(size(message));
                }
            }
        }
        columns
    }
}

/// Commits the parcels: a batch of one kind is one statement, everything else one transaction of up to three.
async fn record(connection: &mut PgConnection, parcels: &[&Packed]) -> Result<Vec<Receipt>> {
    let any = |has: fn(&Parcel) -> bool| parcels.iter().any(|packed| has(&packed.parcel));
    let kinds = [
        any(|parcel| parcel.messages.iter().any(|(_, targets)| !targets.is_empty())),
        any(|parcel| !parcel.outgoing.is_empty()),
        any(|parcel| !parcel.completions.is_empty()),
        any(|parcel| !parcel.held.is_empty()),
    ];
    let releases = any(|parcel| !parcel.released.is_empty());
    if !kinds[3] && !releases && kinds.iter().filter(|present| **present).count() < 2 {
        return statements(connection, parcels, kinds).await;
    }
    let mut transaction = connection.begin().await?;
    match statements(&mut transaction, parcels, kinds).await {
        Ok(receipts) => {
            transaction.commit().await?;
            Ok(receipts)
        }
        Err(error) => {
            // Dropped, it would be rolled back with the next batch, and its locks stay until then.
            transaction.rollback().await?;
            Err(error)
        }
    }
}

async fn statements(
    connection: &mut PgConnection,
    parcels: &[&Packed],
    [places, queues, completes, holds]: [bool; 4],
) -> Result<Vec<Receipt>> {
    let mut receipts: Vec<Receipt> = parcels.iter().map(|_| Receipt::default()).collect();
    let released: Vec<&NewRelease> = parcels.iter().flat_map(|packed| &packed.parcel.released).collect();
    if !released.is_empty() && !held::release(connection, &released).await? {
        return Err(Error::Refused);
    }
    if completes {
        let all: Vec<&Completion> = parcels.iter().flat_map(|packed| &packed.parcel.completions).collect();
        let mut done = queue::complete(connection, &all).await?.into_iter();
        for (receipt, packed) in receipts.iter_mut().zip(parcels) {
            receipt.completed.extend(done.by_ref().take(packed.parcel.completions.len()));
        }
    }
    let void = void(parcels, &receipts);
    if places {
        for (receipt, placements) in receipts.iter_mut().zip(deliver(connection, parcels, &void).await?) {
            receipt.placements = placements;
        }
    }
    if parcels.iter().zip(&receipts).any(|(packed, receipt)| is_broken(&packed.parcel, receipt)) {
        // Nothing of the transaction stays. Of a batch, each parcel is tried alone then.
        return Err(Error::Refused);
    }
    if queues || holds {
        let Leaving { queued, held, bodies } = leaving(parcels, &mut receipts, &void);
        if !queued.is_empty() || !bodies.is_empty() {
            queue::enqueue(connection, &queued, &bodies).await?;
        }
        if !held.is_empty() {
            held::insert(connection, &held).await?;
        }
    }
    Ok(receipts)
}

/// Whether a target without which nothing is to be done was refused.
fn is_broken(parcel: &Parcel, receipt: &Receipt) -> bool {
    let targets = parcel.messages.iter().flat_map(|(message, targets)| targets.iter().map(|_| message.id));
    let void = |message: &MessageId| {
        let failed =
            |(of, deliveries): &(MessageId, Vec<DeliveryId>)| of == message && !is_done(parcel, receipt, deliveries);
        parcel.conditions.iter().any(failed)
    };
    let is_firm = |message: &MessageId| !parcel.released.is_empty() || parcel.firm.contains(message);
    let refused = |(message, placement): (MessageId, &Placement)| {
        is_firm(&message) && !matches!(placement, Placement::Placed { .. })
    };
    let has_firm = !parcel.firm.is_empty() || !parcel.released.is_empty();
    has_firm && (targets.zip(&receipt.placements).any(refused) || parcel.firm.iter().any(void))
}

/// Whether one of these deliveries is completed by the parcel.
fn is_done(parcel: &Parcel, receipt: &Receipt, deliveries: &[DeliveryId]) -> bool {
    let mut pairs = parcel.completions.iter().zip(&receipt.completed);
    pairs.any(|(completion, done)| *done && deliveries.contains(&completion.delivery))
}

/// The messages whose condition does not hold.
fn void(parcels: &[&Packed], receipts: &[Receipt]) -> HashSet<MessageId> {
    let of_parcel = |(packed, receipt): (&&Packed, &Receipt)| {
        let parcel = &packed.parcel;
        let failed = parcel.conditions.iter().filter(|(_, deliveries)| !is_done(parcel, receipt, deliveries));
        failed.map(|(message, _)| *message).collect::<Vec<_>>()
    };
    parcels.iter().zip(receipts).flat_map(of_parcel).collect()
}

/// What no mailbox keeps.
#[derive(Default)]
struct Leaving<'p> {
    /// The envelopes that are not bound to a refused target and not void.
    queued: Vec<&'p NewOutgoing>,
    /// The same of what is held.
    held: Vec<&'p NewHeld>,
    /// The bodies of their messages that no mailbox got.
    bodies: Vec<&'p Body>,
}

fn leaving<'p>(parcels: &[&'p Packed], receipts: &mut [Receipt], void: &HashSet<MessageId>) -> Leaving<'p> {
    let mut all = Leaving::default();
    for (packed, receipt) in parcels.iter().zip(receipts) {
        let parcel = &packed.parcel;
        let targets = || parcel.messages.iter().flat_map(|(_, targets)| targets);
        let refused = |bond| {
            let mut placed = targets().zip(&receipt.placements);
            placed.any(|(target, place)| target.bond == bond && !matches!(place, Placement::Placed { .. }))
        };
        let mut leaves = HashSet::new();
        for new in &parcel.outgoing {
            let goes = !new.bond.is_some_and(refused) && !void.contains(&new.outgoing.message);
            receipt.queued.push(goes);
            if goes {
                leaves.insert(new.outgoing.message);
                all.queued.push(new);
            }
        }
        for new in &parcel.held {
            if !new.bond.is_some_and(refused) {
                leaves.insert(new.message);
                all.held.push(new);
            }
        }
        let mut placements = receipt.placements.iter();
        for (message, targets, own) in packed.messages() {
            let places = placements.by_ref().take(targets.len());
            let kept = places.filter(|place| matches!(place, Placement::Placed { .. })).count() > 0;
            if leaves.contains(&message.id) && !kept {
                all.bodies.extend(own);
            }
        }
    }
    all
}

async fn deliver(
    connection: &mut PgConnection,
    parcels: &[&Packed],
    void: &HashSet<MessageId>,
) -> Result<Vec<Vec<Placement>>> {
    let of = Columns::of(parcels, void);
    let each = |pick: fn(&NewMessage) -> i64| of.messages.iter().map(|m| pick(m)).collect::<Vec<i64>>();
    let rows = sqlx::query_file!(
        "writer/deliver.sql",
        &of.bond,
        &of.message,
        &of.account,
        &of.mailbox,
        &of.flags,
        &of.internal_date,
        &of.size,
        &each(|m| m.id.0),
        &each(size),
        &each(|m| i64::try_from(m.header.len()).unwrap_or(i64::MAX)),
        &of.messages.iter().map(|m| m.received_at).collect::<Vec<_>>(),
        &of.messages.iter().map(|m| m.sent_at).collect::<Vec<_>>() as _,
        &of.messages.iter().map(|m| m.message_id.as_deref()).collect::<Vec<_>>() as _,
        &of.messages.iter().map(|m| m.envelope.as_slice()).collect::<Vec<_>>() as _,
        &of.messages.iter().map(|m| m.bodystructure.as_slice()).collect::<Vec<_>>() as _,
        &of.messages.iter().map(|m| m.structure.as_slice()).collect::<Vec<_>>() as _,
        &of.messages.iter().map(|m| m.preview.as_str()).collect::<Vec<_>>() as _,
        &of.bodies.iter().map(|b| b.message).collect::<Vec<_>>(),
        &of.bodies.iter().map(|b| b.part).collect::<Vec<_>>(),
        &of.bodies.iter().map(|b| b.header.as_deref()).collect::<Vec<_>>() as _,
        &of.bodies.iter().map(|b| b.text.as_slice()).collect::<Vec<_>>() as _,
        crate::changes::origin(),
    )
    .fetch_all(connection)
    .await?;

    let mut placements = Vec::with_capacity(of.parcel.len());
    for row in rows {
        placements.push(match (row.uid, row.uid_validity, row.modseq) {
            (Some(uid), Some(uid_validity), Some(modseq)) => Placement::Placed {
                uid: crate::memberships::uid(uid)?,
                uid_validity: crate::mailboxes::uid_validity(uid_validity)?,
                modseq: modseq.cast_unsigned(),
            },
            _ if !row.has_mailbox => Placement::NoMailbox,
            _ if !row.fits => Placement::OverQuota,
            _ => Placement::Withheld,
        });
    }
    // What is void was not asked for, and is withheld.
    let mut placements = placements.into_iter();
    let mut of_message = |(message, targets): &(NewMessage, Vec<Target>)| match void.contains(&message.id) {
        true => vec![Placement::Withheld; targets.len()],
        false => placements.by_ref().take(targets.len()).collect(),
    };
    let of_parcel = |packed: &&Packed| packed.parcel.messages.iter().flat_map(&mut of_message).collect();
    let outcomes: Vec<Vec<Placement>> = parcels.iter().map(of_parcel).collect();
    Ok(outcomes)
}

fn size(message: &NewMessage) -> i64 {
    i64::try_from(message.header.len() + message.text.len()).unwrap_or(i64::MAX)
}
