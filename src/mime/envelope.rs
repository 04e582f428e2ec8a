//! The IMAP ENVELOPE (RFC 9051 §7.5.2).

use std::borrow::Cow;

use crate::address::{Entries, Entry};
use crate::fields;
use crate::wire::{put_nstring, put_string};

/// Renders the parenthesised ENVELOPE of a header block, ready for the wire: date, subject, from, sender, reply-to,
/// to, cc, bcc, in-reply-to, message-id. Values are unfolded, encoded words left as they are, 8-bit octets sent in
/// literals. Of fields that may come once the first counts; recipients are gathered.
#[must_use]
pub fn envelope(header: &[u8]) -> Vec<u8> {
    let found = Found::read(header);
    let mut out = Vec::with_capacity(512);
    out.push(b'(');
    put_nstring(&mut out, found.date.as_deref());
    out.push(b' ');
    put_nstring(&mut out, found.subject.as_deref());
    out.push(b' ');
    let from = addresses(found.from.iter());
    out.extend_from_slice(nil_if_empty(&from));
    for list in [&found.sender, &found.reply_to] {
        out.push(b' ');
        let list = addresses(list.iter());
        out.extend_from_slice(nil_if_empty(if list.is_empty() { &from } else { &list }));
    }
    for lists in [&found.to, &found.cc, &found.bcc] {
        out.push(b' ');
        out.extend_from_slice(nil_if_empty(&addresses(lists.iter())));
    }
    out.push(b' ');
    put_nstring(&mut out, found.in_reply_to.as_deref());
    out.push(b' ');
    put_nstring(&mut out, found.message_id.as_deref());
    out.push(b')');
    out
}

type Value<'h> = Cow<'h, [u8]>;

/// The unfolded values of the fields that an envelope is made from.
#[derive(Default)]
struct Found<'h> {
    date: Option<Value<'h>>,
    subject: Option<Value<'h>>,
    from: Option<Value<'h>>,
    sender: Option<Value<'h>>,
    reply_to: Option<Value<'h>>,
    to: Vec<Value<'h>>,
    cc: Vec<Value<'h>>,
    bcc: Vec<Value<'h>>,
    in_reply_to: Option<Value<'h>>,
    message_id: Option<Value<'h>>,
}

impl<'h> Found<'h> {
    fn read(header: &'h [u8]) -> Self {
        let mut found = Self::default();
        for field in fields(header) {
            let is = |name: &str| field.is(name);
            // The length tells most other fields apart at once.
            let (once, many) = match field.name.len() {
                2 if is("to") => (None, Some(&mut found.to)),
                2 if is("cc") => (None, Some(&mut found.cc)),
                3 if is("bcc") => (None, Some(&mut found.bcc)),
                4 if is("date") => (Some(&mut found.date), None),
                4 if is("from") => (Some(&mut found.from), None),
                6 if is("sender") => (Some(&mut found.sender), None),
                7 if is("subject") => (Some(&mut found.subject), None),
                8 if is("reply-to") => (Some(&mut found.reply_to), None),
                10 if is("message-id") => (Some(&mut found.message_id), None),
                11 if is("in-reply-to") => (Some(&mut found.in_reply_to), None),
                _ => continue,
            };
            if let Some(slot) = once {
                slot.get_or_insert_with(|| field.unfolded());
            }
            if let Some(list) = many {
                list.push(field.unfolded());
            }
        }
        found
    }
}

/// The parenthesised addresses of all lists; nothing when there are none.
fn addresses<'v>(lists: impl Iterator<Item = &'v Value<'v>>) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in lists.flat_map(|list| Entries::new(list)) {
        if out.is_empty() {
            out.push(b'(');
        }
        // Nothing stands between two addresses (RFC 9051 §9 `env-to`). The places are name, route, mailbox, host; a group is said by the NILs (RFC 9051 §7.5.2).
        match entry {
            Entry::Address { name, route, local, domain } => {
                out.push(b'(');
                put_nstring(&mut out, Some(&name[..]).filter(|name| !name.is_empty()));
                out.push(b' ');
                put_nstring(&mut out, Some(&route[..]).filter(|route| !route.is_empty()));
                out.push(b' ');
                put_string(&mut out, &local);
                out.push(b' ');
                put_string(&mut out, &domain);
                out.push(b')');
            }
            Entry::GroupStart(name) => {
                out.extend_from_slice(b"(NIL NIL ");
                put_string(&mut out, &name);
                out.extend_from_slice(b" NIL)");
            }
            Entry::GroupEnd => out.extend_from_slice(b"(NIL NIL NIL NIL)"),
        }
    }
    if !out.is_empty() {
        out.push(b')');
    }
    out
}

fn nil_if_empty(list: &[u8]) -> &[u8] {
    if list.is_empty() { b"NIL" } else { list }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(header: &str) -> String {
        String::from_utf8(envelope(header.as_bytes())).expect("UTF-8 went in")
    }

    #[test]
    fn an_envelope_is_rendered_as_in_the_standard() {
        let header = "Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\nSubject: IMAP4rev2 WG mtg summary\r\n and minutes\r\n\
            From: Terry Gray <gray@cac.washington.edu>\r\nTo: imap@cac.washington.edu\r\n\
            Cc: minutes@CNRI.Reston.VA.US,\r\n John Klensin <KLENSIN@MIT.EDU>\r\nMessage-Id: <B27397@cac>\r\n\r\nBcc: body@x";
        assert_eq!(
            rendered(header),
            concat!(
                r#"("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev2 WG mtg summary and minutes" "#,
                r#"(("Terry Gray" NIL "gray" "cac.washington.edu")) (("Terry Gray" NIL "gray" "cac.washington.edu")) "#,
                r#"(("Terry Gray" NIL "gray" "cac.washington.edu")) ((NIL NIL "imap" "cac.washington.edu")) "#,
                r#"((NIL NIL "minutes" "CNRI.Reston.VA.US")("John Klensin" NIL "KLENSIN" "MIT.EDU")) NIL NIL "<B27397@cac>")"#
            )
        );
    }

    #[test]
    fn an_empty_header_is_all_nil() {
        assert_eq!(rendered(""), "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
    }

    #[test]
    fn groups_gathered_recipients_and_empty_fields_are_written() {
        let header = "From: a@b\r\nSender:\r\nReply-To: r@s\r\nTo: x:;\r\nTo: c@d\r\nSubject:\r\nSubject: two\r\nIn-Reply-To: <q>\r\n";
        assert_eq!(
            rendered(header),
            concat!(
                r#"(NIL "" ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) ((NIL NIL "r" "s")) "#,
                r#"((NIL NIL "x" NIL)(NIL NIL NIL NIL)(NIL NIL "c" "d")) NIL NIL "<q>" NIL)"#
            )
        );
    }

    #[test]
    fn raw_octets_are_literals_and_encoded_words_stay() {
        let text = rendered("Subject: grün\r\nFrom: =?utf-8?Q?J=C3=BCrgen?= <j@x>\r\n");
        assert!(text.starts_with("(NIL {5}\r\ngrün ((\"=?utf-8?Q?J=C3=BCrgen?=\" NIL \"j\" \"x\"))"), "{text}");
    }
}
