//! Links in texts.

/// Where a link was found.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum LinkOrigin {
    /// Written out in text.
    Text,
    /// Something to click on in HTML.
    Anchor,
    /// Something that HTML loads: a picture, a style sheet, a frame.
    Resource,
    /// Where a form of HTML sends what is filled in.
    Form,
}

/// An address that a text leads to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Link {
    /// The place of its node in [`Contents::nodes`](crate::Contents::nodes).
    pub node: usize,
    /// The address as written, character references decoded, white space and control characters removed. `http://` is
    /// put in front of what only begins with `www.`.
    pub url: String,
    /// What HTML shows in its place, where that is text.
    pub shown: Option<String>,
    /// Where it was found.
    pub origin: LinkOrigin,
}

/// A longer address is cut.
pub(crate) const URL_LIMIT: usize = 2048;

/// Schemes that lead somewhere when they are written in text.
const SCHEMES: [&str; 6] = ["https", "http", "ftps", "ftp", "mailto", "tel"];

/// Visits the addresses that are written out in a text, until the visitor says false. Linear time.
pub fn links_in_text<'t>(text: &'t str, mut visit: impl FnMut(&'t str) -> bool) {
    let bytes = text.as_bytes();
    let mut from = 0;
    // Every address has a colon or begins with "www.".
    while let Some(at) = next_mark(bytes, from) {
        from = at + 1;
        let start = match bytes[at] {
            b':' => scheme_start(text, at),
            _ => www_start(bytes, at),
        };
        if let Some(start) = start {
            let end = address_end(text, at.max(start));
            if end > at + 3 {
                if !visit(&text[start..end]) {
                    return;
                }
                from = end;
            }
        }
    }
}

/// The next colon, or the next dot behind `www`.
fn next_mark(bytes: &[u8], from: usize) -> Option<usize> {
    memchr::memchr2_iter(b':', b'.', bytes.get(from..)?)
        .map(|at| from + at)
        .find(|&at| bytes[at] == b':' || (at >= 3 && bytes[at - 3..at].eq_ignore_ascii_case(b"www")))
}

/// Where the address with the colon at this place begins.
fn scheme_start(text: &str, colon: usize) -> Option<usize> {
    let before = &text.as_bytes()[..colon];
    let scheme = SCHEMES.iter().find(|scheme| {
        let start = before.len().checked_sub(scheme.len());
        start.is_some_and(|start| before[start..].eq_ignore_ascii_case(scheme.as_bytes()) && boundary(before, start))
    })?;
    let slashes = text.as_bytes()[colon + 1..].starts_with(b"//");
    let bare = matches!(*scheme, "mailto" | "tel");
    (slashes != bare).then_some(colon - scheme.len())
}

fn www_start(bytes: &[u8], dot: usize) -> Option<usize> {
    let start = dot - 3;
    let letter = bytes.get(dot + 1).is_some_and(|b| b.is_ascii_alphanumeric() || *b >= 0x80);
    (letter && boundary(bytes, start) && !bytes[..start].ends_with(b"/")).then_some(start)
}

/// Whether a word can begin at this place.
fn boundary(bytes: &[u8], start: usize) -> bool {
    start.checked_sub(1).is_none_or(|before| !bytes[before].is_ascii_alphanumeric() && bytes[before] != b'@')
}

/// Where the address ends: before white space and marks that enclose it, without punctuation that ends a sentence.
fn address_end(text: &str, from: usize) -> usize {
    let stop = |c: char| {
        c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '"' | '`' | '{' | '}' | '|' | '\\' | '^')
    };
    let mut window = text.len().min(from + URL_LIMIT);
    while !text.is_char_boundary(window) {
        window -= 1;
    }
    let mut end = text[from..window].find(stop).map_or(window, |len| from + len);
    // A closing bracket belongs to the address when it was opened in it.
    let mut address = &text[from..end];
    let mut open = i64::try_from(address.matches('(').count()).unwrap_or(0)
        - i64::try_from(address.matches(')').count()).unwrap_or(0);
    while let Some(last) = address.chars().next_back() {
        match last {
            ')' if open < 0 => open += 1,
            '.' | ',' | ';' | ':' | '!' | '?' | '\'' | ']' | '*' | '_' => {}
            _ => break,
        }
        end -= last.len_utf8();
        address = &text[from..end];
    }
    end
}

/// An address of an attribute as browsers take it: without white space around it and control characters in it.
pub(crate) fn cleaned(written: &str) -> String {
    // C1 controls begin with an octet above 127.
    let is_plain = |octet: u8| (b' '..0x7f).contains(&octet);
    if written.len() <= URL_LIMIT && written.bytes().all(is_plain) {
        return written.trim_matches(' ').to_owned();
    }
    let mut url: String = written.chars().filter(|c| !c.is_control()).collect();
    super::text::cut(&mut url, URL_LIMIT);
    url.trim().to_owned()
}

/// Puts a scheme in front of what begins with `www.`.
pub(crate) fn with_scheme(written: &str) -> String {
    if written.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("www.")) {
        format!("http://{written}")
    } else {
        written.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        let mut all = Vec::new();
        links_in_text(text, |url| {
            all.push(url);
            true
        });
        all
    }

    #[test]
    fn addresses_are_found_without_what_encloses_them() {
        for (text, urls) in [
            ("see http://a.example/x?y=1#z.", &["http://a.example/x?y=1#z"][..]),
            ("(HTTPS://a.example/b_(c)), <http://d.example>", &["HTTPS://a.example/b_(c)", "http://d.example"]),
            ("www.a.example, xwww.b.example www.", &["www.a.example"]),
            ("http://www.a.example/http://b.example", &["http://www.a.example/http://b.example"]),
            ("mailto:a@b.example!", &["mailto:a@b.example"]),
            ("http:/x xhttp://a b:c 12:30 javascript://x http://", &[]),
            ("http://ä.example/ü \u{a0}", &["http://ä.example/ü"]),
            ("", &[]),
        ] {
            assert_eq!(found(text), urls, "{text}");
        }
    }

    #[test]
    fn the_visitor_ends_it_and_hostile_texts_take_linear_time() {
        let mut count = 0;
        links_in_text(&"http://a.example ".repeat(100), |_| {
            count += 1;
            count < 3
        });
        assert_eq!(count, 3);
        for piece in ["http://", ":", "www.", "http://(", ".", "http://)))))"] {
            let all = found(&piece.repeat(200_000)).len();
            assert!(all <= 200_000, "{piece}");
        }
        assert!(found(&format!("http://{}", "ä".repeat(5000)))[0].len() <= URL_LIMIT + 8);
    }
}
