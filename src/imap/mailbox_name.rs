//! Mailbox names between UTF-8 and modified UTF-7 (RFC 3501 §5.1.3), and the one name that has no case.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &IMAP_MUTF7,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Encodes a name in modified UTF-7.
#[must_use]
pub fn encode(name: &str) -> Cow<'_, str> {
    let plain = |c: char| (' '..='~').contains(&c) && c != '&';
    if name.chars().all(plain) {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len() * 2);
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let shifted = |c: char| !(' '..='~').contains(&c);
        let end = rest.find(|c| shifted(c) != shifted(first)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        if shifted(first) {
            let octets: Vec<u8> = run.encode_utf16().flat_map(u16::to_be_bytes).collect();
            out.push('&');
            BASE64.encode_string(octets, &mut out);
            out.push('-');
        } else {
            out.push_str(&run.replace('&', "&-"));
        }
        rest = after;
    }
    Cow::Owned(out)
}

/// Decodes modified UTF-7; `None` when the text is not in that encoding. Only the one encoding of a name that RFC 3501
/// allows is taken, so that no two spellings name one mailbox.
#[must_use]
pub fn decode(text: &[u8]) -> Option<String> {
    if !text.iter().all(|octet| (b' '..=b'~').contains(octet)) {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let (inside, after) = rest[at + 1..].split_once('-')?;
        if inside.is_empty() {
            out.push('&');
        } else {
            let octets = BASE64.decode(inside).ok()?;
            let (pairs, odd) = octets.as_chunks::<2>();
            if !odd.is_empty() {
                return None;
            }
            for c in char::decode_utf16(pairs.iter().map(|pair| u16::from_be_bytes(*pair))) {
                out.push(c.ok()?);
            }
        }
        rest = after;
    }
    out.push_str(rest);
    (encode(&out) == text).then_some(out)
}

/// Writes `INBOX` in capitals where the name, or its first level, is that in any case (RFC 9051 §5.1).
#[must_use]
pub fn fold_inbox(name: String, delimiter: char) -> String {
    match name.get(..5) {
        Some("INBOX") | None => name,
        Some(head) if head.eq_ignore_ascii_case("INBOX") && name.len() == 5 => "INBOX".into(),
        Some(head) if head.eq_ignore_ascii_case("INBOX") && name[5..].starts_with(delimiter) => {
            format!("INBOX{}", &name[5..])
        }
        Some(_) => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_both_ways() {
        for (name, encoded) in [
            ("INBOX", "INBOX"),
            ("Entwürfe", "Entw&APw-rfe"),
            ("A&B", "A&-B"),
            ("&", "&-"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("Отправленные", "&BB4EQgQ,BEAEMAQyBDsENQQ9BD0ESwQ1-"),
            ("😀", "&2D3eAA-"),
            ("ä&ö", "&AOQ-&-&APY-"),
            ("tab\there", "tab&AAk-here"),
            ("", ""),
        ] {
            assert_eq!(encode(name), encoded);
            assert_eq!(decode(encoded.as_bytes()).as_deref(), Some(name));
        }
    }

    #[test]
    fn second_spellings_are_refused() {
        for text in ["&AGE-", "&", "&AOQ", "&AOQ-&APY-", "&2D0-", "&AO-", "&A-", "R&D", "ä", "&AOQ=-", "&!-", "a\0"] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn only_inbox_has_no_case() {
        let fold = |name: &str| fold_inbox(name.into(), '/');
        assert_eq!(fold("inBox"), "INBOX");
        assert_eq!(fold("inbox/Work"), "INBOX/Work");
        assert_eq!(fold("inboxes"), "inboxes");
        assert_eq!(fold("Work/inbox"), "Work/inbox");
        assert_eq!(fold("ÄÄÄ"), "ÄÄÄ");
    }
}
