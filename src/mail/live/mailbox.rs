//! One mailbox in memory: every message's UID, flags and size, and the latest changes.

use std::collections::VecDeque;

use parking_lot::RwLock;
use posthorn_model::{MailboxId, ModSeq, NumberSet, Uid};
use posthorn_store::changes::{Change, Kind};
use posthorn_store::mailboxes::Mailbox;
use posthorn_store::memberships::Membership;

/// How many changes are remembered; a session further behind compares everything.
const JOURNAL: usize = 1024;

/// A mailbox that sessions look at.
pub struct LiveMailbox {
    id: MailboxId,
    uid_validity: u32,
    state: RwLock<State>,
}

struct State {
    /// By UID.
    messages: Vec<Membership>,
    uid_next: Uid,
    highest_modseq: ModSeq,
    /// How far the change log was applied here, or read when this was loaded.
    applied: ModSeq,
    /// Changes above `journal_from`, oldest first.
    journal: VecDeque<Change>,
    journal_from: ModSeq,
    gone: bool,
}

/// A mailbox at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Survey<T> {
    /// What was read of its messages.
    pub read: T,
    /// UIDNEXT
    pub uid_next: Uid,
    /// HIGHESTMODSEQ
    pub highest_modseq: ModSeq,
    /// How far changes were applied: what a session that has seen everything passes to [`LiveMailbox::update`].
    pub position: ModSeq,
}

/// What a session must tell its client, given what it told before.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Update {
    /// UIDs that are gone.
    pub expunged: NumberSet,
    /// Messages it knows whose flags changed.
    pub flagged: Vec<Membership>,
    /// UIDs that are new, ascending.
    pub added: Vec<Uid>,
    /// How far this brings the session.
    pub modseq: ModSeq,
    /// The mailbox itself was removed.
    pub gone: bool,
}

impl LiveMailbox {
    pub(super) fn new(row: &Mailbox, mut messages: Vec<Membership>, applied: ModSeq) -> Self {
        // Rows may be newer than the change log is known, as in `apply`.
        messages.iter_mut().for_each(|m| m.modseq = m.modseq.min(applied));
        let highest = messages.iter().map(|m| m.modseq).max().unwrap_or_default().max(row.highest_modseq.min(applied));
        let uid_next = messages.last().map_or(row.uid_next, |last| row.uid_next.max(last.uid + 1));
        let state = State {
            messages,
            uid_next,
            highest_modseq: highest,
            applied,
            journal: VecDeque::new(),
            journal_from: applied,
            gone: false,
        };
        Self { id: row.id, uid_validity: row.uid_validity, state: RwLock::new(state) }
    }

    /// Which one.
    #[must_use]
    pub fn id(&self) -> MailboxId {
        self.id
    }

    /// RFC 9051 §2.3.1.1.
    #[must_use]
    pub fn uid_validity(&self) -> u32 {
        self.uid_validity
    }

    /// UIDNEXT and HIGHESTMODSEQ.
    #[must_use]
    pub fn heads(&self) -> (Uid, ModSeq) {
        let state = self.state.read();
        (state.uid_next, state.highest_modseq)
    }

    /// Hands all messages, by UID, to the reader, with what belongs to the same moment. It must be brief: changes wait.
    pub fn survey<T>(&self, read: impl FnOnce(&[Membership]) -> T) -> Survey<T> {
        let state = self.state.read();
        Survey {
            read: read(&state.messages),
            uid_next: state.uid_next,
            highest_modseq: state.highest_modseq,
            position: state.position(),
        }
    }

