//! FETCH and UID FETCH: messages in batches, each read no deeper than what was asked for.

use std::collections::VecDeque;

use chrono::DateTime;
use posthorn_imap::{Completion, Fetch, FetchAttribute, FetchWriter, ResponseCode};
use posthorn_mail::{FlagChange, Mail, Membership};
use posthorn_model::{AccountId, Flags, Keywords, MailboxId, NumberSet};
use tokio::task::JoinHandle;

use super::reading::{self, AHEAD_MESSAGES, Ahead, Contents, Depth, READING};
use super::search::email_id_text;
use super::selected::Own;
use super::{Answer, Session, Stop};

/// Output that is sent before more is made.
const PENDING: usize = 64 << 10;

/// What one message's answer is written from.
struct Writing<'w> {
    sequence: u32,
    message: &'w Membership,
    keywords: &'w Keywords,
    contents: &'w Contents,
}

impl Session {
    pub(super) async fn fetch(&mut self, fetch: Fetch) -> Answer {
        let (user, selected) = self.selected()?;
        let uids = selected.resolve(&fetch.set, fetch.uid)?;
        let account = user.login.account;
        if fetch.vanished
            && let Some(since) = fetch.changed_since
        {
            let gone = self.mail.expunged_since(account, selected.mailbox.id(), since).await?;
            let asked = fetch.set.resolve(selected.mailbox.heads().0.saturating_sub(1), &NumberSet::new());
            let (_, selected) = self.selected()?;
            let candidates = gone.unwrap_or_else(|| asked.clone());
            let vanished = candidates.iter().filter(|uid| asked.contains(*uid) && selected.view.seq_of(*uid).is_none());
            let vanished = vanished.collect();
            self.server.out().vanished(true, &vanished);
        }
        let mut members = self.selected()?.1.mailbox.among(&uids);
        if let Some(since) = fetch.changed_since {
            members.retain(|member| member.modseq > since);
        }
        let seen = self.mark_seen(&fetch, &mut members).await?;
        let complete = self.write_all(&fetch, &members, &seen).await?;
        let modseq = members.iter().find(|member| seen.contains(member.uid)).map_or(0, |member| member.modseq);
        self.announce(Some(&Own { uids: &seen, modseq }));
        if complete {
            Ok(Completion::ok("Fetched"))
        } else {
            Ok(Completion::ok("Some messages are gone").with(ResponseCode::ExpungeIssued))
        }
    }

    /// Sets `\Seen` where the command does so, before anything is shown. Returns whose flags that changed.
    async fn mark_seen(&mut self, fetch: &Fetch, members: &mut [Membership]) -> Result<NumberSet, Stop> {
        let (user, selected) = self.selected()?;
        if !fetch.sets_seen() || selected.read_only {
            return Ok(NumberSet::new());
        }
        let unseen: NumberSet =
            members.iter().filter(|member| !member.flags.contains(Flags::SEEN)).map(|member| member.uid).collect();
        if unseen.is_empty() {
            return Ok(unseen);
        }
        let place = (&*user.account, &*selected.mailbox);
        let flagged = self.mail.change_flags(place, &unseen, FlagChange::Add(Flags::SEEN), None).await?;
        let mut changed = flagged.changed.iter().peekable();
        for member in members {
            while changed.next_if(|new| new.uid < member.uid).is_some() {}
            if let Some(new) = changed.next_if(|new| new.uid == member.uid) {
                *member = *new;
            }
        }
        Ok(flagged.changed.iter().map(|new| new.uid).collect())
    }

    /// Writes every message. `false` when some were gone before they could be read.
    async fn write_all(&mut self, fetch: &Fetch, members: &[Membership], seen: &NumberSet) -> Result<bool, Stop> {
        let depth = Depth::of(&fetch.attributes);
        if let [one] = members {
            let contents = self.read_ahead(depth, *one).await?;
            let complete = self.write_batch(fetch, members, (&contents.contents, seen)).await?;
            self.ahead = Some(contents);
            return Ok(complete);
        }
        let (user, selected) = self.selected()?;
        let place = (user.login.account, selected.mailbox.id());
        let mut complete = true;
        let mut rest = members;
        // While one batch is written, the next ones are read.
        let mut ahead = VecDeque::with_capacity(READING);
        loop {
            while ahead.len() < READING
                && let Some(reading) = begin_reading(&self.mail, place, depth, &mut rest)
            {
                ahead.push_back(reading);
            }
            let Some((batch, reading)) = ahead.pop_front() else { break };
            let contents = reading.await.map_err(|_| posthorn_mail::Error::Internal)??;
            if let Some(reading) = begin_reading(&self.mail, place, depth, &mut rest) {
                ahead.push_back(reading);
            }
            complete &= self.write_batch(fetch, batch, (&contents, seen)).await?;
        }
        Ok(complete)
    }

