//! Complaints and other feedback (RFC 5965), and the older form of Microsoft's junk mail reports.

use std::net::IpAddr;

use posthorn_mime::{fields, header_end, parse_date};

use crate::read::{address, line, value};
use crate::{Incoming, Kind, Reported};

const DOMAINS: usize = 20;
const RECIPIENTS: usize = 100;

/// What a feedback report says beside the recipients.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Feedback {
    /// `abuse`, `fraud`, `virus`, `not-spam`, `opt-out`, `auth-failure`, `other`, or what the reporter invented; lower
    /// case.
    pub kind: String,
    /// The program that wrote the report.
    pub user_agent: Option<String>,
    /// The envelope sender of the message reported on.
    pub original_sender: Option<String>,
    /// The address that the message came from.
    pub source_ip: Option<IpAddr>,
    /// The domains that the reporter holds responsible. At most 20.
    pub reported_domains: Vec<String>,
}

/// Reads the machine-readable part of a feedback report.
pub(crate) fn read(part: &[u8]) -> Incoming {
    let start = part.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(part.len());
    let part = &part[start..];
    let all =
        |name: &'static str| fields(part).filter(move |field| field.is(name)).filter_map(|field| line(&field.text()));
    let arrival = value(part, "Arrival-Date").or_else(|| value(part, "Received-Date"));
    let feedback = Feedback {
        kind: value(part, "Feedback-Type").unwrap_or_else(|| "other".to_owned()).to_lowercase(),
        user_agent: value(part, "User-Agent"),
        original_sender: value(part, "Original-Mail-From").and_then(|text| address(&text)),
        source_ip: value(part, "Source-IP").and_then(|text| ip(&text)),
        reported_domains: all("Reported-Domain").take(DOMAINS).collect(),
    };
    let recipients = all("Original-Rcpt-To").filter_map(|text| address(&text)).take(RECIPIENTS);
    Incoming {
        kind: Kind::Complaint,
        reporting_mta: value(part, "Reporting-MTA")
            .map(|text| text.rsplit(';').next().unwrap_or_default().trim().to_owned()),
        envelope_id: value(part, "Original-Envelope-Id"),
        arrival_date: arrival.and_then(|date| parse_date(date.as_bytes())),
        recipients: recipients.map(Reported::complaining).collect(),
        feedback: Some(feedback),
        ..Incoming::default()
    }
}

/// A junk mail report that has no part for machines: the message comes back with a field that names who complained.
pub(crate) fn of_original(original: &[u8]) -> Option<Incoming> {
    let header = &original[..header_end(original).unwrap_or(original.len())];
    let recipient = address(&value(header, JUNK)?)?;
    let source_ip = value(header, "X-Originating-IP").and_then(|text| ip(&text));
    Some(Incoming {
        kind: Kind::Complaint,
        recipients: vec![Reported::complaining(recipient)],
        feedback: Some(Feedback { kind: "abuse".to_owned(), source_ip, ..Feedback::default() }),
        ..Incoming::default()
    })
}

/// Who complained, where only the returned header tells.
pub(crate) fn recipient_of(header: &[u8]) -> Option<String> {
    [JUNK, "X-Original-To", "Delivered-To"].iter().find_map(|name| address(&value(header, name)?))
}

const JUNK: &str = "X-HmXmrOriginalRecipient";

fn ip(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches(['[', '(']).split([']', ')', ' ']).next()?;
    let bare = bare.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:")).map_or(bare, |_| &bare[5..]);
    bare.parse().ok()
}

#[cfg(test)]
mod tests {
    use crate::{Action, Kind, read};

    const ARF: &str = "From: <feedback@isp.example>\r\nSubject: FW: Hello\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/report; report-type=feedback-report; boundary=\"x\"\r\n\r\n\
        --x\r\nContent-Type: text/plain\r\n\r\nThis is an email abuse report.\r\n\
        --x\r\nContent-Type: message/feedback-report\r\n\r\n\
        Feedback-Type: Abuse\r\nUser-Agent: SomeGenerator/1.0\r\nVersion: 1\r\n\
        Original-Mail-From: <bounce@example.org>\r\nOriginal-Rcpt-To: <user@isp.example>\r\n\
        Arrival-Date: Sat, 21 Nov 2026 01:09:39 +0000\r\nReporting-MTA: dns; mail.isp.example\r\n\
        Source-IP: [IPv6:2001:db8::1]\r\nReported-Domain: example.org\r\nReported-Domain: example.com\r\n\
        \r\n--x\r\nContent-Type: message/rfc822\r\n\r\n\
        From: <list@example.org>\r\nMessage-ID: <77@example.org>\r\nDelivered-To: real@isp.example\r\n\r\nBuy!\r\n--x--\r\n";

    #[test]
    fn feedback_reports_are_read() {
        let incoming = read(ARF.as_bytes()).expect("a report");
        assert_eq!(incoming.kind, Kind::Complaint);
        assert_eq!(incoming.message_id.as_deref(), Some("77@example.org"));
        assert_eq!(incoming.reporting_mta.as_deref(), Some("mail.isp.example"));
        assert_eq!(incoming.recipients[0].recipient.as_deref(), Some("user@isp.example"));
        assert_eq!(incoming.recipients[0].action, Action::Delivered);
        let feedback = incoming.feedback.expect("feedback");
        assert_eq!((feedback.kind.as_str(), feedback.user_agent.as_deref()), ("abuse", Some("SomeGenerator/1.0")));
        assert_eq!(feedback.original_sender.as_deref(), Some("bounce@example.org"));
        assert_eq!(feedback.source_ip, "2001:db8::1".parse().ok());
        assert_eq!(feedback.reported_domains, ["example.org", "example.com"]);
    }

    #[test]
    fn a_recipient_may_be_known_from_the_message() {
        let hidden = ARF.replace("Original-Rcpt-To: <user@isp.example>\r\n", "");
        let incoming = read(hidden.as_bytes()).expect("a report");
        assert_eq!(incoming.recipients[0].recipient.as_deref(), Some("real@isp.example"));
    }

    #[test]
    fn junk_reports_without_a_part_for_machines_are_read() {
        let report = "From: staff@hotmail.example\r\nSubject: complaint about message from 192.0.2.1\r\n\
            Content-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\nContent-Type: message/rfc822\r\n\r\n\
            X-HmXmrOriginalRecipient: user@hotmail.example\r\nX-Originating-IP: [192.0.2.1]\r\nMessage-ID: <78@example.org>\r\n\r\nBuy!\r\n--y--\r\n";
        let incoming = read(report.as_bytes()).expect("a report");
        assert_eq!((incoming.kind, incoming.message_id.as_deref()), (Kind::Complaint, Some("78@example.org")));
        assert_eq!(incoming.recipients[0].recipient.as_deref(), Some("user@hotmail.example"));
        assert_eq!(incoming.feedback.and_then(|feedback| feedback.source_ip), "192.0.2.1".parse().ok());
    }
}
