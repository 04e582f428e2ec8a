//! Mail that leaves, as rows: an [`Outgoing`] is one envelope of a stored message, with a [`Delivery`] per recipient.
//!
//! Rows come in and finished ones go out through [`crate::writer`], together with what else is committed at the moment.
//! Here a courier claims what is due ([`claim`]), and an operator looks ([`select`]) and gives orders ([`hold`] and its
//! like).
//!
//! Who has a delivery in hand is its claim, the id of a row in `courier`. Orders change claimed rows as well, and mark them as
//! recalled: the courier is told, gives back what only waits in its memory, and what is on the wire ends as it may.

mod claims;
mod couriers;
mod filter;
mod orders;
mod rows;
mod tally;
mod views;

use chrono::{DateTime, Utc};
use posthorn_model::{
    AccountId, BodyType, ByMode, ClaimId, DeliveryId, DeliveryState, Lane, MessageId, Notify, QueueId, QueueOrigin, Ret,
};
use sqlx::PgConnection;
use sqlx::postgres::PgListener;

use crate::Result;
use crate::messages::Octets;

pub use claims::{Claimed, Wanted, Work, claim, next_due, recalled, take};
pub use couriers::{Freed, enlist, free_dead, renew, retire};
pub use filter::{Filter, Found, count, select};
pub use orders::{
    Changed, bind, bring_forward, bring_forward_bound, call, hold, postpone, recall, release, reroute, retry,
};
pub use rows::{deliveries, load};
pub use tally::{Waiting, tally};
pub use views::{CourierView, ask_views, put_view, views};

/// The channel that couriers listen on.
pub const CHANNEL: &str = "posthorn_queue";

/// An envelope of a message that leaves, as it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outgoing {
    /// The queue id.
    pub id: QueueId,
    /// Whose octets.
    pub message: MessageId,
    /// The reverse path without angle brackets; `None` is the null path.
    pub sender: Option<String>,
    /// The sender as it came, where `sender` is a return path that was written here (SRS, VERP); see [`Self::author`].
    pub author: Option<String>,
    /// Header fields above the stored header that only this envelope's copies bear, each with its CRLF.
    pub top: Option<Vec<u8>>,
    /// Who submitted it.
    pub account: Option<AccountId>,
    /// How it came.
    pub origin: QueueOrigin,
    /// What its octets are.
    pub body_type: BodyType,
    /// Whether addresses or header need SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// ENVID, decoded from xtext (RFC 3461 §4.4).
    pub envid: Option<String>,
    /// RET (RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// MT-PRIORITY (RFC 6710), -9 to 9; 0 when not given.
    pub priority: i8,
    /// DELIVERBY (RFC 2852): until when, and what happens then.
    pub deliver_by: Option<(DateTime<Utc>, ByMode)>,
    /// When we took responsibility.
    pub accepted_at: DateTime<Utc>,
    /// When it is given up.
    pub expires_at: DateTime<Utc>,
    /// Octets of header and text, without `top`.
    pub size: u64,
    /// The Message-ID field, without angle brackets.
    pub header_id: Option<String>,
}

impl Outgoing {
    /// The sender as it came, whatever return path was written in its place; `None` is the null path. What depends on
    /// who sends depends on this.
    #[must_use]
    pub fn author(&self) -> Option<&str> {
        self.author.as_deref().or(self.sender.as_deref())
    }
}

/// One recipient of an [`Outgoing`], as it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delivery {
    /// Which one.
    pub id: DeliveryId,
    /// Of which envelope.
    pub outgoing: QueueId,
    /// The forward path without angle brackets.
    pub recipient: String,
    /// Its domain: folded A-labels, or an address literal with its brackets.
    pub domain: String,
    /// An operator's route; otherwise the configuration decides.
    pub route: Option<String>,
    /// The binding used last, or an operator's choice.
    pub binding: Option<String>,
    /// ORCPT with its type, decoded from xtext: `rfc822;joe@example.org`.
    pub orcpt: Option<String>,
    /// NOTIFY; `None` when the sender did not say.
    pub notify: Option<Notify>,
    /// Which queue it stands in.
    pub lane: Lane,
    /// Whether it may be tried.
    pub state: DeliveryState,
    /// When it is tried next.
    pub due_at: DateTime<Utc>,
    /// The time before which its sender does not want it sent (RFC 4865): nothing but an operator's retry brings it
    /// forward beyond that.
    pub not_before: Option<DateTime<Utc>>,
    /// How often it was tried.
    pub attempts: u32,
    /// When the sender is told that it takes long; `None`: never, or told already.
    pub notice_at: Option<DateTime<Utc>>,
    /// Who has it in hand.
    pub claim: Option<ClaimId>,
    /// When it was tried last.
    pub last_at: Option<DateTime<Utc>>,
    /// The host that answered last, or that could not be reached.
    pub last_host: Option<String>,
    /// What was answered last, or what went wrong.
    pub last_reply: Option<String>,
    /// Why it is held or set aside.
    pub note: Option<String>,
}

