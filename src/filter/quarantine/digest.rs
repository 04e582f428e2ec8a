//! Letters that tell people what is held for them: at the moments that are configured, by one server of those that share a
//! database.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, Offset as _, TimeDelta, Utc};
use posthorn_config::QuarantineDigest;
use posthorn_mail::accept::Completion;
use posthorn_mail::envelope::{Envelope, Recipient, Source};
use posthorn_mail::route::Route;
use posthorn_mail::{Error, Result};
use posthorn_model::Address;
use posthorn_store::filter::digests::{self, Link, Untold};

use super::letter::{Item, Letter};
use super::{Quarantine, link};
use crate::Category;

/// How often the clock is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long a round that another server has is left alone.
const PATIENCE: TimeDelta = TimeDelta::minutes(10);
/// Recipients who are read at once.
const PEOPLE: i64 = 200;
/// Messages that one letter lists.
const LISTED: i64 = 200;
/// A letter's header is no larger.
const MAX_HEADER: usize = 64 << 10;

/// How far the clock on the wall is from UTC at a moment: people are told at an hour of their day, and read its times.
fn zone(now: DateTime<Utc>) -> FixedOffset {
    now.with_timezone(&chrono::Local).offset().fix()
}

/// The last moment at which letters were due.
fn due(section: &QuarantineDigest, now: DateTime<Utc>, offset: i64) -> DateTime<Utc> {
    let every = i64::try_from(section.every.duration().as_secs()).unwrap_or(i64::MAX).max(1);
    let first = i64::from(section.hour) * 3600 - offset;
    let since = (now.timestamp() - first).rem_euclid(every);
    DateTime::from_timestamp(now.timestamp() - since, 0).unwrap_or(now)
}

