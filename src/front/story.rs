//! What the trace is told of mail that other servers have judged here.

use std::net::IpAddr;

use posthorn_mail::Mail;
use posthorn_mail::envelope::Envelope;
use serde_json::{Map, Value};

/// How a message came, what was found of it, and what became of it.
pub(crate) struct Story<'a> {
    /// What the port speaks.
    pub(crate) protocol: &'a str,
    pub(crate) session: &'a str,
    /// The mail server's name for the message.
    pub(crate) queue_id: Option<&'a str>,
    /// Whom the mail server had it from.
    pub(crate) client: Option<IpAddr>,
    /// What the filter found.
    pub(crate) findings: Map<String, Value>,
    /// What the mail server was answered.
    pub(crate) outcomes: Vec<String>,
}

impl Story<'_> {
    /// Tells it.
    pub(crate) fn tell(self, mail: &Mail, envelope: &Envelope, octets: &[u8]) {
        let facts: [(&str, Value); 6] = [
            ("session", self.session.into()),
            ("protocol", self.protocol.into()),
            ("foreign_queue_id", self.queue_id.into()),
            ("client", self.client.map(|address| address.to_string()).into()),
            ("filter", self.findings.into()),
            ("outcomes", self.outcomes.into()),
        ];
        let facts = facts.into_iter().filter(|(_, value)| !value.is_null());
        let story = facts.map(|(name, value)| (name.to_owned(), value)).collect();
        mail.tell_lent(&Envelope { story, ..envelope.clone() }, octets);
    }
}