    /// Reads for one message, and for those after it when the client walks through the mailbox.
    async fn read_ahead(&mut self, depth: Depth, one: Membership) -> Result<Box<Ahead>, Stop> {
        let mut ahead = self.ahead.take().unwrap_or_default();
        let (user, selected) = self.selected()?;
        let place = (user.login.account, selected.mailbox.id());
        let mut following = selected.mailbox.with(|messages| {
            let from = messages.partition_point(|message| message.uid < one.uid);
            messages[from..].iter().take(AHEAD_MESSAGES).copied().collect::<Vec<_>>()
        });
        if following.first().is_none_or(|first| first.uid != one.uid) {
            following = vec![one];
        }
        ahead.turn_to(&self.mail, place, depth, &following).await?;
        Ok(ahead)
    }

    async fn write_batch(
        &mut self,
        fetch: &Fetch,
        batch: &[Membership],
        (contents, seen): (&Contents, &NumberSet),
    ) -> Result<bool, Stop> {
        let (user, selected) = self.selected()?;
        let keywords = user.account.keywords();
        let depth = Depth::of(&fetch.attributes);
        let mut walk = selected.view.walk();
        let sequences: Vec<Option<u32>> = batch.iter().map(|member| walk.seq_of(member.uid)).collect();
        let mut complete = true;
        for (member, sequence) in batch.iter().zip(sequences) {
            let Some(sequence) = sequence else { continue };
            if !contents.have(member, depth) {
                complete = false;
                continue;
            }
            let _held = self.reserve_large(fetch, member)?;
            let writing = Writing { sequence, message: member, keywords: &keywords, contents };
            self.write_one(fetch, &writing, seen.contains(member.uid)).await?;
            if self.server.pending_output() > PENDING {
                self.connection.flush(&mut self.server).await?;
            }
        }
        Ok(complete)
    }

    async fn write_one(&mut self, fetch: &Fetch, writing: &Writing<'_>, newly_seen: bool) -> Result<(), Stop> {
        let enabled = self.server.enabled();
        let message = writing.message;
        // The response opens here and is closed below; large literals are sent in between.
        let _opened = self.server.out().fetch(writing.sequence);
        for attribute in &fetch.attributes {
            let mut writer = FetchWriter::resume(self.server.out());
            if !memory(&mut writer, attribute, writing) {
                let written = self.write_content(attribute, message, writing.contents).await;
                if let Err(Stop::Fault(error)) = written {
                    // The response is open: no answer could be told from its rest.
                    tracing::error!(session.id = %self.connection.id(), %error, "hung up in the middle of a response");
                    return Err(Stop::Ended(posthorn_net::Ended::Cut));
                }
                written?;
            }
        }
        let mut writer = FetchWriter::resume(self.server.out());
        if newly_seen {
            if !fetch.attributes.contains(&FetchAttribute::Flags) {
                writer.flags(writing.keywords.written(message.flags));
            }
            if enabled.condstore && !fetch.attributes.contains(&FetchAttribute::ModSeq) {
                writer.modseq(message.modseq);
            }
        }
        writer.end();
        Ok(())
    }
}

/// Writes what needs no octets of the message; `false` when the attribute does.
fn memory(writer: &mut FetchWriter<'_>, attribute: &FetchAttribute, writing: &Writing<'_>) -> bool {
    let Writing { message, keywords, contents, .. } = writing;
    let row = || contents.rows.get(&message.message);
    match attribute {
        FetchAttribute::EmailId => writer.email_id(&email_id_text(message.message)),
        FetchAttribute::Envelope => {
            let rendered = row().map(|row| &row.envelope).or_else(|| contents.envelopes.get(&message.message));
            writer.envelope(rendered.map_or(b"NIL".as_slice(), Vec::as_slice))
        }
        FetchAttribute::BodyStructure => {
            writer.bodystructure(row().map_or(b"NIL".as_slice(), |row| &row.bodystructure))
        }
        FetchAttribute::Flags => writer.flags(keywords.written(message.flags)),
        FetchAttribute::InternalDate => {
            writer.internal_date(DateTime::from_timestamp_millis(message.internal_date).unwrap_or_default())
        }
        FetchAttribute::ModSeq => writer.modseq(message.modseq),
        FetchAttribute::Preview { .. } => writer.preview(row().map(|row| row.preview.as_str())),
        FetchAttribute::Rfc822Size => writer.size(message.size.into()),
        FetchAttribute::SaveDate => writer.saved_date(contents.saved.get(&message.uid).copied()),
        FetchAttribute::ThreadId => writer.thread_id(None),
        FetchAttribute::Uid => writer.uid(message.uid),
        FetchAttribute::Binary { .. }
        | FetchAttribute::BinarySize { .. }
        | FetchAttribute::Body
        | FetchAttribute::BodySection { .. }
        | FetchAttribute::Rfc822(_) => return false,
    };
    true
}

/// A batch and the task that reads for it.
type Reading<'m> = (&'m [Membership], JoinHandle<posthorn_mail::Result<Contents>>);

/// Begins to read for the next batch; `None` when there is none left.
fn begin_reading<'m>(
    mail: &Mail,
    place: (AccountId, MailboxId),
    depth: Depth,
    rest: &mut &'m [Membership],
) -> Option<Reading<'m>> {
    if rest.is_empty() {
        return None;
    }
    let (batch, behind) = rest.split_at(depth.batch(rest));
    *rest = behind;
    let (mail, part) = (mail.clone(), batch.to_vec());
    Some((batch, tokio::spawn(async move { reading::read(&mail, place, depth, &part).await })))
}
