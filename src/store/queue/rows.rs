//! Rows into words, and whole envelopes read.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use posthorn_model::{
    AccountId, BodyType, ByMode, ClaimId, DeliveryId, DeliveryState, Lane, MessageId, Notify, QueueId, QueueOrigin, Ret,
};
use sqlx::PgConnection;

use super::{Delivery, Outgoing};
use crate::{Error, Result};

pub(super) struct OutgoingRow {
    id: i64,
    message_id: i64,
    sender: Option<String>,
    author: Option<String>,
    top: Option<Vec<u8>>,
    account_id: Option<i64>,
    origin: i16,
    body_type: i16,
    smtputf8: bool,
    require_tls: bool,
    envid: Option<String>,
    ret: Option<i16>,
    priority: i16,
    deliver_by: Option<DateTime<Utc>>,
    by_mode: Option<i16>,
    accepted_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    size: i64,
    header_id: Option<String>,
}

impl TryFrom<OutgoingRow> for Outgoing {
    type Error = Error;

    fn try_from(row: OutgoingRow) -> Result<Self> {
        let ret = row.ret.map(|code| Ret::from_code(code).ok_or(Error::Damaged("outgoing with an unknown RET")));
        let by_mode = |code| ByMode::from_code(code).ok_or(Error::Damaged("outgoing with an unknown by-mode"));
        let deliver_by = match (row.deliver_by, row.by_mode) {
            (Some(at), Some(code)) => Some((at, by_mode(code)?)),
            _ => None,
        };
        Ok(Self {
            id: QueueId(row.id),
            message: MessageId(row.message_id),
            sender: row.sender,
            author: row.author,
            top: row.top,
            account: row.account_id.map(AccountId),
            origin: QueueOrigin::from_code(row.origin).ok_or(Error::Damaged("outgoing of an unknown origin"))?,
            body_type: BodyType::from_code(row.body_type)
                .ok_or(Error::Damaged("outgoing with an unknown body type"))?,
            smtputf8: row.smtputf8,
            require_tls: row.require_tls,
            envid: row.envid,
            ret: ret.transpose()?,
            priority: i8::try_from(row.priority).map_err(|_| Error::Damaged("outgoing with an unknown priority"))?,
            deliver_by,
            accepted_at: row.accepted_at,
            expires_at: row.expires_at,
            size: row.size.cast_unsigned(),
            header_id: row.header_id,
        })
    }
}

pub(super) struct DeliveryRow {
    id: i64,
    outgoing_id: i64,
    recipient: String,
    domain: String,
    route: Option<String>,
    binding: Option<String>,
    orcpt: Option<String>,
    notify: Option<i16>,
    lane: i16,
    state: i16,
    due_at: DateTime<Utc>,
    not_before: Option<DateTime<Utc>>,
    attempts: i32,
    notice_at: Option<DateTime<Utc>>,
    claim: Option<i64>,
    last_at: Option<DateTime<Utc>>,
    last_host: Option<String>,
    last_reply: Option<String>,
    note: Option<String>,
}

impl TryFrom<DeliveryRow> for Delivery {
    type Error = Error;

    fn try_from(row: DeliveryRow) -> Result<Self> {
        let notify =
            row.notify.map(|code| Notify::from_code(code).ok_or(Error::Damaged("delivery with an unknown NOTIFY")));
        Ok(Self {
            id: DeliveryId(row.id),
            outgoing: QueueId(row.outgoing_id),
            recipient: row.recipient,
            domain: row.domain,
            route: row.route,
            binding: row.binding,
            orcpt: row.orcpt,
            notify: notify.transpose()?,
            lane: Lane::from_code(row.lane).ok_or(Error::Damaged("delivery in an unknown lane"))?,
            state: DeliveryState::from_code(row.state).ok_or(Error::Damaged("delivery in an unknown state"))?,
            due_at: row.due_at,
            not_before: row.not_before,
            attempts: u32::try_from(row.attempts).unwrap_or(0),
            notice_at: row.notice_at,
            claim: row.claim.map(ClaimId),
            last_at: row.last_at,
            last_host: row.last_host,
            last_reply: row.last_reply,
            note: row.note,
        })
    }
}

/// An envelope with its unfinished recipients; `None` when there is no such queue id (any more).
///
/// # Errors
/// What the database said, or damage.
pub async fn load(connection: &mut PgConnection, id: QueueId) -> Result<Option<(Outgoing, Vec<Delivery>)>> {
    let ids = sqlx::query_scalar!("select id from delivery where outgoing_id = $1 order by id", id.0)
        .fetch_all(&mut *connection)
        .await?;
    let mut found = Vec::with_capacity(ids.len());
    let mut outgoing = None;
    for (envelope, delivery) in deliveries(connection, &ids.into_iter().map(DeliveryId).collect::<Vec<_>>()).await? {
        outgoing = Some(envelope);
        found.push(delivery);
    }
    Ok(outgoing.map(|outgoing| (outgoing, found)))
}

