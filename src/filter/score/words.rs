//! What everybody and each account taught, in memory.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use posthorn_config::FilterClassifier;
use posthorn_store::filter::words::{self, EVERYBODY};

use super::corpus::{Corpus, Likeness};
use super::counts::Count;

/// Corpora by account.
#[derive(Debug)]
pub(crate) struct Words {
    settings: FilterClassifier,
    everybody: RwLock<Corpus>,
    own: RwLock<HashMap<i64, Own>>,
    /// How much each account taught, whether its words are in memory or not.
    known: RwLock<HashMap<i64, words::Corpus>>,
    /// Accounts whose words a message would have been held against.
    wanted: Mutex<HashSet<i64>>,
    clock: AtomicU64,
}

#[derive(Debug)]
struct Own {
    corpus: Arc<RwLock<Corpus>>,
    used: AtomicU64,
}

impl Words {
    pub(crate) fn new(settings: FilterClassifier) -> Self {
        Self {
            everybody: RwLock::new(Corpus::new(settings.words as usize)),
            own: RwLock::default(),
            known: RwLock::default(),
            wanted: Mutex::default(),
            clock: AtomicU64::new(0),
            settings,
        }
    }

    /// What a message looks like to everybody.
    pub(crate) fn likeness(&self, tokens: &[u64]) -> Option<Likeness> {
        let corpus = self.everybody.read();
        corpus.is_grown(self.settings.least).then(|| corpus.likeness(tokens)).flatten()
    }

    /// What it looks like to one account, if that taught enough and its words are here; else they will be.
    pub(crate) fn likeness_for(&self, account: i64, tokens: &[u64]) -> Option<Likeness> {
        if !self.known.read().get(&account).is_some_and(|known| self.is_grown(known)) {
            return None;
        }
        let corpus = self.own.read().get(&account).map(|own| {
            own.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
            Arc::clone(&own.corpus)
        });
        match corpus {
            Some(corpus) => corpus.read().likeness(tokens),
            None => {
                self.want(account);
                None
            }
        }
    }

    /// Accounts whose words are to be read.
    pub(crate) fn take_wanted(&self) -> Vec<i64> {
        std::mem::take(&mut *self.wanted.lock()).into_iter().collect()
    }

    /// How many words of an account are read.
    pub(crate) fn limit(&self, account: i64) -> i64 {
        let limit = if account == EVERYBODY { self.settings.words } else { self.settings.own_words };
        i64::from(limit)
    }

    /// Takes over how much was taught. Returns whose words count differently since then and are in memory.
    pub(crate) fn set_known(&self, corpora: &[words::Corpus]) -> Vec<i64> {
        let mut stale = Vec::new();
        for corpus in corpora {
            self.with(corpus.account, |held| {
                if held.generation != corpus.generation {
                    stale.push(corpus.account);
                }
                held.messages = messages(corpus);
            });
        }
        *self.known.write() = corpora.iter().map(|corpus| (corpus.account, *corpus)).collect();
        stale
    }

    /// Takes over all words of an account.
    pub(crate) fn fill(&self, account: i64, all: &[words::Word]) {
        let known = self.known.read().get(&account).copied();
        let mut corpus = Corpus::new(usize::try_from(self.limit(account)).unwrap_or(0));
        if let Some(known) = known {
            corpus.messages = messages(&known);
            corpus.generation = known.generation;
        }
        for word in all {
            corpus.counts.set(word.token.cast_unsigned(), count(word));
        }
        if account == EVERYBODY {
            *self.everybody.write() = corpus;
            return;
        }
        let used = AtomicU64::new(self.clock.fetch_add(1, Ordering::Relaxed));
        let mut own = self.own.write();
        own.insert(account, Own { corpus: Arc::new(RwLock::new(corpus)), used });
        while own.len() > self.settings.accounts as usize {
            let longest =
                own.iter().min_by_key(|(_, own)| own.used.load(Ordering::Relaxed)).map(|(account, _)| *account);
            let Some(longest) = longest else { break };
            own.remove(&longest);
        }
    }

