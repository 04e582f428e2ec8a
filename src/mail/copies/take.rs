//! Taking a message whose copies differ: every copy, everything held and every envelope that leaves is one commit.
//!
//! A folder that vanished meanwhile is no reason to refuse the message: the commit is made again with the INBOX in its
//! place, for what the first one did not take.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use posthorn_model::{EnhancedCode, Flags, MessageId, Notify, QueueId, Refusal};
use posthorn_store::filter::held::NewHeld;
use posthorn_store::queue::NewOutgoing;
use posthorn_store::writer::{NewMessage, Parcel, Placement, Target};

use super::apart::{Part, doubles, strike};
use super::{Fate, Group};
use crate::accept::{Accepted, Examined, passing};
use crate::checks::Checked;
use crate::departures::Octets;
use crate::envelope::Envelope;
use crate::legs::{Departed, Leg, Legs, due_at, is_kept_back};
use crate::place::{Placed, Targets, circles, nobody, withheld};
use crate::route::Destination;
use crate::{Mail, Reservation, Result};

/// One copy on its way into the parcel.
struct Copy {
    /// The envelope of its recipients alone.
    envelope: Envelope,
    /// Their places in the whole envelope.
    members: Vec<usize>,
    message: NewMessage,
    targets: Targets,
    legs: Legs,
    held: Option<NewHeld>,
}

/// Everything that is committed together.
#[derive(Default)]
struct Batch {
    copies: Vec<Copy>,
    outcomes: Vec<std::result::Result<(), Refusal>>,
    /// Recipients, by their places in the whole envelope, of whose mail a part is in the copy of another.
    rests: Vec<(usize, usize)>,
}

/// What all copies are made of.
struct Source {
    examined: Examined,
    /// What follows the header, shared by all copies that change nothing there.
    text: Bytes,
    /// For what they do not share.
    memory: Reservation,
}

impl Mail {
    pub(crate) async fn take_copies(
        &self,
        envelope: &Envelope,
        mut examined: Examined,
        groups: Vec<Group>,
        each_alone: bool,
    ) -> Result<std::result::Result<Accepted, Refusal>> {
        let (id, checked) = (examined.id, examined.checked.clone());
        let results = checked.as_ref().map(Checked::results);
        let mut batch = Batch { outcomes: vec![Ok(()); envelope.recipients.len()], ..Batch::default() };
        // Nobody is told that what is held arrived; nor of what is to be kept quiet about.
        let is_silent = |group: &&Group| group.edit.quiet || matches!(group.fate, Fate::Hold(_));
        let silent: Vec<usize> = groups.iter().filter(is_silent).flat_map(|group| group.members.clone()).collect();
        // One copy at a time is whole: while it is made, and at last the first one for those who read it.
        let mut working = self.reserve();
        if !working.grow(examined.body.len()) {
            return Ok(Err(no_memory()));
        }
        let whole = examined.octets();
        let text = whole.slice(posthorn_mime::header_end(&whole).unwrap_or(whole.len())..);
        let mut source = Source { examined, text, memory: self.reserve() };
        for part in self.parts(envelope, groups, &mut batch.rests).await? {
            if let Fate::Refuse(refusal) = &part.group.fate {
                part.group.members.iter().for_each(|at| batch.outcomes[*at] = Err(refusal.clone()));
            } else if !part.is_idle() {
                let copy = self.prepare(envelope, &source, part, batch.copies.is_empty()).await?;
                if !source.pays_for(&copy.message) {
                    return Ok(Err(no_memory()));
                }
                batch.copies.push(copy);
            }
        }
        let circling: Vec<usize> = batch.copies.iter().flat_map(|copy| copy.circling(envelope)).collect();
        if !circling.is_empty() && !each_alone {
            return Ok(Err(circles()));
        }
        for at in circling {
            batch.outcomes[at] = Err(circles());
        }
        let first = batch.copies.first().map(|copy| copy.message.clone());
        let (message_id, octets) =
            first.map(|message| (message.message_id, (message.header, message.text))).unwrap_or_default();
        let size = octets.0.len() + octets.1.len();
        let rests = batch.rests.clone();
        let (placed, held) = self.commit_copies(batch, each_alone).await?;
        drop(source);
        let placed = Placed { id, header_id: message_id.clone(), ..placed };
        debug_assert_eq!(placed.outcomes.len(), envelope.recipients.len(), "each recipient has an outcome");
        if placed.outcomes.iter().any(std::result::Result::is_ok) {
            let mut told = envelope.clone();
            let quiet = rests.iter().filter(|(_, on)| silent.contains(on)).map(|(at, _)| at);
            silent.iter().chain(quiet).for_each(|at| told.recipients[*at].notify = Some(Notify::NEVER));
            let rest = |(at, on): &(usize, usize)| {
                let [own, other] = [at, on].map(|at| envelope.recipients[*at].address.as_str());
                format!("{own}: its mailbox has the copy of {other}")
            };
            let rests: Vec<String> = rests.iter().map(rest).collect();
            for (name, said) in [("held", held.clone()), ("doubles", rests)] {
                if !said.is_empty() {
                    told.story.insert(name.to_owned(), said.into());
                }
            }
            let raw = [octets.0, octets.1].concat();
            self.after_acceptance(&told, &placed, &raw, checked.as_ref()).await;
        }
        drop(working);
        let Placed { outcomes, places, departed, .. } = placed;
        let queued = departed.into_iter().map(|leg| leg.id).collect();
        Ok(Ok(Accepted { id, outcomes, places, queued, held, message_id, size, results }))
    }

