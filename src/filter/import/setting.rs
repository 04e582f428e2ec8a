//! A policy as a setting.

use posthorn_config::FilterSection;
use posthorn_store::filter::settings::SettingRow;
use posthorn_store::foreign::ForeignRow;

use super::row::{is_said, number, text};
use crate::recipient::FIELDS;

/// Columns whose words are those of fields here.
const SAME: [(&str, &str); 17] = [
    ("spam_tag_level", "tag"),
    ("spam_tag2_level", "tag2"),
    ("spam_tag3_level", "tag3"),
    ("spam_kill_level", "kill"),
    ("spam_dsn_cutoff_level", "report_cutoff"),
    ("spam_quarantine_cutoff_level", "hold_cutoff"),
    ("spam_subject_tag2", "subject_tag"),
    ("spam_subject_tag3", "subject_tag3"),
    ("message_size_limit", "size_limit"),
    ("addr_extension_virus", "extension_virus"),
    ("addr_extension_banned", "extension_banned"),
    ("addr_extension_spam", "extension_spam"),
    ("addr_extension_bad_header", "extension_header"),
    ("virus_admin", "admin_virus"),
    ("banned_admin", "admin_banned"),
    ("spam_admin", "admin_spam"),
    ("bad_header_admin", "admin_header"),
];

/// Switches that are the same here.
const SWITCHES: [(&str, &str); 7] = [
    ("bypass_virus_checks", "bypass_virus"),
    ("bypass_spam_checks", "bypass_spam"),
    ("bypass_banned_checks", "bypass_banned"),
    ("bypass_header_checks", "bypass_header"),
    ("warnvirusrecip", "warn_virus"),
    ("warnbannedrecip", "warn_banned"),
    ("warnbadhrecip", "warn_header"),
];

/// Who wants it anyway, where it is kept otherwise, and the fields that say so here.
const LOVERS: [(&str, &str, &[&str]); 5] = [
    ("virus_lover", "virus_quarantine_to", &["virus"]),
    ("banned_files_lover", "banned_quarantine_to", &["banned"]),
    ("unchecked_lover", "unchecked_quarantine_to", &["unchecked"]),
    ("bad_header_lover", "bad_header_quarantine_to", &["bad_header"]),
    ("spam_lover", "spam_quarantine_to", &["spam", "spammy"]),
];

/// What is not known here.
const UNKNOWN: [&str; 9] = [
    "disclaimer_options",
    "forward_method",
    "sa_userconf",
    "sa_username",
    "archive_quarantine_to",
    "clean_quarantine_to",
    "newvirus_admin",
    "spam_subject_tag",
    "spam_modifies_subj",
];

/// A policy for people.
pub(super) fn name(policy: &ForeignRow) -> String {
    let name = text(policy, "policy_name");
    if name.is_empty() { format!("policy {}", text(policy, "id")) } else { name }
}

