//! Reads the structure of a raw message in one pass.
//!
//! Offsets are exact: the line end before a delimiter line belongs to the delimiter (RFC 2046 §5.1.1). Delimiter
//! lines are looked for from the innermost open multipart outwards, so that a part whose end is missing ends
//! where the multipart around it goes on.

use memchr::memmem::Finder;

use crate::attributes::{self, Tag};
use crate::content::{self, Content};
use crate::field::{Field, blank_line, first_field, line_content};
use crate::structure::Node;
use crate::{Encoding, MAX_DEPTH, MAX_PARTS, Structure, media};

/// A longer boundary delimits nothing; RFC 2046 §5.1.1 allows 70 octets.
const BOUNDARY_LIMIT: usize = 1000;

/// Reads the structure of a raw message.
pub(crate) fn scan(raw: &[u8]) -> Structure {
    let mut scan = Scan {
        raw,
        structure: Structure { nodes: Vec::with_capacity(1), attributes: Vec::with_capacity(32) },
        open: Vec::with_capacity(4),
        delimiter: None,
    };
    scan.run();
    let mut structure = scan.structure;
    count_lines(&mut structure, raw);
    structure
}

struct Scan<'r> {
    raw: &'r [u8],
    structure: Structure,
    open: Vec<Open>,
    delimiter: Option<Finder<'static>>,
}

/// A part whose end has not been seen.
struct Open {
    node: usize,
    /// Whether it is a multipart that is looked into.
    multipart: bool,
    /// What parts its parts, as long as the closing delimiter has not come.
    boundary: Option<Vec<u8>>,
    digest: bool,
}

/// A delimiter line.
struct Delimiter {
    /// The place in the stack of open parts.
    level: usize,
    start: usize,
    end: usize,
    closing: bool,
}

/// What a part's own header says of how to go on.
#[derive(Default)]
struct Header {
    boundary: Option<Vec<u8>>,
    typed: bool,
    described: Described,
}

/// Which fields have been seen: only the first of each counts.
#[derive(Default)]
struct Described(u8);

impl Described {
    fn first(&mut self, bit: u8) -> bool {
        let new = self.0 & 1 << bit == 0;
        self.0 |= 1 << bit;
        new
    }
}

impl<'r> Scan<'r> {
    fn run(&mut self) {
        let mut start = 0;
        loop {
            let mut found = match self.part(start) {
                Inside::Delimiter(delimiter) => Some(delimiter),
                Inside::Message(at) => {
                    start = at;
                    continue;
                }
                Inside::Body(at) => self.next_delimiter(at),
            };
            start = loop {
                let Some(delimiter) = found else {
                    self.close(0, self.raw.len());
                    return;
                };
                if let Some(at) = self.delimit(&delimiter) {
                    break at;
                }
                found = self.next_delimiter(delimiter.end);
            };
        }
    }

    /// Opens the part whose header starts here.
    fn part(&mut self, start: usize) -> Inside {
        let digest = self.open.last().is_some_and(|parent| parent.digest);
        let attributes_start = self.structure.attributes.len();
        let mut node = Node { header: start, media: media::TEXT_PLAIN, ..Node::default() };
        let mut header = Header::default();
        let mut at = start;
        let mut early = None;
        loop {
            let rest = &self.raw[at..];
            if rest.is_empty() {
                break;
            }
            if let Some(len) = blank_line(rest) {
                at += len;
                break;
            }
            if rest.starts_with(b"--") {
                early = self.delimiter_at(at);
                if early.is_some() {
                    break;
                }
            }
            let field = first_field(rest);
            if matches!(field.name.first(), Some(b'C' | b'c')) {
                self.describe(&field, &mut node, &mut header);
            }
            at += field.raw.len();
        }
        if digest && !header.typed {
            node.media = media::MESSAGE_RFC822;
        }
        node.body = at;
        node.end = at;
        node.attributes = attributes_start..self.structure.attributes.len();
        let is_message = is_message(&node, &self.structure);
        let (kind, subtype) = self.structure.media(&node);
        let multipart = kind == "multipart";
        let digest = multipart && subtype == "digest";
        let place = self.structure.nodes.len();
        node.next = place + 1;
        self.structure.nodes.push(node);
        let room = self.open.len() < MAX_DEPTH && place + 1 < MAX_PARTS;
        let boundary = header.boundary.filter(|_| room);
        if boundary.is_some() && self.delimiter.is_none() {
            self.delimiter = Some(Finder::new(b"\n--"));
        }
        self.open.push(Open { node: place, multipart: multipart && room, boundary, digest });
        match early {
            Some(delimiter) => Inside::Delimiter(delimiter),
            None if is_message && room => Inside::Message(at),
            None => Inside::Body(at),
        }
    }