    /// Takes over words that changed, of an account whose words are in memory.
    pub(crate) fn change(&self, account: i64, all: &[words::Word]) {
        self.with(account, |corpus| {
            for word in all {
                corpus.counts.set(word.token.cast_unsigned(), count(word));
            }
        });
    }

    /// Takes over how much one account taught. Who has taught enough is wanted from then on.
    pub(crate) fn set(&self, corpus: words::Corpus) {
        let account = corpus.account;
        self.known.write().insert(account, corpus);
        if account != EVERYBODY && self.is_grown(&corpus) && !self.own.read().contains_key(&account) {
            self.want(account);
        }
        self.with(account, |held| held.messages = messages(&corpus));
    }

    fn is_grown(&self, corpus: &words::Corpus) -> bool {
        let least = i64::from(self.settings.least_own);
        corpus.spam >= least && corpus.ham >= least && self.settings.accounts > 0
    }

    fn want(&self, account: i64) {
        let mut wanted = self.wanted.lock();
        if wanted.len() < self.settings.accounts as usize {
            wanted.insert(account);
        }
    }

    /// Accounts that taught so much that it is to be halved.
    pub(crate) fn overgrown(&self) -> Vec<i64> {
        let most = i64::from(self.settings.halve_after);
        self.known
            .read()
            .values()
            .filter(|corpus| corpus.spam + corpus.ham > most)
            .map(|corpus| corpus.account)
            .collect()
    }

    fn with(&self, account: i64, change: impl FnOnce(&mut Corpus)) {
        if account == EVERYBODY {
            change(&mut self.everybody.write());
        } else if let Some(corpus) = self.own.read().get(&account).map(|own| Arc::clone(&own.corpus)) {
            change(&mut corpus.write());
        }
    }
}

fn messages(corpus: &words::Corpus) -> Count {
    let number = |number: i64| u32::try_from(number.max(0)).unwrap_or(u32::MAX);
    Count { spam: number(corpus.spam), ham: number(corpus.ham) }
}

fn count(word: &words::Word) -> Count {
    Count { spam: word.spam.max(0).cast_unsigned(), ham: word.ham.max(0).cast_unsigned() }
}

#[cfg(test)]
mod tests {
    use super::super::tokens::finish;
    use super::*;

    fn taught(account: i64) -> words::Corpus {
        words::Corpus { account, spam: 30, ham: 30, generation: 0 }
    }

    fn spammy() -> Vec<words::Word> {
        (1..=20).map(|n| words::Word { token: finish(n).cast_signed(), spam: 30, ham: 0 }).collect()
    }

    #[test]
    fn an_accounts_words_are_wanted_first_and_used_then() {
        let words = Words::new(FilterClassifier { accounts: 2, least: 1, ..FilterClassifier::default() });
        let tokens: Vec<u64> = (1..=20).map(finish).collect();
        assert!(words.set_known(&[taught(EVERYBODY), taught(1), taught(2), taught(3)]).is_empty());
        assert_eq!(words.likeness_for(1, &tokens), None);
        assert_eq!(words.likeness_for(9, &tokens), None);
        assert_eq!(words.take_wanted(), [1]);
        words.fill(1, &spammy());
        assert!(words.likeness_for(1, &tokens).is_some_and(|likeness| likeness.spam > 0.9));
        words.fill(2, &spammy());
        assert!(words.likeness_for(1, &tokens).is_some());
        words.fill(3, &spammy());
        assert!(words.likeness_for(2, &tokens).is_none(), "who was not used for longest makes room");
        words.fill(EVERYBODY, &spammy());
        assert!(words.likeness(&tokens).is_some_and(|likeness| likeness.spam > 0.9));
        let halved = words::Corpus { generation: 1, ..taught(1) };
        assert_eq!(words.set_known(&[halved]), [1]);
    }
}
