//! The text of HTML, for previews and search. Not fit for display: nothing is made safe.

use std::borrow::Cow;

/// A longer character reference is none.
const ENTITY_LIMIT: usize = 32;

/// Elements whose content is no text.
const UNREAD: [&str; 4] = ["script", "style", "template", "title"];

/// Elements that do not part words.
const INLINE: [&str; 22] = [
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "em", "font", "i", "kbd", "mark", "q", "s",
    "small", "span", "strong", "sub", "sup", "u",
];

/// A text with its character references decoded, such as `&amp;` and `&#228;`.
#[must_use]
pub fn character_references(text: &str) -> Cow<'_, str> {
    let Some(mut at) = memchr::memchr(b'&', text.as_bytes()) else {
        return Cow::Borrowed(text);
    };
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    loop {
        out.push_str(&rest[..at]);
        rest = match reference(&rest[at..]) {
            Some((decoded, behind)) => {
                out.push_str(&decoded);
                behind
            }
            None => {
                out.push('&');
                &rest[at + 1..]
            }
        };
        match memchr::memchr(b'&', rest.as_bytes()) {
            Some(next) => at = next,
            None => {
                out.push_str(rest);
                return Cow::Owned(out);
            }
        }
    }
}

/// The text between the tags: character references decoded, white space collapsed to single spaces, elements other
/// than inline ones parted by a space. Linear time.
pub(crate) fn text(html: &str) -> String {
    let mut out = Text { text: String::with_capacity(html.len() / 2), space: false };
    let mut rest = html;
    while let Some(at) = memchr::memchr(b'<', rest.as_bytes()) {
        let (before, markup) = rest.split_at(at);
        out.put(before);
        rest = match Markup::read(markup) {
            Markup::Comment(behind) => behind,
            Markup::Literal => {
                out.put("<");
                &markup[1..]
            }
            Markup::Tag { name, closing, behind } => {
                let is = |known: &&str| name.eq_ignore_ascii_case(known);
                out.space |= !INLINE.iter().any(is);
                match UNREAD.iter().find(|known| is(known)) {
                    Some(known) if !closing => behind_closing_tag(behind, known),
                    _ => behind,
                }
            }
        };
    }
    out.put(rest);
    out.text
}

enum Markup<'h> {
    Comment(&'h str),
    /// A stray `<`.
    Literal,
    Tag {
        name: &'h str,
        closing: bool,
        behind: &'h str,
    },
}

impl<'h> Markup<'h> {
    /// Reads what begins with `<`. Markup without an end takes all.
    fn read(text: &'h str) -> Self {
        let inside = &text[1..];
        if let Some(comment) = inside.strip_prefix("!--") {
            let end = memchr::memmem::find(comment.as_bytes(), b"-->").map_or(comment.len(), |at| at + 3);
            return Self::Comment(&comment[end..]);
        }
        let (closing, named) = inside.strip_prefix('/').map_or((false, inside), |named| (true, named));
        let len = named.bytes().take_while(u8::is_ascii_alphanumeric).count();
        let name = &named[..len];
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return match inside.as_bytes().first() {
                Some(b'!' | b'?' | b'/') => Self::Comment(behind_bracket(inside)),
                _ => Self::Literal,
            };
        }
        Self::Tag { name, closing, behind: behind_bracket(&named[len..]) }
    }
}

/// What is behind the next `>` outside quotes.
fn behind_bracket(text: &str) -> &str {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(found) = memchr::memchr3(b'>', b'"', b'\'', &bytes[at..]) {
        let stop = at + found;
        if bytes[stop] == b'>' {
            return &text[stop + 1..];
        }
        match memchr::memchr(bytes[stop], &bytes[stop + 1..]) {
            Some(len) => at = stop + len + 2,
            // A quote that never ends is none.
            None => at = stop + 1,
        }
        if at == stop + 1 {
            return memchr::memchr(b'>', &bytes[at..]).map_or("", |len| &text[at + len + 1..]);
        }
    }
    ""
}

fn behind_closing_tag<'h>(text: &'h str, name: &str) -> &'h str {
    let bytes = text.as_bytes();
    for at in memchr::memmem::find_iter(bytes, b"</") {
        let tail = &bytes[at + 2..];
        if tail.len() >= name.len() && tail[..name.len()].eq_ignore_ascii_case(name.as_bytes()) {
            return behind_bracket(&text[at + 2..]);
        }
    }
    ""
}

