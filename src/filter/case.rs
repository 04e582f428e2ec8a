//! A message with everything that is known of it.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use posthorn_contents::Contents;
use posthorn_mail::checks::Checked;
use posthorn_mail::envelope::Envelope;
use posthorn_model::policy::Inquiry;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Way {
    /// From outside, to us.
    Inbound,
    /// From one of our own people, or a host that may send through us.
    Originating,
    /// From our own list manager to its subscribers: only scanned for viruses.
    List,
    /// It comes back from an outside content filter, which has judged it.
    Reinjected,
}

/// A message that is to be judged. Cheap to make: everything is borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// Which way it goes.
    pub way: Way,
    /// What is known of the client, as policy has it.
    pub inquiry: &'a Inquiry,
    /// Who it is from and for.
    pub envelope: &'a Envelope,
    /// Header and body as they came.
    pub octets: &'a Bytes,
    /// What was found out about its origin; `None` where nothing was.
    pub checked: Option<&'a Checked>,
    /// The present moment.
    pub now: DateTime<Utc>,
}

impl Case<'_> {
    /// Its header, with the blank line.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        let end = posthorn_mime::header_end(self.octets).unwrap_or(self.octets.len());
        &self.octets[..end]
    }

    /// The reverse path; empty for the null path.
    #[must_use]
    pub fn sender(&self) -> String {
        self.envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

/// A case that was looked into.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The case.
    pub case: &'a Case<'a>,
    /// What is inside the message.
    pub contents: &'a Contents,
}