    /// Notes what a `Content-…` field says.
    fn describe(&mut self, field: &Field<'_>, node: &mut Node, header: &mut Header) {
        let Some(name) = field.name.get(8..).filter(|_| field.name[..8].eq_ignore_ascii_case(b"content-")) else {
            return;
        };
        let attributes = &mut self.structure.attributes;
        let seen = &mut header.described;
        let value = field.unfolded();
        if name.eq_ignore_ascii_case(b"type") && seen.first(0) {
            self.describe_type(&value, node, header);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") && seen.first(1) {
            let name = Content::parse(&value).main.to_ascii_lowercase();
            node.encoding = encoding(&name);
            if node.encoding == Encoding::Other {
                attributes::put(attributes, Tag::Encoding, b"", &name);
            }
        } else if name.eq_ignore_ascii_case(b"disposition") && seen.first(2) {
            let content = Content::parse(&value);
            if let Some(kind) = content::token(content.main) {
                attributes::put(attributes, Tag::Disposition, b"", kind.as_bytes());
                for (name, value) in content.parameters() {
                    attributes::put(attributes, Tag::DispositionParameter, &name, &value);
                }
            }
        } else if name.eq_ignore_ascii_case(b"language") && seen.first(3) {
            for tag in content::languages(&value) {
                attributes::put(attributes, Tag::Language, b"", tag);
            }
        } else if let Some((bit, tag)) = plain_tag(name)
            && !value.is_empty()
            && seen.first(bit)
        {
            attributes::put(attributes, tag, b"", &value);
        }
    }

    /// A type that cannot be read is plain text (RFC 2045 §5.2).
    fn describe_type(&mut self, value: &[u8], node: &mut Node, header: &mut Header) {
        let content = Content::parse(value);
        let Some((kind, subtype)) = content.media() else {
            return;
        };
        header.typed = true;
        node.media = media::code(&kind, &subtype);
        let attributes = &mut self.structure.attributes;
        if node.media == 0 {
            attributes::put(attributes, Tag::Media, kind.as_bytes(), subtype.as_bytes());
        }
        for (name, value) in content.parameters() {
            if kind == "multipart" && name == b"boundary" && header.boundary.is_none() {
                header.boundary = sound_boundary(&value);
            }
            attributes::put(attributes, Tag::Parameter, &name, &value);
        }
        if kind == "multipart" && header.boundary.is_none() {
            // Some programs write even the boundary in pieces (RFC 2231 §3).
            let all: Vec<_> = content.parameters().collect();
            let pairs = || all.iter().map(|(name, value)| (&name[..], &value[..]));
            header.boundary =
                content::decoded_parameter(pairs, "boundary").and_then(|text| sound_boundary(text.as_bytes()));
        }
    }

    /// The next delimiter line of an open multipart at or behind the start of a line.
    fn next_delimiter(&self, line: usize) -> Option<Delimiter> {
        let finder = self.delimiter.as_ref()?;
        if self.open.iter().all(|open| open.boundary.is_none()) {
            return None;
        }
        if self.raw[line..].starts_with(b"--")
            && let Some(delimiter) = self.delimiter_at(line)
        {
            return Some(delimiter);
        }
        // A search begun anew for every dash would be slow where dashes are dense.
        finder.find_iter(&self.raw[line..]).find_map(|at| self.delimiter_at(line + at + 1))
    }

    /// Whether the line, which begins with two dashes, delimits an open multipart.
    fn delimiter_at(&self, line: usize) -> Option<Delimiter> {
        let rest = &self.raw[line..];
        let len = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let text = line_content(&rest[..len])[2..].trim_ascii_end();
        let found = |level, closing| Some(Delimiter { level, start: line, end: line + len, closing });
        for (level, open) in self.open.iter().enumerate().rev() {
            let Some(boundary) = open.boundary.as_deref() else {
                continue;
            };
            // Whole lines are compared, so that a boundary which begins with another one is not taken for it.
            if text.len() == boundary.len() && text == boundary {
                return found(level, false);
            }
            if text.len() == boundary.len() + 2 && text.ends_with(b"--") && text.starts_with(boundary) {
                return found(level, true);
            }
        }
        None
    }

