//! Reports that come back: read, tied to what we sent, and remembered. Whoever sent the message gets them in any case.

use chrono::{DateTime, Utc};
use posthorn_model::{Address, MessageId, QueueId};
use posthorn_report::{Action, Category, Class, Incoming, Kind, Reported};
use posthorn_store::chronicle::{self, TraceEntry};
use posthorn_store::suppressions::Suppression;
use posthorn_trust::Bounced;

use crate::envelope::Envelope;
use crate::return_paths::Returned;
use crate::trace::object;
use crate::{Mail, Result};

/// The most octets of a report that are read.
const LOOKED_AT: usize = 1 << 20;

/// Messages with the same Message-ID that are looked through.
const NAMESAKES: u32 = 5;

/// A message of ours that a report is about.
struct Sent {
    message: MessageId,
    sender: Option<Address>,
    /// Everybody it went to, folded.
    recipients: Vec<String>,
    /// The one that the return path names.
    named: Option<String>,
}

impl Mail {
    /// Reads a message that may be a report on one of ours. What fails is logged: the report is delivered anyway.
    pub(crate) async fn read_report(&self, envelope: &Envelope, raw: &[u8]) {
        let bounced = self.bounced(envelope);
        let plain = envelope.sender.is_some() && bounced.is_none();
        if plain && !may_complain(raw) {
            return;
        }
        let Some(report) = posthorn_report::read(&raw[..raw.len().min(LOOKED_AT)]) else { return };
        // Complaints have senders of their own (RFC 5965); other reports have none.
        if plain && report.kind != Kind::Complaint {
            return;
        }
        if let Err(error) = self.take_report(&report, bounced).await {
            tracing::warn!(%error, "a report that came back was not looked into");
        }
    }

    /// What the return path says that the message came to.
    fn bounced(&self, envelope: &Envelope) -> Option<Bounced> {
        let now = self.now();
        let addresses = envelope.recipients.iter().filter_map(|recipient| Address::parse(&recipient.address).ok());
        addresses.into_iter().find_map(|address| match self.shared.paths.read(&address, now) {
            Some(Returned::Bounce(bounced)) => Some(bounced),
            _ => None,
        })
    }

    async fn take_report(&self, report: &Incoming, bounced: Option<Bounced>) -> Result<()> {
        let Some(sent) = self.sent(report, bounced).await? else {
            tracing::info!(
                header.message_id = report.message_id.as_deref(),
                "a report about nothing that was sent here"
            );
            return Ok(());
        };
        let now = self.now();
        let mut suppressed = Vec::new();
        for reported in &report.recipients {
            let Some(recipient) = recipient_of(&sent, reported) else { continue };
            let class = reported.class();
            let kind = if report.kind == Kind::Complaint { "complained" } else { "returned" };
            let failed = reported.action == Action::Failed && report.kind != Kind::Complaint;
            let detail = object([
                ("recipient", recipient.as_str().into()),
                ("action", reported.action.as_str().into()),
                ("status", reported.status.map(|status| status.to_string()).into()),
                ("reply", reported.diagnostic.as_deref().into()),
                ("host", reported.remote_mta.as_deref().into()),
                ("by", report.reporting_mta.as_deref().into()),
                ("class", failed.then(|| class.number()).into()),
                ("class_name", failed.then(|| class.name()).into()),
                ("feedback", report.feedback.as_ref().map(|feedback| feedback.kind.as_str()).into()),
            ]);
            self.store.chronicle().tell(self.entry(sent.message, kind, detail));
            if failed && class.category() == Category::Hard {
                let reason = reported.diagnostic.clone().unwrap_or_else(|| class.name().to_owned());
                suppressed.extend(self.unwelcome(&sent, &recipient, (class, reason), now));
            }
            if let Some(reason) = complaint(report) {
                suppressed.extend(self.unwelcome(&sent, &recipient, (Class::UNSUBSCRIBE, reason), now));
            }
        }
        if report.recipients.is_empty() {
            let feedback = report.feedback.as_ref().map(|feedback| feedback.kind.as_str());
            let detail = object([
                ("by", report.reporting_mta.as_deref().into()),
                ("feedback", feedback.into()),
                ("recipient", sent.named.as_deref().into()),
            ]);
            let kind = if report.kind == Kind::Complaint { "complained" } else { "returned" };
            self.store.chronicle().tell(self.entry(sent.message, kind, detail));
            // Providers black out who complained; our return path knows, and is proof.
            if let (Some(recipient), Some(reason)) = (&sent.named, complaint(report)) {
                suppressed.extend(self.unwelcome(&sent, recipient, (Class::UNSUBSCRIBE, reason), now));
            }
        }
        if !suppressed.is_empty() {
            self.suppress_all(&suppressed).await;
        }
        Ok(())
    }

