//! What is made of a message that a milter's client told: a verdict, and the changes before it.

use std::sync::Arc;

use bytes::Bytes;
use posthorn_config::MilterHold;
use posthorn_filter::{Case, Edit, Filter, Judgement, Settled, Way};
use posthorn_mail::envelope::{Client, Envelope, Recipient, Source, Terms};
use posthorn_mail::lent::Lent;
use posthorn_mail::{Intake, Mail};
use posthorn_milter::{Actions, Answer, Change, Reply};
use posthorn_model::policy::Inquiry;
use posthorn_model::{Address, EnhancedCode, Refusal};

use super::addressed::{Path, readdressed, strays};
use super::changes;
use crate::attendance::Attendance;
use crate::filter::{Copy, Sorted};
use crate::story::Story;
use crate::terms;

/// A message as the mail server told it.
pub(super) struct Told {
    pub(super) mail: Mail,
    pub(super) engine: Filter,
    pub(super) hold: MilterHold,
    pub(super) session: String,
    pub(super) inquiry: Inquiry,
    /// What MAIL asked.
    pub(super) terms: Terms,
    /// RCPT's paths, as they were told.
    pub(super) paths: Vec<Path>,
    /// What the mail server lets us change.
    pub(super) allowed: Actions,
    /// Values keep the space behind their colon.
    pub(super) spaced: bool,
    pub(super) attendance: Attendance,
}

/// What is said at the message's end.
pub(super) struct Said {
    pub(super) changes: Vec<Change>,
    pub(super) answer: Answer,
}

impl Said {
    fn refused(refusal: &Refusal) -> Self {
        let text: String = refusal.text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let written = format!("{} {} {text}", refusal.code, refusal.enhanced).replace('%', "%%");
        let otherwise = if refusal.is_temporary() { Answer::Tempfail } else { Answer::Reject };
        Self { changes: Vec::new(), answer: Reply::parse(written).map_or(otherwise, Answer::Reply) }
    }

    /// What the trace says of it.
    fn words(&self) -> String {
        let answer = match &self.answer {
            Answer::Continue | Answer::Accept | Answer::Skip => "goes on".to_owned(),
            Answer::Discard => "held".to_owned(),
            Answer::Reply(reply) => reply.text().replace("%%", "%"),
            Answer::Reject => "refused".to_owned(),
            Answer::Tempfail | Answer::Shutdown | Answer::ConnectionFailed => "comes again".to_owned(),
        };
        match self.changes.len() {
            0 => answer,
            changes => format!("{answer}, with {changes} changes"),
        }
    }

    fn later() -> Self {
        Self { changes: Vec::new(), answer: Answer::Tempfail }
    }
}

impl Told {
    /// Judges it.
    pub(super) async fn judge(self: Arc<Self>, body: Intake) -> Said {
        match self.try_judge(body).await {
            Ok(said) => said,
            Err(refusal) => Said::refused(&refusal),
        }
    }

    async fn try_judge(&self, body: Intake) -> Result<Said, Refusal> {
        let envelope = self.envelope().await?;
        let lent = self.mail.check_lent(&envelope, body).await.map_err(|error| self.fault(&error))?;
        let way = if envelope.source.may_relay() { Way::Originating } else { Way::Inbound };
        let case = Case {
            way,
            inquiry: &self.inquiry,
            envelope: &envelope,
            octets: &lent.octets,
            checked: lent.checked.as_ref(),
            now: self.mail.now(),
        };
        let mut judgement = self.engine.look(&case).await;
        self.attendance.give();
        self.engine.hand_over(&case, &mut judgement).await;
        if judgement.rulings.len() != envelope.recipients.len() {
            return Ok(Said::later());
        }
        tracing::info!(target: "posthorn::trace", { session.id = %self.session, foreign.queue_id = self.inquiry.queue_id,
            client.ip = self.inquiry.client.address.map(tracing::field::display), sender = self.inquiry.sender,
            recipients = ?self.inquiry.recipients, verdict = %judgement.verdict.category }, "message judged for a mail server");
        let findings = judgement.findings.clone();
        let said = self.conclude(&envelope, &lent, judgement).await;
        let outcome = match &said {
            Ok(said) => said.words(),
            Err(refusal) => refusal.to_string(),
        };
        let story = Story {
            protocol: "milter",
            session: &self.session,
            queue_id: self.inquiry.queue_id.as_deref(),
            client: self.inquiry.client.address,
            findings,
            outcomes: vec![outcome],
        };
        story.tell(&self.mail, &envelope, &lent.octets);
        said
    }

    /// Does what was ruled.
    async fn conclude(&self, envelope: &Envelope, lent: &Lent, judgement: Judgement) -> Result<Said, Refusal> {
        match judgement.settle(false) {
            Settled::Refused(refusal) => {
                if !refusal.is_temporary() {
                    self.engine.tell(&judgement, None, &[]);
                }
                Ok(Said::refused(&refusal))
            }
            Settled::Taken(treatments) => {
                let (sorted, taken) = (Sorted::of(treatments.clone()), &judgement.taken);
                let said = self.carry_out(envelope, lent, sorted, taken).await?;
                if !self.attendance.is_left() {
                    self.engine.answered(envelope, &judgement);
                }
                self.engine.accepted(&judgement.memo);
                self.engine.tell(&judgement, Some(&treatments), &[]);
                Ok(said)
            }
        }
    }

