//! One message's way through the filter: looked at, judged, held or handed on, and only then answered.

use std::sync::Arc;

use bytes::Bytes;
use posthorn_config::{FilterAsked, FilterPort, FilterWay};
use posthorn_filter::{Case, Category, Edit, Fate, Hold, Judgement, Settled, Way};
use posthorn_mail::envelope::{Envelope, Recipient, Source};
use posthorn_mail::lent::Lent;
use posthorn_mail::{Intake, Mail};
use posthorn_mime::Received;
use posthorn_model::{EnhancedCode, Refusal};
use posthorn_smtp::{AttributeName, Reply, Sender};
use serde_json::{Map, Value};

use super::Shared;
use super::addressed::{addressed, gathered};
use super::copies::{Copy, Sorted};
use super::forwarded::Forwarded;
use super::reinjection::{Hop, Message};
use super::tries::Tries;
use crate::attendance::Attendance;
use crate::story::Story;
use crate::terms;

/// A message that a mail server handed in.
pub(super) struct Passage {
    pub(super) shared: Arc<Shared>,
    pub(super) port: FilterPort,
    pub(super) hop: Option<Hop>,
    pub(super) session: String,
    pub(super) protocol: &'static str,
    /// What the mail server calls itself.
    pub(super) helo: Option<String>,
    pub(super) server: std::net::IpAddr,
    pub(super) forwarded: Forwarded,
    pub(super) sender: Sender,
    pub(super) recipients: Vec<posthorn_smtp::Recipient>,
    /// LMTP: each recipient has a reply.
    pub(super) each_alone: bool,
    pub(super) tries: Tries,
    pub(super) attendance: Arc<Attendance>,
}

/// What a recipient's reply is.
pub(super) type Reached = Result<String, Refusal>;

/// What no sender can help: the mail server tries again.
pub(super) fn trouble(why: &str) -> Refusal {
    Refusal::new(451, EnhancedCode(4, 5, 0), why)
}

impl Passage {
    /// One answer per recipient, in their order. Those without LMTP are all alike, or all of them yes.
    pub(super) async fn run(mut self, mut body: Intake) -> Vec<Reached> {
        let before = self.leave_out_served(&mut body).await;
        let passed = if self.recipients.is_empty() { Ok(Vec::new()) } else { self.pass(body).await };
        if let Err(refusal) = &passed {
            tracing::info!(session.id = %self.session, ident = self.forwarded.value(AttributeName::Ident), %refusal,
                "message not passed on");
        }
        let passed_on = passed.is_ok();
        let all = self.with_served(before, passed);
        if passed_on {
            self.trace(&all);
        }
        all
    }

    async fn pass(&self, body: Intake) -> Result<Vec<Reached>, Refusal> {
        let mail = &self.shared.mail;
        let envelope = self.envelope(mail).await?;
        let mut lent = mail.check_lent(&envelope, body).await.map_err(|error| self.fault(&error))?;
        let mut inquiry = self.forwarded.inquiry();
        inquiry.sender = Some(envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default());
        inquiry.recipients = envelope.recipients.iter().map(|one| one.address.clone()).collect();
        inquiry.recipient_count = u32::try_from(inquiry.recipients.len()).unwrap_or(u32::MAX);
        inquiry.size = lent.octets.len() as u64;
        inquiry.instance.clone_from(&self.session);
        inquiry.trusted = envelope.source.may_relay();
        let way = match self.port.way {
            FilterWay::Inbound => Way::Inbound,
            FilterWay::Originating => Way::Originating,
            FilterWay::List => Way::List,
        };
        let case = Case {
            way,
            inquiry: &inquiry,
            envelope: &envelope,
            octets: &lent.octets,
            checked: lent.checked.as_ref(),
            now: mail.now(),
        };
        let mut judgement = self.shared.engine.look(&case).await;
        self.attendance.give();
        self.shared.engine.hand_over(&case, &mut judgement).await;
        if judgement.rulings.len() != envelope.recipients.len() {
            return Err(trouble("the filter has no verdict on the message"));
        }
        tracing::debug!(session.id = %self.session, verdict = %judgement.verdict.category, "judged");
        let findings = judgement.findings.clone();
        let all = self.conclude(&envelope, &mut lent, self.mildened(judgement)).await;
        self.tell(&envelope, &lent.octets, findings, &all);
        all
    }

