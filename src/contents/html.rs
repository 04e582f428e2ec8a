//! What people see in HTML, what they do not see, and where it leads. A tokenizer, no parser: it takes what browsers
//! take from broken HTML as far as text and links go, in linear time.

use posthorn_mime::character_references;

use crate::link::{URL_LIMIT, cleaned};
use crate::prose::Prose;
use crate::{LinkOrigin, text};

/// What was counted in HTML.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct HtmlFacts {
    /// Parts that are HTML.
    pub parts: u32,
    /// Pictures.
    pub images: u32,
    /// Pictures that are fetched from elsewhere.
    pub remote_images: u32,
    /// Anchors with an address.
    pub anchors: u32,
    /// Forms.
    pub forms: u32,
    /// Fields for passwords.
    pub passwords: u32,
    /// Scripts, attributes with scripts and addresses that are scripts.
    pub scripts: u32,
    /// Frames, objects and embedded things.
    pub frames: u32,
    /// Redirections to another page by `meta`.
    pub redirections: u32,
    /// Comments.
    pub comments: u32,
    /// Octets of text that is there but not to be seen.
    pub hidden: u32,
}

impl HtmlFacts {
    /// Adds what was counted in another part.
    pub(crate) fn add(&mut self, other: &Self) {
        let sum = |own: &mut u32, other: u32| *own = own.saturating_add(other);
        sum(&mut self.parts, other.parts);
        sum(&mut self.images, other.images);
        sum(&mut self.remote_images, other.remote_images);
        sum(&mut self.anchors, other.anchors);
        sum(&mut self.forms, other.forms);
        sum(&mut self.passwords, other.passwords);
        sum(&mut self.scripts, other.scripts);
        sum(&mut self.frames, other.frames);
        sum(&mut self.redirections, other.redirections);
        sum(&mut self.comments, other.comments);
        sum(&mut self.hidden, other.hidden);
    }
}

/// The text of one HTML part.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HtmlText {
    /// What is to be seen, white space collapsed.
    pub visible: String,
    /// What is not to be seen, white space collapsed.
    pub hidden: String,
    /// What was counted.
    pub facts: HtmlFacts,
}

/// Elements whose content is no text for people.
fn is_unread(name: &str) -> bool {
    matches!(name, "script" | "style" | "template" | "title" | "noembed" | "noframes" | "xmp" | "textarea")
}

/// Elements that do not part words.
#[rustfmt::skip]
fn is_inline(name: &str) -> bool {
    matches!(
        name,
        "a" | "abbr" | "acronym" | "b" | "bdi" | "bdo" | "big" | "cite" | "code" | "em" | "font" | "i" | "kbd" | "mark" | "q"
            | "s" | "small" | "span" | "strong" | "sub" | "sup" | "u" | "wbr" | "tt"
    )
}

/// Elements without content.
#[rustfmt::skip]
fn is_void(name: &str) -> bool {
    matches!(
        name,
        "area" | "base" | "br" | "col" | "embed" | "frame" | "hr" | "img" | "input" | "link" | "meta" | "param" | "source"
            | "wbr"
    )
}

/// Longer names are those of no element that matters.
const NAME_LIMIT: usize = 16;

/// Properties of styles that can hide.
const HIDING: [&str; 5] = ["display", "visibility", "font-size", "opacity", "mso-hide"];

/// Octets of a style that are looked at.
const STYLE_LIMIT: usize = 1024;

/// More attributes of one tag are not looked at.
const ATTRIBUTE_LIMIT: usize = 64;

/// Octets that an anchor's text is kept of.
const SHOWN_LIMIT: usize = 512;

/// Reads HTML. `link` is told of every address (cleaned, never empty), of what is shown in its place where that is text,
/// and of its origin. Of visible and of hidden text at most `limit` octets are kept each.
#[must_use]
pub fn html_text(html: &str, limit: usize, link: &mut dyn FnMut(String, Option<String>, LinkOrigin)) -> HtmlText {
    let mut reader = Reader {
        visible: Prose::new(limit),
        hidden: Prose::new(limit),
        facts: HtmlFacts::default(),
        veil: None,
        anchor: None,
        base: None,
        link,
    };
    reader.facts.parts = 1;
    reader.read(html);
    reader.close_anchor();
    HtmlText { visible: reader.visible.into_text(), hidden: reader.hidden.into_text(), facts: reader.facts }
}

