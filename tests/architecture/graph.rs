//! Which package is built from which, as cargo says it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use super::root;

/// Packages and their normal and build dependencies: `posthorn-…` by name, others as `name version`.
pub(super) struct Graph {
    pub(super) edges: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    pub(super) fn of(edges: &[(&str, &str)]) -> Self {
        let mut graph = Self { edges: BTreeMap::new() };
        for (from, to) in edges {
            graph.edges.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        graph
    }

    pub(super) fn direct(&self, node: &str) -> impl Iterator<Item = &String> {
        self.edges.get(node).into_iter().flatten()
    }

    /// Our crates without the `posthorn-` before their folder's name.
    pub(super) fn ours(&self) -> impl Iterator<Item = (&String, &str)> {
        self.edges.keys().filter_map(|node| Some((node, folder(node)?)))
    }

    /// Everything below `from` with the node it was reached through.
    pub(super) fn below(&self, from: &str) -> BTreeMap<String, String> {
        let mut reached = BTreeMap::new();
        let mut open = vec![from.to_owned()];
        while let Some(node) = open.pop() {
            for next in self.direct(&node) {
                if !reached.contains_key(next) {
                    reached.insert(next.clone(), node.clone());
                    open.push(next.clone());
                }
            }
        }
        reached
    }
}

pub(super) fn folder(node: &str) -> Option<&str> {
    if node == "posthorn" { Some(node) } else { node.strip_prefix("posthorn-") }
}

pub(super) fn crate_name(node: &str) -> &str {
    node.split(' ').next().unwrap_or(node)
}

/// What is built into the program: no dependencies of tests, and none of the packages below `tests/`.
///
/// `cargo tree` rather than `cargo metadata`, whose graph also holds optional dependencies that nobody activates.
pub(super) fn house() -> Graph {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut tree = Command::new(cargo);
    tree.current_dir(root()).args(["tree", "--workspace", "--offline", "--locked"]);
    tree.args(["--edges", "no-dev", "--prefix", "depth", "--format", "{p}"]);
    let answer = tree.output().expect("cargo runs");
    assert!(answer.status.success(), "cargo tree: {}", String::from_utf8_lossy(&answer.stderr));
    let tests = root().join("tests").canonicalize().expect("this package");
    let graph = parse_tree(&String::from_utf8_lossy(&answer.stdout), &tests);
    assert!(graph.edges.contains_key("posthorn-model"), "the workspace is not in its own graph");
    graph
}

/// Lines such as `2tokio v1.54.1 (*)`: a depth, a package, and marks.
fn parse_tree(text: &str, tests: &Path) -> Graph {
    let mut graph = Graph::of(&[]);
    let mut above: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let package = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let depth: usize = line[..line.len() - package.len()].parse().expect("a depth");
        above.truncate(depth);
        let label = label(package, tests);
        if let Some(parent) = above.last().filter(|parent| !parent.is_empty()) {
            graph.edges.entry(parent.clone()).or_default().insert(label.clone());
        }
        if !label.is_empty() {
            graph.edges.entry(label.clone()).or_default();
        }
        above.push(label);
    }
    graph
}

/// `posthorn-net` for ours, `tokio 1.54.1` for others, nothing for the packages of tests.
fn label(package: &str, tests: &Path) -> String {
    let path = package.split_once('(').and_then(|(_, path)| path.split(')').next()).unwrap_or_default();
    let mut words = package.split(' ');
    let (name, version) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if Path::new(path).starts_with(tests) {
        String::new()
    } else if folder(name).is_some() {
        name.to_owned()
    } else {
        format!("{name} {}", version.trim_start_matches('v'))
    }
}

#[test]
fn the_tree_is_understood() {
    let text = "0posthorn-net v0.1.0 (/house/src/net)\n1tls v1.0.0\n2ring v0.17.0\n1posthorn-model v0.1.0 (/house/src/model)\n\n\
                0posthorn-tests v0.1.0 (/house/tests)\n1posthorn v0.1.0 (/house/src/posthorn)\n2posthorn-net v0.1.0 (/house/src/net) (*)\n";
    let graph = parse_tree(text, Path::new("/house/tests"));
    let edges = |from: &str| graph.direct(from).map(String::as_str).collect::<Vec<_>>();
    assert_eq!(edges("posthorn-net"), ["posthorn-model", "tls 1.0.0"]);
    assert_eq!(edges("tls 1.0.0"), ["ring 0.17.0"]);
    assert_eq!(edges("posthorn"), ["posthorn-net"]);
    assert!(!graph.edges.contains_key("posthorn-tests") && !graph.edges.contains_key(""));
}
