//! Handing fresh messages to the courier in memory, so that what was stored a moment ago is not read back.

use bytes::Bytes;
use parking_lot::Mutex;
use posthorn_model::ClaimId;
use posthorn_store::queue::{Delivery, Outgoing};
use std::sync::Arc;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

use crate::Mail;

/// Octets are counted in pieces of this size, so that a semaphore's permits suffice for any amount of memory.
const PIECE: usize = 4096;

/// A message's octets as they leave. What an outgoing bears on top ([`Outgoing::top`]) goes in front of them.
#[derive(Clone, Debug)]
pub struct Octets {
    /// The header with its blank line, without what is for mailboxes here alone (Return-Path, Delivered-To).
    pub header: Bytes,
    /// The text.
    pub text: Bytes,
}

impl Octets {
    /// Of a stored message: drops the fields at the top that are for mailboxes here.
    #[must_use]
    pub fn leaving(header: Bytes, text: Bytes) -> Self {
        let start = local_fields(&header);
        Self { header: header.slice(start..), text }
    }

    /// Octets of both together.
    #[must_use]
    pub fn len(&self) -> usize {
        self.header.len() + self.text.len()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A message that was accepted just now and waits for nothing: committed, and claimed by this process's courier.
#[derive(Debug)]
pub struct Departure {
    /// The envelope.
    pub outgoing: Outgoing,
    /// Its recipients, each in the state in which it was stored.
    pub deliveries: Vec<Delivery>,
    /// What is sent.
    pub octets: Octets,
    /// Gives the memory back when the departure is dropped: keep it as long as the octets.
    pub room: Room,
}

/// A share of the memory for messages that the courier holds.
#[derive(Debug)]
pub struct Room(#[expect(dead_code, reason = "held for its end")] OwnedSemaphorePermit);

/// Where departures go while a courier listens.
#[derive(Clone)]
struct Platform {
    sender: mpsc::Sender<Departure>,
    room: Arc<Semaphore>,
    claim: ClaimId,
}

/// The slot for a courier of this process.
#[derive(Default)]
pub(crate) struct Departures {
    platform: Mutex<Option<Platform>>,
    stirred: Notify,
}

/// A place reserved with the courier: what is stored with its claim must be given to it, or given back.
pub(crate) struct Place {
    place: mpsc::OwnedPermit<Departure>,
    room: Room,
    claim: ClaimId,
}

impl Place {
    /// The claim that the deliveries are stored with.
    pub(crate) fn claim(&self) -> ClaimId {
        self.claim
    }

    /// Hands a departure over.
    pub(crate) fn depart(self, outgoing: Outgoing, deliveries: Vec<Delivery>, octets: Octets) {
        self.place.send(Departure { outgoing, deliveries, octets, room: self.room });
    }
}

impl Departures {
    /// The claim of the courier that listens.
    pub(crate) fn courier(&self) -> Option<ClaimId> {
        self.platform.lock().as_ref().map(|platform| platform.claim)
    }

    /// A place for a departure of so many octets; `None` when nobody listens or there is no room.
    pub(crate) fn reserve(&self, octets: usize) -> Option<Place> {
        let Platform { sender, room, claim } = self.platform.lock().clone()?;
        let pieces = u32::try_from(octets.div_ceil(PIECE).max(1)).ok()?;
        let room = Room(room.try_acquire_many_owned(pieces).ok()?);
        Some(Place { place: sender.try_reserve_owned().ok()?, room, claim })
    }

    /// Tells the courier that the queue holds something that it does not know of.
    pub(crate) fn stir(&self) {
        self.stirred.notify_one();
    }
}

impl Mail {
    /// The courier takes up: messages that may leave at once are handed to it, their deliveries claimed for `claim`.
    /// At most `most` of them wait, and they hold at most about `octets` octets until they are dropped.
    #[must_use]
    pub fn depart_to(&self, claim: ClaimId, most: usize, octets: usize) -> mpsc::Receiver<Departure> {
        let (sender, receiver) = mpsc::channel(most.max(1));
        let room = Arc::new(Semaphore::new((octets / PIECE).clamp(1, Semaphore::MAX_PERMITS)));
        *self.shared.departures.platform.lock() = Some(Platform { sender, room, claim });
        receiver
    }

    /// The courier of this claim stops: from here on everything waits in the queue, unless another has taken up since.
    /// What was handed over is still in the channel.
    pub fn depart_no_more(&self, claim: ClaimId) {
        self.shared.departures.platform.lock().take_if(|platform| platform.claim == claim);
    }

    /// Ends when the queue holds something that the courier was not handed: something new, or what an operator
    /// changed. One listener at a time; what happened before it listened ends it at once.
    pub async fn stirred(&self) {
        self.shared.departures.stirred.notified().await;
    }
}

/// Octets of the fields at the top that acceptance writes for mailboxes here: Return-Path, then Delivered-To.
fn local_fields(header: &[u8]) -> usize {
    let mut start = 0;
    for name in ["Return-Path:", "Delivered-To:"] {
        let rest = &header[start..];
        if rest.get(..name.len()).is_some_and(|bytes| bytes.eq_ignore_ascii_case(name.as_bytes())) {
            start += field_end(rest);
        }
    }
    start
}

/// Octets of the first field with its continuation lines.
fn field_end(header: &[u8]) -> usize {
    let mut end = 0;
    while let Some(at) = memchr::memchr(b'\n', &header[end..]) {
        end += at + 1;
        if !matches!(header.get(end), Some(b' ' | b'\t')) {
            return end;
        }
    }
    header.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_mailboxes_here_stays_here() {
        let leaving = |header: &'static str| {
            let octets = Octets::leaving(Bytes::from_static(header.as_bytes()), Bytes::new());
            String::from_utf8(octets.header.to_vec()).expect("text")
        };
        let own = "Received: from a\r\nDelivered-To: theirs\r\nSubject: x\r\n\r\n";
        assert_eq!(leaving(own), own, "what others wrote further down is theirs");
        assert_eq!(
            leaving("Return-Path: <a@b>\r\nDelivered-To: b\r\n c\r\nReceived: x\r\n\r\n"),
            "Received: x\r\n\r\n"
        );
        assert_eq!(leaving("Return-Path: <>\r\n\r\n"), "\r\n");
        assert_eq!(leaving(""), "");
    }
}
