//! Held mail: listed, shown, released to those for whom it was held, deleted, and forgotten when it is old.

mod digest;
mod elsewhere;
mod letter;
mod link;
mod release;
mod requeue;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use chrono::TimeDelta;
use posthorn_config::{Quarantine as Section, QuarantineDigest};
use posthorn_mail::copies::Hold;
use posthorn_mail::envelope::{Envelope, Recipient, Source};
use posthorn_mail::route::Route;
use posthorn_mail::{Mail, Result};
use posthorn_model::{Address, Refusal};
use posthorn_store::filter::digests;
use posthorn_store::filter::held::{self, HeldRecipientRow, HeldRow};

pub use posthorn_store::filter::held::{Status, Wanted};

pub use self::link::{Followed, Offer};
pub use self::requeue::{Again, Requeued};

/// So long it can be told of a link that it expired.
const LINK_REMEMBERED: TimeDelta = TimeDelta::days(90);
/// The longest line of a field, and the most recipients that are named.
const LINE: usize = 500;
const NAMED: usize = 200;

/// The quarantine; cheap to clone.
#[derive(Clone)]
pub struct Quarantine {
    mail: Mail,
    hostname: String,
    keep: TimeDelta,
    digest: Arc<QuarantineDigest>,
}

/// A held message, with those for whom it is.
#[derive(Clone, PartialEq)]
pub struct Held {
    /// The message.
    pub row: HeldRow,
    /// For whom.
    pub recipients: Vec<HeldRecipientRow>,
}

/// What is to be released.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Release {
    /// For these; empty for everybody for whom it is still held.
    pub recipients: Vec<String>,
    /// The reverse path, where it is to be another one.
    pub sender: Option<String>,
    /// Who asked.
    pub by: String,
}

/// What came of a release for one recipient.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Released {
    /// The recipient.
    pub recipient: String,
    /// Whether it was delivered; it stays held otherwise.
    pub outcome: std::result::Result<(), Refusal>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the secret.
        f.debug_struct("Held").field("mail_id", &self.row.mail_id).field("recipients", &self.recipients).finish()
    }
}

impl Held {
    /// Whether somebody knows the secret of this message; takes as long whatever is wrong.
    #[must_use]
    pub fn is_secret(&self, said: &str) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.row.secret.as_bytes(), said.as_bytes()).is_ok()
    }

    /// The fields on top of a held copy, as others write them.
    fn fields(&self) -> String {
        let line = |text: &str| text.chars().filter(|c| !c.is_control()).take(LINE).collect::<String>();
        let list = |only: Option<Status>| {
            let rows = self.recipients.iter().filter(|row| only.is_none_or(|status| row.status == status));
            rows.take(NAMED).map(|row| format!("<{}>", line(&row.recipient))).collect::<Vec<_>>().join(",\r\n\t")
        };
        let mut fields =
            format!("X-Quarantine-ID: <{}>\r\nX-Envelope-From: <{}>\r\n", self.row.mail_id, line(&self.row.sender));
        for (name, list) in [("X-Envelope-To", list(None)), ("X-Envelope-To-Blocked", list(Some(Status::Held)))] {
            if !list.is_empty() {
                fields.push_str(&format!("{name}: {list}\r\n"));
            }
        }
        fields
    }

    /// Those for whom it is held still, and of these the named ones, where some are named: an address, or
    /// `@` and a domain.
    #[must_use]
    pub fn waiting(&self, named: &[String]) -> Vec<&HeldRecipientRow> {
        let is_named =
            |row: &&HeldRecipientRow| named.is_empty() || named.iter().any(|name| is_named(&row.recipient, name));
        self.recipients.iter().filter(|row| row.status == Status::Held).filter(is_named).collect()
    }
}

/// Whether a name is a recipient's: its address, or `@` and its domain.
fn is_named(recipient: &str, name: &str) -> bool {
    match name.strip_prefix('@') {
        Some(domain) => recipient.rsplit_once('@').is_some_and(|(_, of)| of.eq_ignore_ascii_case(domain)),
        None => name.eq_ignore_ascii_case(recipient),
    }
}

impl Quarantine {
    /// The quarantine in the store of these duties.
    #[must_use]
    pub fn new(mail: Mail, hostname: String, section: Section) -> Self {
        let keep = TimeDelta::from_std(section.lasts.duration()).unwrap_or(TimeDelta::MAX);
        Self { mail, hostname, keep, digest: Arc::new(section.digest) }
    }

