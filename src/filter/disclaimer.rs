//! Texts below what our own people send, written before it is signed.
//!
//! The text goes below the part that people read: the only one, the first of a mixed message, the root of a related one,
//! and every alternative. A part keeps its transfer encoding where the longer text fits it, and its charset unless that
//! lacks a character. What is signed or encrypted is never touched, and so is what cannot be taken apart.

mod part;

use bytes::Bytes;
use posthorn_config::FilterDisclaimer;
use posthorn_contents::Contents;
use posthorn_mail::copies::Change;
use posthorn_mime::{Part, Structure};
use posthorn_model::Address;

use self::part::{Below, Longer, longer};
use crate::Case;

/// Alternatives and nestings that are looked through for text.
const DEEPEST: usize = 10;

/// What changes where the sender's domain has such a text.
pub(crate) fn below(case: &Case<'_>, contents: &Contents, rows: &[FilterDisclaimer], others: &[Change]) -> Vec<Change> {
    let Some(sender) = &case.envelope.sender else { return Vec::new() };
    let domain = sender.domain().as_str();
    let Some(row) = rows.iter().find(|row| row.domains.iter().any(|range| range.contains(domain))) else {
        return Vec::new();
    };
    let is_inside = |address: &str| Address::parse(address).is_ok_and(|address| address.domain() == sender.domain());
    if !row.inside && case.envelope.recipients.iter().all(|recipient| is_inside(&recipient.address)) {
        return Vec::new();
    }
    if others.iter().any(|change| !matches!(change, Change::AddField { .. } | Change::InsertField { .. })) {
        tracing::warn!(%sender, "a filter of somebody else's has changed the message: nothing is written below it");
        return Vec::new();
    }
    written(case.octets, contents.structure(), &Below { text: &row.text, html: &row.html })
}

/// The message with the text, as changes.
fn written(raw: &Bytes, structure: &Structure, below: &Below<'_>) -> Vec<Change> {
    if structure.parts().any(|part| is_sealed(part, raw)) {
        return Vec::new();
    }
    let mut leaves = Vec::new();
    readable(structure.root(), 0, &mut leaves);
    let mut longer_ones = Vec::with_capacity(leaves.len());
    for leaf in &leaves {
        // All alternatives say the same, or none does.
        let Some(longer) = longer(*leaf, raw, below) else { return Vec::new() };
        longer_ones.push((*leaf, longer));
    }
    if longer_ones.is_empty() {
        return Vec::new();
    }
    let start = structure.root().body_range().start;
    let (mut changes, mut body, mut at) = (Vec::new(), Vec::with_capacity(raw.len() + 4096), start);
    for (leaf, Longer { header, octets }) in longer_ones {
        let (head, text) = (leaf.header_range(), leaf.body_range());
        if head.start >= start {
            body.extend_from_slice(&raw[at..head.start]);
            match header {
                Some(fields) => body.extend(part::header(&raw[head], &fields)),
                None => body.extend_from_slice(&raw[head]),
            }
        } else if let Some(fields) = header {
            // Without it the fields that say how the text is written mean nothing (RFC 2045 §4).
            if !posthorn_mime::has_header(&raw[..start], "MIME-Version") {
                changes.push(Change::AddField { name: "MIME-Version".to_owned(), value: "1.0".to_owned() });
            }
            let change = |(name, value): (&str, String)| Change::ChangeField { nth: 1, name: name.to_owned(), value };
            changes.extend(fields.into_iter().map(change));
        }
        body.extend(octets);
        at = text.end;
    }
    body.extend_from_slice(&raw[at..]);
    changes.push(Change::Body(Bytes::from(body)));
    changes
}

/// The parts that people read, in their order.
fn readable<'s>(part: Part<'s>, depth: usize, leaves: &mut Vec<Part<'s>>) {
    if depth > DEEPEST {
        return;
    }
    if part.is_multipart() {
        match part.media_subtype() {
            "alternative" => part.children().for_each(|child| readable(child, depth + 1, leaves)),
            "mixed" | "related" => {
                if let Some(first) = part.children().next() {
                    readable(first, depth + 1, leaves);
                }
            }
            // Reports and the like are for programs.
            _ => {}
        }
        return;
    }
    let is_text = part.media_type() == "text" && matches!(part.media_subtype(), "plain" | "html");
    let is_attached = part.disposition_name().is_some_and(|name| name.eq_ignore_ascii_case(b"attachment"));
    if part.is_leaf() && is_text && !is_attached {
        leaves.push(part);
    }
}

