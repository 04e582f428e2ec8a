//! Telling reports from other mail, and reading them.

use std::borrow::Cow;

use posthorn_mime::{Facts, Part, Structure, decoded, fields, header_end};

use crate::complaint;
use crate::prose;
use crate::status;
use crate::{Action, Incoming, Kind, Reported};

/// Of larger messages only the beginning is looked at.
const MESSAGE: usize = 1 << 20;
/// How deep the parts of a report may lie: lists and gateways put reports into multiparts.
const DEPTH: usize = 3;
/// How many parts of one multipart are looked at.
const PARTS: usize = 20;
/// Texts are cut to so many characters.
const TEXT: usize = 2000;

/// Reads a message as a report; `None` when it is none: an answer, a vacation notice, a list's mail.
///
/// Takes any octets; of large messages the first MiB counts.
#[must_use]
pub fn read(message: &[u8]) -> Option<Incoming> {
    let message = &message[..message.len().min(MESSAGE)];
    let structure = Structure::of(message);
    let mut found = Found::default();
    look(&structure, message, structure.root(), &mut Vec::new(), &mut found);
    if let Some(feedback) = &found.feedback {
        return Some(complete(complaint::read(feedback), &found));
    }
    if let Some(status) = &found.status {
        let mut incoming = status::read(status);
        if incoming.recipients.is_empty()
            && let Some(told) = prose::read(&structure, message)
        {
            incoming.recipients = told.recipients;
        }
        return Some(complete(incoming, &found));
    }
    if let Some(jumbled) = found.original.as_deref().and_then(complaint::of_original) {
        return Some(complete(jumbled, &found));
    }
    prose::read(&structure, message).map(|incoming| complete(incoming, &found))
}

/// The parts that matter.
#[derive(Default)]
struct Found<'m> {
    status: Option<Cow<'m, [u8]>>,
    feedback: Option<Cow<'m, [u8]>>,
    /// The message reported on, or its header.
    original: Option<Cow<'m, [u8]>>,
}

fn look<'m>(structure: &Structure, message: &'m [u8], part: Part<'_>, path: &mut Vec<u32>, found: &mut Found<'m>) {
    if part.is_multipart() && path.len() < DEPTH {
        for (number, child) in (1..).zip(part.children().take(PARTS)) {
            path.push(number);
            look(structure, message, child, path, found);
            path.pop();
        }
        return;
    }
    let place = match (part.media_type(), part.media_subtype()) {
        ("message", "delivery-status" | "global-delivery-status") => &mut found.status,
        ("message", "feedback-report") => &mut found.feedback,
        ("message", "rfc822" | "global" | "global-headers" | "rfc822-headers" | "partial")
        | ("text", "rfc822-headers") => &mut found.original,
        _ => return,
    };
    if place.is_none() && !path.is_empty() {
        *place = decoded(structure, message, path).ok();
    }
}

/// What the returned message tells.
fn complete(mut incoming: Incoming, found: &Found<'_>) -> Incoming {
    if let Some(original) = &found.original {
        let header = &original[..header_end(original).unwrap_or(original.len())];
        if let Some(id) = Facts::of(header).message_id {
            incoming.message_id = line(&id);
        }
        if incoming.kind == Kind::Complaint && incoming.recipients.is_empty() {
            incoming.recipients = complaint::recipient_of(header).into_iter().map(Reported::complaining).collect();
        }
    }
    incoming
}

impl Reported {
    /// A recipient of whom nothing is known but what happened.
    pub(crate) fn new(recipient: Option<String>, action: Action) -> Self {
        Self {
            recipient,
            original_recipient: None,
            action,
            status: None,
            code: None,
            diagnostic: None,
            remote_mta: None,
        }
    }

    /// Somebody who got the message and did not like it.
    pub(crate) fn complaining(recipient: String) -> Self {
        Self::new(Some(recipient), Action::Delivered)
    }
}

/// The first value of a field that is not empty, as one clean line.
pub(crate) fn value(header: &[u8], name: &str) -> Option<String> {
    fields(header).filter(|field| field.is(name)).find_map(|field| line(&field.text()))
}

/// A stranger's text as one line: white space and control characters are single spaces, cut, `None` when empty.
pub(crate) fn line(text: &str) -> Option<String> {
    let mut clean = String::new();
    let words = text.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty());
    for word in words {
        if clean.len() + word.len() > TEXT {
            clean.push_str(&word[..word.floor_char_boundary(TEXT.saturating_sub(clean.len()))]);
            break;
        }
        if !clean.is_empty() {
            clean.push(' ');
        }
        clean.push_str(word);
    }
    (!clean.is_empty()).then_some(clean)
}

