//! Taking responsibility for messages: gathering the body, completing the header, storing, and only then saying yes.

use std::borrow::Cow;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use posthorn_mime::{Facts, Structure};
use posthorn_model::{AccountId, EnhancedCode, Flags, MailboxId, MessageId, QueueId, Refusal};
use posthorn_store::writer::{NewMessage, Parcel, Placement, Target};

use crate::checks::Checked;
use crate::copies::{Edit, Fate, Group, Treatment};
use crate::envelope::Envelope;
use crate::feedback::Applied;
use crate::legs::is_kept_back;
use crate::place::Placed;
use crate::{Error, Intake, Mail, Result};

/// Above this many octets a message is read, signed and packed away from the threads that serve sessions.
pub(crate) const LARGE: usize = 256 << 10;

/// What to add to a message's header.
#[derive(Clone, Debug, Default)]
pub struct Completion {
    /// Return-Path, and Delivered-To where it tells nobody of another: whole fields, each with its CRLF, that stay here
    /// when copies leave.
    pub local: Vec<u8>,
    /// Whole fields to put on top below those, each with its CRLF.
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
    /// The envelopes in which it leaves.
    pub queued: Vec<QueueId>,
    /// The names of what is held of it, for the trace.
    pub held: Vec<String>,
    /// The Message-ID field, for the trace.
    pub message_id: Option<String>,
    /// Octets stored.
    pub size: usize,
    /// What was found out about it, in the words of RFC 8601.
    pub results: Option<String>,
}

/// A message of which everything is found out, before it is decided what becomes of it.
#[derive(Debug)]
pub struct Examined {
    /// Its id.
    pub(crate) id: MessageId,
    /// Its octets as they came, without what claims to be our own results.
    pub(crate) body: Intake,
    /// Fields to put on top of every copy.
    pub(crate) fields: Vec<u8>,
    /// Fields above them, that stay here when copies leave.
    pub(crate) local: Vec<u8>,
    /// What was found out.
    pub(crate) checked: Option<Checked>,
}

impl Examined {
    /// The id that it will have.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// Its octets; whoever keeps them makes the next change move everything.
    #[must_use]
    pub fn octets(&mut self) -> Bytes {
        self.body.show()
    }

    /// What was found out about its origin.
    #[must_use]
    pub fn checked(&self) -> Option<&Checked> {
        self.checked.as_ref()
    }

    /// The fields for mailboxes here, with the reverse path that an edit puts in the place of the sender's.
    pub(crate) fn local_for(&self, edit: &Edit) -> Cow<'_, [u8]> {
        let Some(sender) = &edit.sender else { return Cow::Borrowed(&self.local) };
        let mut local = posthorn_mime::return_path(sender.as_ref().map(ToString::to_string).as_deref());
        let others = posthorn_mime::fields(&self.local).filter(|field| !field.is("Return-Path"));
        others.for_each(|field| local.extend_from_slice(field.raw));
        Cow::Owned(local)
    }

    fn edit(&mut self, edit: &Edit) {
        if edit.sender.is_some() {
            self.local = self.local_for(edit).into_owned();
        }
        if !edit.is_empty() {
            let whole = edit.apply(self.body.octets());
            self.body.replace(&whole);
        }
    }
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

