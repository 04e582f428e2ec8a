//! One part with the text below it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthorn_mime::{Encoding, Part, charset_text};

/// What is written.
pub(super) struct Below<'b> {
    /// For text without markup.
    pub(super) text: &'b str,
    /// For HTML; empty: made of the text.
    pub(super) html: &'b str,
}

/// A part that is longer.
pub(super) struct Longer {
    /// Fields of its header that say something else now: names and values.
    pub(super) header: Option<Vec<(&'static str, String)>>,
    /// Its body, encoded.
    pub(super) octets: Vec<u8>,
}

/// How a text is sent.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Sent {
    AsItIs,
    Quoted,
    Base64,
}

/// The part with the text below; the same octets where it bears it already. `None` where it cannot be taken apart.
pub(super) fn longer(part: Part<'_>, raw: &[u8], below: &Below<'_>) -> Option<Longer> {
    let encoded = raw.get(part.body_range())?;
    let sent = match part.encoding() {
        Encoding::SevenBit | Encoding::EightBit => Sent::AsItIs,
        Encoding::QuotedPrintable => Sent::Quoted,
        Encoding::Base64 => Sent::Base64,
        _ => return None,
    };
    let is_html = part.media_subtype() == "html";
    let label = part.parameter("charset");
    let content = part.decoded(raw)?;
    let text = charset_text(label, &content);
    let addition = if is_html { below.as_html() } else { below.text.to_owned() };
    if squeezed(&text).contains(&squeezed(&addition)) {
        return Some(Longer { header: None, octets: encoded.to_vec() });
    }
    let charset = label.and_then(encoding_rs::Encoding::for_label_no_replacement);
    let is_ascii = |label: &[u8]| label.eq_ignore_ascii_case(b"us-ascii") || label.eq_ignore_ascii_case(b"ascii");
    // Where the addition fits what is there, that stays octet by octet.
    let kept = match charset {
        _ if label.is_none_or(|label| is_ascii(label.trim_ascii())) => {
            (addition.is_ascii()).then(|| (content.to_vec(), addition.clone().into_bytes()))
        }
        Some(charset) if charset.is_ascii_compatible() => {
            let (octets, _, lacks) = charset.encode(&addition);
            (!lacks).then(|| (content.to_vec(), octets.into_owned()))
        }
        _ => None,
    };
    let changes_charset = kept.is_none();
    let (octets, addition) = kept.unwrap_or_else(|| (text.clone().into_owned().into_bytes(), addition.into_bytes()));
    let whole = if is_html { in_html(&octets, &addition) } else { after(&octets, &addition) };
    let fits = whole.is_ascii() || part.encoding() == Encoding::EightBit;
    let becomes = if sent == Sent::AsItIs && !(fits && is_short(&whole)) { Sent::Quoted } else { sent };
    let octets = match becomes {
        Sent::AsItIs => whole,
        Sent::Quoted => quoted(&whole),
        Sent::Base64 => lines_of(&STANDARD.encode(&whole)),
    };
    let octets = if ends_a_part(part, raw) { without_last_end(octets) } else { octets };
    let mut header = Vec::new();
    if changes_charset {
        header.push(("Content-Type", content_type(part)));
    }
    if becomes != sent {
        header.push(("Content-Transfer-Encoding", "quoted-printable".to_owned()));
    }
    Some(Longer { header: (!header.is_empty()).then_some(header), octets })
}

impl Below<'_> {
    fn as_html(&self) -> String {
        let html = match self.html.trim() {
            "" => format!("<p>{}</p>", escaped(self.text.trim()).replace('\n', "<br>\r\n")),
            html => html.to_owned(),
        };
        // Every charset has these.
        let narrow = |c: char| if c.is_ascii() { c.to_string() } else { format!("&#x{:X};", u32::from(c)) };
        html.chars().map(narrow).collect()
    }
}

