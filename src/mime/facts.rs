//! What the store notes of a message's header, by one scan.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};

use crate::address::first_mailbox;
use crate::field::{blank_line, first_field};
use crate::{Mailbox, base_subject, charset, parse_date};

/// More references are left out in the middle: the root and the latest tell the thread.
const REFERENCE_LIMIT: usize = 256;
/// Octets of a subject or `From` value that are looked at.
const VALUE_LIMIT: usize = 16 * 1024;
/// A longer message-id is none (RFC 5322 §2.1.1: no line is longer).
const ID_LIMIT: usize = 998;

/// Header facts for threading, sorting and JMAP.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    /// The message-id without angle brackets.
    pub message_id: Option<String>,
    /// The first message-id of `In-Reply-To`, without angle brackets.
    pub in_reply_to: Option<String>,
    /// The message-ids of `References` in order, without angle brackets; at most 256 (the first and the last 255).
    pub references: Vec<String>,
    /// The subject with encoded words decoded and white space collapsed, made from at most 16 KiB.
    pub subject: String,
    /// The base subject (RFC 5256 §2.1), case as written.
    pub base_subject: String,
    /// Whether the subject says that this is a reply or forward (RFC 5256 §2.1).
    pub is_reply: bool,
    /// The moment that `Date` names.
    pub sent: Option<DateTime<Utc>>,
    /// The first mailbox of `From`.
    pub from: Option<Mailbox>,
    /// Octets of the header, blank line included.
    pub header_size: usize,
}

impl Facts {
    /// Reads the facts of a message or of its header block alone. Of every field the first counts.
    #[must_use]
    pub fn of(message: &[u8]) -> Self {
        let mut facts = Self::default();
        let (mut dated, mut subjected) = (false, false);
        let mut at = 0;
        while at < message.len() {
            let rest = &message[at..];
            if let Some(len) = blank_line(rest) {
                at += len;
                break;
            }
            let field = first_field(rest);
            at += field.raw.len();
            match field.name.len() {
                4 if !dated && field.is("date") => {
                    dated = true;
                    facts.sent = parse_date(&field.unfolded());
                }
                4 if facts.from.is_none() && field.is("from") => facts.from = first_mailbox(front(&field.unfolded())),
                7 if !subjected && field.is("subject") => {
                    subjected = true;
                    facts.read_subject(front(&field.unfolded()));
                }
                10 if facts.message_id.is_none() && field.is("message-id") => {
                    facts.message_id = ids(field.value).next();
                }
                10 if facts.references.is_empty() && field.is("references") => {
                    facts.references = references(field.value)
                }
                11 if facts.in_reply_to.is_none() && field.is("in-reply-to") => {
                    facts.in_reply_to = ids(field.value).next();
                }
                _ => {}
            }
        }
        facts.header_size = at;
        facts
    }

    fn read_subject(&mut self, value: &[u8]) {
        let text = charset::words(value);
        let reduced = base_subject(&text);
        self.subject = text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.base_subject = reduced.base;
        self.is_reply = reduced.is_reply;
    }
}

fn references(value: &[u8]) -> Vec<String> {
    let mut all = VecDeque::new();
    for id in ids(value) {
        if all.len() == REFERENCE_LIMIT {
            all.remove(1);
        }
        all.push_back(id);
    }
    all.into()
}

/// The front of a value that facts are read from.
fn front(value: &[u8]) -> &[u8] {
    &value[..value.len().min(VALUE_LIMIT)]
}

/// The texts between angle brackets, without white space; folding inside an id happens.
fn ids(value: &[u8]) -> impl Iterator<Item = String> + '_ {
    let mut rest = value;
    std::iter::from_fn(move || {
        loop {
            let start = memchr::memchr(b'<', rest)? + 1;
            rest = &rest[start..];
            let end = memchr::memchr2(b'<', b'>', rest)?;
            let (inside, tail) = rest.split_at(end);
            rest = tail;
            if tail.starts_with(b">") && inside.len() <= ID_LIMIT {
                let id: Vec<u8> = inside.iter().copied().filter(|b| !b.is_ascii_whitespace() && *b != 0).collect();
                if !id.is_empty() {
                    return Some(String::from_utf8_lossy(&id).into_owned());
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_scan_finds_all_facts() {
        let facts = Facts::of(
            b"Message-ID: <1@x>\r\nIn-Reply-To: text <0@x> <z@x>\r\nReferences: <a@x>\r\n <b@\r\n\tx> junk <<c@x>\r\n\
            Subject: =?utf-8?Q?Re:_gr=C3=BCn?=\r\n  [list]  \r\nDate: Sat, 21 Nov 2026 01:09:39 +0000\r\n\
            From: \"J. D.\" <j@d>, <k@d>\r\nFrom: other@x\r\n\r\nSubject: body",
        );
        assert_eq!(facts.message_id.as_deref(), Some("1@x"));
        assert_eq!(facts.in_reply_to.as_deref(), Some("0@x"));
        assert_eq!(facts.references, ["a@x", "b@x", "c@x"]);
        assert_eq!(facts.subject, "Re: grün [list]");
        assert_eq!(facts.base_subject, "grün [list]");
        assert!(facts.is_reply);
        assert_eq!(facts.sent.map(|date| date.timestamp()), Some(1_795_223_379));
        assert_eq!(facts.from, Some(Mailbox { name: "J. D.".into(), address: "j@d".into() }));
        assert_eq!(facts.header_size, 224);
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        assert_eq!(Facts::of(b""), Facts::default());
        let facts = Facts::of(b"Message-ID: none\r\nReferences: <>\r\nDate: soon\r\nFrom:\r\n");
        assert_eq!(facts, Facts { header_size: 53, ..Facts::default() });
    }

    #[test]
    fn long_references_keep_both_ends() {
        let ids: Vec<String> = (0..1000).map(|n| format!("<{n}@x>")).collect();
        let facts = Facts::of(format!("References: {}\r\n", ids.join(" ")).as_bytes());
        assert_eq!(facts.references.len(), REFERENCE_LIMIT);
        assert_eq!((facts.references[0].as_str(), facts.references[1].as_str()), ("0@x", "745@x"));
        assert_eq!(facts.references.last().map(String::as_str), Some("999@x"));
    }
}
