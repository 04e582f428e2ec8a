//! The score: points for and against a message, each with its name.
//!
//! Rules, lists in the DNS, reputations, pen pals and the classifier each have their say. All of it is in memory, but for
//! what is asked of the DNS; what is learned is written behind.

mod classify;
mod corpus;
mod counts;
mod expressions;
mod fact;
mod finding;
mod hosts;
mod keeping;
mod look_alike;
mod memo;
mod memory;
mod needles;
mod offline;
mod pen_pals;
mod reading;
mod reputation;
mod rules;
#[cfg(test)]
mod samples;
mod tokens;
mod uri_lists;
mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use posthorn_config::{FilterScores, FilterSection, PolicyDnsList, PolicyDnsLists, PolicyLookup};
use posthorn_mail::checks::Checked;
use posthorn_policy::{Asking, DnsLists, Looked};
use posthorn_store::filter::words::Lesson;
use posthorn_trust::Resolver;
use posthorn_trust::spf::SpfResult;

use self::corpus::Likeness;
use self::fact::{Fact, Facts};
use self::hosts::registered;
use self::look_alike::Brands;
pub use self::memo::Memo;
use self::memory::Memory;
pub use self::offline::Offline;
use self::reading::Reading;
use self::reputation::{Standing, halved};
use self::rules::Rules;
use self::uri_lists::UriLists;
use self::words::Words;
use crate::{Evidence, Point};

/// Senders whose reputation is kept in memory.
const STANDINGS: usize = 400_000;
/// Pairs and messages of ours that are kept in memory.
const WRITTEN: usize = 1_000_000;
/// Nobody answers a message of ours after so many days.
const WRITTEN_DAYS: i64 = 60;
/// Messages that wait to be learned.
const LESSONS: usize = 2000;
/// At and above this sum a message counts as spam in the reputation of who wrote it, at and below the other not.
const REPUTED: (f64, f64) = (6.0, 2.5);

/// What a message scores.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scored {
    /// Points that count for everybody.
    pub points: Vec<Point>,
    /// Points that count for one recipient alone; one list per recipient, in the envelope's order.
    pub own: Vec<Vec<Point>>,
    /// Lists in the DNS that could not say anything, and why.
    pub unanswered: Vec<String>,
}

/// What lists in the DNS are asked, and at what price.
#[derive(Clone, Debug, Default)]
pub struct Lookups {
    /// Lists of clients.
    pub clients: Vec<PolicyDnsList>,
    /// What questions may cost.
    pub price: PolicyLookup,
}

/// Everything that gives points.
pub(crate) struct Scoring {
    scores: FilterScores,
    learns: bool,
    classifier: posthorn_config::FilterClassifier,
    secret: u64,
    rules: Rules,
    brands: Brands,
    asking: Asking,
    clients: DnsLists,
    uri_lists: UriLists,
    words: Words,
    standings: Mutex<Memory<Standing>>,
    written: Mutex<Memory<DateTime<Utc>>>,
    lessons: Mutex<Vec<Lesson>>,
    untaught: AtomicU64,
    floor: AtomicI64,
}

impl Scoring {
    /// Compiles the rules. Rules of the configuration that cannot be used are left out, all of them, and the log says why.
    pub(crate) fn new(section: &FilterSection, lookups: &Lookups, resolver: Arc<dyn Resolver>, secret: &[u8]) -> Self {
        let scores = section.scores.clone();
        let rules = Rules::new(scores.rules, &section.rule).or_else(|fault| {
            tracing::error!(%fault, "the rules of the configuration are not used");
            Rules::new(scores.rules, &[])
        });
        let rules = rules.unwrap_or_else(|fault| {
            tracing::error!(%fault, "the built-in rules are not used");
            Rules::default()
        });
        let asking = Asking::new(resolver, lookups.price.clone());
        Self {
            secret: tokens::keyed(0x706f_7374_686f_726e, &[secret]),
            learns: section.classifier.enable,
            classifier: section.classifier.clone(),
            brands: Brands::new(&scores.brands),
            clients: DnsLists::new(PolicyDnsLists::default(), &lookups.clients, &asking),
            uri_lists: UriLists::new(&section.uri_list, &scores, &asking),
            words: Words::new(section.classifier.clone()),
            standings: Mutex::new(Memory::new(STANDINGS)),
            written: Mutex::new(Memory::new(WRITTEN)),
            lessons: Mutex::default(),
            untaught: AtomicU64::new(0),
            floor: AtomicI64::new(0),
            rules,
            asking,
            scores,
        }
    }

