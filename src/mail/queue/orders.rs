//! What operators see of the queue, and what they order.

use std::time::Duration;

use chrono::{DateTime, Utc};
use posthorn_model::{Address, ClaimId, DeliveryId, EnhancedCode, QueueId};
use posthorn_report::{Action, Verdict, classify_reply, enhanced_code};
use posthorn_store::chronicle::TraceEntry;
use posthorn_store::queue::{self, Changed, Completion, Delivery, Filter, Found, Outcome, Outgoing};
use posthorn_store::{Connection, messages};

use super::Queue;
use crate::report::Finding;
use crate::trace::object;
use crate::{Mail, Result};

/// Deliveries that are looked at in one go.
const PAGE: u32 = 1000;

/// How long an operator's claim on what is being failed lasts.
const CLAIM: Duration = Duration::from_secs(600);

/// One delivery with its envelope.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The envelope.
    pub outgoing: Outgoing,
    /// The recipient.
    pub delivery: Delivery,
}

/// Which deliveries.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// What the rows say.
    pub filter: Filter,
    /// What the message's header says.
    pub header: Option<HeaderFilter>,
}

/// A condition on a message's header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HeaderFilter {
    /// The field's name.
    pub name: String,
    /// What it must contain, case folded.
    pub contains: String,
}

impl HeaderFilter {
    fn holds(&self, header: &[u8]) -> bool {
        let wanted = self.contains.to_lowercase();
        posthorn_mime::header_text(header, &self.name).any(|text| text.to_lowercase().contains(&wanted))
    }
}

/// What to do with deliveries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Order {
    /// Try now what waits for later.
    Retry,
    /// Try not before they are released; the note says why.
    Hold {
        /// Why.
        note: String,
    },
    /// Let held ones go.
    Release,
    /// Give up, and tell the senders why.
    Fail {
        /// Why: what the report says.
        reason: String,
    },
    /// Send another way; `None`: as configured again.
    Reroute {
        /// As routes in the configuration are written.
        route: Option<String>,
    },
    /// Send from another binding; `None`: as configured again.
    Bind {
        /// Its name.
        binding: Option<String>,
    },
}

impl Order {
    fn word(&self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Hold { .. } => "hold",
            Self::Release => "release",
            Self::Fail { .. } => "fail",
            Self::Reroute { .. } => "reroute",
            Self::Bind { .. } => "bind",
        }
    }
}

/// What an order reached, or would reach.
#[derive(Clone, Debug, Default)]
pub struct Affected {
    /// How many deliveries.
    pub count: u64,
    /// How many of them a courier had in hand: what is on the wire at this moment ends as it may.
    pub in_hand: u64,
    /// Some of them, as they were before.
    pub sample: Vec<Entry>,
}

