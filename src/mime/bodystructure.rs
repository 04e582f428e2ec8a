//! IMAP's BODY and BODYSTRUCTURE (RFC 9051 §7.5.2).

use crate::wire::{put_nstring, put_number, put_string};
use crate::{Part, Structure, envelope};

/// Renders the structure, with extension data where `extensible`.
pub(crate) fn render(structure: &Structure, raw: &[u8], extensible: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(structure.nodes.len() * 96 + structure.attributes.len());
    put_part(&mut out, structure.root(), raw, extensible);
    out
}

/// Depth is bounded by [`MAX_DEPTH`](crate::MAX_DEPTH).
fn put_part(out: &mut Vec<u8>, part: Part<'_>, raw: &[u8], extensible: bool) {
    out.push(b'(');
    if part.is_multipart() {
        for child in part.children() {
            put_part(out, child, raw, extensible);
        }
        out.push(b' ');
        put_string(out, part.media_subtype().as_bytes());
        if extensible {
            out.push(b' ');
            put_parameters(out, part.parameters());
        }
    } else {
        put_single(out, part, raw, extensible);
        if extensible {
            out.push(b' ');
            put_nstring(out, part.md5());
        }
    }
    if extensible {
        put_extension(out, part);
    }
    out.push(b')');
}

/// The fields of a part that is no multipart, up to its lines.
fn put_single(out: &mut Vec<u8>, part: Part<'_>, raw: &[u8], extensible: bool) {
    let inner = part.message();
    let (media, subtype) = match (part.media_type(), part.media_subtype()) {
        // Clients read more fields behind these types than a part has that is not looked into.
        ("multipart", _) | ("message", "rfc822" | "global") if inner.is_none() => ("application", "octet-stream"),
        shown => shown,
    };
    put_string(out, media.as_bytes());
    out.push(b' ');
    put_string(out, subtype.as_bytes());
    out.push(b' ');
    if (media, subtype) == ("text", "plain") && part.parameters().next().is_none() {
        // What says nothing is ASCII (RFC 2045 §5.2).
        out.extend_from_slice(b"(\"charset\" \"us-ascii\")");
    } else {
        put_parameters(out, part.parameters());
    }
    out.push(b' ');
    put_nstring(out, part.id());
    out.push(b' ');
    put_nstring(out, part.description());
    out.push(b' ');
    put_string(out, part.encoding_name());
    out.push(b' ');
    put_number(out, part.body_range().len());
    if let Some(inner) = inner {
        out.push(b' ');
        out.extend_from_slice(&envelope(raw.get(inner.header_range()).unwrap_or_default()));
        out.push(b' ');
        put_part(out, inner, raw, extensible);
    }
    if media == "text" || inner.is_some() {
        out.push(b' ');
        put_number(out, part.lines().unwrap_or(0));
    }
}

/// Disposition, languages and location.
fn put_extension(out: &mut Vec<u8>, part: Part<'_>) {
    out.push(b' ');
    match part.disposition_name() {
        Some(name) => {
            out.push(b'(');
            put_string(out, name);
            out.push(b' ');
            put_parameters(out, part.disposition_parameters());
            out.push(b')');
        }
        None => out.extend_from_slice(b"NIL"),
    }
    out.push(b' ');
    let mut before = b'(';
    for tag in part.languages() {
        out.push(before);
        put_string(out, tag);
        before = b' ';
    }
    out.extend_from_slice(if before == b'(' { b"NIL" } else { b")" });
    out.push(b' ');
    put_nstring(out, part.location());
}

fn put_parameters<'p>(out: &mut Vec<u8>, parameters: impl Iterator<Item = (&'p [u8], &'p [u8])>) {
    let mut before = b'(';
    for (name, value) in parameters {
        out.push(before);
        put_string(out, name);
        out.push(b' ');
        put_string(out, value);
        before = b' ';
    }
    out.extend_from_slice(if before == b'(' { b"NIL" } else { b")" });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(raw: &[u8], extensible: bool) -> String {
        String::from_utf8(render(&Structure::of(raw), raw, extensible)).expect("ASCII")
    }

    #[test]
    fn a_text_is_rendered_as_in_the_standard() {
        let raw = b"Content-Type: TEXT/PLAIN; CHARSET=UTF-8\r\nContent-Transfer-Encoding: 8BIT\r\n\r\na\r\nb\r\n";
        assert_eq!(rendered(raw, false), r#"("text" "plain" ("charset" "UTF-8") NIL NIL "8bit" 6 2)"#);
        assert_eq!(rendered(raw, true), r#"("text" "plain" ("charset" "UTF-8") NIL NIL "8bit" 6 2 NIL NIL NIL NIL)"#);
        assert_eq!(rendered(b"", false), r#"("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0)"#);
    }

    #[test]
    fn a_multipart_has_all_extension_data() {
        let raw = b"Content-Type: multipart/mixed; boundary=\"b\"\r\nContent-Language: en, de\r\n\r\n--b\r\n\r\nx\r\n--b\r\n\
            Content-Type: image/png; name=x.png\r\nContent-Transfer-Encoding: base64\r\nContent-ID: <1@x>\r\n\
            Content-Description: a \"d\"\r\nContent-MD5: abc=\r\nContent-Disposition: ATTACHMENT;\r\n filename=x.png\r\n\
            Content-Location: http://x\r\n\r\nAAAA\r\n--b--\r\n";
        assert_eq!(
            rendered(raw, true),
            concat!(
                r#"(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0 NIL NIL NIL NIL)"#,
                r#"("image" "png" ("name" "x.png") "<1@x>" "a \"d\"" "base64" 4 "abc=" "#,
                r#"("attachment" ("filename" "x.png")) NIL "http://x") "#,
                r#""mixed" ("boundary" "b") NIL ("en" "de") NIL)"#
            )
        );
        assert_eq!(
            rendered(raw, false),
            concat!(
                r#"(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0)"#,
                r#"("image" "png" ("name" "x.png") "<1@x>" "a \"d\"" "base64" 4) "mixed")"#
            )
        );
    }

    #[test]
    fn a_message_inside_has_its_envelope_and_body() {
        let raw = b"Content-Type: message/rfc822\r\n\r\nSubject: in\r\nFrom: a@b\r\n\r\nx\r\n";
        assert_eq!(
            rendered(raw, false),
            concat!(
                r#"("message" "rfc822" NIL NIL NIL "7bit" 29 (NIL "in" ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) "#,
                r#"((NIL NIL "a" "b")) NIL NIL NIL NIL NIL) "#,
                r#"("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 1) 4)"#
            )
        );
    }

    #[test]
    fn what_is_not_looked_into_is_opaque() {
        let raw = b"Content-Type: message/global\r\nContent-Transfer-Encoding: base64\r\n\r\nQTogYg==\r\n";
        assert_eq!(rendered(raw, false), r#"("application" "octet-stream" NIL NIL NIL "base64" 10)"#);
    }
}
