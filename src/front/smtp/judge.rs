//! What becomes of a message when it is whole: examined, judged by the filter, and taken as that rules.
//!
//! Both may take long. A client that hangs up meanwhile comes again with the message, so that it must not be stored
//! (RFC 1047).

use bytes::Bytes;
use chrono::{DateTime, Utc};
use posthorn_filter::{Case, Settled, Way};
use posthorn_mail::accept::{Accepted, Completion};
use posthorn_mail::checks::Checked;
use posthorn_mail::envelope::{Envelope, Source};
use posthorn_mail::{Intake, Result};
use posthorn_model::policy::Inquiry;
use posthorn_model::{EnhancedCode, Refusal};

use super::Session;

impl Session {
    /// Takes a message, as the filter rules where one is asked. The findings go into the envelope's story.
    pub(super) async fn take(
        &mut self,
        envelope: &mut Envelope,
        body: Intake,
        completion: Completion,
        each_alone: bool,
    ) -> Result<std::result::Result<Accepted, Refusal>> {
        let size = body.len();
        let examining = self.mail.examine(envelope, body, completion);
        let mut examined = match self.connection.attend(&mut self.server, examining).await {
            Ok(examined) => match examined? {
                Ok(examined) => examined,
                Err(refusal) => return Ok(Err(refusal)),
            },
            Err(_) => return Ok(Err(self.unheard(envelope, size))),
        };
        let Some(filter) = self.filter.clone() else {
            if self.connection.has_hung_up(&mut self.server) {
                return Ok(Err(self.unheard(envelope, size)));
            }
            return self.mail.take_unjudged(envelope, examined, each_alone).await;
        };
        let octets = examined.octets();
        let size = octets.len();
        let inquiry = self.opinion.inquiry.take().unwrap_or_else(|| Box::new(self.inquiry()));
        let case = case(envelope, &octets, &inquiry, examined.checked(), self.mail.now());
        let looked = self.connection.attend(&mut self.server, filter.look(&case)).await;
        let judgement = match looked {
            Ok(mut judgement) if !self.connection.has_hung_up(&mut self.server) => {
                // What another filter is given is not given up half way.
                filter.hand_over(&case, &mut judgement).await;
                Some(judgement)
            }
            _ => None,
        };
        self.opinion.inquiry = Some(inquiry);
        drop(octets);
        let Some(judgement) = judgement else { return Ok(Err(self.unheard(envelope, size))) };
        if !judgement.findings.is_empty() {
            envelope.story.insert("filter".to_owned(), judgement.findings.clone().into());
        }
        let treatments = match judgement.settle(each_alone) {
            Settled::Taken(treatments) => treatments,
            Settled::Refused(refusal) => {
                self.mail.tell_refused(envelope, examined.id(), size, &refusal);
                if !refusal.is_temporary() {
                    filter.tell(&judgement, None, &[]);
                }
                return Ok(Err(refusal));
            }
        };
        let gone = |at: &usize| matches!(judgement.taken.get(*at), Some(Some(Ok(_))));
        let places: Vec<usize> = (0..envelope.recipients.len()).filter(|at| !gone(at)).collect();
        if !places.is_empty() && self.connection.has_hung_up(&mut self.server) {
            return Ok(Err(self.unheard(envelope, size)));
        }
        if places.len() == envelope.recipients.len() {
            let taken = self.mail.take(envelope, examined, &treatments, each_alone).await?;
            if let Ok(accepted) = &taken
                && accepted.outcomes.iter().any(std::result::Result::is_ok)
            {
                filter.accepted(&judgement.memo);
                filter.tell(&judgement, Some(&treatments), &accepted.held);
            }
            return Ok(taken);
        }
        // Another filter has the others, and answered for them: whatever becomes of the rest, they do not get it twice.
        let mut outcomes = vec![Ok(()); envelope.recipients.len()];
        let none = Accepted {
            id: examined.id(),
            outcomes: Vec::new(),
            places: Vec::new(),
            queued: Vec::new(),
            held: Vec::new(),
            message_id: None,
            size,
            results: None,
        };
        let accepted = if places.is_empty() {
            none
        } else {
            let recipients = places.iter().map(|at| envelope.recipients[*at].clone()).collect();
            let rest = Envelope { recipients, ..envelope.clone() };
            let treatments: Vec<_> = places.iter().map(|at| treatments[*at].clone()).collect();
            // With LMTP the others hear that they were served.
            match self.mail.take(&rest, examined, &treatments, each_alone).await {
                Ok(Ok(accepted)) => accepted,
                Ok(Err(refusal)) if each_alone => Accepted { outcomes: vec![Err(refusal); places.len()], ..none },
                Err(error) if each_alone => Accepted { outcomes: vec![Err(self.fault(&error)); places.len()], ..none },
                failed => return failed,
            }
        };
        for (at, outcome) in places.into_iter().zip(&accepted.outcomes) {
            outcomes[at].clone_from(outcome);
        }
        if each_alone || outcomes.iter().all(std::result::Result::is_ok) {
            if !self.connection.has_hung_up(&mut self.server) {
                filter.answered(envelope, &judgement);
            }
            filter.accepted(&judgement.memo);
            filter.tell(&judgement, Some(&treatments), &accepted.held);
        }
        Ok(Ok(Accepted { outcomes, ..accepted }))
    }

    /// Drops a message that nobody waits for any more, and tells the trace so.
    fn unheard(&self, envelope: &Envelope, size: usize) -> Refusal {
        self.mail.tell_unheard(envelope, size);
        tracing::info!(session.id = %self.connection.id(), peer.ip = %self.connection.peer().address,
            "the client hung up before its message was answered, nothing is stored");
        Refusal::new(451, EnhancedCode(4, 4, 2), "the connection was closed before the message was answered")
    }
}

fn case<'c>(
    envelope: &'c Envelope,
    octets: &'c Bytes,
    inquiry: &'c Inquiry,
    checked: Option<&'c Checked>,
    now: DateTime<Utc>,
) -> Case<'c> {
    let way = match envelope.source {
        Source::Stranger => Way::Inbound,
        Source::Account(_) | Source::Relay => Way::Originating,
    };
    Case { way, inquiry, envelope, octets, checked, now }
}
