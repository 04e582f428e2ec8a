//! Held mail goes to others than those for whom it is held, because who knows its secret wants that. It stays held.

use posthorn_mail::Result;
use posthorn_mail::envelope::{Envelope, Recipient, Terms};
use posthorn_mail::route::Route;
use posthorn_model::{Address, EnhancedCode, Refusal};

use super::release::gone;
use super::{Held, Quarantine, Release, Released, is_named};

impl Quarantine {
    /// Delivers a copy of a held message to each of the named recipients of an order for whom it never was held, with a
    /// block of Resent fields, as often as it is ordered.
    ///
    /// # Errors
    /// When the store failed: some may have it by then.
    pub async fn send_on(&self, held: &Held, order: &Release) -> Result<Vec<Released>> {
        let others: Vec<&String> = order.recipients.iter().filter(|name| !held.is_for(name)).collect();
        if others.is_empty() {
            return Ok(Vec::new());
        }
        let Some(octets) = self.octets(held).await? else {
            let released = |name: &&String| Released { recipient: (*name).clone(), outcome: Err(gone()) };
            return Ok(others.iter().map(released).collect());
        };
        let whole = self.envelope(held, &[]).await?;
        let sender = match &order.sender {
            Some(sender) => Address::parse(sender).ok(),
            None => whole.sender.clone(),
        };
        let mut all = Vec::with_capacity(others.len());
        for name in others {
            let outcome = match Address::parse(name) {
                Ok(address) => self.send_copy(held, &octets, (&address, sender.clone()), (&whole, order)).await?,
                Err(_) => Err(nobody(name)),
            };
            all.push(Released { recipient: name.clone(), outcome });
        }
        Ok(all)
    }

    async fn send_copy(
        &self,
        held: &Held,
        octets: &[u8],
        (to, sender): (&Address, Option<Address>),
        (whole, order): (&Envelope, &Release),
    ) -> Result<std::result::Result<(), Refusal>> {
        let route = self.mail.route(to).await?;
        if !matches!(*route, Route::Local { .. } | Route::Remote) {
            return Ok(Err(nobody(&to.to_string())));
        }
        // What the sender asked about its own recipients is not about these.
        let Terms { body_type, smtputf8, require_tls, .. } = whole.terms.clone();
        let mut one = Envelope {
            sender,
            recipients: vec![Recipient { address: to.to_string(), route, orcpt: None, notify: None }],
            terms: Terms {
                body_type,
                smtputf8: smtputf8 || !to.to_string().is_ascii(),
                require_tls,
                ..Terms::default()
            },
            ..whole.clone()
        };
        one.story.insert("sent_on".to_owned(), held.row.mail_id.clone().into());
        one.story.insert("sent_on_by".to_owned(), order.by.as_str().into());
        let mut completion = self.completion(&one, &one.recipients[0].address)?;
        completion.top.extend_from_slice(format!("X-Quarantine-ID: <{}>\r\n", held.row.mail_id).as_bytes());
        let mut body = self.mail.intake();
        if let Err(refusal) = body.push(octets) {
            return Ok(Err(refusal));
        }
        let accepted = self.mail.accept(&one, body, completion, true).await?;
        Ok(accepted.and_then(|accepted| accepted.outcomes.into_iter().next().unwrap_or(Ok(()))))
    }
}

impl Held {
    /// Whether it is or was held for whom this names: an address, or `@` and a domain.
    #[must_use]
    pub fn is_for(&self, name: &str) -> bool {
        self.recipients.iter().any(|row| is_named(&row.recipient, name))
    }
}

fn nobody(name: &str) -> Refusal {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(300).collect();
    Refusal::new(550, EnhancedCode(5, 1, 1), format!("nobody receives mail for {shown}"))
}
