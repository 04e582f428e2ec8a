//! Finding deliveries for lists and orders. The one place of the store where a statement is put together: each condition
//! is a fixed text, and values arrive as parameters, except for numbers.

use chrono::{DateTime, Utc};
use posthorn_model::{DeliveryId, DeliveryState, Lane, MessageId, QueueId};
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};

use crate::{Result, ids};

/// Which deliveries; every condition given must hold. Text is compared without the case of ASCII letters.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter {
    /// Of one envelope.
    pub outgoing: Option<QueueId>,
    /// Who wrote it, whatever return path was put in their place; empty is the null path, `@example.org` everybody of a
    /// domain.
    pub sender: Option<String>,
    /// The forward path; `@example.org` is everybody of a domain.
    pub recipient: Option<String>,
    /// The recipient's domain, as [`super::Delivery::domain`].
    pub domain: Option<String>,
    /// The binding used last or ordered.
    pub binding: Option<String>,
    /// Which queue it stands in.
    pub lane: Option<Lane>,
    /// Whether it may be tried.
    pub state: Option<DeliveryState>,
    /// In a courier's hand (`true`), or not.
    pub in_hand: Option<bool>,
    /// Tried without success (`true`), or not tried yet.
    pub tried: Option<bool>,
    /// Accepted before this moment, by the clock that its id was made from.
    pub accepted_before: Option<DateTime<Utc>>,
    /// Accepted at or after this moment, by the same.
    pub accepted_after: Option<DateTime<Utc>>,
    /// Part of the last reply, or of the note.
    pub error: Option<String>,
    /// The whole Message-ID field, without angle brackets.
    pub header_id: Option<String>,
}

/// One that was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Found {
    /// Which one; goes on as `after`.
    pub delivery: DeliveryId,
    /// Of which envelope.
    pub outgoing: QueueId,
    /// Of which message: [`crate::messages::headers`] has its fields, for conditions on them.
    pub message: MessageId,
}

/// Up to `limit` deliveries, oldest first, behind the one named.
///
/// # Errors
/// What the database said.
pub async fn select(
    connection: &mut PgConnection,
    filter: &Filter,
    after: Option<DeliveryId>,
    limit: u32,
) -> Result<Vec<Found>> {
    // The page is found first: only its envelopes are looked up, not those of all rows on the way there.
    let mut query =
        QueryBuilder::new("select d.id, d.outgoing_id, o.message_id from (select d.id, d.outgoing_id from delivery d");
    if filter.asks_envelope() {
        query.push(ENVELOPE);
    }
    // Numbers are written out: our connections plan for any value, and any limit is a third of the table.
    query.push(" where d.id > ").push(after.map_or(i64::MIN, |id| id.0));
    conditions(&mut query, filter);
    query.push(" order by d.id limit ").push(limit);
    query.push(") d join outgoing o on o.id = d.outgoing_id order by d.id");
    let rows = query.build().persistent(false).fetch_all(connection).await?;
    rows.into_iter()
        .map(|row| {
            Ok(Found {
                delivery: DeliveryId(row.try_get(0)?),
                outgoing: QueueId(row.try_get(1)?),
                message: MessageId(row.try_get(2)?),
            })
        })
        .collect()
}

/// How many deliveries there are.
///
/// # Errors
/// What the database said.
pub async fn count(connection: &mut PgConnection, filter: &Filter) -> Result<u64> {
    let mut query = QueryBuilder::new("select count(*) from delivery d");
    if filter.asks_envelope() {
        query.push(ENVELOPE);
    }
    query.push(" where true");
    conditions(&mut query, filter);
    let count: i64 = query.build_query_scalar().persistent(false).fetch_one(connection).await?;
    Ok(count.cast_unsigned())
}

/// What a condition on the envelope needs.
const ENVELOPE: &str = " join outgoing o on o.id = d.outgoing_id";

/// Who wrote it, as the index `outgoing_author` has it: from behind, so that a domain is how it begins.
const AUTHOR: &str = r#"reverse(lower(coalesce(o.author, o.sender) collate "C"))"#;

impl Filter {
    fn asks_envelope(&self) -> bool {
        self.sender.is_some() || self.header_id.is_some()
    }
}

