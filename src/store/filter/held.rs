//! Held mail: one row a message, one for each recipient for whom it is held, the body in `body` as long as the row is there.

use chrono::{DateTime, TimeDelta, Utc};
use posthorn_model::{BodyType, ByMode, MessageId, Notify, Ret};
use sqlx::PgConnection;

use crate::partitions::ByDay;
use crate::{Result, ids};

fn first(moment: DateTime<Utc>) -> String {
    ids::first_at(moment).to_string()
}

// "held" and "hldr" in ASCII
const MESSAGES: ByDay = ByDay { name: "held", key: "message_id", lock: 0x6865_6c64, start: first };
const RECIPIENTS: ByDay = ByDay { name: "held_recipient", key: "message_id", lock: 0x686c_6472, start: first };

/// A message to hold.
#[derive(Clone, Debug, PartialEq)]
pub struct NewHeld {
    /// The message; its octets come with the parcel.
    pub message: MessageId,
    /// By which people name it: 12 characters.
    pub mail_id: String,
    /// Who knows it may release the message.
    pub secret: String,
    /// When.
    pub at: DateTime<Utc>,
    /// 1 to 9.
    pub category: i16,
    /// The score.
    pub score: f64,
    /// Why.
    pub why: String,
    /// The reverse path; empty is the null path.
    pub sender: String,
    /// The From field, as people read it.
    pub author: String,
    /// The subject.
    pub subject: String,
    /// The Message-ID field.
    pub header_id: Option<String>,
    /// The address that it came from.
    pub client: Option<String>,
    /// What its client called itself.
    pub helo: Option<String>,
    /// Octets.
    pub size: u64,
    /// Whether it came from one of our own people.
    pub originating: bool,
    /// What was asked of its way.
    pub terms: HeldTerms,
    /// For whom.
    pub recipients: Vec<HeldFor>,
    /// It stands or falls with the targets of this number.
    pub bond: Option<u16>,
}

/// What was asked of a held message's way, for when it leaves.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HeldTerms {
    /// BODY; `None` when nothing is known of it.
    pub body_type: Option<BodyType>,
    /// SMTPUTF8.
    pub smtputf8: bool,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// ENVID, decoded.
    pub envid: Option<String>,
    /// RET.
    pub ret: Option<Ret>,
    /// MT-PRIORITY.
    pub priority: i8,
    /// BY.
    pub deliver_by: Option<(DateTime<Utc>, ByMode)>,
    /// HOLDFOR or HOLDUNTIL.
    pub hold_until: Option<DateTime<Utc>>,
    /// The route that a policy chose.
    pub route: Option<String>,
}

/// Somebody for whom a message is held.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HeldFor {
    /// The address.
    pub recipient: String,
    /// ORCPT.
    pub orcpt: Option<String>,
    /// NOTIFY.
    pub notify: Option<Notify>,
}

/// What became of a held message for one recipient.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// It is held.
    Held,
    /// It was delivered.
    Released,
    /// It was deleted.
    Deleted,
}

impl Status {
    fn code(self) -> i16 {
        match self {
            Self::Held => 1,
            Self::Released => 2,
            Self::Deleted => 3,
        }
    }

    fn of_code(code: i16) -> Self {
        match code {
            2 => Self::Released,
            3 => Self::Deleted,
            _ => Self::Held,
        }
    }
}

/// A held message.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldRow {
    /// The message.
    pub message: MessageId,
    /// By which people name it.
    pub mail_id: String,
    /// Who knows it may release the message.
    pub secret: String,
    /// Since when.
    pub at: DateTime<Utc>,
    /// 1 to 9.
    pub category: i16,
    /// The score.
    pub score: f64,
    /// Why.
    pub why: String,
    /// The reverse path; empty is the null path.
    pub sender: String,
    /// The From field.
    pub author: String,
    /// The subject.
    pub subject: String,
    /// The Message-ID field.
    pub header_id: Option<String>,
    /// The address that it came from.
    pub client: Option<String>,
    /// What its client called itself.
    pub helo: Option<String>,
    /// Octets.
    pub size: i64,
    /// Whether it came from one of our own people.
    pub originating: bool,
    /// What was asked of its way.
    pub terms: HeldTerms,
}

