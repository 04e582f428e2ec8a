//! What a refusal means and what to do about it, in words for people who know nothing of mail servers.

use crate::{Action, Class, NoticeRecipient, classify};

/// Two sentences about one recipient.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Advice {
    /// What happened.
    pub(crate) meaning: &'static str,
    /// What the sender can do; empty where there is nothing to do.
    pub(crate) next: &'static str,
}

const fn advice(meaning: &'static str, next: &'static str) -> Advice {
    Advice { meaning, next }
}

/// The advice for a recipient, by what happened and by the class of the last reply.
pub(crate) fn advise(recipient: &NoticeRecipient) -> Advice {
    match recipient.action {
        Action::Delivered => advice("The message was delivered to this mailbox.", ""),
        Action::Relayed => advice(
            "The message was handed to the recipient's mail server. That server does not report what happens next.",
            "",
        ),
        Action::Expanded => advice(
            "The message was delivered to this address and sent on to the members of its list. Their servers report \
             nothing more.",
            "",
        ),
        Action::Delayed => advice(
            "The message has not been delivered yet. We keep trying; you do not need to send it again.",
            "If it is urgent, reach the recipient in another way.",
        ),
        Action::Failed => failed(recipient),
    }
}

fn failed(recipient: &NoticeRecipient) -> Advice {
    let text = recipient.diagnostic.as_deref().unwrap_or_default();
    let mut class = classify(text, None, Some(recipient.status)).class;
    if recipient.remote_mta.is_none() && (recipient.status.1, recipient.status.2) == (1, 10) {
        // We saw ourselves that the domain takes no mail (RFC 7505); a host that says 5.1.10 means the mailbox.
        class = Class::DNS_FAILURE;
    }
    if demands_tls(recipient, text) {
        return advice(
            "This message may only travel over an encrypted connection, and the recipient's server offered none that \
             could be trusted.",
            "Ask the recipient's administrator to repair the server's encryption, or send the message without that \
             demand.",
        );
    }
    if recipient.expired {
        return expired(class);
    }
    if recipient.remote_mta.is_none() && recipient.status.1 == 7 {
        // No host was asked: an operator, or a route of the configuration, said so.
        class = Class::ADMIN_FAILURE;
    }
    refused(class)
}

/// Status X.7.10 (RFC 5248's registry) and X.7.30 (RFC 8689 §5), or words about TLS of our own.
fn demands_tls(recipient: &NoticeRecipient, text: &str) -> bool {
    let status = (recipient.status.1, recipient.status.2);
    matches!(status, (7, 10 | 30)) || (recipient.remote_mta.is_none() && status == (7, 5) && text.contains("TLS"))
}

fn expired(class: Class) -> Advice {
    match class {
        Class::DNS_FAILURE => advice(
            "The recipient's domain could not be found for as long as we tried.",
            "Check the part of the address behind the @ for a typing error. If it is right, try again in a few days.",
        ),
        Class::MAILBOX_FULL => advice(
            "The recipient's mailbox was full for as long as we tried.",
            "Ask the recipient in another way to make room, then send the message again.",
        ),
        Class::MAIL_BLOCK | Class::SPAM_BLOCK | Class::SPAM_CONTENT => advice(
            "The recipient's server put the message off as unwelcome for as long as we tried.",
            "Show this report to your mail administrator, who can ask the other side why.",
        ),
        _ => advice(
            "The recipient's server could not be reached, or did not take the message, for as long as we tried. We have \
             given up.",
            "Send the message again later, or reach the recipient in another way. If others have the same trouble, the \
             recipient's server is down.",
        ),
    }
}

