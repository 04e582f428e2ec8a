//! The queue's part of a group commit: what leaves comes in, and what left goes.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgConnection;

use super::Body;
use crate::Result;
use crate::queue::{Completion, NewDelivery, NewOutgoing, Outcome};

/// Inserts envelopes with their recipients, and the bodies that no mailbox keeps.
pub(super) async fn enqueue(connection: &mut PgConnection, queued: &[&NewOutgoing], bodies: &[&Body]) -> Result<()> {
    let of = Recipients::of(queued);
    sqlx::query_file!(
        "writer/enqueue.sql",
        &bodies.iter().map(|b| b.message).collect::<Vec<_>>(),
        &bodies.iter().map(|b| b.part).collect::<Vec<_>>(),
        &bodies.iter().map(|b| b.header.as_deref()).collect::<Vec<_>>() as _,
        &bodies.iter().map(|b| b.text.as_slice()).collect::<Vec<_>>() as _,
        &queued.iter().map(|q| q.outgoing.id.0).collect::<Vec<_>>(),
        &queued.iter().map(|q| q.outgoing.message.0).collect::<Vec<_>>(),
        &queued.iter().map(|q| q.outgoing.sender.as_deref()).collect::<Vec<_>>() as _,
        &queued.iter().map(|q| q.outgoing.top.as_deref()).collect::<Vec<_>>() as _,
        &queued.iter().map(|q| q.outgoing.account.map(|id| id.0)).collect::<Vec<_>>() as _,
        &queued.iter().map(|q| q.outgoing.origin.code()).collect::<Vec<_>>(),
        &queued.iter().map(|q| q.outgoing.body_type.code()).collect::<Vec<_>>(),
        &queued.iter().map(|q| q.outgoing.smtputf8).collect::<Vec<_>>(),
        &queued.iter().map(|q| q.outgoing.require_tls).collect::<Vec<_>>(),
        &queued.iter().map(|q| q.outgoing.envid.as_deref()).collect::<Vec<_>>() as _,
        &queued.iter().map(|q| q.outgoing.ret.map(|ret| ret.code())).collect::<Vec<_>>() as _,
        &queued.iter().map(|q| i16::from(q.outgoing.priority)).collect::<Vec<_>>(),
        &queued.iter().map(|q| q.outgoing.deliver_by.map(|by| by.0)).collect::<Vec<_>>() as _,
        &queued.iter().map(|q| q.outgoing.deliver_by.map(|by| by.1.code())).collect::<Vec<_>>() as _,
        &queued.iter().map(|q| q.outgoing.accepted_at).collect::<Vec<_>>(),
        &queued.iter().map(|q| q.outgoing.expires_at).collect::<Vec<_>>(),
        &queued.iter().map(|q| i64::try_from(q.outgoing.size).unwrap_or(i64::MAX)).collect::<Vec<_>>(),
        &queued.iter().map(|q| q.outgoing.header_id.as_deref()).collect::<Vec<_>>() as _,
        &queued.iter().map(|q| i32::try_from(q.deliveries.len()).unwrap_or(i32::MAX)).collect::<Vec<_>>(),
        &of.each.iter().map(|d| d.id.0).collect::<Vec<_>>(),
        &of.outgoing,
        &of.each.iter().map(|d| d.recipient.as_str()).collect::<Vec<_>>() as _,
        &of.each.iter().map(|d| d.domain.as_str()).collect::<Vec<_>>() as _,
        &of.each.iter().map(|d| d.orcpt.as_deref()).collect::<Vec<_>>() as _,
        &of.each.iter().map(|d| d.notify.map(|notify| notify.code())).collect::<Vec<_>>() as _,
        &of.each.iter().map(|d| d.lane.code()).collect::<Vec<_>>(),
        &of.each.iter().map(|d| d.due_at).collect::<Vec<_>>(),
        &of.each.iter().map(|d| d.notice_at).collect::<Vec<_>>() as _,
        &of.claim as _,
        of.claim.iter().any(Option::is_none),
        &queued.iter().map(|q| q.outgoing.author.as_deref()).collect::<Vec<_>>() as _,
        &of.each.iter().map(|d| d.not_before).collect::<Vec<_>>() as _,
        &of.each.iter().map(|d| d.route.as_deref()).collect::<Vec<_>>() as _,
        &of.each.iter().map(|d| d.held.as_deref()).collect::<Vec<_>>() as _,
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

/// The recipients of all envelopes in one row of columns.
#[derive(Default)]
struct Recipients<'q> {
    each: Vec<&'q NewDelivery>,
    outgoing: Vec<i64>,
    claim: Vec<Option<i64>>,
}

impl<'q> Recipients<'q> {
    fn of(queued: &[&'q NewOutgoing]) -> Self {
        let mut all = Self::default();
        for new in queued {
            for delivery in &new.deliveries {
                all.each.push(delivery);
                all.outgoing.push(new.outgoing.id.0);
                all.claim.push(new.claim.map(|claim| claim.0));
            }
        }
        all
    }
}

/// Records what became of deliveries; for each whether it was still in the hand of who says so.
pub(super) async fn complete(connection: &mut PgConnection, all: &[&Completion]) -> Result<Vec<bool>> {
    let outcomes: Vec<Columns<'_>> = all.iter().map(|completion| Columns::of(&completion.outcome)).collect();
    let rows = sqlx::query_file!(
        "writer/complete.sql",
        &all.iter().map(|c| c.delivery.0).collect::<Vec<_>>(),
        &all.iter().map(|c| c.claim.0).collect::<Vec<_>>(),
        &all.iter().map(|c| c.at).collect::<Vec<_>>(),
        &all.iter().map(|c| c.binding.as_deref()).collect::<Vec<_>>() as _,
        &all.iter().map(|c| c.host.as_deref()).collect::<Vec<_>>() as _,
        &all.iter().map(|c| c.reply.as_deref()).collect::<Vec<_>>() as _,
        &outcomes.iter().map(|c| c.code).collect::<Vec<_>>(),
        &outcomes.iter().map(|c| c.due_at).collect::<Vec<_>>() as _,
        &outcomes.iter().map(|c| c.notice_at).collect::<Vec<_>>() as _,
        &outcomes.iter().map(|c| c.attempted).collect::<Vec<_>>(),
        &outcomes.iter().map(|c| c.note).collect::<Vec<_>>() as _,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| row.done).collect())
}

/// The columns of an [`Outcome`], whose codes `complete.sql` names.
struct Columns<'o> {
    code: i16,
    due_at: Option<DateTime<Utc>>,
    notice_at: Option<DateTime<Utc>>,
    attempted: bool,
    note: Option<&'o str>,
}

impl<'o> Columns<'o> {
    fn of(outcome: &'o Outcome) -> Self {
        let code = |code| Self { code, due_at: None, notice_at: None, attempted: false, note: None };
        match outcome {
            Outcome::Gone => code(1),
            Outcome::Deferred { due_at, notice_at, attempted } => {
                Self { due_at: Some(*due_at), notice_at: *notice_at, attempted: *attempted, ..code(2) }
            }
            Outcome::Returned => code(3),
            Outcome::Held { note } => Self { note: Some(note), ..code(4) },
            Outcome::SetAside { note } => Self { note: Some(note), ..code(5) },
        }
    }
}
