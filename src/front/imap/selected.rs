//! The selected mailbox: what this client was told of it, and telling it what changed.

use std::sync::Arc;

use posthorn_imap::{Completion, Output, SequenceSet, View};
use posthorn_mail::live::LiveMailbox;
use posthorn_model::{Flags, Keywords, ModSeq, NumberSet};
use tokio::sync::watch;

use super::{Session, Stop, User};

/// A mailbox as one client sees it.
pub(super) struct Selected {
    pub(super) mailbox: Arc<LiveMailbox>,
    pub(super) view: View,
    /// How far the client was told.
    pub(super) seen: ModSeq,
    pub(super) read_only: bool,
    /// How many keywords the client was told that there are.
    pub(super) keywords: usize,
    /// Wakes an idling client. Only sessions with a mailbox listen, so that nothing is read for the others.
    pub(super) changed: watch::Receiver<ModSeq>,
}

/// Flags that this session itself changed, which the client knows already.
pub(super) struct Own<'o> {
    pub(super) uids: &'o NumberSet,
    pub(super) modseq: ModSeq,
}

impl Selected {
    /// The HIGHESTMODSEQ to tell: no change up to it is unknown to the client.
    pub(super) fn told(&self) -> ModSeq {
        self.seen.min(self.mailbox.heads().1)
    }

    /// The messages that a command means, as UIDs.
    pub(super) fn resolve(&self, set: &SequenceSet, uid: bool) -> Result<NumberSet, Stop> {
        match self.view.resolve(set, uid) {
            Ok(selection) => Ok(selection.uids),
            Err(_) => Err(Stop::Answer(Completion::bad("There is no message of that number"))),
        }
    }
}

impl Session {
    /// Reads what was committed, here or by another process, and tells the client.
    pub(super) async fn catch_up(&mut self) -> Result<(), Stop> {
        if let Some(user) = &self.user
            && user.selected.is_some()
        {
            user.account.refresh().await?;
        }
        self.announce(None);
        Ok(())
    }

    /// Tells the client what it does not know yet. `own` are flag changes that were answered already.
    pub(super) fn announce(&mut self, own: Option<&Own<'_>>) {
        let enabled = self.server.enabled();
        let expunges = self.server.may_announce_expunges();
        let Some(user) = self.user.as_deref_mut() else { return };
        let User { account, selected, .. } = user;
        if account.is_gone() {
            return self.server.dismiss("The account was removed");
        }
        let Some(Selected { mailbox, view, seen, keywords: told, read_only, .. }) = selected else { return };
        let update = mailbox.update(*seen, view.uids());
        *seen = update.modseq;
        view.lose(&update.expunged);
        let out = self.server.out();
        if expunges && view.has_lost() {
            let gone = view.announce();
            if enabled.qresync {
                out.vanished(false, &gone.uids);
            } else {
                gone.sequences.iter().for_each(|sequence| out.expunge(*sequence));
            }
        }
        if let Some(count) = view.append(update.added) {
            out.exists(count);
            out.recent(0);
        }
        let known =
            |m: &posthorn_mail::Membership| own.is_some_and(|own| own.uids.contains(m.uid) && m.modseq == own.modseq);
        let keywords = account.keywords();
        if keywords.names().len() > *told {
            *told = keywords.names().len();
            tell_flags(out, &keywords);
            tell_permanent_flags(out, &keywords, *read_only);
        }
        let mut walk = view.walk();
        for message in update.flagged.iter().filter(|message| !known(message)) {
            let Some(sequence) = walk.seq_of(message.uid) else { continue };
            let mut fetch = out.fetch(sequence);
            if enabled.condstore {
                fetch.uid(message.uid).modseq(message.modseq);
            }
            fetch.flags(keywords.written(message.flags));
            fetch.end();
        }
        if update.gone {
            self.server.dismiss("The selected mailbox was deleted");
        }
    }
}

/// Tells which flags there are.
pub(super) fn tell_flags(out: &mut Output, keywords: &Keywords) {
    out.flags(names(keywords));
}

/// Tells which flags can be changed for good.
pub(super) fn tell_permanent_flags(out: &mut Output, keywords: &Keywords, read_only: bool) {
    if read_only {
        out.permanent_flags([]);
    } else {
        out.permanent_flags(names(keywords).chain(std::iter::once("\\*")));
    }
}

fn names(keywords: &Keywords) -> impl Iterator<Item = &str> {
    Flags::SYSTEM.iter().map(|(_, name)| *name).chain(keywords.names().iter().map(String::as_str))
}
