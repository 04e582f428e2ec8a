//! What people say of messages by what they do with them: who moves one into Junk calls it spam, who takes it out does not.
//!
//! Nobody waits for it to be heard: opinions go into a queue in memory with an end, and what does not fit is counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use posthorn_model::{AccountId, Flags, Keywords, MailboxId, MessageId, SpecialUse};
use posthorn_store::mailboxes;
use tokio::sync::Notify;

use crate::{Mail, Result};

/// Opinions that wait at most.
const MOST: usize = 10_000;

/// Keywords by which clients say what a message is (registered as IMAP keywords, RFC 9051 §2.3.2).
const SPAM: &str = "$Junk";
const HAM: &str = "$NotJunk";

/// Somebody said what a message is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Opinion {
    /// Whose opinion it is.
    pub account: AccountId,
    /// The message.
    pub message: MessageId,
    /// What it is said to be.
    pub is_spam: bool,
}

/// Opinions that nobody has heard yet.
#[derive(Debug, Default)]
pub struct Opinions {
    waiting: Mutex<VecDeque<Opinion>>,
    come: Notify,
    heard: AtomicBool,
    dropped: AtomicU64,
}

impl Opinions {
    /// Waits for opinions, and takes at most so many. Only from the first call on are opinions kept.
    pub async fn next(&self, most: usize) -> Vec<Opinion> {
        self.heard.store(true, Ordering::Relaxed);
        loop {
            let taken = self.take(most);
            if !taken.is_empty() {
                return taken;
            }
            self.come.notified().await;
        }
    }

    /// How many opinions found the queue full and were dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn take(&self, most: usize) -> Vec<Opinion> {
        let mut waiting = self.waiting.lock();
        let taken = waiting.len().min(most.max(1));
        waiting.drain(..taken).collect()
    }

    fn say(&self, opinions: impl Iterator<Item = Opinion>) {
        if !self.heard.load(Ordering::Relaxed) {
            return;
        }
        let mut opinions = opinions.peekable();
        if opinions.peek().is_none() {
            return;
        }
        let mut waiting = self.waiting.lock();
        let room = MOST - waiting.len().min(MOST);
        waiting.extend(opinions.by_ref().take(room));
        drop(waiting);
        self.come.notify_one();
        self.dropped.fetch_add(opinions.count() as u64, Ordering::Relaxed);
    }
}

impl Mail {
    /// What people say of messages by what they do with them.
    #[must_use]
    pub fn opinions(&self) -> &Opinions {
        &self.shared.opinions
    }

    /// Messages went from one mailbox of an account to another.
    pub(crate) async fn moved(
        &self,
        account: AccountId,
        (from, to): (MailboxId, MailboxId),
        messages: impl Iterator<Item = MessageId>,
    ) {
        if !self.opinions().heard.load(Ordering::Relaxed) {
            return;
        }
        let folders = match self.folders(account).await {
            Ok(folders) => folders,
            // It is done; only nothing is learned from it.
            Err(error) => return tracing::warn!(account.id = %account, %error, "nothing is learned from a move"),
        };
        let Some(is_spam) = folders.says((from, to)) else { return };
        self.opinions().say(messages.map(|message| Opinion { account, message, is_spam }));
    }

    /// Messages got these flags; with each, those that it did not have before.
    pub(crate) fn marked(
        &self,
        account: AccountId,
        keywords: &Keywords,
        messages: impl Iterator<Item = (MessageId, Flags)>,
    ) {
        let (spam, ham) = (keywords.find(SPAM), keywords.find(HAM));
        if spam.is_none() && ham.is_none() {
            return;
        }
        let has = |flags: Flags, flag: Option<Flags>| flag.is_some_and(|flag| flags.contains(flag));
        let said = messages.filter_map(|(message, new)| match (has(new, spam), has(new, ham)) {
            (true, false) => Some(Opinion { account, message, is_spam: true }),
            (false, true) => Some(Opinion { account, message, is_spam: false }),
            _ => None,
        });
        self.opinions().say(said);
    }

    async fn folders(&self, account: AccountId) -> Result<Folders> {
        if let Some(known) = self.shared.folders.get(&account) {
            return Ok(known);
        }
        let all = mailboxes::list(&mut *self.store.acquire().await?, account).await?;
        let of = |wanted| all.iter().find(|one| one.special_use == Some(wanted)).map(|one| one.id);
        let found = Folders { junk: of(SpecialUse::Junk), trash: of(SpecialUse::Trash) };
        self.shared.folders.insert(account, found);
        Ok(found)
    }
}

/// The folders of an account that say something of what lies in them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Folders {
    junk: Option<MailboxId>,
    trash: Option<MailboxId>,
}

impl Folders {
    /// Whether a move calls a message spam; `None` where it says nothing. Who throws Junk away does not call it wanted.
    fn says(self, (from, to): (MailboxId, MailboxId)) -> Option<bool> {
        let junk = self.junk?;
        match (from == junk, to == junk) {
            (false, true) => Some(true),
            (true, false) => (self.trash != Some(to)).then_some(false),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opinion(message: i64) -> Opinion {
        Opinion { account: AccountId(1), message: MessageId(message), is_spam: true }
    }

    #[test]
    fn only_what_goes_into_junk_and_out_of_it_says_something() {
        let (inbox, junk, trash) = (MailboxId(1), MailboxId(2), MailboxId(3));
        let folders = Folders { junk: Some(junk), trash: Some(trash) };
        assert_eq!(folders.says((inbox, junk)), Some(true));
        assert_eq!(folders.says((trash, junk)), Some(true));
        assert_eq!(folders.says((junk, inbox)), Some(false));
        for nothing in [(junk, trash), (junk, junk), (inbox, trash), (inbox, inbox)] {
            assert_eq!(folders.says(nothing), None, "{nothing:?}");
        }
        assert_eq!(Folders::default().says((inbox, junk)), None);
    }

    #[tokio::test]
    async fn what_nobody_hears_is_not_kept_and_the_queue_has_an_end() {
        let opinions = Opinions::default();
        opinions.say([opinion(1)].into_iter());
        let nothing = tokio::time::timeout(std::time::Duration::from_millis(5), opinions.next(10)).await;
        assert!(nothing.is_err(), "nobody listened when it was said");
        opinions.say((0..MOST as i64 + 7).map(opinion));
        assert_eq!(opinions.dropped(), 7);
        assert_eq!(opinions.next(2).await, [opinion(0), opinion(1)]);
        opinions.say((0..3).map(opinion));
        assert_eq!((opinions.dropped(), opinions.next(usize::MAX).await.len()), (8, MOST));
    }
}