impl Queue<'_> {
    /// How many deliveries there are.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn count(&self, selection: &Selection) -> Result<u64> {
        let mut connection = self.mail.store.acquire().await?;
        if selection.header.is_none() {
            return Ok(queue::count(&mut connection, &selection.filter).await?);
        }
        let (mut count, mut after) = (0, None);
        while let Some(page) = page(&mut connection, selection, after, PAGE).await? {
            count += page.ids.len() as u64;
            after = Some(page.last);
            if page.ends {
                break;
            }
        }
        Ok(count)
    }

    /// Up to `limit` deliveries, oldest first, behind the one named.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(&self, selection: &Selection, after: Option<DeliveryId>, limit: u32) -> Result<Vec<Entry>> {
        let mut connection = self.mail.store.acquire().await?;
        entries(&mut connection, selection, after, limit).await
    }

    /// An envelope with its unfinished recipients; `None` when it has left, or never was.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn show(&self, id: QueueId) -> Result<Option<(Outgoing, Vec<Delivery>)>> {
        let mut connection = self.mail.store.acquire().await?;
        Ok(queue::load(&mut connection, id).await?)
    }

    /// Does what is ordered with all that is selected, or with `dry_run` only says what would be done. The sample has up to
    /// `sample` entries.
    ///
    /// # Errors
    /// When the store cannot be written. What was done before the failure stays done.
    pub async fn order(&self, selection: &Selection, order: &Order, dry_run: bool, sample: u32) -> Result<Affected> {
        let mut affected = Affected { sample: self.list(selection, None, sample).await?, ..Affected::default() };
        if dry_run {
            affected.count = self.count(selection).await?;
            let in_hand = Filter { in_hand: Some(true), ..selection.filter.clone() };
            if selection.filter.in_hand.is_none() && selection.header.is_none() {
                let mut connection = self.mail.store.acquire().await?;
                affected.in_hand = queue::count(&mut connection, &in_hand).await?;
            }
            return Ok(affected);
        }
        let claim = match order {
            Order::Fail { .. } => Some(self.enlist("operator", CLAIM).await?),
            _ => None,
        };
        let done = self.order_all(selection, order, claim, &mut affected).await;
        if let Some(claim) = claim {
            self.retire(claim).await?;
        }
        done?;
        Ok(affected)
    }

    async fn order_all(
        &self,
        selection: &Selection,
        order: &Order,
        claim: Option<ClaimId>,
        affected: &mut Affected,
    ) -> Result<()> {
        let mut after = None;
        loop {
            let mut transaction = self.mail.store.begin().await?;
            let Some(page) = page(&mut transaction, selection, after, PAGE).await? else { return Ok(()) };
            after = Some(page.last);
            let now = self.mail.now();
            let changed = match (order, claim) {
                (Order::Retry, _) => queue::retry(&mut transaction, &page.ids, now).await?,
                (Order::Hold { note }, _) => queue::hold(&mut transaction, &page.ids, note).await?,
                (Order::Release, _) => queue::release(&mut transaction, &page.ids).await?,
                (Order::Reroute { route }, _) => {
                    queue::reroute(&mut transaction, &page.ids, route.as_deref(), now).await?
                }
                (Order::Bind { binding }, _) => queue::bind(&mut transaction, &page.ids, binding.as_deref()).await?,
                (Order::Fail { reason }, Some(claim)) => {
                    let recalled = queue::recall(&mut transaction, &page.ids).await?;
                    let work = queue::take(&mut transaction, claim, &page.ids).await?;
                    transaction.commit().await?;
                    let failed = self.fail(claim, work, reason).await?;
                    affected.count += failed;
                    affected.in_hand += recalled.in_hand;
                    continue;
                }
                (Order::Fail { .. }, None) => Changed::default(),
            };
            let told = match self.mail.wants_trace(order) {
                true => queue::deliveries(&mut transaction, &page.ids).await?,
                false => Vec::new(),
            };
            // Couriers hear of it by NOTIFY, this process's too: the call first, by which they forget what they gave up.
            transaction.commit().await?;
            self.tell_order(order, &told);
            affected.count += changed.deliveries;
            affected.in_hand += changed.in_hand;
        }
    }

    /// Gives deliveries up and tells their senders.
    async fn fail(&self, claim: ClaimId, work: Vec<queue::Work>, reason: &str) -> Result<u64> {
        let (mail, now) = (self.mail, self.mail.now());
        let mut failed = 0;
        for (outgoing, deliveries) in work {
            let finding = |delivery| Finding {
                delivery,
                action: Action::Failed,
                status: EnhancedCode(5, 7, 1),
                host: None,
                reply: Some(reason.to_owned()),
                at: Some(now),
                retries_until: None,
                expired: false,
            };
            let findings: Vec<Finding<'_>> = deliveries.iter().map(finding).collect();
            let reports = mail.report(&outgoing, &findings, None).await?.into_iter().collect();
            let gone = |delivery: &Delivery| Completion {
                delivery: delivery.id,
                claim,
                at: now,
                binding: None,
                host: None,
                reply: Some(reason.to_owned()),
                outcome: Outcome::Gone,
            };
            let done = self.complete(deliveries.iter().map(gone).collect(), reports).await?;
            failed += done.iter().filter(|done| **done).count() as u64;
            for delivery in &deliveries {
                let detail = object([("recipient", delivery.recipient.as_str().into()), ("reply", reason.into())]);
                self.tell(TraceEntry {
                    outgoing: Some(outgoing.id),
                    ..mail.entry(outgoing.message, "failed by an operator", detail)
                });
            }
        }
        Ok(failed)
    }

    fn tell_order(&self, order: &Order, reached: &[(Outgoing, Delivery)]) {
        for (outgoing, delivery) in reached {
            let detail = object([
                ("order", order.word().into()),
                ("recipient", delivery.recipient.as_str().into()),
                ("note", delivery.note.as_deref().into()),
                ("route", delivery.route.as_deref().into()),
            ]);
            self.tell(TraceEntry {
                outgoing: Some(outgoing.id),
                ..self.mail.entry(outgoing.message, "ordered", detail)
            });
        }
    }

    /// The class of a reply or a bounce's text, and the rule that chose it.
    #[must_use]
    pub fn classify(&self, text: &str) -> (Verdict, Option<EnhancedCode>) {
        (classify_reply(text), enhanced_code(text))
    }
}