/// What the character reference that the text begins with stands for, and what is behind it.
fn reference(text: &str) -> Option<(Cow<'static, str>, &str)> {
    let window = &text.as_bytes()[..text.len().min(ENTITY_LIMIT)];
    let len = window.iter().skip(1).position(|b| !b.is_ascii_alphanumeric() && *b != b'#')?;
    if len == 0 || window[len + 1] != b';' {
        return None;
    }
    let behind = &text[len + 2..];
    let usual = match &window[1..=len] {
        b"amp" => "&",
        b"lt" => "<",
        b"gt" => ">",
        b"quot" => "\"",
        b"nbsp" | b"#160" => "\u{a0}",
        b"#39" => "'",
        _ => {
            let mut decoded = String::new();
            mail_parser::decoders::html::add_html_token(&mut decoded, &window[..len + 2], false);
            return Some((Cow::Owned(decoded), behind));
        }
    };
    Some((Cow::Borrowed(usual), behind))
}

struct Text {
    text: String,
    space: bool,
}

impl Text {
    fn put(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = memchr::memchr(b'&', rest.as_bytes()) {
            self.collapse(&rest[..at]);
            rest = match reference(&rest[at..]) {
                Some((decoded, behind)) => {
                    self.collapse(&decoded);
                    behind
                }
                None => {
                    self.collapse("&");
                    &rest[at + 1..]
                }
            };
        }
        self.collapse(rest);
    }

    fn collapse(&mut self, text: &str) {
        for (at, word) in text.split(char::is_whitespace).enumerate() {
            self.space |= at > 0;
            if word.is_empty() {
                continue;
            }
            if std::mem::take(&mut self.space) && !self.text.is_empty() {
                self.text.push(' ');
            }
            self.text.push_str(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_decoded_and_stray_ampersands_stay() {
        assert_eq!(character_references("a?b=1&amp;c=&#228;&x&;&"), "a?b=1&c=ä&x&;&");
        assert!(matches!(character_references("plain"), Cow::Borrowed("plain")));
        // The usual ones are what the table says of them.
        for usual in ["&amp;", "&lt;", "&gt;", "&quot;", "&nbsp;", "&#160;", "&#39;"] {
            let mut decoded = String::new();
            mail_parser::decoders::html::add_html_token(&mut decoded, usual.as_bytes(), false);
            assert_eq!(character_references(usual), decoded, "{usual}");
        }
    }

    #[test]
    fn tags_go_and_words_stay_apart() {
        assert_eq!(text("<p>Hel<b>lo</b></p><div>wor\n ld</div><br/>!"), "Hello wor ld !");
        assert_eq!(text("<title>t</title><STYLE a='>'>p > b {}</sTyLe ><script>if (a<b) </script>x"), "x");
        assert_eq!(text("a<!-- <p> > -->b<!DOCTYPE html>c<?php ?>d"), "abcd");
        assert_eq!(text("<a href=\"x>y\" title='<'>link</a>"), "link");
    }

    #[test]
    fn references_are_decoded() {
        assert_eq!(text("a&amp;b&nbsp;&#228;&#xE4;&eacute; &unknown; & &; &lt;x&gt;"), "a&b ääé &unknown; & &; <x>");
        assert_eq!(text("&#99999999999;&#xD800;"), "&#99999999999;\u{fffd}");
    }

    #[test]
    fn broken_html_is_read_as_far_as_it_goes() {
        assert_eq!(text("1 < 2 <3 a <b"), "1 < 2 <3 a");
        assert_eq!(text("a<script>b"), "a");
        assert_eq!(text("a<p x=\"open>b"), "a b");
        assert_eq!(text("a<!-- b"), "a");
        assert_eq!(text("</>x</"), "x");
        assert_eq!(text("ü<ü>ü"), "ü<ü>ü");
    }

    #[test]
    fn hostile_html_takes_linear_time() {
        for piece in ["<", "<a", "<a \"", "<!--", "&", "<script>", "</", "<a '>", "&a", "<style></"] {
            let length = text(&piece.repeat(100_000)).len();
            assert!(length <= piece.len() * 100_000, "{piece}");
        }
    }
}
