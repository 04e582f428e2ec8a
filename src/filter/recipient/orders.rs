//! What administrators order about settings and senders.

use posthorn_config::FilterSection;
use posthorn_mail::{Mail, Result};
use posthorn_model::Address;
use posthorn_store::filter::settings::{self, SenderRow, SettingRow};

use super::field::{FIELDS, Field};
use super::keys::{keys, pattern};
use super::wishes::split;

/// The duty behind the commands about settings.
pub struct Orders<'m> {
    mail: &'m Mail,
    section: &'m FilterSection,
}

/// Where the value of a field comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shown {
    /// The field.
    pub field: &'static str,
    /// What holds; `None` where the configuration has nothing either.
    pub value: Option<String>,
    /// The pattern that says so; `None` for the configuration.
    pub from: Option<String>,
}

/// Why an order was not carried out.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unfit {
    /// The pattern is none.
    #[error("\"{0}\" is no pattern; write user@domain, @domain, @.domain or @. for everybody")]
    Pattern(String),
    /// There is no such field.
    #[error("there is no field \"{0}\"")]
    Field(String),
    /// There are no rules for files of that name.
    #[error("there is no set of rules \"{0}\"; known: {1}")]
    Set(String, String),
    /// A value that the field cannot have.
    #[error("{0} wants {1}")]
    Value(String, &'static str),
}

/// A pattern as it is kept, or nothing where a text is none.
pub(crate) fn kept_pattern(text: &str) -> Option<String> {
    pattern(text)
}

impl<'m> Orders<'m> {
    /// Orders to the store of these duties.
    #[must_use]
    pub fn new(mail: &'m Mail, section: &'m FilterSection) -> Self {
        Self { mail, section }
    }

