//! What is remembered of a message that was judged: only once it is accepted, since what is refused was never written.

use posthorn_store::filter::words::{EVERYBODY, Lesson};

use super::{Scoring, classify, pen_pals};
use crate::score::reading::Reading;
use crate::{Evidence, Point, Ruling};
use posthorn_mail::copies::Fate;

/// For so many recipients a message is learned at most.
const LEARNERS: usize = 20;

/// Points that say that one of us wants to hear from the author.
const WELCOME: [&str; 2] = ["ANSWERS_OURS", "PEN_PAL"];

/// What is to be remembered of a message once it is accepted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memo {
    /// Keys of what one of our people wrote, and to whom.
    pub(super) written: Vec<u64>,
    /// When it was written.
    pub(super) at: chrono::DateTime<chrono::Utc>,
    /// What it teaches.
    pub(super) lessons: Vec<Lesson>,
}

impl Scoring {
    /// Of what one of our people writes: answers to it are welcome.
    pub(crate) fn writing(&self, evidence: &Evidence<'_>) -> Memo {
        let case = evidence.case;
        let recipients: Vec<String> = case.envelope.recipients.iter().map(|one| one.address.clone()).collect();
        let id = posthorn_mime::header_text(case.header(), "Message-ID").next();
        let written = pen_pals::written(self.secret, case.envelope.sender.as_ref(), &recipients, id.as_deref());
        Memo { written, at: case.now, lessons: Vec::new() }
    }

    /// Of what comes in and is wanted: it answers us, and nothing speaks against it.
    pub(crate) fn welcome(&self, evidence: &Evidence<'_>, common: &[Point], rulings: &[Ruling]) -> Memo {
        if !self.learns || !self.classifier.learn_from_answers {
            return Memo::default();
        }
        let is_welcome = |points: &[Point]| points.iter().any(|point| WELCOME.contains(&&*point.name));
        let (for_all, most) = (is_welcome(common), super::REPUTED.1);
        let recipients = evidence.case.envelope.recipients.iter().zip(rulings);
        let learners = recipients.filter(|(_, ruling)| {
            let wanted = for_all || is_welcome(&ruling.own);
            // Without what speaks for the author, too, it is no spam.
            let against: f64 = common.iter().chain(&ruling.own).map(|point| point.value.max(0.0)).sum();
            wanted && ruling.fate == Fate::Deliver && against <= most
        });
        let accounts = learners.filter_map(|(recipient, _)| match recipient.route.places() {
            [place] => Some(place.account.0),
            _ => None,
        });
        let accounts: Vec<i64> = accounts.take(LEARNERS).collect();
        if accounts.is_empty() {
            return Memo::default();
        }
        let lessons = self.lessons_of(evidence, std::iter::once(EVERYBODY).chain(accounts), false);
        Memo { lessons, ..Memo::default() }
    }

    /// Remembers. What does not fit is dropped, and counted.
    pub(crate) fn remember(&self, memo: &Memo) {
        if !memo.written.is_empty() {
            let mut written = self.written.lock();
            for key in &memo.written {
                written.put(*key, memo.at);
            }
        }
        if !memo.lessons.is_empty() {
            self.take_lessons(memo.lessons.clone());
        }
    }

    /// The same message as a lesson for several.
    pub(super) fn lessons_of(
        &self,
        evidence: &Evidence<'_>,
        accounts: impl Iterator<Item = i64>,
        is_spam: bool,
    ) -> Vec<Lesson> {
        let reading = Reading::of(evidence);
        let tokens = classify::tokens(&reading, self.secret);
        let mut tokens: Vec<i64> = tokens.all().iter().map(|token| token.cast_signed()).collect();
        // Who writes the same words in the same order waits, and never forever.
        tokens.sort_unstable();
        let message = classify::identity(&reading, self.secret).cast_signed();
        accounts.map(|account| Lesson { account, message, is_spam, tokens: tokens.clone() }).collect()
    }
}
