//! Short letters of the server to its administrators.

use posthorn_model::{Address, Domain};

use crate::accept::{Completion, id_text};
use crate::envelope::{Envelope, Recipient, Source};
use crate::route::Route;
use crate::{Error, Mail, Result};

/// A letter is no larger header than this.
const MAX_HEADER: usize = 64 << 10;

impl Mail {
    /// Writes a letter from the postmaster, with the null path so that nobody answers by itself (RFC 3834 §2). The text
    /// has CRLF line ends. It is lost, with a line in the log, when there is no such recipient.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn notify(&self, to: &Address, subject: &str, text: &str) -> Result<()> {
        let route = self.route(to).await?;
        if !matches!(*route, Route::Local { .. } | Route::Remote) {
            tracing::warn!(recipient = %to, "a letter to an administrator has no recipient");
            return Ok(());
        }
        let host = Domain::parse(&self.shared.hostname).map_err(|_| Error::Hostname)?;
        let id = id_text(self.store.message_id());
        let line = |text: &str| text.chars().filter(|c| !c.is_control()).take(LINE).collect::<String>();
        let mut body = self.intake();
        let octets = format!(
            "From: Postmaster <postmaster@{host}>\r\nTo: <{to}>\r\nSubject: {}\r\nDate: {}\r\nMessage-ID: <{id}@{host}>\r\n\
             Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: 8bit\r\n\r\n{text}",
            line(subject),
            posthorn_mime::date_text(self.now()),
        );
        if body.push(octets.as_bytes()).is_err() {
            return Err(Error::Internal);
        }
        let recipient = Recipient { address: to.to_string(), route, orcpt: None, notify: None };
        let envelope = Envelope { recipients: vec![recipient], source: Source::Relay, ..Envelope::default() };
        let completion = Completion {
            local: posthorn_mime::return_path(None),
            max_hops: 100,
            max_header: MAX_HEADER,
            ..Completion::default()
        };
        if let Err(refusal) = self.accept(&envelope, body, completion, false).await? {
            tracing::warn!(recipient = %to, reason = %refusal.text, "a letter to an administrator is not accepted");
        }
        Ok(())
    }
}

/// The longest subject in characters.
const LINE: usize = 300;