/// An element that hides what is in it: its name, and how often it is open within itself.
struct Veil {
    name: String,
    depth: u32,
}

/// An anchor that is open: its address, and what has been shown since.
struct Anchor {
    url: String,
    shown: Prose,
}

struct Reader<'l> {
    visible: Prose,
    hidden: Prose,
    facts: HtmlFacts,
    veil: Option<Veil>,
    anchor: Option<Anchor>,
    base: Option<String>,
    link: &'l mut dyn FnMut(String, Option<String>, LinkOrigin),
}

impl Reader<'_> {
    fn read(&mut self, html: &str) {
        let mut rest = html;
        while let Some(at) = memchr::memchr(b'<', rest.as_bytes()) {
            self.put(&rest[..at]);
            rest = self.markup(&rest[at..]);
        }
        self.put(rest);
    }

    fn put(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let text = character_references(text);
        if self.veil.is_some() {
            let before = self.hidden.len();
            self.hidden.put(&text);
            self.facts.hidden = self.facts.hidden.saturating_add(count(self.hidden.len() - before));
            return;
        }
        self.visible.put(&text);
        if let Some(anchor) = &mut self.anchor {
            anchor.shown.put(&text);
        }
    }

    fn space(&mut self) {
        self.visible.space();
        self.hidden.space();
        if let Some(anchor) = &mut self.anchor {
            anchor.shown.space();
        }
    }

    /// Reads what begins with `<`; returns what is behind it.
    fn markup<'h>(&mut self, text: &'h str) -> &'h str {
        let inside = &text[1..];
        if let Some(comment) = inside.strip_prefix("!--") {
            self.facts.comments = self.facts.comments.saturating_add(1);
            // Browsers end a comment at once in `<!-->` and `<!--->`.
            if let Some(behind) = comment.strip_prefix('>').or_else(|| comment.strip_prefix("->")) {
                return behind;
            }
            return memchr::memmem::find(comment.as_bytes(), b"-->").map_or("", |at| &comment[at + 3..]);
        }
        let (closing, named) = inside.strip_prefix('/').map_or((false, inside), |named| (true, named));
        let len = named.bytes().take_while(|b| !b.is_ascii_whitespace() && !matches!(b, b'>' | b'/' | b'<')).count();
        let name = &named[..len];
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            if matches!(inside.as_bytes().first(), Some(b'!' | b'?' | b'/')) {
                return memchr::memchr(b'>', inside.as_bytes()).map_or("", |at| &inside[at + 1..]);
            }
            self.put("<");
            return inside;
        }
        let mut small = [0; NAME_LIMIT];
        let name = lowered(name, &mut small);
        let (tag, behind) = Tag::read(&named[len..]);
        if !is_inline(name) {
            self.space();
        }
        if closing {
            self.close(name);
            return behind;
        }
        self.open(name, &tag);
        if is_unread(name) { behind_closing_tag(behind, name) } else { behind }
    }

    fn open(&mut self, name: &str, tag: &Tag<'_>) {
        self.count(name, tag);
        self.follow(name, tag);
        match &mut self.veil {
            Some(veil) if veil.name == name => veil.depth = veil.depth.saturating_add(1),
            Some(_) => {}
            None if tag.hides() && !is_void(name) => {
                self.veil = Some(Veil { name: name.to_owned(), depth: 1 });
            }
            None => {}
        }
    }

    fn close(&mut self, name: &str) {
        if name == "a" {
            self.close_anchor();
        }
        if let Some(veil) = &mut self.veil
            && (veil.name == name || matches!(name, "body" | "html"))
        {
            veil.depth -= 1;
            if veil.depth == 0 || veil.name != name {
                self.veil = None;
            }
        }
    }

    fn count(&mut self, name: &str, tag: &Tag<'_>) {
        let facts = &mut self.facts;
        let value = |wanted: &str| tag.value(wanted).unwrap_or_default();
        let place = match name {
            "img" => &mut facts.images,
            "form" => &mut facts.forms,
            "script" => &mut facts.scripts,
            "iframe" | "frame" | "object" | "embed" | "applet" => &mut facts.frames,
            "input" if value("type").trim().eq_ignore_ascii_case("password") => &mut facts.passwords,
            "meta" if value("http-equiv").trim().eq_ignore_ascii_case("refresh") => &mut facts.redirections,
            _ if tag.has_script => &mut facts.scripts,
            _ => return,
        };
        *place = place.saturating_add(1);
    }

    fn follow(&mut self, name: &str, tag: &Tag<'_>) {
        if tag.count == 0 {
            return;
        }
        let address = |wanted: &str| tag.value(wanted).map(|value| cleaned(&character_references(value)));
        match name {
            "base" => self.base = self.base.take().or_else(|| address("href").filter(|url| is_remote(url))),
            "a" | "area" => {
                let Some(url) = address("href").filter(|url| !url.is_empty()) else { return };
                self.facts.anchors = self.facts.anchors.saturating_add(1);
                if url.get(..11).is_some_and(|head| head.eq_ignore_ascii_case("javascript:")) {
                    self.facts.scripts = self.facts.scripts.saturating_add(1);
                }
                let url = self.resolved(url);
                self.close_anchor();
                if name == "a" {
                    self.anchor = Some(Anchor { url, shown: Prose::new(SHOWN_LIMIT) });
                } else {
                    (self.link)(url, None, LinkOrigin::Anchor);
                }
            }
            "form" | "button" => {
                let wanted = if name == "form" { "action" } else { "formaction" };
                self.tell(address(wanted), LinkOrigin::Form);
            }
            "meta" => {
                let content = tag.value("content").filter(|_| tag.value("http-equiv").is_some()).unwrap_or_default();
                let lower = content.to_ascii_lowercase();
                if let Some(at) = memchr::memmem::find(lower.as_bytes(), b"url=") {
                    let url = content[at + 4..].trim().trim_matches(['"', '\'']);
                    self.tell(Some(cleaned(&character_references(url))), LinkOrigin::Anchor);
                }
            }
            _ => {
                for wanted in ["src", "background", "data", "poster"] {
                    let url = address(wanted);
                    if name == "img" && url.as_deref().is_some_and(is_remote) {
                        self.facts.remote_images = self.facts.remote_images.saturating_add(1);
                    }
                    self.tell(url.filter(|_| wanted != "data" || name == "object"), LinkOrigin::Resource);
                }
                if name == "link" {
                    self.tell(address("href"), LinkOrigin::Resource);
                }
            }
        }
    }

    fn tell(&mut self, url: Option<String>, origin: LinkOrigin) {
        if let Some(url) = url.filter(|url| !url.is_empty()) {
            let url = self.resolved(url);
            (self.link)(url, None, origin);
        }
    }

    /// An address without a scheme goes behind the page's base, if it has one.
    fn resolved(&self, url: String) -> String {
        if let Some(rest) = url.strip_prefix("//") {
            return format!("http://{rest}");
        }
        let relative = !url.starts_with('#') && !url.split(['/', '?']).next().unwrap_or_default().contains(':');
        match &self.base {
            Some(base) if relative => {
                let mut whole = format!("{}/{}", base.trim_end_matches('/'), url.trim_start_matches('/'));
                text::cut(&mut whole, URL_LIMIT);
                whole
            }
            _ => url,
        }
    }

    fn close_anchor(&mut self) {
        if let Some(anchor) = self.anchor.take() {
            let shown = Some(anchor.shown.into_text()).filter(|shown| !shown.is_empty());
            (self.link)(anchor.url, shown, LinkOrigin::Anchor);
        }
    }
}

