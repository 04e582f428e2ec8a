//! The policy of one message.

use std::collections::HashMap;
use std::time::Duration;

use crate::domain_range::ranges_around;
use crate::{EffectiveDelivery, Queue, QueueOptions, Ratio, Span};

/// How long the mail of one sender is tried, every option decided.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QueuePolicy {
    /// The row's name; empty for `[queue]` itself.
    pub name: String,
    /// The first wait.
    pub retry_first: Span,
    /// What each further wait is multiplied with; at least 1.
    pub retry_factor: Ratio,
    /// The longest wait; at least the first one.
    pub retry_most: Span,
    /// The part of a wait by which it varies; at most 1.
    pub retry_jitter: Ratio,
    /// When it goes back.
    pub expire: Span,
    /// When the sender is told of a delay; zero is never.
    pub delay_notice: Span,
    /// Whether addresses that do not exist are remembered.
    pub suppress: bool,
    /// How long.
    pub suppress_for: Span,
    /// Whether each recipient gets a return path of its own.
    pub verp: bool,
}

/// The policies by sender.
#[derive(Clone, Debug)]
pub struct QueuePolicies {
    base: QueuePolicy,
    rows: Vec<QueuePolicy>,
    by_sender: HashMap<String, usize>,
}

impl QueuePolicies {
    /// Prepares `[queue]` and its rows.
    #[must_use]
    pub fn new(queue: &Queue) -> Self {
        let rows = queue.policy.iter().map(|row| QueuePolicy::new(&row.name, &[&row.options, &queue.options]));
        let mut by_sender = HashMap::new();
        for (at, row) in queue.policy.iter().enumerate() {
            for sender in &row.senders {
                by_sender.entry(sender.as_str().to_owned()).or_insert(at);
            }
        }
        Self { base: QueuePolicy::new("", &[&queue.options]), rows: rows.collect(), by_sender }
    }

    /// The policy for mail from a folded domain; `None` is the null sender, which `[queue]` itself is for.
    #[must_use]
    pub fn of(&self, sender: Option<&str>) -> &QueuePolicy {
        let Some(sender) = sender.filter(|_| !self.by_sender.is_empty()) else {
            return &self.base;
        };
        let row = ranges_around(sender).find_map(|range| self.by_sender.get(range));
        row.and_then(|row| self.rows.get(*row)).unwrap_or(&self.base)
    }

    /// The policy of a name; empty is `[queue]` itself.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&QueuePolicy> {
        if name.is_empty() { Some(&self.base) } else { self.rows.iter().find(|row| row.name == name) }
    }
}

impl QueuePolicy {
    /// The options of the first that sets them; the built-in ones are behind all.
    fn new(name: &str, chain: &[&QueueOptions]) -> Self {
        let built_in = QueueOptions::built_in();
        let span = |read: fn(&QueueOptions) -> Option<Span>| pick(chain, &built_in, read);
        let retry_first = span(|o| o.retry_first);
        Self {
            name: name.to_owned(),
            retry_first,
            retry_factor: pick(chain, &built_in, |o| o.retry_factor),
            retry_most: span(|o| o.retry_most).max(retry_first),
            retry_jitter: pick(chain, &built_in, |o| o.retry_jitter),
            expire: span(|o| o.expire),
            delay_notice: span(|o| o.delay_notice),
            suppress: pick(chain, &built_in, |o| o.suppress),
            suppress_for: span(|o| o.suppress_for),
            verp: pick(chain, &built_in, |o| o.verp),
        }
    }

    /// The same with what delivery to one domain says about tries: its `retry_first`, `retry_most` and `expire`
    /// come before the policy's.
    #[must_use]
    pub fn with(&self, delivery: &EffectiveDelivery) -> Self {
        let retry_first = delivery.retry_first.unwrap_or(self.retry_first);
        Self {
            retry_first,
            retry_most: delivery.retry_most.unwrap_or(self.retry_most).max(retry_first),
            expire: delivery.expire.unwrap_or(self.expire),
            ..self.clone()
        }
    }

