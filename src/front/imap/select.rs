//! SELECT, EXAMINE, CLOSE, UNSELECT.

use posthorn_imap::{Completion, Qresync, ResponseCode, Select, View};
use posthorn_mail::live::LiveMailbox;
use posthorn_model::{Flags, ModSeq, NumberSet};

use super::selected::{Selected, tell_flags, tell_permanent_flags};
use super::{Answer, Session, Stop};

impl Session {
    pub(super) async fn select(&mut self, select: Select) -> Answer {
        if let Some(user) = self.user.as_deref_mut() {
            user.selected = None;
        }
        self.server.unselected();
        let user = self.user()?;
        // Before the mailbox is read, so that no change falls in between.
        let changed = user.account.subscribe();
        let row = self.mail.find_mailbox(user.login.account, &select.mailbox).await?;
        let found = match row {
            Some(row) => user.account.mailbox(row.id).await?,
            None => None,
        };
        let Some(mailbox) = found else {
            return Ok(Completion::no("There is no such mailbox").with(ResponseCode::NonExistent));
        };
        // All of one moment: a HIGHESTMODSEQ beyond what the view shows would let a returning client miss the rest.
        let survey = mailbox.survey(|messages| {
            let unseen = messages.iter().position(|message| !message.flags.contains(Flags::SEEN));
            (View::new(messages.iter().map(|message| message.uid)), unseen)
        });
        let (view, unseen) = survey.read;
        let (uid_next, highest, seen) = (survey.uid_next, survey.highest_modseq, survey.position);
        let keywords = self.describe(&select, &mailbox, (view.len(), unseen), (uid_next, highest))?;
        let user = self.user.as_deref_mut().ok_or_else(|| Stop::Answer(Completion::bad("Log in first")))?;
        user.selected = Some(Selected { mailbox, view, seen, read_only: select.read_only, keywords, changed });
        self.server.selected(select.read_only);
        if let Some(memory) = &select.qresync {
            self.resynchronise(memory).await?;
        }
        Ok(Completion::ok(if select.read_only { "Examined" } else { "Selected" }))
    }

    fn describe(
        &mut self,
        select: &Select,
        mailbox: &LiveMailbox,
        (count, unseen): (u32, Option<usize>),
        (uid_next, highest): (u32, ModSeq),
    ) -> Result<usize, Stop> {
        let keywords = self.user()?.account.keywords();
        let rev2 = self.server.enabled().rev2;
        let out = self.server.out();
        tell_flags(out, &keywords);
        out.exists(count);
        out.recent(0);
        if !rev2 && let Some(first) = unseen.and_then(|place| u32::try_from(place + 1).ok()) {
            out.ok(Some(&ResponseCode::Unseen(first)), "First unseen message");
        }
        tell_permanent_flags(out, &keywords, select.read_only);
        out.ok(Some(&ResponseCode::UidValidity(mailbox.uid_validity())), "UIDs valid");
        out.ok(Some(&ResponseCode::UidNext(uid_next)), "Next UID");
        out.ok(Some(&ResponseCode::HighestModSeq(highest)), "Highest");
        out.ok(Some(&ResponseCode::MailboxId(mailbox_id(mailbox.id()))), "Mailbox id");
        if rev2 {
            out.list(&[], Some(posthorn_mail::mailboxes::DELIMITER), &select.mailbox, &[]);
        }
        Ok(keywords.names().len())
    }