/// These deliveries, each with its envelope, in the order asked for; those that are gone are left out.
///
/// # Errors
/// What the database said, or damage.
pub async fn deliveries(connection: &mut PgConnection, ids: &[DeliveryId]) -> Result<Vec<(Outgoing, Delivery)>> {
    let (rows, outgoing) = read(connection, ids).await?;
    let mut known: HashMap<QueueId, Outgoing> = HashMap::with_capacity(outgoing.len());
    for row in outgoing {
        let outgoing = Outgoing::try_from(row)?;
        known.insert(outgoing.id, outgoing);
    }
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let delivery = Delivery::try_from(row)?;
        // Finished between the two statements, the envelope is gone with its last delivery.
        if let Some(outgoing) = known.get(&delivery.outgoing) {
            found.push((outgoing.clone(), delivery));
        }
    }
    Ok(found)
}

/// What [`gather`] makes of rows.
pub(super) struct Gathered {
    /// Envelopes in the order in which their first delivery was asked for.
    pub(super) work: Vec<(Outgoing, Vec<Delivery>)>,
    /// What cannot be read, and why.
    pub(super) damaged: Vec<(DeliveryId, &'static str)>,
}

/// These deliveries by envelope. A row that cannot be read does not stop the others.
pub(super) async fn gather(connection: &mut PgConnection, ids: &[DeliveryId]) -> Result<Gathered> {
    let (rows, outgoing) = read(connection, ids).await?;
    let mut envelopes: HashMap<QueueId, Result<Outgoing>> =
        outgoing.into_iter().map(|row| (QueueId(row.id), Outgoing::try_from(row))).collect();
    let mut gathered = Gathered { work: Vec::with_capacity(envelopes.len()), damaged: Vec::new() };
    let mut places: HashMap<QueueId, usize> = HashMap::with_capacity(envelopes.len());
    for row in rows {
        let id = DeliveryId(row.id);
        let delivery = match Delivery::try_from(row) {
            Ok(delivery) => delivery,
            Err(error) => {
                gathered.damaged.push((id, reason(&error)));
                continue;
            }
        };
        if let Some(place) = places.get(&delivery.outgoing) {
            gathered.work[*place].1.push(delivery);
            continue;
        }
        match envelopes.get(&delivery.outgoing) {
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                gathered.damaged.push((id, reason(error)));
                continue;
            }
            None => {
                gathered.damaged.push((id, "delivery without an outgoing"));
                continue;
            }
        }
        if let Some(Ok(outgoing)) = envelopes.remove(&delivery.outgoing) {
            places.insert(delivery.outgoing, gathered.work.len());
            gathered.work.push((outgoing, vec![delivery]));
        }
    }
    Ok(gathered)
}

fn reason(error: &Error) -> &'static str {
    match error {
        Error::Damaged(what) => what,
        _ => "unreadable",
    }
}

/// The rows in the order asked for, and their envelopes in no particular order.
async fn read(connection: &mut PgConnection, ids: &[DeliveryId]) -> Result<(Vec<DeliveryRow>, Vec<OutgoingRow>)> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let mut rows = sqlx::query_as!(
        DeliveryRow,
        "select id, outgoing_id, recipient, domain, route, binding, orcpt, notify, lane, state, due_at, not_before,
                attempts, notice_at, claim, last_at, last_host, last_reply, note
         from delivery where id = any ($1)",
        &ids
    )
    .fetch_all(&mut *connection)
    .await?;
    let order: HashMap<i64, usize> = ids.iter().zip(0..).map(|(id, place)| (*id, place)).collect();
    rows.sort_unstable_by_key(|row| order.get(&row.id).copied());
    let mut envelopes: Vec<i64> = rows.iter().map(|row| row.outgoing_id).collect();
    envelopes.sort_unstable();
    envelopes.dedup();
    let outgoing = sqlx::query_as!(
        OutgoingRow,
        "select id, message_id, sender, author, top, account_id, origin, body_type, smtputf8, require_tls, envid, ret,
                priority, deliver_by, by_mode, accepted_at, expires_at, size, header_id
         from outgoing where id = any ($1)",
        &envelopes
    )
    .fetch_all(connection)
    .await?;
    Ok((rows, outgoing))
}