    /// How long to wait after so many failed tries (1 is the first), before it varies: the first wait, multiplied
    /// with the factor for each further one, up to the longest.
    #[must_use]
    pub fn wait(&self, attempts: u32) -> Duration {
        let most = self.retry_most.duration();
        let power = i32::try_from(attempts.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.retry_first.duration().as_secs_f64() * self.retry_factor.as_f64().powi(power);
        // Too large for a Duration is also larger than the longest wait.
        Duration::try_from_secs_f64(seconds).map_or(most, |wait| wait.min(most))
    }

    /// The same, varied by a number between 0 and 1 drawn at random.
    #[must_use]
    pub fn varied(&self, attempts: u32, random: f64) -> Duration {
        let wait = self.wait(attempts);
        let part = self.retry_jitter.as_f64().min(1.0) * (2.0 * random.clamp(0.0, 1.0) - 1.0);
        Duration::try_from_secs_f64(wait.as_secs_f64() * (1.0 + part)).unwrap_or(wait)
    }
}

fn pick<T: Default>(chain: &[&QueueOptions], built_in: &QueueOptions, read: impl Fn(&QueueOptions) -> Option<T>) -> T {
    chain.iter().find_map(|options| read(options)).or_else(|| read(built_in)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeliveryPolicy;
    use crate::load::tests::load_text;

    const TEXT: &str = "[queue]
expire = '3 d'
[[queue.policy]]
name = 'news'
senders = ['news.example.org', '.lists.example.org']
retry_first = '1 h'
verp = true
[[queue.policy]]
name = 'rest'
senders = ['.example.org']
delay_notice = 0
";

    fn policies(text: &str) -> QueuePolicies {
        QueuePolicies::new(&load_text(text).config.queue)
    }

    #[test]
    fn the_most_specific_sender_wins() {
        let policies = policies(TEXT);
        for (sender, name) in [
            (Some("news.example.org"), "news"),
            (Some("a.lists.example.org"), "news"),
            (Some("lists.example.org"), "rest"),
            (Some("www.example.org"), "rest"),
            (Some("example.org"), ""),
            (None, ""),
        ] {
            assert_eq!(policies.of(sender).name, name, "{sender:?}");
        }
        assert_eq!(policies.named("news").map(|policy| policy.verp), Some(true));
        assert_eq!(policies.named("").map(|policy| policy.verp), Some(false));
        assert_eq!(policies.named("none"), None);
    }

    #[test]
    fn what_a_row_leaves_out_is_as_the_section_has_it() {
        let policies = policies(TEXT);
        let (news, rest) = (policies.of(Some("news.example.org")), policies.of(Some("a.example.org")));
        assert_eq!((news.retry_first, news.expire), (Span::from_secs(3600), Span::from_secs(3 * 86_400)));
        assert_eq!((rest.retry_first, rest.delay_notice), (Span::from_secs(1200), Span::ZERO));
        assert_eq!((news.delay_notice, news.suppress), (Span::from_secs(4 * 3600), true));
    }

    #[test]
    fn delivery_to_a_domain_may_say_otherwise() {
        let text = "[[delivery.domain]]\nname = 'slow.example'\nretry_first = '13 h'\nexpire = '1 h'\n";
        let delivery = DeliveryPolicy::new(&load_text(text).config);
        let policy = policies("").of(None).with(&delivery.effective(None, None, "slow.example"));
        let hours = |hours: u32| Span::from_secs(hours * 3600);
        assert_eq!((policy.retry_first, policy.retry_most, policy.expire), (hours(13), hours(13), hours(1)));
        let other = policies("").of(None).with(&delivery.effective(None, None, "fast.example"));
        assert_eq!(&other, policies("").of(None));
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let policies = policies("");
        let policy = policies.of(None);
        let minutes: Vec<_> = (1..=8).map(|attempts| policy.wait(attempts).as_secs() / 60).collect();
        assert_eq!(minutes, [20, 40, 80, 160, 320, 640, 720, 720]);
        assert_eq!(policy.wait(0), policy.wait(1));
        assert_eq!(policy.wait(u32::MAX), policy.retry_most.duration());
        let varied = |random| policy.varied(1, random).as_secs();
        assert_eq!((varied(0.0), varied(0.5), varied(1.0)), (1080, 1200, 1320));
        assert_eq!(policy.varied(1, f64::NAN), policy.wait(1));
    }
}
