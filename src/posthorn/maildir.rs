//! Maildirs, read: one folder, Maildir++ (`.Sent`, `.Work.2026` beside `cur`) or folders within folders, as Dovecot and
//! Courier keep them. Nothing in them is changed.

mod letters;
mod names;
mod octets;
pub mod take_over;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

pub use letters::{Letter, Letters};
pub use names::{Mapping, mapped};
pub use octets::{Unfit, read};

/// Folders within folders go no deeper.
const DEEPEST: usize = 32;

/// A folder of messages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Folder {
    /// Where `cur` and `new` are.
    pub path: PathBuf,
    /// Its name, level by level; none for INBOX.
    pub levels: Vec<String>,
}

/// All folders of a Maildir, INBOX first, then by name.
///
/// # Errors
/// When it is none, or cannot be read.
pub fn folders(root: &Path) -> anyhow::Result<Vec<Folder>> {
    if !is_folder_of_messages(root) {
        if !root.is_dir() {
            bail!("{} is no folder", root.display());
        }
        let inner = ["Maildir", "mail", ".maildir"].map(|name| root.join(name));
        let hint = inner.iter().find(|inner| is_folder_of_messages(inner));
        let hint = hint.map(|inner| format!("; {} is one", inner.display())).unwrap_or_default();
        bail!("{} is no Maildir: it has neither cur nor new{hint}", root.display());
    }
    let mut found = vec![Folder { path: root.to_owned(), levels: Vec::new() }];
    for (path, name) in subfolders(root)? {
        match name.strip_prefix('.') {
            Some(name) if is_folder_of_messages(&path) => {
                let levels = name.split('.').map(names::decoded).collect();
                found.push(Folder { path, levels });
            }
            Some(_) => {}
            None => within(&path, vec![names::decoded(&name)], &mut found)?,
        }
    }
    found.sort_by(|one, other| one.levels.cmp(&other.levels));
    Ok(found)
}

/// Folders within folders; those that only hold others are none.
fn within(folder: &Path, levels: Vec<String>, found: &mut Vec<Folder>) -> anyhow::Result<()> {
    if levels.len() > DEEPEST {
        bail!("{} is deeper than any mailbox", folder.display());
    }
    if is_folder_of_messages(folder) {
        found.push(Folder { path: folder.to_owned(), levels: levels.clone() });
    }
    for (path, name) in subfolders(folder)? {
        let levels = [&levels[..], &[names::decoded(&name)]].concat();
        within(&path, levels, found)?;
    }
    Ok(())
}

/// Folders in a folder that are not of the Maildir itself, with their names. Links are not followed: they may lead in
/// circles.
fn subfolders(folder: &Path) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let unreadable = || format!("{} cannot be read", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        let name = entry.file_name();
        if !entry.file_type().with_context(unreadable)?.is_dir() || ["cur", "new", "tmp"].iter().any(|own| name == *own)
        {
            continue;
        }
        let Some(name) = name.to_str() else { bail!("the name of {} is no UTF-8", entry.path().display()) };
        found.push((entry.path(), name.to_owned()));
    }
    Ok(found)
}

fn is_folder_of_messages(path: &Path) -> bool {
    ["cur", "new"].iter().any(|name| path.join(name).is_dir())
}

/// The names of the folders that are subscribed, level by level; `None` when nobody wrote them down.
///
/// # Errors
/// When the list cannot be read.
pub fn subscriptions(root: &Path) -> anyhow::Result<Option<Vec<Vec<String>>>> {
    let path = root.join("subscriptions");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
    };
    // Dovecot's second form has tabs between the levels; the first one what its namespace has.
    let separators: &[char] = if text.starts_with("V\t") { &['\t'] } else { &['.', '/'] };
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with("V\t"));
    Ok(Some(lines.map(|line| line.split(separators).map(names::decoded).collect()).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(folders: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for folder in folders {
            fs::create_dir_all(root.path().join(folder)).expect("made");
        }
        root
    }

    fn found(root: &Path) -> Vec<String> {
        folders(root).expect("a Maildir").iter().map(|folder| folder.levels.join("/")).collect()
    }

    #[test]
    fn both_layouts_are_understood() {
        let root = made(&["cur", "new", "tmp", ".Sent/cur", ".Work.2026/new", ".Entw&APw-rfe/cur", ".empty", "sieve"]);
        assert_eq!(found(root.path()), ["", "Entwürfe", "Sent", "Work/2026"]);
        let root = made(&["cur", "Sent/cur", "Work/2026/cur", "Work/tmp", "Größe/new", "sieve/tmp", ".dovecot/x"]);
        std::os::unix::fs::symlink(root.path(), root.path().join("circle")).expect("linked");
        assert_eq!(found(root.path()), ["", "Größe", "Sent", "Work/2026"]);
    }

    #[test]
    fn what_is_none_is_told_and_where_one_is() {
        let root = made(&["Maildir/cur"]);
        let error = folders(root.path()).expect_err("none").to_string();
        assert!(error.contains("is no Maildir") && error.ends_with("/Maildir is one"), "{error}");
        assert!(folders(&root.path().join("nowhere")).expect_err("none").to_string().ends_with("is no folder"));
    }

    #[test]
    fn subscriptions_have_two_forms() {
        let root = made(&["cur"]);
        let listed = |text: &str| {
            fs::write(root.path().join("subscriptions"), text).expect("written");
            let levels = subscriptions(root.path()).expect("read").expect("there");
            levels.iter().map(|levels| levels.join("/")).collect::<Vec<_>>()
        };
        assert_eq!(listed("INBOX.Sent\nEntw&APw-rfe\n"), ["INBOX/Sent", "Entwürfe"]);
        assert_eq!(listed("V\t2\n\nWork\t2026\na.b\n"), ["Work/2026", "a.b"]);
        fs::remove_file(root.path().join("subscriptions")).expect("removed");
        assert_eq!(subscriptions(root.path()).expect("read"), None);
    }
}