    /// Tells a returning client what it missed (RFC 7162 §3.2.5): first what is gone, then what changed.
    async fn resynchronise(&mut self, memory: &Qresync) -> Result<(), Stop> {
        let (user, selected) = self.selected()?;
        if memory.uid_validity != selected.mailbox.uid_validity() {
            return Ok(());
        }
        let uid_next = selected.mailbox.heads().0;
        let mut known = memory.known_uids.clone().unwrap_or_default();
        if memory.known_uids.is_none() {
            known.insert_range(1..=uid_next.saturating_sub(1));
        }
        let gone = self.mail.expunged_since(user.login.account, selected.mailbox.id(), memory.mod_seq).await?;
        let (user, selected) = self.selected()?;
        let vanished = match gone {
            Some(gone) => gone.intersection(&known).difference(selected.view.uids()),
            // The log does not reach back: every known UID that is not here any more.
            None => missing(&known, &selected.view, memory),
        };
        let changed = selected.mailbox.with(|messages| {
            let wanted = |m: &&posthorn_mail::Membership| m.modseq > memory.mod_seq && known.contains(m.uid);
            messages.iter().filter(wanted).copied().collect::<Vec<_>>()
        });
        let keywords = user.account.keywords();
        let sequences: Vec<Option<u32>> = changed.iter().map(|m| selected.view.seq_of(m.uid)).collect();
        let out = self.server.out();
        out.vanished(true, &vanished);
        for (message, sequence) in changed.iter().zip(sequences) {
            let Some(sequence) = sequence else { continue };
            let mut fetch = out.fetch(sequence);
            fetch.uid(message.uid).flags(keywords.written(message.flags)).modseq(message.modseq);
            fetch.end();
        }
        Ok(())
    }

    pub(super) async fn close(&mut self) -> Answer {
        let (user, selected) = self.selected()?;
        let mut highest = None;
        if !selected.read_only {
            let mut all = NumberSet::new();
            all.insert_range(1..=u32::MAX);
            let gone = self.mail.expunge((&user.account, &selected.mailbox), &all).await?;
            // So that a client that comes back need not hear of these again, unless there is more that it was not told.
            let missed = selected.mailbox.update(selected.seen, selected.view.uids());
            let knows = missed.flagged.is_empty()
                && missed.added.is_empty()
                && missed.expunged.iter().all(|uid| gone.contains(uid));
            highest = (self.server.enabled().qresync && knows && !gone.is_empty()).then(|| selected.mailbox.heads().1);
        }
        let done = self.unselect();
        Ok(match highest {
            Some(highest) => done.with(ResponseCode::HighestModSeq(highest)),
            None => done,
        })
    }

    pub(super) fn unselect(&mut self) -> Completion {
        if let Some(user) = self.user.as_deref_mut() {
            user.selected = None;
        }
        Completion::ok("Done")
    }
}

/// A MAILBOXID (RFC 8474): letters, digits, dashes and underscores.
pub(super) fn mailbox_id(id: posthorn_model::MailboxId) -> String {
    format!("M{:x}", id.0)
}

/// Known UIDs that are not present, ascending. A client that named matching pairs of numbers and UIDs need only be
/// told from the first pair on that does not match any more (RFC 7162 §3.2.5.2).
fn missing(known: &NumberSet, view: &View, memory: &Qresync) -> NumberSet {
    let mut settled = NumberSet::new();
    if let Some((sequences, uids)) = &memory.known_pairs {
        let matching = sequences.iter().zip(uids.iter()).take_while(|(s, uid)| view.uid_of(*s) == Some(*uid));
        if let Some((_, uid)) = matching.last() {
            settled.insert_range(1..=uid);
        }
    }
    known.difference(view.uids()).difference(&settled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_missing() {
        let memory = Qresync { uid_validity: 1, mod_seq: 1, known_uids: None, known_pairs: None };
        let mut known = NumberSet::new();
        known.insert_range(1..=10);
        assert_eq!(missing(&known, &View::new([2, 3, 7]), &memory).to_string(), "1,4:6,8:10");
        assert_eq!(missing(&known, &View::default(), &memory).to_string(), "1:10");
        let pairs = Some((NumberSet::from_iter([1, 2]), NumberSet::from_iter([2, 3])));
        assert_eq!(
            missing(&known, &View::new([2, 3, 7]), &Qresync { known_pairs: pairs, ..memory }).to_string(),
            "4:6,8:10"
        );
    }
}