    /// Holds a message for some recipients of an envelope, by their places; delivers nothing. Gives the name of what is
    /// held for each, in their order.
    ///
    /// # Errors
    /// When the commit failed.
    pub async fn hold(&self, envelope: &Envelope, octets: &Bytes, holds: &[(usize, Hold)]) -> Result<Vec<String>> {
        self.mail.hold(envelope, octets, holds).await
    }

    /// Held mail, the newest first, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(&self, wanted: &Wanted, limit: u32) -> Result<Vec<Held>> {
        let mut connection = self.mail.store().acquire().await?;
        let rows = held::list(&mut connection, wanted, i64::from(limit)).await?;
        let messages: Vec<_> = rows.iter().map(|row| row.message).collect();
        let recipients = held::recipients(&mut connection, &messages).await?;
        let with = |row: HeldRow| {
            let recipients = recipients.iter().filter(|one| one.message == row.message).cloned().collect();
            Held { row, recipients }
        };
        Ok(rows.into_iter().map(with).collect())
    }

    /// How many messages there are of those.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn count(&self, wanted: &Wanted) -> Result<u64> {
        Ok(held::count(&mut *self.mail.store().acquire().await?, wanted).await?)
    }

    /// The held message of this name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn find(&self, mail_id: &str) -> Result<Option<Held>> {
        let mut connection = self.mail.store().acquire().await?;
        let Some(row) = held::find(&mut connection, mail_id).await? else { return Ok(None) };
        let recipients = held::recipients(&mut connection, &[row.message]).await?;
        Ok(Some(Held { row, recipients }))
    }

    /// Its octets; `None` when they are gone.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn octets(&self, held: &Held) -> Result<Option<Bytes>> {
        let mut connection = self.mail.store().acquire().await?;
        let octets = posthorn_store::queue::body(&mut connection, held.row.message).await?;
        Ok(octets.map(|octets| Bytes::from(octets.whole)))
    }

    /// Its octets below the fields by which others know a held copy: its name, its envelope, and for whom it is held.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn copy(&self, held: &Held) -> Result<Option<Vec<u8>>> {
        Ok(self.octets(held).await?.map(|octets| [held.fields().as_bytes(), &octets].concat()))
    }

    /// The envelope in which it came, to these recipients, on the terms of then.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn envelope(&self, held: &Held, to: &[&HeldRecipientRow]) -> Result<Envelope> {
        let mut envelope = Envelope {
            sender: Address::parse(&held.row.sender).ok(),
            source: if held.row.originating { Source::Relay } else { Source::Stranger },
            terms: held.row.terms.clone().into(),
            ..Envelope::default()
        };
        // What another program held, or an earlier version, has no terms, but such addresses need it (RFC 6531 §3.1).
        envelope.terms.smtputf8 |= !held.row.sender.is_ascii() || to.iter().any(|row| !row.recipient.is_ascii());
        for row in to {
            let route = match Address::parse(&row.recipient) {
                Ok(address) => self.mail.route(&address).await?,
                Err(_) if row.recipient.eq_ignore_ascii_case("postmaster") => self.mail.route_postmaster().await?,
                // Somebody at the server that asked: only that one knows who it is.
                Err(_) => Arc::new(Route::Nobody),
            };
            envelope.recipients.push(Recipient {
                address: row.recipient.clone(),
                route,
                orcpt: row.orcpt.clone(),
                notify: row.notify,
            });
        }
        Ok(envelope)
    }

    /// Deletes a held message for those for whom it is held, of these the named ones where some are named. Returns for how
    /// many it was.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn delete(&self, held: &Held, named: &[String], by: &str) -> Result<usize> {
        let places: Vec<i16> = held.waiting(named).iter().map(|row| row.place).collect();
        let mut transaction = self.mail.store().begin().await?;
        let change = [Status::Held, Status::Deleted];
        let deleted = held::settle(&mut transaction, held.row.message, &places, change, (by, self.mail.now())).await?;
        held::forget(&mut transaction, held.row.message).await?;
        transaction.commit().await?;
        Ok(deleted.len())
    }

    /// Forgets what is old, and makes room for the days to come.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn tend(&self) -> Result<()> {
        let mut transaction = self.mail.store().begin().await?;
        let now = self.mail.now();
        held::tend(&mut transaction, now, self.keep).await?;
        digests::forget(&mut transaction, now - LINK_REMEMBERED).await?;
        transaction.commit().await?;
        Ok(())
    }
}