    /// The groups with their envelopes, each mailbox in one of them; tells whose mail is with whose.
    async fn parts(&self, whole: &Envelope, groups: Vec<Group>, rests: &mut Vec<(usize, usize)>) -> Result<Vec<Part>> {
        let mut parts: Vec<Part> = groups.into_iter().map(|group| Part::of(group, whole)).collect();
        // By where they were to go, and then by where they go: a mailbox stands for its Junk folder, too.
        let meant = doubles(&parts);
        for Part { group, envelope } in &mut parts {
            if matches!(group.fate, Fate::Deliver | Fate::Junk) {
                *envelope = self.addressed(envelope, &group.edit).await?.into_owned();
            }
            if group.fate == Fate::Junk {
                *envelope = self.junked(envelope).await?;
            }
        }
        strike(&mut parts, &meant);
        let done = doubles(&parts);
        strike(&mut parts, &done);
        rests.extend(meant.iter().chain(&done).map(|double| (double.at, double.other)));
        rests.sort_unstable();
        rests.dedup();
        Ok(parts)
    }

    /// Makes a part's copy.
    async fn prepare(&self, whole: &Envelope, source: &Source, part: Part, is_first: bool) -> Result<Copy> {
        let Part { group: Group { fate, edit, members }, envelope } = part;
        let examined = &source.examined;
        let id = if is_first { examined.id } else { self.store.message_id() };
        let mut body = self.intake();
        match edit.is_empty() {
            true => body.replace(examined.body.octets()),
            false => body.replace(&edit.apply(examined.body.octets())),
        }
        let is_held = matches!(fate, Fate::Hold(_));
        let header_size = posthorn_mime::header_end(body.octets()).unwrap_or(body.len());
        let mut legs = match is_held {
            true => Legs::default(),
            false => self.legs(&envelope, &body.octets()[..header_size]).await?,
        };
        body.prepend(&examined.fields);
        if let Some(checked) = &examined.checked {
            let field = posthorn_trust::results::field(&self.shared.hostname, &checked.results());
            body.prepend(field.as_bytes());
        }
        if legs.leave() {
            body = self.sign(&envelope, &mut legs, body, examined.checked.as_ref()).await?;
        }
        if !is_held {
            body.prepend(&examined.local_for(&edit));
        }
        let (raw, _) = body.finish();
        let waits = is_held || is_kept_back(&envelope, self.now());
        let stays = !waits && envelope.recipients.iter().any(|recipient| !recipient.route.places().is_empty());
        let message = if stays { self.read(id, raw).await? } else { passing(id, &raw, self.now()) };
        let message = source.sharing(message);
        let held = match &fate {
            Fate::Hold(hold) => Some(self.new_held(whole, &message, hold, &members)?),
            _ => None,
        };
        let targets = Targets::of(&envelope, true, waits);
        Ok(Copy { envelope, members, message, targets, legs, held })
    }

