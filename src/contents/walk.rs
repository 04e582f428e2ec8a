//! The walk: parts of messages and members of archives, depth first, each octet decoded once.

use std::io::Read;

use bytes::Bytes;
use posthorn_mime::{Part, Structure, charset_text, fields};

use crate::archive::{self, Data, Entry, Unpacking};
use crate::binary::number;
use crate::limits::Budget;
use crate::link::with_scheme;
use crate::{
    Attribute, Attributes, Contents, Family, HtmlFacts, Kind, Limit, Limits, Link, LinkOrigin, Node, Text, html_text,
    links_in_text, magic, recognize, text,
};

/// Octets that are unpacked at one time.
const CHUNK: usize = 32 * 1024;

/// Octets that are kept of what is too large, enough to tell what it is.
const HEAD: usize = 64 * 1024;

/// Looks into a message.
pub(crate) fn walk(octets: &Bytes, limits: &Limits) -> Contents {
    let mut walker = Walker {
        limits,
        budget: Budget::new(limits, octets.len()),
        nodes: Vec::new(),
        archives: 0,
        texts: Vec::new(),
        text_left: limits.text,
        links: Vec::new(),
        html: HtmlFacts::default(),
        charsets: Vec::new(),
    };
    let structure = Structure::of(octets);
    walker.message(&structure, octets, None);
    Contents {
        octets: octets.clone(),
        structure,
        nodes: walker.nodes,
        limit: walker.budget.limit(),
        texts: walker.texts,
        links: walker.links,
        html: walker.html,
        charsets: walker.charsets,
        flaws: Vec::new(),
    }
}

/// What has been found so far, and what is left to spend.
pub(crate) struct Walker<'l> {
    limits: &'l Limits,
    budget: Budget,
    nodes: Vec<Node>,
    /// Archives around what is looked at now: the text in them is nobody's letter.
    archives: usize,
    texts: Vec<Text>,
    text_left: usize,
    links: Vec<Link>,
    html: HtmlFacts,
    charsets: Vec<String>,
}

/// What was unpacked into memory.
pub(crate) struct Unpacked {
    pub(crate) octets: Vec<u8>,
    /// Octets in all, of which only the first may be kept.
    total: u64,
    /// Whether only the first octets are kept.
    pub(crate) too_large: bool,
    damaged: bool,
    held: usize,
}

