//! Address lists as header fields write them (RFC 5322 §3.4, §4.4), read tolerantly.

use crate::charset;
use crate::content::comment_length;
use crate::field::fields;

/// More entries of one list are left out.
const ENTRY_LIMIT: usize = 10_000;

/// A person's address as a header field shows it, decoded for people.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Mailbox {
    /// The display name with encoded words decoded; empty when there is none.
    pub name: String,
    /// `local@domain` as written, or only the local part when the field has no domain.
    pub address: String,
}

/// One entry of an address list, quotes and escapes removed, encoded words left as they are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Entry {
    /// An address.
    Address {
        /// The display name, or the comment that stands for it; empty when there is neither.
        name: Vec<u8>,
        /// The source route (RFC 5322 §4.4 `obs-route`), such as `@a,@b`; mostly empty.
        route: Vec<u8>,
        /// What is before the `@`.
        local: Vec<u8>,
        /// What is behind it; empty when there is none.
        domain: Vec<u8>,
    },
    /// A group begins.
    GroupStart(Vec<u8>),
    /// A group ends.
    GroupEnd,
}

impl Entry {
    fn mailbox(self) -> Option<Mailbox> {
        let Self::Address { name, mut local, domain, .. } = self else {
            return None;
        };
        if !domain.is_empty() {
            local.push(b'@');
            local.extend_from_slice(&domain);
        }
        Some(Mailbox { name: charset::words(&name), address: charset::guess(&local).into_owned() })
    }
}

/// The first address of an unfolded list.
pub(crate) fn first_mailbox(list: &[u8]) -> Option<Mailbox> {
    Entries::new(list).find_map(Entry::mailbox)
}

/// Everybody whom the `From` fields of a header name, at most 50.
#[must_use]
pub fn authors(header: &[u8]) -> Vec<Mailbox> {
    let from = fields(header).filter(|field| field.is("From"));
    let mut authors = Vec::new();
    for field in from {
        let left = MOST_AUTHORS - authors.len();
        authors.extend(Entries::new(&field.unfolded()).filter_map(Entry::mailbox).take(left));
    }
    authors
}

/// More authors of one message are left out.
const MOST_AUTHORS: usize = 50;

/// The entries of an unfolded address list.
#[derive(Debug)]
pub(crate) struct Entries<'l> {
    rest: &'l [u8],
    in_group: bool,
    left: usize,
}

impl<'l> Entries<'l> {
    pub(crate) fn new(list: &'l [u8]) -> Self {
        Self { rest: list, in_group: false, left: ENTRY_LIMIT }
    }

    /// Reads up to the end of one entry.
    fn entry(&mut self) -> Option<Entry> {
        let mut found = Found::default();
        while let Some((&b, tail)) = self.rest.split_first() {
            match b {
                b'(' => {
                    let (comment, tail) = self.rest.split_at(comment_length(self.rest));
                    found.comment = Some(comment);
                    self.rest = tail;
                    continue;
                }
                b'"' => self.rest = found.text.quoted(tail),
                b'<' if found.angle.is_none() => self.rest = found.angle(tail),
                b'[' => {
                    let end =
                        memchr::memchr2(b']', b',', tail).map_or(tail.len(), |at| at + usize::from(tail[at] == b']'));
                    let (literal, tail) = self.rest.split_at(end + 1);
                    found.text.plain(literal);
                    self.rest = tail;
                }
                b':' if !self.in_group && found.angle.is_none() => {
                    self.rest = tail;
                    self.in_group = true;
                    return Some(Entry::GroupStart(found.text.bytes));
                }
                b';' if self.in_group => {
                    // What is before the end of the group comes first; the semicolon is seen again.
                    if let Some(address) = found.finish() {
                        return Some(address);
                    }
                    self.rest = tail;
                    self.in_group = false;
                    return Some(Entry::GroupEnd);
                }
                b',' | b';' => {
                    self.rest = tail;
                    if let Some(address) = std::mem::take(&mut found).finish() {
                        return Some(address);
                    }
                }
                b'@' => {
                    self.rest = tail;
                    found.text.at();
                }
                b' ' | b'\t' => {
                    self.rest = tail;
                    found.text.space = true;
                }
                _ => {
                    let end =
                        self.rest.iter().position(|b| b"(\"<[:;,@ \t".contains(b)).unwrap_or(self.rest.len()).max(1);
                    let (word, tail) = self.rest.split_at(end);
                    found.text.plain(word);
                    self.rest = tail;
                }
            }
        }
        if let Some(address) = found.finish() {
            return Some(address);
        }
        std::mem::take(&mut self.in_group).then_some(Entry::GroupEnd)
    }
}

