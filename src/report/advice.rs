//! What a refusal means and what to do about it, in words for people who know nothing of mail servers.

use crate::{Action, Class, NoticeRecipient, Verdict, classify};

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
    let verdict = classify(text, None, Some(recipient.status));
    let mut class = verdict.class;
    let ours = recipient.remote_mta.is_none() && (recipient.status.1, recipient.status.2) == (1, 10);
    if ours || verdict.rule == "null-mx" {
        // The domain takes no mail (RFC 7505); a host that says 5.1.10 and nothing else means the mailbox.
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
    } else if let Some(advice) = told_apart(verdict, recipient) {
        return advice;
    }
    refused(class)
}

/// What is more telling than its class: by the words, or by the status code where the words say nothing.
fn told_apart(verdict: Verdict, recipient: &NoticeRecipient) -> Option<Advice> {
    let status = match (verdict.rule, (recipient.status.1, recipient.status.2)) {
        ("mailbox-unavailable", _) => (2, 1),
        ("loop", _) => (4, 6),
        ("not-authorized", _) => (7, 2),
        ("dmarc" | "spf" | "dkim", _) => (7, 26),
        ("sender-null-mx", _) => (7, 27),
        ("sender-rejected", _) => (1, 8),
        ("too-many-recipients", _) => (5, 3),
        (rule, status) if rule.starts_with("enhanced-") || rule.starts_with("code-") || rule == "none" => status,
        // Refused, for which 5.7.1 stands everywhere; what follows it says more.
        ("policy" | "access-denied", status) if status != (7, 1) => status,
        _ => return None,
    };
    Some(match status {
        (1, 3) => advice(
            "The recipient's server says that this is not how its addresses are written.",
            "Check the address for typing errors, spaces and missing parts.",
        ),
        (1, 4) => advice(
            "The address can mean more than one mailbox.",
            "Ask the recipient in another way for the full address.",
        ),
        (1, 6) => advice(
            "The recipient has moved and left no new address.",
            "Ask the recipient in another way for the current address.",
        ),
        (1, 7 | 8) => advice(
            "The recipient's server does not accept your own address, the one that the message came from.",
            "Check the sender address in your mail program. If it is right, show this report to your mail administrator.",
        ),
        (2, 1) => advice(
            "The mailbox exists or existed, but it is switched off and takes no mail.",
            "Ask the recipient in another way whether there is a new address.",
        ),
        (2, 4) => advice(
            "The address is a mailing list that does not work at the moment.",
            "Tell the owner of the list, or write to its members themselves.",
        ),
        (3, 3) => advice(
            "The recipient's server cannot do what this message asks for.",
            "Send it without special wishes, such as a time by which it must arrive.",
        ),
        (4, 6) => advice(
            "The message went in circles: the servers for this address pass it to each other.",
            "Tell the recipient, or whoever set up a forward to this address: their mail is set up wrongly.",
        ),
        (5, 3) => advice(
            "The message was for more recipients than the server takes at once.",
            "Send it to fewer recipients at a time.",
        ),
        (6, 7 | 8) => advice(
            "The recipient's server does not take addresses with letters beyond a to z.",
            "Send the message from, or to, an address without such letters.",
        ),
        (6, 1..=3 | 5) => advice(
            "The recipient's server cannot take a message of this form.",
            "Send it as plain text or with other attachments.",
        ),
        (7, 2) => advice(
            "Only certain people may write to this address.",
            "Ask the recipient or the owner of the list to let your address in.",
        ),
        (7, 17 | 18) => advice(
            "The mailbox now belongs to somebody else than the one you wrote to.",
            "Ask the recipient in another way for the current address.",
        ),
        (7, 20..=24 | 26) => advice(
            "The recipient's server could not prove that the message really comes from your domain.",
            "Show this report to your mail administrator: the domain's SPF, DKIM or DMARC records need a look.",
        ),
        (7, 25) => advice(
            "The recipient's server does not know this server by its name.",
            "Show this report to your mail administrator: the server's address needs a name in the DNS.",
        ),
        (7, 27) => advice(
            "Your own domain says that it takes no mail, so that nobody could answer you.",
            "Show this report to your mail administrator.",
        ),
        _ => return None,
    })
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
            (EnhancedCode(5, 1, 3), "553 5.1.3 hm", "not how its addresses"),
            (EnhancedCode(5, 1, 6), "551 5.1.6 hm", "has moved"),
            (EnhancedCode(5, 1, 8), "550 5.1.8 hm", "your own address"),
            (EnhancedCode(5, 2, 1), "550 5.2.1 hm", "switched off"),
            (EnhancedCode(5, 2, 1), "550 5.2.1 The account is disabled", "switched off"),
            (EnhancedCode(5, 2, 1), "550 5.2.1 user is over quota", "mailbox is full"),
            (EnhancedCode(5, 2, 2), "550 5.2.2 hm", "mailbox is full"),
            (EnhancedCode(5, 2, 3), "552 5.2.3 hm", "larger than"),
            (EnhancedCode(5, 2, 4), "550 5.2.4 hm", "mailing list"),
            (EnhancedCode(5, 3, 3), "554 5.3.3 hm", "asks for"),
            (EnhancedCode(5, 4, 6), "554 5.4.6 too many hops", "in circles"),
            (EnhancedCode(5, 5, 3), "550 5.5.3 hm", "more recipients"),
            (EnhancedCode(5, 6, 3), "554 5.6.3 hm", "of this form"),
            (EnhancedCode(5, 6, 7), "550 5.6.7 hm", "letters beyond"),
            (EnhancedCode(5, 7, 1), "550 5.7.1 not authorized to post to this group", "certain people"),
            (EnhancedCode(5, 7, 23), "550 5.7.23 hm", "your domain"),
            (EnhancedCode(5, 7, 26), "550 5.7.26 DMARC", "your domain"),
            (EnhancedCode(5, 7, 25), "550 5.7.25 hm", "by its name"),
            (EnhancedCode(5, 7, 17), "550 5.7.17 hm", "somebody else"),
            (EnhancedCode(5, 1, 10), "550 5.1.10 RESOLVER.ADR.RecipientNotFound", "no such mailbox"),
            (EnhancedCode(5, 0, 0), "552 Postfach ist voll", "mailbox is full"),
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