    /// Does what was ruled.
    async fn conclude(
        &self,
        envelope: &Envelope,
        lent: &mut Lent,
        judgement: Judgement,
    ) -> Result<Vec<Reached>, Refusal> {
        match judgement.settle(self.each_alone) {
            Settled::Refused(refusal) => {
                if !refusal.is_temporary() {
                    self.shared.engine.tell(&judgement, None, &[]);
                }
                Err(refusal)
            }
            Settled::Taken(treatments) => {
                let (sorted, taken) = (Sorted::of(treatments.clone()), judgement.taken.clone());
                let all = self.carry_out(envelope, lent, sorted, taken).await?;
                if !self.attendance.is_left() {
                    self.shared.engine.answered(envelope, &judgement);
                }
                if all.iter().any(Result::is_ok) {
                    self.shared.engine.accepted(&judgement.memo);
                    self.shared.engine.tell(&judgement, Some(&treatments), &[]);
                }
                Ok(all)
            }
        }
    }

    /// Behind a queue a refusal comes back to a sender who may be forged: who is refused for good is held instead. So it is
    /// where one reply answers also for those who have the message already.
    fn mildened(&self, mut judgement: Judgement) -> Judgement {
        if self.port.asked == FilterAsked::AfterQueue || !self.each_alone && self.tries.served_some() {
            for ruling in &mut judgement.rulings {
                if matches!(&ruling.fate, Fate::Refuse(refusal) if !refusal.is_temporary()) {
                    ruling.fate = Fate::Hold(ruling.hold());
                }
            }
        }
        judgement
    }

    /// Holds first: where the memory of an earlier try is lost, what is held twice is less of a nuisance than what is
    /// delivered twice.
    async fn carry_out(
        &self,
        envelope: &Envelope,
        lent: &mut Lent,
        mut sorted: Sorted,
        taken: Vec<Option<Reached>>,
    ) -> Result<Vec<Reached>, Refusal> {
        let missing = || Err(trouble("the message was not handed on"));
        let mut all: Vec<Reached> = (0..envelope.recipients.len()).map(|_| missing()).collect();
        // A filter elsewhere has handed these on already.
        for (at, answer) in taken.into_iter().enumerate().filter_map(|(at, answer)| Some((at, answer?))) {
            sorted.leave_out(at);
            all[at] = answer;
        }
        let Sorted { groups, held, refused } = sorted;
        for (at, refusal) in refused {
            all[at] = Err(refusal);
        }
        let at_once = groups.len() + usize::from(!held.is_empty()) == 1;
        // Whoever was served already must not hear the trouble of the others.
        let of_held: Vec<usize> = held.iter().map(|(at, _)| *at).collect();
        if let Err(refusal) = self.hold(envelope, &lent.octets, held, &mut all).await {
            of_held.iter().for_each(|at| all[*at] = Err(refusal.clone()));
        }
        self.note_served(&lent.octets, at_once, &of_held, &all).await;
        for (edit, places) in groups {
            match self.pass_on(envelope, lent, &edit, &places).await {
                Ok(replies) => places.iter().zip(replies).for_each(|(at, reply)| all[*at] = reply),
                Err(refusal) => places.iter().for_each(|at| all[*at] = Err(refusal.clone())),
            }
            self.note_served(&lent.octets, at_once, &places, &all).await;
        }
        if self.each_alone { Ok(all) } else { self.in_one_reply(envelope, &lent.octets, all).await }
    }

    /// Hands one copy on, to those who get the same.
    async fn pass_on(
        &self,
        envelope: &Envelope,
        lent: &mut Lent,
        edit: &Edit,
        places: &[usize],
    ) -> Result<Vec<Reached>, Refusal> {
        let top = [self.received(envelope).as_slice(), lent.results.as_bytes()].concat();
        let copy = Copy::of(&lent.octets, edit, &top);
        if !lent.reservation.grow(copy.len()) {
            return Err(Refusal::new(452, EnhancedCode(4, 3, 1), "too many large messages at the moment"));
        }
        let copy = self.signed(envelope, copy).await?;
        let replies = self.hand_on(&copy, places, edit).await?;
        Ok(replies.iter().map(|reply| self.answer(reply)).collect())
    }

