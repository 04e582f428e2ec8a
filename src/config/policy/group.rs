//! `[[policy.group]]`: names for several parties at once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Party;
use crate::check::{Checker, Names};

/// How deep groups may lie in one another.
pub const DEEPEST_GROUP: usize = 5;

/// A name for several parties, of which one must fit. Rules say `%name`.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyGroup {
    /// The name; unique.
    #[schemars(example = &"partners")]
    pub name: String,
    /// Who is in it; groups may hold groups, up to five deep.
    #[schemars(extend("examples" = [["@example.com", "192.0.2.0/24", "%others"]]))]
    pub members: Vec<Party>,
}

/// Judges the groups: unique names, members that exist, no loops, not too deep.
pub(crate) fn check(checker: &mut Checker<'_>) {
    let groups = &checker.config().policy.group;
    let known: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    let mut names = Names::new("group");
    for (at, group) in groups.iter().enumerate() {
        let key = format!("policy.group[{at}]");
        names.take(checker, &format!("{key}.name"), &group.name);
        if group.members.is_empty() {
            checker.refuse(&format!("{key}.members"), "a group without members fits nobody");
        }
        for (place, member) in group.members.iter().enumerate() {
            if let Some(name) = member.group() {
                checker.known(&format!("{key}.members[{place}]"), ("group", name), &known);
            }
        }
        if let Err(fault) = depth(groups, &group.name, &mut vec![&group.name]) {
            checker.refuse(&format!("{key}.members"), fault);
        }
    }
}

/// How many groups lie in one another below this one, or why that has no end.
fn depth<'g>(groups: &'g [PolicyGroup], name: &str, path: &mut Vec<&'g str>) -> Result<(), String> {
    if path.len() > DEEPEST_GROUP {
        return Err(format!("groups lie more than {DEEPEST_GROUP} deep in one another: {}", path.join(" > ")));
    }
    let Some(group) = groups.iter().find(|group| group.name == name) else { return Ok(()) };
    for inner in group.members.iter().filter_map(Party::group) {
        if path.contains(&inner) {
            return Err(format!("the group leads back to itself: {} > {inner}", path.join(" > ")));
        }
        path.push(inner);
        depth(groups, inner, path)?;
        path.pop();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::load::tests::problems;

    fn groups(rows: &[(&str, &str)]) -> Vec<String> {
        let row =
            |(name, members): &(&str, &str)| format!("[[policy.group]]\nname = '{name}'\nmembers = [{members}]\n");
        problems(&rows.iter().map(row).collect::<String>())
    }

    #[test]
    fn groups_in_groups_are_fine() {
        let five = [("a", "'%b'"), ("b", "'%c'"), ("c", "'%d'"), ("d", "'%e', '%e'"), ("e", "'any'")];
        assert_eq!(groups(&five), [""; 0]);
    }

    #[test]
    fn loops_depths_and_strangers_are_refused() {
        let found = groups(&[("a", "'@example.org', '%b'"), ("b", "'!%a'")]);
        assert_eq!(
            found,
            [
                "posthorn.toml:3: policy.group[0].members: the group leads back to itself: a > b > a",
                "posthorn.toml:6: policy.group[1].members: the group leads back to itself: b > a > b",
            ]
        );
        let six = [("a", "'%b'"), ("b", "'%c'"), ("c", "'%d'"), ("d", "'%e'"), ("e", "'%f'"), ("f", "'any'")];
        assert_eq!(
            groups(&six),
            [
                "posthorn.toml:3: policy.group[0].members: groups lie more than 5 deep in one another: a > b > c > d > e > f"
            ]
        );
        let found = groups(&[("partners", "'%partner'")]);
        assert!(found[0].starts_with("posthorn.toml:3: policy.group[0].members[0]: no group \"partner\""), "{found:?}");
        assert!(groups(&[("a", "")])[0].contains("fits nobody"));
        assert!(groups(&[("a", "'any'"), ("a", "'any'")])[0].contains("the group name \"a\" is taken"));
        assert!(groups(&[("a", "'nobody'")])[0].contains("\"nobody\" means nobody"));
    }
}
