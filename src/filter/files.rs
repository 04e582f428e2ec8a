//! Rules for files of the configuration, beside the built-in ones.

use posthorn_config::{FileRuleAction, FilterFileRule, FilterSection};
use posthorn_contents::{Attribute, Family, FileAction, FilePattern, FileRule, FileRuleSet, FileRules, Kind};

/// All sets: the built-in ones, and those of the configuration, which take the place of those with their names. What
/// [`faults`] tells of is left out.
pub(crate) fn rules(section: &FilterSection) -> FileRules {
    let mut all = FileRules::standard();
    let mut own: Vec<FileRuleSet> = Vec::new();
    for row in &section.file_rule {
        let rule = rule(row).0;
        match own.iter_mut().find(|set| set.name == row.set) {
            Some(set) => set.rules.push(rule),
            None => own.push(FileRuleSet { name: row.set.clone(), rules: vec![rule] }),
        }
    }
    all.sets.retain(|set| !own.iter().any(|one| one.name == set.name));
    all.sets.extend(own);
    all
}

/// What is wrong with rules for files beyond what each says by itself: the key that says it, and why.
#[must_use]
pub fn file_rule_faults(section: &FilterSection) -> Vec<(String, String)> {
    let mut faults = Vec::new();
    for (at, row) in section.file_rule.iter().enumerate() {
        let key = |name: &str| format!("filter.file_rule[{at}].{name}");
        let (rule, unknown) = rule(row);
        faults.extend(unknown.into_iter().map(|(name, why)| (key(name), why)));
        if rule.pattern.is_empty() && rule.action == FileAction::Ban {
            faults.push((key("action"), "without conditions this bans every message".to_owned()));
        }
    }
    faults
}

/// A rule, and the words in it that nobody knows: the key, and why.
fn rule(row: &FilterFileRule) -> (FileRule, Vec<(&'static str, String)>) {
    let mut unknown = Vec::new();
    let kinds = words(&row.kinds, Kind::named, "kinds", "kind of file", &mut unknown);
    let inside = words(&row.inside, Kind::named, "inside", "kind of file", &mut unknown);
    let families = words(&row.families, Family::named, "families", "group of files", &mut unknown);
    let attributes = words(&row.attributes, Attribute::named, "attributes", "attribute", &mut unknown);
    let outer = (!inside.is_empty()).then(|| Box::new(FilePattern { kinds: inside, ..FilePattern::default() }));
    let pattern = FilePattern {
        kinds,
        families,
        declared: row.types.clone(),
        extensions: row.extensions.clone(),
        names: row.names.clone(),
        double_extension: row.double_extension,
        attributes,
        member: row.in_archive,
        inside: outer,
    };
    let action = match row.action {
        FileRuleAction::Ban => FileAction::Ban,
        FileRuleAction::Allow => FileAction::Allow,
        FileRuleAction::AllowAll => FileAction::AllowAll,
    };
    (FileRule { name: row.name.clone(), pattern, action }, unknown)
}

fn words<T>(
    said: &[String],
    named: fn(&str) -> Option<T>,
    key: &'static str,
    noun: &str,
    unknown: &mut Vec<(&'static str, String)>,
) -> Vec<T> {
    let mut found = Vec::with_capacity(said.len());
    for word in said {
        match named(word) {
            Some(one) => found.push(one),
            None => unknown.push((key, format!("there is no {noun} \"{word}\""))),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(set: &str, name: &str) -> FilterFileRule {
        FilterFileRule { set: set.to_owned(), name: name.to_owned(), ..FilterFileRule::default() }
    }

    #[test]
    fn sets_of_ones_own_stand_beside_and_in_place_of_the_built_in_ones() {
        let section = FilterSection {
            file_rule: vec![
                FilterFileRule { kinds: vec!["zip".to_owned()], ..row("drawings", "zip") },
                FilterFileRule { action: FileRuleAction::AllowAll, ..row("drawings", "rest") },
                FilterFileRule { action: FileRuleAction::AllowAll, ..row("archive", "all") },
            ],
            ..FilterSection::default()
        };
        assert!(file_rule_faults(&section).is_empty());
        let all = rules(&section);
        let drawings = all.set("drawings").expect("a set of one's own");
        let names: Vec<&str> = drawings.rules.iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(names, ["zip", "rest"]);
        assert_eq!(all.set("archive").expect("a set").rules[0].name, "all");
        assert_eq!(all.sets.iter().filter(|set| set.name == "archive").count(), 1);
        assert!(all.set("default").is_some());
        assert_eq!(section.file_rule_sets(), ["default", "office", "archive", "everything", "drawings"]);
    }

    #[test]
    fn words_that_nobody_knows_are_told() {
        let odd = FilterFileRule {
            kinds: vec!["zip".to_owned(), "zap".to_owned()],
            attributes: vec!["evil".to_owned()],
            ..row("x", "odd")
        };
        let section = FilterSection { file_rule: vec![odd, row("x", "all")], ..FilterSection::default() };
        let faults = file_rule_faults(&section);
        let keys: Vec<&str> = faults.iter().map(|(key, _)| key.as_str()).collect();
        let expected = ["filter.file_rule[0].kinds", "filter.file_rule[0].attributes", "filter.file_rule[1].action"];
        assert_eq!(keys, expected);
        assert!(faults[0].1.contains("\"zap\""));
    }
}
