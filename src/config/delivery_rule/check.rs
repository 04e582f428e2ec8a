//! Rules that cannot work.

use super::{CodePattern, DeliveryAction, DeliveryRule};
use crate::check::{Checker, Names};

/// Judges the rules.
pub(crate) fn check(checker: &mut Checker<'_>) {
    let rules = &checker.config().delivery_rule;
    let mut names = Names::new("delivery rule");
    for (at, rule) in rules.iter().enumerate() {
        let key = format!("delivery_rule[{at}]");
        names.take(checker, &format!("{key}.name"), &rule.name);
        if let Some((inner, message)) = fault(rule) {
            checker.refuse(&format!("{key}.{inner}"), message);
        }
    }
}

/// Why a rule cannot work, with the key that is wrong.
pub(super) fn fault(rule: &DeliveryRule) -> Option<(&'static str, String)> {
    let fault = |key, message: &str| Some((key, message.to_owned()));
    if matches!(rule.code, Some(CodePattern::Enhanced(_))) {
        return fault("code", "a reply code has three digits, such as 450 or 4xx; this is an enhanced code");
    }
    if matches!(rule.enhanced, Some(CodePattern::Reply(_))) {
        return fault("enhanced", "an enhanced code has three numbers, such as 4.7.1 or 4.7.x; this is a reply code");
    }
    if rule.when.is_none() && rule.code.is_none() && rule.enhanced.is_none() {
        return fault("when", "a rule needs when, code or enhanced: without them it would fit every reply");
    }
    if rule.count == 0 {
        return fault("count", "at least one reply must come");
    }
    if rule.count > 1 && rule.within.limit().is_none() {
        return fault("within", "a count above 1 needs the time in which the replies come");
    }
    if rule.lasts.limit().is_none() {
        return fault("for", "what a rule does must end; write how long it holds");
    }
    if rule.action == DeliveryAction::Suspend && (rule.value.is_some() || rule.bounds.is_some()) {
        return fault(
            if rule.value.is_some() { "value" } else { "bounds" },
            "suspend sets no number; how long it holds is \"for\"",
        );
    }
    if rule.value == Some(0) {
        return fault("value", "0 would stop delivery for good; write action = \"suspend\" for a pause");
    }
    bounds(rule)
}

fn bounds(rule: &DeliveryRule) -> Option<(&'static str, String)> {
    let [least, most] = rule.bounds?;
    if least == 0 {
        return Some(("bounds", "the least is at least 1: 0 would stop delivery for good".to_owned()));
    }
    if least > most {
        return Some(("bounds", format!("the least, {least}, is above the most, {most}")));
    }
    let value = rule.value.filter(|value| !(least..=most).contains(value))?;
    Some(("value", format!("{value} is not between the bounds {least} and {most}")))
}

#[cfg(test)]
mod tests {
    use crate::load::tests::problems;

    /// One rule with some more lines, which begin with line 4.
    fn rule(lines: &str) -> Vec<String> {
        problems(&format!("[[delivery_rule]]\nname = 'a'\naction = 'throttle'\n{lines}\n"))
    }

    #[test]
    fn a_rule_that_works_is_fine() {
        for lines in [
            "when = 'rate limit'",
            "code = '421'\nphase = 'greeting'\nprovider = '\\.example\\.com$'\ndomains = ['.example.com']",
            "enhanced = '4.7.x'\ncount = 5\nwithin = '10 min'\nvalue = 100\nbounds = [10, 1000]\nfor = '2 h'",
        ] {
            assert_eq!(rule(lines), [""; 0], "{lines}");
        }
    }

    #[test]
    fn one_that_cannot_work_is_refused_where_it_is_wrong() {
        for (lines, expected) in [
            ("", "1: delivery_rule[0].when: a rule needs when, code or enhanced"),
            ("when = '('", "4: delivery_rule[0].when: \"(\" is not a regular expression: unclosed group"),
            ("enhanced = '4.7'", "4: delivery_rule[0].enhanced: \"4.7\" is not a code"),
            ("enhanced = '450'", "4: delivery_rule[0].enhanced: an enhanced code has three numbers"),
            ("code = '4.7.1'", "4: delivery_rule[0].code: a reply code has three digits"),
            ("code = '4xx'\nphase = 'quit'", "5: delivery_rule[0].phase: unknown phase \"quit\"; known: connect,"),
            ("code = '4xx'\ncount = 2", "1: delivery_rule[0].within: a count above 1 needs"),
            ("code = '4xx'\ncount = 0", "5: delivery_rule[0].count: expected a number"),
            ("code = '4xx'\nfor = 0", "5: delivery_rule[0].for: what a rule does must end"),
            ("code = '4xx'\nvalue = 0", "5: delivery_rule[0].value: 0 would stop"),
            ("code = '4xx'\nbounds = [0, 5]", "5: delivery_rule[0].bounds: the least is at least 1"),
            ("code = '4xx'\nbounds = [6, 5]", "5: delivery_rule[0].bounds: the least, 6, is above the most, 5"),
            ("code = '4xx'\nbounds = [5]", "5: delivery_rule[0].bounds: "),
            (
                "code = '4xx'\nvalue = 9\nbounds = [1, 5]",
                "5: delivery_rule[0].value: 9 is not between the bounds 1 and 5",
            ),
        ] {
            let found = rule(lines);
            assert_eq!(found.len(), 1, "{lines}\n{found:#?}");
            assert!(found[0].starts_with(&format!("posthorn.toml:{expected}")), "{lines}\n{found:#?}");
        }
        let suspend = problems("[[delivery_rule]]\nname = 'a'\naction = 'suspend'\ncode = '4xx'\nvalue = 5\n");
        assert!(suspend[0].starts_with("posthorn.toml:5: delivery_rule[0].value: suspend sets no number"));
    }

    #[test]
    fn names_are_unique() {
        let row = "[[delivery_rule]]\nname = 'a'\naction = 'suspend'\ncode = '4xx'\n";
        assert_eq!(
            problems(&row.repeat(2)),
            ["posthorn.toml:6: delivery_rule[1].name: the delivery rule name \"a\" is taken at posthorn.toml:2"]
        );
    }
}
