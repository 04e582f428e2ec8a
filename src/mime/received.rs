//! Header lines that acceptance and delivery put in front of a message.

use std::fmt::Write as _;
use std::net::IpAddr;

use chrono::{DateTime, Utc};

use crate::date_text;

/// A piece of text from the peer that is longer is cut.
const TEXT_LIMIT: usize = 300;

/// What a `Received` field says (RFC 5321 §4.4). Text from the peer is cleaned of what could break the line.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// What the client called itself; without it and without an address there is no `from` clause.
    pub from_helo: Option<&'a str>,
    /// The client's address, unless it is kept private.
    pub from_ip: Option<IpAddr>,
    /// The client's name from the DNS; written only together with the address.
    pub from_name: Option<&'a str>,
    /// Our own host name.
    pub by: &'a str,
    /// The protocol (RFC 3848), such as `ESMTPSA` or `LMTP`.
    pub protocol: &'a str,
    /// The TLS session, where there was one.
    pub tls: Option<ReceivedTls<'a>>,
    /// Our id of the transaction.
    pub id: &'a str,
    /// The recipient, only when there is exactly one.
    pub for_: Option<&'a str>,
    /// The moment of acceptance.
    pub date: DateTime<Utc>,
}

/// The TLS session in a `Received` field.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedTls<'a> {
    /// The version, such as `TLSv1.3`.
    pub version: &'a str,
    /// The suite, such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher: &'a str,
}

/// A whole, folded `Received` field with its CRLF.
#[must_use]
pub fn received(note: &Received<'_>) -> Vec<u8> {
    let mut line = String::with_capacity(320);
    line.push_str("Received: ");
    if note.from_helo.is_some() || note.from_ip.is_some() {
        line.push_str("from ");
        line.push_str(&word(note.from_helo.unwrap_or("unknown")));
        if let Some(ip) = note.from_ip {
            line.push_str(" (");
            if let Some(name) = note.from_name {
                line.push_str(&word(name));
                line.push(' ');
            }
            put_ip(&mut line, ip.to_canonical());
            line.push(')');
        }
        line.push_str("\r\n\t");
    }
    // Writing to a string cannot fail.
    let _infallible = write!(line, "by {} with {}", word(note.by), word(note.protocol));
    if let Some(tls) = note.tls {
        let _infallible = write!(line, "\r\n\t({} {})", word(tls.version), word(tls.cipher));
    }
    let _infallible = write!(line, "\r\n\tid {}", word(note.id));
    if let Some(recipient) = note.for_ {
        let _infallible = write!(line, "\r\n\tfor <{}>", path(recipient));
    }
    let _infallible = write!(line, ";\r\n\t{}\r\n", date_text(note.date));
    line.into_bytes()
}

/// A whole `Return-Path` field with its CRLF (RFC 5321 §4.4); `None` is the null reverse-path `<>`.
#[must_use]
pub fn return_path(sender: Option<&str>) -> Vec<u8> {
    format!("Return-Path: <{}>\r\n", path(sender.unwrap_or_default())).into_bytes()
}

/// A whole `Delivered-To` field with its CRLF (RFC 9228).
#[must_use]
pub fn delivered_to(recipient: &str) -> Vec<u8> {
    format!("Delivered-To: {}\r\n", path(recipient)).into_bytes()
}

/// A whole `Message-ID: <unique@domain>` field with its CRLF (RFC 5322 §3.6.4).
#[must_use]
pub fn message_id_header(unique: &str, domain: &str) -> Vec<u8> {
    format!("Message-ID: <{}@{}>\r\n", word(unique), word(domain)).into_bytes()
}

fn put_ip(line: &mut String, ip: IpAddr) {
    // RFC 5321 §4.1.3
    let _infallible = match ip {
        IpAddr::V4(ip) => write!(line, "[{ip}]"),
        IpAddr::V6(ip) => write!(line, "[IPv6:{ip}]"),
    };
}