/// An envelope that enters the queue with its recipients.
#[derive(Clone, Debug)]
pub struct NewOutgoing {
    /// The envelope; its id is from [`crate::Store::queue_id`].
    pub outgoing: Outgoing,
    /// At least one.
    pub deliveries: Vec<NewDelivery>,
    /// The courier that gets it at once, in memory, for which it is inserted as claimed.
    pub claim: Option<ClaimId>,
    /// Not queued when a target of this bond in the same parcel is refused; see [`crate::writer::Target::bond`].
    pub bond: Option<u16>,
}

/// A recipient that enters the queue.
#[derive(Clone, Debug)]
pub struct NewDelivery {
    /// From [`crate::Store::delivery_id`].
    pub id: DeliveryId,
    /// As [`Delivery::recipient`].
    pub recipient: String,
    /// As [`Delivery::domain`].
    pub domain: String,
    /// As [`Delivery::orcpt`].
    pub orcpt: Option<String>,
    /// As [`Delivery::notify`].
    pub notify: Option<Notify>,
    /// As [`Delivery::lane`].
    pub lane: Lane,
    /// As [`Delivery::due_at`].
    pub due_at: DateTime<Utc>,
    /// As [`Delivery::not_before`].
    pub not_before: Option<DateTime<Utc>>,
    /// As [`Delivery::notice_at`].
    pub notice_at: Option<DateTime<Utc>>,
    /// As [`Delivery::route`].
    pub route: Option<String>,
    /// Why it waits until an operator releases it; `None` when it does not.
    pub held: Option<String>,
}

impl NewOutgoing {
    /// The rows that this makes, for a courier that gets them in memory.
    #[must_use]
    pub fn rows(&self) -> Vec<Delivery> {
        let row = |new: &NewDelivery| Delivery {
            id: new.id,
            outgoing: self.outgoing.id,
            recipient: new.recipient.clone(),
            domain: new.domain.clone(),
            route: new.route.clone(),
            binding: None,
            orcpt: new.orcpt.clone(),
            notify: new.notify,
            lane: new.lane,
            state: if new.held.is_some() { DeliveryState::Held } else { DeliveryState::Due },
            due_at: new.due_at,
            not_before: new.not_before,
            attempts: 0,
            notice_at: new.notice_at,
            claim: self.claim,
            last_at: None,
            last_host: None,
            last_reply: None,
            note: new.held.clone(),
        };
        self.deliveries.iter().map(row).collect()
    }
}

/// What a courier did with a delivery that it has in hand.
#[derive(Clone, Debug)]
pub struct Completion {
    /// Which one.
    pub delivery: DeliveryId,
    /// The courier's claim; when it is no longer the row's, nothing changes.
    pub claim: ClaimId,
    /// When.
    pub at: DateTime<Utc>,
    /// The binding used; `None` leaves what was there.
    pub binding: Option<String>,
    /// The host that answered; `None` leaves what was there.
    pub host: Option<String>,
    /// Its answer, or what went wrong; `None` leaves what was there.
    pub reply: Option<String>,
    /// What follows.
    pub outcome: Outcome,
}

/// What becomes of a delivery.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Delivered, failed or expired: the row is deleted.
    Gone,
    /// Given back, to be tried at a later time. An operator's hold meanwhile stays.
    Deferred {
        /// When it is tried next.
        due_at: DateTime<Utc>,
        /// As [`Delivery::notice_at`].
        notice_at: Option<DateTime<Utc>>,
        /// Whether this counts as an attempt.
        attempted: bool,
    },
    /// Given back as it was: nothing was tried, nothing but the claim changes.
    Returned,
    /// Given back; an operator must release it.
    Held {
        /// Why.
        note: String,
    },
    /// Given back; something is wrong with the row or its message.
    SetAside {
        /// What.
        note: String,
    },
}

/// The octets of an outgoing's message; `None` when they are lost.
///
/// # Errors
/// What the database said, or damage.
pub async fn body(connection: &mut PgConnection, message: MessageId) -> Result<Option<Octets>> {
    Ok(crate::messages::bodies(connection, &[message.0]).await?.pop().map(|(_, octets)| octets))
}

/// What couriers are told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum News {
    /// Deliveries that nobody has in hand may be due.
    Due,
    /// Deliveries in somebody's hand were changed by an operator: see [`recalled`].
    Recall,
    /// An operator wants to see what couriers know: see [`put_view`].
    Show,
    /// The connection was lost for a while: all of them may have happened.
    Lost,
}

/// Hears [`CHANNEL`].
#[derive(Debug)]
pub struct Listener(PgListener);

impl Listener {
    pub(crate) fn new(listener: PgListener) -> Self {
        Self(listener)
    }

    /// Waits for the next news; reconnects by itself.
    ///
    /// # Errors
    /// When the database cannot be reached at the moment; call again after a pause.
    pub async fn next(&mut self) -> Result<News> {
        loop {
            let Some(notification) = self.0.try_recv().await? else { return Ok(News::Lost) };
            match notification.payload() {
                "due" => return Ok(News::Due),
                "recall" => return Ok(News::Recall),
                "show" => return Ok(News::Show),
                // From a newer program.
                _ => {}
            }
        }
    }
}
