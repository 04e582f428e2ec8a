//! STORE, COPY, MOVE, EXPUNGE.

use posthorn_imap::{Completion, ResponseCode, SequenceSet, Store, StoreAction};
use posthorn_mail::FlagChange;
use posthorn_mail::selected::{Flagged, Transferred};
use posthorn_model::{Flags, KeywordError, NumberSet};

use super::append::over_quota;
use super::selected::Own;
use super::{Answer, Session, Stop};

impl Session {
    pub(super) async fn store(&mut self, store: Store) -> Answer {
        let (user, selected) = self.writable()?;
        let uids = selected.resolve(&store.set, store.uid)?;
        let mut names = store.flags.clone();
        if store.action == StoreAction::Remove {
            // What nobody ever set need not become a keyword to be taken away.
            let keywords = user.account.keywords();
            names.retain(|name| Flags::system(name).is_some() || keywords.find(name).is_some());
        }
        let flags = match self.mail.flags(user.login.account, &names).await? {
            Ok(flags) => flags,
            Err(KeywordError::Limit) => {
                return Ok(Completion::no("Too many keywords").with(ResponseCode::Limit));
            }
            Err(KeywordError::Malformed) => return Ok(Completion::bad("Malformed keyword")),
        };
        let change = match store.action {
            StoreAction::Add => FlagChange::Add(flags),
            StoreAction::Remove => FlagChange::Remove(flags),
            StoreAction::Replace => FlagChange::Replace(flags),
        };
        let place = (&*user.account, &*selected.mailbox);
        let flagged = self.mail.change_flags(place, &uids, change, store.unchanged_since).await?;
        self.tell_flags(&store, &uids, &flagged)?;
        if flagged.modified.is_empty() {
            return Ok(Completion::ok("Stored"));
        }
        // MODIFIED speaks in the numbers that the command used (RFC 7162 §3.1.3).
        let (_, selected) = self.selected()?;
        let named = if store.uid { flagged.modified } else { selected.view.of_uids(&flagged.modified).sequences };
        Ok(Completion::ok("Some messages changed meanwhile").with(ResponseCode::Modified(named)))
    }

    /// Answers STORE: the flags of every message that was named, unless silent; what else changed, besides.
    fn tell_flags(&mut self, store: &Store, uids: &NumberSet, flagged: &Flagged) -> Result<(), Stop> {
        let enabled = self.server.enabled();
        let (user, selected) = self.selected()?;
        let keywords = user.account.keywords();
        let changed: NumberSet = flagged.changed.iter().map(|message| message.uid).collect();
        let mut walk = selected.view.walk();
        let told: Vec<_> = selected
            .mailbox
            .among(uids)
            .into_iter()
            .filter(|message| !store.silent || enabled.condstore && changed.contains(message.uid))
            .filter(|message| !flagged.modified.contains(message.uid))
            .filter_map(|message| walk.seq_of(message.uid).map(|sequence| (sequence, message)))
            .collect();
        let out = self.server.out();
        for (sequence, message) in told {
            let mut fetch = out.fetch(sequence);
            if store.uid || enabled.qresync {
                fetch.uid(message.uid);
            }
            if enabled.condstore {
                fetch.modseq(message.modseq);
            }
            if !store.silent {
                fetch.flags(keywords.written(message.flags));
            }
            fetch.end();
        }
        let modseq = flagged.changed.first().map_or(0, |message| message.modseq);
        // A silent client works out the new flags from the old ones: where somebody else changed those and it was not told
        // yet, it must be.
        let seen = self.selected()?.1.seen;
        let worked_out =
            flagged.changed.iter().zip(&flagged.before).filter(|(_, before)| !store.silent || **before <= seen);
        let uids = worked_out.map(|(message, _)| message.uid).collect();
        self.announce(Some(&Own { uids: &uids, modseq }));
        Ok(())
    }

    pub(super) async fn transfer(&mut self, (uid, set): (bool, SequenceSet), to: &str, moving: bool) -> Answer {
        let (user, selected) = if moving { self.writable()? } else { self.selected()? };
        let account = user.login.account;
        let uids = selected.resolve(&set, uid)?;
        let from = selected.mailbox.id();
        let missing = || Completion::no("There is no such mailbox").with(ResponseCode::TryCreate);
        let Some(target) = self.mail.find_mailbox(account, to).await? else { return Ok(missing()) };
        if moving && target.id == from {
            return Ok(Completion::no("The messages are there already").with(ResponseCode::Cannot));
        }
        let (uid_validity, source, target) = match self.mail.transfer(account, (from, target.id), &uids, moving).await?
        {
            Transferred::Done { uid_validity, source, target } => (uid_validity, source, target),
            Transferred::NoMailbox => return Ok(missing()),
            Transferred::OverQuota => return Ok(over_quota()),
        };
        let done = if source.is_empty() { None } else { Some(ResponseCode::CopyUid { uid_validity, source, target }) };
        match (moving, done) {
            // RFC 6851 §4.3: COPYUID comes before the EXPUNGEs that make its UIDs meaningless.
            (true, Some(code)) => {
                self.server.out().ok(Some(&code), "Moved");
                self.announce(None);
                Ok(Completion::ok("Moved"))
            }
            (false, Some(code)) => {
                self.announce(None);
                Ok(Completion::ok("Copied").with(code))
            }
            (_, None) => {
                self.announce(None);
                Ok(Completion::ok("There was nothing to take"))
            }
        }
    }

    pub(super) async fn expunge(&mut self, uids: Option<SequenceSet>) -> Answer {
        let (user, selected) = self.writable()?;
        let uids = match uids {
            Some(set) => selected.resolve(&set, true)?,
            None => selected
                .mailbox
                .with(|messages| messages.iter().filter(|m| m.flags.contains(Flags::DELETED)).map(|m| m.uid).collect()),
        };
        let gone = self.mail.expunge((&user.account, &selected.mailbox), &uids).await?;
        self.announce(None);
        if self.server.enabled().condstore && !gone.is_empty() {
            let (_, selected) = self.selected()?;
            let highest = selected.told();
            return Ok(Completion::ok("Expunged").with(ResponseCode::HighestModSeq(highest)));
        }
        Ok(Completion::ok("Expunged"))
    }
}
