//! A held message as a report of abuse (RFC 5965).

use bytes::Bytes;
use posthorn_filter::quarantine::Held;
use posthorn_mail::accept::{Completion, id_text};
use posthorn_mail::envelope::{Envelope, Recipient, Source};
use posthorn_mail::route::Route;
use posthorn_mail::{Mail, Result};
use posthorn_model::{Address, EnhancedCode, Refusal};

/// Reports a message to somebody, with the null path as sender.
pub(super) async fn send(
    mail: &Mail,
    hostname: &str,
    to: &Address,
    held: &Held,
    octets: &Bytes,
) -> Result<std::result::Result<(), Refusal>> {
    let route = mail.route(to).await?;
    if !matches!(*route, Route::Local { .. } | Route::Remote) {
        return Ok(Err(Refusal::new(550, EnhancedCode(5, 1, 1), "nobody receives the reports")));
    }
    let mut body = mail.intake();
    let date = posthorn_mime::date_text(mail.now());
    let (above, below) = around(hostname, &to.to_string(), held, &date);
    for piece in [above.as_bytes(), octets, below.as_bytes()] {
        if let Err(refusal) = body.push(piece) {
            return Ok(Err(refusal));
        }
    }
    let recipient = Recipient { address: to.to_string(), route, orcpt: None, notify: None };
    let envelope = Envelope { recipients: vec![recipient], source: Source::Relay, ..Envelope::default() };
    let completion = Completion {
        local: posthorn_mime::return_path(None),
        max_hops: usize::MAX,
        max_header: usize::MAX,
        ..Completion::default()
    };
    let accepted = mail.accept(&envelope, body, completion, false).await?;
    Ok(accepted.map(|_| ()))
}

/// What stands above the message, and below it.
fn around(hostname: &str, to: &str, held: &Held, date: &str) -> (String, String) {
    let id = id_text(held.row.message);
    // No line of the message begins so: it is older than this name.
    let boundary = format!("=_{id}_{}", held.row.mail_id);
    let line = |text: &str| text.chars().filter(|c| !c.is_control()).take(LINE).collect::<String>();
    let mut fields = format!(
        "Feedback-Type: abuse\r\nUser-Agent: Posthorn/{}\r\nVersion: 1\r\nArrival-Date: {}\r\nOriginal-Mail-From: <{}>\r\n",
        env!("CARGO_PKG_VERSION"),
        posthorn_mime::date_text(held.row.at),
        line(&held.row.sender),
    );
    for recipient in held.recipients.iter().take(RECIPIENTS) {
        fields.push_str(&format!("Original-Rcpt-To: <{}>\r\n", line(&recipient.recipient)));
    }
    if let Some(client) = &held.row.client {
        fields.push_str(&format!("Source-IP: {}\r\n", line(client)));
    }
    let above = format!(
        "From: Postmaster <postmaster@{hostname}>\r\nTo: <{to}>\r\nSubject: Abuse report for {}\r\nDate: {date}\r\n\
         Message-ID: <report.{id}@{hostname}>\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=feedback-report; boundary=\"{boundary}\"\r\n\r\n\
         --{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
         This message was held here: {}.\r\n\
         \r\n--{boundary}\r\nContent-Type: message/feedback-report\r\n\r\n{fields}\
         \r\n--{boundary}\r\nContent-Type: message/rfc822\r\nContent-Disposition: attachment\r\n\r\n",
        held.row.mail_id,
        line(&held.row.why),
    );
    (above, format!("\r\n--{boundary}--\r\n"))
}

const LINE: usize = 500;
const RECIPIENTS: usize = 100;