/// A stranger's address: without brackets and what stands around them; `None` when it cannot be one.
pub(crate) fn address(text: &str) -> Option<String> {
    let text = text.trim();
    let inside = match (text.rfind('<'), text.rfind('>')) {
        (Some(open), Some(close)) if open < close => &text[open + 1..close],
        _ => text,
    };
    let inside = inside.trim().trim_matches(['\'', '`']);
    let (local, domain) = inside.rsplit_once('@')?;
    let quoted = local.starts_with('"') && local.ends_with('"') && local.len() > 1;
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && !"<>()[],;:\"".contains(c);
    let local_is_plain = !local.is_empty() && (quoted || local.chars().all(plain));
    let literal = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(domain);
    let domain_is_plain =
        !literal.is_empty() && literal.chars().all(|c| plain(c) || c == ':') && !literal.contains('@');
    let sound = inside.len() <= 320 && local_is_plain && domain_is_plain && !local.chars().any(char::is_control);
    sound.then(|| inside.trim_end_matches('.').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_bare() {
        for (text, bare) in [
            ("bob@example.org", Some("bob@example.org")),
            (" <bob@example.org> ", Some("bob@example.org")),
            ("Bob B. <bob@example.org>", Some("bob@example.org")),
            ("'bob@example.org'", Some("bob@example.org")),
            ("\"a b\"@example.org", Some("\"a b\"@example.org")),
            ("bob@[192.0.2.1]", Some("bob@[192.0.2.1]")),
            ("grün@example.org", Some("grün@example.org")),
            ("bob", None),
            ("@example.org", None),
            ("bob@", None),
            ("bob @example.org", None),
            ("a@b@c, d@e", None),
            ("a\r\n@b", None),
        ] {
            assert_eq!(address(text).as_deref(), bare, "{text:?}");
        }
    }

    #[test]
    fn lines_are_clean_and_bounded() {
        assert_eq!(line(" a\r\n\tb \0c "), Some("a b c".to_owned()));
        assert_eq!(line(" \r\n"), None);
        assert!(line(&"ä".repeat(100_000)).is_some_and(|text| text.len() <= TEXT));
        assert!(line(&"ab ".repeat(100_000)).is_some_and(|text| text.len() <= TEXT + 2));
    }

    #[test]
    fn ordinary_mail_is_no_report() {
        for message in [
            &b""[..],
            b"From: bob@example.org\r\nSubject: Hello\r\n\r\nfailed\r\n",
            b"Return-Path: <>\r\nFrom: bob@example.org\r\nAuto-Submitted: auto-replied\r\nSubject: On holiday\r\n\r\nBack on Monday.\r\n",
            b"From: list@example.org\r\nContent-Type: multipart/digest; boundary=x\r\n\r\n--x\r\n\r\nSubject: a\r\n\r\nb\r\n--x--\r\n",
        ] {
            assert_eq!(read(message), None, "{}", String::from_utf8_lossy(message));
        }
    }

    fn report(status_type: &str, encoding: &str, status: &str, original: &str) -> Incoming {
        let message = format!(
            "Return-Path: <>\r\nFrom: MAILER-DAEMON@mx.example.net\r\nSubject: Delivery Status Notification\r\n\
             Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n\
             Content-Type: multipart/report; report-type=delivery-status; boundary=\"i\"\r\n\r\n\
             --i\r\n\r\nWords for people\r\n--i\r\nContent-Type: {status_type}\r\n\
             Content-Transfer-Encoding: {encoding}\r\n\r\n{status}\r\n--i\r\n{original}\r\n--i--\r\n--o\r\n\r\nA footer\r\n--o--\r\n"
        );
        read(message.as_bytes()).expect("a report")
    }

    #[test]
    fn reports_are_found_inside_and_decoded() {
        let plain = "Reporting-MTA: dns; mx.example.net\r\n\r\nFinal-Recipient: rfc822; bob@example.net\r\nAction: delivered\r\nStatus: 2.0.0\r\n";
        let quoted = "Reporting-MTA: dns; mx.exam=\r\nple.net\r\n\r\nFinal-Recipient: rfc822; bob=40example.net\r\nAction: delivered\r\nStatus: 2.0.0\r\n";
        let based = "UmVwb3J0aW5nLU1UQTogZG5zOyBteC5leGFtcGxlLm5ldA0KDQpGaW5hbC1SZWNpcGllbnQ6IHJmYzgyMjsgYm9iQGV4YW1wbGUubmV0DQpBY3Rpb246IGRlbGl2ZXJlZA0KU3RhdHVzOiAyLjAuMA0K";
        for (media, encoding, status) in [
            ("message/delivery-status", "7bit", plain),
            ("message/global-delivery-status", "8bit", plain),
            ("message/delivery-status", "quoted-printable", quoted),
            ("MESSAGE/Delivery-Status; name=x", "base64", based),
        ] {
            for original in [
                "Content-Type: message/rfc822\r\n\r\nMessage-ID: <9@example.org>\r\n\r\nHello",
                "Content-Type: text/rfc822-headers\r\n\r\nSubject: x\r\nMessage-ID: <9@example.org>",
                "Content-Type: message/global-headers\r\n\r\nMessage-ID: <9@example.org>",
            ] {
                let incoming = report(media, encoding, status, original);
                assert_eq!(incoming.reporting_mta.as_deref(), Some("mx.example.net"), "{media} {encoding}");
                assert_eq!(incoming.message_id.as_deref(), Some("9@example.org"), "{original}");
                let one = &incoming.recipients[0];
                assert_eq!((one.recipient.as_deref(), one.action), (Some("bob@example.net"), Action::Delivered));
            }
        }
    }

    #[test]
    fn prose_helps_where_the_fields_are_empty() {
        let message = "Return-Path: <>\r\nFrom: MAILER-DAEMON@mx.example.net\r\nSubject: failure notice\r\n\
            Content-Type: multipart/report; boundary=i\r\n\r\n--i\r\n\r\n<bob@example.net>:\r\n550 5.1.1 no such user\r\n\
            --i\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n--i--\r\n";
        let incoming = read(message.as_bytes()).expect("a report");
        assert_eq!((incoming.kind, incoming.recipients.len()), (Kind::Status, 1));
        assert_eq!(incoming.recipients[0].code, Some(550));
    }
}