    /// Ends what a delimiter line ends. Where the next part starts, unless none does.
    fn delimit(&mut self, delimiter: &Delimiter) -> Option<usize> {
        if !delimiter.closing && self.structure.nodes.len() >= MAX_PARTS {
            return None;
        }
        let before = &self.raw[..delimiter.start];
        self.close(delimiter.level + 1, line_content(before).len());
        if delimiter.closing {
            self.open[delimiter.level].boundary = None;
            return None;
        }
        Some(delimiter.end)
    }

    /// Ends the open parts from this level on.
    fn close(&mut self, level: usize, end: usize) {
        let mut end = end;
        let nodes = &mut self.structure.nodes;
        for open in self.open.drain(level.min(self.open.len())..).rev() {
            let next = nodes.len();
            let node = &mut nodes[open.node];
            // A header cut short by the delimiter keeps the line end before it, and so does all around.
            end = end.max(node.body);
            node.end = end;
            node.next = next;
            if open.multipart && next == open.node + 1 {
                // A multipart without parts is the text that is there (RFC 2045 §5.2).
                node.media = media::TEXT_PLAIN;
            }
        }
    }
}

/// What follows a part's header.
enum Inside {
    Body(usize),
    Delimiter(Delimiter),
    Message(usize),
}

/// A boundary does not end in white space (RFC 2046 §5.1.1).
fn sound_boundary(value: &[u8]) -> Option<Vec<u8>> {
    let boundary = value.trim_ascii_end();
    (!boundary.is_empty() && boundary.len() <= BOUNDARY_LIMIT).then(|| boundary.to_vec())
}

/// Whether a message lies inside in the clear (RFC 2046 §5.2.1, RFC 6532 §3.7).
fn is_message(node: &Node, structure: &Structure) -> bool {
    matches!(structure.media(node), ("message", "rfc822" | "global"))
        && matches!(node.encoding, Encoding::SevenBit | Encoding::EightBit | Encoding::Binary)
}

fn encoding(name: &[u8]) -> Encoding {
    match name {
        b"" | b"7bit" => Encoding::SevenBit,
        b"8bit" => Encoding::EightBit,
        b"binary" => Encoding::Binary,
        b"base64" => Encoding::Base64,
        b"quoted-printable" => Encoding::QuotedPrintable,
        _ => Encoding::Other,
    }
}

fn plain_tag(name: &[u8]) -> Option<(u8, Tag)> {
    let tags =
        [(&b"id"[..], Tag::Id), (b"description", Tag::Description), (b"md5", Tag::Md5), (b"location", Tag::Location)];
    (4..).zip(tags).find(|(_, (known, _))| name.eq_ignore_ascii_case(known)).map(|(bit, (_, tag))| (bit, tag))
}

/// Counts the line ends of texts and messages. Messages lie inside each other: every octet is looked at once.
fn count_lines(structure: &mut Structure, raw: &[u8]) {
    let counted: Vec<usize> = (0..structure.nodes.len()).filter(|&at| has_lines(structure, at)).collect();
    if let [only] = counted[..] {
        let node = &mut structure.nodes[only];
        node.lines = Some(line_ends(&raw[node.body..node.end]));
        return;
    }
    let mut places: Vec<usize> =
        counted.iter().flat_map(|&at| [structure.nodes[at].body, structure.nodes[at].end]).collect();
    places.sort_unstable();
    places.dedup();
    let mut before = Vec::with_capacity(places.len());
    let (mut from, mut sum) = (places.first().copied().unwrap_or(0), 0);
    for &place in &places {
        sum += line_ends(&raw[from..place]);
        from = place;
        before.push(sum);
    }
    let until = |place: usize| places.binary_search(&place).ok().and_then(|at| before.get(at)).copied().unwrap_or(0);
    for at in counted {
        let node = &mut structure.nodes[at];
        node.lines = Some(until(node.end) - until(node.body));
    }
}

fn has_lines(structure: &Structure, at: usize) -> bool {
    let node = &structure.nodes[at];
    let leaf = node.next == at + 1;
    match structure.media(node).0 {
        "text" => leaf,
        "message" => !leaf,
        _ => false,
    }
}