impl Iterator for Entries<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        if self.left == 0 {
            // A group that was begun is ended even so.
            return std::mem::take(&mut self.in_group).then_some(Entry::GroupEnd);
        }
        self.left -= 1;
        self.entry()
    }
}

/// What has been found of an entry.
#[derive(Default)]
struct Found<'l> {
    text: Text,
    /// Name, route and address of an angle address; what is behind it does not count.
    angle: Option<(Text, Vec<u8>, Text)>,
    comment: Option<&'l [u8]>,
}

impl<'l> Found<'l> {
    /// Reads what is behind an opening angle bracket; what is behind the closing one comes back.
    fn angle(&mut self, text: &'l [u8]) -> &'l [u8] {
        let mut route = Vec::new();
        let mut address = Text::default();
        let mut rest = text;
        while let Some((&b, tail)) = rest.split_first() {
            rest = tail;
            match b {
                b'>' => break,
                b'"' => rest = address.quoted(tail),
                b'@' => address.at(),
                b':' if address.last_at.is_some() && address.bytes.starts_with(b"@") => {
                    route = std::mem::take(&mut address).bytes;
                }
                b' ' | b'\t' => {}
                _ => address.bytes.push(b),
            }
        }
        self.angle = Some((std::mem::take(&mut self.text), route, address));
        rest
    }

    fn finish(self) -> Option<Entry> {
        let comment = || self.comment.map(comment_text).unwrap_or_default();
        if let Some((name, route, address)) = self.angle {
            let (local, domain) = address.split();
            let name = if name.bytes.is_empty() { comment() } else { name.bytes };
            return Some(Entry::Address { name, route, local, domain });
        }
        if self.text.bytes.is_empty() {
            return None;
        }
        let name = comment();
        let (local, domain) = self.text.split();
        Some(Entry::Address { name, route: Vec::new(), local, domain })
    }
}

/// Words with one space between them where there was some, and the place of the last `@` that is not quoted.
#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    last_at: Option<usize>,
    space: bool,
}

impl Text {
    fn plain(&mut self, word: &[u8]) {
        self.separate();
        self.bytes.extend_from_slice(word);
    }

    fn at(&mut self) {
        self.space = false;
        self.last_at = Some(self.bytes.len());
        self.bytes.push(b'@');
    }

    /// Reads behind an opening quote; what is behind the closing one comes back.
    fn quoted<'t>(&mut self, text: &'t [u8]) -> &'t [u8] {
        self.separate();
        let mut rest = text;
        while let Some((&b, tail)) = rest.split_first() {
            rest = tail;
            match (b, tail.split_first()) {
                (b'"', _) => break,
                (b'\\', Some((&escaped, tail))) => {
                    self.bytes.push(escaped);
                    rest = tail;
                }
                _ => self.bytes.push(b),
            }
        }
        rest
    }

    fn separate(&mut self) {
        if std::mem::take(&mut self.space) && !self.bytes.is_empty() && !self.bytes.ends_with(b"@") {
            self.bytes.push(b' ');
        }
    }

    /// Local part and domain.
    fn split(mut self) -> (Vec<u8>, Vec<u8>) {
        match self.last_at {
            Some(at) => {
                let domain = self.bytes[at + 1..].to_vec();
                self.bytes.truncate(at);
                (self.bytes, domain)
            }
            None => (self.bytes, Vec::new()),
        }
    }
}

