//! Envelopes of copies: details of addresses, reports that nobody is to get, and copies that go to somebody else.

use std::borrow::Cow;
use std::sync::Arc;

use posthorn_model::{Address, Notify};

use super::Edit;
use crate::envelope::Envelope;
use crate::route::{Destination, Route};
use crate::{Mail, Result};

impl Mail {
    /// The envelope as an edit has it. A detail leads into the folder of its name where there is one; who has a detail
    /// already keeps it, and the trace and reports keep the address that the sender wrote.
    pub(crate) async fn addressed<'e>(&self, envelope: &'e Envelope, edit: &Edit) -> Result<Cow<'e, Envelope>> {
        if edit.extension.is_none() && !edit.quiet && edit.to.is_none() && edit.sender.is_none() {
            return Ok(Cow::Borrowed(envelope));
        }
        let mut envelope = envelope.clone();
        if let Some(sender) = &edit.sender {
            envelope.sender.clone_from(sender);
        }
        for recipient in &mut envelope.recipients {
            if edit.quiet {
                recipient.notify = Some(Notify::NEVER);
            }
            if let Some(to) = &edit.to {
                recipient.route = self.way_to(to).await?;
                continue;
            }
            let Some(detail) = &edit.extension else { continue };
            let Ok(address) = Address::parse(&recipient.address) else { continue };
            let separator = self.section().subaddress_separator;
            if let Some(detailed) = with_detail(&address, separator, detail) {
                let route = self.route(&detailed).await?;
                if matches!(*route, Route::Local { .. }) {
                    recipient.route = route;
                }
            }
        }
        Ok(Cow::Owned(envelope))
    }

    /// The way to all of these, as if a name of ours led there.
    async fn way_to(&self, addresses: &[Address]) -> Result<Arc<Route>> {
        let (mut places, mut onward) = (Vec::new(), Vec::new());
        for address in addresses {
            let route = self.route(address).await?;
            for place in route.places() {
                if !places.iter().any(|known: &Destination| known.account == place.account) {
                    places.push(place.clone());
                }
            }
            onward.extend(route.onward().iter().cloned());
            if matches!(*route, Route::Remote) {
                onward.push(address.clone());
            }
        }
        Ok(Arc::new(Route::Local { places, onward }))
    }
}

/// `user+detail@domain`; `None` where the address has a detail already, or gets too long.
#[must_use]
pub fn with_detail(address: &Address, separator: char, detail: &str) -> Option<Address> {
    let (user, None) = address.subaddress(separator) else { return None };
    Address::new(&format!("{user}{separator}{detail}"), address.domain().clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_has_no_detail_gets_one() {
        let of = |text: &str| {
            let address = Address::parse(text).expect("an address");
            with_detail(&address, '+', "spam").map(|address| address.to_string())
        };
        assert_eq!(of("bob@example.org").as_deref(), Some("bob+spam@example.org"));
        assert_eq!(of("bob+lists@example.org"), None);
        assert_eq!(of(&format!("{}@example.org", "b".repeat(64))), None);
    }
}
