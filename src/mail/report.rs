//! Reports to the sender about what became of a message (RFC 3461, RFC 3464): who gets one, and how it gets there.

use std::collections::HashSet;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use posthorn_model::{
    Address, BodyType, DeliveryId, Domain, EnhancedCode, Flags, Lane, MessageId, Notify, QueueId, QueueOrigin, Ret,
};
use posthorn_report::{Action, Category, Notice, NoticeRecipient, build, classify_reply};
use posthorn_store::chronicle::{self, TraceEntry};
use posthorn_store::messages;
use posthorn_store::queue::{self, Delivery, NewDelivery, NewOutgoing, Outgoing};
use posthorn_store::suppressions::{self, Suppression};
use posthorn_store::writer::{NewMessage, Parcel, Placement, Target};
use posthorn_trust::sign;

use crate::accept::{id_text, new_message};
use crate::departures::Octets;
use crate::return_paths::Returned;
use crate::route::Route;
use crate::trace::object;
use crate::{Error, Mail, Result};

/// A larger message comes back as its header alone, whatever RET says.
const RETURNED: u64 = 1 << 20;

/// What became of one recipient.
#[derive(Clone, Debug)]
pub struct Finding<'a> {
    /// The recipient.
    pub delivery: &'a Delivery,
    /// What happened.
    pub action: Action,
    /// The status code; its class fits the action (2, 4 or 5).
    pub status: EnhancedCode,
    /// The host that answered last.
    pub host: Option<String>,
    /// What it said, or what we found.
    pub reply: Option<String>,
    /// When it was last tried.
    pub at: Option<DateTime<Utc>>,
    /// Until when attempts go on.
    pub retries_until: Option<DateTime<Utc>>,
    /// Whether the time allowed ran out.
    pub expired: bool,
}

/// What follows from findings, to be committed together with the completions that they come from: see
/// [`crate::queue::Queue::complete`].
#[derive(Debug)]
pub struct Report {
    /// The deliveries that it is about.
    about: Vec<DeliveryId>,
    letter: Option<Letter>,
    suppressions: Vec<Suppression>,
    /// About the message reported on.
    told: Vec<TraceEntry>,
}

/// A notification on its way.
#[derive(Debug)]
struct Letter {
    message: NewMessage,
    targets: Vec<Target>,
    outgoing: Vec<NewOutgoing>,
    octets: Octets,
}

impl Report {
    /// Whether the sender is told of something.
    #[must_use]
    pub fn is_notification(&self) -> bool {
        self.letter.is_some()
    }
}

impl Mail {
    /// Writes the report that findings about an envelope call for; `None` when nothing follows from them. Heeds NOTIFY and
    /// RET; tells nobody of mail from the null path, or whose sender may be forged. Recipients that do not exist are put on
    /// the suppression list. `octets` are the message's, where they are at hand.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn report(
        &self,
        outgoing: &Outgoing,
        findings: &[Finding<'_>],
        octets: Option<&Octets>,
    ) -> Result<Option<Report>> {
        let suppressions: Vec<Suppression> =
            findings.iter().filter_map(|finding| self.suppression(outgoing, finding)).collect();
        let wanted: Vec<&Finding<'_>> = findings.iter().filter(|finding| is_wanted(finding)).collect();
        let mut told = Vec::new();
        let mut letter = None;
        let author = if wanted.is_empty() { None } else { self.author(outgoing).await? };
        let failed: Vec<&str> = findings
            .iter()
            .filter(|finding| finding.action == Action::Failed)
            .map(|finding| finding.delivery.recipient.as_str())
            .collect();
        if author.is_none() && !failed.is_empty() {
            let why = if wanted.is_empty() { "the sender does not want to know" } else { "there is nobody to tell" };
            let detail =
                object([("action", Action::Failed.as_str().into()), ("about", failed.into()), ("why", why.into())]);
            told.push(TraceEntry { outgoing: Some(outgoing.id), ..self.entry(outgoing.message, "unreported", detail) });
        }
        if let Some(to) = author {
            letter = self.letter(outgoing, &wanted, octets, &to).await?;
            let whom: Vec<&str> = wanted.iter().map(|finding| finding.delivery.recipient.as_str()).collect();
            let action = wanted.first().map(|finding| finding.action.as_str());
            let id = letter.as_ref().map(|letter| id_text(letter.message.id));
            let queued: Vec<String> =
                letter.iter().flat_map(|letter| &letter.outgoing).map(|new| new.outgoing.id.to_string()).collect();
            let detail = object([
                ("to", to.to_string().into()),
                ("action", action.into()),
                ("about", whom.into()),
                ("report", id.into()),
                ("queue", (!queued.is_empty()).then_some(queued).into()),
            ]);
            told.push(TraceEntry {
                outgoing: Some(outgoing.id),
                ..self.entry(outgoing.message, if letter.is_some() { "reported" } else { "unreported" }, detail)
            });
        }
        let nothing = letter.is_none() && suppressions.is_empty() && told.is_empty();
        let about = findings.iter().map(|finding| finding.delivery.id).collect();
        Ok((!nothing).then_some(Report { about, letter, suppressions, told }))
    }

