//! Putting a message into mailboxes and into the queue, in one commit, and what each recipient is told.

use std::collections::HashSet;

use posthorn_model::{EnhancedCode, Flags, MessageId, QueueId, Refusal};
use posthorn_store::filter::held::NewRelease;
use posthorn_store::queue::NewOutgoing;
use posthorn_store::writer::{NewMessage, Parcel, Placement, Target};

use crate::departures::Octets;
use crate::envelope::Envelope;
use crate::legs::{Departed, Leg, Legs, due_at, is_kept_back, message_of};
use crate::route::{Destination, Route};
use crate::{Mail, Result};

/// What became of a message.
pub(crate) struct Placed {
    /// The id under which it is stored: another one than it came with when a folder vanished meanwhile.
    pub(crate) id: MessageId,
    /// One outcome per recipient.
    pub(crate) outcomes: Vec<std::result::Result<(), Refusal>>,
    /// Where it lies.
    pub(crate) places: Vec<String>,
    /// The envelopes in which it leaves.
    pub(crate) departed: Vec<Departed>,
    /// The Message-ID field.
    pub(crate) header_id: Option<String>,
}

/// The mailboxes that a message goes to, and which of them stand or fall together.
pub(crate) struct Targets {
    pub(crate) destinations: Vec<Destination>,
    pub(crate) bonds: Vec<u16>,
}

impl Targets {
    pub(crate) fn of(envelope: &Envelope, each_alone: bool, waits: bool) -> Self {
        let mut targets = Self { destinations: Vec::new(), bonds: Vec::new() };
        if waits {
            return targets;
        }
        let mut known = HashSet::new();
        // What one reply answers for stands or falls together.
        for (recipient, own) in envelope.recipients.iter().zip(0..) {
            for one in recipient.route.places() {
                if known.insert((one.account, one.mailbox)) {
                    targets.destinations.push(one.clone());
                    targets.bonds.push(if each_alone { own } else { 0 });
                }
            }
        }
        targets
    }

    pub(crate) fn position(&self, wanted: &Destination) -> Option<usize> {
        let same = |known: &Destination| (known.account, known.mailbox) == (wanted.account, wanted.mailbox);
        self.destinations.iter().position(same)
    }
}

/// What one commit did.
struct Stored {
    id: MessageId,
    placements: Vec<Placement>,
    /// Destinations whose folder was gone, so that their INBOX got it.
    fallen_back: Vec<usize>,
    queued: Vec<QueueId>,
}