/// Somebody for whom a message is held.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HeldRecipientRow {
    /// The message.
    pub message: MessageId,
    /// The number of the recipient.
    pub place: i16,
    /// The address.
    pub recipient: String,
    /// ORCPT.
    pub orcpt: Option<String>,
    /// NOTIFY.
    pub notify: Option<Notify>,
    /// What became of it.
    pub status: Status,
    /// When it became so.
    pub changed_at: Option<DateTime<Utc>>,
    /// Who made it so.
    pub changed_by: Option<String>,
}

/// Which held mail is asked for; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// For this recipient, or, with a leading `@`, this domain.
    pub recipient: Option<String>,
    /// From this reverse path.
    pub sender: Option<String>,
    /// Of this category.
    pub category: Option<i16>,
    /// Held since then.
    pub since: Option<DateTime<Utc>>,
    /// Held before.
    pub before: Option<DateTime<Utc>>,
    /// Behind this one in a list.
    pub below: Option<MessageId>,
    /// Also where nobody waits for it any more.
    pub settled: bool,
}

impl Wanted {
    /// The ids are below this one.
    fn bound(&self) -> Option<i64> {
        self.before.map(ids::first_at).into_iter().chain(self.below.map(|below| below.0)).min()
    }
}

/// Inserts what is to be held.
pub(crate) async fn insert(connection: &mut PgConnection, all: &[&NewHeld]) -> Result<()> {
    let text = |pick: fn(&NewHeld) -> &str| all.iter().map(|new| clean(pick(new))).collect::<Vec<String>>();
    let each: Vec<(&NewHeld, i16, &HeldFor)> =
        all.iter().flat_map(|new| (0..).zip(&new.recipients).map(|(place, to)| (*new, place, to))).collect();
    let terms: Vec<&HeldTerms> = all.iter().map(|new| &new.terms).collect();
    sqlx::query!(
        "with messages as (
             insert into held (message_id, mail_id, secret, at, category, score, why, sender, author, subject, header_id,
                 client, size, originating, helo, body_type, smtputf8, require_tls, envid, ret, priority, deliver_by, by_mode,
                 hold_until, route)
             select * from unnest($1::bigint[], $2::text[], $3::text[], $4::timestamptz[], $5::smallint[], $6::double precision[],
                 $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::bigint[], $14::boolean[], $21::text[],
                 $22::smallint[], $23::boolean[], $24::boolean[], $25::text[], $26::smallint[], $27::smallint[],
                 $28::timestamptz[], $29::smallint[], $30::timestamptz[], $31::text[])
         )
         insert into held_recipient (message_id, place, at, recipient, folded, orcpt, notify, status)
         select message_id, place, at, recipient, lower(recipient), orcpt, notify, 1
         from unnest($15::bigint[], $16::smallint[], $17::timestamptz[], $18::text[], $19::text[], $20::smallint[])
             as r (message_id, place, at, recipient, orcpt, notify)",
        &all.iter().map(|new| new.message.0).collect::<Vec<_>>(),
        &text(|new| &new.mail_id),
        &text(|new| &new.secret),
        &all.iter().map(|new| new.at).collect::<Vec<_>>(),
        &all.iter().map(|new| new.category).collect::<Vec<_>>(),
        &all.iter().map(|new| new.score).collect::<Vec<_>>(),
        &text(|new| &new.why),
        &text(|new| &new.sender),
        &text(|new| &new.author),
        &text(|new| &new.subject),
        &all.iter().map(|new| new.header_id.as_deref().map(clean)).collect::<Vec<_>>() as _,
        &all.iter().map(|new| new.client.as_deref()).collect::<Vec<_>>() as _,
        &all.iter().map(|new| i64::try_from(new.size).unwrap_or(i64::MAX)).collect::<Vec<_>>(),
        &all.iter().map(|new| new.originating).collect::<Vec<_>>(),
        &each.iter().map(|(new, ..)| new.message.0).collect::<Vec<_>>(),
        &each.iter().map(|(_, place, _)| *place).collect::<Vec<_>>(),
        &each.iter().map(|(new, ..)| new.at).collect::<Vec<_>>(),
        &each.iter().map(|(.., to)| clean(&to.recipient)).collect::<Vec<_>>(),
        &each.iter().map(|(.., to)| to.orcpt.as_deref().map(clean)).collect::<Vec<_>>() as _,
        &each.iter().map(|(.., to)| to.notify.map(Notify::code)).collect::<Vec<_>>() as _,
        &all.iter().map(|new| new.helo.as_deref().map(clean)).collect::<Vec<_>>() as _,
        &terms.iter().map(|one| one.body_type.map(BodyType::code)).collect::<Vec<_>>() as _,
        &terms.iter().map(|one| one.smtputf8).collect::<Vec<_>>(),
        &terms.iter().map(|one| one.require_tls).collect::<Vec<_>>(),
        &terms.iter().map(|one| one.envid.as_deref().map(clean)).collect::<Vec<_>>() as _,
        &terms.iter().map(|one| one.ret.map(Ret::code)).collect::<Vec<_>>() as _,
        &terms.iter().map(|one| i16::from(one.priority)).collect::<Vec<_>>(),
        &terms.iter().map(|one| one.deliver_by.map(|(by, _)| by)).collect::<Vec<_>>() as _,
        &terms.iter().map(|one| one.deliver_by.map(|(_, mode)| mode.code())).collect::<Vec<_>>() as _,
        &terms.iter().map(|one| one.hold_until).collect::<Vec<_>>() as _,
        &terms.iter().map(|one| one.route.as_deref().map(clean)).collect::<Vec<_>>() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The columns of `held`.
struct Columns {
    message_id: i64,
    mail_id: String,
    secret: String,
    at: DateTime<Utc>,
    category: i16,
    score: f64,
    why: String,
    sender: String,
    author: String,
    subject: String,
    header_id: Option<String>,
    client: Option<String>,
    helo: Option<String>,
    size: i64,
    originating: bool,
    body_type: Option<i16>,
    smtputf8: Option<bool>,
    require_tls: Option<bool>,
    envid: Option<String>,
    ret: Option<i16>,
    priority: Option<i16>,
    deliver_by: Option<DateTime<Utc>>,
    by_mode: Option<i16>,
    hold_until: Option<DateTime<Utc>>,
    route: Option<String>,
}

impl Columns {
    fn row(self) -> HeldRow {
        let terms = HeldTerms {
            body_type: self.body_type.and_then(BodyType::from_code),
            smtputf8: self.smtputf8.unwrap_or_default(),
            require_tls: self.require_tls.unwrap_or_default(),
            envid: self.envid,
            ret: self.ret.and_then(Ret::from_code),
            priority: self.priority.and_then(|priority| i8::try_from(priority).ok()).unwrap_or_default(),
            deliver_by: self.deliver_by.zip(self.by_mode.and_then(ByMode::from_code)),
            hold_until: self.hold_until,
            route: self.route,
        };
        HeldRow {
            message: MessageId(self.message_id),
            mail_id: self.mail_id,
            secret: self.secret,
            at: self.at,
            category: self.category,
            score: self.score,
            why: self.why,
            sender: self.sender,
            author: self.author,
            subject: self.subject,
            header_id: self.header_id,
            client: self.client,
            helo: self.helo,
            size: self.size,
            originating: self.originating,
            terms,
        }
    }
}

/// PostgreSQL's text holds no NUL.
fn clean(text: &str) -> String {
    text.replace('\0', "")
}

/// The held message of this name.
///
/// # Errors
/// What the database said.
pub async fn find(connection: &mut PgConnection, mail_id: &str) -> Result<Option<HeldRow>> {
    let row = sqlx::query_as!(
        Columns,
        r#"select message_id, mail_id, secret, at, category, score, why, sender, author, subject, header_id, client, helo,
               size, originating, body_type, smtputf8, require_tls, envid, ret, priority, deliver_by, by_mode, hold_until, route
           from held where mail_id = $1 order by message_id desc limit 1"#,
        mail_id
    );
    Ok(row.fetch_optional(connection).await?.map(Columns::row))
}

/// The held message with this id.
///
/// # Errors
/// What the database said.
pub async fn of_message(connection: &mut PgConnection, message: MessageId) -> Result<Option<HeldRow>> {
    let row = sqlx::query_as!(
        Columns,
        r#"select message_id, mail_id, secret, at, category, score, why, sender, author, subject, header_id, client, helo,
               size, originating, body_type, smtputf8, require_tls, envid, ret, priority, deliver_by, by_mode, hold_until, route
           from held where message_id = $1"#,
        message.0
    );
    Ok(row.fetch_optional(connection).await?.map(Columns::row))
}

/// Held mail, the newest first, at most `limit`.
///
/// # Errors
/// What the database said.
pub async fn list(connection: &mut PgConnection, wanted: &Wanted, limit: i64) -> Result<Vec<HeldRow>> {
    let rows = sqlx::query_as!(
        Columns,
        r#"select message_id, mail_id, secret, at, category, score, why, sender, author, subject, header_id, client, helo,
               size, originating, body_type, smtputf8, require_tls, envid, ret, priority, deliver_by, by_mode, hold_until, route
           from held h
           where ($1::text is null or lower(sender) = lower($1)) and ($2::smallint is null or category = $2)
             and ($3::bigint is null or message_id >= $3) and ($4::bigint is null or message_id < $4)
             and exists (select from held_recipient r where r.message_id = h.message_id and ($5 or r.status = 1)
                 and ($6::text is null or r.folded = lower($6)
                     or starts_with($6, '@') and r.folded like '%' || replace(replace(replace(lower($6), '\', '\\'), '%', '\%'), '_', '\_')))
           order by message_id desc limit $7"#,
        wanted.sender,
        wanted.category,
        wanted.since.map(ids::first_at),
        wanted.bound(),
        wanted.settled,
        wanted.recipient,
        limit,
    );
    Ok(rows.fetch_all(connection).await?.into_iter().map(Columns::row).collect())
}

/// How many messages there are of those.
///
/// # Errors
/// What the database said.
pub async fn count(connection: &mut PgConnection, wanted: &Wanted) -> Result<u64> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from held h
           where ($1::text is null or lower(sender) = lower($1)) and ($2::smallint is null or category = $2)
             and ($3::bigint is null or message_id >= $3) and ($4::bigint is null or message_id < $4)
             and exists (select from held_recipient r where r.message_id = h.message_id and ($5 or r.status = 1)
                 and ($6::text is null or r.folded = lower($6)
                     or starts_with($6, '@') and r.folded like '%' || replace(replace(replace(lower($6), '\', '\\'), '%', '\%'), '_', '\_')))"#,
        wanted.sender,
        wanted.category,
        wanted.since.map(ids::first_at),
        wanted.bound(),
        wanted.settled,
        wanted.recipient,
    );
    Ok(u64::try_from(count.fetch_one(connection).await?).unwrap_or(0))
}

/// For whom these messages are held.
///
/// # Errors
/// What the database said.
pub async fn recipients(connection: &mut PgConnection, messages: &[MessageId]) -> Result<Vec<HeldRecipientRow>> {
    let wanted: Vec<i64> = messages.iter().map(|message| message.0).collect();
    let rows = sqlx::query!(
        "select message_id, place, recipient, orcpt, notify, status, changed_at, changed_by
         from held_recipient where message_id = any ($1) order by message_id, place",
        &wanted
    )
    .fetch_all(connection)
    .await?;
    let row = rows.into_iter().map(|row| HeldRecipientRow {
        message: MessageId(row.message_id),
        place: row.place,
        recipient: row.recipient,
        orcpt: row.orcpt,
        notify: row.notify.and_then(Notify::from_code),
        status: Status::of_code(row.status),
        changed_at: row.changed_at,
        changed_by: row.changed_by,
    });
    Ok(row.collect())
}

/// Says what became of a held message for some recipients, where it is still in one of the states `from`. Returns for
/// how many it was: who comes second has nothing to do any more.
///
/// # Errors
/// What the database said.
pub async fn settle(
    connection: &mut PgConnection,
    message: MessageId,
    places: &[i16],
    [from, to]: [Status; 2],
    (by, now): (&str, DateTime<Utc>),
) -> Result<Vec<i16>> {
    let rows = sqlx::query_scalar!(
        "update held_recipient set status = $4, changed_at = $5, changed_by = $6
         where message_id = $1 and place = any ($2) and status = $3 returning place",
        message.0,
        places,
        from.code(),
        to.code(),
        now,
        by,
    );
    Ok(rows.fetch_all(connection).await?)
}

/// A held message that a parcel delivers to one of those for whom it is held.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewRelease {
    /// The held message.
    pub message: MessageId,
    /// The number of the recipient.
    pub place: i16,
    /// Who asked.
    pub by: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// Says that these are released. Returns whether all of them were held until now.
pub(crate) async fn release(connection: &mut PgConnection, all: &[&NewRelease]) -> Result<bool> {
    let done = sqlx::query!(
        "update held_recipient r set status = 2, changed_at = n.at, changed_by = n.by
         from unnest($1::bigint[], $2::smallint[], $3::text[], $4::timestamptz[]) as n (message_id, place, by, at)
         where r.message_id = n.message_id and r.place = n.place and r.status = 1",
        &all.iter().map(|new| new.message.0).collect::<Vec<_>>(),
        &all.iter().map(|new| new.place).collect::<Vec<_>>(),
        &all.iter().map(|new| clean(&new.by)).collect::<Vec<_>>(),
        &all.iter().map(|new| new.at).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == all.len() as u64)
}

/// Forgets a held message that was deleted for everybody. Returns whether it was.
///
/// # Errors
/// What the database said.
pub async fn forget(connection: &mut PgConnection, message: MessageId) -> Result<bool> {
    let done = sqlx::query_scalar!(
        r#"with gone as (
               delete from held h where message_id = $1
                 and not exists (select from held_recipient r where r.message_id = $1 and r.status <> 3)
               returning message_id
           ),
           recipients as (delete from held_recipient where message_id in (select message_id from gone)),
           left_over as (insert into orphan (message_id) select message_id from gone)
           select count(*) as "gone!" from gone"#,
        message.0
    )
    .fetch_one(connection)
    .await?;
    Ok(done > 0)
}

/// Makes the partitions of the days to come, and forgets what was held longer than `keep` ago, its bodies left to the
/// reaper. To be called in a transaction of its own. Returns how many days were forgotten.
///
/// # Errors
/// What the database said; among it that readers were in the way for two seconds, which the next call makes good.
pub async fn tend(connection: &mut PgConnection, now: DateTime<Utc>, keep: TimeDelta) -> Result<usize> {
    if let Some(oldest) = now.checked_sub_signed(keep) {
        let day = oldest.date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
        sqlx::query!(
            "insert into orphan (message_id) select message_id from held where message_id < $1",
            ids::first_at(day)
        )
        .execute(&mut *connection)
        .await?;
        // What lies in no day's partition goes by the same day.
        sqlx::query!("delete from held_rest where message_id < $1", ids::first_at(day))
            .execute(&mut *connection)
            .await?;
        sqlx::query!("delete from held_recipient_rest where message_id < $1", ids::first_at(day))
            .execute(&mut *connection)
            .await?;
        let day_keep = now.signed_duration_since(day);
        RECIPIENTS.tend(connection, now, day_keep).await?;
        return MESSAGES.tend(connection, now, day_keep).await;
    }
    RECIPIENTS.tend(connection, now, keep).await?;
    MESSAGES.tend(connection, now, keep).await
}
