//! What waits to be sent, and how octets get there without copies where they are many.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::quoted;

/// Chunks below this size are copied: cheaper than a buffer of their own.
const COPY_LIMIT: usize = 4096;

/// The untagged half of the session: everything the application writes while a command runs or the client idles.
/// Mailbox names and strings are written as the client's enabled extensions allow.
#[derive(Debug, Default)]
pub struct Output {
    ready: VecDeque<Bytes>,
    pub(crate) tail: BytesMut,
    ready_len: usize,
    /// Strings may be UTF-8 in quotes, mailbox names are UTF-8.
    pub(crate) utf8: bool,
    /// The client has enabled IMAP4rev2: RECENT is not spoken of.
    pub(crate) rev2: bool,
    /// The FETCH response in progress holds no item yet. Kept here because its writer comes and goes.
    pub(crate) no_item: bool,
}

/// Extended data of a LIST response (RFC 5258 §4, RFC 9051 §7.3.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Extended<'a> {
    /// `CHILDINFO ("SUBSCRIBED")`
    ChildInfoSubscribed,
    /// `OLDNAME (name)`
    OldName(&'a str),
}

impl Output {
    /// An empty output, for a client that has enabled nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Octets that wait to be sent.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ready_len + self.tail.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies octets to the end: the inside of an announced literal, or a response rendered elsewhere.
    pub fn raw(&mut self, octets: &[u8]) {
        self.tail.extend_from_slice(octets);
    }

    /// Puts octets at the end, without a copy when they are many.
    pub fn raw_bytes(&mut self, octets: Bytes) {
        if octets.len() < COPY_LIMIT {
            self.tail.extend_from_slice(&octets);
            return;
        }
        if !self.tail.is_empty() {
            let before = self.tail.split().freeze();
            self.ready_len += before.len();
            self.ready.push_back(before);
        }
        self.ready_len += octets.len();
        self.ready.push_back(octets);
    }

    /// Takes the next piece to send.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        if let Some(piece) = self.ready.pop_front() {
            self.ready_len -= piece.len();
            return Some(piece);
        }
        if self.tail.is_empty() { None } else { Some(self.tail.split().freeze()) }
    }

    pub(crate) fn number(&mut self, number: u64) {
        quoted::put_number(&mut self.tail, number);
    }

    pub(crate) fn string(&mut self, text: &[u8]) {
        quoted::put_string(&mut self.tail, text, self.utf8);
    }

    pub(crate) fn nstring(&mut self, text: Option<&[u8]>) {
        match text {
            None => self.raw(b"NIL"),
            Some(text) => self.string(text),
        }
    }

    pub(crate) fn astring(&mut self, text: &[u8]) {
        quoted::put_astring(&mut self.tail, text, self.utf8);
    }

    /// Writes a mailbox name in the encoding this client reads.
    pub(crate) fn mailbox(&mut self, name: &str) {
        if self.utf8 {
            quoted::put_astring(&mut self.tail, name.as_bytes(), true);
        } else {
            quoted::put_astring(&mut self.tail, crate::mailbox_name::encode(name).as_bytes(), false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_and_much_is_not_copied() {
        let mut out = Output::new();
        let large = Bytes::from(vec![b'x'; COPY_LIMIT]);
        out.raw(b"a");
        out.raw_bytes(large.clone());
        out.raw_bytes(Bytes::from_static(b"b"));
        assert_eq!(out.len(), COPY_LIMIT + 2);
        assert_eq!(out.take().as_deref(), Some(&b"a"[..]));
        let middle = out.take().expect("the large piece");
        assert_eq!(middle.as_ptr(), large.as_ptr());
        assert_eq!(out.take().as_deref(), Some(&b"b"[..]));
        assert_eq!(out.take(), None);
        assert!(out.is_empty());
    }

    #[test]
    fn names_follow_what_is_enabled() {
        let mut out = Output::new();
        out.mailbox("Entwürfe");
        out.utf8 = true;
        out.mailbox("Entwürfe");
        assert_eq!(out.take().as_deref(), Some("Entw&APw-rfe\"Entwürfe\"".as_bytes()));
    }
}