    /// Scores a message; changes nothing.
    pub(crate) async fn score(&self, evidence: &Evidence<'_>) -> Scored {
        let reading = Reading::of(evidence);
        let (mut scored, facts) = self.at_once(&reading);
        let (clients, uris) = tokio::join!(self.client_points(evidence), self.uri_lists.points(&self.asking, &reading));
        for (points, unanswered) in [clients, uris] {
            scored.points.extend(points);
            scored.unanswered.extend(unanswered);
        }
        scored.points.extend(self.reputation(&reading, facts));
        scored
    }

    /// What is said without asking anybody.
    fn at_once(&self, reading: &Reading<'_>) -> (Scored, Facts) {
        let case = reading.evidence.case;
        let facts = finding::facts(reading, &self.brands);
        let mut points = self.rules.points(reading, facts);
        points.extend(self.answers(reading, facts));
        let mut own: Vec<Vec<Point>> = vec![Vec::new(); case.envelope.recipients.len()];
        let author = reading.authors.first().map(|author| author.address.as_str());
        for (recipient, own) in case.envelope.recipients.iter().zip(&mut own) {
            own.extend(self.pen_pal(&recipient.address, author, case.now));
        }
        if self.learns {
            let tokens = classify::tokens(reading, self.secret);
            let everybody = self.words.likeness(tokens.all()).map_or(0.0, |likeness| {
                let value = self.worth(likeness);
                let name = if value > 0.0 { "WORDS_SPAM" } else { "WORDS_HAM" };
                points.extend((value != 0.0).then(|| Point::new(name, value, looks(likeness))));
                value
            });
            for (recipient, own) in case.envelope.recipients.iter().zip(&mut own) {
                let [place] = recipient.route.places() else { continue };
                let Some(likeness) = self.words.likeness_for(place.account.0, tokens.all()) else { continue };
                own.extend(own_words(self.worth(likeness), everybody, likeness));
            }
        }
        (Scored { points, own, unanswered: Vec::new() }, facts)
    }

    /// What a likeness counts; nothing when it is not sure.
    fn worth(&self, likeness: Likeness) -> f64 {
        let sure = (likeness.spam - 0.5) * 2.0;
        let most = if sure > 0.0 { self.classifier.spam } else { self.classifier.ham };
        // Less than half sure is not sure.
        let kept = if sure.abs() > 0.5 { (sure.abs() - 0.5) * 2.0 } else { 0.0 };
        (most.as_f64() * kept * 100.0).round() / 100.0
    }

    /// Whether it answers something of ours; a returned message that never left here.
    fn answers(&self, reading: &Reading<'_>, facts: Facts) -> Option<Point> {
        let written = self.written.lock();
        let is_ours = |id: &str| written.find(pen_pals::message(self.secret, id)).is_some();
        if facts.has(Fact::NullSender) && facts.has(Fact::Report) {
            let mut ids = pen_pals::returned_ids(reading.evidence.case.octets).peekable();
            ids.peek()?;
            return if ids.any(is_ours) {
                Some(Point::new("RETURNS_OURS", self.scores.reply.as_f64(), "it returns a message of ours"))
            } else {
                Some(Point::new("RETURNS_NOT_OURS", 3.0, "it returns a message that did not come from here"))
            };
        }
        let mut named = ["In-Reply-To", "References"].into_iter().flat_map(|name| reading.all(name));
        let answered = named.any(|field| pen_pals::ids(field).any(is_ours));
        answered.then(|| Point::new("ANSWERS_OURS", self.scores.reply.as_f64(), "it answers a message of ours"))
    }

    fn pen_pal(&self, ours: &str, author: Option<&str>, now: DateTime<Utc>) -> Option<Point> {
        let at = self.written.lock().find(pen_pals::pair(self.secret, ours, author?))?;
        let kept = halved(now - at, life(self.scores.pen_pal_half_life));
        let value = (self.scores.pen_pal.as_f64() * kept * 100.0).round() / 100.0;
        (value != 0.0).then(|| Point::new("PEN_PAL", value, "the recipient wrote to the author"))
    }

