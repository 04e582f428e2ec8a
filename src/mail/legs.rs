//! Which envelopes a message leaves in: straight to the recipients elsewhere, and onward for names of ours that lead
//! to other hosts.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use posthorn_model::{Address, BodyType, ByMode, Domain, Lane, MessageId, Notify, QueueId, QueueOrigin};
use posthorn_store::queue::{NewDelivery, NewOutgoing, Outgoing};
use posthorn_store::writer::NewMessage;

use crate::envelope::{Envelope, Source, Terms};
use crate::route::Route;
use crate::{Mail, Result};

/// One envelope in which a message leaves.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) id: QueueId,
    /// The reverse path; `None` is the null path.
    sender: Option<String>,
    /// The sender as it came, where the reverse path is one of ours.
    author: Option<String>,
    origin: QueueOrigin,
    /// The name here that leads on, where there is one.
    pub(crate) via: Option<String>,
    /// The recipients, and which of the incoming envelope each stands for.
    recipients: Vec<Whom>,
    /// Fields that only these copies bear.
    pub(crate) top: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Whom {
    address: Address,
    orcpt: Option<String>,
    notify: Option<Notify>,
    /// Its place in the incoming envelope.
    at: usize,
}

/// A leg that was queued, for the trace.
#[derive(Debug)]
pub(crate) struct Departed {
    pub(crate) id: QueueId,
    pub(crate) sender: Option<String>,
    pub(crate) recipients: Vec<String>,
    pub(crate) via: Option<String>,
    /// It is kept back for mailboxes here.
    pub(crate) local: bool,
    pub(crate) due_at: DateTime<Utc>,
}

/// How a message leaves.
#[derive(Debug, Default)]
pub(crate) struct Legs {
    pub(crate) legs: Vec<Leg>,
    /// Recipients, by their place in the envelope, whose mail would go in circles.
    pub(crate) looping: Vec<usize>,
}

impl Legs {
    /// Whether anything goes to other hosts.
    pub(crate) fn leave(&self) -> bool {
        self.legs.iter().any(|leg| leg.origin != QueueOrigin::Local)
    }
}

impl Leg {
    /// The places in the incoming envelope that it stands for.
    pub(crate) fn stands_for(&self) -> impl Iterator<Item = usize> + '_ {
        self.recipients.iter().map(|whom| whom.at)
    }

    /// The domains of its recipients.
    pub(crate) fn domains(&self) -> impl Iterator<Item = &Domain> {
        self.recipients.iter().map(|whom| whom.address.domain())
    }

    /// What the trace says of it.
    pub(crate) fn departed(self, due_at: DateTime<Utc>) -> Departed {
        let recipients = self.recipients.iter().map(|whom| whom.address.to_string()).collect();
        let local = self.origin == QueueOrigin::Local;
        Departed { id: self.id, sender: self.sender, recipients, via: self.via, local, due_at }
    }
}

impl Mail {
    /// Parts an envelope into those that leave; `header` is the message's as it came.
    pub(crate) async fn legs(&self, envelope: &Envelope, header: &[u8]) -> Result<Legs> {
        let mut legs = Legs::default();
        let leaves = |route: &Route| matches!(route, Route::Remote) || !route.onward().is_empty();
        if !envelope.recipients.iter().any(|recipient| leaves(&recipient.route)) {
            legs.legs.extend(self.kept_back(envelope));
            return Ok(legs);
        }
        let mut seen = HashSet::new();
        legs.legs.extend(self.straight(envelope, &mut seen).await?);
        let now = self.now();
        let keeps_sender = self.keeps_sender(envelope).await?;
        for (at, recipient) in envelope.recipients.iter().enumerate() {
            let onward = recipient.route.onward();
            if onward.is_empty() {
                continue;
            }
            if was_here(header, &recipient.address) {
                legs.looping.push(at);
                continue;
            }
            let fresh: Vec<&Address> = onward.iter().filter(|address| seen.insert((*address).clone())).collect();
            if fresh.is_empty() {
                continue;
            }
            let id = self.store.queue_id();
            // Who wrote is told of the name that they wrote to, not of where it leads.
            let orcpt = recipient.orcpt.clone().or_else(|| Some(format!("rfc822;{}", recipient.address)));
            let whom = |address: &Address| Whom {
                address: address.clone(),
                orcpt: orcpt.clone(),
                notify: recipient.notify,
                at,
            };
            let sender = match &envelope.sender {
                Some(sender) if !keeps_sender => {
                    let first = fresh.first().map(ToString::to_string).unwrap_or_default();
                    Some(self.shared.paths.forwarding(sender, id, &first, now))
                }
                kept => kept.as_ref().map(ToString::to_string),
            };
            legs.legs.push(Leg {
                id,
                author: envelope.sender.as_ref().filter(|_| !keeps_sender).map(ToString::to_string),
                sender,
                origin: QueueOrigin::Forward,
                via: Some(recipient.address.clone()),
                recipients: fresh.into_iter().map(whom).collect(),
                top: Some(posthorn_mime::delivered_to(&recipient.address)),
            });
        }
        legs.legs.extend(self.kept_back(envelope));
        Ok(legs)
    }

