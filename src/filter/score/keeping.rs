//! What scoring learns, and how it is written down and read.

use std::sync::atomic::Ordering;

use chrono::{DateTime, TimeDelta, Utc};
use posthorn_store::Connection;
use posthorn_store::filter::standing::{self, Written};
use posthorn_store::filter::words::{self, EVERYBODY, Lesson, Word};
use posthorn_store::policy::news;

use super::reading::Reading;
use super::reputation::Standing;
use super::{LESSONS, REPUTED, STANDINGS, Scoring, WRITTEN, WRITTEN_DAYS, life, reputation};
use crate::{Evidence, Point};

/// Days after which a message that was learned may be learned again.
const LESSON_DAYS: i64 = 90;
/// Words that are read when they changed elsewhere; more than these, and everything is read.
const CHANGED: i64 = 200_000;

type Result<T> = posthorn_mail::Result<T>;

impl Scoring {
    /// Notes what a message scored, in the reputation of who wrote it.
    pub(crate) fn note(&self, evidence: &Evidence<'_>, points: &[Point]) {
        // What was seen before does not count again, else a reputation would feed on itself.
        let new = points.iter().filter(|point| !reputation::is_named(&point.name));
        let sum: f64 = new.map(|point| point.value).sum();
        let is_spam = sum >= REPUTED.0;
        if (!is_spam && sum > REPUTED.1) || evidence.case.envelope.sender.is_none() {
            return;
        }
        let (now, life) = (evidence.case.now, life(self.scores.reputation_half_life));
        let keys = self.keys(&Reading::of(evidence));
        let mut standings = self.standings.lock();
        for (_, key) in keys {
            let standing = standings.find(key).unwrap_or(Standing { spam: 0.0, ham: 0.0, at: now });
            standings.put(key, standing.at(now, life).with(is_spam));
        }
    }

    /// Takes a message to be learned by these accounts, [`EVERYBODY`] among them. What does not fit is dropped, and counted.
    pub(crate) fn learn(&self, evidence: &Evidence<'_>, accounts: impl Iterator<Item = i64>, is_spam: bool) {
        self.take_lessons(self.lessons_of(evidence, accounts, is_spam));
    }

    pub(super) fn take_lessons(&self, new: Vec<Lesson>) {
        let mut lessons = self.lessons.lock();
        let room = LESSONS.saturating_sub(lessons.len());
        self.untaught.fetch_add(new.len().saturating_sub(room) as u64, Ordering::Relaxed);
        lessons.extend(new.into_iter().take(room));
    }

    /// Whether more lessons can wait.
    pub(crate) fn has_room(&self) -> bool {
        self.lessons.lock().len() < LESSONS / 2
    }

    /// Lessons that were dropped because too many waited.
    pub(crate) fn untaught(&self) -> u64 {
        self.untaught.load(Ordering::Relaxed)
    }

    /// Reads everything.
    pub(crate) async fn load(&self, connection: &mut Connection) -> Result<()> {
        self.floor.store(news::floor(connection).await?, Ordering::Relaxed);
        self.words.set_known(&words::corpora(connection).await?);
        self.read_words(connection, EVERYBODY).await?;
        let limit = |most: usize| i64::try_from(most / 2).unwrap_or(i64::MAX);
        let standings = standing::standings(connection, limit(STANDINGS)).await?;
        let since = DateTime::<Utc>::UNIX_EPOCH;
        let written = standing::written(connection, since, limit(WRITTEN)).await?;
        let mut held = self.standings.lock();
        for standing::Standing { key, spam, ham, at } in standings {
            held.fill(key.cast_unsigned(), Standing { spam, ham, at });
        }
        drop(held);
        let mut held = self.written.lock();
        for Written { key, at } in written {
            held.fill(key.cast_unsigned(), at);
        }
        Ok(())
    }

