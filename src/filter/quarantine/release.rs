//! Held mail goes to those for whom it is held.

use bytes::Bytes;
use posthorn_mail::Result;
use posthorn_mail::accept::Completion;
use posthorn_mail::copies::{HandedOut, Treatment};
use posthorn_mail::envelope::{Envelope, Recipient};
use posthorn_mail::route::Route;
use posthorn_mime::Received;
use posthorn_model::{Address, EnhancedCode, Refusal};
use posthorn_store::filter::held::{HeldRecipientRow, NewRelease};

use super::{Held, Quarantine, Release, Released};

/// Most hops and most header of a message that was accepted once: what let it in has judged that.
const ANY: usize = usize::MAX;

/// How a message leaves the quarantine.
pub(super) struct Leave<'a> {
    pub(super) octets: &'a Bytes,
    pub(super) treatment: &'a Treatment,
    /// Fields on top, each with its CRLF.
    pub(super) top: &'a [u8],
    /// What the trace calls it.
    pub(super) verb: &'a str,
    pub(super) by: &'a str,
}

impl Quarantine {
    /// Delivers a held message to those for whom it is held, without judging it again, and with a block of Resent fields
    /// (RFC 5322 §3.6.6). Each delivery and the end of holding are one commit. Whoever asks has been found to be allowed to.
    ///
    /// # Errors
    /// When the store failed: what was not delivered stays held, and asking again is safe.
    pub async fn release(&self, held: &Held, order: &Release) -> Result<Vec<Released>> {
        let waiting = held.waiting(&order.recipients);
        if waiting.is_empty() {
            return Ok(Vec::new());
        }
        let Some(octets) = self.octets(held).await? else {
            return Ok(waiting.iter().map(|row| released(row, Err(gone()))).collect());
        };
        let mut envelope = self.envelope(held, &waiting).await?;
        if let Some(sender) = &order.sender {
            replace_sender(&mut envelope, Address::parse(sender).ok());
        }
        let leave =
            Leave { octets: &octets, treatment: &Treatment::default(), top: &[], verb: "released", by: &order.by };
        let mut all = Vec::with_capacity(waiting.len());
        for (row, recipient) in waiting.into_iter().zip(&envelope.recipients) {
            match self.leave(held, (row, recipient), &envelope, &leave).await? {
                HandedOut::Delivered => all.push(released(row, Ok(()))),
                HandedOut::Refused(refusal) => all.push(released(row, Err(refusal))),
                // Of two who release at once, one finds nothing to do.
                HandedOut::Gone => {}
            }
        }
        Ok(all)
    }

    /// One recipient's copy. It has an answer of its own, and fields that tell nobody of others.
    pub(super) async fn leave(
        &self,
        held: &Held,
        (row, recipient): (&HeldRecipientRow, &Recipient),
        envelope: &Envelope,
        leave: &Leave<'_>,
    ) -> Result<HandedOut> {
        if !matches!(*recipient.route, Route::Local { .. } | Route::Remote) {
            let text = format!("nobody receives mail for {}", recipient.address);
            return Ok(HandedOut::Refused(Refusal::new(550, EnhancedCode(5, 1, 1), text)));
        }
        let mut one = Envelope { recipients: vec![recipient.clone()], ..envelope.clone() };
        one.story.insert(leave.verb.to_owned(), held.row.mail_id.clone().into());
        one.story.insert(format!("{}_by", leave.verb), leave.by.into());
        let mut completion = self.completion(&one, &recipient.address)?;
        completion.top.extend_from_slice(format!("X-Quarantine-ID: <{}>\r\n", held.row.mail_id).as_bytes());
        completion.top.extend_from_slice(leave.top);
        let release =
            NewRelease { message: held.row.message, place: row.place, by: leave.by.to_owned(), at: self.mail.now() };
        self.mail.hand_out(&one, leave.octets, completion, leave.treatment, release).await
    }

    /// What no other message has.
    pub(super) fn unique(&self) -> Result<String> {
        let mut octets = [0_u8; 9];
        getrandom::fill(&mut octets).map_err(|_| posthorn_mail::Error::Randomness)?;
        Ok(octets.iter().map(|octet| format!("{octet:02x}")).collect())
    }

    pub(super) fn completion(&self, envelope: &Envelope, recipient: &str) -> Result<Completion> {
        let now = self.mail.now();
        let unique = self.unique()?;
        let mut top = posthorn_mime::received(&Received {
            from_helo: None,
            from_ip: None,
            from_name: None,
            by: &self.hostname,
            protocol: "quarantine",
            tls: None,
            id: &unique,
            for_: Some(recipient),
            date: now,
        });
        let date = posthorn_mime::date_text(now);
        let resent = format!(
            "Resent-From: <postmaster@{host}>\r\nResent-Date: {date}\r\nResent-Message-ID: <{unique}@{host}>\r\n\
             Resent-To: <{recipient}>\r\n",
            host = self.hostname
        );
        top.extend_from_slice(resent.as_bytes());
        let sender = envelope.sender.as_ref().map(ToString::to_string);
        let mut local = posthorn_mime::return_path(sender.as_deref());
        local.extend_from_slice(&posthorn_mime::delivered_to(recipient));
        Ok(Completion { local, top, complete_for: None, require_headers: false, max_hops: ANY, max_header: ANY })
    }
}

/// What the old sender wanted to hear is nothing to another one.
fn replace_sender(envelope: &mut Envelope, sender: Option<Address>) {
    if envelope.sender == sender {
        return;
    }
    envelope.sender = sender;
    (envelope.terms.envid, envelope.terms.ret) = (None, None);
    envelope.recipients.iter_mut().for_each(|recipient| recipient.notify = None);
}

pub(super) fn gone() -> Refusal {
    Refusal::new(550, EnhancedCode(5, 6, 0), "the message is gone")
}

fn released(row: &HeldRecipientRow, outcome: std::result::Result<(), Refusal>) -> Released {
    Released { recipient: row.recipient.clone(), outcome }
}