    /// Outside LMTP one reply answers for all: what the next hop refused for some of them is held, so that it is not lost
    /// behind a yes. What it deferred for some comes again, and then those who are served are left out.
    async fn in_one_reply(
        &self,
        envelope: &Envelope,
        octets: &Bytes,
        mut all: Vec<Reached>,
    ) -> Result<Vec<Reached>, Refusal> {
        let refusals: Vec<&Refusal> = all.iter().filter_map(|one| one.as_ref().err()).collect();
        if let Some(first) = refusals.iter().find(|refusal| refusal.is_temporary()) {
            return Err((*first).clone());
        }
        if refusals.len() == all.len()
            && !self.tries.served_some()
            && let Some(first) = refusals.first()
        {
            return Err((*first).clone());
        }
        let late = all.iter().enumerate().filter_map(|(at, one)| {
            let refusal = one.as_ref().err()?;
            Some((at, Hold { category: TROUBLE, score: 0.0, why: format!("the next hop refused it: {refusal}") }))
        });
        let late: Vec<(usize, Hold)> = late.collect();
        let places: Vec<usize> = late.iter().map(|(at, _)| *at).collect();
        self.hold(envelope, octets, late, &mut all).await?;
        self.note_served(octets, true, &places, &all).await;
        Ok(all)
    }

    async fn hold(
        &self,
        envelope: &Envelope,
        octets: &Bytes,
        held: Vec<(usize, Hold)>,
        all: &mut [Reached],
    ) -> Result<(), Refusal> {
        if held.is_empty() {
            return Ok(());
        }
        let names = self.shared.engine.quarantine().hold(envelope, octets, &held).await;
        let names = names.map_err(|error| {
            tracing::error!(session.id = %self.session, %error, "mail cannot be held");
            trouble("the quarantine takes nothing at the moment")
        })?;
        for ((at, _), name) in held.into_iter().zip(names) {
            all[at] = Ok(format!("held as {name}"));
        }
        Ok(())
    }

    async fn signed(&self, envelope: &Envelope, copy: Copy) -> Result<Copy, Refusal> {
        if self.port.way == FilterWay::Inbound {
            return Ok(copy);
        }
        let (header, text) = (copy.header.clone(), copy.text.clone());
        let signed = self.shared.mail.sign_lent(envelope.sender.as_ref(), header, text).await;
        let top = signed.map_err(|error| self.fault(&error))?;
        let header = if top.is_empty() { copy.header } else { Bytes::from([&top[..], &copy.header].concat()) };
        Ok(Copy { header, ..copy })
    }

    async fn hand_on(&self, copy: &Copy, places: &[usize], edit: &Edit) -> Result<Vec<Reply>, Refusal> {
        let Some(hop) = &self.hop else { return Err(trouble("there is no next hop for clients on a Unix socket")) };
        let path = edit.sender.clone().unwrap_or_else(|| self.sender.path.clone());
        let sender = Sender { path, size: Some(copy.len() as u64), ..self.sender.clone() };
        let separator = self.shared.mail.section().subaddress_separator;
        let asked: Vec<&posthorn_smtp::Recipient> = places.iter().filter_map(|at| self.recipients.get(*at)).collect();
        let (stand_for, recipients): (Vec<usize>, Vec<_>) = addressed(&asked, edit, separator).into_iter().unzip();
        if recipients.is_empty() {
            return Ok(gathered(asked.len(), &[], Vec::new()));
        }
        let message = Message {
            envelope: &posthorn_smtp::Envelope { sender, recipients, chunking: false },
            forwarded: self.forwarded.attributes(),
            pieces: &[copy.header.clone(), copy.text.clone()],
        };
        let replies = self.shared.reinjection.send(hop, &message).await;
        let replies = replies.map_err(|why| {
            tracing::warn!(session.id = %self.session, %hop, why, "judged mail cannot be handed on");
            trouble(&format!("{hop} does not take it: {why}"))
        })?;
        Ok(gathered(asked.len(), &stand_for, replies))
    }

