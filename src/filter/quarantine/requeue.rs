//! Held mail is judged anew, by what is known today: who would get it now, gets it.

use posthorn_mail::Result;
use posthorn_mail::copies::{Fate, HandedOut, Treatment};
use posthorn_mail::envelope::{Client, Envelope};
use posthorn_model::Refusal;
use posthorn_model::policy::{ClientFacts, Inquiry};

use super::Held;
use super::release::{Leave, gone};
use crate::{Case, Filter, Way};

/// What came of judging anew for one recipient.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Requeued {
    /// The recipient.
    pub recipient: String,
    /// What came of it.
    pub outcome: Again,
}

/// What judging anew comes to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Again {
    /// It was delivered, tagged or into Junk as mail of today would be.
    Delivered,
    /// It would have been, but its delivery was refused; it stays held.
    Refused(Refusal),
    /// It would not be delivered today either, and stays held; why.
    Held(String),
}

impl Filter {
    /// Judges a held message anew for those for whom it is held, of these the named ones where some are named, and delivers
    /// it to whom it may go. With `dry` nothing is delivered.
    ///
    /// Its origin is found out anew as well, from the client's address and name as they were then: what its domains say
    /// today counts.
    ///
    /// # Errors
    /// When the store failed: what was not delivered stays held, and asking again is safe.
    pub async fn requeue(&self, held: &Held, named: &[String], by: &str, dry: bool) -> Result<Vec<Requeued>> {
        let (mail, quarantine) = (&self.shared.mail, &self.shared.quarantine);
        let waiting = held.waiting(named);
        if waiting.is_empty() {
            return Ok(Vec::new());
        }
        let requeued = |recipient: &str, outcome| Requeued { recipient: recipient.to_owned(), outcome };
        let Some(octets) = quarantine.octets(held).await? else {
            return Ok(waiting.iter().map(|row| requeued(&row.recipient, Again::Refused(gone()))).collect());
        };
        let envelope = quarantine.envelope(held, &waiting).await?;
        let address = held.row.client.as_deref().and_then(|client| client.parse().ok());
        let helo = held.row.helo.clone();
        let client = address.filter(|_| !held.row.originating);
        let client = client.map(|address| Client { address, helo: helo.clone().unwrap_or_default() });
        let mut body = mail.intake();
        if let Err(refusal) = body.push(&octets) {
            return Ok(waiting.iter().map(|row| requeued(&row.recipient, Again::Refused(refusal.clone()))).collect());
        }
        let lent = mail.check_lent(&Envelope { client, ..envelope.clone() }, body).await?;
        let inquiry = Inquiry {
            client: ClientFacts { address, ..ClientFacts::default() },
            helo,
            sender: Some(held.row.sender.clone()),
            recipients: envelope.recipients.iter().map(|one| one.address.clone()).collect(),
            size: lent.octets.len() as u64,
            trusted: held.row.originating,
            ..Inquiry::default()
        };
        let case = Case {
            way: if held.row.originating { Way::Originating } else { Way::Inbound },
            inquiry: &inquiry,
            // Without its client, so that it does not count again in reports to its author's domain.
            envelope: &envelope,
            octets: &lent.octets,
            checked: lent.checked.as_ref(),
            now: mail.now(),
        };
        let judgement = self.look(&case).await;
        let mut all = Vec::with_capacity(waiting.len());
        for ((row, recipient), ruling) in waiting.into_iter().zip(&envelope.recipients).zip(judgement.rulings) {
            let outcome = match &ruling.fate {
                Fate::Deliver | Fate::Junk if dry => Again::Delivered,
                Fate::Deliver | Fate::Junk => {
                    let treatment = Treatment { fate: ruling.fate.clone(), edit: ruling.edit.clone() };
                    let top = lent.results.as_bytes();
                    let leave = Leave { octets: &lent.octets, treatment: &treatment, top, verb: "requeued", by };
                    match quarantine.leave(held, (row, recipient), &envelope, &leave).await? {
                        HandedOut::Delivered => Again::Delivered,
                        HandedOut::Refused(refusal) => Again::Refused(refusal),
                        HandedOut::Gone => continue,
                    }
                }
                Fate::Hold(_) | Fate::Refuse(_) => {
                    let why = if ruling.why.is_empty() { String::new() } else { format!(": {}", ruling.why) };
                    Again::Held(format!("{}{why}", ruling.category))
                }
            };
            all.push(requeued(&row.recipient, outcome));
        }
        Ok(all)
    }
}