    /// All rows.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(&self) -> Result<Vec<SettingRow>> {
        Ok(settings::list(&mut *self.mail.store().acquire().await?).await?)
    }

    /// Sets fields of a pattern; a value of `None` lets the field fall through. A row that says nothing any more goes.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn set(&self, who: &str, values: &[(String, Option<String>)]) -> Result<std::result::Result<(), Unfit>> {
        let Some(who) = pattern(who) else { return Ok(Err(Unfit::Pattern(who.to_owned()))) };
        let mut transaction = self.mail.store().begin().await?;
        let mut row = settings::list(&mut transaction).await?.into_iter().find(|row| row.who == who);
        let row = row.get_or_insert_with(|| SettingRow { who: who.clone(), ..SettingRow::default() });
        for (name, value) in values {
            let Some(field) = FIELDS.iter().find(|field| field.name == name) else {
                return Ok(Err(Unfit::Field(name.clone())));
            };
            if let Some(unknown) = unknown_set(self.section, name, value.as_deref()) {
                return Ok(Err(Unfit::Set(unknown, self.section.file_rule_sets().join(", "))));
            }
            if let Err(wanted) = (field.write)(row, value.as_deref()) {
                return Ok(Err(Unfit::Value(name.clone(), wanted)));
            }
        }
        if FIELDS.iter().all(|field| (field.read)(row).is_none()) {
            settings::remove(&mut transaction, &who).await?;
        } else {
            settings::put(&mut transaction, row, self.mail.now()).await?;
        }
        transaction.commit().await?;
        Ok(Ok(()))
    }

    /// Forgets all fields of a pattern. Returns whether there were any.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn unset(&self, who: &str) -> Result<std::result::Result<bool, Unfit>> {
        let Some(who) = pattern(who) else { return Ok(Err(Unfit::Pattern(who.to_owned()))) };
        Ok(Ok(settings::remove(&mut *self.mail.store().acquire().await?, &who).await?))
    }

    /// What holds for an address, and where each value comes from.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn show(&self, address: &Address) -> Result<Vec<Shown>> {
        let rows = self.list().await?;
        let keys = keys(address, self.mail.section().subaddress_separator);
        let rows: Vec<&SettingRow> = keys.iter().filter_map(|key| rows.iter().find(|row| row.who == *key)).collect();
        let usual = self.usual();
        let shown = |field: &Field| {
            let said = rows.iter().find_map(|row| (field.read)(row).map(|value| (value, row.who.clone())));
            match said {
                Some((value, who)) => Shown { field: field.name, value: Some(value), from: Some(who) },
                None => Shown { field: field.name, value: (field.read)(&usual), from: None },
            }
        };
        Ok(FIELDS.iter().map(shown).collect())
    }

    /// Says what a sender's mail scores for a recipient: -100 and less is always wanted, 100 and more never.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn list_sender(
        &self,
        who: &str,
        sender: &str,
        score: f64,
        note: &str,
    ) -> Result<std::result::Result<(), Unfit>> {
        let (Some(who), Some(from)) = (pattern(who), pattern(sender)) else {
            let wrong = if pattern(who).is_none() { who } else { sender };
            return Ok(Err(Unfit::Pattern(wrong.to_owned())));
        };
        let row = SenderRow { who, sender: from, score, note: note.to_owned() };
        settings::put_sender(&mut *self.mail.store().acquire().await?, &row, self.mail.now()).await?;
        Ok(Ok(()))
    }

    /// Forgets what was said of a sender. Returns whether something was.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn unlist_sender(&self, who: &str, sender: &str) -> Result<bool> {
        let (Some(who), Some(sender)) = (pattern(who), pattern(sender)) else { return Ok(false) };
        Ok(settings::remove_sender(&mut *self.mail.store().acquire().await?, &who, &sender).await?)
    }

    /// All senders that somebody wants or does not.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn senders(&self) -> Result<Vec<SenderRow>> {
        Ok(settings::senders(&mut *self.mail.store().acquire().await?).await?)
    }

    /// The configuration as if it were a row.
    fn usual(&self) -> SettingRow {
        let FilterSection { levels, destiny, extension, notices, .. } = self.section;
        let text = |text: &String| Some(text.clone());
        let word = |one: posthorn_config::Destiny| Some(one.name().to_owned());
        SettingRow {
            who: String::new(),
            tag: Some(levels.tag.as_f64()),
            tag2: Some(levels.tag2.as_f64()),
            tag3: levels.tag3.map(|level| level.as_f64()),
            kill: Some(levels.kill.as_f64()),
            virus: word(destiny.virus),
            banned: word(destiny.banned),
            unchecked: word(destiny.unchecked),
            spam: word(destiny.spam),
            spammy: word(destiny.spammy),
            bad_header: word(destiny.bad_header),
            bypass_virus: Some(false),
            bypass_banned: Some(false),
            bypass_spam: Some(false),
            bypass_header: Some(false),
            subject_tag: Some(self.section.subject_tag.clone()),
            subject_tag3: Some(self.section.subject_tag3.clone()),
            banned_sets: Some(self.section.banned.join(",")),
            size_limit: Some(0),
            report_cutoff: Some(levels.report_cutoff.as_f64()),
            hold_cutoff: levels.hold_cutoff.map(|level| level.as_f64()),
            extension_virus: text(&extension.virus),
            extension_banned: text(&extension.banned),
            extension_spam: text(&extension.spam),
            extension_header: text(&extension.bad_header),
            warn_virus: Some(notices.warn_virus),
            warn_banned: Some(notices.warn_banned),
            warn_header: Some(notices.warn_bad_header),
            admin_virus: text(&notices.admin_virus),
            admin_banned: text(&notices.admin_banned),
            admin_spam: text(&notices.admin_spam),
            admin_header: text(&notices.admin_bad_header),
        }
    }
}

/// The first name of a field's value that no set of rules for files has.
fn unknown_set(section: &FilterSection, field: &str, value: Option<&str>) -> Option<String> {
    let known = section.file_rule_sets();
    let names = value.filter(|_| field == "banned_sets").map(split)?;
    names.into_iter().find(|name| !known.contains(&name.as_str()))
}
