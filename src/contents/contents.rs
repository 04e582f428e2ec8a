//! All that one walk finds out of a message.

use std::borrow::Cow;

use bytes::Bytes;
use posthorn_mime::Structure;

use crate::{Attribute, HeaderFlaw, HtmlFacts, Limit, Limits, Link, Node, NodePath, Text, flaw, walk};

/// What is inside one message.
#[derive(Clone, Debug)]
pub struct Contents {
    pub(crate) octets: Bytes,
    pub(crate) structure: Structure,
    pub(crate) nodes: Vec<Node>,
    pub(crate) limit: Option<Limit>,
    pub(crate) texts: Vec<Text>,
    pub(crate) links: Vec<Link>,
    pub(crate) html: HtmlFacts,
    pub(crate) charsets: Vec<String>,
    pub(crate) flaws: Vec<HeaderFlaw>,
}

impl Contents {
    /// Walks a whole message, header and body. Never fails; bounded by the limits in time and memory.
    #[must_use]
    pub fn of(octets: &Bytes, limits: &Limits) -> Self {
        let mut contents = walk::walk(octets, limits);
        flaw::of_message(&mut contents, limits.flaws);
        contents
    }

    /// The message.
    #[must_use]
    pub fn octets(&self) -> &Bytes {
        &self.octets
    }

    /// Its MIME structure.
    #[must_use]
    pub fn structure(&self) -> &Structure {
        &self.structure
    }

    /// Every node, the message itself first, each before what is in it; never empty.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Every node in which nothing was found, with its place.
    pub fn leaves(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.nodes.iter().enumerate().filter(|(_, node)| node.is_leaf())
    }

    /// The nodes from the message to the one at this place of [`nodes`](Self::nodes).
    #[must_use]
    pub fn path(&self, at: usize) -> NodePath<'_> {
        NodePath::new(&self.nodes, at)
    }

    /// The decoded octets of a part that IMAP sees (see [`Node::section`]); decoded anew where they are encoded.
    /// `None` for what is inside an encoded part, and for an unknown transfer encoding.
    #[must_use]
    pub fn decoded(&self, at: usize) -> Option<Cow<'_, [u8]>> {
        let section = self.nodes.get(at)?.section.as_ref()?;
        posthorn_mime::decoded(&self.structure, &self.octets, section).ok()
    }

    /// The gravest limit that was met; `None` when everything was walked.
    #[must_use]
    pub fn limit(&self) -> Option<Limit> {
        self.limit
    }

    /// Whether some node has the attribute.
    #[must_use]
    pub fn has(&self, attribute: Attribute) -> bool {
        self.nodes.iter().any(|node| node.attributes.contains(attribute))
    }

    /// Whether there is something that no scanner can have seen: a limit was met, or something is encrypted. What we
    /// merely have no reader for ([`Attribute::Unopened`]) does not count, since scanners may have one. The place of the first such node with what is to be said of it, where it is one node.
    #[must_use]
    pub fn unchecked(&self) -> Option<(Option<usize>, &'static str)> {
        const UNSEEN: [Attribute; 4] =
            [Attribute::Encrypted, Attribute::TooDeep, Attribute::TooLarge, Attribute::Overlapping];
        if let Some(limit) = self.limit.filter(|limit| limit.ends_all()) {
            return Some((None, limit.as_str()));
        }
        self.nodes.iter().enumerate().find_map(|(at, node)| {
            let attribute = UNSEEN.into_iter().find(|attribute| node.attributes.contains(*attribute))?;
            Some((Some(at), attribute.as_str()))
        })
    }

    /// The decoded texts of all text parts in order, those of messages inside the message included.
    #[must_use]
    pub fn texts(&self) -> &[Text] {
        &self.texts
    }

    /// The links of all texts in order.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// What all HTML parts together hold.
    #[must_use]
    pub fn html(&self) -> &HtmlFacts {
        &self.html
    }

    /// The charsets that text parts name, in lower case, each once.
    #[must_use]
    pub fn charsets(&self) -> &[String] {
        &self.charsets
    }

    /// What is wrong with the message's header, line by line.
    #[must_use]
    pub fn flaws(&self) -> &[HeaderFlaw] {
        &self.flaws
    }
}
