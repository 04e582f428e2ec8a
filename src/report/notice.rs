//! Delivery status notifications, whole and ready to send.

use chrono::{DateTime, Utc};
use posthorn_mime::Facts;
use posthorn_model::{BodyType, EnhancedCode, Ret};

use crate::Action;
use crate::fields::{FieldWriter, escaped};
use crate::human::{human, title};
use crate::original::Original;

/// All that a notification says. One may report on several recipients of one message.
#[derive(Clone, Debug)]
pub struct Notice<'a> {
    /// Our host name: Reporting-MTA, and the right-hand side of the boundary.
    pub reporting_mta: &'a str,
    /// The address that the notification is from, such as `postmaster@example.org`.
    pub from: &'a str,
    /// Who gets it: the envelope sender of the message. Never the null path.
    pub to: &'a str,
    /// The notification's own Message-ID without angle brackets; unique, which also makes the boundary.
    pub message_id: &'a str,
    /// The moment of writing.
    pub date: DateTime<Utc>,
    /// ENVID as the client gave it, decoded (RFC 3461 §4.4).
    pub envelope_id: Option<&'a str>,
    /// Our id of the message in the queue, for people to quote.
    pub queue_id: &'a str,
    /// When we took the message.
    pub arrival_date: DateTime<Utc>,
    /// What happened to whom. Those with the same [`Action`] are told together.
    pub recipients: &'a [NoticeRecipient],
    /// The header of the message, with or without its blank line.
    pub header: &'a [u8],
    /// The text behind the blank line; it comes back when `ret` is [`Ret::Full`] and somebody failed.
    pub text: &'a [u8],
    /// How much of the message comes back.
    pub ret: Ret,
    /// Whether the message or its envelope needed SMTPUTF8: addresses are then written in UTF-8 (RFC 6533).
    pub smtputf8: bool,
}

/// One recipient of a [`Notice`].
#[derive(Clone, Debug)]
pub struct NoticeRecipient {
    /// The address that was tried.
    pub recipient: String,
    /// ORCPT as the client gave it: the type, a semicolon and the decoded address, such as `rfc822;bob@example.org`.
    pub orcpt: Option<String>,
    /// What happened.
    pub action: Action,
    /// The status code; its class fits the action (2, 4 or 5).
    pub status: EnhancedCode,
    /// The host that answered last.
    pub remote_mta: Option<String>,
    /// What it said: a whole SMTP reply with its code, lines parted by LF. Without a remote host: what we found.
    pub diagnostic: Option<String>,
    /// When it was last tried.
    pub last_attempt: Option<DateTime<Utc>>,
    /// Until when attempts go on; for [`Action::Delayed`].
    pub will_retry_until: Option<DateTime<Utc>>,
    /// Whether the time allowed ran out: set on [`Action::Failed`] when no host ever refused for good.
    pub expired: bool,
}

/// A notification that was built.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Built {
    /// The whole message; every line ends in CRLF and has at most 998 octets before it.
    pub octets: Vec<u8>,
    /// Octets of the header with its blank line.
    pub header_size: usize,
    /// Whether octets above 127 are in it.
    pub body_type: BodyType,
    /// Whether its header needs SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
}

/// Builds a notification (RFC 3464 in RFC 6522). Nothing that a stranger wrote can add a field or end a part.
///
/// The message comes back whole only when `ret` says so, somebody failed, and it has lines that any host takes; else
/// its header does.
#[must_use]
pub fn build(notice: &Notice<'_>) -> Built {
    let facts = Facts::of(notice.header);
    let failed = notice.recipients.iter().any(|recipient| recipient.action == Action::Failed);
    let human = human(notice, &facts.subject, facts.sent);
    let status = status(notice);
    let original = Original::of(notice, failed);
    let boundary = boundary(notice.message_id, &[human.as_bytes(), status.as_bytes(), &original.octets]);

    let mut top = FieldWriter::new(true);
    top.put("From", &format!("Mail Delivery System <{}>", address(notice.from)));
    top.put("To", &format!("<{}>", address(notice.to)));
    top.put("Subject", title(notice.recipients));
    top.put_date("Date", notice.date);
    top.put("Message-ID", &format!("<{}>", id(notice.message_id)));
    if let Some(replied) = facts.message_id.as_deref().filter(|replied| replied.len() < 900) {
        top.put("In-Reply-To", &format!("<{}>", id(replied)));
        top.put("References", &format!("<{}>", id(replied)));
    }
    top.put("Auto-Submitted", "auto-replied");
    top.put("MIME-Version", "1.0");
    top.put_raw("Content-Type", &format!("multipart/report; report-type=delivery-status;\r\n boundary=\"{boundary}\""));
    let parts_are_8bit = !human.is_ascii() || !status.is_ascii() || !original.octets.is_ascii();
    if parts_are_8bit {
        top.put("Content-Transfer-Encoding", "8bit");
    }
    top.end();

    let mut octets = top.into_text().into_bytes();
    let header_size = octets.len();
    let smtputf8 = !octets.is_ascii();
    octets.reserve(human.len() + status.len() + original.octets.len() + 600);
    let status_type = if notice.smtputf8 { "message/global-delivery-status" } else { "message/delivery-status" };
    let parts = [
        (if human.is_ascii() { "text/plain; charset=us-ascii" } else { "text/plain; charset=utf-8" }, human.as_bytes()),
        (status_type, status.as_bytes()),
        (original.media, &original.octets),
    ];
    for (media, body) in parts {
        let encoding = if body.is_ascii() { "7bit" } else { "8bit" };
        let head = format!("--{boundary}\r\nContent-Type: {media}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n");
        octets.extend_from_slice(head.as_bytes());
        octets.extend_from_slice(body);
        octets.extend_from_slice(b"\r\n");
    }
    octets.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    let body_type = if parts_are_8bit { BodyType::EightBit } else { BodyType::SevenBit };
    Built { octets, header_size, body_type, smtputf8 }
}