    /// Who hears of an outgoing's fate; `None`: nobody.
    async fn author(&self, outgoing: &Outgoing) -> Result<Option<Address>> {
        let Some(Ok(sender)) = outgoing.sender.as_deref().map(Address::parse) else { return Ok(None) };
        if let Some(author) = &outgoing.author {
            let Ok(author) = Address::parse(author) else { return Ok(None) };
            let unproven = outgoing.origin == QueueOrigin::Forward && outgoing.account.is_none();
            let forged = unproven && self.is_local(author.domain()).await?;
            return Ok((!forged).then_some(author));
        }
        match self.shared.paths.read(&sender, self.now()) {
            Some(Returned::Sender(original)) => {
                // Who claims to be one of us, and has not shown it, is not told.
                let forged = outgoing.account.is_none() && self.is_local(original.domain()).await?;
                Ok((!forged).then_some(original))
            }
            Some(Returned::Bounce(bounced)) => {
                let original = self.original_sender(bounced.queue, Some(outgoing)).await?;
                let unproven = outgoing.origin == QueueOrigin::Forward && outgoing.account.is_none();
                match original {
                    Some(original) if unproven && self.is_local(original.domain()).await? => Ok(None),
                    original => Ok(original),
                }
            }
            Some(Returned::Void(_)) => Ok(None),
            None if outgoing.origin == QueueOrigin::Forward && outgoing.account.is_none() => Ok(None),
            None => Ok(Some(sender)),
        }
    }

    /// The sender of an envelope whose return path was made for its recipient: the trace knows, or else who submitted it.
    pub(crate) async fn original_sender(&self, id: QueueId, known: Option<&Outgoing>) -> Result<Option<Address>> {
        // It may have been told a moment ago.
        self.store.chronicle().flush().await;
        let mut connection = self.store.acquire().await?;
        if let Some(message) = chronicle::message_of(&mut connection, id).await? {
            let entries = chronicle::of_message(&mut connection, message).await?;
            let sender = entries.into_iter().find_map(|entry| entry.sender);
            if let Some(Ok(address)) = sender.as_deref().map(Address::parse) {
                return Ok(Some(address));
            }
        }
        let account = match known {
            Some(outgoing) => outgoing.account,
            None => queue::load(&mut connection, id).await?.and_then(|(outgoing, _)| outgoing.account),
        };
        drop(connection);
        match account {
            Some(account) => Ok(self.account_name(account).await?.and_then(|name| Address::parse(&name).ok())),
            None => Ok(None),
        }
    }