impl Walker<'_> {
    /// Notes what is to be said of a node.
    pub(crate) fn mark(&mut self, at: usize, attribute: Attribute) {
        if let Some(node) = self.nodes.get_mut(at) {
            node.attributes.insert(attribute);
        }
    }

    /// The first name of a node; empty where it has none.
    pub(crate) fn name(&self, at: usize) -> &str {
        self.nodes.get(at).and_then(|node| node.names.first()).map_or("", String::as_str)
    }

    /// How many nodes there may still be.
    pub(crate) fn nodes_left(&self) -> usize {
        self.limits.nodes.saturating_sub(self.nodes.len())
    }

    /// Takes one step; false when the walk is over.
    pub(crate) fn step(&mut self) -> bool {
        self.budget.step(1)
    }

    /// Takes steps; false when the walk is over.
    pub(crate) fn steps(&mut self, steps: u64) -> bool {
        self.budget.step(steps)
    }

    /// Whether nothing more is to be looked at.
    pub(crate) fn is_over(&self) -> bool {
        self.budget.is_over()
    }

    /// Takes a member of an archive; false when the walk is over.
    pub(crate) fn entry(&mut self, parent: usize, entry: Entry<'_>) -> bool {
        let names = Some(entry.name).filter(|name| !name.is_empty()).into_iter().collect();
        let Some(at) = self.add(Some(parent), None, None, names) else { return false };
        self.nodes[at].is_member = true;
        self.nodes[at].size = entry.claimed.unwrap_or(0);
        for attribute in entry.attributes.iter() {
            self.mark(at, attribute);
        }
        self.archives += 1;
        match entry.data {
            Data::None => {}
            Data::Plain(octets) => {
                // Paid for like what is unpacked, since members may lie over each other.
                if self.budget.expand(octets.len(), 1) {
                    self.member(at, octets, entry.claimed);
                }
            }
            Data::Unpacked(octets) => self.member(at, octets, entry.claimed),
            Data::Packed(unpacking) => {
                let unpacked = self.unpack(unpacking);
                if unpacked.damaged {
                    self.mark(at, Attribute::Damaged);
                }
                if unpacked.too_large {
                    self.head_alone(at, &unpacked);
                } else {
                    self.member(at, &unpacked.octets, entry.claimed);
                }
                self.forget(unpacked);
            }
        }
        self.archives -= 1;
        !self.is_over()
    }

    /// Unpacks, within the quota, into what memory there is.
    pub(crate) fn unpack(&mut self, unpacking: Unpacking<'_>) -> Unpacked {
        let Unpacking { mut reader, cost } = unpacking;
        let mut unpacked = Unpacked { octets: Vec::new(), total: 0, too_large: false, damaged: false, held: 0 };
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = match reader.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => {
                    unpacked.damaged = true;
                    break;
                }
            };
            unpacked.total = unpacked.total.saturating_add(number(read));
            let goes_on = self.budget.expand(read, cost);
            self.keep(&mut unpacked, &chunk[..read]);
            if !goes_on {
                break;
            }
        }
        unpacked
    }

    /// Gives back the memory of what was unpacked.
    pub(crate) fn forget(&mut self, unpacked: Unpacked) {
        self.budget.release(unpacked.held);
        drop(unpacked);
    }

    fn keep(&mut self, unpacked: &mut Unpacked, octets: &[u8]) {
        if unpacked.too_large {
            return;
        }
        if self.budget.hold(octets.len()) {
            unpacked.held += octets.len();
            unpacked.octets.extend_from_slice(octets);
            return;
        }
        unpacked.too_large = true;
        unpacked.octets.truncate(HEAD);
        unpacked.octets.shrink_to_fit();
        self.budget.release(unpacked.held - unpacked.octets.len());
        unpacked.held = unpacked.octets.len();
    }

    /// What was too large for memory is known by its first octets alone.
    fn head_alone(&mut self, at: usize, unpacked: &Unpacked) {
        let kind = recognize(&unpacked.octets);
        self.nodes[at].kind = kind;
        self.nodes[at].size = unpacked.total;
        self.mark(at, Attribute::TooLarge);
        if archive::is_archive(kind) {
            self.budget.meet(Limit::Memory);
        }
    }

    fn member(&mut self, at: usize, octets: &[u8], claimed: Option<u64>) {
        let size = number(octets.len());
        if claimed.is_some_and(|claimed| claimed != size) && !self.is_over() {
            self.mark(at, Attribute::LyingSize);
        }
        self.nodes[at].size = size;
        self.look(at, octets, None);
    }

    /// Adds a node; `None` when there may be no more.
    fn add(
        &mut self,
        parent: Option<usize>,
        section: Option<Vec<u32>>,
        declared: Option<String>,
        names: Vec<String>,
    ) -> Option<usize> {
        if self.nodes.len() >= self.limits.nodes {
            self.budget.meet(Limit::Nodes);
            return None;
        }
        if !self.step() {
            return None;
        }
        let (mut depth, mut place) = (1, 1);
        if let Some(outer) = parent.and_then(|parent| self.nodes.get_mut(parent)) {
            outer.children += 1;
            outer.is_container = true;
            (depth, place) = (outer.depth + 1, outer.children);
        }
        let mut attributes = Attributes::default();
        let names = names.into_iter().map(|name| self.checked_name(name, &mut attributes)).collect();
        self.nodes.push(Node {
            parent,
            place,
            children: 0,
            depth,
            section,
            declared,
            kind: Kind::Unknown,
            names,
            attributes,
            size: 0,
            is_member: false,
            is_container: false,
        });
        Some(self.nodes.len() - 1)
    }

    fn checked_name(&self, mut name: String, attributes: &mut Attributes) -> String {
        let absolute = name.starts_with(['/', '\\'])
            || name.as_bytes().get(1) == Some(&b':') && name.as_bytes()[0].is_ascii_alphabetic();
        if absolute {
            attributes.insert(Attribute::AbsolutePath);
        }
        if name.contains("..") && name.split(['/', '\\']).any(|component| component == "..") {
            attributes.insert(Attribute::Upwards);
        }
        if name.len() > self.limits.name {
            attributes.insert(Attribute::LongName);
            // The end says more than the beginning.
            let from = name.ceil_char_boundary(name.len() - self.limits.name);
            name.drain(..from);
        }
        name
    }

    /// A message: the one that is walked, or one inside it.
    fn message(&mut self, structure: &Structure, raw: &[u8], parent: Option<usize>) {
        let section = if parent.is_none() { Some(Vec::new()) } else { None };
        self.root(structure.root(), raw, parent, section);
    }

    /// The root of a message: where it is one part, that is its part 1.
    fn root(&mut self, root: Part<'_>, raw: &[u8], parent: Option<usize>, section: Option<Vec<u32>>) {
        let section = if root.is_multipart() { section } else { section.map(|path| below(&path, 1)) };
        self.part(root, raw, parent, section);
    }

    fn part(&mut self, part: Part<'_>, raw: &[u8], parent: Option<usize>, section: Option<Vec<u32>>) {
        let declared = format!("{}/{}", part.media_type(), part.media_subtype());
        let Some(at) = self.add(parent, section, Some(declared), part.file_names()) else { return };
        let inner = part.message();
        if part.is_multipart() || inner.is_some() {
            self.nodes[at].kind = if inner.is_some() { Kind::Message } else { Kind::Multipart };
            self.nodes[at].size = number(part.body_range().len());
            if self.is_too_deep(at) {
                return;
            }
            if let Some(inner) = inner {
                self.root(inner, raw, Some(at), self.nodes[at].section.clone());
                return;
            }
            for (place, child) in (1..).zip(part.children()) {
                if self.is_over() {
                    return;
                }
                let section = self.nodes[at].section.as_ref().map(|path| below(path, place));
                self.part(child, raw, Some(at), section);
            }
            return;
        }
        match part.decoded(raw) {
            Some(octets) => {
                self.nodes[at].size = number(octets.len());
                self.look(at, &octets, Some(part));
            }
            None => self.mark(at, Attribute::UnknownEncoding),
        }
    }

    fn is_too_deep(&mut self, at: usize) -> bool {
        let deep = self.nodes[at].depth >= self.limits.depth;
        if deep {
            self.mark(at, Attribute::TooDeep);
            self.budget.meet(Limit::Depth);
        }
        deep
    }

    /// Finds out what a leaf is, reads its text, and looks into it.
    fn look(&mut self, at: usize, octets: &[u8], part: Option<Part<'_>>) {
        let mut kind = recognize(octets);
        let is_text = part.is_some_and(|part| part.media_type() == "text");
        if kind == Kind::Text && !is_text && is_message(octets) {
            kind = Kind::Message;
        }
        self.nodes[at].kind = kind;
        self.locks(at, kind, octets);
        if self.archives == 0
            && kind != Kind::Message
            && (is_text || matches!(kind, Kind::Text | Kind::Html | Kind::Hta))
        {
            self.text(at, octets, part, kind);
        }
        if kind == Kind::Message {
            if !self.is_too_deep(at) {
                self.message(&Structure::of(octets), octets, Some(at));
            }
        } else if archive::is_archive(kind) {
            if !self.is_too_deep(at) {
                archive::open(self, at, kind, octets);
                self.macros(at, kind);
            }
        } else if matches!(kind.family(), Family::Executable | Family::Media | Family::Document | Family::Other)
            && octets.len() > 22
            && archive::has_zip_at_its_end(octets)
            && !self.is_too_deep(at)
        {
            archive::open_zip(self, at, octets);
        }
    }

    /// Documents that are locked or hold macros.
    fn locks(&mut self, at: usize, kind: Kind, octets: &[u8]) {
        let (encrypted, macros) = match kind {
            Kind::Ole => magic::ole(octets),
            Kind::Pdf => (magic::is_encrypted_pdf(octets), false),
            _ => return,
        };
        if encrypted {
            self.mark(at, Attribute::Encrypted);
        }
        if macros {
            self.mark(at, Attribute::Macros);
        }
    }

    /// A newer office document has its macros in a member of this name.
    fn macros(&mut self, at: usize, kind: Kind) {
        let macros = kind == Kind::OfficeOpenXml
            && self.nodes[at + 1..].iter().any(|node| {
                node.parent == Some(at)
                    && node.names.iter().any(|name| name.to_ascii_lowercase().ends_with("vbaproject.bin"))
            });
        if macros {
            self.mark(at, Attribute::Macros);
        }
    }

    fn text(&mut self, at: usize, octets: &[u8], part: Option<Part<'_>>, kind: Kind) {
        let charset = part.and_then(|part| part.parameter("charset"));
        let name = charset.map(|name| String::from_utf8_lossy(&name[..name.len().min(64)]).to_ascii_lowercase());
        if let Some(name) = &name
            && !self.charsets.contains(name)
            && self.charsets.len() < self.limits.links
        {
            self.charsets.push(name.clone());
        }
        if self.text_left == 0 {
            return;
        }
        // Markup may be several times its text.
        let decoded = charset_text(charset, &octets[..octets.len().min(self.text_left.saturating_mul(8))]);
        let is_html = part.is_some_and(|part| part.media_type() == "text" && part.media_subtype() == "html")
            || matches!(kind, Kind::Html | Kind::Hta);
        let text = if is_html {
            let read = self.html(at, &decoded);
            Text { node: at, charset: name, is_html, text: read.visible, hidden: read.hidden }
        } else {
            let mut text = decoded.into_owned();
            text::cut(&mut text, self.text_left);
            Text { node: at, charset: name, is_html, text, hidden: String::new() }
        };
        self.text_left = self.text_left.saturating_sub(text.text.len() + text.hidden.len());
        self.written_links(at, &text.text);
        self.texts.push(text);
    }

    fn html(&mut self, at: usize, decoded: &str) -> crate::HtmlText {
        let (links, most) = (&mut self.links, self.limits.links);
        let read = html_text(decoded, self.text_left, &mut |url, shown, origin| {
            if links.len() < most {
                links.push(Link { node: at, url, shown, origin });
            }
        });
        self.html.add(&read.facts);
        read
    }

    fn written_links(&mut self, at: usize, text: &str) {
        let (links, most) = (&mut self.links, self.limits.links);
        links_in_text(text, |url| {
            if links.len() >= most {
                return false;
            }
            links.push(Link { node: at, url: with_scheme(url), shown: None, origin: LinkOrigin::Text });
            true
        });
    }
}

fn below(path: &[u32], place: u32) -> Vec<u32> {
    let mut below = Vec::with_capacity(path.len() + 1);
    below.extend_from_slice(path);
    below.push(place);
    below
}

/// Whether a text is a message: it begins with fields, two of which messages have.
fn is_message(octets: &[u8]) -> bool {
    const KNOWN: [&str; 9] =
        ["From", "Date", "Subject", "Message-ID", "Received", "Return-Path", "MIME-Version", "To", "Delivered-To"];
    let head = &octets[..octets.len().min(4096)];
    let mut known = 0;
    for field in fields(head).take(20) {
        if field.name.is_empty() || !field.name.iter().all(u8::is_ascii_graphic) {
            return false;
        }
        known += usize::from(KNOWN.iter().any(|name| field.is(name)));
    }
    known >= 2
}
