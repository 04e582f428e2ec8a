//! What a report that came back says.

use chrono::{DateTime, Utc};
use posthorn_model::EnhancedCode;

use crate::{Action, Class, Feedback, classify};

/// A report about a message that we may have sent. Every text in it was written by a stranger: it is bounded and
/// free of control characters, and that is all that is certain of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Incoming {
    /// What sort of report it is.
    pub kind: Kind,
    /// The host that reports, from Reporting-MTA or the like.
    pub reporting_mta: Option<String>,
    /// The envelope id that we gave with MAIL (RFC 3461 §4.4), decoded.
    pub envelope_id: Option<String>,
    /// The Message-ID of the message reported on, without angle brackets.
    pub message_id: Option<String>,
    /// When the reporting host got the message.
    pub arrival_date: Option<DateTime<Utc>>,
    /// What happened to which recipient; empty when the report names none. At most 1 000.
    pub recipients: Vec<Reported>,
    /// The details of a complaint.
    pub feedback: Option<Feedback>,
}

/// What sort of report.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Kind {
    /// A delivery status notification with its fields (RFC 3464).
    #[default]
    Status,
    /// A notification in prose, as qmail, Exim, Exchange and others write it.
    Prose,
    /// A complaint of a recipient or other feedback (RFC 5965).
    Complaint,
}

/// One recipient of a report.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reported {
    /// The address that the reporting host tried.
    pub recipient: Option<String>,
    /// The address that we named, where the report says so (Original-Recipient).
    pub original_recipient: Option<String>,
    /// What happened.
    pub action: Action,
    /// The status code.
    pub status: Option<EnhancedCode>,
    /// The SMTP reply code in the diagnostic, 200 to 599.
    pub code: Option<u16>,
    /// What the last host said.
    pub diagnostic: Option<String>,
    /// The host that said it.
    pub remote_mta: Option<String>,
}

impl Reported {
    /// The class of the reason. Of a report about success it means nothing.
    #[must_use]
    pub fn class(&self) -> Class {
        classify(self.diagnostic.as_deref().unwrap_or_default(), self.code, self.status).class
    }

    /// The address to look for in our own records: the one that we named, else the one that was tried.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        self.original_recipient.as_deref().or(self.recipient.as_deref())
    }
}
