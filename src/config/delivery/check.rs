//! Options and rows of delivery that cannot be meant.

use std::collections::HashMap;

use posthorn_model::Domain;

use super::DeliveryOptions;
use crate::check::{Checker, place};
use crate::{Pattern, Span};

/// Judges `[delivery]` and its rows.
pub(crate) fn check(checker: &mut Checker<'_>) {
    let delivery = &checker.config().delivery;
    options(checker, "delivery", &delivery.options);
    let mut rows = Rows::default();
    for (at, row) in delivery.domain.iter().enumerate() {
        let key = format!("delivery.domain[{at}]");
        rows.row(checker, &key, ("", row.name.as_ref(), row.pattern.as_ref()));
        options(checker, &key, &row.options);
    }
}

/// Judges the options of one scope.
pub(crate) fn options(checker: &mut Checker<'_>, key: &str, options: &DeliveryOptions) {
    if let (Some(first), Some(most)) = (options.retry_first, options.retry_most)
        && first > most
    {
        let message = format!("the first wait, {first}, is longer than the longest, {most}");
        checker.refuse(&format!("{key}.retry_first"), message);
    }
    let never: [(&str, Option<Span>); 6] = [
        ("connect_time", options.connect_time),
        ("reply_time", options.reply_time),
        ("final_time", options.final_time),
        ("retry_first", options.retry_first),
        ("retry_most", options.retry_most),
        ("expire", options.expire),
    ];
    for (name, _) in never.into_iter().filter(|(_, span)| *span == Some(Span::ZERO)) {
        checker.refuse(&format!("{key}.{name}"), format!("{name} cannot be no time at all"));
    }
    if options.tls == Some(super::TlsDemand::Never) {
        for (name, value) in [("dane", options.dane), ("mta_sts", options.mta_sts)] {
            let key = format!("{key}.{name}");
            if value == Some(true) && checker.is_written(&key) {
                checker.refuse(&key, format!("{name} demands TLS, which tls = \"never\" rules out"));
            }
        }
    }
}

/// The rows of one scope for some domains, as they are judged one after the other.
#[derive(Default)]
pub(crate) struct Rows {
    seen: HashMap<String, String>,
}

impl Rows {
    /// Judges which domains a row is for: exactly one of name and pattern, and none that has a row already. Rows
    /// of different `kind`s may be for the same domain.
    pub(crate) fn row(
        &mut self,
        checker: &mut Checker<'_>,
        key: &str,
        (kind, name, pattern): (&str, Option<&Domain>, Option<&Pattern>),
    ) {
        let (inner, label) = match (name, pattern) {
            (Some(name), None) => ("name", name.to_string()),
            (None, Some(pattern)) => ("pattern", pattern.to_string()),
            (Some(_), Some(_)) => return checker.refuse(&format!("{key}.pattern"), "write name or pattern, not both"),
            (None, None) => return checker.refuse(&format!("{key}.name"), "write which domains: name or pattern"),
        };
        let key = format!("{key}.{inner}");
        match self.seen.get(&format!("{kind} {inner} {label}")) {
            Some(first) => {
                let place = place(&checker.origin(first));
                checker.refuse(&key, format!("the {inner} \"{label}\" has a row already{place}"));
            }
            None => {
                self.seen.insert(format!("{kind} {inner} {label}"), key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::load::tests::problems;

    #[test]
    fn a_row_says_once_which_domains_it_is_for() {
        assert_eq!(
            problems(
                "[[delivery.domain]]\nname = 'a.example'\n[[delivery.domain]]\nname = 'A.Example'\n\
                 [[delivery.domain]]\nname = 'b.example'\npattern = '^b'\n[[delivery.domain]]\nsuspend = true\n\
                 [[delivery.domain]]\npattern = 'a.example'\n"
            ),
            [
                "posthorn.toml:4: delivery.domain[1].name: the name \"a.example\" has a row already at posthorn.toml:2",
                "posthorn.toml:7: delivery.domain[2].pattern: write name or pattern, not both",
                "posthorn.toml:8: delivery.domain[3].name: write which domains: name or pattern",
            ]
        );
        // A row for one binding of a group and a row for all of them are two things.
        let group = "[[binding]]\nname = 'a'\ngroup = 'g'\n[[binding_group]]\nname = 'g'\n\
                     [[binding_group.domain]]\nname = 'a.example'\n\
                     [[binding_group.domain]]\nname = 'a.example'\nbinding = 'a'\n";
        assert_eq!(problems(group), [""; 0]);
    }

    #[test]
    fn options_agree() {
        for (text, expected) in [
            (
                "[delivery]\nretry_first = '2 h'\nretry_most = 60",
                "2: delivery.retry_first: the first wait, 2 h, is longer than the longest, 1 min",
            ),
            ("[delivery]\nreply_time = 0", "2: delivery.reply_time: reply_time cannot be no time at all"),
            (
                "[delivery]\ntls = 'never'\ndane = true",
                "3: delivery.dane: dane demands TLS, which tls = \"never\" rules out",
            ),
            (
                "[delivery]\ntls = 'sometimes'",
                "2: delivery.tls: unknown value \"sometimes\"; known: never, opportunistic, required, verified",
            ),
            (
                "[delivery]\nconection = 5",
                "2: delivery.conection: unknown key \"conection\" (did you mean \"connections\"?)",
            ),
            (
                "[delivery]\nrecipients_per_message = 0",
                "2: delivery.recipients_per_message: expected a number that is between 1 and 4294967295, found 0",
            ),
            (
                "[[delivery.domain]]\npattern = '['",
                "2: delivery.domain[0].pattern: \"[\" is not a regular expression: unclosed character class",
            ),
            (
                "[[delivery.domain]]\nname = '@'",
                "2: delivery.domain[0].name: \"@\" is not a host name: not a domain name",
            ),
        ] {
            assert_eq!(problems(text), [format!("posthorn.toml:{expected}")]);
        }
        for text in ["[delivery]\ntls = 'never'", "[delivery]\nidle = 0", "[delivery]\ntls = 'never'\ndane = false"] {
            assert_eq!(problems(text), [""; 0], "{text}");
        }
    }
}
