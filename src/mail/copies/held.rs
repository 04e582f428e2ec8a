//! Putting messages into the quarantine.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use posthorn_mime::Facts;
use posthorn_model::BodyType;
use posthorn_store::filter::held::{HeldFor, HeldTerms, NewHeld};
use posthorn_store::writer::{NewMessage, Parcel};

use super::{Group, Hold, Treatment};
use crate::accept::passing;
use crate::copies::Fate;
use crate::envelope::{Envelope, Source, Terms};
use crate::{Mail, Result, random};

/// Octets of a secret, and characters of the name made of it.
const SECRET: usize = 9;
const NAME: usize = 12;

impl Mail {
    /// Holds a message for some recipients of an envelope, by their places, and delivers nothing; one commit for all of
    /// them. Gives the name of what is held for each, in their order; recipients with the same reason share one.
    ///
    /// # Errors
    /// When the commit failed: the client must be told to try again.
    pub async fn hold(&self, envelope: &Envelope, octets: &Bytes, holds: &[(usize, Hold)]) -> Result<Vec<String>> {
        let treatment =
            |(_, hold): &(usize, Hold)| Treatment { fate: Fate::Hold(hold.clone()), ..Treatment::default() };
        let treatments: Vec<Treatment> = holds.iter().map(treatment).collect();
        let mut names = vec![String::new(); holds.len()];
        let mut parcel = Parcel::default();
        for Group { fate, members, .. } in Group::of(holds.len(), &treatments) {
            let Fate::Hold(hold) = fate else { continue };
            let message = passing(self.store.message_id(), octets, self.now());
            let places: Vec<usize> = members.iter().map(|at| holds[*at].0).collect();
            let new = self.new_held(envelope, &message, &hold, &places)?;
            for at in members {
                names[at].clone_from(&new.mail_id);
            }
            parcel.messages.push((message, Vec::new()));
            parcel.held.push(new);
        }
        self.store.deliver(parcel).await?;
        Ok(names)
    }

    /// The rows of a message that is to be held.
    pub(super) fn new_held(
        &self,
        envelope: &Envelope,
        message: &NewMessage,
        hold: &Hold,
        places: &[usize],
    ) -> Result<NewHeld> {
        let facts = Facts::of(&message.header);
        let (secret, mail_id) = names()?;
        let recipients = places.iter().filter_map(|at| envelope.recipients.get(*at)).map(|recipient| HeldFor {
            recipient: recipient.address.clone(),
            orcpt: recipient.orcpt.clone(),
            notify: recipient.notify,
        });
        let field = |name| posthorn_mime::header_text(&message.header, name).next().unwrap_or_default();
        Ok(NewHeld {
            message: message.id,
            mail_id,
            secret,
            at: message.received_at,
            category: hold.category,
            score: hold.score,
            why: hold.why.clone(),
            sender: envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default(),
            author: facts.from.map(|from| from.address).unwrap_or_default(),
            subject: field("Subject"),
            header_id: message.message_id.clone(),
            client: envelope.client.as_ref().map(|client| client.address.to_string()),
            helo: envelope.client.as_ref().map(|client| client.helo.clone()).filter(|helo| !helo.is_empty()),
            size: (message.header.len() + message.text.len()) as u64,
            originating: envelope.source != Source::Stranger,
            terms: kept(&envelope.terms),
            recipients: recipients.collect(),
            bond: None,
        })
    }
}

impl From<HeldTerms> for Terms {
    fn from(kept: HeldTerms) -> Self {
        let HeldTerms { body_type, smtputf8, require_tls, envid, ret, priority, deliver_by, hold_until, route } = kept;
        let body_type = body_type.unwrap_or(BodyType::SevenBit);
        let (held, junk) = (None, false);
        Self { body_type, smtputf8, require_tls, envid, ret, priority, deliver_by, hold_until, held, route, junk }
    }
}

/// What is kept of terms: whether it waits or goes into Junk is for those to say who release it.
fn kept(terms: &Terms) -> HeldTerms {
    HeldTerms {
        body_type: Some(terms.body_type),
        smtputf8: terms.smtputf8,
        require_tls: terms.require_tls,
        envid: terms.envid.clone(),
        ret: terms.ret,
        priority: terms.priority,
        deliver_by: terms.deliver_by,
        hold_until: terms.hold_until,
        route: terms.route.clone(),
    }
}

/// A secret, and the name that follows from it: letters or digits at both ends, as others demand of names.
fn names() -> Result<(String, String)> {
    loop {
        let secret = URL_SAFE_NO_PAD.encode(random::<SECRET>()?);
        let mut name = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, secret.as_bytes()));
        name.truncate(NAME);
        let fits = |text: &str| {
            let ends = [text.chars().next(), text.chars().next_back()];
            ends.into_iter().all(|end| end.is_some_and(|end| end.is_ascii_alphanumeric()))
        };
        if fits(&secret) && fits(&name) {
            return Ok((secret, name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_secrets_and_tell_nothing_of_them() {
        let (secret, name) = names().expect("random octets");
        assert_eq!((secret.len(), name.len()), (12, 12));
        assert_ne!(secret, name);
        let again = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, secret.as_bytes()));
        assert!(again.starts_with(&name));
    }
}
