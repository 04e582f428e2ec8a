//! Mail that was kept back for mailboxes here: when its time has come it goes to no host, but into them.

use std::sync::Arc;

use chrono::TimeDelta;
use posthorn_mail::kept_back::Arrival;
use posthorn_mail::queue::Outgoing;
use posthorn_model::EnhancedCode;
use posthorn_smtp::Reply;

use crate::Office;
use crate::job::Row;
use crate::settle::{Settled, Verdict};

/// Places each recipient's copy. What is placed is completed with it; the rest is settled.
pub(crate) async fn place(office: Arc<Office>, outgoing: Arc<Outgoing>, rows: Vec<Row>) {
    for row in rows {
        // What is left behind is given back with the claim.
        if office.is_stopping() || !office.life.is_valid() {
            return;
        }
        let claim = office.life.claim();
        if row.delivery.claim.is_some_and(|of| of != claim) {
            continue;
        }
        let again = || Verdict::PutOff(office.mail.now() + AGAIN);
        let settled = match office.mail.arrive(&outgoing, &row.delivery, claim).await {
            Ok(Arrival::Placed) => {
                let id = posthorn_mail::accept::id_text(outgoing.message);
                tracing::info!(queue.id = %outgoing.id, message.id = id, recipient = row.delivery.recipient, "placed");
                continue;
            }
            Ok(Arrival::Refused(refusal)) => {
                let EnhancedCode(_, subject, detail) = refusal.enhanced;
                let reply = Reply::new(refusal.code, subject, detail, refusal.text);
                let verdict = if reply.code >= 500 { Verdict::Failed } else { Verdict::Deferred };
                Settled::new(&outgoing, row, verdict, reply)
            }
            Ok(Arrival::Busy) => Settled::quiet(&outgoing, row, again()),
            Ok(Arrival::Lost) => {
                tracing::error!(queue.id = %outgoing.id, "a message that was kept back is lost");
                Settled::quiet(&outgoing, row, Verdict::SetAside("its octets are lost".to_owned()))
            }
            Err(error) if error.is_damage() => {
                tracing::error!(queue.id = %outgoing.id, %error, "a message that was kept back is damaged");
                Settled::quiet(&outgoing, row, Verdict::SetAside(format!("its octets: {error}")))
            }
            Err(error) => {
                tracing::error!(queue.id = %outgoing.id, %error, "a message that was kept back could not be placed");
                // Was it placed all the same, this changes nothing any more.
                Settled::quiet(&outgoing, row, again())
            }
        };
        office.settle(vec![settled]);
    }
}

/// When is looked again at what could not be looked at.
const AGAIN: TimeDelta = TimeDelta::seconds(60);