    /// The recipients with mailboxes here, where the message is to come later (RFC 4865).
    fn kept_back(&self, envelope: &Envelope) -> Option<Leg> {
        if !is_kept_back(envelope, self.now()) {
            return None;
        }
        let mut recipients = Vec::new();
        for (at, recipient) in envelope.recipients.iter().enumerate() {
            // RFC 5321 §4.5.1: the postmaster alone has no domain.
            let address = Address::parse(&recipient.address)
                .or_else(|_| Address::parse(&format!("postmaster@{}", self.shared.hostname)));
            if let (false, Ok(address)) = (recipient.route.places().is_empty(), address) {
                recipients.push(Whom { address, orcpt: recipient.orcpt.clone(), notify: recipient.notify, at });
            }
        }
        let sender = envelope.sender.as_ref().map(ToString::to_string);
        let leg = Leg {
            id: self.store.queue_id(),
            sender,
            author: None,
            origin: QueueOrigin::Local,
            via: None,
            recipients,
            top: envelope.terms.junk.then(|| KEPT_FOR_JUNK.to_vec()),
        };
        (!leg.recipients.is_empty()).then_some(leg)
    }

    /// The recipients at other hosts: one envelope, or with VERP one for each.
    async fn straight(&self, envelope: &Envelope, seen: &mut HashSet<Address>) -> Result<Vec<Leg>> {
        let origin = if envelope.source == Source::Relay { QueueOrigin::Relay } else { QueueOrigin::Submission };
        let domain = envelope.sender.as_ref().map(Address::domain);
        let verp = domain.is_some() && self.shared.policies.of(domain.map(Domain::as_str)).verp;
        let own = match domain.filter(|_| verp) {
            Some(domain) if self.is_local(domain).await? => Some(domain),
            _ => None,
        };
        let mut legs: Vec<Leg> = Vec::new();
        for (at, recipient) in envelope.recipients.iter().enumerate() {
            if !matches!(*recipient.route, Route::Remote) {
                continue;
            }
            let Ok(address) = Address::parse(&recipient.address) else { continue };
            if !seen.insert(address.clone()) {
                continue;
            }
            let whom = Whom { address, orcpt: recipient.orcpt.clone(), notify: recipient.notify, at };
            match legs.last_mut().filter(|_| !verp) {
                Some(leg) => leg.recipients.push(whom),
                None => {
                    let id = self.store.queue_id();
                    let sender = match (&envelope.sender, verp) {
                        (Some(_), true) => Some(self.shared.paths.bounce(own, id, &recipient.address)),
                        (sender, _) => sender.as_ref().map(ToString::to_string),
                    };
                    let author = envelope.sender.as_ref().filter(|_| verp).map(ToString::to_string);
                    legs.push(Leg { id, sender, author, origin, via: None, recipients: vec![whom], top: None });
                }
            }
        }
        Ok(legs)
    }

    /// Whether a forwarded copy keeps its sender: the null path does, and one of ours, of which we know that it is.
    async fn keeps_sender(&self, envelope: &Envelope) -> Result<bool> {
        match &envelope.sender {
            None => Ok(true),
            Some(_) if !self.shared.paths.rewrites() => Ok(true),
            Some(sender) => Ok(envelope.source.may_relay() && self.is_local(sender.domain()).await?),
        }
    }

