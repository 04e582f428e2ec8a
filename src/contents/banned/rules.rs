//! Rule sets, and which rule decides.

use crate::banned::pattern::running;
use crate::{Contents, Family, FilePattern, Kind, Node};

/// What becomes of a node that a rule fits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FileAction {
    /// The message is banned.
    Ban,
    /// The node passes; what is inside it is judged for itself.
    Allow,
    /// The node passes with everything inside it.
    AllowAll,
}

/// One rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileRule {
    /// What it is called in traces and replies.
    pub name: String,
    /// What it is for.
    pub pattern: FilePattern,
    /// What it does.
    pub action: FileAction,
}

/// Rules under a name, in their order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FileRuleSet {
    /// The name that recipients choose it by.
    pub name: String,
    /// The first that fits a node decides.
    pub rules: Vec<FileRule>,
}

/// All rule sets.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FileRules {
    /// Each under a name of its own.
    pub sets: Vec<FileRuleSet>,
}

/// The node that is banned, and by what.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Banned<'r> {
    /// The place in [`Contents::nodes`].
    pub node: usize,
    /// The name of the rule set.
    pub set: &'r str,
    /// The name of the rule.
    pub rule: &'r str,
}

impl FileRules {
    /// The sets that are there when nobody says otherwise: `default` bans what runs, by content and by name, also in
    /// archives; `office` allows documents of office programs, macros or not, with what is in them; `archive` allows
    /// what is in archives; `everything` allows all.
    #[must_use]
    pub fn standard() -> Self {
        Self { sets: vec![default_set(), office_set(), archive_set(), everything_set()] }
    }

    /// The set of this name.
    #[must_use]
    pub fn set(&self, name: &str) -> Option<&FileRuleSet> {
        self.sets.iter().find(|set| set.name == name)
    }

    /// The first node that is banned by the named sets, taken together as one list in the order of the names.
    /// Names that no set has are skipped.
    #[must_use]
    pub fn judge(&self, contents: &Contents, names: &[&str]) -> Option<Banned<'_>> {
        let sets: Vec<&FileRuleSet> = names.iter().filter_map(|name| self.set(name)).collect();
        judge(&sets, contents.nodes())
    }
}

fn judge<'r>(sets: &[&'r FileRuleSet], nodes: &[Node]) -> Option<Banned<'r>> {
    // Nodes come before what is in them, so that one list of what passes as a whole is enough.
    let mut passing = vec![false; nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        if node.parent.is_some_and(|parent| passing.get(parent) == Some(&true)) {
            passing[at] = true;
            continue;
        }
        let rules = sets.iter().flat_map(|set| set.rules.iter().map(move |rule| (set, rule)));
        let deciding = rules.into_iter().find(|(_, rule)| rule.pattern.fits(nodes, at));
        match deciding.map(|(set, rule)| (set, rule, rule.action)) {
            Some((set, rule, FileAction::Ban)) => {
                return Some(Banned { node: at, set: set.name.as_str(), rule: rule.name.as_str() });
            }
            Some((.., FileAction::AllowAll)) => passing[at] = true,
            Some((.., FileAction::Allow)) | None => {}
        }
    }
    None
}

