//! Verdicts on content that was seen a moment ago.

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use moka::sync::Cache;
use posthorn_filter::Scanned;

/// A bounded memory of verdicts by content.
pub(crate) struct Remembered(Cache<Key, Scanned>);

pub(crate) type Key = [u8; 32];

/// Each costs a few hundred octets.
const MOST: u64 = 4096;

impl Remembered {
    pub(crate) fn new(time: Duration) -> Self {
        Self(Cache::builder().max_capacity(MOST).time_to_live(time).build())
    }

    /// The name of a content: the body, and of the header what says how to read it and what is shown of it. The rest,
    /// such as Received and Message-ID, differs between copies of the same thing.
    pub(crate) fn key(octets: &[u8]) -> Key {
        let end = memchr::memmem::find(octets, b"\r\n\r\n").map_or(octets.len(), |at| at + 2);
        let (header, body) = octets.split_at(end);
        let mut context = Context::new(&SHA256);
        let mut counts = false;
        for line in header.split_inclusive(|octet| *octet == b'\n') {
            if !matches!(line.first(), Some(b' ' | b'\t')) {
                let begins = |name: &[u8]| line.get(..name.len()).is_some_and(|word| word.eq_ignore_ascii_case(name));
                counts = [&b"content-"[..], b"mime-version:", b"from:", b"subject:"].into_iter().any(begins);
            }
            if counts {
                context.update(line);
            }
        }
        context.update(b"\r\n");
        context.update(body);
        finish(context)
    }

    /// The name of a part of a message; never that of a message.
    pub(crate) fn key_of_part(octets: &[u8]) -> Key {
        let mut context = Context::new(&SHA256);
        context.update(b"part\n");
        context.update(octets);
        finish(context)
    }

    pub(crate) fn look_up(&self, key: &Key) -> Option<Scanned> {
        self.0.get(key)
    }

    /// What could not be looked at is asked again.
    pub(crate) fn learn(&self, key: Key, said: &Scanned) {
        if said.unchecked.is_none() {
            self.0.insert(key, said.clone());
        }
    }
}

fn finish(context: Context) -> Key {
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_the_same_thing_have_one_key() {
        let one = Remembered::key(b"Received: a\r\n b\r\nSubject: x\r\nTo: a@b\r\n\r\nbody");
        assert_eq!(one, Remembered::key(b"Received: c\r\nSubject: x\r\n\r\nbody"));
        for other in [
            &b"Subject: y\r\n\r\nbody"[..],
            b"Subject: x\r\nContent-Type: text/html\r\n\r\nbody",
            b"Subject: x\r\n y\r\n\r\nbody",
            b"Subject: x\r\n\r\nbody.",
            b"Subject: x\r\nbody",
        ] {
            assert_ne!(one, Remembered::key(other), "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn what_was_not_seen_is_not_remembered() {
        let remembered = Remembered::new(Duration::from_secs(60));
        let key = Remembered::key(b"\r\nx");
        let unchecked = Scanned { unchecked: Some("too large".to_owned()), ..Scanned::default() };
        remembered.learn(key, &unchecked);
        assert_eq!(remembered.look_up(&key), None);
        let virus = Scanned { viruses: vec!["Eicar".to_owned()], ..Scanned::default() };
        remembered.learn(key, &virus);
        assert_eq!(remembered.look_up(&key), Some(virus));
    }
}