fn line_ends(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Part;

    fn bodies(raw: &[u8]) -> Vec<(String, String)> {
        let show = |part: Part<'_>| {
            let body = String::from_utf8_lossy(&raw[part.body_range()]).into_owned();
            (format!("{}/{}", part.media_type(), part.media_subtype()), body)
        };
        Structure::of(raw).parts().filter(Part::is_leaf).map(show).collect()
    }

    fn leaves(raw: &[u8]) -> Vec<String> {
        bodies(raw).into_iter().map(|(_, body)| body).collect()
    }

    fn mixed(body: &str) -> Vec<u8> {
        format!("Content-Type: multipart/mixed; boundary=a\r\n\r\n{body}").into_bytes()
    }

    #[test]
    fn the_line_end_before_a_delimiter_belongs_to_it() {
        assert_eq!(leaves(&mixed("--a\r\n\r\none\r\n--a\r\n\r\n\r\n\r\n--a--\r\n")), ["one", "\r\n"]);
        assert_eq!(
            leaves(b"Content-Type: multipart/mixed; boundary=a\n\n--a\n\none\n\n--a\n\ntwo\n--a--"),
            ["one\n", "two"]
        );
        assert_eq!(leaves(&mixed("pre\r\n--a \t\r\n\r\none\r\n--a-- \r\nepilogue\r\n--a\r\n\r\nx")), ["one"]);
    }

    #[test]
    fn messages_without_much_in_them_have_a_structure() {
        for raw in
            [&b""[..], b"\r\n", b"\n", b"Subject: x", b"Subject: x\r\n", b"\0\xff\xfe", b"no colon at all\r\n\r\nx"]
        {
            let structure = Structure::of(raw);
            let root = structure.root();
            assert_eq!((root.media_type(), root.media_subtype()), ("text", "plain"));
            assert_eq!(structure.size(), raw.len());
            assert_eq!(root.header_range().end, root.body_range().start);
        }
        assert_eq!(Structure::of(b"Subject: x\r\n").header_size(), 12);
        assert_eq!(Structure::of(b"\r\nbody\r\n").root().lines(), Some(1));
    }

    #[test]
    fn boundaries_that_begin_with_each_other_are_told_apart() {
        let inner = "--a\r\nContent-Type: multipart/alternative; boundary=aa\r\n\r\n--aa\r\n\r\none\r\n--aa\r\n\r\n\
            two\r\n--aa--\r\n--a\r\n\r\nthree\r\n--ab\r\n--a--\r\n";
        assert_eq!(leaves(&mixed(inner)), ["one", "two", "three\r\n--ab"]);
        let structure = Structure::of(&mixed(inner));
        assert_eq!(structure.root().children().count(), 2);
    }

    #[test]
    fn boundaries_are_read_in_all_their_spellings() {
        for parameter in ["boundary=a", "BOUNDARY=\"a \"", "boundary*0=a", "x=y; boundary = a (c)", "boundary*=''%61"] {
            let raw = format!("Content-Type: multipart/mixed;\r\n\t{parameter}\r\n\r\n--a\r\n\r\none\r\n--a--");
            assert_eq!(leaves(raw.as_bytes()), ["one"], "{parameter}");
        }
    }

    #[test]
    fn one_boundary_at_two_depths_is_the_inner_one_first() {
        let raw = mixed(
            "--a\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\none\r\n--a--\r\n--a\r\n\r\ntwo\r\n--a--\r\n",
        );
        assert_eq!(leaves(&raw), ["one", "two"]);
        assert_eq!(Structure::of(&raw).root().children().count(), 2);
    }

    #[test]
    fn missing_ends_are_made_up() {
        assert_eq!(leaves(&mixed("--a\r\n\r\none\r\n--a\r\n\r\ntwo\r\n")), ["one", "two\r\n"]);
        let open =
            mixed("--a\r\nContent-Type: multipart/x; boundary=b\r\n\r\n--b\r\n\r\none\r\n--a\r\n\r\ntwo\r\n--a--");
        assert_eq!(leaves(&open), ["one", "two"]);
        let cut = mixed("--a\r\nX: y\r\n--a\r\n--a\r\nContent-Type: message/rfc822\r\n\r\n--a--\r\n");
        let structure = Structure::of(&cut);
        assert_eq!(structure.root().children().count(), 3);
        assert!(structure.parts().all(|part| part.body_range().end <= cut.len()));
        assert_eq!(&cut[structure.part(&[1]).expect("there").header_range()], b"X: y\r\n");
    }

    #[test]
    fn a_multipart_without_parts_is_text() {
        for body in ["just text\r\n", "--a--\r\n", ""] {
            assert_eq!(bodies(&mixed(body)), [("text/plain".to_owned(), body.to_owned())]);
        }
        let unbounded = b"Content-Type: multipart/x-odd\r\n\r\n--a\r\n\r\none";
        assert_eq!(bodies(unbounded), [("text/plain".to_owned(), "--a\r\n\r\none".to_owned())]);
    }

    #[test]
    fn the_parts_of_a_digest_are_messages() {
        let raw = b"Content-Type: multipart/digest; boundary=a\r\n\r\n--a\r\n\r\nSubject: x\r\n\r\none\r\n--a\r\n\
            Content-Type: text/html\r\n\r\ntwo\r\n--a--";
        assert_eq!(bodies(raw), [("text/plain".into(), "one".into()), ("text/html".into(), "two".into())]);
        assert!(Structure::of(raw).part(&[1]).and_then(|part| part.message()).is_some());
    }

    #[test]
    fn encoded_messages_are_opaque_and_global_ones_are_not() {
        let encoded = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nQTogYg==\r\n";
        assert_eq!(bodies(encoded), [("message/rfc822".into(), "QTogYg==\r\n".into())]);
        let global = b"Content-Type: message/global\r\n\r\nA: b\r\n\r\nbody\r\n";
        assert_eq!(bodies(global), [("text/plain".into(), "body\r\n".into())]);
        assert_eq!(Structure::of(global).root().lines(), Some(3));
    }

    #[test]
    fn lines_of_messages_inside_messages_are_counted() {
        let raw = b"Content-Type: message/rfc822\r\n\r\nContent-Type: message/rfc822\r\n\r\nA: b\r\n\r\n1\r\n2\r\n";
        let lines: Vec<_> = Structure::of(raw).parts().map(|part| part.lines()).collect();
        assert_eq!(lines, [Some(6), Some(4), Some(2)]);
    }

    #[test]
    fn fields_describe_the_part_once() {
        let raw = "Content-Type: x-a/b; n=1\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: X-Odd\r\n\
            Content-Description:\r\n grün\r\nContent-Disposition: weird; a=b\r\nContent-Language: en, de (x)\r\n\r\n";
        let structure = Structure::of(raw.as_bytes());
        let part = structure.root();
        assert_eq!((part.media_type(), part.media_subtype()), ("x-a", "b"));
        assert_eq!(part.parameter("n"), Some(&b"1"[..]));
        assert_eq!((part.encoding(), part.encoding_name()), (Encoding::Other, &b"x-odd"[..]));
        assert_eq!(part.description(), Some("grün".as_bytes()));
        assert_eq!(part.disposition(), Some(crate::Disposition::Attachment));
        assert_eq!(part.disposition_name(), Some(&b"weird"[..]));
        assert_eq!(part.languages().collect::<Vec<_>>(), [b"en", b"de"]);
    }

    #[test]
    fn depth_is_bounded() {
        let mut raw = Vec::new();
        for level in 0..3000 {
            raw.extend_from_slice(
                format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n").as_bytes(),
            );
        }
        let structure = Structure::of(&raw);
        assert_eq!(structure.nodes.len(), MAX_DEPTH + 1);
        let last = structure.parts().last().expect("some");
        assert_eq!((last.media_type(), last.body_range().end), ("multipart", raw.len()));
        assert!(!structure.bodystructure(&raw).is_empty());
        let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(3000);
        assert_eq!(Structure::of(messages.as_bytes()).nodes.len(), MAX_DEPTH + 1);
        assert_eq!(Structure::from_bytes(&structure.to_bytes()), Ok(structure));
    }

    #[test]
    fn parts_are_bounded() {
        let raw = mixed(&"--a\r\n\r\nx\r\n".repeat(20_000));
        let structure = Structure::of(&raw);
        assert_eq!(structure.nodes.len(), MAX_PARTS);
        assert_eq!(structure.parts().last().map(|part| part.body_range().end), Some(raw.len()));
        assert_eq!(Structure::from_bytes(&structure.to_bytes()), Ok(structure));
    }

    #[test]
    fn ten_thousand_fields_are_fine() {
        let raw = [&b"X-Junk: y\r\n".repeat(10_000)[..], b"Content-Type: text/html\r\n\r\nx"].concat();
        assert_eq!(bodies(&raw), [("text/html".into(), "x".into())]);
    }

    #[test]
    fn every_prefix_of_a_message_has_a_sound_structure() {
        let raw = mixed(
            "--a\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: multipart/x; boundary=\"b c\"\r\n\r\n--b c\r\n\r\n\
            one\r\n--b c--\r\n--a\r\nContent-Type: text/plain; charset*0*=x''%\r\n\r\n--\r\n--a--",
        );
        for end in 0..raw.len() {
            let structure = Structure::of(&raw[..end]);
            assert_eq!(Structure::from_bytes(&structure.to_bytes()).as_ref(), Ok(&structure), "{end}");
            assert!(
                structure
                    .parts()
                    .all(|part| part.body_range().start <= part.body_range().end && part.body_range().end <= end)
            );
            assert!(structure.bodystructure(&raw[..end]).ends_with(b")"));
        }
    }
}
