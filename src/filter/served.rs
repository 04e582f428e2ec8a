//! Who has a message already whose sender was told to come again.
//!
//! Where one reply answers for all recipients, one who must wait brings the whole message back for everybody. There is no
//! queue here that could keep a copy for that one alone, and to serve nobody until all can be served would keep mail from many
//! because of one. So those who were served are kept in mind, and left out when the message comes again; as soon as its
//! sender hears yes, they are forgotten.
//!
//! This is memory, bounded, of one process. After a restart, and when a reply is lost behind the final dot, a message may
//! come twice, never not at all: a recipient is left out only if the same content, from the same sender, was taken for
//! exactly this recipient by the same next one.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

/// Who was served, with what was said of it.
pub struct Served(Cache<Key, Arc<str>>);

/// A message of one sender on its way to one next one, whoever its recipients are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Errand(Key);

type Key = [u8; 32];

/// Each costs a few hundred octets.
const MOST: u64 = 1 << 16;
/// Longer than mail servers wait between two tries.
const TIME: Duration = Duration::from_secs(24 * 60 * 60);
/// Above this many octets a message is read away from the threads that serve sessions.
const LARGE: usize = 256 << 10;

impl Errand {
    /// That of a message from `sender` (empty for the null path) to `next`.
    pub async fn of(octets: &Bytes, sender: &str, next: &str) -> Self {
        if octets.len() < LARGE {
            return Self::read(octets, sender, next);
        }
        let (all, from, to) = (octets.clone(), sender.to_owned(), next.to_owned());
        let read = tokio::task::spawn_blocking(move || Self::read(&all, &from, &to)).await;
        read.unwrap_or_else(|_| Self::read(octets, sender, next))
    }

    /// Of the header only what its author wrote counts: who hands it on puts fields of each try on top.
    fn read(octets: &[u8], sender: &str, next: &str) -> Self {
        let (header, text) = octets.split_at(posthorn_mime::header_end(octets).unwrap_or(octets.len()));
        let mut context = Context::new(&SHA256);
        for word in [sender, next] {
            context.update(&word.len().to_be_bytes());
            context.update(word.as_bytes());
        }
        let content = |name: &[u8]| name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"Content-"));
        for field in posthorn_mime::fields(header) {
            if content(field.name) || AUTHORS.iter().any(|name| field.is(name)) {
                context.update(field.raw);
            }
        }
        context.update(b"\r\n");
        context.update(text);
        Self(key(context))
    }

    fn to(&self, recipient: &str) -> Key {
        let mut context = Context::new(&SHA256);
        context.update(&self.0);
        context.update(recipient.as_bytes());
        key(context)
    }
}

/// RFC 5322 §3.6, without what is written on the way.
const AUTHORS: [&str; 12] = [
    "Bcc",
    "Cc",
    "Date",
    "From",
    "In-Reply-To",
    "Message-ID",
    "MIME-Version",
    "References",
    "Reply-To",
    "Sender",
    "Subject",
    "To",
];

fn key(context: Context) -> Key {
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}

impl Default for Served {
    fn default() -> Self {
        let oldest_first = Cache::builder().max_capacity(MOST).eviction_policy(EvictionPolicy::lru());
        Self(oldest_first.time_to_idle(TIME).build())
    }
}

impl Served {
    /// Whether nothing is remembered: then no message need be read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.entry_count() == 0
    }

    /// What was said when this recipient was served at an earlier try.
    #[must_use]
    pub fn find(&self, errand: &Errand, recipient: &str) -> Option<String> {
        self.0.get(&errand.to(recipient)).map(|said| said.to_string())
    }

    /// This recipient was served, and the sender may have to come again.
    pub fn note(&self, errand: &Errand, recipient: &str, said: &str) {
        self.0.insert(errand.to(recipient), said.into());
        self.count();
    }

    /// The sender has heard that they were served.
    pub fn forget<'r>(&self, errand: &Errand, recipients: impl IntoIterator<Item = &'r str>) {
        recipients.into_iter().for_each(|recipient| self.0.invalidate(&errand.to(recipient)));
        self.count();
    }

    /// What is asked before each message must be true at once.
    fn count(&self) {
        self.0.run_pending_tasks();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str =
        "Received: by a; Mon, 7 Feb 1994 21:52:25 +0000\r\nFrom: a@b\r\nMessage-ID: <1@b>\r\n\r\nbody\r\n";

    async fn errand(text: &str) -> Errand {
        Errand::of(&Bytes::copy_from_slice(text.as_bytes()), "a@b", "smtp:127.0.0.1:25").await
    }

    #[tokio::test]
    async fn a_message_is_known_again_whatever_was_put_on_top() {
        let one = errand(MESSAGE).await;
        let again = MESSAGE.replace("by a", "by b").replace("From:", "X-Greylist: delayed\r\nFrom:");
        assert_eq!(one, errand(&again).await);
        for (was, is) in
            [("body", "bodi"), ("<1@b>", "<2@b>"), ("From: a@b", "From: b@b"), ("\r\n\r\n", "\r\nCc: c@d\r\n\r\n")]
        {
            assert_ne!(one, errand(&MESSAGE.replacen(was, is, 1)).await, "{was}");
        }
        let octets = Bytes::from_static(MESSAGE.as_bytes());
        for (sender, next) in [("", "smtp:127.0.0.1:25"), ("a@b", "smtp:127.0.0.1:26"), ("a@bs", "mtp:127.0.0.1:25")] {
            assert_ne!(one, Errand::of(&octets, sender, next).await, "{sender} {next}");
        }
        let large = format!("{MESSAGE}{}", "x".repeat(LARGE));
        assert_eq!(errand(&large).await, Errand::read(large.as_bytes(), "a@b", "smtp:127.0.0.1:25"));
    }

    #[tokio::test]
    async fn each_recipient_is_remembered_until_all_is_said() {
        let (served, errand) = (Served::default(), errand(MESSAGE).await);
        assert!(served.is_empty());
        served.note(&errand, "bob@c", "250 fine");
        assert!(!served.is_empty());
        assert_eq!(served.find(&errand, "bob@c").as_deref(), Some("250 fine"));
        assert_eq!(served.find(&errand, "eve@c"), None);
        served.forget(&errand, ["bob@c", "eve@c"]);
        assert!(served.is_empty() && served.find(&errand, "bob@c").is_none());
    }

    #[tokio::test]
    async fn the_oldest_make_room() {
        let (served, errand) = (Served::default(), errand(MESSAGE).await);
        for number in 0..=MOST {
            served.0.insert(errand.to(&number.to_string()), "".into());
            if number % 1024 == 0 {
                served.count();
            }
        }
        served.count();
        assert!(served.0.entry_count() <= MOST);
        assert_eq!(served.find(&errand, "0"), None);
        assert!(served.find(&errand, &MOST.to_string()).is_some());
    }
}