    async fn commit_copies(&self, batch: Batch, each_alone: bool) -> Result<(Placed, Vec<String>)> {
        let Batch { mut copies, mut outcomes, rests } = batch;
        let now = self.now();
        let (parcel, octets) = self.parcel(&copies, each_alone);
        let mut held: Vec<String> = parcel.held.iter().map(|held| held.mail_id.clone()).collect();
        let (receipt, mut queued) = self.dispatch(parcel, &octets).await?;
        let mut given = receipt.placements.into_iter();
        let mut placements: Vec<Vec<Placement>> = Vec::with_capacity(copies.len());
        for copy in &copies {
            placements.push(given.by_ref().take(copy.targets.destinations.len()).collect());
        }
        if copies.iter_mut().zip(&placements).fold(false, |any, (copy, own)| copy.fall_back(own) || any) {
            self.shared.routes.clear();
            self.shared.junk.forget();
            queued.extend(self.once_more(&mut copies, &mut placements, &queued, each_alone).await?);
        }
        let (mut places, mut departed): (Vec<String>, Vec<Departed>) = (Vec::new(), Vec::new());
        for (copy, own) in copies.into_iter().zip(placements) {
            let due_at = due_at(&copy.envelope, now);
            for (place, placement) in copy.targets.destinations.iter().zip(&own) {
                let Placement::Placed { uid, modseq, .. } = placement else { continue };
                self.shared.live.touch_soon(place.account, *modseq);
                places.push(format!("account {} folder {} uid {uid}", place.account, place.folder));
            }
            let size = (copy.message.header.len() + copy.message.text.len()) as u64;
            for (recipient, at) in copy.envelope.recipients.iter().zip(&copy.members) {
                let mine = recipient.route.places().iter().filter_map(|place| copy.position(place));
                let mine: Vec<Placement> = mine.filter_map(|at| own.get(at).copied()).collect();
                let reason = mine.iter().find(|one| matches!(one, Placement::NoMailbox | Placement::OverQuota));
                let refused = reason.or_else(|| mine.iter().find(|one| **one == Placement::Withheld)).copied();
                if let Some(placement) = refused {
                    outcomes[*at] = Err(self.why_not(placement, &recipient.route, size).await?);
                }
            }
            let stayed = |leg: &Leg| queued.contains(&leg.id);
            departed.extend(copy.legs.legs.into_iter().filter(stayed).map(|leg| leg.departed(due_at)));
        }
        // Whose mailbox was to have another's copy has none where that was not taken.
        let direct = outcomes.clone();
        for (at, on) in rests {
            if let (Ok(()), Err(refusal)) = (&outcomes[at], &direct[on]) {
                outcomes[at] = Err(refusal.clone());
            }
        }
        if !each_alone
            && let Some(refusal) =
                outcomes.iter().find_map(|outcome| outcome.clone().err().filter(|why| *why != withheld()))
        {
            outcomes.fill(Err(refusal));
        }
        if outcomes.is_empty() {
            outcomes.push(Err(nobody()));
        }
        if outcomes.iter().all(std::result::Result::is_err) && !each_alone {
            held.clear();
        }
        // The caller knows the message's name.
        let id = posthorn_model::MessageId(0);
        Ok((Placed { id, outcomes, places, departed, header_id: None }, held))
    }

    /// Everything that is to be committed together.
    fn parcel(&self, copies: &[Copy], each_alone: bool) -> (Parcel, Vec<(MessageId, Octets)>) {
        let (mut parcel, mut octets) = (Parcel::default(), Vec::new());
        for copy in copies {
            let targets: Vec<Target> = copy.rows(self.now(), each_alone).collect();
            let of_leg = |leg: &Leg| match each_alone {
                true => leg.via.as_ref().and(leg.stands_for().next()).map(|own| copy.bond(own, each_alone)),
                false => Some(0),
            };
            let row =
                |leg: &Leg| NewOutgoing { bond: of_leg(leg), ..self.outgoing(leg, &copy.envelope, &copy.message) };
            parcel.outgoing.extend(copy.legs.legs.iter().map(row));
            let bond = (!each_alone).then_some(0);
            parcel.held.extend(copy.held.clone().map(|held| NewHeld { bond, message: copy.message.id, ..held }));
            octets.push((copy.message.id, Octets::leaving(copy.message.header.clone(), copy.message.text.clone())));
            if !targets.is_empty() || copy.has_more() || copy.held.is_some() {
                parcel.messages.push((copy.message.clone(), targets));
            }
        }
        (parcel, octets)
    }

