//! Taking responsibility for messages: gathering the body, completing the header, storing, and only then saying yes.

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use posthorn_mime::{Facts, Structure};
use posthorn_model::{AccountId, Address, EnhancedCode, Flags, MailboxId, MessageId, Refusal};
use posthorn_store::writer::{NewMessage, Parcel, Placement, Target};
use std::sync::Arc;

use crate::route::{Destination, Route};
use crate::{Error, Mail, Reservation, Result};

/// Room left in front of a body for the fields that we add, so that the body need not be moved.
const GAP: usize = 4096;

/// Above this many octets a message is read and packed away from the threads that serve sessions.
const LARGE: usize = 256 << 10;

/// Who a message is from and for.
#[derive(Clone, Debug, Default)]
pub struct Envelope {
    /// The reverse-path; `None` is the null path `<>`.
    pub sender: Option<Address>,
    /// The accepted recipients in the order they came.
    pub recipients: Vec<Recipient>,
}

/// An accepted recipient.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// As the client wrote it, normalised.
    pub address: String,
    /// Where its mail goes.
    pub route: Arc<Route>,
}

/// A body on its way in.
#[derive(Debug)]
pub struct Intake {
    /// [`GAP`] octets of room, then what came.
    buffer: BytesMut,
    reservation: Reservation,
}

/// What to add to a message's header.
#[derive(Clone, Debug, Default)]
pub struct Completion {
    /// Whole fields to put on top, each with its CRLF.
    pub top: Vec<u8>,
    /// The host to name in a Message-ID when one is missing, and leave to add a missing Date; for submission only
    /// (RFC 6409 §8).
    pub complete_for: Option<String>,
    /// Whether a message without From or Date is refused.
    pub require_headers: bool,
    /// The most Received fields that the message may bring.
    pub max_hops: usize,
    /// The most octets of header.
    pub max_header: usize,
}

/// A message that is stored.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Its id, which the trace and the reply name.
    pub id: MessageId,
    /// One outcome per recipient.
    pub outcomes: Vec<std::result::Result<(), Refusal>>,
    /// Where it lies: account, folder and UID of each delivery, for the trace.
    pub places: Vec<String>,
    /// The Message-ID field, for the trace.
    pub message_id: Option<String>,
    /// Octets stored.
    pub size: usize,
}

/// Where a message appended by a client landed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Appended {
    /// Stored under these UIDs, in the order of the messages.
    Stored {
        /// UIDVALIDITY of the mailbox.
        uid_validity: u32,
        /// One UID per message.
        uids: Vec<u32>,
    },
    /// There is no such mailbox.
    NoMailbox,
    /// The quota has no room.
    OverQuota,
}

/// One message of an APPEND.
#[derive(Debug)]
pub struct Append {
    /// Its octets.
    pub body: Intake,
    /// Its flags.
    pub flags: Flags,
    /// INTERNALDATE; `None` for now.
    pub internal_date: Option<DateTime<Utc>>,
}

impl Intake {
    /// Takes the next octets.
    ///
    /// # Errors
    /// A temporary refusal when the memory for bodies in progress is used up.
    pub fn push(&mut self, octets: &[u8]) -> std::result::Result<(), Refusal> {
        let needed = self.buffer.len() + octets.len();
        if needed > self.buffer.capacity() {
            let capacity = needed.max(self.buffer.capacity() * 2);
            if !self.reservation.grow(capacity - self.buffer.capacity()) {
                return Err(Refusal::new(
                    452,
                    EnhancedCode(4, 3, 1),
                    "too many large messages at the moment, try again later",
                ));
            }
            self.buffer.reserve(capacity - self.buffer.len());
        }
        self.buffer.extend_from_slice(octets);
        Ok(())
    }

    /// Octets taken so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len() - GAP
    }

    /// Whether nothing was taken yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was taken so far.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.buffer[GAP..]
    }

    /// The message with `top` in front. Copies nothing as long as `top` fits into the gap.
    fn finish(mut self, top: &[u8]) -> (Bytes, Reservation) {
        if top.len() <= GAP {
            let start = GAP - top.len();
            self.buffer[start..GAP].copy_from_slice(top);
            return (self.buffer.freeze().slice(start..), self.reservation);
        }
        let mut whole = BytesMut::with_capacity(top.len() + self.len());
        whole.extend_from_slice(top);
        whole.extend_from_slice(self.octets());
        (whole.freeze(), self.reservation)
    }
}

impl Mail {
    /// Begins to take a body in.
    #[must_use]
    pub fn intake(&self) -> Intake {
        let mut buffer = BytesMut::with_capacity(GAP + (12 << 10));
        buffer.resize(GAP, 0);
        Intake { buffer, reservation: self.shared.budget.reserve() }
    }

