//! The part of a notification that people read.

use chrono::{DateTime, Utc};
use posthorn_mime::date_text;

use crate::advice::advise;
use crate::fields::plain;
use crate::{Action, Notice, NoticeRecipient};

const WIDTH: usize = 76;
/// More recipients than this are named in the status part only.
const RECIPIENTS: usize = 50;
/// Lines of a server's reply.
const REPLY_LINES: usize = 12;

/// The text, lines ended by CRLF, with what the message says of itself.
pub(crate) fn human(notice: &Notice<'_>, subject: &str, sent: Option<DateTime<Utc>>) -> String {
    let mut page = Page(String::with_capacity(2048));
    page.line(0, &opening(notice));
    page.blank();
    if !subject.is_empty() {
        page.line(2, &format!("Subject: {}", plain(subject, true)));
    }
    page.line(2, &format!("Sent: {}", date_text(sent.unwrap_or(notice.arrival_date))));
    page.line(2, &format!("Our reference: {}", plain(notice.queue_id, true)));

    let mut shown = 0;
    for action in [Action::Failed, Action::Delayed, Action::Delivered, Action::Relayed, Action::Expanded] {
        for recipient in notice.recipients.iter().filter(|recipient| recipient.action == action) {
            shown += 1;
            if shown <= RECIPIENTS {
                about(&mut page, recipient);
            }
        }
    }
    if shown > RECIPIENTS {
        page.blank();
        page.line(0, &format!("And {} more recipients, listed in the second part of this report.", shown - RECIPIENTS));
    }
    page.blank();
    page.line(0, &format!("This report was written by the mail server {}.", plain(notice.reporting_mta, true)));
    page.0
}

/// The subject of the notification.
pub(crate) fn title(recipients: &[NoticeRecipient]) -> &'static str {
    let all = |wanted: &[Action]| recipients.iter().all(|recipient| wanted.contains(&recipient.action));
    let failed = recipients.iter().any(|recipient| recipient.action == Action::Failed);
    match () {
        () if failed && all(&[Action::Failed]) => "Your message could not be delivered",
        () if failed => "Your message could not be delivered to everybody",
        () if recipients.iter().any(|recipient| recipient.action == Action::Delayed) => "Your message is delayed",
        () if all(&[Action::Relayed]) => "Your message was sent on",
        () => "Your message was delivered",
    }
}

fn opening(notice: &Notice<'_>) -> String {
    let reason = match title(notice.recipients) {
        "Your message is delayed" => "This is only a warning. You do not need to send the message again.",
        "Your message was delivered" | "Your message was sent on" => "You get this report because it was asked for.",
        _ => "What happened, and what you can do, follows for each recipient.",
    };
    format!("{}. {reason}", title(notice.recipients))
}

fn about(page: &mut Page, recipient: &NoticeRecipient) {
    let advice = advise(recipient);
    page.blank();
    page.line(0, &format!("{}:", plain(&recipient.recipient, true)));
    page.line(2, advice.meaning);
    if let Some(until) = recipient.will_retry_until.filter(|_| recipient.action == Action::Delayed) {
        page.line(2, &format!("We try until {}.", date_text(until)));
    }
    if !advice.next.is_empty() {
        page.line(2, advice.next);
    }
    let Some(diagnostic) = recipient.diagnostic.as_deref().filter(|text| !text.trim().is_empty()) else { return };
    match &recipient.remote_mta {
        Some(host) => page.line(2, &format!("The server {} said:", plain(host, true))),
        None => page.line(2, "What we found:"),
    }
    for line in diagnostic.lines().take(REPLY_LINES) {
        page.line(4, &plain(line, true));
    }
}

/// Wrapped text.
struct Page(String);

impl Page {
    fn blank(&mut self) {
        self.0.push_str("\r\n");
    }

    /// A paragraph; a word that is longer than a line stands alone, and is broken where no line may be longer.
    fn line(&mut self, indent: usize, text: &str) {
        let mut width = 0;
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            let mut rest = word;
            while !rest.is_empty() {
                let (piece, more) = rest.split_at(rest.floor_char_boundary(900));
                let length = piece.chars().count();
                if width > 0 && width + 1 + length > WIDTH {
                    self.0.push_str("\r\n");
                    width = 0;
                }
                if width == 0 {
                    self.0.extend(std::iter::repeat_n(' ', indent));
                    width = indent;
                } else {
                    self.0.push(' ');
                    width += 1;
                }
                self.0.push_str(piece);
                width += length;
                rest = more;
            }
        }
        self.0.push_str("\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_wrapped_and_indented() {
        let mut page = Page(String::new());
        page.line(2, &"word ".repeat(40));
        page.line(0, &format!("x {}", "ä".repeat(2000)));
        page.line(2, "");
        assert!(page.0.starts_with("  word word"));
        assert!(page.0.lines().take(3).all(|line| line.len() <= WIDTH && line.starts_with("  word")), "{}", page.0);
        assert!(page.0.split("\r\n").all(|line| line.len() < 998));
    }
}
