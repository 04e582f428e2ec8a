//! What FETCH brings from the store: no deeper than what was asked for, in batches, and ahead of a client that walks
//! through its messages.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use posthorn_imap::{FetchAttribute, SectionPart};
use posthorn_mail::selected::Octets;
use posthorn_mail::{Mail, Membership, Message};
use posthorn_model::{AccountId, MailboxId, MessageId, Uid};

/// Messages above this many octets are streamed instead of being read whole.
pub(super) const LARGE_OCTETS: u64 = 4 << 20;

/// How many octets of messages a batch brings into memory, one message always: small enough that what is read is still
/// in the processor's cache when it is written.
const BATCH_OCTETS: u64 = 1 << 20;

/// How many batches are read at once while another is written: the database works on one while we unpack the other.
pub(super) const READING: usize = 2;

/// How many octets are read ahead of a client that walks.
const AHEAD_OCTETS: u64 = 512 << 10;

/// How many messages are read ahead of a client that walks.
pub(super) const AHEAD_MESSAGES: usize = 64;

/// How deep a FETCH must read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Depth {
    /// ENVELOPE and nothing else of the row.
    pub(super) envelope: bool,
    /// The row that was computed at delivery.
    pub(super) row: bool,
    /// The header block.
    pub(super) header: bool,
    /// The whole message.
    pub(super) body: bool,
    /// SAVEDATE
    pub(super) saved: bool,
}

/// What was read for a batch.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) envelopes: HashMap<MessageId, Vec<u8>>,
    pub(super) rows: HashMap<MessageId, Message>,
    /// Whole messages, or only their headers.
    pub(super) octets: HashMap<MessageId, Octets>,
    pub(super) saved: HashMap<Uid, DateTime<Utc>>,
}

/// What was read before it was asked for, for a client that fetches one message after the other.
#[derive(Default)]
pub(super) struct Ahead {
    depth: Depth,
    /// The message fetched last.
    last: Uid,
    pub(super) contents: Contents,
}

impl Depth {
    /// The depth of all these attributes together.
    pub(super) fn of(attributes: &[FetchAttribute]) -> Self {
        let mut depth = Self::default();
        for attribute in attributes {
            match attribute {
                FetchAttribute::Envelope => depth.envelope = true,
                FetchAttribute::Body | FetchAttribute::BodyStructure | FetchAttribute::Preview { .. } => {
                    depth.row = true;
                }
                FetchAttribute::SaveDate => depth.saved = true,
                FetchAttribute::Binary { .. } | FetchAttribute::BinarySize { .. } => {
                    (depth.row, depth.body) = (true, true);
                }
                FetchAttribute::BodySection { section, .. } => depth.need(&section.path, &section.part),
                FetchAttribute::Rfc822(part) => depth.need(&[], &part.section().part),
                _ => {}
            }
        }
        depth
    }

    fn need(&mut self, path: &[u32], part: &SectionPart) {
        match part {
            _ if !path.is_empty() => (self.row, self.body) = (true, true),
            SectionPart::Header | SectionPart::HeaderFields(_) | SectionPart::HeaderFieldsNot(_) => self.header = true,
            SectionPart::Mime | SectionPart::Text | SectionPart::Whole => self.body = true,
        }
    }

    /// Whether octets of the messages are read.
    fn opens(self) -> bool {
        self.body || self.header
    }

    /// How many messages are read at once.
    pub(super) fn batch(self, rest: &[Membership]) -> usize {
        if self.body {
            return within(rest, 200, BATCH_OCTETS);
        }
        let most = match self {
            Self { header: true, .. } => 500,
            Self { row: false, envelope: false, saved: false, .. } => rest.len(),
            _ => 2000,
        };
        rest.len().min(most)
    }
}

impl Contents {
    /// Whether everything was found that this message's answer is written from; large messages are read later.
    pub(super) fn have(&self, member: &Membership, depth: Depth) -> bool {
        let has_row = !depth.row || self.rows.contains_key(&member.message);
        let has_envelope = !depth.envelope || depth.row || self.envelopes.contains_key(&member.message);
        let large = depth.body && u64::from(member.size) > LARGE_OCTETS;
        has_row && has_envelope && (!depth.opens() || large || self.octets.contains_key(&member.message))
    }
}

impl Ahead {
    /// Brings the contents of one message: from what was read ahead, or, when the client walks, with what follows it.
    pub(super) async fn turn_to(
        &mut self,
        mail: &Mail,
        (account, mailbox): (AccountId, MailboxId),
        depth: Depth,
        following: &[Membership],
    ) -> posthorn_mail::Result<()> {
        let Some(first) = following.first() else { return Ok(()) };
        let walks = self.depth == depth && first.uid > self.last && self.last > 0;
        let known = self.depth == depth && self.contents.octets.contains_key(&first.message);
        if !known {
            let count = if walks && depth.opens() { within(following, AHEAD_MESSAGES, AHEAD_OCTETS) } else { 1 };
            self.contents = read(mail, (account, mailbox), depth, &following[..count]).await?;
            self.depth = depth;
        }
        self.last = first.uid;
        Ok(())
    }
}

/// Reads what this depth needs of these messages. Messages above [`LARGE_OCTETS`] are left to be streamed.
pub(super) async fn read(
    mail: &Mail,
    (account, mailbox): (AccountId, MailboxId),
    depth: Depth,
    part: &[Membership],
) -> posthorn_mail::Result<Contents> {
    let mut contents = Contents::default();
    let ids = || part.iter().map(|member| member.message.0).collect::<Vec<i64>>();
    if depth.row {
        contents.rows = mail.messages(&ids()).await?;
    } else if depth.envelope {
        contents.envelopes = mail.envelopes(&ids()).await?;
    }
    if depth.body {
        let small = |member: &&Membership| u64::from(member.size) <= LARGE_OCTETS;
        let ids: Vec<i64> = part.iter().filter(small).map(|member| member.message.0).collect();
        if !ids.is_empty() {
            contents.octets = mail.bodies(&ids).await?;
        }
    } else if depth.header {
        contents.octets = mail.headers(&ids()).await?;
    }
    if depth.saved {
        contents.saved = mail.saved(account, mailbox, &part.iter().map(|member| member.uid).collect()).await?;
    }
    Ok(contents)
}

/// How many of the first messages stay within these bounds, but at least one.
fn within(rest: &[Membership], most: usize, most_octets: u64) -> usize {
    let mut octets = 0;
    let fits = |member: &&Membership| {
        octets += u64::from(member.size);
        octets <= most_octets
    };
    rest.iter().take(most).take_while(fits).count().max(1).min(rest.len())
}
