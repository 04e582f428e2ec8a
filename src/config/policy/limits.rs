//! Values that no check of the policy can work with.

use super::PolicySection;
use crate::Span;
use crate::check::Checker;

/// Judges times, sums and lists.
pub(crate) fn check(checker: &mut Checker<'_>) {
    let policy = &checker.config().policy;
    let PolicySection { lookup, helo, auto_blacklist, decisions, .. } = policy;
    let spans: [(&str, Span); 6] = [
        ("lookup.time", lookup.time),
        ("lookup.rest", lookup.rest),
        ("helo.within", helo.within),
        ("auto_blacklist.within", auto_blacklist.within),
        ("auto_blacklist.for", auto_blacklist.lasts),
        ("decisions.for", decisions.lasts),
    ];
    for (key, span) in spans {
        if span.limit().is_none() {
            checker.refuse(&format!("policy.{key}"), "this time must end; 0 is none");
        }
    }
    if auto_blacklist.patience.duration() >= auto_blacklist.within.duration() {
        let message =
            "nobody could be judged: attempts count only when they are older than this, and younger than within";
        checker.refuse("policy.auto_blacklist.patience", message);
    }
    if policy.dns_lists.threshold < 1 {
        checker.refuse("policy.dns_lists.threshold", "clients that no list knows count 0, and would be refused");
    }
    for (at, row) in policy.dns_list.iter().enumerate() {
        if policy.dns_list[..at].iter().any(|earlier| earlier.zone == row.zone && earlier.of == row.of) {
            checker.refuse(&format!("policy.dns_list[{at}].zone"), format!("{} has a row already", row.zone));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::load::tests::problems;

    #[test]
    fn what_cannot_work_is_refused_where_it_is_written() {
        for (lines, expected) in [
            ("[policy.lookup]\ntime = 0", "2: policy.lookup.time: this time must end"),
            ("[policy.helo]\nwithin = 0", "2: policy.helo.within: this time must end"),
            ("[policy.auto_blacklist]\npatience = '2 d'", "2: policy.auto_blacklist.patience: nobody could be judged"),
            ("[policy.dns_lists]\nthreshold = 0", "2: policy.dns_lists.threshold: clients that no list knows"),
            (
                "[[policy.dns_list]]\nzone = 'a.example'\n[[policy.dns_list]]\nzone = 'A.example'",
                "4: policy.dns_list[1].zone: a.example has a row already",
            ),
        ] {
            let found = problems(lines);
            assert_eq!(found.len(), 1, "{lines}\n{found:#?}");
            assert!(found[0].starts_with(&format!("posthorn.toml:{expected}")), "{lines}\n{found:#?}");
        }
    }
}
