//! One thing inside a message.

use std::fmt;

use crate::{Attributes, Kind};

/// The message, a part of it, a message in it, or a member of an archive.
#[derive(Clone, Debug)]
pub struct Node {
    /// The place in [`Contents::nodes`](crate::Contents::nodes) of the node that this one is in; `None` for the message.
    pub parent: Option<usize>,
    /// Its number among its siblings, from 1.
    pub place: u32,
    /// How many nodes lie directly in it.
    pub children: u32,
    /// How deep it lies; the message itself is 1.
    pub depth: usize,
    /// The IMAP section path (RFC 9051 §6.4.5.1); `None` for what is inside an encoded part, where IMAP sees nothing.
    /// Empty for the message itself where it is a multipart, otherwise that is part 1.
    pub section: Option<Vec<u32>>,
    /// The media type that it claims, in lower case, such as `application/zip`; `None` for members of archives.
    pub declared: Option<String>,
    /// What it is by its content.
    pub kind: Kind,
    /// The names that it claims, decoded: `filename` before `name`, where they differ; a member's path.
    pub names: Vec<String>,
    /// What else is to be said.
    pub attributes: Attributes,
    /// Octets, decoded; as far as it was unpacked, or as the archive says where it was not.
    pub size: u64,
    /// Whether it is a member of an archive, and not a part of a message.
    pub is_member: bool,
    /// Whether something was found inside.
    pub is_container: bool,
}

impl Node {
    /// Whether nothing was found inside.
    #[must_use]
    pub fn is_leaf(&self) -> bool {
        !self.is_container
    }

    /// The media type that it claims, without what follows; empty where it claims none.
    #[must_use]
    pub fn declared_type(&self) -> &str {
        self.declared.as_deref().unwrap_or_default()
    }
}

/// The nodes from the message down to one node, written like Amavis does: `P=p001,L=1,M=multipart/mixed | P=p003,L=1/2,
/// M=application/zip,T=zip,N=a.zip | P=p004,L=1/2/1,T=exe,T=exe-ms,N=a.exe`.
#[derive(Clone, Copy, Debug)]
pub struct NodePath<'c> {
    nodes: &'c [Node],
    last: usize,
}

impl<'c> NodePath<'c> {
    pub(crate) fn new(nodes: &'c [Node], last: usize) -> Self {
        Self { nodes, last }
    }

    /// Places of the nodes, the deepest first.
    pub fn upwards(self) -> impl Iterator<Item = usize> + use<'c> {
        std::iter::successors(Some(self.last), move |at| self.nodes.get(*at).and_then(|node| node.parent))
    }

    /// The level, such as `1/2/1`.
    #[must_use]
    pub fn level(self) -> String {
        let mut places: Vec<u32> = self.upwards().filter_map(|at| self.nodes.get(at)).map(|node| node.place).collect();
        places.reverse();
        places.iter().map(u32::to_string).collect::<Vec<_>>().join("/")
    }
}

impl fmt::Display for NodePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut down: Vec<usize> = self.upwards().collect();
        down.reverse();
        for (step, at) in down.into_iter().enumerate() {
            let Some(node) = self.nodes.get(at) else { continue };
            if step > 0 {
                f.write_str(" | ")?;
            }
            write!(f, "P=p{:03},L={}", at + 1, Self::new(self.nodes, at).level())?;
            if let Some(declared) = &node.declared {
                write!(f, ",M={declared}")?;
            }
            for name in node.kind.short_names() {
                write!(f, ",T={name}")?;
            }
            for name in &node.names {
                write!(f, ",N={}", Plain(name))?;
            }
            for letter in node.attributes.letters() {
                write!(f, ",A={letter}")?;
            }
        }
        Ok(())
    }
}

/// A name without what would disturb a line of a log.
struct Plain<'n>(&'n str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| fmt::Write::write_char(f, if c.is_control() || c == '|' { '?' } else { c }))
    }
}
