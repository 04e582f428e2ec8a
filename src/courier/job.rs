//! What is in hand: deliveries that wait for a connection, with their place in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use posthorn_mail::departures::{Octets, Room};
use posthorn_mail::queue::{Delivery, Outgoing};
use tokio::sync::Notify;

/// Recipients of one message that share a transaction.
#[derive(Debug)]
pub(crate) struct Job {
    pub outgoing: Arc<Outgoing>,
    pub rows: Vec<Row>,
    /// The octets of a message that was handed over in memory; others are read when they are sent.
    pub cargo: Option<Arc<Cargo>>,
    /// How often another host is tried at once because one failed in the middle of the transaction.
    pub turns: u32,
}

/// One recipient in hand.
#[derive(Debug)]
pub(crate) struct Row {
    pub delivery: Delivery,
    pub told: Told,
    /// Held for its end.
    #[expect(dead_code, reason = "held for its end")]
    pub seat: Seat,
}

/// How a delivery came to its site, for the trace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// The row of the configuration, or the operator's order, that says where it goes; none where the DNS alone does.
    pub route: Option<Arc<str>>,
    /// Why an MTA-STS policy that is announced cannot be had.
    pub sts_problem: Option<Arc<str>>,
}

/// A message in memory.
#[derive(Debug)]
pub(crate) struct Cargo {
    pub octets: Octets,
    /// Held for its end.
    #[expect(dead_code, reason = "held for its end")]
    pub room: Room,
}

impl Job {
    /// A job for the same message with other recipients.
    pub(crate) fn with(&self, rows: Vec<Row>) -> Self {
        Self { outgoing: Arc::clone(&self.outgoing), rows, cargo: self.cargo.clone(), turns: self.turns }
    }

    /// Which queue it stands in: 0 goes first.
    pub(crate) fn lane(&self) -> usize {
        let code = self.rows.first().map_or(1, |row| row.delivery.lane.code());
        usize::try_from(code).unwrap_or(1).min(2)
    }
}

/// How many deliveries may be in memory, and are.
#[derive(Debug)]
pub(crate) struct Seats {
    used: AtomicUsize,
    most: usize,
    /// Told when so few are left that more may be taken in.
    below: Notify,
}

/// A place in memory for one delivery, free again when dropped.
#[derive(Debug)]
pub(crate) struct Seat(Arc<Seats>);

impl Seats {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), most: most.max(1), below: Notify::new() })
    }

    /// Takes one, also beyond the bound: what was handed over must be kept somewhere.
    pub(crate) fn take(self: &Arc<Self>) -> Seat {
        self.used.fetch_add(1, Ordering::Relaxed);
        Seat(Arc::clone(self))
    }

    /// How many are free.
    pub(crate) fn free(&self) -> usize {
        self.most.saturating_sub(self.used())
    }

    /// Whether it is worth asking the database for more.
    pub(crate) fn is_roomy(&self) -> bool {
        self.used() <= self.low()
    }

    /// How many deliveries are in memory.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Ends when a quarter of the seats is free again after more were taken.
    pub(crate) async fn below(&self) {
        self.below.notified().await;
    }

    fn low(&self) -> usize {
        self.most - self.most / 4
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let before = self.0.used.fetch_sub(1, Ordering::Relaxed);
        if before == self.0.low() + 1 || before == 1 {
            self.0.below.notify_one();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use chrono::{DateTime, TimeDelta, Utc};
    use posthorn_model::{BodyType, DeliveryId, DeliveryState, Lane, MessageId, QueueId, QueueOrigin};

    use tokio::time::timeout;

    use super::*;

    pub(crate) fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000, 0).expect("a time")
    }

    pub(crate) fn outgoing() -> Outgoing {
        Outgoing {
            id: QueueId(7),
            message: MessageId(5),
            sender: Some("sender@example.net".to_owned()),
            top: None,
            account: None,
            origin: QueueOrigin::Relay,
            body_type: BodyType::SevenBit,
            smtputf8: false,
            require_tls: false,
            envid: None,
            ret: None,
            priority: 0,
            deliver_by: None,
            accepted_at: start(),
            expires_at: start() + TimeDelta::days(5),
            size: 100,
            header_id: None,
            author: None,
        }
    }

    pub(crate) fn delivery(id: i64, recipient: &str) -> Delivery {
        Delivery {
            id: DeliveryId(id),
            outgoing: QueueId(7),
            recipient: recipient.to_owned(),
            domain: recipient.rsplit('@').next().unwrap_or_default().to_owned(),
            route: None,
            binding: None,
            orcpt: None,
            notify: None,
            lane: Lane::Normal,
            state: DeliveryState::Due,
            due_at: start(),
            attempts: 0,
            notice_at: None,
            not_before: None,
            claim: None,
            last_at: None,
            last_host: None,
            last_reply: None,
            note: None,
        }
    }

    pub(crate) fn job(recipients: &[&str]) -> Job {
        let seats = Seats::new(100);
        let row = |(at, recipient): (i64, &&str)| Row {
            delivery: delivery(at, recipient),
            told: Told::default(),
            seat: seats.take(),
        };
        Job { outgoing: Arc::new(outgoing()), rows: (0..).zip(recipients).map(row).collect(), cargo: None, turns: 0 }
    }

    #[tokio::test]
    async fn seats_are_counted_and_their_shortage_ends() {
        let seats = Seats::new(4);
        let mut held: Vec<_> = (0..5).map(|_| seats.take()).collect();
        assert_eq!((seats.free(), seats.used()), (0, 5));
        held.truncate(4);
        assert!(timeout(Duration::from_millis(5), seats.below()).await.is_err());
        held.truncate(3);
        timeout(Duration::from_secs(1), seats.below()).await.expect("told");
        assert_eq!(seats.free(), 1);
    }
}