/// The fields of the second part (RFC 3464 §2).
fn status(notice: &Notice<'_>) -> String {
    let mut fields = FieldWriter::new(notice.smtputf8);
    fields.put("Reporting-MTA", &format!("dns; {}", notice.reporting_mta));
    if let Some(id) = notice.envelope_id {
        fields.put("Original-Envelope-Id", id);
    }
    fields.put("X-Posthorn-Queue-Id", notice.queue_id);
    fields.put_date("Arrival-Date", notice.arrival_date);
    for recipient in notice.recipients {
        fields.end();
        if let Some((kind, original)) = recipient.orcpt.as_deref().and_then(|orcpt| orcpt.split_once(';')) {
            match (original.is_ascii(), notice.smtputf8) {
                (false, false) => fields.put("Original-Recipient", &format!("utf-8; {}", escaped(original.trim()))),
                _ => fields.put("Original-Recipient", &format!("{}; {}", kind.trim(), original.trim())),
            }
        }
        fields.put_address("Final-Recipient", &recipient.recipient);
        fields.put("Action", recipient.action.as_str());
        fields.put("Status", &recipient.status.to_string());
        if let Some(host) = &recipient.remote_mta {
            fields.put("Remote-MTA", &format!("dns; {host}"));
        }
        if let Some(diagnostic) = recipient.diagnostic.as_deref().filter(|text| !text.trim().is_empty()) {
            let kind = if recipient.remote_mta.is_some() { "smtp" } else { "X-Posthorn" };
            fields.put("Diagnostic-Code", &format!("{kind}; {diagnostic}"));
        }
        if let Some(last) = recipient.last_attempt {
            fields.put_date("Last-Attempt-Date", last);
        }
        if let Some(until) = recipient.will_retry_until.filter(|_| recipient.action == Action::Delayed) {
            fields.put_date("Will-Retry-Until", until);
        }
    }
    fields.into_text()
}

/// A boundary (RFC 2046 §5.1.1) that stands nowhere in the parts.
fn boundary(message_id: &str, parts: &[&[u8]]) -> String {
    let unique: String = message_id.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
    let mut boundary = format!("=_{unique}");
    let inside = |boundary: &str| parts.iter().any(|part| memchr::memmem::find(part, boundary.as_bytes()).is_some());
    for number in 0_u32.. {
        if !inside(&boundary) {
            break;
        }
        boundary = format!("=_{unique}_{number}");
    }
    boundary
}

/// An address between angle brackets: without anything that would end it.
fn address(text: &str) -> String {
    let sound = |c: &char| !c.is_control() && !matches!(c, '<' | '>');
    text.chars().filter(sound).take(400).collect()
}