/// Text for a place where a name or literal stands: what would end it becomes `?`.
fn word(text: &str) -> String {
    if text.is_empty() {
        return "unknown".to_owned();
    }
    let clean = |c: char| if c.is_ascii_graphic() && !"()<>@,;\\\"".contains(c) { c } else { '?' };
    text.chars().take(TEXT_LIMIT).map(clean).collect()
}

/// A mail path without its brackets: control characters and brackets become `?`, UTF-8 stays (RFC 6532 §3.2).
fn path(address: &str) -> String {
    let clean = |c: char| if c.is_control() || matches!(c, '<' | '>') { '?' } else { c };
    address.chars().take(TEXT_LIMIT * 2).map(clean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fields, header_fault};

    fn note() -> Received<'static> {
        Received {
            from_helo: Some("mail.example.net"),
            from_ip: Some(IpAddr::from([192, 0, 2, 1])),
            from_name: Some("mx.example.net"),
            by: "posthorn.example.org",
            protocol: "ESMTPS",
            tls: Some(ReceivedTls { version: "TLSv1.3", cipher: "TLS13_AES_256_GCM_SHA384" }),
            id: "abc123",
            for_: Some("bob@example.org"),
            date: DateTime::from_timestamp(1_795_223_379, 0).expect("in range"),
        }
    }

    #[test]
    fn a_trace_line_says_all_and_is_folded() {
        assert_eq!(
            String::from_utf8(received(&note())).expect("ASCII"),
            "Received: from mail.example.net (mx.example.net [192.0.2.1])\r\n\
            \tby posthorn.example.org with ESMTPS\r\n\
            \t(TLSv1.3 TLS13_AES_256_GCM_SHA384)\r\n\
            \tid abc123\r\n\
            \tfor <bob@example.org>;\r\n\
            \tSat, 21 Nov 2026 01:09:39 +0000\r\n"
        );
    }

    #[test]
    fn what_is_private_or_absent_is_not_said() {
        let short = Received { from_helo: None, from_ip: None, tls: None, for_: None, ..note() };
        assert_eq!(
            String::from_utf8(received(&short)).expect("ASCII"),
            "Received: by posthorn.example.org with ESMTPS\r\n\tid abc123;\r\n\tSat, 21 Nov 2026 01:09:39 +0000\r\n"
        );
    }

    #[test]
    fn addresses_of_both_families_are_literals() {
        let with = |ip: &str| {
            let note = Received { from_name: None, from_ip: ip.parse().ok(), ..note() };
            String::from_utf8(received(&note)).expect("ASCII")
        };
        assert!(with("2001:db8::1").contains(" ([IPv6:2001:db8::1])"));
        assert!(with("::ffff:192.0.2.1").contains(" ([192.0.2.1])"));
    }

    #[test]
    fn hostile_text_cannot_break_the_line() {
        let evil = "x)\r\nSubject: y\r\n\r\n<a@b>;\0ä";
        let long = "h".repeat(100_000);
        let note = Received { from_helo: Some(evil), from_name: Some(&long), for_: Some(evil), id: "", ..note() };
        let line = received(&note);
        assert_eq!(fields(&line).count(), 1);
        assert_eq!(header_fault(&line), None);
        assert!(line.split(|&b| b == b'\n').all(|line| line.len() < 998));
        for line in [return_path(Some(evil)), delivered_to(evil), message_id_header(evil, evil)] {
            assert_eq!((fields(&line).count(), header_fault(&line)), (1, None));
        }
    }

    #[test]
    fn small_lines_are_whole() {
        assert_eq!(return_path(None), b"Return-Path: <>\r\n");
        assert_eq!(return_path(Some("a@b")), b"Return-Path: <a@b>\r\n");
        assert_eq!(delivered_to("grün@b"), "Delivered-To: grün@b\r\n".as_bytes());
        assert_eq!(message_id_header("1.2", "example.org"), b"Message-ID: <1.2@example.org>\r\n");
    }
}
