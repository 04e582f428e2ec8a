//! The machine-readable part of a delivery status notification (RFC 3464 §2).

use posthorn_mime::{fields, header_end, parse_date};
use posthorn_model::EnhancedCode;

use crate::classify::reply_code;
use crate::fields::unescaped;
use crate::read::{address, line, value};
use crate::{Action, Incoming, Kind, Reported, enhanced_code};

/// More recipients of one report are not read.
pub(crate) const RECIPIENTS: usize = 1000;

/// Reads the groups of fields: one about the message, the others about a recipient each. Hosts that forget the line
/// between them are understood.
pub(crate) fn read(part: &[u8]) -> Incoming {
    let mut incoming = Incoming { kind: Kind::Status, ..Incoming::default() };
    for (number, group) in groups(part).enumerate() {
        if number == 0 {
            incoming.reporting_mta = value(group, "Reporting-MTA").map(|text| typed(&text).1.to_owned());
            incoming.envelope_id = value(group, "Original-Envelope-Id");
            incoming.arrival_date = value(group, "Arrival-Date").and_then(|date| parse_date(date.as_bytes()));
        }
        if incoming.recipients.len() < RECIPIENTS {
            incoming.recipients.extend(recipient(group));
        }
    }
    incoming
}

fn groups(part: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = part;
    std::iter::from_fn(move || {
        while let [b'\r' | b'\n', more @ ..] = rest {
            rest = more;
        }
        let (group, more) = rest.split_at(header_end(rest).unwrap_or(rest.len()));
        rest = more;
        (!group.is_empty()).then_some(group)
    })
}

fn recipient(group: &[u8]) -> Option<Reported> {
    let (mut recipient, mut original, mut action, mut status) = (None, None, None, None);
    let mut reported = Reported::new(None, Action::Failed);
    for field in fields(group) {
        let text = || line(&field.text());
        match () {
            () if field.is("Final-Recipient") => {
                recipient = recipient.or_else(|| text().and_then(|text| mailbox(&text)))
            }
            () if field.is("Original-Recipient") => {
                original = original.or_else(|| text().and_then(|text| mailbox(&text)))
            }
            () if field.is("Action") => {
                action = action.or_else(|| text().and_then(|text| Action::parse(text.split([' ', '(']).next()?)));
            }
            () if field.is("Status") => status = status.or_else(|| text().and_then(|text| enhanced_code(&text))),
            () if field.is("Remote-MTA") => reported.remote_mta = text().map(|text| typed(&text).1.to_owned()),
            () if field.is("Diagnostic-Code") => {
                reported.diagnostic = text().and_then(|text| line(typed(&text).1));
            }
            () => {}
        }
    }
    let said = recipient.is_some() || original.is_some() || action.is_some();
    reported.code = reported.diagnostic.as_deref().and_then(reply_code);
    reported.action = action.unwrap_or(match status {
        Some(EnhancedCode(2, ..)) => Action::Delivered,
        Some(EnhancedCode(4, ..)) => Action::Delayed,
        _ => Action::Failed,
    });
    reported.status = status;
    reported.recipient = recipient;
    reported.original_recipient = original;
    said.then_some(reported)
}

/// `type; value`, where hosts may have left out the type.
fn typed(text: &str) -> (&str, &str) {
    let is_type = |kind: &str| !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    match text.split_once(';') {
        Some((kind, rest)) if is_type(kind.trim()) => (kind.trim(), rest.trim()),
        _ => ("", text.trim()),
    }
}

/// An address with its type (RFC 3464 §2.3.1, RFC 6533 §3).
fn mailbox(text: &str) -> Option<String> {
    let (kind, text) = typed(text);
    let text = if kind.eq_ignore_ascii_case("utf-8") { unescaped(text) } else { text.to_owned() };
    address(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    #[test]
    fn groups_are_read() {
        let part = b"\r\nReporting-MTA: dns;mx.example.net\r\nOriginal-Envelope-Id: id 7\r\n\
            Arrival-Date: Sat, 21 Nov 2026 01:09:39 +0000\r\n\r\n\
            Original-Recipient: rfc822;ann@example.com\r\nFinal-Recipient: RFC822; <bob@example.net>\r\nAction: Failed\r\n\
            Status: 5.1.1 (bad destination mailbox address)\r\nRemote-MTA: dns; in.example.net\r\n\
            Diagnostic-Code: smtp;\r\n\t550 5.1.1 <bob@example.net>: no such user\r\n\r\n\r\n\
            Final-Recipient: utf-8; gr\\x{FC}n@example.net\r\nStatus: 4.4.1\r\n\r\n\
            X-Comment: nothing\r\n";
        let incoming = read(part);
        assert_eq!(incoming.reporting_mta.as_deref(), Some("mx.example.net"));
        assert_eq!(incoming.envelope_id.as_deref(), Some("id 7"));
        assert_eq!(incoming.arrival_date, DateTime::from_timestamp(1_795_223_379, 0));
        assert_eq!(incoming.recipients.len(), 2);
        let one = &incoming.recipients[0];
        assert_eq!((one.recipient.as_deref(), one.address()), (Some("bob@example.net"), Some("ann@example.com")));
        assert_eq!((one.action, one.status, one.code), (Action::Failed, Some(EnhancedCode(5, 1, 1)), Some(550)));
        assert_eq!(one.diagnostic.as_deref(), Some("550 5.1.1 <bob@example.net>: no such user"));
        assert_eq!(one.remote_mta.as_deref(), Some("in.example.net"));
        let two = &incoming.recipients[1];
        assert_eq!((two.recipient.as_deref(), two.action), (Some("grün@example.net"), Action::Delayed));
    }

    #[test]
    fn careless_hosts_are_understood() {
        let one_group = read(b"Reporting-MTA: mx.example.net\nFinal-Recipient: bob@example.net\nStatus: 2.0.0\n");
        assert_eq!(one_group.reporting_mta.as_deref(), Some("mx.example.net"));
        assert_eq!(one_group.recipients[0].recipient.as_deref(), Some("bob@example.net"));
        assert_eq!(one_group.recipients[0].action, Action::Delivered);
        let blank_first = read(b"\n\nAction: failed\nDiagnostic-Code: 554 no\n");
        assert_eq!((blank_first.recipients[0].code, blank_first.recipients[0].status), (Some(554), None));
        assert_eq!(read(b"").recipients, []);
    }

    #[test]
    fn floods_are_bounded() {
        let flood = "Final-Recipient: rfc822; a@b\r\n\r\n".repeat(5000);
        assert_eq!(read(flood.as_bytes()).recipients.len(), RECIPIENTS);
    }
}