/// A name in small letters; nothing for one that is too long.
fn lowered<'s>(name: &str, small: &'s mut [u8; NAME_LIMIT]) -> &'s str {
    let Some(small) = small.get_mut(..name.len()) else { return "" };
    small.copy_from_slice(name.as_bytes());
    small.make_ascii_lowercase();
    std::str::from_utf8(small).unwrap_or_default()
}

fn count(octets: usize) -> u32 {
    u32::try_from(octets).unwrap_or(u32::MAX)
}

fn is_remote(url: &str) -> bool {
    let starts = |scheme: &str| url.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme));
    starts("http:") || starts("https:") || starts("//")
}

/// The attributes of a tag that matter.
#[derive(Default)]
struct Tag<'h> {
    /// The first ones; few tags have more.
    first: [(&'h str, &'h str); FEW],
    more: Vec<(&'h str, &'h str)>,
    count: usize,
    has_script: bool,
}

/// Attributes of one tag that take no memory of their own.
const FEW: usize = 6;

impl<'h> Tag<'h> {
    /// Reads what is behind a tag's name, up to its bracket; a tag without an end takes all.
    fn read(text: &'h str) -> (Self, &'h str) {
        let bytes = text.as_bytes();
        let mut tag = Self::default();
        let mut at = 0;
        loop {
            at += bytes[at..].iter().take_while(|b| b.is_ascii_whitespace() || **b == b'/').count();
            match bytes.get(at) {
                None => return (tag, ""),
                Some(b'>') => return (tag, &text[at + 1..]),
                Some(_) => {}
            }
            let start = at;
            // An equals sign in front belongs to the name.
            at += 1 + bytes[at + 1..]
                .iter()
                .take_while(|b| !b.is_ascii_whitespace() && !matches!(b, b'=' | b'>' | b'/'))
                .count();
            let name_end = at;
            let gap = bytes[at..].iter().take_while(|b| b.is_ascii_whitespace()).count();
            let mut value = "";
            if bytes.get(at + gap) == Some(&b'=') {
                at += gap + 1;
                at += bytes[at..].iter().take_while(|b| b.is_ascii_whitespace()).count();
                (value, at) = read_value(text, at);
            }
            // Multibyte characters never hold the octets that end a name, so that these are boundaries.
            tag.note(&text[start..name_end], value);
        }
    }

