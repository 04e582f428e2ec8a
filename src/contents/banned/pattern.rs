//! What a rule looks at in a node.

use crate::{Attribute, Family, Kind, Node};

/// Conditions on one node. Those that are given must all hold; of a list, one entry is enough. Words compare
/// without regard to case.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FilePattern {
    /// What it is by its content.
    pub kinds: Vec<Kind>,
    /// What group it is of by its content.
    pub families: Vec<Family>,
    /// The media types that it claims, `*` and `?` allowed, such as `application/x-ms*`.
    pub declared: Vec<String>,
    /// The last extensions of its names, without dot, such as `exe`.
    pub extensions: Vec<String>,
    /// Its names or the last components of its paths, `*` and `?` allowed.
    pub names: Vec<String>,
    /// Whether a name has two extensions, the last one of [`extensions`](Self::extensions) (or any that runs, where
    /// that list is empty), the one before short: `invoice.pdf.exe`.
    pub double_extension: bool,
    /// What else is said of it.
    pub attributes: Vec<Attribute>,
    /// Whether it must be a member of an archive (true), or must not (false).
    pub member: Option<bool>,
    /// What something must be that it is in, at whatever distance.
    pub inside: Option<Box<FilePattern>>,
}

/// Extensions that make some machine run what has them.
const RUNNING: &[&str] = &[
    "ade",
    "adp",
    "app",
    "appx",
    "application",
    "bas",
    "bat",
    "chm",
    "cmd",
    "com",
    "cpl",
    "dll",
    "exe",
    "gadget",
    "hta",
    "ins",
    "isp",
    "jar",
    "js",
    "jse",
    "lib",
    "lnk",
    "mde",
    "msc",
    "msi",
    "msix",
    "msp",
    "mst",
    "nsh",
    "pif",
    "ps1",
    "reg",
    "scf",
    "scr",
    "sct",
    "shb",
    "shs",
    "sys",
    "url",
    "vb",
    "vbe",
    "vbs",
    "vxd",
    "wsc",
    "wsf",
    "wsh",
    "xll",
];

impl FilePattern {
    /// Whether the pattern holds for the node at this place.
    #[must_use]
    pub fn fits(&self, nodes: &[Node], at: usize) -> bool {
        let Some(node) = nodes.get(at) else { return false };
        self.fits_type(node)
            && self.fits_name(node)
            && (self.attributes.is_empty() || self.attributes.iter().any(|one| node.attributes.contains(*one)))
            && self.member.is_none_or(|member| member == node.is_member)
            && self.inside.as_ref().is_none_or(|outer| {
                std::iter::successors(node.parent, |at| nodes.get(*at)?.parent).any(|at| outer.fits(nodes, at))
            })
    }

    /// Whether no condition is given: such a pattern fits every node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn fits_type(&self, node: &Node) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&node.kind))
            && (self.families.is_empty() || self.families.contains(&node.kind.family()))
            && (self.declared.is_empty() || self.declared.iter().any(|glob| matches(glob, node.declared_type())))
    }

    fn fits_name(&self, node: &Node) -> bool {
        let extension = |name: &String| {
            extensions(name).0.is_some_and(|last| self.extensions.iter().any(|one| one.eq_ignore_ascii_case(last)))
        };
        let glob = |name: &String| self.names.iter().any(|glob| matches(glob, name) || matches(glob, base(name)));
        let double = |name: &String| {
            double_extension(name).is_some_and(|last| match self.extensions.is_empty() {
                true => RUNNING.iter().any(|one| one.eq_ignore_ascii_case(last)),
                false => self.extensions.iter().any(|one| one.eq_ignore_ascii_case(last)),
            })
        };
        (self.extensions.is_empty() || self.double_extension || node.names.iter().any(extension))
            && (self.names.is_empty() || node.names.iter().any(glob))
            && (!self.double_extension || node.names.iter().any(double))
    }
}

/// The last extension of a name that has two, such as `exe` of `invoice.pdf.exe`; white space around the dots is looked
/// through, since it is there to hide the last one.
#[must_use]
pub fn double_extension(name: &str) -> Option<&str> {
    let (last, before) = extensions(name);
    let before = before?;
    let letters = before.chars().any(|c| c.is_ascii_alphabetic());
    (letters && (2..=5).contains(&before.len()) && before.chars().all(|c| c.is_ascii_alphanumeric())).then_some(last?)
}

/// The extensions that run by themselves, for rules that name none.
pub(crate) fn running() -> Vec<String> {
    RUNNING.iter().map(|one| (*one).to_owned()).collect()
}

/// The last extension and the one before it. Windows drops dots and blanks at the end of a name, so they do not count.
fn extensions(name: &str) -> (Option<&str>, Option<&str>) {
    let name = base(name).trim_end_matches(|c: char| c == '.' || c.is_whitespace() || c.is_control());
    let mut pieces = name.rsplit('.');
    let last = pieces.next();
    let before = pieces.next();
    let third = pieces.next();
    match before {
        None => (None, None),
        Some(before) => (last.map(str::trim), third.map(|_| before.trim())),
    }
}

/// The last component of a path, of Unix or of Windows.
fn base(name: &str) -> &str {
    let name = name.trim_end_matches(['/', '\\']);
    name.rsplit(['/', '\\']).next().unwrap_or(name)
}

/// Whether a text is what a glob says: `*` for any text, `?` for any character, case folded. Takes at most as many
/// steps as the product of both lengths.
fn matches(glob: &str, text: &str) -> bool {
    let fold = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<Vec<_>>();
    let (glob, text) = (fold(glob), fold(text));
    let (mut g, mut t) = (0, 0);
    // Where the last star stands, and what it has taken so far ends.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match glob.get(g) {
            Some('*') => {
                star = Some((g, t));
                g += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                g += 1;
                t += 1;
            }
            _ => match &mut star {
                Some((at, taken)) => {
                    *taken += 1;
                    (g, t) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    glob[g.min(glob.len())..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_fit_whole_texts() {
        for (glob, text, fits) in [
            ("*.exe", "A.EXE", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
            ("ä*", "ÄB", true),
        ] {
            assert_eq!(matches(glob, text), fits, "{glob} {text}");
        }
        assert!(!matches(&"*a".repeat(500), &"a".repeat(400)));
    }

    #[test]
    fn extensions_are_seen_through_tricks() {
        for (name, last, double) in [
            ("a.exe", Some("exe"), None),
            ("a.pdf.exe", Some("exe"), Some("exe")),
            ("a.pdf      .exe", Some("exe"), Some("exe")),
            ("a.exe.", Some("exe"), None),
            ("a.exe . ", Some("exe"), None),
            ("dir.d/name", None, None),
            ("dir\\a.b.scr", Some("scr"), None),
            ("backup.2024.zip", Some("zip"), None),
            ("a.tar.gz/", Some("gz"), Some("gz")),
            ("", None, None),
        ] {
            assert_eq!((extensions(name).0, double_extension(name)), (last, double), "{name}");
        }
    }
}
