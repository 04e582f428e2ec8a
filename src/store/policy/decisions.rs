//! What was decided about whom and why: written behind, read by who asks why something was refused.

use std::borrow::Cow;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, QueryBuilder, Row as _};

use crate::Result;
use crate::partitions::ByDay;

/// No text is kept beyond so many octets.
const LONGEST: usize = 1024;

const DAYS: ByDay = ByDay {
    name: "decision",
    key: "at",
    // "deci" in ASCII
    lock: 0x6465_6369,
    start: |moment| format!("'{}'", moment.to_rfc3339()),
};

/// One decision.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DecisionRow {
    /// When.
    pub at: DateTime<Utc>,
    /// At which stage of the session.
    pub stage: String,
    /// The client's address; empty when it is not known.
    pub client: String,
    /// Its confirmed name.
    pub client_name: Option<String>,
    /// What it called itself.
    pub helo: Option<String>,
    /// The sender, folded; empty for the null sender.
    pub sender: Option<String>,
    /// The recipients that it was about, folded.
    pub recipients: Vec<String>,
    /// Who had logged in, folded.
    pub login: Option<String>,
    /// The session's TLS version and cipher.
    pub tls: Option<String>,
    /// The message, as the asking server names it.
    pub instance: String,
    /// What was said.
    pub action: String,
    /// The rule that said it.
    pub rule: String,
    /// Why.
    pub why: String,
}

/// Which decisions are asked for; what is `None` does not matter.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Wanted {
    /// From this sender; empty is the null sender.
    pub sender: Option<String>,
    /// For this recipient.
    pub recipient: Option<String>,
    /// From this address.
    pub client: Option<String>,
    /// Of this login.
    pub login: Option<String>,
    /// Since then.
    pub since: Option<DateTime<Utc>>,
}

/// Writes decisions, in one statement.
///
/// # Errors
/// What the database said.
pub async fn write(connection: &mut PgConnection, rows: &[DecisionRow]) -> Result<()> {
    let each = |pick: fn(&DecisionRow) -> Option<&str>| {
        rows.iter().map(|row| pick(row).map(|text| fit(text).into_owned())).collect::<Vec<_>>()
    };
    let recipients = |row: &DecisionRow| row.recipients.iter().map(|one| fit(one)).collect::<Vec<_>>().join("\n");
    sqlx::query!(
        "insert into decision (at, stage, client, client_name, helo, sender, recipients, login, tls, instance, action, rule, why)
         select at, stage, client, client_name, lower(helo), lower(sender),
             string_to_array(lower(recipients), E'\\n'), lower(login), tls, instance, action, rule, why
         from unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                     $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[])
             as t (at, stage, client, client_name, helo, sender, recipients, login, tls, instance, action, rule, why)",
        &rows.iter().map(|row| row.at).collect::<Vec<_>>(),
        &each(|row| Some(&row.stage)) as _,
        &each(|row| Some(&row.client)) as _,
        &each(|row| row.client_name.as_deref()) as _,
        &each(|row| row.helo.as_deref()) as _,
        &each(|row| row.sender.as_deref()) as _,
        &rows.iter().map(recipients).collect::<Vec<_>>(),
        &each(|row| row.login.as_deref()) as _,
        &each(|row| row.tls.as_deref()) as _,
        &each(|row| Some(&row.instance)) as _,
        &each(|row| Some(&row.action)) as _,
        &each(|row| Some(&row.rule)) as _,
        &each(|row| Some(&row.why)) as _
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The latest decisions of these, the latest first.
///
/// # Errors
/// What the database said.
pub async fn find(connection: &mut PgConnection, wanted: &Wanted, limit: u32) -> Result<Vec<DecisionRow>> {
    // Put together from fixed conditions, so that the index of what is asked for serves; values are parameters.
    let mut query = QueryBuilder::new(
        "select at, stage, client, client_name, helo, sender, recipients, login, tls, instance, action, rule, why
         from decision where true",
    );
    if let Some(sender) = &wanted.sender {
        query.push(" and sender = ").push_bind(sender.to_lowercase());
    }
    if let Some(recipient) = &wanted.recipient {
        query.push(" and recipients @> ").push_bind(vec![recipient.to_lowercase()]);
    }
    if let Some(client) = &wanted.client {
        query.push(" and client = ").push_bind(client.clone());
    }
    if let Some(login) = &wanted.login {
        query.push(" and login = ").push_bind(login.to_lowercase());
    }
    if let Some(since) = wanted.since {
        query.push(" and at >= ").push_bind(since);
    }
    query.push(" order by at desc limit ").push_bind(i64::from(limit));
    let rows = query.build().fetch_all(connection).await?;
    rows.into_iter()
        .map(|row| {
            Ok(DecisionRow {
                at: row.try_get(0)?,
                stage: row.try_get(1)?,
                client: row.try_get(2)?,
                client_name: row.try_get(3)?,
                helo: row.try_get(4)?,
                sender: row.try_get(5)?,
                recipients: row.try_get(6)?,
                login: row.try_get(7)?,
                tls: row.try_get(8)?,
                instance: row.try_get(9)?,
                action: row.try_get(10)?,
                rule: row.try_get(11)?,
                why: row.try_get(12)?,
            })
        })
        .collect()
}

/// Makes the partitions of the days to come, and forgets what was decided longer than `keep` ago. To be called once an
/// hour or so, inside a transaction of its own. Returns how many days were forgotten.
///
/// # Errors
/// What the database said; among it that readers were in the way for two seconds, which the next call makes good.
pub async fn tend(connection: &mut PgConnection, now: DateTime<Utc>, keep: TimeDelta) -> Result<usize> {
    DAYS.tend(connection, now, keep).await
}

/// A text as the table takes it: not too long, without the one character that PostgreSQL's text has not and the one that
/// parts recipients.
fn fit(text: &str) -> Cow<'_, str> {
    let end = text.floor_char_boundary(LONGEST);
    let text = &text[..end];
    if text.contains(['\0', '\n']) { Cow::Owned(text.replace(['\0', '\n'], "\u{fffd}")) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fit() {
        assert_eq!(fit("a\0b\nc"), "a\u{fffd}b\u{fffd}c");
        assert_eq!(fit(&"ä".repeat(600)).len(), LONGEST);
    }
}