    async fn carry_out(
        &self,
        envelope: &Envelope,
        lent: &Lent,
        mut sorted: Sorted,
        taken: &[Option<Result<String, Refusal>>],
    ) -> Result<Said, Refusal> {
        // A filter elsewhere has handed these on already.
        let mut gone: Vec<usize> = (0..taken.len()).filter(|at| matches!(taken[*at], Some(Ok(_)))).collect();
        gone.iter().for_each(|at| sorted.leave_out(*at));
        if gone.is_empty()
            && let Some(refusal) = taken.iter().flatten().find_map(|one| one.as_ref().err())
        {
            return Err(refusal.clone());
        }
        let Sorted { groups, held, .. } = sorted;
        let there = self.hold == MilterHold::There && self.allowed.contains(Actions::QUARANTINE);
        if groups.is_empty() && gone.is_empty() && there {
            let why = held.first().map(|(_, hold)| hold.why.clone()).unwrap_or_default();
            let changes = vec![Change::Quarantine(Bytes::from(why))];
            return Ok(Said { changes, answer: Answer::Continue });
        }
        gone.extend(held.iter().map(|(at, _)| *at));
        if !groups.is_empty() && !gone.is_empty() && !self.allowed.contains(Actions::DELETE_RECIPIENTS) {
            // Who is not to have it would get it: then nobody does, and the sender hears of it.
            let why = held.first().map_or("some of the recipients do not want it", |(_, hold)| &hold.why);
            return Err(Refusal::new(554, EnhancedCode(5, 7, 0), why.to_owned()));
        }
        let astray = |(edit, places): &(Edit, Vec<usize>)| {
            places.iter().filter_map(|at| self.paths.get(*at)).any(|one| strays(one, edit, self.allowed))
        };
        if groups.iter().any(astray) {
            let why = "it is to go to others, and this server does not let its filter send it there";
            return Err(Refusal::new(554, EnhancedCode(5, 7, 0), why));
        }
        if !held.is_empty() {
            self.engine.quarantine().hold(envelope, &lent.octets, &held).await.map_err(|error| {
                tracing::error!(session.id = %self.session, %error, "mail cannot be held");
                Refusal::new(451, EnhancedCode(4, 5, 0), "the quarantine takes nothing at the moment")
            })?;
        }
        // A mail server has one header for all: the first group's.
        let Some((edit, _)) = groups.first() else {
            // It lies in our quarantine, all of it.
            return Ok(Said { changes: Vec::new(), answer: Answer::Discard });
        };
        let header_size = posthorn_mime::header_end(&lent.octets).unwrap_or(lent.octets.len());
        let mut above = lent.results.clone().into_bytes();
        if envelope.source.may_relay() {
            let Copy { header, text } = Copy::of(&lent.octets, edit, &above);
            let signed = self.mail.sign_lent(envelope.sender.as_ref(), header, text).await;
            above = [signed.map_err(|error| self.fault(&error))?, above].concat();
        }
        let mut changes = changes::of(&lent.octets[..header_size], edit, &above, self.spaced);
        let gone = gone.iter().filter_map(|at| self.paths.get(*at));
        changes.extend(gone.map(|one| Change::DeleteRecipient(one.path.clone())));
        let sender = edit.sender.as_ref().filter(|_| self.allowed.contains(Actions::CHANGE_SENDER));
        let path = |sender: &Option<Address>| sender.as_ref().map(ToString::to_string).unwrap_or_default();
        changes.extend(sender.map(|sender| Change::Sender(Bytes::from(format!("<{}>", path(sender))), None)));
        let separator = self.mail.section().subaddress_separator;
        for (edit, places) in &groups {
            let all = places.iter().filter_map(|at| self.paths.get(*at));
            changes.extend(all.flat_map(|one| readdressed(one, edit, separator, self.allowed)));
        }
        Ok(Said { changes, answer: Answer::Continue })
    }

    async fn envelope(&self) -> Result<Envelope, Refusal> {
        let mut recipients = Vec::with_capacity(self.paths.len());
        for (address, path) in self.inquiry.recipients.iter().zip(&self.paths) {
            let route = match Address::parse(address) {
                Ok(address) => self.mail.route(&address).await,
                // A local part alone is the mail server's own business.
                Err(_) => self.mail.route_postmaster().await,
            };
            let route = route.map_err(|error| self.fault(&error))?;
            let (notify, orcpt) = terms::reports(&path.parameters);
            recipients.push(Recipient { address: address.clone(), route, orcpt, notify });
        }
        let sender = self.inquiry.sender.as_deref().and_then(|sender| Address::parse(sender).ok());
        let helo = self.inquiry.helo.clone().unwrap_or_default();
        let (source, client) = match self.inquiry.client.address {
            _ if self.inquiry.trusted => (Source::Relay, None),
            Some(address) => (Source::Stranger, Some(Client { address, helo })),
            None => (Source::Stranger, None),
        };
        Ok(Envelope { sender, recipients, source, client, terms: self.terms.clone(), ..Envelope::default() })
    }

    fn fault(&self, error: &posthorn_mail::Error) -> Refusal {
        tracing::error!(session.id = %self.session, %error, "a message cannot be judged");
        Refusal::new(451, EnhancedCode(4, 5, 0), "local error, try again later")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_said_in_words_that_a_milter_may_say() {
        let said = Said::refused(&Refusal::new(554, EnhancedCode(5, 7, 0), "100% spam\r\n250 fine"));
        let Answer::Reply(reply) = said.answer else { panic!("{:?}", said.answer) };
        assert_eq!(reply.text(), "554 5.7.0 100%% spam  250 fine");
    }
}