    fn note(&mut self, name: &'h str, value: &'h str) {
        let script = name.len() > 2 && name.get(..2).is_some_and(|head| head.eq_ignore_ascii_case("on"));
        self.has_script |= script;
        if self.count >= ATTRIBUTE_LIMIT || script {
            return;
        }
        match self.first.get_mut(self.count) {
            Some(place) => *place = (name, value),
            None => self.more.push((name, value)),
        }
        self.count += 1;
    }

    fn value(&self, name: &str) -> Option<&'h str> {
        let first = &self.first[..self.count.min(FEW)];
        first.iter().chain(&self.more).find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// Whether its style hides what is in it.
    fn hides(&self) -> bool {
        if self.value("hidden").is_some() {
            return true;
        }
        let Some(style) = self.value("style") else { return false };
        let style = &style[..style.floor_char_boundary(STYLE_LIMIT)];
        style.split(';').any(|one| {
            let Some((property, value)) = one.split_once(':') else { return false };
            let property = property.trim();
            let Some(property) = HIDING.iter().find(|known| known.eq_ignore_ascii_case(property)) else { return false };
            let value: String = value.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect();
            let value = value.trim_end_matches("!important");
            let zero = value
                .trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%')
                .parse::<f32>()
                .is_ok_and(|size| size.abs() < 0.5);
            match *property {
                "display" => value == "none",
                "visibility" => value == "hidden" || value == "collapse",
                "font-size" => value.starts_with(|c: char| c.is_ascii_digit() || c == '.') && (zero || value == "1px"),
                "opacity" => zero,
                "mso-hide" => value == "all",
                _ => false,
            }
        })
    }
}

/// An attribute's value from this place on, and where it ends.
fn read_value(text: &str, at: usize) -> (&str, usize) {
    let bytes = text.as_bytes();
    if let Some(quote @ (b'"' | b'\'')) = bytes.get(at) {
        if let Some(len) = memchr::memchr(*quote, &bytes[at + 1..]) {
            return (&text[at + 1..at + 1 + len], at + len + 2);
        }
        // A quote that never ends is none; what follows would swallow the rest of the text otherwise.
        let len = memchr::memchr(b'>', &bytes[at + 1..]).unwrap_or(bytes.len() - at - 1);
        return (&text[at + 1..at + 1 + len], at + 1 + len);
    }
    let len = bytes[at..].iter().take_while(|b| !b.is_ascii_whitespace() && **b != b'>').count();
    (&text[at..at + len], at + len)
}

