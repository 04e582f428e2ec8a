//! What policy orders to be done with a message that is taken: held, sent another way, or to somebody else.

use std::sync::Arc;

use posthorn_mail::envelope::{Envelope, Recipient};
use posthorn_mail::route::Route;
use posthorn_model::{Address, EnhancedCode, Notify, Refusal};

use super::Session;

impl Session {
    /// Changes an envelope as policy ordered, or says why the message cannot be taken then.
    pub(super) async fn obey(&mut self, envelope: &mut Envelope) -> posthorn_mail::Result<Result<(), Refusal>> {
        let standing = &mut self.opinion.standing;
        envelope.terms.held = standing.hold.take();
        envelope.terms.route = standing.filter.take();
        let (redirect, bcc) = (standing.redirect.take(), standing.bcc.take());
        if let Some(wanted) = redirect {
            let Some(recipient) = self.ordered(&wanted, None).await? else {
                tracing::error!(session.id = %self.connection.id(), recipient = %wanted,
                    "policy redirects a message to an address that takes none");
                let text = "the message cannot be delivered at the moment";
                return Ok(Err(Refusal::new(451, EnhancedCode(4, 3, 5), text)));
            };
            envelope.recipients = vec![recipient];
        }
        if let Some(wanted) = bcc {
            let known = envelope.recipients.iter().any(|one| one.address.eq_ignore_ascii_case(&wanted));
            match self.ordered(&wanted, Some(Notify::NEVER)).await? {
                _ if known => {}
                Some(recipient) => envelope.recipients.push(recipient),
                None => {
                    tracing::warn!(session.id = %self.connection.id(), recipient = %wanted,
                        "policy wants a copy for an address that takes none");
                    self.opinion.standing.note(format!("no copy for {wanted}, which takes none"));
                }
            }
        }
        let here = |recipient: &Recipient| !recipient.route.places().is_empty();
        if envelope.terms.route.is_some() && envelope.recipients.iter().any(here) {
            tracing::warn!(session.id = %self.connection.id(), "policy wants a filter, which mail for mailboxes here does not pass");
            self.opinion.standing.note("the filter is not for mailboxes here".to_owned());
        }
        Ok(Ok(()))
    }

    /// A recipient that nobody at the other end asked for; `None` when its mail cannot be taken.
    async fn ordered(&self, address: &str, notify: Option<Notify>) -> posthorn_mail::Result<Option<Recipient>> {
        let Ok(address) = Address::parse(address) else { return Ok(None) };
        let route = match &*self.mail.route(&address).await? {
            // It is we who send it there, not who wrote it: the sender is rewritten as for forwarded mail.
            Route::Remote => Arc::new(Route::Local { places: Vec::new(), onward: vec![address.clone()] }),
            route @ Route::Local { .. } => Arc::new(route.clone()),
            Route::Disabled | Route::Nobody | Route::Undeliverable(_) => return Ok(None),
        };
        if self.mail.room(&route, 0).await?.is_err() {
            return Ok(None);
        }
        Ok(Some(Recipient { address: address.to_string(), route, orcpt: None, notify }))
    }
}