/// A message id between angle brackets.
fn id(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() && !matches!(c, '<' | '>')).take(900).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, read};
    use posthorn_mime::{Structure, body_text, header_fault, header_text};
    use proptest::prelude::*;
    use std::ops::ControlFlow;

    const HEADER: &[u8] =
        b"From: Ann <ann@example.org>\r\nTo: bob@example.net\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n\
        Date: Sat, 21 Nov 2026 01:00:00 +0000\r\nMessage-ID: <first@example.org>\r\n\r\n";

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_223_379 + seconds, 0).expect("in range")
    }

    fn failed() -> NoticeRecipient {
        NoticeRecipient {
            recipient: "bob@example.net".to_owned(),
            orcpt: Some("rfc822;Robert@example.com".to_owned()),
            action: Action::Failed,
            status: EnhancedCode(5, 2, 2),
            remote_mta: Some("mx.example.net".to_owned()),
            diagnostic: Some("552-5.2.2 The mailbox is full\n552 5.2.2 of letters".to_owned()),
            last_attempt: Some(at(60)),
            will_retry_until: None,
            expired: false,
        }
    }

    fn notice(recipients: &[NoticeRecipient]) -> Notice<'_> {
        Notice {
            reporting_mta: "mail.example.org",
            from: "postmaster@example.org",
            to: "ann@example.org",
            message_id: "report1@mail.example.org",
            date: at(120),
            envelope_id: Some("QQ=314 159"),
            queue_id: "1f2e3d",
            arrival_date: at(0),
            recipients,
            header: HEADER,
            text: b"Hello.\r\n",
            ret: Ret::Headers,
            smtputf8: false,
        }
    }

    fn sound(built: &Built) -> String {
        let text = String::from_utf8_lossy(&built.octets).into_owned();
        assert_eq!(header_fault(&built.octets), None, "{text}");
        assert_eq!(posthorn_mime::header_end(&built.octets), Some(built.header_size));
        assert!(text.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\n', '\r', '\0'])), "{text}");
        assert_eq!(built.body_type == BodyType::SevenBit, built.octets.is_ascii(), "{text}");
        let structure = Structure::of(&built.octets);
        let children: Vec<_> = structure.root().children().map(|part| part.media_subtype().to_owned()).collect();
        assert_eq!(children.len(), 3, "{text}");
        text
    }

    #[test]
    fn a_failure_says_everything() {
        let built = build(&notice(&[failed()]));
        let text = sound(&built);
        for line in [
            "From: Mail Delivery System <postmaster@example.org>",
            "To: <ann@example.org>",
            "Subject: Your message could not be delivered",
            "Auto-Submitted: auto-replied",
            "In-Reply-To: <first@example.org>",
            "References: <first@example.org>",
            "Reporting-MTA: dns; mail.example.org",
            "Original-Envelope-Id: QQ=314 159",
            "Arrival-Date: Sat, 21 Nov 2026 01:09:39 +0000",
            "Original-Recipient: rfc822; Robert@example.com",
            "Final-Recipient: rfc822; bob@example.net",
            "Action: failed",
            "Status: 5.2.2",
            "Remote-MTA: dns; mx.example.net",
            "Diagnostic-Code: smtp; 552-5.2.2 The mailbox is full 552 5.2.2 of letters",
            "Last-Attempt-Date: Sat, 21 Nov 2026 01:10:39 +0000",
            "Content-Type: text/rfc822-headers",
            "  The recipient's mailbox is full.",
            "    552-5.2.2 The mailbox is full",
            "    552 5.2.2 of letters",
            "  Subject: Grüße",
        ] {
            assert!(text.contains(&format!("\r\n{line}\r\n")) || text.starts_with(line), "{line}\n\n{text}");
        }
        assert!(!text.contains("Hello.") && !text.contains("Will-Retry-Until"));
        assert!(!built.smtputf8 && built.body_type == BodyType::EightBit, "the subject is not ASCII");
    }

    #[test]
    fn the_whole_message_comes_back_when_asked_for() {
        let recipients = [failed()];
        let whole = Notice { ret: Ret::Full, ..notice(&recipients) };
        assert!(sound(&build(&whole)).contains("\r\nContent-Type: message/rfc822\r\n"));
        assert!(sound(&build(&whole)).contains("Message-ID: <first@example.org>\r\n\r\nHello.\r\n"));
        let binary = Notice { text: b"a\0b\n", ..whole.clone() };
        assert!(sound(&build(&binary)).contains("text/rfc822-headers"));
        let delayed = [NoticeRecipient { action: Action::Delayed, ..failed() }];
        let warned = Notice { recipients: &delayed, ..whole };
        assert!(sound(&build(&warned)).contains("text/rfc822-headers"), "only failures return text");
    }

    #[test]
    fn other_actions_have_their_words() {
        for (action, words) in [
            (Action::Delayed, "Your message is delayed. This is only a warning."),
            (Action::Delivered, "The message was delivered to this mailbox."),
            (Action::Relayed, "handed to the recipient's mail server. That server"),
            (Action::Expanded, "sent on to the members of"),
        ] {
            let recipients = [NoticeRecipient { action, will_retry_until: Some(at(86_400)), ..failed() }];
            let text = sound(&build(&notice(&recipients)));
            assert!(text.contains(words), "{text}");
            assert!(text.contains(&format!("\r\nAction: {action}\r\n")));
            assert_eq!(text.contains("Will-Retry-Until: Sun, 22 Nov 2026"), action == Action::Delayed);
        }
        let mixed = [failed(), NoticeRecipient { action: Action::Delivered, ..failed() }];
        assert!(sound(&build(&notice(&mixed))).contains("Subject: Your message could not be delivered to everybody"));
    }

    #[test]
    fn internationalized_addresses_have_two_forms() {
        let recipients = [NoticeRecipient {
            recipient: "grün@example.net".into(),
            orcpt: Some("utf-8;rot@bücher.example".into()),
            ..failed()
        }];
        let text = sound(&build(&notice(&recipients)));
        assert!(text.contains("Final-Recipient: utf-8; gr\\x{FC}n@example.net\r\n"), "{text}");
        assert!(text.contains("Original-Recipient: utf-8; rot@b\\x{FC}cher.example\r\n"));
        let built = build(&Notice { smtputf8: true, to: "ännchen@example.org", ..notice(&recipients) });
        let text = sound(&built);
        assert!(built.smtputf8 && text.contains("To: <ännchen@example.org>\r\n"));
        assert!(text.contains("Content-Type: message/global-delivery-status\r\n"));
        assert!(text.contains("Content-Type: message/global-headers\r\n"));
        assert!(text.contains("Final-Recipient: utf-8; grün@example.net\r\n"));
    }

    #[test]
    fn boundaries_are_not_found_inside() {
        let recipients = [failed()];
        let text = b"--=_report1mailexampleorg\r\n--=_report1mailexampleorg_0--\r\n";
        let built = build(&Notice { text, ret: Ret::Full, ..notice(&recipients) });
        assert!(sound(&built).contains("boundary=\"=_report1mailexampleorg_1\""));
    }

    #[test]
    fn many_recipients_are_listed_once() {
        let recipients: Vec<_> =
            (0..200).map(|n| NoticeRecipient { recipient: format!("r{n}@example.net"), ..failed() }).collect();
        let text = sound(&build(&notice(&recipients)));
        assert!(text.contains("And 150 more recipients"));
        assert_eq!(text.matches("Final-Recipient").count(), 200);
    }

    #[test]
    fn we_read_what_we_write() {
        let expired = NoticeRecipient {
            recipient: "c@example.net".into(),
            orcpt: None,
            action: Action::Delayed,
            status: EnhancedCode(4, 4, 1),
            remote_mta: None,
            diagnostic: Some("no answer".into()),
            ..failed()
        };
        let incoming = read(&build(&notice(&[failed(), expired])).octets).expect("a report");
        assert_eq!(incoming.kind, Kind::Status);
        assert_eq!(incoming.envelope_id.as_deref(), Some("QQ=314 159"));
        assert_eq!(incoming.message_id.as_deref(), Some("first@example.org"));
        assert_eq!(incoming.reporting_mta.as_deref(), Some("mail.example.org"));
        assert_eq!(incoming.arrival_date, Some(at(0)));
        let one = &incoming.recipients[0];
        assert_eq!(one.recipient.as_deref(), Some("bob@example.net"));
        assert_eq!(one.address(), Some("Robert@example.com"));
        assert_eq!((one.action, one.status, one.code), (Action::Failed, Some(EnhancedCode(5, 2, 2)), Some(552)));
        assert_eq!(one.remote_mta.as_deref(), Some("mx.example.net"));
        assert_eq!(one.class(), crate::Class::MAILBOX_FULL);
        assert_eq!((incoming.recipients[1].action, incoming.recipients[1].code), (Action::Delayed, None));
    }

    proptest! {
        #[test]
        fn nothing_breaks_a_notification(evil in "(\\PC|\r\n|\n|\0|--|[:;<>]){0,60}", smtputf8: bool, full: bool) {
            let recipients = [NoticeRecipient {
                recipient: evil.clone(), orcpt: Some(format!("rfc822;{evil}")), remote_mta: Some(evil.clone()),
                diagnostic: Some(evil.clone()), ..failed()
            }];
            let header = format!("Subject: {evil}\r\nMessage-ID: <{evil}>\r\n");
            let built = build(&Notice {
                reporting_mta: &evil, from: &evil, to: &evil, message_id: &evil, envelope_id: Some(&evil), queue_id: &evil,
                header: header.as_bytes(), text: evil.as_bytes(), smtputf8,
                ret: if full { Ret::Full } else { Ret::Headers }, ..notice(&recipients)
            });
            let text = sound(&built);
            prop_assert_eq!(header_text(&built.octets, "To").count(), 1);
            prop_assert_eq!(text.matches("\r\nFinal-Recipient:").count(), 1);
            let incoming = read(&built.octets).expect("a report");
            prop_assert_eq!(incoming.recipients.len(), 1);
            let structure = Structure::of(&built.octets);
            let mut seen = 0;
            let _all = body_text(&structure, &built.octets, |piece| { seen += piece.len(); ControlFlow::Continue(()) });
            prop_assert!(seen > 0);
        }
    }
}