    /// Commits what did not land because a folder had vanished, now that its place is the INBOX; what has landed already
    /// is left out. Tells what is queued.
    async fn once_more(
        &self,
        copies: &mut [Copy],
        placements: &mut [Vec<Placement>],
        queued: &[QueueId],
        each_alone: bool,
    ) -> Result<Vec<QueueId>> {
        for copy in &mut *copies {
            copy.message.id = self.store.message_id();
        }
        let (mut parcel, octets) = self.parcel(copies, each_alone);
        parcel.outgoing.retain(|row| !queued.contains(&row.outgoing.id));
        if each_alone {
            // What is held stands for itself, and lies there since the first time.
            parcel.held.clear();
        }
        let mut wanted = Vec::new();
        let has_landed = |placement: &Placement| matches!(placement, Placement::Placed { .. });
        for (at, copy) in copies.iter().enumerate() {
            let rest: Vec<usize> = (0..placements[at].len()).filter(|own| !has_landed(&placements[at][*own])).collect();
            let rows: Vec<Target> = copy.rows(self.now(), each_alone).collect();
            if let Some((_, targets)) = parcel.messages.iter_mut().find(|(message, _)| message.id == copy.message.id) {
                *targets = rest.iter().filter_map(|own| rows.get(*own).cloned()).collect();
            }
            wanted.extend(rest.into_iter().map(|own| (at, own)));
        }
        let needed = |message: MessageId, targets: &[Target], parcel: &Parcel| {
            !targets.is_empty()
                || parcel.outgoing.iter().any(|row| row.outgoing.message == message)
                || parcel.held.iter().any(|held| held.message == message)
        };
        let messages = std::mem::take(&mut parcel.messages);
        parcel.messages = messages.into_iter().filter(|(one, targets)| needed(one.id, targets, &parcel)).collect();
        let (receipt, more) = self.dispatch(parcel, &octets).await?;
        for ((at, own), placement) in wanted.into_iter().zip(receipt.placements) {
            placements[at][own] = placement;
        }
        Ok(more)
    }
}

impl Source {
    /// The message with the text that is shared, where its own is the same.
    fn sharing(&self, message: NewMessage) -> NewMessage {
        if message.text != self.text {
            return message;
        }
        NewMessage { text: self.text.clone(), header: Bytes::copy_from_slice(&message.header), ..message }
    }

    /// Reserves memory for what a message does not share.
    fn pays_for(&mut self, message: &NewMessage) -> bool {
        let is_shared = message.text.as_ptr() == self.text.as_ptr();
        self.memory.grow(message.header.len() + if is_shared { 0 } else { message.text.len() })
    }
}

fn no_memory() -> Refusal {
    Refusal::new(452, EnhancedCode(4, 3, 1), "too many large messages at the moment, try again later")
}

impl Copy {
    /// What a recipient's mail stands or falls with.
    fn bond(&self, own: usize, each_alone: bool) -> u16 {
        match each_alone {
            true => u16::try_from(self.members[own]).unwrap_or(u16::MAX),
            false => 0,
        }
    }

    /// Its rows in mailboxes, in the order of its destinations.
    fn rows(&self, now: DateTime<Utc>, each_alone: bool) -> impl Iterator<Item = Target> {
        self.targets.destinations.iter().zip(&self.targets.bonds).map(move |(place, own)| Target {
            account: place.account,
            mailbox: place.mailbox,
            flags: Flags::none(),
            internal_date: now,
            bond: self.bond(usize::from(*own), each_alone),
        })
    }

    /// Where one of the destinations lies by now.
    fn position(&self, place: &Destination) -> Option<usize> {
        self.targets.position(place).or_else(|| {
            let same = |known: &Destination| known.account == place.account && known.mailbox == place.inbox;
            self.targets.destinations.iter().position(same)
        })
    }

    /// Puts the INBOX in the place of folders that are gone. Whether there was one.
    fn fall_back(&mut self, placements: &[Placement]) -> bool {
        let mut any = false;
        for (place, placement) in self.targets.destinations.iter_mut().zip(placements) {
            if *placement == Placement::NoMailbox && place.mailbox != place.inbox {
                (place.mailbox, place.folder) = (place.inbox, "INBOX".to_owned());
                any = true;
            }
        }
        any
    }

    /// The recipients whose mail would go in circles and nowhere else, by their places in the whole envelope.
    fn circling(&self, whole: &Envelope) -> Vec<usize> {
        // What lies in the mailbox of another's copy has arrived.
        let looping = |at: &usize| whole.recipients[*at].route.places().is_empty();
        self.legs.looping.iter().map(|own| self.members[*own]).filter(looping).collect()
    }

    fn has_more(&self) -> bool {
        !self.legs.legs.is_empty()
    }
}