    fn keys(&self, reading: &Reading<'_>) -> Vec<(reputation::Whose, u64)> {
        let case = reading.evidence.case;
        let proven = case.checked.and_then(proven);
        let author = reading.authors.first().map(|author| author.address.as_str());
        reputation::keys(self.secret, author, proven.as_deref(), case.inquiry.client.address)
    }

    fn reputation(&self, reading: &Reading<'_>, facts: Facts) -> Vec<Point> {
        let most = self.scores.reputation.as_f64();
        if most == 0.0 || facts.has(Fact::NullSender) {
            return Vec::new();
        }
        let (now, life) = (reading.evidence.case.now, life(self.scores.reputation_half_life));
        let keys = self.keys(reading);
        let standings = self.standings.lock();
        let known = keys.into_iter().filter_map(|(whose, key)| {
            let badness = standings.find(key)?.at(now, life).badness()?;
            let value = if badness > 0.0 { badness * most } else { badness * most / 2.0 };
            let value = (value * 10.0).round() / 10.0;
            let (good, bad) = whose.names();
            let name = if value > 0.0 { bad } else { good };
            (value != 0.0).then(|| Point::new(name, value, "by what came from there before"))
        });
        known.collect()
    }

    async fn client_points(&self, evidence: &Evidence<'_>) -> (Vec<Point>, Vec<String>) {
        let case = evidence.case;
        let factor = self.scores.dns_list.as_f64();
        let Some(client) = case.inquiry.client.address.filter(|_| factor != 0.0) else { return Default::default() };
        let sender = case.envelope.sender.as_ref().map(|sender| sender.domain().to_string());
        let looked = Looked { client, helo: case.inquiry.helo.as_deref(), sender_domain: sender.as_deref() };
        let score = self.clients.score(&self.asking, &looked).await;
        let point = (score.sum != 0).then(|| {
            let name = if score.sum > 0 { "CLIENT_LISTED" } else { "CLIENT_WELCOME" };
            Point::new(name, f64::from(score.sum) * factor, score.said.join("; "))
        });
        (point.into_iter().collect(), score.unanswered)
    }
}

/// What the words of one account add to those of everybody, which hold the same messages: its opinion takes the place of
/// theirs where it is another or surer.
fn own_words(own: f64, everybody: f64, likeness: Likeness) -> Option<Point> {
    let is_weaker = own * everybody > 0.0 && own.abs() <= everybody.abs();
    let value = ((own - everybody) * 100.0).round() / 100.0;
    let name = if own > 0.0 { "OWN_WORDS_SPAM" } else { "OWN_WORDS_HAM" };
    (own != 0.0 && !is_weaker && value != 0.0).then(|| Point::new(name, value, looks(likeness)))
}

fn looks(likeness: Likeness) -> String {
    format!("{:.0} % like spam by {} words", likeness.spam * 100.0, likeness.tokens)
}

/// The domain that is proven to have sent a message, in small letters.
fn proven(checked: &Checked) -> Option<String> {
    let dmarc = &checked.dmarc;
    // A domain without a policy can prove itself, too.
    let spf = &checked.spf;
    let spf_aligned = spf.result == SpfResult::Pass && registered(&spf.domain) == registered(&dmarc.domain);
    if dmarc.spf_aligned || dmarc.dkim_aligned || spf_aligned {
        return Some(dmarc.domain.to_ascii_lowercase());
    }
    checked.signatures.signatures.iter().find(|one| one.proves()).map(|one| one.domain.clone())
}

fn life(span: posthorn_config::Span) -> TimeDelta {
    TimeDelta::from_std(span.duration()).unwrap_or(TimeDelta::MAX)
}

/// What is wrong with the rules of a configuration beyond what each says by itself: the key that says it, and why.
#[must_use]
pub fn rule_faults(section: &FilterSection) -> Vec<(String, String)> {
    rules::faults(section.scores.rules, &section.rule)
}

/// The points as X-Spam-Status and the trace name them, the heaviest first: `GTUBE=1000, NO_DATE=1.2`.
#[must_use]
pub fn named(points: &[Point]) -> String {
    let mut points: Vec<&Point> = points.iter().filter(|point| point.value != 0.0).collect();
    points.sort_by(|one, other| other.value.abs().total_cmp(&one.value.abs()));
    let texts = points.into_iter().map(|point| format!("{}={}", point.name, (point.value * 1000.0).round() / 1000.0));
    texts.collect::<Vec<_>>().join(", ")
}