impl Mail {
    /// Whether each delivery's trace tells of an order: tries that are only brought forward need no words.
    fn wants_trace(&self, order: &Order) -> bool {
        !matches!(order, Order::Retry)
    }

    /// The address of an account; remembered for a while.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn account_name(&self, account: posthorn_model::AccountId) -> Result<Option<String>> {
        if let Some(known) = self.shared.names.get(&account) {
            return Ok(known);
        }
        let mut connection = self.store.acquire().await?;
        let name = posthorn_store::accounts::address(&mut connection, account).await?;
        let name = name.map(|address: Address| address.to_string());
        self.shared.names.insert(account, name.clone());
        Ok(name)
    }
}

/// A page of what is selected: `last` is where to go on, behind what the header ruled out too.
struct Page {
    ids: Vec<DeliveryId>,
    last: DeliveryId,
    /// Whether there is nothing behind it.
    ends: bool,
}

async fn page(
    connection: &mut Connection,
    selection: &Selection,
    after: Option<DeliveryId>,
    limit: u32,
) -> Result<Option<Page>> {
    let mut found = queue::select(connection, &selection.filter, after, limit).await?;
    let Some(last) = found.last().map(|last| last.delivery) else { return Ok(None) };
    let ends = found.len() < limit as usize;
    if let Some(wanted) = &selection.header {
        let mut ids: Vec<i64> = found.iter().map(|one| one.message.0).collect();
        ids.sort_unstable();
        ids.dedup();
        let headers = messages::headers(connection, &ids).await?;
        let holds = |one: &Found| headers.iter().any(|(id, header)| *id == one.message && wanted.holds(header));
        found.retain(holds);
    }
    Ok(Some(Page { ids: found.into_iter().map(|one| one.delivery).collect(), last, ends }))
}

async fn entries(
    connection: &mut Connection,
    selection: &Selection,
    mut after: Option<DeliveryId>,
    limit: u32,
) -> Result<Vec<Entry>> {
    let mut ids = Vec::new();
    let size = if selection.header.is_some() { PAGE } else { limit.clamp(1, PAGE) };
    while ids.len() < limit as usize
        && let Some(page) = page(connection, selection, after, size).await?
    {
        after = Some(page.last);
        ids.extend(page.ids);
        if page.ends {
            break;
        }
    }
    ids.truncate(limit as usize);
    let rows = queue::deliveries(connection, &ids).await?;
    Ok(rows.into_iter().map(|(outgoing, delivery)| Entry { outgoing, delivery }).collect())
}

/// When a suspension or another value set by hand ends; see [`Queue::suspend`].
pub(super) fn until(now: DateTime<Utc>, span: Option<Duration>) -> Option<DateTime<Utc>> {
    span.map(|span| now + span)
}