/// The text of a comment without its outer parentheses and escapes.
fn comment_text(comment: &[u8]) -> Vec<u8> {
    let inside = comment.strip_prefix(b"(").unwrap_or(comment);
    let inside = inside.strip_suffix(b")").unwrap_or(inside).trim_ascii();
    let mut escaped = false;
    let keep = |&b: &u8| {
        escaped = b == b'\\' && !escaped;
        !escaped
    };
    inside.iter().copied().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: &str) -> Vec<String> {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Entries::new(list.as_bytes())
            .map(|entry| match entry {
                Entry::Address { name, route, local, domain } => {
                    format!("{}|{}|{}|{}", text(name), text(route), text(local), text(domain))
                }
                Entry::GroupStart(name) => format!("{}:", text(name)),
                Entry::GroupEnd => ";".to_owned(),
            })
            .collect()
    }

    #[test]
    fn all_authors_are_named() {
        let header = b"From: A <a@one.example>,\r\n\tb@two.example\r\nTo: x@y\r\nfrom: Group: c@three.example;\r\n\r\nFrom: d@e\r\n";
        let all: Vec<String> = authors(header).into_iter().map(|author| author.address).collect();
        assert_eq!(all, ["a@one.example", "b@two.example", "c@three.example"]);
        let flood = format!("From: {}\r\n", "a@b, ".repeat(1000));
        assert_eq!(authors(flood.repeat(3).as_bytes()).len(), MOST_AUTHORS);
        assert!(authors(b"To: a@b\r\n").is_empty());
    }

    #[test]
    fn addresses_come_with_names_comments_and_quotes() {
        assert_eq!(read("a@b, <c@d>,, Joe  Q. <e@f>"), ["||a|b", "||c|d", "Joe Q.||e|f"]);
        assert_eq!(read("\"Doe, \\\"J\\\"\" <j@x>, k@y (Kay (K))"), ["Doe, \"J\"||j|x", "Kay (K)||k|y"]);
        assert_eq!(read("\"a@b c\"@d, a @ b . c"), ["||a@b c|d", "||a|b . c"]);
        assert_eq!(read("=?utf-8?Q?a,b?= <x@y>"), ["||=?utf-8?Q?a|", "b?=||x|y"]);
        assert_eq!(read("x <@a,@b:c@d>, u@[IPv6:::1], <>"), ["x|@a,@b|c|d", "||u|[IPv6:::1]", "|||"]);
    }

    #[test]
    fn groups_begin_and_end() {
        assert_eq!(read("undisclosed-recipients:;"), ["undisclosed-recipients:", ";"]);
        assert_eq!(read("A Team: a@b, C <c@d>; e@f"), ["A Team:", "||a|b", "C||c|d", ";", "||e|f"]);
        assert_eq!(read("open: a@b"), ["open:", "||a|b", ";"]);
    }

    #[test]
    fn nonsense_yields_something_or_nothing() {
        assert_eq!(read(""), Vec::<String>::new());
        assert_eq!(read(" , ;,"), Vec::<String>::new());
        assert_eq!(read("John"), ["||John|"]);
        assert_eq!(read("<a@b"), ["||a|b"]);
        assert_eq!(read("\"open"), ["||open|"]);
        assert_eq!(read("x <a@b> <c@d>"), ["x||a|b"]);
    }

    #[test]
    fn lists_are_bounded_and_linear() {
        for piece in ["a,", "(", "<", "\"", "[", "a:", ":", "@", "a: b;", "<@a:", "<@:"] {
            assert!(read(&piece.repeat(100_000)).len() <= ENTRY_LIMIT + 1, "{piece}");
        }
    }

    #[test]
    fn the_first_mailbox_is_for_people() {
        let mailbox = first_mailbox(b"g: =?utf-8?Q?J=C3=BCrgen?= <j@x>;").expect("there");
        assert_eq!((mailbox.name.as_str(), mailbox.address.as_str()), ("Jürgen", "j@x"));
        assert_eq!(first_mailbox(b"g:;"), None);
    }
}
