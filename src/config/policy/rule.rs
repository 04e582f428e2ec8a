//! `[[policy.rule]]`: what is done with mail from some to others.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Party, PolicyAction, PolicyStage};
use crate::Size;
use crate::check::{Checker, Names};

/// What is done with mail from some to others. Rules are tried by priority, then in the order of the file; the first that
/// fits ends the search, but behind BCC, INFO, PREPEND and WARN others are tried too.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRule {
    /// The name in traces and logs; unique.
    #[schemars(example = &"partners-by-vpn")]
    pub name: String,
    /// The lower, the earlier.
    #[serde(default = "middle")]
    #[schemars(range(min = 0, max = 100))]
    pub priority: u32,
    /// Who sends; all of it must fit, and nothing is everybody.
    #[serde(default)]
    #[schemars(extend("examples" = [["!%internal", "@example.com"]]))]
    pub source: Vec<Party>,
    /// Who receives; all of it must fit, and nothing is everybody.
    #[serde(default)]
    #[schemars(extend("examples" = [["@example.org"]]))]
    pub destination: Vec<Party>,
    /// Messages above this size; before the text is there, by the size that the client says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub larger: Option<Size>,
    /// When it is tried.
    #[serde(default)]
    pub stage: PolicyStage,
    /// What is done, in the words of a Postfix access table: REJECT, DEFER, 450 text, HOLD, DISCARD, FILTER transport:destination, REDIRECT address, BCC address, PREPEND Name: value, WARN, INFO; DUNNO skips the other rules, OK all other checks, which gives nobody the right to relay.
    #[schemars(example = &"REJECT write to sales@example.org instead")]
    pub action: PolicyAction,
}

/// Judges the rules: unique names, groups that exist, parts that can fit.
pub(crate) fn check(checker: &mut Checker<'_>) {
    let policy = &checker.config().policy;
    let groups: Vec<&str> = policy.group.iter().map(|group| group.name.as_str()).collect();
    let mut names = Names::new("rule");
    for (at, rule) in policy.rule.iter().enumerate() {
        let key = format!("policy.rule[{at}]");
        names.take(checker, &format!("{key}.name"), &rule.name);
        for (side, parties) in [("source", &rule.source), ("destination", &rule.destination)] {
            for (place, party) in parties.iter().enumerate() {
                let key = format!("{key}.{side}[{place}]");
                if let Some(name) = party.group() {
                    checker.known(&key, ("group", name), &groups);
                }
                if side == "destination" && party.is_of_sources() {
                    checker.refuse(&key, format!("{party} is no destination: it tells who sends"));
                }
            }
        }
        if !rule.destination.is_empty()
            && matches!(rule.stage, PolicyStage::Connect | PolicyStage::Helo | PolicyStage::Mail)
        {
            let message = format!("at the stage {} no recipient is known yet", rule.stage.name());
            checker.refuse(&format!("{key}.stage"), message);
        }
        if let Err(fault) = rule.action.at(rule.stage) {
            checker.refuse(&format!("{key}.action"), fault);
        }
    }
}

const fn middle() -> u32 {
    50
}

#[cfg(test)]
mod tests {
    use crate::load::tests::problems;

    /// One rule with some more lines, which begin with line 3.
    fn rule(lines: &str) -> Vec<String> {
        problems(&format!("[[policy.rule]]\nname = 'a'\n{lines}\n"))
    }

    #[test]
    fn a_rule_that_works_is_fine() {
        for lines in [
            "action = 'REJECT'",
            "source = ['!@example.org', '$-']\ndestination = ['bob@example.org']\naction = '450 4.7.1 later'",
            "larger = '10 MiB'\nstage = 'end-of-message'\naction = 'HOLD too large'",
            "priority = 0\nsource = ['192.0.2.0/24']\nstage = 'connect'\naction = 'OK'",
        ] {
            assert_eq!(rule(lines), [""; 0], "{lines}");
        }
    }

    #[test]
    fn one_that_cannot_work_is_refused_where_it_is_wrong() {
        for (lines, expected) in [
            ("", "1: policy.rule[0].action: missing"),
            ("action = 'NONSENSE x'", "3: policy.rule[0].action: "),
            ("action = 'OK'\nsource = ['%nobody']", "4: policy.rule[0].source[0]: no group \"nobody\""),
            ("action = 'OK'\ndestination = ['$*']", "4: policy.rule[0].destination[0]: $* is no destination"),
            ("action = 'OK'\ndestination = ['any']\nstage = 'mail'", "5: policy.rule[0].stage: at the stage mail no"),
            ("action = 'OK'\npriority = 101", "4: policy.rule[0].priority: "),
            ("action = 'PREPEND X-A: b'\nstage = 'end-of-message'", "3: policy.rule[0].action: PREPEND "),
        ] {
            let found = rule(lines);
            assert_eq!(found.len(), 1, "{lines}\n{found:#?}");
            assert!(found[0].starts_with(&format!("posthorn.toml:{expected}")), "{lines}\n{found:#?}");
        }
    }
}
