//! Folder names: from those on the disk to mailboxes of an account.

use posthorn_imap::mailbox_name;
use posthorn_mail::mailboxes::{DELIMITER, is_below, is_name};
use posthorn_model::SpecialUse;
use posthorn_store::mailboxes::Mailbox;

/// What mail programs call the folders that every account has, in lower case.
const WELL_KNOWN: &[(SpecialUse, &[&str])] = &[
    (SpecialUse::Archive, &["archive", "archives", "archiv", "archivio", "archivo", "archief", "all mail"]),
    (SpecialUse::Drafts, &["drafts", "draft", "entwürfe", "brouillons", "borradores", "bozze", "concepten"]),
    (
        SpecialUse::Junk,
        &[
            "junk",
            "spam",
            "junk e-mail",
            "junk email",
            "junk mail",
            "bulk mail",
            "junk-e-mail",
            "indésirables",
            "ongewenst",
        ],
    ),
    (
        SpecialUse::Sent,
        &[
            "sent",
            "sent items",
            "sent messages",
            "sent mail",
            "sent-mail",
            "gesendet",
            "gesendete elemente",
            "gesendete objekte",
            "envoyés",
            "éléments envoyés",
            "messages envoyés",
            "enviados",
            "elementos enviados",
            "posta inviata",
            "inviata",
            "verzonden",
            "verzonden items",
        ],
    ),
    (
        SpecialUse::Trash,
        &[
            "trash",
            "deleted items",
            "deleted messages",
            "papierkorb",
            "gelöschte elemente",
            "gelöschte objekte",
            "corbeille",
            "éléments supprimés",
            "papelera",
            "elementos eliminados",
            "cestino",
            "posta eliminata",
            "prullenbak",
            "verwijderde items",
        ],
    ),
];

/// Where a folder goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mapping {
    /// Its own name, as people would read it.
    pub source: String,
    /// The mailbox's.
    pub mailbox: String,
}

/// A level of a name: modified UTF-7 where it is that, else as it is written.
pub(super) fn decoded(level: &str) -> String {
    mailbox_name::decode(level.as_bytes()).unwrap_or_else(|| level.to_owned())
}

/// Where folders go in an account that has these mailboxes: under their own names, but for the one folder of each special
/// use whose name mail programs give to that, when the account calls it otherwise.
#[must_use]
pub fn mapped(folders: &[Vec<String>], mailboxes: &[Mailbox]) -> Vec<Mapping> {
    let names: Vec<String> = folders.iter().map(|levels| name(levels)).collect();
    let top = |name: &str| name.split(DELIMITER).next().unwrap_or_default().to_owned();
    let mut others: Vec<(String, String)> = Vec::new();
    for (used, known) in WELL_KNOWN {
        let Some(theirs) = mailboxes.iter().find(|mailbox| mailbox.special_use == Some(*used)) else { continue };
        // Whoever has a folder of this very name means that; a second one of the same use keeps its name.
        if names.iter().any(|name| *name == theirs.name || is_below(name, &theirs.name)) {
            continue;
        }
        let tops = names.iter().map(|name| top(name));
        let known = |name: &String| known.contains(&name.to_lowercase().as_str());
        let own = |name: &String| mailboxes.iter().any(|mailbox| mailbox.name == *name);
        if let Some(source) = tops.filter(|name| known(name) && !own(name)).min() {
            others.push((source, theirs.name.clone()));
        }
    }
    let mailbox = |name: &String| match others.iter().find(|(source, _)| *source == top(name)) {
        Some((source, mailbox)) => format!("{mailbox}{}", &name[source.len()..]),
        None => name.clone(),
    };
    let source = |levels: &Vec<String>| if levels.is_empty() { "INBOX".to_owned() } else { levels.join("/") };
    folders
        .iter()
        .zip(&names)
        .map(|(levels, name)| Mapping { source: source(levels), mailbox: mailbox(name) })
        .collect()
}

/// The name of a mailbox; what none may hold becomes `_`.
fn name(levels: &[String]) -> String {
    let plain = |c: char| if c.is_control() || matches!(c, '%' | '*' | DELIMITER) { '_' } else { c };
    let level = |level: &String| match level.trim() {
        "" => "_".to_owned(),
        level => level.chars().map(plain).collect(),
    };
    let name = levels.iter().map(level).collect::<Vec<_>>().join("/");
    let name = if name.is_empty() { "INBOX".to_owned() } else { mailbox_name::fold_inbox(name, DELIMITER) };
    debug_assert!(is_name(&name) || name.len() > 1024, "{name:?}");
    name
}

#[cfg(test)]
mod tests {
    use posthorn_model::MailboxId;

    use super::*;

    fn account() -> Vec<Mailbox> {
        let rooms = [
            ("INBOX", None),
            ("Archive", Some(SpecialUse::Archive)),
            ("Drafts", Some(SpecialUse::Drafts)),
            ("Junk", Some(SpecialUse::Junk)),
            ("Sent", Some(SpecialUse::Sent)),
            ("Trash", Some(SpecialUse::Trash)),
            ("Spam", None),
        ];
        let mailbox = |(at, (name, special_use)): (usize, (&str, Option<SpecialUse>))| Mailbox {
            id: MailboxId(at as i64),
            name: name.to_owned(),
            special_use,
            subscribed: true,
            uid_validity: 1,
            uid_next: 1,
            highest_modseq: 1,
            messages: 0,
            unseen: 0,
            deleted: 0,
            bytes: 0,
        };
        rooms.into_iter().enumerate().map(mailbox).collect()
    }

    fn targets(names: &[&str]) -> Vec<String> {
        let levels = |name: &&str| name.split('|').filter(|level| !level.is_empty()).map(str::to_owned).collect();
        let folders: Vec<Vec<String>> = names.iter().map(levels).collect();
        mapped(&folders, &account()).into_iter().map(|mapping| mapping.mailbox).collect()
    }

    #[test]
    fn folders_that_everybody_has_go_where_the_account_has_them() {
        assert_eq!(
            targets(&["", "Sent Messages", "Sent Messages|2020", "Papierkorb", "ENTWÜRFE", "Work|Sent"]),
            ["INBOX", "Sent", "Sent/2020", "Trash", "Drafts", "Work/Sent"]
        );
        // One folder of each use, and none where the name itself is there, here or in the account.
        assert_eq!(targets(&["Sent", "Sent Items"]), ["Sent", "Sent Items"]);
        assert_eq!(targets(&["Sent Items", "Gesendet"]), ["Sent Items", "Sent"]);
        assert_eq!(targets(&["Spam"]), ["Spam"]);
        assert_eq!(targets(&["Trash|Old", "Deleted Items"]), ["Trash/Old", "Deleted Items"]);
    }

    #[test]
    fn what_no_name_may_hold_is_replaced() {
        assert_eq!(targets(&["a*b|c%", "x/y", " padded | "]), ["a_b/c_", "x_y", "padded/_"]);
        assert_eq!(targets(&["inbox|Sent", "Inbox"]), ["INBOX/Sent", "INBOX"]);
    }
}