/// A part's header with some fields that say something else.
pub(super) fn header(old: &[u8], fields: &[(&'static str, String)]) -> Vec<u8> {
    let mut new = Vec::with_capacity(old.len() + 128);
    for field in posthorn_mime::fields(old).filter(|field| !fields.iter().any(|(name, _)| field.is(name))) {
        new.extend_from_slice(field.raw);
    }
    for (name, value) in fields {
        new.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    new.extend_from_slice(b"\r\n");
    new
}

/// The part's type with another charset, and with everything else that it said.
fn content_type(part: Part<'_>) -> String {
    let mut text = format!("text/{}; charset=utf-8", part.media_subtype());
    for (name, value) in part.parameters().filter(|(name, _)| !name.eq_ignore_ascii_case(b"charset")) {
        let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        let token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '\'' | '%' | '*');
        match value.chars().all(token) && !value.is_empty() {
            true => text.push_str(&format!("; {name}={value}")),
            false => {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"");
                text.push_str(&format!("; {name}=\"{value}\""));
            }
        }
    }
    text
}

/// In a multipart the line end before the boundary is the boundary's.
fn ends_a_part(part: Part<'_>, raw: &[u8]) -> bool {
    part.body_range().end < raw.len()
}

fn without_last_end(mut octets: Vec<u8>) -> Vec<u8> {
    if octets.ends_with(b"\r\n") {
        octets.truncate(octets.len() - 2);
    }
    octets
}

fn after(octets: &[u8], addition: &[u8]) -> Vec<u8> {
    let mut whole = octets.to_vec();
    if !whole.is_empty() && !whole.ends_with(b"\n") {
        whole.extend_from_slice(b"\r\n");
    }
    whole.extend_from_slice(b"\r\n");
    whole.extend(crlf(addition));
    whole
}

/// Before the end of what is shown; where that is not marked, at the very end.
fn in_html(octets: &[u8], addition: &[u8]) -> Vec<u8> {
    let folded = octets.to_ascii_lowercase();
    let last = |tag: &[u8]| memchr::memmem::rfind(&folded, tag);
    let at = last(b"</body").or_else(|| last(b"</html")).unwrap_or(octets.len());
    let mut whole = octets[..at].to_vec();
    if at == octets.len() && !whole.ends_with(b"\n") {
        whole.extend_from_slice(b"\r\n");
    }
    whole.extend(crlf(addition));
    whole.extend_from_slice(&octets[at..]);
    whole
}

/// With CRLF line ends, and one at the end.
fn crlf(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 16);
    for line in text.trim_ascii_end().split(|octet| *octet == b'\n') {
        out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Whether no line is longer than mail may have (RFC 5322 §2.1.1).
fn is_short(text: &[u8]) -> bool {
    text.split(|octet| *octet == b'\n').all(|line| line.len() <= 999)
}

/// White space does not matter to whether a text is there.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// RFC 2045 §6.7; line ends stay.
fn quoted(text: &[u8]) -> Vec<u8> {
    const WIDE: usize = 75;
    let mut out = Vec::with_capacity(text.len() + text.len() / 4);
    let mut lines = text.split(|octet| *octet == b'\n').peekable();
    while let Some(line) = lines.next() {
        let is_last = lines.peek().is_none();
        let line = if is_last { line } else { line.strip_suffix(b"\r").unwrap_or(line) };
        let mut width = 0;
        for (at, octet) in line.iter().enumerate() {
            let at_end = at + 1 == line.len();
            let plain = matches!(octet, b'!'..=b'<' | b'>'..=b'~') || (matches!(octet, b' ' | b'\t') && !at_end);
            let size = if plain { 1 } else { 3 };
            if width + size > WIDE {
                out.extend_from_slice(b"=\r\n");
                width = 0;
            }
            match plain {
                true => out.push(*octet),
                false => out.extend_from_slice(format!("={octet:02X}").as_bytes()),
            }
            width += size;
        }
        if !is_last {
            out.extend_from_slice(b"\r\n");
        }
    }
    out
}

/// In lines of 76 (RFC 2045 §6.8).
fn lines_of(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 38 + 2);
    for line in text.as_bytes().chunks(76) {
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_reads_the_same() {
        let long = "ü".repeat(200);
        for text in ["a=b \r\nc\td\t\r\n", "no end", "", &long, "a\r\n\r\n.b\r\n"] {
            let quoted = quoted(text.as_bytes());
            assert!(quoted.split(|octet| *octet == b'\n').all(|line| line.len() <= 77), "{text}");
            let mut whole = b"Content-Transfer-Encoding: quoted-printable\r\n\r\n".to_vec();
            whole.extend_from_slice(&quoted);
            let structure = posthorn_mime::Structure::of(&whole);
            let back = structure.root().decoded(&whole).expect("decodes");
            assert_eq!(String::from_utf8_lossy(&back), text);
        }
    }
}