impl Mail {
    /// Takes a message for all its recipients: stores it in mailboxes here, queues it for other hosts. Returns after the
    /// commit.
    ///
    /// With `each_alone` (LMTP) every recipient has an outcome of its own; otherwise all share one, and a message that
    /// cannot be stored for one of them is stored for none and leaves for none.
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
        match self.examine(envelope, body, completion).await? {
            Ok(examined) => self.take_unjudged(envelope, examined, each_alone).await,
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// Takes what was examined and is judged by nobody, the same copy for all.
    ///
    /// # Errors
    /// As [`Self::accept`].
    pub async fn take_unjudged(
        &self,
        envelope: &Envelope,
        examined: Examined,
        each_alone: bool,
    ) -> Result<std::result::Result<Accepted, Refusal>> {
        if let Some(checked) = &examined.checked {
            // Nobody applies policies here.
            let applied = Applied::none("policies are not applied");
            let octets = examined.body.octets();
            let header = &octets[..posthorn_mime::header_end(octets).unwrap_or(octets.len())];
            self.count_dmarc(checked, envelope, header, &applied);
        }
        self.take(envelope, examined, &[], each_alone).await
    }

    /// Finds out what can be about a message before anybody judges it, or why it is refused whatever is in it.
    ///
    /// # Errors
    /// When something of our own failed: the client must be told to try again.
    pub async fn examine(
        &self,
        envelope: &Envelope,
        body: Intake,
        completion: Completion,
    ) -> Result<std::result::Result<Examined, Refusal>> {
        let id = self.store.message_id();
        let fields = match complete(body.octets(), &completion, id, self.now()) {
            Ok(fields) => fields,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let (body, checked) = self.check(envelope, body).await?;
        Ok(Ok(Examined { id, body, fields, local: completion.local, checked }))
    }

    /// Takes what was examined, each recipient's copy as it is to be treated; without treatments all get the same.
    ///
    /// # Errors
    /// As [`Self::accept`].
    pub async fn take(
        &self,
        envelope: &Envelope,
        mut examined: Examined,
        treatments: &[Treatment],
        each_alone: bool,
    ) -> Result<std::result::Result<Accepted, Refusal>> {
        let groups = Group::of(envelope.recipients.len(), treatments);
        match groups.as_slice() {
            [Group { fate: Fate::Deliver, edit, .. }] => {
                let envelope = self.addressed(envelope, edit).await?;
                examined.edit(edit);
                Ok(Ok(self.take_whole(&envelope, examined, each_alone).await?))
            }
            [Group { fate: Fate::Junk, edit, .. }] => {
                let junk = self.junked(&*self.addressed(envelope, edit).await?).await?;
                examined.edit(edit);
                Ok(Ok(self.take_whole(&junk, examined, each_alone).await?))
            }
            _ => self.take_copies(envelope, examined, groups, each_alone).await,
        }
    }

    /// The same copy for everybody.
    async fn take_whole(&self, envelope: &Envelope, examined: Examined, each_alone: bool) -> Result<Accepted> {
        let Examined { id, mut body, fields, local, checked } = examined;
        let header_size = posthorn_mime::header_end(body.octets()).unwrap_or(body.len());
        let mut legs = self.legs(envelope, &body.octets()[..header_size]).await?;
        body.prepend(&fields);
        let results = checked.as_ref().map(Checked::results);
        if let Some(results) = &results {
            body.prepend(posthorn_trust::results::field(&self.shared.hostname, results).as_bytes());
        }
        if legs.leave() {
            body = self.sign(envelope, &mut legs, body, checked.as_ref()).await?;
        }
        body.prepend(&local);
        let (raw, held) = body.finish();
        let size = raw.len();
        let waits = is_kept_back(envelope, self.now());
        let stays = !waits && envelope.recipients.iter().any(|recipient| !recipient.route.places().is_empty());
        let message = if stays { self.read(id, raw.clone()).await? } else { passing(id, &raw, self.now()) };
        let placed = self.place(envelope, message, legs, each_alone).await?;
        if placed.outcomes.iter().any(std::result::Result::is_ok) {
            self.after_acceptance(envelope, &placed, &raw, checked.as_ref()).await;
        }
        drop(held);
        let Placed { id, outcomes, places, departed, header_id } = placed;
        let queued = departed.into_iter().map(|leg| leg.id).collect();
        Ok(Accepted { id, outcomes, places, queued, held: Vec::new(), message_id: header_id, size, results })
    }

    /// Stores messages that a client puts into a mailbox: all or none.
    ///
    /// # Errors
    /// As [`Self::accept`].
    pub async fn append(&self, account: AccountId, mailbox: MailboxId, messages: Vec<Append>) -> Result<Appended> {
        let mut parcel = Parcel { messages: Vec::with_capacity(messages.len()), ..Parcel::default() };
        let (mut held, mut flagged) = (Vec::new(), Vec::new());
        for append in messages {
            let (raw, reservation) = append.body.finish();
            held.push(reservation);
            let message = self.read(self.store.message_id(), raw).await?;
            flagged.push((message.id, append.flags));
            let internal_date = append.internal_date.unwrap_or(message.received_at);
            parcel
                .messages
                .push((message, vec![Target { account, mailbox, flags: append.flags, internal_date, bond: 0 }]));
        }
        let placements = self.store.deliver(parcel).await?.placements;
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
        if flagged.iter().any(|(_, flags)| flags.has_keywords()) {
            let keywords = self.look_at(account).await?.keywords();
            self.marked(account, &keywords, flagged.into_iter());
        }
        Ok(Appended::Stored { uid_validity: validity, uids })
    }

    /// Computes everything that is kept beside a message.
    pub(crate) async fn read(&self, id: MessageId, raw: Bytes) -> Result<NewMessage> {
        let now = self.now();
        if raw.len() < LARGE {
            return Ok(new_message(id, &raw, now));
        }
        tokio::task::spawn_blocking(move || new_message(id, &raw, now)).await.map_err(|_| Error::Internal)
    }
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

pub(crate) fn new_message(id: MessageId, raw: &Bytes, now: DateTime<Utc>) -> NewMessage {
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

/// A message that only passes through: no mailbox will ask what is in it.
pub(crate) fn passing(id: MessageId, raw: &Bytes, now: DateTime<Utc>) -> NewMessage {
    let header_size = posthorn_mime::header_end(raw).unwrap_or(raw.len());
    let header = raw.slice(..header_size);
    NewMessage {
        id,
        received_at: now,
        sent_at: None,
        message_id: Facts::of(&header).message_id.map(|text| text.replace('\0', "")),
        envelope: Vec::new(),
        bodystructure: Vec::new(),
        preview: String::new(),
        structure: Vec::new(),
        text: raw.slice(header_size..),
        header,
    }
}

/// A message's id as replies, traces and Message-IDs write it.
#[must_use]
pub fn id_text(id: MessageId) -> String {
    id.to_string()
}
