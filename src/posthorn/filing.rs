//! Putting messages beside what an account has: folders are made when they are missing, flags go by their names, and a
//! commit holds many messages of one folder.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context;
use chrono::{DateTime, Utc};
use posthorn_mail::accept::{Append, Appended};
use posthorn_mail::mailboxes::Declined;
use posthorn_mail::{Intake, Mail};
use posthorn_model::{AccountId, Flags, MailboxId};

/// Messages that are stored with one commit, at most.
const BATCH: usize = 50;
/// Octets that are, about.
const BATCH_OCTETS: usize = 8 << 20;

/// An account that messages are filed into.
pub struct Filing<'f> {
    mail: &'f Mail,
    account: AccountId,
    /// Ids by name.
    mailboxes: HashMap<String, MailboxId>,
    /// Flags by their names.
    flags: HashMap<Vec<String>, Flags>,
    /// What waits to be stored, all of one mailbox.
    batch: Vec<Append>,
    batch_octets: usize,
    batch_for: Option<(String, MailboxId)>,
    /// What came of it so far.
    pub filed: Filed,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Filed {
    /// Messages that are stored.
    pub messages: u64,
    /// The same by mailbox.
    pub folders: BTreeMap<String, u64>,
    /// Mailboxes that were made.
    pub made: Vec<String>,
    /// Flags that the account has no room for, or that can be none.
    pub flags_left_out: Vec<String>,
    /// Why nothing more is stored.
    pub stopped: Option<String>,
}

/// A folder that the account cannot have.
#[derive(Debug, thiserror::Error)]
#[error("the folder {name} cannot be made: {declined:?}")]
pub struct NotMade {
    name: String,
    declined: Declined,
}

/// A message to be filed.
pub struct Message {
    /// Its octets.
    pub body: Intake,
    /// Its flags.
    pub flags: Flags,
    /// INTERNALDATE.
    pub internal_date: DateTime<Utc>,
}

impl<'f> Filing<'f> {
    /// Into this account.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn new(mail: &'f Mail, account: AccountId) -> anyhow::Result<Self> {
        let mut filing = Self {
            mail,
            account,
            mailboxes: HashMap::new(),
            flags: HashMap::new(),
            batch: Vec::new(),
            batch_octets: 0,
            batch_for: None,
            filed: Filed::default(),
        };
        filing.look().await?;
        Ok(filing)
    }

    async fn look(&mut self) -> anyhow::Result<()> {
        let all = self.mail.mailboxes(self.account).await?;
        self.mailboxes = all.into_iter().map(|mailbox| (mailbox.name, mailbox.id)).collect();
        Ok(())
    }

    /// The mailbox of this name, which is made, and subscribed where that is wanted, when there is none.
    ///
    /// # Errors
    /// Why it cannot be made.
    pub async fn mailbox(&mut self, name: &str, subscribed: bool) -> anyhow::Result<MailboxId> {
        if let Some(id) = self.mailboxes.get(name) {
            return Ok(*id);
        }
        match self.mail.create_mailbox(self.account, name, None).await? {
            Ok(_) => {
                self.filed.made.push(name.to_owned());
                // A wish, no more.
                let _ = self.mail.subscribe(self.account, name, subscribed).await?;
            }
            Err(Declined::AlreadyExists) => {}
            Err(declined) => return Err(NotMade { name: name.to_owned(), declined }.into()),
        }
        self.look().await?;
        self.mailboxes.get(name).copied().with_context(|| format!("the folder {name} was removed meanwhile"))
    }

    /// The flags of these names, as bits differ from account to account.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn flags(&mut self, names: Vec<String>) -> anyhow::Result<Flags> {
        if let Some(known) = self.flags.get(&names) {
            return Ok(*known);
        }
        let mut flags = Flags::none();
        for name in &names {
            match self.mail.flags(self.account, std::slice::from_ref(name)).await? {
                Ok(bits) => flags |= bits,
                Err(_) if self.filed.flags_left_out.contains(name) => {}
                Err(_) => self.filed.flags_left_out.push(name.clone()),
            }
        }
        self.flags.insert(names, flags);
        Ok(flags)
    }

    /// Files a message, now or with those that follow; nothing after [`Filed::stopped`].
    ///
    /// # Errors
    /// When the store fails.
    pub async fn put(&mut self, (name, mailbox): (&str, MailboxId), message: Message) -> anyhow::Result<()> {
        let size = message.body.len();
        let is_other = self.batch_for.as_ref().is_some_and(|(_, other)| *other != mailbox);
        if is_other || self.batch.len() >= BATCH || self.batch_octets + size > BATCH_OCTETS {
            self.flush().await?;
        }
        let Message { body, flags, internal_date } = message;
        self.batch.push(Append { body, flags, internal_date: Some(internal_date) });
        self.batch_octets += size;
        self.batch_for.get_or_insert_with(|| (name.to_owned(), mailbox));
        Ok(())
    }

    /// Stores what waits.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn flush(&mut self) -> anyhow::Result<()> {
        let Some((name, mailbox)) = self.batch_for.take() else { return Ok(()) };
        let batch = std::mem::take(&mut self.batch);
        self.batch_octets = 0;
        if self.filed.stopped.is_some() {
            return Ok(());
        }
        match self.mail.append(self.account, mailbox, batch).await? {
            Appended::Stored { uids, .. } => {
                self.filed.messages += uids.len() as u64;
                *self.filed.folders.entry(name).or_default() += uids.len() as u64;
            }
            Appended::OverQuota => {
                let advice =
                    "the quota is used up: raise it (posthorn account set --quota), and run this again to go on";
                self.filed.stopped = Some(advice.to_owned());
            }
            Appended::NoMailbox => self.filed.stopped = Some(format!("folder {name} was removed meanwhile")),
        }
        Ok(())
    }
}
