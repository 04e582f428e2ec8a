//! Queue policies that cannot be meant.

use std::collections::HashMap;

use super::QueueOptions;
use crate::check::{Checker, Names, place};
use crate::{Ratio, Span};

/// Judges `[queue]` and its policies.
pub(crate) fn check(checker: &mut Checker<'_>) {
    let queue = &checker.config().queue;
    options(checker, "queue", &queue.options);
    if queue.lease < Span::from_secs(5) {
        checker.refuse("queue.lease", "a lease needs at least 5 s: it is renewed three times while it runs");
    }
    if queue.trace_for < Span::from_secs(86_400) {
        checker.refuse("queue.trace_for", "the trace is kept for whole days, at least 1 d");
    }
    let mut names = Names::new("queue policy");
    let mut seen: HashMap<&str, String> = HashMap::new();
    for (at, row) in queue.policy.iter().enumerate() {
        let key = format!("queue.policy[{at}]");
        names.take(checker, &format!("{key}.name"), &row.name);
        if row.senders.is_empty() {
            checker.refuse(&format!("{key}.senders"), "a policy needs the domains whose mail it is for");
        }
        for (on, sender) in row.senders.iter().enumerate() {
            let key = format!("{key}.senders[{on}]");
            match seen.get(sender.as_str()) {
                Some(first) => {
                    let place = place(&checker.origin(first));
                    checker.refuse(&key, format!("the senders \"{sender}\" have a policy already{place}"));
                }
                None => {
                    seen.insert(sender.as_str(), key);
                }
            }
        }
        options(checker, &key, &row.options);
    }
}

fn options(checker: &mut Checker<'_>, key: &str, options: &QueueOptions) {
    let one = Ratio::thousandths(1000);
    if let (Some(first), Some(most)) = (options.retry_first, options.retry_most)
        && first > most
    {
        let message = format!("the first wait, {first}, is longer than the longest, {most}");
        checker.refuse(&format!("{key}.retry_first"), message);
    }
    if options.retry_factor.is_some_and(|factor| factor < one) {
        checker.refuse(&format!("{key}.retry_factor"), "a factor below 1 would make waits ever shorter");
    }
    if options.retry_jitter.is_some_and(|jitter| jitter > one) {
        checker.refuse(&format!("{key}.retry_jitter"), "a part is at most 1");
    }
    let never = [
        ("retry_first", options.retry_first),
        ("retry_most", options.retry_most),
        ("expire", options.expire),
        ("suppress_for", options.suppress_for),
    ];
    for (name, _) in never.into_iter().filter(|(_, span)| *span == Some(Span::ZERO)) {
        checker.refuse(&format!("{key}.{name}"), format!("{name} cannot be no time at all"));
    }
}

#[cfg(test)]
mod tests {
    use crate::load::tests::problems;

    #[test]
    fn policies_agree() {
        for (text, expected) in [
            (
                "[queue]\nretry_first = '13 h'",
                "2: queue.retry_first: the first wait, 13 h, is longer than the longest, 12 h",
            ),
            ("[queue]\nretry_factor = 0.5", "2: queue.retry_factor: a factor below 1 would make waits ever shorter"),
            (
                "[queue]\nretry_factor = -1.5",
                "2: queue.retry_factor: -1.5 is not a factor; write a number between 0 and 1000 such as 2 or 0.1",
            ),
            (
                "[queue]\nretry_factor = 1001",
                "2: queue.retry_factor: expected a number that is between 0 and 1000, found 1001",
            ),
            (
                "[queue]\nretry_factor = 'two'",
                "2: queue.retry_factor: expected a number such as 2 or 0.1, found a text",
            ),
            ("[queue]\nretry_jitter = 2", "2: queue.retry_jitter: a part is at most 1"),
            ("[queue]\nexpire = 0", "2: queue.expire: expire cannot be no time at all"),
            (
                "[queue]\nlease = '1 s'",
                "2: queue.lease: a lease needs at least 5 s: it is renewed three times while it runs",
            ),
            ("[queue]\ntrace_for = '1 h'", "2: queue.trace_for: the trace is kept for whole days, at least 1 d"),
            (
                "[[queue.policy]]\nname = 'a'\nsenders = []",
                "3: queue.policy[0].senders: a policy needs the domains whose mail it is for",
            ),
            ("[[queue.policy]]\nname = 'a'", "1: queue.policy[0].senders: missing"),
            (
                "[[queue.policy]]\nname = 'a'\nsenders = ['user@example.org']",
                "3: queue.policy[0].senders[0]: \"user@example.org\" names no domain; write example.org, .example.org for the domains below it, or *",
            ),
        ] {
            assert_eq!(problems(text), [format!("posthorn.toml:{expected}")]);
        }
        assert_eq!(problems("[queue]\nretry_factor = 1\nretry_jitter = 0.5\ndelay_notice = 0"), [""; 0]);
    }

    #[test]
    fn no_two_policies_are_for_the_same_senders() {
        assert_eq!(
            problems(
                "[[queue.policy]]\nname = 'a'\nsenders = ['a.example', '.a.example']\n\
                 [[queue.policy]]\nname = 'a'\nsenders = ['b.example', 'A.example']\n"
            ),
            [
                "posthorn.toml:5: queue.policy[1].name: the queue policy name \"a\" is taken at posthorn.toml:2",
                "posthorn.toml:6: queue.policy[1].senders[1]: the senders \"a.example\" have a policy already at posthorn.toml:3",
            ]
        );
    }
}
