//! Mail for mailboxes here that was kept back until its time (RFC 4865): the courier says when, and then it is placed. The
//! placement and the end of the delivery are one commit, so that it comes once, whatever fails between.

use std::sync::Arc;

use bytes::Bytes;
use posthorn_model::{Address, ClaimId, EnhancedCode, Flags, Refusal};
use posthorn_report::Action;
use posthorn_store::chronicle::TraceEntry;
use posthorn_store::queue::{self, Completion, Delivery, Outcome, Outgoing};
use posthorn_store::writer::{Parcel, Target};

use crate::accept::id_text;
use crate::departures::Octets;
use crate::envelope::{Envelope, Recipient, Source, Terms};
use crate::legs::KEPT_FOR_JUNK;
use crate::report::Finding;
use crate::route::{Destination, Route};
use crate::trace::object;
use crate::{Error, Mail, Result};

/// What became of a delivery whose time has come.
#[derive(Debug)]
pub enum Arrival {
    /// It lies in its mailboxes, and its delivery is over: nothing is left to record.
    Placed,
    /// Not yet, or never, as the refusal's code says.
    Refused(Refusal),
    /// There is no memory for it at the moment.
    Busy,
    /// There is no message any more.
    Lost,
}

impl Mail {
    /// Places a message that was kept back for a recipient here, and completes its delivery, which is in the hand of
    /// `claim`. Where the recipient's mail goes is looked up anew.
    ///
    /// # Errors
    /// When the store cannot be read, or the commit failed or its outcome is unknown: asking again is safe, as long as the
    /// claim is held.
    pub async fn arrive(&self, outgoing: &Outgoing, delivery: &Delivery, claim: ClaimId) -> Result<Arrival> {
        let Ok(address) = Address::parse(&delivery.recipient) else { return Ok(Arrival::Refused(nobody())) };
        let mut held = self.shared.budget.reserve();
        if !held.grow(usize::try_from(outgoing.size).unwrap_or(usize::MAX).saturating_mul(2)) {
            return Ok(Arrival::Busy);
        }
        let mut connection = self.store.acquire().await?;
        let Some(stored) = queue::body(&mut connection, outgoing.message).await? else { return Ok(Arrival::Lost) };
        drop(connection);
        let raw = Bytes::from(stored.whole);
        if (raw.len() as u64) < outgoing.size {
            return Err(Error::Structure);
        }
        let route = self.way_in(outgoing, &address).await?;
        match self.settle_in(outgoing, delivery, claim, (&route, &raw)).await? {
            Arrival::Refused(_) => {}
            other => return Ok(other),
        }
        // A folder may be gone, or an account: what is remembered of the way is a minute old at most.
        self.shared.routes.clear();
        self.shared.junk.forget();
        let route = self.way_in(outgoing, &address).await?;
        self.settle_in(outgoing, delivery, claim, (&route, &raw)).await
    }

    /// Where it goes; as it was ruled when it came, into Junk.
    async fn way_in(&self, outgoing: &Outgoing, address: &Address) -> Result<Arc<Route>> {
        let route = self.route(address).await?;
        match outgoing.top.as_deref() == Some(KEPT_FOR_JUNK) {
            true => self.junked_route(&route).await,
            false => Ok(route),
        }
    }