impl Quarantine {
    /// Writes letters whenever they are due. Never returns.
    pub(crate) async fn write_digests(&self) {
        if !self.digest.enable {
            return std::future::pending().await;
        }
        let mut done: Option<(DateTime<Utc>, DateTime<Utc>)> = None;
        loop {
            let now = self.mail.now();
            let due = due(&self.digest, now, i64::from(zone(now).local_minus_utc()));
            if done.is_none_or(|(round, at)| round != due || now - at > PATIENCE) {
                match self.round(due).await {
                    Ok(0) => {}
                    Ok(letters) => tracing::info!(letters, "people were told what is held for them"),
                    Err(error) => {
                        tracing::warn!(%error, "people are not told what is held for them, it is tried again")
                    }
                }
                done = Some((due, now));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Tells everybody, if the round of this moment is ours. Returns how many letters were written.
    async fn round(&self, due: DateTime<Utc>) -> Result<u64> {
        let store = self.mail.store();
        if !digests::claim(&mut *store.acquire().await?, due, self.mail.now()).await? {
            return Ok(0);
        }
        let (mut after, mut letters) = (String::new(), 0);
        loop {
            let people = digests::waiting(&mut *store.acquire().await?, &after, PEOPLE).await?;
            let Some(last) = people.last() else { break };
            after.clone_from(last);
            for folded in people {
                letters += u64::from(self.tell(&folded).await?);
            }
            if !digests::hold(&mut *store.acquire().await?, due, self.mail.now()).await? {
                return Ok(letters);
            }
        }
        digests::finish(&mut *store.acquire().await?, due, self.mail.now(), letters).await?;
        Ok(letters)
    }

    /// Tells one recipient what is new. Returns whether there was a letter: people elsewhere get none.
    async fn tell(&self, folded: &str) -> Result<bool> {
        let Ok(address) = Address::parse(folded) else { return Ok(false) };
        let route = self.mail.route(&address).await?;
        if !matches!(*route, Route::Local { .. }) {
            return Ok(false);
        }
        let mut rows = digests::untold(&mut *self.mail.store().acquire().await?, folded, LISTED + 1).await?;
        let has_more = rows.len() as i64 > LISTED;
        rows.truncate(usize::try_from(LISTED).unwrap_or(usize::MAX));
        if rows.is_empty() {
            return Ok(false);
        }
        let urls = self.links(&rows).await?;
        let item = |row: &Untold| Item {
            at: row.at,
            sender: if row.author.is_empty() { row.sender.clone() } else { row.author.clone() },
            subject: row.subject.clone(),
            category: Category::of_code(row.category).unwrap_or_default(),
            score: row.score,
            url: urls.get(&(row.message.0, row.place)).cloned(),
        };
        let now = self.mail.now();
        let from = match &self.digest.from {
            Some(from) => from.to_string(),
            None => format!("postmaster@{}", self.hostname),
        };
        let letter = Letter {
            from: &from,
            to: folded,
            hostname: &self.hostname,
            now,
            zone: zone(now),
            items: rows.iter().map(item).collect(),
            has_more,
            links_until: now + self.digest.links.duration(),
        };
        let mut body = self.mail.intake();
        if body.push(letter.octets(&self.unique()?).as_bytes()).is_err() {
            return Err(Error::Internal);
        }
        let recipient = Recipient { address: folded.to_owned(), route, orcpt: None, notify: None };
        let mut envelope = Envelope { recipients: vec![recipient], source: Source::Relay, ..Envelope::default() };
        envelope.story.insert("digest".to_owned(), rows.len().into());
        let completion = Completion {
            local: posthorn_mime::return_path(None),
            max_hops: 100,
            max_header: MAX_HEADER,
            ..Completion::default()
        };
        let refused = match self.mail.accept(&envelope, body, completion, false).await? {
            Ok(accepted) => accepted.outcomes.into_iter().find_map(|outcome| outcome.err()),
            Err(refusal) => Some(refusal),
        };
        if let Some(refusal) = refused {
            tracing::warn!(recipient = folded, reason = %refusal.text, "a letter about held mail is not accepted");
            return Ok(false);
        }
        // Whoever dies before this is done tells it once more: rather twice than never.
        let told: Vec<_> = rows.iter().map(|row| (row.message, row.place)).collect();
        digests::told(&mut *self.mail.store().acquire().await?, &told, now).await?;
        Ok(true)
    }

    /// Makes links for what its recipient may release.
    async fn links(&self, rows: &[Untold]) -> Result<HashMap<(i64, i16), String>> {
        let (mut links, mut urls) = (Vec::new(), HashMap::new());
        let Some(base) = &self.digest.url else { return Ok(urls) };
        let expires_at = self.mail.now() + self.digest.links.duration();
        for row in rows.iter().filter(|row| self.digest.release.iter().any(|one| one.code() == row.category)) {
            let (said, token) = link::token()?;
            urls.insert((row.message.0, row.place), format!("{}/release/{said}", base.trim_end_matches('/')));
            links.push(Link { token, message: row.message, place: row.place, expires_at });
        }
        if !links.is_empty() {
            digests::keep(&mut *self.mail.store().acquire().await?, &links).await?;
        }
        Ok(urls)
    }
}

#[cfg(test)]
mod tests {
    use posthorn_config::Span;

    use super::*;

    #[test]
    fn letters_are_due_at_an_hour_and_from_there_on() {
        let at = |text: &str| DateTime::parse_from_rfc3339(text).expect("a time").to_utc();
        let daily = QuarantineDigest::default();
        assert_eq!(due(&daily, at("2026-03-01T06:59:59Z"), 0), at("2026-02-28T07:00:00Z"));
        assert_eq!(due(&daily, at("2026-03-01T07:00:00Z"), 0), at("2026-03-01T07:00:00Z"));
        // Where the clock on the wall is two hours ahead, seven is at five.
        assert_eq!(due(&daily, at("2026-03-01T06:00:00Z"), 7200), at("2026-03-01T05:00:00Z"));
        let often = QuarantineDigest { hour: 6, every: Span::from_secs(4 * 3600), ..QuarantineDigest::default() };
        assert_eq!(due(&often, at("2026-03-01T01:59:00Z"), 0), at("2026-02-28T22:00:00Z"));
        assert_eq!(due(&often, at("2026-03-01T18:00:01Z"), 0), at("2026-03-01T18:00:00Z"));
    }
}