    /// Stores a message for all its recipients. Returns after the commit.
    ///
    /// With `each_alone` (LMTP) every recipient has an outcome of its own; otherwise all share one, and a message that
    /// cannot be stored for one of them is stored for none.
    ///
    /// # Errors
    /// When the commit failed or its outcome is unknown: the client must be told to try again.
    pub async fn accept(
        &self,
        envelope: &Envelope,
        body: Intake,
        completion: Completion,
        each_alone: bool,
    ) -> Result<std::result::Result<Accepted, Refusal>> {
        let id = self.store.message_id();
        let top = match complete(body.octets(), &completion, id, self.now()) {
            Ok(top) => top,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let (raw, held) = body.finish(&top);
        let size = raw.len();
        let message = self.read(id, raw).await?;
        let message_id = message.message_id.clone();
        let (outcomes, places) = self.place(envelope, message, each_alone).await?;
        drop(held);
        Ok(Ok(Accepted { id, outcomes, places, message_id, size }))
    }

    /// Stores messages that a client puts into a mailbox: all or none.
    ///
    /// # Errors
    /// As [`Self::accept`].
    pub async fn append(&self, account: AccountId, mailbox: MailboxId, messages: Vec<Append>) -> Result<Appended> {
        let mut parcel = Parcel { messages: Vec::with_capacity(messages.len()) };
        let mut held = Vec::new();
        for append in messages {
            let (raw, reservation) = append.body.finish(&[]);
            held.push(reservation);
            let message = self.read(self.store.message_id(), raw).await?;
            let internal_date = append.internal_date.unwrap_or(message.received_at);
            parcel
                .messages
                .push((message, vec![Target { account, mailbox, flags: append.flags, internal_date, bond: 0 }]));
        }
        let placements = self.store.deliver(parcel).await?;
        drop(held);
        if let Some(modseq) = placements.iter().filter_map(Placement::modseq).max() {
            self.shared.live.touch(account, modseq).await;
        }
        let mut uids = Vec::with_capacity(placements.len());
        let mut validity = 0;
        for placement in &placements {
            match placement {
                Placement::Placed { uid, uid_validity, .. } => {
                    uids.push(*uid);
                    validity = *uid_validity;
                }
                Placement::NoMailbox => return Ok(Appended::NoMailbox),
                Placement::OverQuota => return Ok(Appended::OverQuota),
                Placement::Withheld => {}
            }
        }
        Ok(Appended::Stored { uid_validity: validity, uids })
    }

    /// Computes everything that is kept beside a message.
    async fn read(&self, id: MessageId, raw: Bytes) -> Result<NewMessage> {
        let now = self.now();
        if raw.len() < LARGE {
            return Ok(new_message(id, &raw, now));
        }
        tokio::task::spawn_blocking(move || new_message(id, &raw, now)).await.map_err(|_| Error::Internal)
    }

    async fn place(
        &self,
        envelope: &Envelope,
        message: NewMessage,
        each_alone: bool,
    ) -> Result<(Vec<std::result::Result<(), Refusal>>, Vec<String>)> {
        let mut destinations: Vec<Destination> = Vec::new();
        // What one reply answers for stands or falls together.
        let mut bonds: Vec<u16> = Vec::new();
        for (recipient, own) in envelope.recipients.iter().zip(0..) {
            let Route::Local(local) = &*recipient.route else { continue };
            for one in local {
                if !destinations.iter().any(|known| (known.account, known.mailbox) == (one.account, one.mailbox)) {
                    destinations.push(one.clone());
                    bonds.push(if each_alone { own } else { 0 });
                }
            }
        }
        if destinations.is_empty() {
            let refusal = Refusal::new(451, EnhancedCode(4, 3, 0), "nobody would get this message, try again later");
            return Ok((envelope.recipients.iter().map(|_| Err(refusal.clone())).collect(), Vec::new()));
        }
        let size = (message.header.len() + message.text.len()) as u64;
        let (placements, fallen_back) = self.place_once((&destinations, &bonds), message).await?;
        let mut places = Vec::new();
        for (at, (destination, placement)) in destinations.iter().zip(&placements).enumerate() {
            let Placement::Placed { uid, modseq, .. } = placement else { continue };
            self.shared.live.touch_soon(destination.account, *modseq);
            let folder = if fallen_back.contains(&at) { "INBOX" } else { &destination.folder };
            places.push(format!("account {} folder {folder} uid {uid}", destination.account));
        }
        let mut outcomes = Vec::with_capacity(envelope.recipients.len());
        for recipient in &envelope.recipients {
            let Route::Local(local) = &*recipient.route else {
                outcomes.push(Err(Refusal::new(550, EnhancedCode(5, 7, 1), "relaying denied")));
                continue;
            };
            let of = |one: &Destination| {
                destinations.iter().position(|known| (known.account, known.mailbox) == (one.account, one.mailbox))
            };
            let of_recipient: Vec<Placement> = local.iter().filter_map(of).map(|at| placements[at]).collect();
            let reason = of_recipient.iter().find(|p| matches!(p, Placement::NoMailbox | Placement::OverQuota));
            let refused = reason.or_else(|| of_recipient.iter().find(|p| **p == Placement::Withheld)).copied();
            outcomes.push(match refused {
                None => Ok(()),
                Some(placement) => Err(self.why_not(placement, &recipient.route, size).await?),
            });
        }
        if !each_alone {
            // What one recipient was refused, nobody got: all are told the reason, not what followed from it.
            let reason =
                outcomes.iter().position(|outcome| outcome.as_ref().is_err_and(|refusal| *refusal != withheld()));
            let refused = reason.or_else(|| outcomes.iter().position(|outcome| outcome.is_err()));
            if let Some(refusal) = refused.map(|at| outcomes[at].clone()) {
                outcomes.fill(refusal);
            }
        }
        Ok((outcomes, places))
    }

    /// Delivers. Destinations whose folder vanished meanwhile fall back to their INBOX; which ones, it says as well.
    async fn place_once(
        &self,
        (destinations, bonds): (&[Destination], &[u16]),
        message: NewMessage,
    ) -> Result<(Vec<Placement>, Vec<usize>)> {
        let now = self.now();
        let target = |at: usize, mailbox| Target {
            account: destinations[at].account,
            mailbox,
            flags: Flags::none(),
            internal_date: now,
            bond: bonds[at],
        };
        let targets = (0..destinations.len()).map(|at| target(at, destinations[at].mailbox)).collect();
        let mut retry = message.clone();
        let mut placements = self.store.deliver(Parcel { messages: vec![(message, targets)] }).await?;
        let lost: Vec<usize> = (0..placements.len()).filter(|at| placements[*at] == Placement::NoMailbox).collect();
        if lost.iter().all(|at| destinations[*at].mailbox == destinations[*at].inbox) {
            return Ok((placements, Vec::new()));
        }
        self.shared.routes.clear();
        retry.id = self.store.message_id();
        let bound = |at: &usize| lost.iter().any(|lost| bonds[*lost] == bonds[*at]);
        let again: Vec<usize> = (0..placements.len()).filter(bound).collect();
        let now_at = |at: usize| if lost.contains(&at) { destinations[at].inbox } else { destinations[at].mailbox };
        let targets = again.iter().map(|at| target(*at, now_at(*at))).collect();
        let second = self.store.deliver(Parcel { messages: vec![(retry, targets)] }).await?;
        for (at, placement) in again.iter().zip(second) {
            placements[*at] = placement;
        }
        Ok((placements, lost))
    }

    async fn why_not(&self, placement: Placement, route: &Route, size: u64) -> Result<Refusal> {
        Ok(match placement {
            Placement::NoMailbox => Refusal::new(450, EnhancedCode(4, 2, 1), "mailbox is changing, try again"),
            Placement::OverQuota => match self.room(route, size).await? {
                Err(refusal) => refusal,
                Ok(()) => Refusal::new(452, EnhancedCode(4, 2, 2), "mailbox is full"),
            },
            Placement::Withheld | Placement::Placed { .. } => withheld(),
        })
    }
}

/// Nothing was wrong with this recipient, but with another of the same message.
fn withheld() -> Refusal {
    Refusal::new(452, EnhancedCode(4, 2, 2), "another recipient's mailbox is full")
}

/// The fields to put on top, or why the message is refused.
fn complete(
    body: &[u8],
    completion: &Completion,
    id: MessageId,
    now: DateTime<Utc>,
) -> std::result::Result<Vec<u8>, Refusal> {
    let end = posthorn_mime::header_end(body).unwrap_or(body.len());
    let header = &body[..end];
    if header.len() > completion.max_header {
        return Err(Refusal::new(552, EnhancedCode(5, 3, 4), "the message header is too large"));
    }
    if posthorn_mime::count_headers(header, "Received") > completion.max_hops {
        return Err(Refusal::new(554, EnhancedCode(5, 4, 6), "too many hops, the message is looping"));
    }
    let lacks = |name: &&str| !posthorn_mime::has_header(header, name);
    if completion.require_headers
        && let Some(missing) = ["From", "Date"].iter().find(|name| lacks(name))
    {
        return Err(Refusal::new(550, EnhancedCode(5, 6, 0), format!("the message has no {missing} field")));
    }
    let mut top = completion.top.clone();
    if let Some(host) = &completion.complete_for {
        if !posthorn_mime::has_header(header, "Date") {
            top.extend_from_slice(&posthorn_mime::date_header(now));
        }
        if !posthorn_mime::has_header(header, "Message-ID") {
            top.extend_from_slice(&posthorn_mime::message_id_header(&id_text(id), host));
        }
    }
    Ok(top)
}

fn new_message(id: MessageId, raw: &Bytes, now: DateTime<Utc>) -> NewMessage {
    let structure = Structure::of(raw);
    let header_size = structure.header_size().min(raw.len());
    let header = raw.slice(..header_size);
    let facts = Facts::of(&header);
    NewMessage {
        id,
        received_at: now,
        sent_at: facts.sent,
        // PostgreSQL's text holds no NUL.
        message_id: facts.message_id.map(|text| text.replace('\0', "")),
        envelope: posthorn_mime::envelope(&header),
        bodystructure: structure.bodystructure(raw),
        preview: posthorn_mime::preview(&structure, raw).replace('\0', ""),
        structure: structure.to_bytes(),
        text: raw.slice(header_size..),
        header,
    }
}

/// A message's id as replies, traces and Message-IDs write it.
#[must_use]
pub fn id_text(id: MessageId) -> String {
    format!("{:x}", id.0)
}