/// Whether a part is signed or encrypted, or belongs to what is: octets of it must stay.
fn is_sealed(part: Part<'_>, raw: &[u8]) -> bool {
    let subtype = part.media_subtype();
    match part.media_type() {
        "multipart" => matches!(subtype, "signed" | "encrypted"),
        "application" => matches!(
            subtype,
            "pkcs7-mime" | "x-pkcs7-mime" | "pkcs7-signature" | "x-pkcs7-signature" | "pgp-encrypted" | "pgp-signature"
        ),
        "text" => part.decoded(raw).is_some_and(|text| {
            let begin = b"-----BEGIN PGP ";
            text.starts_with(begin) || memchr::memmem::find(&text, b"\n-----BEGIN PGP ").is_some()
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use posthorn_mail::copies::Edit;

    use super::*;

    fn with(message: &str, text: &str, html: &str) -> String {
        let raw = Bytes::from(message.replace('\n', "\r\n"));
        let changes = written(&raw, &Structure::of(&raw), &Below { text, html });
        let octets = Edit { changes, ..Edit::default() }.apply(&raw);
        String::from_utf8(octets).expect("text").replace("\r\n", "\n")
    }

    #[test]
    fn a_plain_message_is_longer() {
        let got = with("Subject: x\n\nHello\n", "Example Ltd", "");
        assert_eq!(got, "Subject: x\n\nHello\n\nExample Ltd\n");
        // Whoever has it already has it once.
        assert_eq!(with(&got, "Example Ltd", ""), got);
        // What the last line lacks is no reason to run into it.
        assert_eq!(with("Subject: x\n\nHello", "A\nB", ""), "Subject: x\n\nHello\n\nA\nB\n");
    }

    #[test]
    fn what_becomes_mime_says_so() {
        let got = with("Subject: x\n\nHello\n", "Größe", "");
        let fields =
            "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n";
        assert_eq!(got, format!("Subject: x\n{fields}\nHello\n\nGr=C3=B6=C3=9Fe\n"));
        assert_eq!(with(&got, "Größe", ""), got, "once");
        let said = with("Subject: x\nmime-version: 1.0\n\nHello\n", "Größe", "");
        assert_eq!(said.to_ascii_lowercase().matches("mime-version").count(), 1, "{said}");
    }

    #[test]
    fn both_alternatives_have_it_and_attachments_do_not() {
        let got = with(
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n--m\n\
             Content-Type: multipart/alternative; boundary=a\n\n--a\n\nHello\n--a\nContent-Type: text/html\n\n\
             <html><body><p>Hello</p></body></html>\n--a--\n--m\nContent-Type: text/plain\n\nAttached\n--m--\n",
            "Größe & Co",
            "",
        );
        let expected = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n--m\n\
             Content-Type: multipart/alternative; boundary=a\n\n--a\n\
             Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n\
             Hello\n\nGr=C3=B6=C3=9Fe & Co\n--a\nContent-Type: text/html\n\n\
             <html><body><p>Hello</p><p>Gr&#xF6;&#xDF;e &amp; Co</p>\n</body></html>\n--a--\n--m\n\
             Content-Type: text/plain\n\nAttached\n--m--\n";
        assert_eq!(got, expected);
    }

    #[test]
    fn encodings_and_charsets_stay_where_they_can() {
        let got = with(
            "MIME-Version: 1.0\nContent-Type: text/plain; charset=iso-8859-1; format=flowed\n\
             Content-Transfer-Encoding: quoted-printable\n\ncaf=E9=20\n",
            "Größe",
            "",
        );
        assert!(got.contains("charset=iso-8859-1; format=flowed\n"), "{got}");
        assert!(got.ends_with("\n\ncaf=E9=20\n\nGr=F6=DFe\n"), "{got}");
        let got = with(
            "MIME-Version: 1.0\nContent-Type: text/plain; charset=iso-8859-1; format=flowed\n\
             Content-Transfer-Encoding: quoted-printable\n\ncaf=E9\n",
            "Łódź",
            "",
        );
        assert!(got.contains("Content-Type: text/plain; charset=utf-8; format=flowed\n"), "{got}");
        assert!(got.ends_with("\n\ncaf=C3=A9\n\n=C5=81=C3=B3d=C5=BA\n"), "{got}");
        let got = with(
            "MIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: base64\n\n\
             PHA+SGVsbG88L3A+Cg==\n",
            "T",
            "<hr>",
        );
        let (_, body) = got.split_once("\n\n").expect("a body");
        let text =
            posthorn_mime::Structure::of(got.as_bytes()).root().decoded(got.as_bytes()).expect("base64").into_owned();
        assert_eq!(String::from_utf8_lossy(&text), "<p>Hello</p>\n<hr>\r\n", "{body}");
    }

    #[test]
    fn what_is_signed_or_encrypted_stays_as_it_is() {
        let signed = "MIME-Version: 1.0\nContent-Type: multipart/signed; protocol=\"application/pgp-signature\"; boundary=s\n\n\
             --s\n\nHello\n--s\nContent-Type: application/pgp-signature\n\nx\n--s--\n";
        let forwarded = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n--m\n\nSee\n--m\n\
             Content-Type: application/pkcs7-mime\n\nAAAA\n--m--\n";
        for message in [
            signed,
            forwarded,
            "MIME-Version: 1.0\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data\n\nAAAA\n",
            "MIME-Version: 1.0\nContent-Type: multipart/encrypted; boundary=s\n\n--s\nContent-Type: application/pgp-encrypted\n\n\
             Version: 1\n--s--\n",
            "Subject: x\n\n-----BEGIN PGP SIGNED MESSAGE-----\n\nHello\n",
            "Subject: x\n\nSee:\n-----BEGIN PGP MESSAGE-----\n\nabc\n",
            "MIME-Version: 1.0\nContent-Type: image/png\n\nx\n",
            "MIME-Version: 1.0\nContent-Type: multipart/report; boundary=r\n\n--r\n\nHello\n--r--\n",
        ] {
            assert_eq!(with(message, "Example Ltd", ""), message);
        }
    }
}