    /// Writes down what was learned, and reads what messages would have been held against.
    pub(crate) async fn write(&self, connection: &mut Connection, now: DateTime<Utc>) -> Result<()> {
        let standings = self.standings.lock().take_changed();
        let row = |(key, standing): &(u64, Standing)| {
            let Standing { spam, ham, at } = *standing;
            standing::Standing { key: key.cast_signed(), spam, ham, at }
        };
        if !standings.is_empty()
            && let Err(error) =
                standing::put_standings(connection, &standings.iter().map(row).collect::<Vec<_>>()).await
        {
            self.standings.lock().put_back(standings.into_iter().map(|(key, _)| key));
            return Err(error.into());
        }
        let written = self.written.lock().take_changed();
        let row = |(key, at): &(u64, DateTime<Utc>)| Written { key: key.cast_signed(), at: *at };
        if !written.is_empty()
            && let Err(error) = standing::put_written(connection, &written.iter().map(row).collect::<Vec<_>>()).await
        {
            self.written.lock().put_back(written.into_iter().map(|(key, _)| key));
            return Err(error.into());
        }
        self.write_lessons(connection, now).await?;
        for account in self.words.take_wanted() {
            self.read_words(connection, account).await?;
        }
        Ok(())
    }

    /// Teaches what waits. Returns how many messages were new.
    pub(crate) async fn write_lessons(&self, connection: &mut Connection, now: DateTime<Utc>) -> Result<usize> {
        let mut lessons = std::mem::take(&mut *self.lessons.lock()).into_iter();
        let mut learned = 0;
        while let Some(lesson) = lessons.next() {
            match words::teach(connection, &lesson, now).await {
                Ok(Some((corpus, all))) => {
                    self.words.set(corpus);
                    self.words.change(lesson.account, &all);
                    learned += usize::from(lesson.account == EVERYBODY);
                }
                Ok(None) => {}
                Err(error) => {
                    let mut waiting = self.lessons.lock();
                    waiting.push(lesson);
                    waiting.extend(lessons);
                    waiting.truncate(LESSONS);
                    return Err(error.into());
                }
            }
        }
        Ok(learned)
    }

    /// Reads what others learned and wrote.
    pub(crate) async fn read(&self, connection: &mut Connection, now: DateTime<Utc>) -> Result<()> {
        let floor = news::floor(connection).await?;
        let stale = self.words.set_known(&words::corpora(connection).await?);
        let changed = words::changed(connection, self.floor.load(Ordering::Relaxed), CHANGED).await?;
        if i64::try_from(changed.len()).is_ok_and(|changed| changed < CHANGED) {
            for (account, word) in changed {
                self.words.change(account, &[word]);
            }
        } else {
            self.read_words(connection, EVERYBODY).await?;
        }
        for account in stale {
            self.read_words(connection, account).await?;
        }
        self.floor.store(floor, Ordering::Relaxed);
        let limit = i64::try_from(WRITTEN / 2).unwrap_or(i64::MAX);
        let written = standing::written(connection, now - TimeDelta::minutes(10), limit).await?;
        let mut held = self.written.lock();
        for Written { key, at } in written {
            let key = key.cast_unsigned();
            if held.find(key).is_none_or(|known| known < at) {
                held.fill(key, at);
            }
        }
        Ok(())
    }

    /// Halves what was learned of too many messages, and forgets what is old.
    pub(crate) async fn forget(&self, connection: &mut Connection, now: DateTime<Utc>) -> Result<()> {
        for account in self.words.overgrown() {
            words::halve(connection, account, i64::from(self.classifier.halve_after)).await?;
        }
        words::sweep(connection, now - TimeDelta::days(LESSON_DAYS)).await?;
        let seen = now - life(self.scores.reputation_half_life) * 8;
        Ok(standing::sweep(connection, seen, now - TimeDelta::days(WRITTEN_DAYS)).await?)
    }

    async fn read_words(&self, connection: &mut Connection, account: i64) -> Result<()> {
        let all: Vec<Word> = words::load(connection, account, self.words.limit(account)).await?;
        self.words.fill(account, &all);
        Ok(())
    }
}
