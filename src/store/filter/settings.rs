//! What recipients want of the filter, with fields that may be null; and senders whom they want or do not.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::postgres::PgListener;

use crate::Result;

/// Where engines hear that something changed.
pub(crate) const CHANNEL: &str = "posthorn_filter";

/// What is set for one pattern; `None` falls through to a less specific one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SettingRow {
    /// The pattern, folded.
    pub who: String,
    /// Levels.
    pub tag: Option<f64>,
    /// From here on it is called spam.
    pub tag2: Option<f64>,
    /// From here on with the second tag.
    pub tag3: Option<f64>,
    /// From here on the destiny of spam applies.
    pub kill: Option<f64>,
    /// The word of the destiny of viruses.
    pub virus: Option<String>,
    /// The same of banned files.
    pub banned: Option<String>,
    /// The same of what could not be looked at.
    pub unchecked: Option<String>,
    /// The same from `kill` on.
    pub spam: Option<String>,
    /// The same from `tag2` on.
    pub spammy: Option<String>,
    /// The same of unsound headers.
    pub bad_header: Option<String>,
    /// No viruses are looked for.
    pub bypass_virus: Option<bool>,
    /// All files are allowed.
    pub bypass_banned: Option<bool>,
    /// Nothing is scored.
    pub bypass_spam: Option<bool>,
    /// No header is unsound.
    pub bypass_header: Option<bool>,
    /// Before the subject from `tag2` on.
    pub subject_tag: Option<String>,
    /// Before the subject from `tag3` on.
    pub subject_tag3: Option<String>,
    /// Names of sets of rules for files, separated by commas.
    pub banned_sets: Option<String>,
    /// The most octets of a message; 0 is no limit.
    pub size_limit: Option<i64>,
    /// From here on its sender gets no report.
    pub report_cutoff: Option<f64>,
    /// From here on it is refused where it would be held.
    pub hold_cutoff: Option<f64>,
    /// The detail that the address gets for mail with a virus; empty for none.
    pub extension_virus: Option<String>,
    /// The same for banned files.
    pub extension_banned: Option<String>,
    /// The same for spam.
    pub extension_spam: Option<String>,
    /// The same for unsound headers.
    pub extension_header: Option<String>,
    /// The recipient is told of mail with a virus that did not reach it.
    pub warn_virus: Option<bool>,
    /// The same of banned files.
    pub warn_banned: Option<bool>,
    /// The same of unsound headers.
    pub warn_header: Option<bool>,
    /// Who else is told of mail with a virus; empty for nobody.
    pub admin_virus: Option<String>,
    /// The same of banned files.
    pub admin_banned: Option<String>,
    /// The same of spam.
    pub admin_spam: Option<String>,
    /// The same of unsound headers.
    pub admin_header: Option<String>,
}

/// A sender whom a recipient wants, or does not.
#[derive(Clone, Debug, PartialEq)]
pub struct SenderRow {
    /// Whose view, a pattern, folded.
    pub who: String,
    /// The sender, a pattern, folded.
    pub sender: String,
    /// What it adds to the score.
    pub score: f64,
    /// A note.
    pub note: String,
}

/// All that is set.
///
/// # Errors
/// What the database said.
pub async fn list(connection: &mut PgConnection) -> Result<Vec<SettingRow>> {
    Ok(sqlx::query_as!(
        SettingRow,
        "select
             who, tag, tag2, tag3, kill, virus, banned, unchecked, spam, spammy, bad_header, bypass_virus,
             bypass_banned, bypass_spam, bypass_header, subject_tag, subject_tag3, banned_sets, size_limit,
             report_cutoff, hold_cutoff, extension_virus, extension_banned, extension_spam, extension_header,
             warn_virus, warn_banned, warn_header, admin_virus, admin_banned, admin_spam, admin_header
         from filter_setting order by who"
    )
    .fetch_all(connection)
    .await?)
}