    /// Whether the mailbox was removed.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.state.read().gone
    }

    /// Hands all messages, by UID, to the reader. It must be brief: changes wait for it.
    pub fn with<T>(&self, read: impl FnOnce(&[Membership]) -> T) -> T {
        read(&self.state.read().messages)
    }

    /// The messages among these UIDs, by UID.
    #[must_use]
    pub fn among(&self, uids: &NumberSet) -> Vec<Membership> {
        self.with(|messages| {
            let mut found = Vec::new();
            for range in uids.ranges() {
                let from = messages.partition_point(|m| m.uid < *range.start());
                let to = from + messages[from..].partition_point(|m| m.uid <= *range.end());
                found.extend_from_slice(&messages[from..to]);
            }
            found
        })
    }

    /// What changed since `seen`, for a session that knows the messages `known`.
    #[must_use]
    pub fn update(&self, seen: ModSeq, known: &NumberSet) -> Update {
        let state = self.state.read();
        let mut update = Update { modseq: state.position(), gone: state.gone, ..Update::default() };
        let last = known.last().unwrap_or(0);
        if update.modseq == seen {
            return update;
        }
        if seen < state.journal_from {
            state.compare(seen, known, &mut update);
            return update;
        }
        let mut touched = NumberSet::new();
        for change in state.journal.iter().rev().take_while(|change| change.modseq > seen) {
            let into = if change.kind == Kind::Expunged { &mut update.expunged } else { &mut touched };
            change.uids.ranges().for_each(|range| into.insert_range(range));
        }
        for range in touched.ranges() {
            let from = state.messages.partition_point(|m| m.uid < *range.start());
            let within = state.messages[from..].iter().take_while(|m| m.uid <= *range.end() && m.uid <= last);
            update.flagged.extend(within.filter(|m| m.modseq > seen));
        }
        update.added = state.behind(last);
        update
    }

    /// Applies changes in their order; `rows` are the present rows of what was added or flagged. Applying a change
    /// twice changes nothing.
    ///
    /// A row may be newer than the last of these changes. It is shown as of that change: a client that remembered the
    /// newer modseq would never ask for the other rows of the change that it belongs to, which are not here yet.
    pub(super) fn apply(&self, changes: &[&Change], rows: Vec<Membership>, upto: ModSeq) {
        let mut state = self.state.write();
        let last = changes.iter().map(|change| change.modseq).max().unwrap_or_default().max(upto);
        for row in rows {
            state.put(Membership { modseq: row.modseq.min(last), ..row });
        }
        for change in changes {
            if change.kind == Kind::Expunged {
                state.messages.retain(|m| !change.uids.contains(m.uid));
            }
            if change.kind != Kind::Mailbox
                && change.modseq > state.journal.back().map_or(state.journal_from, |c| c.modseq - 1)
            {
                state.journal.push_back((*change).clone());
            }
            if let Some(last) = change.uids.last() {
                state.uid_next = state.uid_next.max(last.saturating_add(1));
            }
            state.highest_modseq = state.highest_modseq.max(change.modseq);
            state.applied = state.applied.max(change.modseq);
        }
        while state.journal.len() > JOURNAL {
            if let Some(old) = state.journal.pop_front() {
                state.journal_from = old.modseq;
            }
        }
    }

    /// The mailbox was removed, with everything in it.
    pub(super) fn vanish(&self, modseq: ModSeq) {
        let mut state = self.state.write();
        state.messages.clear();
        state.journal.clear();
        state.journal_from = modseq;
        state.highest_modseq = modseq;
        state.applied = modseq;
        state.gone = true;
    }
}

impl State {
    fn position(&self) -> ModSeq {
        self.applied
    }

    fn put(&mut self, row: Membership) {
        let at = self.messages.partition_point(|m| m.uid < row.uid);
        match self.messages.get_mut(at) {
            Some(known) if known.uid == row.uid => *known = row,
            _ => self.messages.insert(at, row),
        }
        self.uid_next = self.uid_next.max(row.uid.saturating_add(1));
    }

    fn behind(&self, last: Uid) -> Vec<Uid> {
        let from = self.messages.partition_point(|m| m.uid <= last);
        self.messages[from..].iter().map(|m| m.uid).collect()
    }

    /// The long way, for a session that is behind the journal: both lists side by side.
    fn compare(&self, seen: ModSeq, known: &NumberSet, update: &mut Update) {
        let last = known.last().unwrap_or(0);
        let mut present = self.messages.iter().peekable();
        for uid in known.iter() {
            while present.next_if(|m| m.uid < uid).is_some() {}
            match present.next_if(|m| m.uid == uid) {
                None => update.expunged.insert(uid),
                Some(m) if m.modseq > seen => update.flagged.push(*m),
                Some(_) => {}
            }
        }
        update.added = self.behind(last);
    }
}
