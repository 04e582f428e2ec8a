//! APPEND: messages streamed into the store, all of one command or none.

use chrono::{DateTime, FixedOffset, Utc};
use posthorn_imap::{Completion, ResponseCode};
use posthorn_mail::accept::{Append, Appended};
use posthorn_model::{Flags, KeywordError, MailboxId};

use super::{Answer, Session, Stop};

/// An APPEND in progress.
pub(super) struct Appending {
    mailbox: Option<MailboxId>,
    done: Vec<Append>,
    current: Option<Append>,
    /// Whether the current message came as literal8 and may hold NUL.
    binary: bool,
    failed: Option<Completion>,
    octets: u64,
}

impl Session {
    pub(super) async fn begin_append(&mut self, name: &str) -> Result<(), Stop> {
        let account = self.user()?.login.account;
        let mailbox = self.mail.find_mailbox(account, name).await?.map(|row| row.id);
        self.appending = Some(Box::new(Appending {
            mailbox,
            done: Vec::new(),
            current: None,
            binary: false,
            failed: None,
            octets: 0,
        }));
        Ok(())
    }

    pub(super) async fn announce_append(
        &mut self,
        flags: Vec<String>,
        date: Option<DateTime<FixedOffset>>,
        (size, binary): (u64, bool),
    ) -> Result<(), Stop> {
        match self.judge_append(&flags, size).await {
            Ok(flags) => {
                let body = self.mail.intake();
                if let Some(appending) = &mut self.appending {
                    let internal_date = date.map(|date| date.with_timezone(&Utc));
                    appending.current = Some(Append { body, flags, internal_date });
                    appending.binary = binary;
                }
                self.server.accept_literal();
            }
            Err(Stop::Answer(completion)) => {
                self.appending = None;
                self.server.refuse_append(completion);
            }
            Err(Stop::Fault(error)) => {
                tracing::error!(session.id = %self.connection.id(), %error, "temporary failure told to the client");
                self.appending = None;
                let broken = Completion::no("Local error, try again later").with(ResponseCode::ServerBug);
                self.server.refuse_append(broken);
            }
            Err(ended) => return Err(ended),
        }
        Ok(())
    }

    async fn judge_append(&mut self, flags: &[String], size: u64) -> Result<Flags, Stop> {
        let account = self.user()?.login.account;
        if self.appending.as_ref().is_none_or(|appending| appending.mailbox.is_none()) {
            let text = "There is no such mailbox";
            return Err(Stop::Answer(Completion::no(text).with(ResponseCode::TryCreate)));
        }
        let (octets, messages) = self.appending.as_ref().map_or((0, 0), |one| (one.octets, one.done.len()));
        let octets = i64::try_from(octets.saturating_add(size)).unwrap_or(i64::MAX);
        let messages = i64::try_from(messages + 1).unwrap_or(i64::MAX);
        if self.user()?.account.has_quota() && !self.mail.state(account).await?.has_room(octets, messages) {
            return Err(Stop::Answer(over_quota()));
        }
        match self.mail.flags(account, flags).await? {
            Ok(flags) => Ok(flags),
            Err(KeywordError::Limit) => {
                Err(Stop::Answer(Completion::no("Too many keywords").with(ResponseCode::Limit)))
            }
            Err(KeywordError::Malformed) => Err(Stop::Answer(Completion::bad("Malformed keyword"))),
        }
    }

    pub(super) fn take_append(&mut self, octets: &[u8]) {
        let Some(appending) = &mut self.appending else { return };
        appending.octets += octets.len() as u64;
        let Some(current) = &mut appending.current else { return };
        let failed = if !appending.binary && octets.contains(&0) {
            // RFC 9051 §9 `CHAR8`: NUL is only for literal8.
            Some(Completion::no("The message holds NUL octets: send it as literal8").with(ResponseCode::Cannot))
        } else {
            let taken = current.body.push(octets);
            taken.err().map(|refusal| Completion::no(refusal.text).with(ResponseCode::Unavailable))
        };
        if failed.is_some() {
            appending.failed = failed;
            appending.current = None;
            appending.done.clear();
        }
    }

    pub(super) fn end_append_message(&mut self) {
        let Some(appending) = &mut self.appending else { return };
        appending.done.extend(appending.current.take());
    }

    pub(super) async fn end_append(&mut self) -> Answer {
        let Some(appending) = self.appending.take() else { return Ok(Completion::bad("No APPEND in progress")) };
        if let Some(completion) = appending.failed {
            return Ok(completion);
        }
        let account = self.user()?.login.account;
        let Some(mailbox) = appending.mailbox else {
            return Ok(Completion::no("There is no such mailbox").with(ResponseCode::TryCreate));
        };
        let octets = appending.octets;
        let appended = self.mail.append(account, mailbox, appending.done).await?;
        Ok(match appended {
            Appended::Stored { uid_validity, uids } => {
                tracing::debug!(session.id = %self.connection.id(), octets, messages = uids.len(), "appended");
                self.announce(None);
                let uids = uids.into_iter().collect();
                Completion::ok("Appended").with(ResponseCode::AppendUid { uid_validity, uids })
            }
            Appended::NoMailbox => Completion::no("There is no such mailbox").with(ResponseCode::TryCreate),
            Appended::OverQuota => over_quota(),
        })
    }
}

pub(super) fn over_quota() -> Completion {
    Completion::no("The mailbox is full").with(ResponseCode::OverQuota)
}
