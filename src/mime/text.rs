//! The text that people read in a message.

use std::borrow::Cow;
use std::ops::ControlFlow;

use crate::{Disposition, Part, Structure, charset, fields, html, transfer};

/// Characters of a preview (RFC 8970 §3.1).
const PREVIEW_CHARACTERS: usize = 256;
/// Octets of an encoded part that a preview looks at.
const PREVIEW_OCTETS: usize = 16 * 1024;
/// Parts that a preview tries before it gives up.
const PREVIEW_PARTS: usize = 8;
/// Octets of an encoded part that search looks at.
const SEARCH_OCTETS: usize = 8 * 1024 * 1024;

/// Up to 256 characters of the message's text on one line (RFC 8970 §3.1); empty when there is none. Plain text is
/// preferred to HTML, and lines that quote are left out where other lines are there.
#[must_use]
pub fn preview(structure: &Structure, raw: &[u8]) -> String {
    let shown = |part: &Part<'_>| part.disposition() != Some(Disposition::Attachment);
    for subtype in ["plain", "html"] {
        let candidates = structure.parts().filter(|part| part.is_text() && part.media_subtype() == subtype);
        for part in candidates.filter(shown).take(PREVIEW_PARTS) {
            let text = part_text(part, raw, PREVIEW_OCTETS).map(|text| one_line(&text)).unwrap_or_default();
            if !text.is_empty() {
                return text;
            }
        }
    }
    String::new()
}

/// Visits the decoded text of every text part (HTML without its tags) and the decoded header values of messages
/// inside the message, until the visitor breaks. Of every part at most 8 MiB are looked at.
pub fn body_text(structure: &Structure, raw: &[u8], mut visit: impl FnMut(&str) -> ControlFlow<()>) -> ControlFlow<()> {
    for part in structure.parts() {
        if part.is_text()
            && let Some(text) = part_text(part, raw, SEARCH_OCTETS)
        {
            visit(&text)?;
        }
        if let Some(inner) = part.message() {
            for field in fields(raw.get(inner.header_range()).unwrap_or_default()) {
                visit(&field.text())?;
            }
        }
    }
    ControlFlow::Continue(())
}

/// The text of a text part from at most so many encoded octets; `None` when it cannot be decoded.
fn part_text<'r>(part: Part<'_>, raw: &'r [u8], limit: usize) -> Option<Cow<'r, str>> {
    let range = part.body_range();
    let cut = range.len() > limit;
    let body = raw.get(range.start..range.start + range.len().min(limit))?;
    let named = part.parameter("charset");
    let decoded = match transfer::decode(part.encoding(), body)? {
        Cow::Borrowed(bytes) => charset::decode(named, trimmed(bytes, cut)),
        Cow::Owned(bytes) => Cow::Owned(charset::decode(named, trimmed(&bytes, cut)).into_owned()),
    };
    Some(if part.media_subtype() == "html" { Cow::Owned(html::text(&decoded)) } else { decoded })
}

/// Text that was cut must not end within a UTF-8 character: then it would not be taken for UTF-8.
fn trimmed(bytes: &[u8], cut: bool) -> &[u8] {
    match str::from_utf8(bytes) {
        Err(error) if cut && error.error_len().is_none() => &bytes[..error.valid_up_to()],
        _ => bytes,
    }
}

/// White space collapsed, quoting lines out, cut to the length of a preview.
fn one_line(text: &str) -> String {
    let own = joined(text.lines().filter(|line| !line.trim_start().starts_with('>')));
    if own.is_empty() { joined(text.lines()) } else { own }
}

fn joined<'t>(lines: impl Iterator<Item = &'t str>) -> String {
    let mut out = String::new();
    let mut left = PREVIEW_CHARACTERS;
    let blank = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '\u{200b}'..='\u{200d}' | '\u{feff}');
    for word in lines.flat_map(|line| line.split(blank)).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
            left -= 1;
        }
        for c in word.chars().take(left) {
            out.push(c);
            left -= 1;
        }
        // The last place is not for a space.
        if left <= 1 {
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn previewed(raw: &[u8]) -> String {
        preview(&Structure::of(raw), raw)
    }

    fn texts(raw: &[u8]) -> Vec<String> {
        let mut all = Vec::new();
        let end = body_text(&Structure::of(raw), raw, |text| {
            all.push(text.to_owned());
            ControlFlow::Continue(())
        });
        assert_eq!(end, ControlFlow::Continue(()));
        all
    }

    const ALTERNATIVE: &[u8] = b"Content-Type: multipart/alternative; boundary=a\r\n\r\n--a\r\n\
        Content-Type: text/html; charset=iso-8859-1\r\n\r\n<p>sch\xf6n &amp; gut\r\n--a\r\n\
        Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
        > quoted\r\nSch=C3=B6n\r\n\r\n  und=\r\n gut\r\n--a--\r\n";

    #[test]
    fn plain_text_is_preferred_and_quotes_are_left_out() {
        assert_eq!(previewed(ALTERNATIVE), "Schön und gut");
        assert_eq!(previewed(b"\r\n> only\r\n>quoted"), "> only >quoted");
        assert_eq!(previewed(b"Content-Type: text/html\r\n\r\n<b>x</b><p>y"), "x y");
        assert_eq!(previewed(b"Content-Type: image/png\r\n\r\nx"), "");
        assert_eq!(previewed(b"Content-Disposition: attachment\r\n\r\nx"), "");
        assert_eq!(previewed(b""), "");
    }

    #[test]
    fn previews_are_bounded_in_characters() {
        let long = previewed(format!("\r\n{}", "wört ".repeat(10_000)).as_bytes());
        assert!((255..=256).contains(&long.chars().count()), "{long}");
        assert!(!long.ends_with(' '));
        assert_eq!(previewed(format!("\r\n{}", "ä".repeat(20_000)).as_bytes()), "ä".repeat(256));
        let later = format!("\r\n{}late", " ".repeat(PREVIEW_OCTETS));
        assert_eq!(previewed(later.as_bytes()), "");
    }

    #[test]
    fn every_text_is_visited_decoded() {
        assert_eq!(texts(ALTERNATIVE), ["schön & gut", "> quoted\r\nSchön\r\n\r\n  und gut"]);
        let nested = b"Content-Type: message/rfc822\r\n\r\nSubject: =?utf-8?Q?gr=C3=BCn?=\r\n\r\nbody";
        assert_eq!(texts(nested), ["grün", "body"]);
        assert_eq!(texts(b"Content-Type: image/png\r\n\r\nx"), Vec::<String>::new());
        assert_eq!(texts(b"Content-Transfer-Encoding: x-odd\r\n\r\nx"), Vec::<String>::new());
    }

    #[test]
    fn the_visitor_can_stop() {
        let mut seen = 0;
        let end = body_text(&Structure::of(ALTERNATIVE), ALTERNATIVE, |_| {
            seen += 1;
            ControlFlow::Break(())
        });
        assert_eq!((end, seen), (ControlFlow::Break(()), 1));
    }
}