    /// The next hop's reply in ours.
    fn answer(&self, reply: &Reply) -> Reached {
        let from = self.hop.as_ref().map(ToString::to_string).unwrap_or_default();
        let enhanced = reply.enhanced.map(|code| format!("{code} ")).unwrap_or_default();
        let text = format!("from MTA({from}): {} {enhanced}{}", reply.code, reply.text.replace('\n', " "));
        match reply.refusal() {
            None if reply.is_positive() => Ok(text),
            None => Err(trouble(&text)),
            Some(refusal) => Err(Refusal::new(refusal.code, refusal.enhanced, text)),
        }
    }

    async fn envelope(&self, mail: &Mail) -> Result<Envelope, Refusal> {
        let mut recipients = Vec::with_capacity(self.recipients.len());
        for recipient in &self.recipients {
            let route = match &recipient.target {
                posthorn_smtp::Target::Address(address) => mail.route(address).await,
                posthorn_smtp::Target::Postmaster => mail.route_postmaster().await,
            };
            let route = route.map_err(|error| self.fault(&error))?;
            recipients.push(Recipient {
                address: recipient.target.to_string(),
                route,
                orcpt: recipient.orcpt.as_ref().map(terms::original),
                notify: recipient.notify.map(terms::notify),
            });
        }
        let (source, client) = match self.port.way {
            FilterWay::Inbound => (Source::Stranger, self.forwarded.client()),
            FilterWay::Originating | FilterWay::List => (Source::Relay, None),
        };
        let (sender, terms) = (self.sender.path.clone(), terms::of(&self.sender, mail.now())?);
        Ok(Envelope { sender, recipients, source, client, terms, ..Envelope::default() })
    }

    fn received(&self, envelope: &Envelope) -> Vec<u8> {
        let only = match envelope.recipients.as_slice() {
            [only] => Some(only.address.as_str()),
            _ => None,
        };
        posthorn_mime::received(&Received {
            from_helo: self.helo.as_deref(),
            from_ip: Some(self.server),
            from_name: None,
            by: &self.shared.settings.hostname,
            protocol: self.protocol,
            tls: None,
            id: &self.session,
            for_: only,
            date: self.shared.mail.now(),
        })
    }

    fn fault(&self, error: &posthorn_mail::Error) -> Refusal {
        tracing::error!(session.id = %self.session, %error, "a message cannot be judged");
        trouble("local error, try again later")
    }

    /// Tells the trace what was found, and what became of the message.
    fn tell(
        &self,
        envelope: &Envelope,
        octets: &[u8],
        findings: Map<String, Value>,
        all: &Result<Vec<Reached>, Refusal>,
    ) {
        let outcomes = match all {
            Ok(all) => {
                let recipients = envelope.recipients.iter();
                recipients.zip(all).map(|(one, reached)| format!("{}: {}", one.address, words(reached))).collect()
            }
            Err(refusal) => vec![refusal.to_string()],
        };
        let story = Story {
            protocol: self.protocol,
            session: &self.session,
            queue_id: self.forwarded.value(AttributeName::Ident),
            client: self.forwarded.client_address(),
            findings,
            outcomes,
        };
        story.tell(&self.shared.mail, envelope, octets);
    }

    fn trace(&self, all: &[Reached]) {
        let outcomes: Vec<String> = all.iter().map(words).collect();
        let recipients: Vec<String> = self.recipients.iter().map(|one| one.target.to_string()).collect();
        tracing::info!(target: "posthorn::trace", { session.id = %self.session,
            ident = self.forwarded.value(AttributeName::Ident),
            client.ip = self.forwarded.client_address().map(tracing::field::display),
            helo = self.forwarded.value(AttributeName::Helo),
            sender = self.sender.path.as_ref().map(tracing::field::display),
            recipients = ?recipients, outcomes = ?outcomes }, "message filtered");
    }
}

fn words(one: &Reached) -> String {
    match one {
        Ok(text) => text.clone(),
        Err(refusal) => refusal.to_string(),
    }
}

/// The number of the category for what could not be handed on.
const TROUBLE: i16 = Category::Trouble.code();