/// Sets all fields of a pattern, and tells the engines.
///
/// # Errors
/// What the database said.
pub async fn put(connection: &mut PgConnection, row: &SettingRow, now: DateTime<Utc>) -> Result<()> {
    sqlx::query!(
        "insert into filter_setting (
             who, tag, tag2, tag3, kill, virus, banned, unchecked, spam, spammy, bad_header, bypass_virus,
             bypass_banned, bypass_spam, bypass_header, subject_tag, subject_tag3, banned_sets, size_limit,
             report_cutoff, hold_cutoff, extension_virus, extension_banned, extension_spam, extension_header,
             warn_virus, warn_banned, warn_header, admin_virus, admin_banned, admin_spam, admin_header, changed_at)
         values (
             $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
             $24, $25, $26, $27, $28, $29, $30, $31, $32, $33)
         on conflict (who) do update set
             tag = excluded.tag, tag2 = excluded.tag2, tag3 = excluded.tag3, kill = excluded.kill,
             virus = excluded.virus, banned = excluded.banned, unchecked = excluded.unchecked, spam = excluded.spam,
             spammy = excluded.spammy, bad_header = excluded.bad_header, bypass_virus = excluded.bypass_virus,
             bypass_banned = excluded.bypass_banned, bypass_spam = excluded.bypass_spam,
             bypass_header = excluded.bypass_header, subject_tag = excluded.subject_tag,
             subject_tag3 = excluded.subject_tag3, banned_sets = excluded.banned_sets,
             size_limit = excluded.size_limit, report_cutoff = excluded.report_cutoff,
             hold_cutoff = excluded.hold_cutoff, extension_virus = excluded.extension_virus,
             extension_banned = excluded.extension_banned, extension_spam = excluded.extension_spam,
             extension_header = excluded.extension_header, warn_virus = excluded.warn_virus,
             warn_banned = excluded.warn_banned, warn_header = excluded.warn_header,
             admin_virus = excluded.admin_virus, admin_banned = excluded.admin_banned,
             admin_spam = excluded.admin_spam, admin_header = excluded.admin_header, changed_at = excluded.changed_at",
        row.who,
        row.tag,
        row.tag2,
        row.tag3,
        row.kill,
        row.virus,
        row.banned,
        row.unchecked,
        row.spam,
        row.spammy,
        row.bad_header,
        row.bypass_virus,
        row.bypass_banned,
        row.bypass_spam,
        row.bypass_header,
        row.subject_tag,
        row.subject_tag3,
        row.banned_sets,
        row.size_limit,
        row.report_cutoff,
        row.hold_cutoff,
        row.extension_virus,
        row.extension_banned,
        row.extension_spam,
        row.extension_header,
        row.warn_virus,
        row.warn_banned,
        row.warn_header,
        row.admin_virus,
        row.admin_banned,
        row.admin_spam,
        row.admin_header,
        now,
    )
    .execute(&mut *connection)
    .await?;
    tell(connection).await
}

/// Forgets all fields of a pattern. Returns whether there were any.
///
/// # Errors
/// What the database said.
pub async fn remove(connection: &mut PgConnection, who: &str) -> Result<bool> {
    let done = sqlx::query!("delete from filter_setting where who = $1", who).execute(&mut *connection).await?;
    tell(connection).await?;
    Ok(done.rows_affected() > 0)
}

/// All senders that somebody wants or does not.
///
/// # Errors
/// What the database said.
pub async fn senders(connection: &mut PgConnection) -> Result<Vec<SenderRow>> {
    let rows = sqlx::query_as!(SenderRow, "select who, sender, score, note from filter_sender order by who, sender");
    Ok(rows.fetch_all(connection).await?)
}

/// Says what a sender's mail scores for a recipient, and tells the engines.
///
/// # Errors
/// What the database said.
pub async fn put_sender(connection: &mut PgConnection, row: &SenderRow, now: DateTime<Utc>) -> Result<()> {
    sqlx::query!(
        "insert into filter_sender (who, sender, score, note, added_at) values ($1, $2, $3, $4, $5)
         on conflict (who, sender) do update set score = excluded.score, note = excluded.note",
        row.who,
        row.sender,
        row.score,
        row.note,
        now,
    )
    .execute(&mut *connection)
    .await?;
    tell(connection).await
}

/// Forgets what was said of a sender. Returns whether something was.
///
/// # Errors
/// What the database said.
pub async fn remove_sender(connection: &mut PgConnection, who: &str, sender: &str) -> Result<bool> {
    let done = sqlx::query!("delete from filter_sender where who = $1 and sender = $2", who, sender)
        .execute(&mut *connection)
        .await?;
    tell(connection).await?;
    Ok(done.rows_affected() > 0)
}

async fn tell(connection: &mut PgConnection) -> Result<()> {
    sqlx::query!("select pg_notify('posthorn_filter', 'settings')").fetch_one(connection).await?;
    Ok(())
}

/// Hears that settings changed.
#[derive(Debug)]
pub struct Listener(PgListener);

impl Listener {
    pub(crate) fn new(listener: PgListener) -> Self {
        Self(listener)
    }

    /// Waits for a change; also when some may have been missed.
    ///
    /// # Errors
    /// When the connection broke: begin anew.
    pub async fn next(&mut self) -> Result<()> {
        self.0.try_recv().await?;
        Ok(())
    }
}