impl Mail {
    pub(crate) async fn place(
        &self,
        envelope: &Envelope,
        message: NewMessage,
        legs: Legs,
        each_alone: bool,
    ) -> Result<Placed> {
        let waits = is_kept_back(envelope, message.received_at);
        let targets = Targets::of(envelope, each_alone, waits);
        let (id, header_id) = (message.id, message.message_id.clone());
        let size = (message.header.len() + message.text.len()) as u64;
        let circling = legs.looping.clone();
        let looping = |at: usize| circling.contains(&at) && envelope.recipients[at].route.places().is_empty();
        let circle = (0..envelope.recipients.len()).any(looping);
        if circle && !each_alone {
            let outcomes = envelope.recipients.iter().map(|_| Err(circles())).collect();
            return Ok(Placed { id, outcomes, places: Vec::new(), departed: Vec::new(), header_id });
        }
        if targets.destinations.is_empty() && legs.legs.is_empty() {
            let refusal = if circle { circles() } else { nobody() };
            let outcomes = envelope.recipients.iter().map(|_| Err(refusal.clone())).collect();
            return Ok(Placed { id, outcomes, places: Vec::new(), departed: Vec::new(), header_id });
        }
        let due_at = due_at(envelope, message.received_at);
        let bond = |leg: &Leg| match each_alone {
            true => leg.via.as_ref().and(leg.stands_for().next()).and_then(|at| u16::try_from(at).ok()),
            false => Some(0),
        };
        let row = |leg: &Leg| NewOutgoing { bond: bond(leg), ..self.outgoing(leg, envelope, &message) };
        let outgoing = legs.legs.iter().map(row).collect();
        let released = envelope.releases.clone().into_iter().collect();
        let stored = self.store_once(&targets, (message, outgoing), released).await?;
        let mut places = Vec::new();
        for (at, (destination, placement)) in targets.destinations.iter().zip(&stored.placements).enumerate() {
            let Placement::Placed { uid, modseq, .. } = placement else { continue };
            self.shared.live.touch_soon(destination.account, *modseq);
            let folder = if stored.fallen_back.contains(&at) { "INBOX" } else { &destination.folder };
            places.push(format!("account {} folder {folder} uid {uid}", destination.account));
        }
        let mut outcomes = Vec::with_capacity(envelope.recipients.len());
        for (at, recipient) in envelope.recipients.iter().enumerate() {
            let own = recipient.route.places().iter().filter_map(|place| targets.position(place));
            let own: Vec<Placement> = own.map(|at| stored.placements[at]).collect();
            let reason = own.iter().find(|p| matches!(p, Placement::NoMailbox | Placement::OverQuota));
            let refused = reason.or_else(|| own.iter().find(|p| **p == Placement::Withheld)).copied();
            outcomes.push(match refused {
                Some(placement) => Err(self.why_not(placement, &recipient.route, size).await?),
                None if looping(at) => Err(circles()),
                None if own.is_empty() && !leaves(&recipient.route) && !waits => Err(nobody()),
                None => Ok(()),
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
        let queued = |leg: &Leg| stored.queued.contains(&leg.id);
        let departed = legs.legs.into_iter().filter(queued).map(|leg| leg.departed(due_at)).collect();
        Ok(Placed { id: stored.id, outcomes, places, departed, header_id })
    }

    /// Stores and queues. Destinations whose folder vanished meanwhile fall back to their INBOX.
    async fn store_once(
        &self,
        targets: &Targets,
        (message, outgoing): (NewMessage, Vec<NewOutgoing>),
        released: Vec<NewRelease>,
    ) -> Result<Stored> {
        let now = self.now();
        let Targets { destinations, bonds } = targets;
        let target = |at: usize, mailbox| Target {
            account: destinations[at].account,
            mailbox,
            flags: Flags::none(),
            internal_date: now,
            bond: bonds[at],
        };
        let first = (0..destinations.len()).map(|at| target(at, destinations[at].mailbox)).collect();
        let id = message.id;
        let octets = Octets::leaving(message.header.clone(), message.text.clone());
        if destinations.is_empty() {
            let parcel = Parcel { messages: vec![(message, first)], outgoing, released, ..Parcel::default() };
            let (receipt, queued) = self.dispatch(parcel, &[(id, octets)]).await?;
            return Ok(Stored { id, placements: receipt.placements, fallen_back: Vec::new(), queued });
        }
        let (mut retry, mut again_outgoing) = (message.clone(), outgoing.clone());
        let parcel = Parcel { messages: vec![(message, first)], outgoing, released, ..Parcel::default() };
        let (receipt, mut queued) = self.dispatch(parcel, &[(id, octets.clone())]).await?;
        let mut placements = receipt.placements;
        let lost: Vec<usize> = (0..placements.len()).filter(|at| placements[*at] == Placement::NoMailbox).collect();
        if lost.iter().all(|at| destinations[*at].mailbox == destinations[*at].inbox) {
            return Ok(Stored { id, placements, fallen_back: Vec::new(), queued });
        }
        self.shared.routes.clear();
        retry.id = self.store.message_id();
        let second = retry.id;
        let bound = |at: &usize| lost.iter().any(|lost| bonds[*lost] == bonds[*at]);
        let again: Vec<usize> = (0..placements.len()).filter(bound).collect();
        let now_at = |at: usize| if lost.contains(&at) { destinations[at].inbox } else { destinations[at].mailbox };
        let rest = again.iter().map(|at| target(*at, now_at(*at))).collect();
        // What did not leave with the first try leaves with this one.
        let waits: Vec<bool> = receipt.queued.iter().map(|queued| !queued).collect();
        let mut waits = waits.into_iter();
        again_outgoing.retain(|_| waits.next().unwrap_or(true));
        message_of(&mut again_outgoing, second);
        let parcel = Parcel { messages: vec![(retry, rest)], outgoing: again_outgoing, ..Parcel::default() };
        let (receipt, more) = self.dispatch(parcel, &[(second, octets)]).await?;
        queued.extend(more);
        let whole = again.len() == placements.len();
        for (at, placement) in again.iter().zip(receipt.placements) {
            placements[*at] = placement;
        }
        Ok(Stored { id: if whole { second } else { id }, placements, fallen_back: lost, queued })
    }

    pub(crate) async fn why_not(&self, placement: Placement, route: &Route, size: u64) -> Result<Refusal> {
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

/// Whether mail for the recipient leaves.
fn leaves(route: &Route) -> bool {
    matches!(route, Route::Remote) || !route.onward().is_empty()
}

/// Nothing was wrong with this recipient, but with another of the same message.
pub(crate) fn withheld() -> Refusal {
    Refusal::new(452, EnhancedCode(4, 2, 2), "another recipient's mailbox is full")
}

pub(crate) fn nobody() -> Refusal {
    Refusal::new(451, EnhancedCode(4, 3, 0), "nobody would get this message, try again later")
}

/// What leaves here comes back here.
pub(crate) fn circles() -> Refusal {
    Refusal::new(554, EnhancedCode(5, 4, 6), "the message was here before: addresses send it in circles")
}