fn refused(class: Class) -> Advice {
    match class {
        Class::INVALID_RECIPIENT => advice(
            "There is no such mailbox: the address is misspelled, or it is no longer in use.",
            "Check the address for typing errors and send the message again, or ask the recipient for the current address.",
        ),
        Class::DNS_FAILURE => advice(
            "The domain of this address does not exist or takes no mail.",
            "Check the part of the address behind the @ for a typing error.",
        ),
        Class::MAILBOX_FULL => advice(
            "The recipient's mailbox is full.",
            "Ask the recipient in another way to make room, then send the message again.",
        ),
        Class::TOO_LARGE => advice(
            "The message is larger than the recipient's server takes.",
            "Send it without its attachments or with smaller ones, or share large files by a link.",
        ),
        Class::MAIL_BLOCK | Class::SPAM_BLOCK => advice(
            "The recipient's server takes no mail from this server or sender.",
            "Show this report to your mail administrator; the other server's words below say where to complain.",
        ),
        Class::SPAM_CONTENT => advice(
            "The recipient's server took the message for unwanted advertising or a danger.",
            "Reword it, leave out suspicious links, and send it again, or reach the recipient in another way. If that does \
             not help, show this report to your mail administrator.",
        ),
        Class::PROHIBITED_ATTACHMENT => advice(
            "The recipient's server does not take an attachment of this kind.",
            "Send it as another type of file, or share it by a link.",
        ),
        Class::RELAYING_DENIED => advice(
            "The server that we found for this address does not feel responsible for it.",
            "Check the address. If it is right, tell the recipient that their mail is set up wrongly.",
        ),
        Class::ADMIN_FAILURE => advice(
            "The administrator or the rules of our own server stopped this message.",
            "Ask your mail administrator; the reason is below.",
        ),
        Class::TIMEOUT => advice("The recipient's server did not answer in time.", "Send the message again later."),
        Class::CHALLENGE => advice(
            "The recipient's server wants a confirmation from you before it takes mail.",
            "Follow the instructions in the server's words below, if you trust them.",
        ),
        _ => advice(
            "The recipient's server refused the message.",
            "Its words are below. If they do not tell you what to do, show this report to your mail administrator.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posthorn_model::EnhancedCode;

    fn recipient(status: EnhancedCode, diagnostic: &str) -> NoticeRecipient {
        NoticeRecipient {
            recipient: "bob@example.net".to_owned(),
            orcpt: None,
            action: Action::Failed,
            status,
            remote_mta: Some("mx.example.net".to_owned()),
            diagnostic: Some(diagnostic.to_owned()),
            last_attempt: None,
            will_retry_until: None,
            expired: false,
        }
    }

    #[test]
    fn every_reason_has_its_words() {
        for (status, diagnostic, word) in [
            (EnhancedCode(5, 1, 1), "550 5.1.1 no such user", "no such mailbox"),
            (EnhancedCode(5, 2, 2), "552 5.2.2 mailbox full", "mailbox is full"),
            (EnhancedCode(5, 3, 4), "552 5.3.4 message too big", "larger than"),
            (EnhancedCode(5, 7, 1), "554 5.7.1 your address is listed at zen.spamhaus.org", "takes no mail from"),
            (EnhancedCode(5, 7, 1), "550 5.7.1 message looks like spam", "advertising"),
            (EnhancedCode(5, 7, 10), "encryption is missing", "encrypted"),
            (EnhancedCode(5, 7, 30), "REQUIRETLS support required", "encrypted"),
            (EnhancedCode(5, 1, 10), "556 5.1.10 null MX", "takes no mail"),
            (EnhancedCode(5, 0, 0), "554 hm", "refused"),
        ] {
            let advice = advise(&recipient(status, diagnostic));
            assert!(advice.meaning.contains(word), "{diagnostic}: {}", advice.meaning);
            assert!(!advice.next.is_empty());
        }
    }

    #[test]
    fn a_domain_without_mail_is_told_from_a_missing_mailbox() {
        let mut null_mx = recipient(EnhancedCode(5, 1, 10), "the domain says that it takes none");
        assert!(advise(&null_mx).meaning.contains("no such mailbox"));
        null_mx.remote_mta = None;
        assert!(advise(&null_mx).meaning.contains("takes no mail"));
    }

    #[test]
    fn what_we_stopped_ourselves_is_not_blamed_on_others() {
        let mut stopped = recipient(EnhancedCode(5, 7, 1), "given up by the postmaster");
        assert!(!advise(&stopped).meaning.contains("our own"));
        stopped.remote_mta = None;
        assert!(advise(&stopped).meaning.contains("our own"));
    }

    #[test]
    fn what_expired_says_so() {
        let mut late = recipient(EnhancedCode(4, 4, 7), "421 4.3.2 shutting down");
        late.expired = true;
        assert!(advise(&late).meaning.contains("given up"));
        late.diagnostic = Some("452 4.2.2 mailbox full".to_owned());
        assert!(advise(&late).meaning.contains("was full"));
    }

    #[test]
    fn every_class_has_advice() {
        for class in Class::all() {
            for advice in [refused(class), expired(class)] {
                assert!(advice.meaning.ends_with('.') && advice.next.ends_with('.'), "{class}");
            }
        }
    }
}
