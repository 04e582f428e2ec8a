//! Mail that is not kept here, accepted and dropped because policy says so, refused for what is in it, or judged for another
//! server: it leaves a trace, so that it can be asked for.

use posthorn_model::{MessageId, Refusal};
use posthorn_store::chronicle::TraceEntry;

use crate::envelope::Envelope;
use crate::trace::object;
use crate::{Intake, Mail};

impl Mail {
    /// Tells the trace of a message that was looked at and refused.
    pub fn tell_refused(&self, envelope: &Envelope, id: MessageId, size: usize, refusal: &Refusal) {
        let mut detail = envelope.story.clone();
        detail.extend(object([("size", size.into()), ("why", refusal.to_string().into())]));
        self.store.chronicle().tell(about(envelope, &[], self.entry(id, "refused", detail)));
    }

    /// Tells the trace of a message of another server's that was judged: the envelope's story says what was found, and
    /// what became of it.
    pub fn tell_lent(&self, envelope: &Envelope, octets: &[u8]) {
        let mut detail = envelope.story.clone();
        detail.extend(object([("size", octets.len().into())]));
        self.store.chronicle().tell(about(envelope, octets, self.entry(self.store.message_id(), "judged", detail)));
    }

    /// Tells the trace of a message whose client was gone before it was answered: nothing of it is stored.
    pub fn tell_unheard(&self, envelope: &Envelope, size: usize) {
        let mut detail = envelope.story.clone();
        detail.extend(object([("size", size.into()), ("why", "the client hung up before it was answered".into())]));
        self.store.chronicle().tell(about(envelope, &[], self.entry(self.store.message_id(), "dropped", detail)));
    }

    /// Drops a message. Its trace says from whom and for whom it was, and why it went nowhere.
    pub fn discard(&self, envelope: &Envelope, body: Intake, why: &str) -> MessageId {
        let id = self.store.message_id();
        let mut detail = envelope.story.clone();
        detail.extend(object([("size", body.len().into()), ("why", why.into())]));
        self.store.chronicle().tell(about(envelope, body.octets(), self.entry(id, "discarded", detail)));
        id
    }
}

/// An entry with whom the message is from and for, and its own name.
fn about(envelope: &Envelope, octets: &[u8], entry: TraceEntry) -> TraceEntry {
    let end = posthorn_mime::header_end(octets).unwrap_or(octets.len());
    let header_id = posthorn_mime::header_text(&octets[..end], "Message-ID").next();
    let bare = |text: String| text.trim().trim_start_matches('<').trim_end_matches('>').to_owned();
    let mut recipients: Vec<String> =
        envelope.recipients.iter().map(|recipient| recipient.address.to_lowercase()).collect();
    recipients.sort_unstable();
    recipients.dedup();
    let sender = envelope.sender.as_ref().map(ToString::to_string);
    TraceEntry { header_id: header_id.map(bare), sender, recipients, ..entry }
}