/// What a policy says, as the setting of a pattern, and what of it is lost.
pub(super) fn of_policy(who: &str, policy: &ForeignRow, section: &FilterSection) -> (SettingRow, Vec<String>) {
    let mut row = SettingRow { who: who.to_owned(), ..SettingRow::default() };
    let mut lost = Vec::new();
    let mut put = |field: &str, column: &str, value: &str| {
        let Some(field) = FIELDS.iter().find(|one| one.name == field) else { return };
        if let Err(wanted) = (field.write)(&mut row, Some(value)) {
            lost.push(format!("{column} is \"{value}\": here it wants {wanted}"));
        }
    };
    for (column, field) in SAME.into_iter().filter(|(column, _)| is_said(policy, column)) {
        let value = text(policy, column);
        match column {
            // Nobody sets a level to nothing, and dump programs write whole numbers with a point.
            _ if column.ends_with("_level") && value.is_empty() => {}
            "message_size_limit" => put(field, column, value.split('.').next().unwrap_or_default()),
            _ => put(field, column, &value),
        }
    }
    for (column, field) in SWITCHES {
        if let Some(on) = switch(policy, column) {
            put(field, column, if on { "true" } else { "false" });
        }
    }
    for (column, kept, fields) in LOVERS {
        let destiny = match switch(policy, column) {
            // Tagged, and sorted by its tag: what is spam here goes to Junk by itself.
            Some(true) if column == "spam_lover" => "junk",
            Some(true) => "deliver",
            Some(false) if is_said(policy, kept) && !text(policy, kept).is_empty() => "hold",
            Some(false) if is_said(policy, kept) => "refuse",
            _ => continue,
        };
        // What is only perhaps spam is never kept there.
        for field in fields.iter().filter(|field| **field != "spammy" || destiny == "junk") {
            put(field, column, destiny);
        }
    }
    if is_said(policy, "banned_rulenames") {
        let known = section.file_rule_sets();
        let names: Vec<String> =
            text(policy, "banned_rulenames").split(',').map(|name| name.trim().to_lowercase()).collect();
        let (fit, rest): (Vec<String>, Vec<String>) =
            names.into_iter().filter(|name| !name.is_empty()).partition(|name| known.contains(&name.as_str()));
        if rest.is_empty() && !fit.is_empty() {
            put("banned_sets", "banned_rulenames", &fit.join(","));
        } else if !rest.is_empty() {
            lost.push(format!(
                "there are no sets of rules for files named {}: make them as [[filter.file_rule]]",
                rest.join(", ")
            ));
        }
    }
    for column in UNKNOWN {
        let value = text(policy, column);
        if !value.is_empty() && value != "N" {
            lost.push(format!("{column} is \"{value}\", which has no counterpart"));
        }
    }
    (row, lost)
}

/// Y, N, or nothing.
fn switch(policy: &ForeignRow, column: &str) -> Option<bool> {
    let value = text(policy, column);
    match value.to_ascii_uppercase().as_str() {
        "Y" | "T" | "TRUE" => Some(true),
        "N" | "F" | "FALSE" => Some(false),
        "" => None,
        _ => number(&value).map(|value| value != 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(fields: &[(&str, Option<&str>)]) -> ForeignRow {
        fields.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect()
    }

    #[test]
    fn what_is_said_is_taken_and_null_falls_through() {
        let row = policy(&[
            ("spam_lover", Some("Y")),
            ("virus_lover", Some("N")),
            ("virus_quarantine_to", Some("virus-quarantine")),
            ("banned_files_lover", Some("N")),
            ("banned_quarantine_to", Some("")),
            ("bypass_spam_checks", Some(" ")),
            ("bypass_header_checks", Some("Y")),
            ("spam_tag2_level", Some("6.31")),
            ("spam_kill_level", None),
            ("spam_subject_tag2", Some("***SPAM*** ")),
            ("message_size_limit", Some("1048576")),
            ("banned_rulenames", Some("office,DEFAULT")),
        ]);
        let (setting, lost) = of_policy("@example.org", &row, &FilterSection::default());
        let expected = SettingRow {
            who: "@example.org".to_owned(),
            spam: Some("junk".to_owned()),
            spammy: Some("junk".to_owned()),
            virus: Some("hold".to_owned()),
            banned: Some("refuse".to_owned()),
            bypass_header: Some(true),
            tag2: Some(6.31),
            subject_tag: setting.subject_tag.clone(),
            size_limit: Some(1_048_576),
            banned_sets: setting.banned_sets.clone(),
            ..SettingRow::default()
        };
        assert_eq!(setting, expected);
        assert!(setting.subject_tag.is_some_and(|tag| tag.starts_with("***SPAM***")));
        assert!(setting.banned_sets.is_some_and(|sets| sets.contains("office") && sets.contains("default")));
        assert_eq!(lost, Vec::<String>::new());
    }

    #[test]
    fn what_is_lost_is_said() {
        let row = policy(&[
            ("spam_kill_level", Some("much")),
            ("banned_rulenames", Some("MINE, default")),
            ("sa_userconf", Some("sql:bob")),
        ]);
        let (setting, lost) = of_policy("@.", &row, &FilterSection::default());
        assert_eq!(setting, SettingRow { who: "@.".to_owned(), ..SettingRow::default() });
        assert_eq!(lost.len(), 3, "{lost:?}");
        assert!(
            lost[0].starts_with("spam_kill_level is \"much\"")
                && lost[1].contains("mine")
                && lost[2].contains("sa_userconf")
        );
    }
}