fn conditions(query: &mut QueryBuilder<Postgres>, filter: &Filter) {
    if let Some(id) = filter.outgoing {
        query.push(" and d.outgoing_id = ").push_bind(id.0);
    }
    match filter.sender.as_deref() {
        None => {}
        Some("") => {
            query.push(" and ").push(AUTHOR).push(" is null");
        }
        Some(sender) => author(query, sender),
    }
    if let Some(recipient) = &filter.recipient {
        address_is(query, recipient);
        if let Some(domain) = plain_domain(recipient) {
            // The same said again, so that the index of domains serves.
            query.push(" and d.domain = ").push_bind(domain);
        }
    }
    if let Some(domain) = &filter.domain {
        query.push(" and d.domain = ").push_bind(domain.to_ascii_lowercase());
    }
    if let Some(binding) = &filter.binding {
        query.push(" and d.binding = ").push_bind(binding.clone());
    }
    if let Some(lane) = filter.lane {
        query.push(" and d.lane = ").push_bind(lane.code());
    }
    if let Some(state) = filter.state {
        // Written out: only so is it seen that the index of what is not due serves.
        query.push(match state {
            DeliveryState::Due => " and d.state = 1",
            DeliveryState::Held => " and d.state = 2",
            DeliveryState::SetAside => " and d.state = 3",
        });
    }
    match filter.in_hand {
        None => {}
        Some(true) => {
            query.push(" and d.claim is not null");
        }
        Some(false) => {
            query.push(" and d.claim is null");
        }
    }
    match filter.tried {
        None => {}
        Some(true) => {
            query.push(" and d.attempts > 0");
        }
        Some(false) => {
            query.push(" and d.attempts = 0");
        }
    }
    if let Some(moment) = filter.accepted_before {
        // Ids hold the time: no other index, and no look at the envelope.
        query.push(" and d.id < ").push(ids::first_at(moment));
    }
    if let Some(moment) = filter.accepted_after {
        query.push(" and d.id >= ").push(ids::first_at(moment));
    }
    if let Some(text) = &filter.error {
        // The other collations fold ten times slower, and replies are ASCII.
        let folded = text.to_ascii_lowercase();
        query.push(r#" and (strpos(lower(d.last_reply collate "C"), "#).push_bind(folded.clone());
        query.push(r#") > 0 or strpos(lower(d.note collate "C"), "#).push_bind(folded).push(") > 0)");
    }
    if let Some(id) = &filter.header_id {
        query.push(" and o.header_id = ").push_bind(id.clone());
    }
}

/// The folded domain of an address, where it has one that is only ever written in one way.
fn plain_domain(address: &str) -> Option<String> {
    let (_, domain) = address.rsplit_once('@')?;
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-');
    let folded = domain.to_ascii_lowercase();
    // An international domain is kept in one spelling, and may have been written in the other.
    (domain.bytes().all(plain) && !folded.contains("xn--")).then_some(folded)
}

/// A whole address, or everybody of `@domain`, as the recipient.
fn address_is(query: &mut QueryBuilder<Postgres>, address: &str) {
    let folded = address.to_ascii_lowercase();
    if folded.starts_with('@') {
        query.push(r#" and right(lower(d.recipient collate "C"), "#);
        query.push_bind(i32::try_from(folded.chars().count()).unwrap_or(i32::MAX));
        query.push(") = ").push_bind(folded);
    } else {
        query.push(r#" and lower(d.recipient collate "C") = "#).push_bind(folded);
    }
}

/// The same as the author.
fn author(query: &mut QueryBuilder<Postgres>, address: &str) {
    let turned: String = address.to_ascii_lowercase().chars().rev().collect();
    match turned.strip_suffix('@') {
        // What begins so lies before the same with what follows `@` in its place.
        Some(domain) => {
            query.push(" and ").push(AUTHOR).push(" >= ").push_bind(turned.clone());
            query.push(" and ").push(AUTHOR).push(" < ").push_bind(format!("{domain}A"));
        }
        None => {
            query.push(" and ").push(AUTHOR).push(" = ").push_bind(turned);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_domains_of_one_spelling_are_looked_up() {
        assert_eq!(plain_domain("a@Example.org").as_deref(), Some("example.org"));
        assert_eq!(plain_domain("@b-1.example").as_deref(), Some("b-1.example"));
        for other in ["a", "a@b\u{fc}.example", "a@xn--b-xka.example", "a@[192.0.2.1]"] {
            assert_eq!(plain_domain(other), None, "{other}");
        }
    }
}
