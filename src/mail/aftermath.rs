//! What follows an acceptance: the trace, reports of success, and reading reports that came back.

use chrono::Utc;
use posthorn_model::{Address, DeliveryState, EnhancedCode, Lane, Notify, QueueOrigin};
use posthorn_report::Action;
use posthorn_store::chronicle::TraceEntry;
use posthorn_store::queue::{Delivery, Outgoing};
use posthorn_store::writer::Parcel;

use crate::checks::Checked;
use crate::envelope::{Envelope, Source};
use crate::legs::Departed;
use crate::place::Placed;
use crate::report::Finding;
use crate::trace::object;
use crate::{Mail, Result};

impl Mail {
    /// What is to be done when a message is accepted and the client waits for its reply.
    pub(crate) async fn after_acceptance(
        &self,
        envelope: &Envelope,
        placed: &Placed,
        raw: &[u8],
        checked: Option<&Checked>,
    ) {
        self.tell_acceptance(envelope, placed, raw.len(), checked);
        self.read_report(envelope, raw).await;
        self.read_daily(envelope, raw, checked).await;
        if let Err(error) = self.report_success(envelope, placed, raw).await {
            tracing::warn!(%error, "a report of success was not written");
        }
    }

    fn tell_acceptance(&self, envelope: &Envelope, placed: &Placed, size: usize, checked: Option<&Checked>) {
        let mut detail = envelope.story.clone();
        if let Some(checked) = checked {
            detail.insert("found".to_owned(), checked.lines().into());
        }
        detail.extend(object([("size", size.into())]));
        let refused = envelope.recipients.iter().zip(&placed.outcomes);
        let refused: Vec<String> = refused
            .filter_map(|(recipient, outcome)| {
                outcome.as_ref().err().map(|why| format!("{}: {why}", recipient.address))
            })
            .collect();
        if !refused.is_empty() {
            detail.insert("refused".to_owned(), refused.into());
        }
        let onward = placed.departed.iter().flat_map(|leg| &leg.recipients);
        let mut recipients: Vec<String> = envelope
            .recipients
            .iter()
            .map(|recipient| &recipient.address)
            .chain(onward)
            .map(|to| to.to_lowercase())
            .collect();
        recipients.sort_unstable();
        recipients.dedup();
        let chronicle = self.store.chronicle();
        chronicle.tell(TraceEntry {
            header_id: placed.header_id.clone(),
            sender: envelope.sender.as_ref().map(ToString::to_string),
            recipients,
            ..self.entry(placed.id, "taken", detail)
        });
        if !placed.places.is_empty() {
            let detail = object([("places", placed.places.clone().into())]);
            chronicle.tell(self.entry(placed.id, "stored", detail));
        }
        for Departed { id, sender, recipients, via, local, due_at } in &placed.departed {
            let held = (*due_at > self.now()).then(|| due_at.to_rfc3339());
            if *local {
                let detail = object([("recipients", recipients.clone().into()), ("until", due_at.to_rfc3339().into())]);
                chronicle.tell(TraceEntry { outgoing: Some(*id), ..self.entry(placed.id, "held", detail) });
                continue;
            }
            let detail = object([
                ("sender", sender.as_deref().unwrap_or("<>").into()),
                ("recipients", recipients.clone().into()),
                ("via", via.as_deref().into()),
                ("not_before", held.into()),
            ]);
            chronicle.tell(TraceEntry { outgoing: Some(*id), ..self.entry(placed.id, "queued", detail) });
        }
    }

    /// Tells the sender what lies in mailboxes here, where NOTIFY=SUCCESS asked for it (RFC 3461 §5.2.5).
    async fn report_success(&self, envelope: &Envelope, placed: &Placed, raw: &[u8]) -> Result<()> {
        let Some(sender) = &envelope.sender else { return Ok(()) };
        let asks = |notify: Option<Notify>| notify.is_some_and(|notify| notify.wants(Notify::SUCCESS));
        // What is kept back is reported when it has arrived.
        let waits = placed.departed.iter().any(|leg| leg.local);
        if waits || !envelope.recipients.iter().any(|recipient| asks(recipient.notify)) {
            return Ok(());
        }
        // Who claims to be one of us, and has not shown it, is not told.
        if envelope.source == Source::Stranger && self.is_local(sender.domain()).await? {
            return Ok(());
        }
        let now = self.now();
        let about = self.as_outgoing(envelope, placed, raw.len(), sender);
        let delivered: Vec<Delivery> = envelope
            .recipients
            .iter()
            .zip(&placed.outcomes)
            .filter(|(recipient, outcome)| {
                asks(recipient.notify) && outcome.is_ok() && !recipient.route.places().is_empty()
            })
            .map(|(recipient, _)| Delivery {
                id: self.store.delivery_id(),
                outgoing: about.id,
                recipient: recipient.address.clone(),
                domain: String::new(),
                route: None,
                binding: None,
                orcpt: recipient.orcpt.clone(),
                notify: recipient.notify,
                lane: Lane::Normal,
                state: DeliveryState::Due,
                due_at: now,
                not_before: None,
                attempts: 1,
                notice_at: None,
                claim: None,
                last_at: None,
                last_host: None,
                last_reply: None,
                note: None,
            })
            .collect();
        let findings: Vec<Finding<'_>> = delivered
            .iter()
            .map(|delivery| Finding {
                delivery,
                action: Action::Delivered,
                status: EnhancedCode(2, 1, 5),
                host: None,
                reply: None,
                at: Some(now),
                retries_until: None,
                expired: false,
            })
            .collect();
        let whole = bytes::Bytes::copy_from_slice(&raw[..posthorn_mime::header_end(raw).unwrap_or(raw.len())]);
        let octets = crate::departures::Octets::leaving(whole, bytes::Bytes::new());
        if let Some(report) = self.report(&about, &findings, Some(&octets)).await? {
            self.commit_reports(Parcel::default(), vec![report]).await?;
        }
        Ok(())
    }

    /// A message that stays here, as if it had left: what reports need to know of it.
    fn as_outgoing(&self, envelope: &Envelope, placed: &Placed, size: usize, sender: &Address) -> Outgoing {
        let terms = &envelope.terms;
        let now: chrono::DateTime<Utc> = self.now();
        Outgoing {
            id: posthorn_model::QueueId(placed.id.0),
            message: placed.id,
            sender: Some(sender.to_string()),
            author: None,
            top: None,
            account: envelope.source.account(),
            origin: QueueOrigin::Submission,
            body_type: terms.body_type,
            smtputf8: terms.smtputf8,
            require_tls: false,
            envid: terms.envid.clone(),
            ret: terms.ret,
            priority: 0,
            deliver_by: None,
            accepted_at: now,
            expires_at: now,
            size: size as u64,
            header_id: placed.header_id.clone(),
        }
    }
}