    /// The rows of a leg.
    pub(crate) fn outgoing(&self, leg: &Leg, envelope: &Envelope, message: &NewMessage) -> NewOutgoing {
        let terms = &envelope.terms;
        let now = message.received_at;
        let policy = self.shared.policies.of(envelope.sender.as_ref().map(|sender| sender.domain().as_str()));
        let due_at = due_at(envelope, now);
        let expires_at = after(due_at, policy.expire.duration());
        let notice = policy.delay_notice.duration();
        let notice_at = [(!notice.is_zero()).then(|| after(due_at, notice)), late_at(terms, now)];
        let notice_at = notice_at.into_iter().flatten().min().filter(|_| leg.sender.is_some());
        let row = |whom: &Whom| NewDelivery {
            id: self.store.delivery_id(),
            recipient: whom.address.to_string(),
            domain: whom.address.domain().as_str().to_owned(),
            orcpt: whom.orcpt.clone(),
            notify: whom.notify,
            lane: Lane::of_priority(terms.priority),
            due_at,
            not_before: (due_at > now).then_some(due_at),
            notice_at: notice_at.filter(|_| whom.notify.unwrap_or(Notify::USUAL).wants(Notify::DELAY)),
            route: terms.route.clone(),
            held: terms.held.clone(),
        };
        let outgoing = Outgoing {
            id: leg.id,
            message: message.id,
            sender: leg.sender.clone(),
            author: leg.author.clone(),
            top: leg.top.clone(),
            account: envelope.source.account(),
            origin: leg.origin,
            body_type: body_type(terms.body_type, message),
            smtputf8: terms.smtputf8,
            require_tls: terms.require_tls,
            envid: terms.envid.clone(),
            ret: terms.ret,
            priority: terms.priority,
            deliver_by: terms.deliver_by,
            accepted_at: now,
            expires_at,
            size: (message.header.len() + message.text.len()) as u64,
            header_id: message.message_id.clone(),
        };
        NewOutgoing { outgoing, deliveries: leg.recipients.iter().map(row).collect(), claim: None, bond: None }
    }
}

/// Whether the message has passed this name before: it has left here and come back.
fn was_here(header: &[u8], address: &str) -> bool {
    posthorn_mime::header_text(header, "Delivered-To").any(|text| text.trim().eq_ignore_ascii_case(address))
}

/// What a message's octets are: programs often forget to say that they send more than ASCII.
fn body_type(said: BodyType, message: &NewMessage) -> BodyType {
    match said {
        BodyType::SevenBit if !(message.header.is_ascii() && message.text.is_ascii()) => BodyType::EightBit,
        said => said,
    }
}

/// When the sender is to be told that a message is late (RFC 2852 §4); who had it before tells of what was late already.
fn late_at(terms: &Terms, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    terms.deliver_by.and_then(|(by, mode)| (mode == ByMode::Notify && by > now).then_some(by))
}

/// What the row of a message bears on top that is kept back, and goes into Junk then: it never leaves, so nobody reads it.
pub(crate) const KEPT_FOR_JUNK: &[u8] = b"X-Kept-For: Junk\r\n";

/// Whether a message is not to arrive yet.
pub(crate) fn is_kept_back(envelope: &Envelope, now: DateTime<Utc>) -> bool {
    envelope.terms.held.is_some() || envelope.terms.hold_until.is_some_and(|until| until > now)
}

/// When a message may leave.
pub(crate) fn due_at(envelope: &Envelope, now: DateTime<Utc>) -> DateTime<Utc> {
    envelope.terms.hold_until.filter(|until| *until > now).unwrap_or(now)
}

/// A moment later, or the last one there is.
fn after(moment: DateTime<Utc>, span: std::time::Duration) -> DateTime<Utc> {
    chrono::TimeDelta::from_std(span)
        .ok()
        .and_then(|span| moment.checked_add_signed(span))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// For whom a message leaves a second time with the same octets.
pub(crate) fn message_of(legs: &mut [NewOutgoing], message: MessageId) {
    for leg in legs {
        leg.outgoing.message = message;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_are_told_when_mail_is_late() {
        let now = DateTime::<Utc>::UNIX_EPOCH;
        let by = now + chrono::TimeDelta::hours(1);
        let terms = |by| Terms { deliver_by: by, ..Terms::default() };
        assert_eq!(late_at(&terms(Some((by, ByMode::Notify))), now), Some(by));
        for other in [None, Some((by, ByMode::Return)), Some((now, ByMode::Notify))] {
            assert_eq!(late_at(&terms(other), now), None);
        }
    }

    #[test]
    fn a_name_that_was_passed_is_known_again() {
        let header = b"Received: x\r\nDelivered-To: Bob@example.org\r\nSubject: x\r\n\r\n";
        assert!(was_here(header, "bob@example.org"));
        assert!(!was_here(header, "eve@example.org"));
    }
}