    /// Finds the message: by the return path, which nobody else can write, or else by what the report says, if it was
    /// really sent from here to those whom the report names.
    async fn sent(&self, report: &Incoming, bounced: Option<Bounced>) -> Result<Option<Sent>> {
        // What comes back at once was told a moment ago.
        self.store.chronicle().flush().await;
        let mut connection = self.store.acquire().await?;
        if let Some(bounced) = bounced {
            let Some(message) = chronicle::message_of(&mut connection, bounced.queue).await? else {
                return Ok(None);
            };
            let mut sent = summary(message, chronicle::of_message(&mut connection, message).await?);
            let spelt = bounced.recipient().map(str::to_lowercase);
            sent.named =
                spelt.or_else(|| sent.recipients.iter().find(|one| self.shared.paths.is_for(&bounced, one)).cloned());
            return Ok(Some(sent));
        }
        let mut candidates = Vec::new();
        if let Some(id) = report.envelope_id.as_deref().and_then(|id| id.parse::<QueueId>().ok()) {
            candidates.extend(chronicle::message_of(&mut connection, id).await?);
        }
        if let Some(id) = &report.message_id {
            candidates.extend(chronicle::by_header_id(&mut connection, id, NAMESAKES).await?);
        }
        for message in candidates {
            let entries = chronicle::of_message(&mut connection, message).await?;
            if !entries.iter().any(|entry| entry.kind == "queued") {
                continue;
            }
            let sent = summary(message, entries);
            let names_ours = |reported: &Reported| recipient_of(&sent, reported).is_some();
            if report.recipients.is_empty() || report.recipients.iter().any(names_ours) {
                return Ok(Some(sent));
            }
        }
        Ok(None)
    }

    /// What to remember of a recipient that does not exist, or wants no mail.
    fn unwelcome(
        &self,
        sent: &Sent,
        recipient: &str,
        (class, reason): (Class, String),
        now: DateTime<Utc>,
    ) -> Option<Suppression> {
        let domain = sent.sender.as_ref()?.domain().as_str();
        let policy = self.shared.policies.of(Some(domain));
        policy.suppress.then(|| Suppression {
            sender_domain: domain.to_owned(),
            recipient: recipient.to_owned(),
            class: i16::from(class.number()),
            reason,
            message: Some(sent.message),
            added_at: now,
            expires_at: Some(now + policy.suppress_for.duration()),
        })
    }
}

/// Whether a message that has a sender is worth reading as a complaint.
fn may_complain(raw: &[u8]) -> bool {
    let header = &raw[..posthorn_mime::header_end(raw).unwrap_or(raw.len())];
    let is_feedback = |text: String| text.to_ascii_lowercase().contains("feedback-report");
    posthorn_mime::header_text(header, "Content-Type").any(is_feedback)
}

/// Why a complaint means that its author wants no more mail; `None` for other feedback, such as that it was no spam.
fn complaint(report: &Incoming) -> Option<String> {
    let kind = report.feedback.as_ref().map(|feedback| feedback.kind.as_str())?;
    let meant = report.kind == Kind::Complaint && matches!(kind, "abuse" | "fraud" | "opt-out" | "opt-out-list");
    meant.then(|| format!("the recipient complained ({kind})"))
}

fn summary(message: MessageId, entries: Vec<TraceEntry>) -> Sent {
    let sender = entries.iter().find_map(|entry| entry.sender.as_deref()).and_then(|text| Address::parse(text).ok());
    let recipients = entries.into_iter().flat_map(|entry| entry.recipients).map(|one| one.to_lowercase()).collect();
    Sent { message, sender, recipients, named: None }
}

/// Which of the recipients that we sent to a report is about.
fn recipient_of(sent: &Sent, reported: &Reported) -> Option<String> {
    if let Some(named) = &sent.named {
        return Some(named.clone());
    }
    let texts = [reported.original_recipient.as_deref(), reported.recipient.as_deref()];
    let folded = texts.into_iter().flatten().map(|text| bare(text).to_lowercase());
    folded.into_iter().find(|text| sent.recipients.contains(text))
}

/// Without the address type that reports write in front.
fn bare(text: &str) -> &str {
    text.split_once(';').map_or(text, |(_, address)| address).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(recipient: &str, original: Option<&str>) -> Reported {
        Reported {
            recipient: Some(recipient.to_owned()),
            original_recipient: original.map(str::to_owned),
            action: Action::Failed,
            status: None,
            code: None,
            diagnostic: None,
            remote_mta: None,
        }
    }

    #[test]
    fn only_whom_we_wrote_to_is_believed() {
        let mut sent =
            Sent { message: MessageId(1), sender: None, recipients: vec!["b@example.com".to_owned()], named: None };
        assert_eq!(recipient_of(&sent, &reported("B@example.com", None)).as_deref(), Some("b@example.com"));
        let rewritten = reported("x@elsewhere.example", Some("rfc822; b@example.com"));
        assert_eq!(recipient_of(&sent, &rewritten).as_deref(), Some("b@example.com"));
        assert_eq!(recipient_of(&sent, &reported("victim@example.com", None)), None);
        sent.named = Some("c@example.com".to_owned());
        assert_eq!(recipient_of(&sent, &reported("x@elsewhere.example", None)).as_deref(), Some("c@example.com"));
    }
}