fn rule(name: &str, action: FileAction, pattern: FilePattern) -> FileRule {
    FileRule { name: name.to_owned(), pattern, action }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn default_set() -> FileRuleSet {
    use FileAction::Ban;
    let rules = vec![
        rule("double-extension", Ban, FilePattern { double_extension: true, ..FilePattern::default() }),
        rule(
            "class-id",
            Ban,
            FilePattern { names: words(&["*{????????-????-????-????-????????????}*"]), ..FilePattern::default() },
        ),
        rule("program", Ban, FilePattern { families: vec![Family::Executable], ..FilePattern::default() }),
        rule("program-name", Ban, FilePattern { extensions: running(), ..FilePattern::default() }),
        rule(
            "program-type",
            Ban,
            FilePattern {
                declared: words(&[
                    "application/hta",
                    "application/x-msdownload",
                    "application/x-msdos-program",
                    "application/x-ms-installer",
                    "application/x-ms-shortcut",
                    "application/java-archive",
                    "application/vnd.microsoft.portable-executable",
                    "message/partial",
                    "message/external-body",
                ]),
                ..FilePattern::default()
            },
        ),
        rule("disk-image", Ban, FilePattern { families: vec![Family::DiskImage], ..FilePattern::default() }),
        rule(
            "disk-image-name",
            Ban,
            FilePattern {
                extensions: words(&["iso", "img", "udf", "vhd", "vhdx", "vmdk", "dmg"]),
                ..FilePattern::default()
            },
        ),
        rule("ace", Ban, FilePattern { kinds: vec![Kind::Ace], ..FilePattern::default() }),
    ];
    FileRuleSet { name: "default".to_owned(), rules }
}

fn office_set() -> FileRuleSet {
    let documents = || vec![Kind::OfficeOpenXml, Kind::OpenDocument, Kind::Ole, Kind::Rtf, Kind::Pdf, Kind::OneNote];
    // By content and not by name: a program that calls itself a document is none.
    let double = FilePattern { double_extension: true, ..FilePattern::default() };
    let rules = vec![
        rule("double-extension", FileAction::Ban, double),
        rule("document", FileAction::AllowAll, FilePattern { kinds: documents(), ..FilePattern::default() }),
    ];
    FileRuleSet { name: "office".to_owned(), rules }
}

fn archive_set() -> FileRuleSet {
    let members = FilePattern { member: Some(true), ..FilePattern::default() };
    FileRuleSet { name: "archive".to_owned(), rules: vec![rule("member", FileAction::Allow, members)] }
}

fn everything_set() -> FileRuleSet {
    let all = rule("everything", FileAction::AllowAll, FilePattern::default());
    FileRuleSet { name: "everything".to_owned(), rules: vec![all] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attribute, Attributes};

    fn node(parent: Option<usize>, kind: Kind, name: &str) -> Node {
        Node {
            parent,
            place: 1,
            children: 0,
            depth: 1,
            section: None,
            declared: None,
            kind,
            names: vec![name.to_owned()],
            attributes: Attributes::default(),
            size: 1,
            is_member: parent.is_some(),
            is_container: false,
        }
    }

    fn verdict(nodes: &[Node], names: &[&str]) -> Option<(usize, String)> {
        let rules = FileRules::standard();
        let sets: Vec<_> = names.iter().filter_map(|name| rules.set(name)).collect();
        judge(&sets, nodes).map(|banned| (banned.node, format!("{}/{}", banned.set, banned.rule)))
    }

    #[test]
    fn the_default_set_goes_by_content_and_by_name() {
        let harmless = [node(None, Kind::Zip, "a.zip"), node(Some(0), Kind::Text, "a.txt")];
        assert_eq!(verdict(&harmless, &["default"]), None);
        for (kind, name, rule) in [
            (Kind::WindowsProgram, "holiday.jpg", "default/program"),
            (Kind::Hta, "page.html", "default/program"),
            (Kind::Text, "a.vbs", "default/program-name"),
            (Kind::Text, "a.pdf.exe", "default/double-extension"),
            (Kind::Iso9660, "x", "default/disk-image"),
            (Kind::Text, "a.{00021401-0000-0000-c000-000000000046}", "default/class-id"),
        ] {
            let nodes = [node(None, Kind::Zip, "a.zip"), node(Some(0), kind, name)];
            assert_eq!(verdict(&nodes, &["default"]), Some((1, rule.to_owned())), "{name}");
            assert_eq!(verdict(&nodes, &["everything", "default"]), None, "{name}");
        }
    }

    #[test]
    fn sets_are_asked_in_the_order_of_the_names_and_an_allowance_covers_what_is_inside() {
        let nodes = [node(None, Kind::OfficeOpenXml, "a.docm"), node(Some(0), Kind::WindowsProgram, "embedded.bin")];
        assert_eq!(verdict(&nodes, &["default"]), Some((1, "default/program".to_owned())));
        assert_eq!(verdict(&nodes, &["office", "default"]), None);
        // The document itself is nothing that the default set has a rule for.
        assert_eq!(verdict(&nodes, &["default", "office"]), None);
        assert_eq!(verdict(&nodes, &["default", "everything"]), None);
        let program = [node(None, Kind::WindowsProgram, "a.docm")];
        assert_eq!(verdict(&program, &["office", "default"]), Some((0, "default/program".to_owned())));
        assert_eq!(verdict(&program, &["default", "everything"]), Some((0, "default/program".to_owned())));
        assert_eq!(verdict(&program, &["everything", "default"]), None);
        assert_eq!(verdict(&nodes, &["archive", "default", "unknown"]), None);
    }

    #[test]
    fn patterns_look_at_attributes_and_at_what_is_around() {
        let mut locked = node(Some(0), Kind::Text, "a.txt");
        locked.attributes.insert(Attribute::Encrypted);
        let nodes = [node(None, Kind::Rar, "a.rar"), locked];
        let encrypted = FilePattern { attributes: vec![Attribute::Encrypted], ..FilePattern::default() };
        assert!(encrypted.fits(&nodes, 1) && !encrypted.fits(&nodes, 0));
        let in_rar = FilePattern {
            inside: Some(Box::new(FilePattern { kinds: vec![Kind::Rar], ..FilePattern::default() })),
            ..encrypted
        };
        assert!(in_rar.fits(&nodes, 1));
        let in_zip = FilePattern {
            inside: Some(Box::new(FilePattern { kinds: vec![Kind::Zip], ..FilePattern::default() })),
            ..in_rar
        };
        assert!(!in_zip.fits(&nodes, 1));
        let outside = FilePattern { member: Some(false), ..FilePattern::default() };
        assert!(outside.fits(&nodes, 0) && !outside.fits(&nodes, 1) && !outside.fits(&nodes, 2));
        assert!(FilePattern::default().is_empty() && !outside.is_empty());
    }
}
