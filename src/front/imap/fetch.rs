//! FETCH and UID FETCH: messages in batches, each read no deeper than what was asked for.

use std::collections::HashMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use posthorn_imap::{Completion, Fetch, FetchAttribute, FetchWriter, ResponseCode, SectionPart};
use posthorn_mail::{FlagChange, Membership, Message};
use posthorn_model::{Flags, Keywords, MessageId, NumberSet, Uid};

use super::search::email_id_text;
use super::selected::Own;
use super::{Answer, Session, Stop};

/// Output that is sent before more is made.
const PENDING: usize = 64 << 10;

/// How much of the store a batch may bring into memory.
const BATCH_OCTETS: u64 = 4 << 20;

/// How deep a FETCH must read.
#[derive(Clone, Copy, Debug, Default)]
struct Depth {
    /// ENVELOPE and nothing else of the row.
    envelope: bool,
    /// The row that was computed at delivery.
    row: bool,
    /// The header block.
    header: bool,
    /// The whole message.
    body: bool,
    /// SAVEDATE
    saved: bool,
}

/// What was read for a batch.
#[derive(Default)]
pub(super) struct Contents {
    envelopes: HashMap<MessageId, Vec<u8>>,
    pub(super) rows: HashMap<MessageId, Message>,
    pub(super) headers: HashMap<MessageId, Bytes>,
    pub(super) bodies: HashMap<MessageId, Bytes>,
    saved: HashMap<Uid, DateTime<Utc>>,
}

/// What one message's answer is written from.
struct Writing<'w> {
    sequence: u32,
    message: &'w Membership,
    keywords: &'w Keywords,
    contents: &'w Contents,
}

impl Session {
    pub(super) async fn fetch(&mut self, fetch: Fetch) -> Answer {
        if self.server.take_condstore_news() {
            let highest = self.selected()?.1.mailbox.heads().1;
            self.server.out().ok(Some(&ResponseCode::HighestModSeq(highest)), "Highest");
        }
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
        let (user, selected) = self.selected()?;
        let keywords = user.account.keywords();
        let place = (user.login.account, selected.mailbox.id());
        let mut walk = selected.view.walk();
        let sequences: Vec<u32> = members.iter().map(|member| walk.seq_of(member.uid).unwrap_or(0)).collect();
        let depth = depth(&fetch.attributes);
        let mut complete = true;
        let mut from = 0;
        while from < members.len() {
            let count = batch(&members[from..], depth);
            let part = &members[from..from + count];
            let contents = self.read(place, depth, part).await?;
            for (member, sequence) in part.iter().zip(&sequences[from..]) {
                if *sequence == 0 {
                    continue;
                }
                if depth.row && !contents.rows.contains_key(&member.message)
                    || depth.envelope && !depth.row && !contents.envelopes.contains_key(&member.message)
                {
                    complete = false;
                    continue;
                }
                let writing =
                    Writing { sequence: *sequence, message: member, keywords: &keywords, contents: &contents };
                self.write_one(fetch, &writing, seen.contains(member.uid)).await?;
                if self.server.pending_output() > PENDING {
                    self.connection.flush(&mut self.server).await?;
                }
            }
            from += count;
        }
        Ok(complete)
    }

    async fn read(
        &self,
        (account, mailbox): (posthorn_model::AccountId, posthorn_model::MailboxId),
        depth: Depth,
        part: &[Membership],
    ) -> Result<Contents, Stop> {
        let mut contents = Contents::default();
        let ids = || part.iter().map(|member| member.message.0).collect::<Vec<i64>>();
        if depth.row {
            contents.rows = self.mail.messages(&ids()).await?;
        } else if depth.envelope {
            contents.envelopes = self.mail.envelopes(&ids()).await?;
        }
        if depth.body {
            let small = |member: &&Membership| u64::from(member.size) <= BATCH_OCTETS;
            let ids: Vec<i64> = part.iter().filter(small).map(|member| member.message.0).collect();
            contents.bodies = self.mail.bodies(&ids).await?;
        } else if depth.header {
            contents.headers = self.mail.headers(&ids()).await?;
        }
        if depth.saved {
            contents.saved = self.mail.saved(account, mailbox, &part.iter().map(|member| member.uid).collect()).await?;
        }
        Ok(contents)
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

fn depth(attributes: &[FetchAttribute]) -> Depth {
    let mut depth = Depth::default();
    for attribute in attributes {
        match attribute {
            FetchAttribute::Envelope => depth.envelope = true,
            FetchAttribute::Body | FetchAttribute::BodyStructure | FetchAttribute::Preview { .. } => depth.row = true,
            FetchAttribute::SaveDate => depth.saved = true,
            FetchAttribute::Binary { .. } | FetchAttribute::BinarySize { .. } => (depth.row, depth.body) = (true, true),
            FetchAttribute::BodySection { section, .. } => depth.need(&section.path, &section.part),
            FetchAttribute::Rfc822(part) => depth.need(&[], &part.section().part),
            _ => {}
        }
    }
    depth
}

impl Depth {
    fn need(&mut self, path: &[u32], part: &SectionPart) {
        self.row = true;
        let top_header = path.is_empty()
            && matches!(part, SectionPart::Header | SectionPart::HeaderFields(_) | SectionPart::HeaderFieldsNot(_));
        if top_header { self.header = true } else { self.body = true }
    }
}

/// How many messages are read at once.
fn batch(rest: &[Membership], depth: Depth) -> usize {
    if depth.body {
        let mut octets = 0;
        let fits = |member: &&Membership| {
            octets += u64::from(member.size);
            octets <= BATCH_OCTETS
        };
        return rest.iter().take(200).take_while(fits).count().max(1);
    }
    let most = if depth.header {
        500
    } else if depth.row || depth.envelope {
        2000
    } else {
        rest.len()
    };
    rest.len().min(most)
}