    async fn settle_in(
        &self,
        outgoing: &Outgoing,
        delivery: &Delivery,
        claim: ClaimId,
        (route, raw): (&Arc<Route>, &Bytes),
    ) -> Result<Arrival> {
        match &**route {
            Route::Local { .. } => {}
            Route::Disabled => return Ok(refused(550, EnhancedCode(5, 2, 1), "the mailbox is switched off")),
            Route::Nobody => return Ok(Arrival::Refused(nobody())),
            Route::Remote => return Ok(refused(550, EnhancedCode(5, 1, 2), "the domain is no longer served here")),
            Route::Undeliverable(why) => return Ok(refused(550, EnhancedCode(5, 4, 6), why)),
        }
        if let Err(refusal) = self.room(route, raw.len() as u64).await? {
            return Ok(Arrival::Refused(refusal));
        }
        let now = self.now();
        let message = self.read(self.store.message_id(), raw.clone()).await?;
        let (id, octets) = (message.id, Octets::leaving(message.header.clone(), message.text.clone()));
        let target = |place: &Destination| Target {
            account: place.account,
            mailbox: place.mailbox,
            flags: Flags::none(),
            internal_date: now,
            bond: 0,
        };
        let targets: Vec<Target> = route.places().iter().map(target).collect();
        let onward = if targets.is_empty() {
            // Since it was sent, the recipient has begun to send everything on.
            let envelope = as_envelope(outgoing, delivery, route);
            let legs = self.legs(&envelope, &octets.header).await?;
            legs.legs.iter().map(|leg| self.outgoing(leg, &envelope, &message)).collect()
        } else {
            Vec::new()
        };
        if targets.is_empty() && onward.is_empty() {
            return Ok(refused(554, EnhancedCode(5, 4, 6), "the recipient's mail goes in circles"));
        }
        let completion = Completion {
            delivery: delivery.id,
            claim,
            at: now,
            binding: None,
            host: None,
            reply: None,
            outcome: Outcome::Gone,
        };
        let finding = Finding {
            delivery,
            action: if targets.is_empty() { Action::Relayed } else { Action::Delivered },
            status: EnhancedCode(2, 1, 5),
            host: None,
            reply: None,
            at: Some(now),
            retries_until: None,
            expired: false,
        };
        let wanted = delivery.notify.is_some_and(|notify| notify.wants(posthorn_model::Notify::SUCCESS));
        let report = if wanted { self.report(outgoing, &[finding], Some(&octets)).await? } else { None };
        let places: Vec<String> =
            route.places().iter().map(|place| format!("account {} folder {}", place.account, place.folder)).collect();
        let parcel = Parcel {
            held: Vec::new(),
            released: Vec::new(),
            messages: vec![(message, targets)],
            outgoing: onward,
            completions: vec![completion],
            conditions: vec![(id, vec![delivery.id])],
            firm: vec![id],
        };
        match self.commit_reports(parcel, report.into_iter().collect()).await {
            Ok(_) => {}
            Err(Error::Store(posthorn_store::Error::Refused)) => {
                let why = "the mailbox is changing or full, or another server has the message";
                return Ok(refused(452, EnhancedCode(4, 2, 2), why));
            }
            Err(error) => return Err(error),
        }
        let detail = object([
            ("recipient", delivery.recipient.as_str().into()),
            ("places", places.into()),
            ("message", id_text(id).into()),
        ]);
        let entry = self.entry(outgoing.message, "placed", detail);
        self.store.chronicle().tell(TraceEntry { outgoing: Some(outgoing.id), ..entry });
        Ok(Arrival::Placed)
    }
}

fn refused(code: u16, enhanced: EnhancedCode, text: &'static str) -> Arrival {
    Arrival::Refused(Refusal::new(code, enhanced, text))
}

fn nobody() -> Refusal {
    Refusal::new(550, EnhancedCode(5, 1, 1), "there is no such mailbox any more")
}

/// The envelope of one recipient, to whom the message comes now.
fn as_envelope(outgoing: &Outgoing, delivery: &Delivery, route: &Arc<Route>) -> Envelope {
    let terms = Terms {
        body_type: outgoing.body_type,
        smtputf8: outgoing.smtputf8,
        require_tls: outgoing.require_tls,
        envid: outgoing.envid.clone(),
        ret: outgoing.ret,
        priority: outgoing.priority,
        deliver_by: outgoing.deliver_by,
        hold_until: None,
        held: None,
        route: None,
        junk: false,
    };
    let recipient = Recipient {
        address: delivery.recipient.clone(),
        route: Arc::clone(route),
        orcpt: delivery.orcpt.clone(),
        notify: delivery.notify,
    };
    Envelope {
        sender: outgoing.sender.as_deref().and_then(|sender| Address::parse(sender).ok()),
        recipients: vec![recipient],
        source: outgoing.account.map_or(Source::Relay, Source::Account),
        terms,
        ..Envelope::default()
    }
}