    /// Writes the letter and finds its way; `None` when there is none.
    async fn letter(
        &self,
        about: &Outgoing,
        findings: &[&Finding<'_>],
        octets: Option<&Octets>,
        to: &Address,
    ) -> Result<Option<Letter>> {
        let route = self.route(to).await?;
        let remote = matches!(*route, Route::Remote);
        if !remote && route.places().is_empty() && route.onward().is_empty() {
            return Ok(None);
        }
        let now = self.now();
        let id = self.store.message_id();
        let returned = self.returned(about, octets).await?;
        let from = self.reporter(to).await?;
        let raw = self.write_letter((id, &from, to), about, findings, &returned);
        let signed =
            if remote || !route.onward().is_empty() { self.sign_letter(&from, &raw.octets).await? } else { Vec::new() };
        let local = posthorn_mime::return_path(None);
        let whole = Bytes::from([local.as_slice(), &signed, &raw.octets].concat());
        let message = new_message(id, &whole, now);
        let places = route.places().iter().map(|place| Target {
            account: place.account,
            mailbox: place.mailbox,
            flags: Flags::none(),
            internal_date: now,
            bond: 0,
        });
        let targets = places.collect();
        let elsewhere = if remote { std::slice::from_ref(to) } else { route.onward() };
        let outgoing = elsewhere
            .iter()
            .map(|address| self.report_leg(&message, address, (raw.body_type, raw.smtputf8, about.require_tls)))
            .collect();
        let octets = Octets::leaving(message.header.clone(), message.text.clone());
        Ok(Some(Letter { message, targets, outgoing, octets }))
    }

    fn report_leg(
        &self,
        message: &NewMessage,
        to: &Address,
        (body_type, smtputf8, require_tls): (BodyType, bool, bool),
    ) -> NewOutgoing {
        let now = message.received_at;
        let outgoing = Outgoing {
            id: self.store.queue_id(),
            message: message.id,
            sender: None,
            author: None,
            top: None,
            account: None,
            origin: QueueOrigin::Report,
            body_type,
            smtputf8,
            require_tls,
            envid: None,
            ret: None,
            priority: 0,
            deliver_by: None,
            accepted_at: now,
            expires_at: now + self.shared.policies.of(None).expire.duration(),
            size: (message.header.len() + message.text.len()) as u64,
            header_id: message.message_id.clone(),
        };
        let delivery = NewDelivery {
            id: self.store.delivery_id(),
            recipient: to.to_string(),
            domain: to.domain().as_str().to_owned(),
            orcpt: None,
            // RFC 3461 §6.2: no reports about reports.
            notify: Some(Notify::NEVER),
            lane: Lane::Normal,
            due_at: now,
            not_before: None,
            notice_at: None,
            route: None,
            held: None,
        };
        NewOutgoing { outgoing, deliveries: vec![delivery], claim: None, bond: None }
    }

    /// What comes back of the message.
    async fn returned(&self, about: &Outgoing, octets: Option<&Octets>) -> Result<Octets> {
        let full = returns_text(about);
        if let Some(octets) = octets {
            let text = if full { octets.text.clone() } else { Bytes::new() };
            return Ok(Octets { header: octets.header.clone(), text });
        }
        let mut connection = self.store.acquire().await?;
        if full && let Some(stored) = queue::body(&mut connection, about.message).await? {
            let whole = Bytes::from(stored.whole);
            let end = stored.header_size.min(whole.len());
            return Ok(Octets::leaving(whole.slice(..end), whole.slice(end..)));
        }
        let header = messages::headers(&mut connection, &[about.message.0]).await?.pop();
        let header = header.map(|(_, header)| Bytes::from(header)).unwrap_or_default();
        Ok(Octets::leaving(header, Bytes::new()))
    }

    /// Postmaster of the author's domain where that is ours, or else of this host.
    async fn reporter(&self, to: &Address) -> Result<Address> {
        let host = Domain::parse(&self.shared.hostname).unwrap_or_else(|_| to.domain().clone());
        let domain = if self.is_local(to.domain()).await? { to.domain().clone() } else { host };
        Address::new("postmaster", domain).map_err(|_| Error::Internal)
    }

    fn write_letter(
        &self,
        (id, from, to): (MessageId, &Address, &Address),
        about: &Outgoing,
        findings: &[&Finding<'_>],
        returned: &Octets,
    ) -> posthorn_report::Built {
        let recipients: Vec<NoticeRecipient> = findings.iter().map(|finding| notice(finding)).collect();
        let host = &self.shared.hostname;
        let queue_id = about.id.to_string();
        build(&Notice {
            reporting_mta: host,
            from: &from.to_string(),
            to: &to.to_string(),
            message_id: &format!("{}@{host}", id_text(id)),
            date: self.now(),
            envelope_id: about.envid.as_deref(),
            queue_id: &queue_id,
            arrival_date: about.accepted_at,
            recipients: &recipients,
            header: &returned.header,
            text: &returned.text,
            ret: match about.ret {
                Some(Ret::Full) if !returned.text.is_empty() => Ret::Full,
                _ => Ret::Headers,
            },
            smtputf8: about.smtputf8,
        })
    }

    async fn sign_letter(&self, from: &Address, raw: &[u8]) -> Result<Vec<u8>> {
        if !self.shared.signs {
            return Ok(Vec::new());
        }
        let signers = self.signers(from.domain()).await?;
        let (header, text) = raw.split_at(posthorn_mime::header_end(raw).unwrap_or(raw.len()));
        sign(&signers, header, text, self.now()).map_err(Error::Signing)
    }

    /// What to remember of a recipient that a host says does not exist, or whose domain says so.
    fn suppression(&self, outgoing: &Outgoing, finding: &Finding<'_>) -> Option<Suppression> {
        // What we found ourselves says nothing about a recipient, except that its domain takes no mail at all (RFC 7505).
        let known = finding.host.is_some() || finding.status == EnhancedCode(5, 1, 10);
        let reply = finding.reply.as_deref().filter(|_| finding.action == Action::Failed && known)?;
        let sender = Address::parse(outgoing.author()?).ok()?;
        let class = classify_reply(reply).class;
        let policy = self.shared.policies.of(Some(sender.domain().as_str()));
        // What was sent on was not asked for by those who would be refused later.
        let asked = outgoing.origin != QueueOrigin::Forward && class.category() == Category::Hard && !finding.expired;
        (asked && policy.suppress).then(|| Suppression {
            sender_domain: sender.domain().as_str().to_owned(),
            recipient: finding.delivery.recipient.to_lowercase(),
            class: i16::from(class.number()),
            reason: reply.to_owned(),
            message: Some(outgoing.message),
            added_at: self.now(),
            expires_at: Some(self.now() + policy.suppress_for.duration()),
        })
    }

    /// Commits a parcel together with reports. A report about deliveries that the parcel completes is only written when
    /// one of them is completed by it: not again when the first commit's answer was lost, and not by a courier whose
    /// claim is gone.
    pub(crate) async fn commit_reports(&self, mut parcel: Parcel, reports: Vec<Report>) -> Result<Vec<bool>> {
        let mut octets = Vec::new();
        let mut aftermath = Vec::new();
        let targets = parcel.messages.iter().flat_map(|(_, targets)| targets);
        let mut owners: Vec<_> = targets.map(|target| target.account).collect();
        let order: Vec<DeliveryId> = parcel.completions.iter().map(|completion| completion.delivery).collect();
        let completed: HashSet<DeliveryId> = order.iter().copied().collect();
        for (report, bond) in reports.into_iter().zip((1..=u16::MAX).cycle()) {
            let Report { about, letter, suppressions, mut told } = report;
            let about: Vec<DeliveryId> = about.into_iter().filter(|delivery| completed.contains(delivery)).collect();
            if let Some(letter) = letter {
                octets.push((letter.message.id, letter.octets));
                told.push(self.letter_entry(&letter.message, &letter.outgoing));
                owners.extend(letter.targets.iter().map(|target| target.account));
                if !about.is_empty() {
                    parcel.conditions.push((letter.message.id, about.clone()));
                }
                // A report that cannot be stored holds nothing else up.
                let targets = letter.targets.into_iter().map(|target| Target { bond, ..target }).collect();
                parcel.messages.push((letter.message, targets));
                parcel.outgoing.extend(letter.outgoing);
            }
            aftermath.push((about, suppressions, told));
        }
        let (receipt, _queued) = self.dispatch(parcel, &octets).await?;
        for (account, placement) in owners.iter().zip(&receipt.placements) {
            match placement {
                Placement::Placed { modseq, .. } => self.shared.live.touch_soon(*account, *modseq),
                Placement::Withheld => {}
                refused => tracing::warn!(account.id = %account, ?refused, "a report could not be put into a mailbox"),
            }
        }
        let done: HashSet<DeliveryId> =
            order.iter().zip(&receipt.completed).filter(|(_, done)| **done).map(|(delivery, _)| *delivery).collect();
        let mut suppressed = Vec::new();
        for (about, suppressions, told) in aftermath {
            if about.is_empty() || about.iter().any(|delivery| done.contains(delivery)) {
                suppressed.extend(suppressions);
                told.into_iter().for_each(|entry| self.store.chronicle().tell(entry));
            }
        }
        if !suppressed.is_empty() {
            self.suppress_all(&suppressed).await;
        }
        Ok(receipt.completed)
    }

    /// The beginning of a report's own trace.
    fn letter_entry(&self, message: &NewMessage, outgoing: &[NewOutgoing]) -> TraceEntry {
        let deliveries = outgoing.iter().flat_map(|new| &new.deliveries);
        let detail =
            object([("source", "report".into()), ("size", (message.header.len() + message.text.len()).into())]);
        TraceEntry {
            header_id: message.message_id.clone(),
            outgoing: outgoing.first().map(|new| new.outgoing.id),
            recipients: deliveries.map(|delivery| delivery.recipient.to_lowercase()).collect(),
            ..self.entry(message.id, "written", detail)
        }
    }

    /// Remembers recipients that do not exist. What fails is only not remembered.
    pub(crate) async fn suppress_all(&self, entries: &[Suppression]) {
        let outcome = async {
            let mut connection = self.store.acquire().await?;
            for entry in entries {
                suppressions::put(&mut connection, entry).await?;
            }
            self.shared.unsuppressed.invalidate_all();
            Ok::<(), Error>(())
        };
        if let Err(error) = outcome.await {
            tracing::warn!(%error, "recipients that do not exist were not put on the suppression list");
        }
    }
}

/// Whether the text comes back with the header.
fn returns_text(about: &Outgoing) -> bool {
    // RFC 8689 §5: the way back may be less private than the way there.
    about.ret == Some(Ret::Full) && about.size <= RETURNED && !about.require_tls
}

/// Whether the sender wants to know (RFC 3461 §4.1).
fn is_wanted(finding: &Finding<'_>) -> bool {
    let kind = match finding.action {
        Action::Failed => Notify::FAILURE,
        Action::Delayed => Notify::DELAY,
        // Nobody asked for a time without wanting to know that it is not promised (RFC 2852 §4.1.4), except in so many words.
        Action::Relayed => return finding.delivery.notify != Some(Notify::NEVER),
        Action::Delivered | Action::Expanded => Notify::SUCCESS,
    };
    finding.delivery.notify.unwrap_or(Notify::USUAL).wants(kind)
}

fn notice(finding: &Finding<'_>) -> NoticeRecipient {
    NoticeRecipient {
        recipient: finding.delivery.recipient.clone(),
        orcpt: finding.delivery.orcpt.clone(),
        action: finding.action,
        status: finding.status,
        remote_mta: finding.host.clone(),
        diagnostic: finding.reply.clone(),
        last_attempt: finding.at,
        will_retry_until: finding.retries_until.filter(|_| finding.action == Action::Delayed),
        expired: finding.expired,
    }
}
