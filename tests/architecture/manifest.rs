//! What the crates declare.

use std::fs;
use std::path::{Path, PathBuf};

use super::{read, root};

/// A table of dependencies in a manifest.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Table {
    Normal,
    Tests,
}

/// What a manifest declares, by name.
pub(super) fn declared(manifest: &str) -> Vec<(Table, &str)> {
    let mut found = Vec::new();
    let mut table = None;
    for line in manifest.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
        match line.strip_prefix('[').map(|rest| rest.trim_end_matches(']')) {
            Some(header) if header.ends_with("dev-dependencies") => table = Some(Table::Tests),
            Some(header) if header.ends_with("dependencies") => table = Some(Table::Normal),
            Some(_) => table = None,
            None => found.extend(table.map(|table| (table, name))),
        }
    }
    found
}

pub(super) fn root_manifest() -> String {
    read(&root().join("Cargo.toml"))
}

pub(super) fn member_manifests() -> Vec<(PathBuf, String)> {
    let root = root();
    let folders = fs::read_dir(root.join("src")).expect("a folder").map(|entry| entry.expect("an entry").path());
    let manifests =
        folders.chain([root.join("tests"), root.join("tests/bench")]).map(|folder| folder.join("Cargo.toml"));
    manifests.filter(|path| path.exists()).map(|path| (path.clone(), read(&path))).collect()
}

/// The manifests of the crates below `src/`, by their folder.
pub(super) fn manifests_of_crates() -> Vec<(String, String)> {
    let folder_of = |path: &Path| Some(path.parent()?.file_name()?.to_str()?.to_owned());
    let below = |path: &PathBuf| path.starts_with(root().join("src"));
    let manifests = member_manifests().into_iter().filter(|(path, _)| below(path));
    let found: Vec<_> = manifests.filter_map(|(path, text)| Some((folder_of(&path)?, text))).collect();
    assert!(found.iter().any(|(name, _)| name == "model"), "this is not the checkout");
    found
}