fn behind_closing_tag<'h>(text: &'h str, name: &str) -> &'h str {
    let bytes = text.as_bytes();
    for at in memchr::memmem::find_iter(bytes, b"</") {
        let tail = &bytes[at + 2..];
        if tail.len() >= name.len() && tail[..name.len()].eq_ignore_ascii_case(name.as_bytes()) {
            return memchr::memchr(b'>', tail).map_or("", |end| &text[at + 3 + end..]);
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(html: &str) -> (HtmlText, Vec<(String, Option<String>, LinkOrigin)>) {
        let mut links = Vec::new();
        let text = html_text(html, 1 << 20, &mut |url, shown, origin| links.push((url, shown, origin)));
        (text, links)
    }

    #[test]
    fn what_is_seen_is_parted_from_what_is_not() {
        let (text, _) = read(
            "<html><title>t</title><style>p{}</style><p>Hel<b>lo</b>&nbsp;W&ouml;rld<br>a<!-- c -->b</p><div style='color:red; \
             DISPLAY : none !important'>hid<div>den</div>x</div><span hidden>y</span>z<font style=\"font-size:0px\">0</font>",
        );
        assert_eq!(text.visible, "Hello Wörld ab z");
        assert_eq!(text.hidden, "hid den x y0");
        assert_eq!((text.facts.comments, text.facts.hidden), (1, 12));
    }

    #[test]
    fn links_carry_what_is_shown_in_their_place() {
        let (text, links) = read(
            "<BASE href=\"http://base.example/d/\"><a HREF = 'http://evil.example/?a=1&amp;b=2'>www.<b>bank</b>.example</a>\
             <a href=page>x</a><img src=\"//pics.example/a.png\"><img src=cid:1><a href=\"java\nscript:run()\" onclick=x()>go</a>\
             <form action='https://form.example/'><input type=password></form><meta http-equiv=refresh content='0; URL=http://m.example/'>\
             <iframe src=http://f.example/></iframe><a href=http://open.example/>open",
        );
        use LinkOrigin::{Anchor, Form, Resource};
        let expected = [
            ("http://evil.example/?a=1&b=2", Some("www.bank.example"), Anchor),
            ("http://base.example/d/page", Some("x"), Anchor),
            ("http://pics.example/a.png", None, Resource),
            ("cid:1", None, Resource),
            ("javascript:run()", Some("go"), Anchor),
            ("https://form.example/", None, Form),
            ("http://m.example/", None, Anchor),
            ("http://f.example/", None, Resource),
            ("http://open.example/", Some("open"), Anchor),
        ];
        let links: Vec<_> =
            links.iter().map(|(url, shown, origin)| (url.as_str(), shown.as_deref(), *origin)).collect();
        assert_eq!(links, expected);
        let facts = text.facts;
        assert_eq!((facts.images, facts.remote_images, facts.anchors, facts.forms), (2, 1, 4, 1));
        assert_eq!((facts.passwords, facts.scripts, facts.frames, facts.redirections), (1, 2, 1, 1));
    }

    #[test]
    fn broken_html_keeps_its_text() {
        for (html, visible) in [
            ("a < b", "a < b"),
            ("a <b", "a"),
            ("<a href=\"x>b", "b"),
            ("x<!-->y", "xy"),
            ("x<!-- y", "x"),
            ("<?php x ?>y</>z", "yz"),
            ("<script>x</scr></script >y", "y"),
            ("<p a=1 a>x</p><ä>y", "x <ä>y"),
            ("&lt;b&gt; &unknown; &", "<b> &unknown; &"),
        ] {
            assert_eq!(read(html).0.visible, visible, "{html}");
        }
    }

    #[test]
    fn hostile_html_takes_linear_time() {
        for piece in [
            "<",
            "<a ",
            "<a href=",
            "<a href=\"",
            "<!--",
            "</",
            "<script>",
            "<a href=x>",
            "&",
            "<div style='display:none'>",
            "<p =",
            "'",
        ] {
            let (text, _) = read(&piece.repeat(100_000));
            assert!(text.visible.len() <= 1 << 20, "{piece}");
        }
    }
}
