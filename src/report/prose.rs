//! Bounces that were written for people only: by qmail, Exim, Exchange, sendmail, and postfix where the report parts
//! were lost.

use std::ops::ControlFlow;

use posthorn_mime::{Facts, Structure, body_text, header_end};

use crate::classify::reply_code;
use crate::read::{address, line, value};
use crate::status::RECIPIENTS;
use crate::{Action, Class, Incoming, Kind, Reported, classify, enhanced_code};

/// Octets of text that are looked at.
const TEXT: usize = 64 << 10;
/// Octets of one recipient's diagnostic.
const DIAGNOSTIC: usize = 1000;

/// Lines that are searched where no paragraph names a recipient.
const SEARCHED: usize = 300;

/// What the local part of a reporting program's address is.
const DAEMONS: &[&str] =
    &["mailer-daemon", "postmaster", "mail-daemon", "mdaemon", "mailer_daemon", "microsoftexchange"];

/// Words of subjects of bounces, in small letters.
const SUBJECTS: &[&str] = &[
    "failure notice",
    "delivery failed",
    "delivery failure",
    "delivery has failed",
    "delivery status",
    "delivery problem",
    "delivery notification",
    "undeliver",
    "undelivered",
    "not delivered",
    "could not be delivered",
    "non delivery",
    "non-delivery",
    "nondeliver",
    "returned mail",
    "returned to sender",
    "mail system error",
    "message delayed",
    "delayed mail",
    "delivery delayed",
    "unzustellbar",
    "zustellung",
    "non remis",
    "échec de la remise",
    "no se puede entregar",
    "no entregado",
];

/// What reporting programs begin with, in small letters.
const OPENINGS: &[&str] = &[
    "this is the qmail-send program",
    "this is the mail system at host",
    "this message was created automatically by mail delivery software",
    "your message did not reach some or all",
    "delivery has failed to these recipients",
    "could not be delivered to one or more of its recipients",
    "the following addresses had permanent fatal errors",
    "the following address(es) failed",
    "i'm afraid i wasn't able to deliver your message",
    "i was not able to deliver your message",
    "the original message was received at",
    "your message wasn't delivered",
    "your message couldn't be delivered",
    "your message could not be delivered",
    "unable to deliver your message",
    "message could not be delivered",
    "was unable to deliver the message",
];

/// Words that say that nothing is final, in small letters.
const DELAYS: &[&str] = &[
    "not yet been delivered",
    "has not been delivered yet",
    "has been delayed",
    "will continue to try",
    "will be retried",
    "delivery attempts will continue",
    "this is a warning message only",
    "warning: could not send message",
    "you do not need to resend",
    "no action is required on your part",
];

/// Where the returned message begins, in small letters.
const COPIES: &[&str] = &[
    "below this line is a copy of the message",
    "this is a copy of",
    "------ this is a copy",
    "----- original message -----",
    "----- message header follows -----",
    "original message headers:",
    "----- unsent message below -----",
    "--- undelivered message follows",
    "included is a copy of the message",
    "original message follows",
];

/// Reads a bounce in prose; `None` when the message is none.
pub(crate) fn read(structure: &Structure, message: &[u8]) -> Option<Incoming> {
    let header = &message[..header_end(message).unwrap_or(message.len())];
    let failed = value(header, "X-Failed-Recipients");
    let text = text(structure, message);
    let folded = text.to_lowercase();
    if !is_bounce(header, &folded, failed.is_some()) {
        return None;
    }
    let end = COPIES.iter().filter_map(|mark| folded.find(mark)).min().unwrap_or(folded.len());
    // Folding changes lengths in some scripts; a cut at the wrong letter costs nothing.
    let told = &text[..text.floor_char_boundary(end)];
    let subject = value(header, "Subject").unwrap_or_default().to_lowercase();
    let delayed = DELAYS.iter().any(|words| folded[..end].contains(words)) || subject.contains("delayed");
    let action = if delayed { Action::Delayed } else { Action::Failed };

    let mut recipients = Reader::default().read(told, failed.as_deref().unwrap_or_default());
    for recipient in &mut recipients {
        recipient.action = action;
        let diagnostic = recipient.diagnostic.as_deref().unwrap_or_default();
        recipient.code = reply_code(diagnostic);
        recipient.status = enhanced_code(diagnostic);
    }
    Some(Incoming {
        kind: Kind::Prose,
        reporting_mta: reporter(told),
        message_id: message_id(&text[told.len()..], header),
        recipients,
        ..Incoming::default()
    })
}

fn text(structure: &Structure, message: &[u8]) -> String {
    let mut text = String::new();
    let _enough = body_text(structure, message, |piece| {
        text.push_str(&piece[..piece.floor_char_boundary(TEXT.saturating_sub(text.len()))]);
        text.push('\n');
        if text.len() < TEXT { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    text
}

/// A bounce comes from a program and sounds like one; a person who forwards a bounce is not one.
fn is_bounce(header: &[u8], folded: &str, names_recipients: bool) -> bool {
    let from = Facts::of(header).from.map(|from| from.address.to_lowercase()).unwrap_or_default();
    let by_program = DAEMONS.iter().any(|daemon| from.split('@').next().is_some_and(|local| local.starts_with(daemon)))
        || value(header, "Return-Path").is_some_and(|path| path.replace(' ', "") == "<>");
    let subject = value(header, "Subject").unwrap_or_default().to_lowercase();
    let in_subject = SUBJECTS.iter().any(|words| subject.contains(words));
    let in_text = OPENINGS.iter().any(|words| folded.contains(words));
    (names_recipients && (by_program || in_subject)) || (by_program && (in_subject || in_text))
}

/// The host that a bounce says it is from.
fn reporter(text: &str) -> Option<String> {
    for mark in ["qmail-send program at ", "mail system at host ", "Generating server: "] {
        if let Some((_, rest)) = text.split_once(mark) {
            return line(rest.split([' ', '\r', '\n']).next()?.trim_end_matches('.'));
        }
    }
    None
}

/// The Message-ID in the copy at the end, else what the bounce itself refers to.
fn message_id(copy: &str, header: &[u8]) -> Option<String> {
    let of_line = |line: &str| {
        let (name, value) = line.trim_start_matches([' ', '>']).split_once(':')?;
        let named = name.eq_ignore_ascii_case("Message-ID");
        named.then(|| value.trim().trim_matches(['<', '>']).to_owned()).filter(|id| !id.is_empty())
    };
    let facts = Facts::of(header);
    let found = copy.lines().find_map(of_line).or(facts.in_reply_to).or_else(|| facts.references.last().cloned());
    found.and_then(|id| line(&id))
}

/// Reads paragraphs that name a recipient and say what is wrong.
#[derive(Default)]
struct Reader {
    found: Vec<Reported>,
    /// The recipient that the current lines are about.
    current: Option<usize>,
}

impl Reader {
    fn read(mut self, text: &str, failed: &str) -> Vec<Reported> {
        for written in text.lines() {
            let trimmed = written.trim();
            if trimmed.is_empty() {
                // What follows the blank line belongs to the recipient only if nothing is known of it yet.
                self.current = self.current.filter(|at| self.found[*at].diagnostic.is_none());
                continue;
            }
            match subject_of(written) {
                Some((recipient, rest)) => {
                    self.begin(recipient);
                    self.say(rest);
                }
                None => self.say(trimmed),
            }
        }
        for recipient in failed.split(',').filter_map(address) {
            self.begin(recipient);
        }
        if self.found.is_empty() {
            self.search(text);
        }
        for recipient in &mut self.found {
            recipient.diagnostic = recipient.diagnostic.take().and_then(|text| line(&text));
            recipient.remote_mta = recipient.diagnostic.as_deref().and_then(speaker);
        }
        self.found
    }

    fn begin(&mut self, recipient: String) {
        let known = self.found.iter().position(|one| one.recipient.as_deref() == Some(&recipient));
        if known.is_none() && self.found.len() < RECIPIENTS {
            self.found.push(Reported::new(Some(recipient), Action::Failed));
            self.current = Some(self.found.len() - 1);
        } else {
            self.current = known;
        }
    }

    fn say(&mut self, words: &str) {
        let Some(at) = self.current.filter(|_| !words.is_empty()) else { return };
        let diagnostic = self.found[at].diagnostic.get_or_insert_default();
        if diagnostic.len() + words.len() < DIAGNOSTIC {
            diagnostic.push(' ');
            diagnostic.push_str(words);
        }
    }

    /// No paragraph is about a recipient: take the address in the first line that says something known.
    fn search(&mut self, text: &str) {
        for written in text.lines().take(SEARCHED) {
            let code = reply_code(written);
            if code.is_none_or(|code| code < 400) && classify(written, None, None).class == Class::UNDETERMINED {
                continue;
            }
            let recipient =
                written.split([' ', ',', ';', '(', ')']).find_map(|word| address(word.trim_end_matches([':', '.'])));
            if let Some(recipient) = recipient {
                self.begin(recipient);
                self.say(written.trim());
                return;
            }
        }
    }
}

/// The recipient that a line begins a paragraph about, and the words behind it: `<a@b>:`, `a@b`, `'a@b' on date`,
/// `Name (a@b)`, `a@b: words`.
fn subject_of(written: &str) -> Option<(String, &str)> {
    let text = written.trim();
    if text.len() > 1000 || !text.contains('@') {
        return None;
    }
    if let Some(rest) = text.strip_prefix('<') {
        let (inside, behind) = rest.split_once('>')?;
        // Behind it: nothing, a colon and words, or a remark in brackets.
        let behind = behind.trim_start();
        let about = behind.is_empty() || behind.starts_with([':', '(']);
        return about.then(|| address(inside)).flatten().map(|found| (found, behind.trim_start_matches(':').trim()));
    }
    if let Some(rest) = text.strip_prefix('\'') {
        let (inside, behind) = rest.split_once('\'')?;
        return behind.trim_start().starts_with("on ").then(|| address(inside)).flatten().map(|found| (found, ""));
    }
    if let Some((_, inside)) = text.strip_suffix(')').and_then(|text| text.rsplit_once('('))
        && !inside.contains(' ')
        && let Some(found) = address(inside)
    {
        return Some((found, ""));
    }
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    let alone = rest.is_empty();
    let bare = first.strip_suffix(':').unwrap_or(first);
    ((alone || first.ends_with(':')) && !bare.contains(['=', '<']))
        .then(|| address(bare))
        .flatten()
        .map(|found| (found, rest))
}

/// The host in `host mx.example.net [192.0.2.1]: 550 …` or `host mx.example.net[192.0.2.1] said: …`.
fn speaker(diagnostic: &str) -> Option<String> {
    let (_, rest) = diagnostic.split_once("host ")?;
    let name = rest.split([' ', '[', ':']).next()?;
    (name.contains('.') && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)))
        .then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use posthorn_model::EnhancedCode;

    fn bounce(fields: &str, text: &str) -> Incoming {
        let message = format!("{fields}\r\n\r\n{}", text.replace('\n', "\r\n"));
        crate::read(message.as_bytes()).expect("a report")
    }

    /// Recipient, reply code, status and class.
    type Told<'a> = (Option<&'a str>, Option<u16>, Option<EnhancedCode>, u8);

    fn told(incoming: &Incoming) -> Vec<Told<'_>> {
        fn of(one: &Reported) -> Told<'_> {
            (one.recipient.as_deref(), one.code, one.status, one.class().number())
        }
        incoming.recipients.iter().map(of).collect()
    }

    #[test]
    fn qmail_is_understood() {
        let incoming = bounce(
            "Return-Path: <>\r\nFrom: MAILER-DAEMON@mx.example.net\r\nSubject: failure notice",
            "Hi. This is the qmail-send program at mx.example.net.\nI'm afraid I wasn't able to deliver your message to the \
             following addresses.\nThis is a permanent error; I've given up. Sorry it didn't work out.\n\n\
             <bob@example.net>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n\
             <ann@example.com>:\n192.0.2.1 does not like recipient.\nRemote host said: 552 5.2.2 mailbox full\nGiving up on 192.0.2.1.\n\n\
             --- Below this line is a copy of the message.\n\nReturn-Path: <eve@example.org>\nTo: <carol@example.net>:\n\
             Message-ID: <1@example.org>\n\nHello\n",
        );
        assert_eq!(incoming.kind, Kind::Prose);
        assert_eq!(incoming.reporting_mta.as_deref(), Some("mx.example.net"));
        assert_eq!(incoming.message_id.as_deref(), Some("1@example.org"));
        assert_eq!(
            told(&incoming),
            [
                (Some("bob@example.net"), None, Some(EnhancedCode(5, 1, 1)), 10),
                (Some("ann@example.com"), Some(552), Some(EnhancedCode(5, 2, 2)), 22),
            ]
        );
        assert!(incoming.recipients.iter().all(|one| one.action == Action::Failed));
    }

    const EXIM: &str = "Return-Path: <>\r\nX-Failed-Recipients: bob@example.net, ann@example.com\r\nAuto-Submitted: auto-replied\r\n\
        From: Mail Delivery System <Mailer-Daemon@mx.example.net>\r\nSubject: Mail delivery failed: returning message to sender";

    #[test]
    fn exim_is_understood() {
        let incoming = bounce(
            EXIM,
            "This message was created automatically by mail delivery software.\n\nA message that you sent could not be delivered to one \
             or more of its\nrecipients. This is a permanent error. The following address(es) failed:\n\n  bob@example.net\n    \
             host mail.example.net [192.0.2.1]\n    SMTP error from remote mail server after RCPT TO:<bob@example.net>:\n    \
             550 5.1.1 <bob@example.net>: Recipient address rejected: User unknown\n\n------ This is a copy of the message, including \
             all the headers. ------\n\nMessage-Id: <2@example.org>\nTo: carol@example.net\n",
        );
        assert_eq!(
            told(&incoming),
            [
                (Some("bob@example.net"), Some(550), Some(EnhancedCode(5, 1, 1)), 10),
                (Some("ann@example.com"), None, None, 1),
            ]
        );
        assert_eq!(incoming.message_id.as_deref(), Some("2@example.org"));
        assert_eq!(incoming.recipients[0].remote_mta.as_deref(), Some("mail.example.net"));
    }

    #[test]
    fn warnings_are_delays() {
        let incoming = bounce(
            "From: Mail Delivery System <Mailer-Daemon@mx.example.net>\r\nSubject: Warning: message 1abc-2 delayed 24 hours\r\n\
             References: <3@example.org>",
            "This message was created automatically by mail delivery software.\nA message that you sent has not yet been delivered to \
             one or more of its\nrecipients after more than 24 hours on the queue on mx.example.net.\n\nThe address to which the message \
             has not yet been delivered is:\n\n  bob@example.net\n    Delay reason: Connection refused\n\nNo action is required on your \
             part.\n",
        );
        assert_eq!(incoming.recipients[0].action, Action::Delayed);
        assert_eq!(told(&incoming), [(Some("bob@example.net"), None, None, 20)]);
        assert_eq!(incoming.message_id.as_deref(), Some("3@example.org"));
    }

    #[test]
    fn postfix_without_parts_is_understood() {
        let incoming = bounce(
            "Return-Path: <>\r\nFrom: MAILER-DAEMON@mx.example.net (Mail Delivery System)\r\nSubject: Undelivered Mail Returned to Sender",
            "This is the mail system at host mx.example.net.\n\nI'm sorry to have to inform you that your message could not\nbe delivered \
             to one or more recipients. It's attached below.\n\n                   The mail system\n\n<bob@example.net>: host \
             mail.example.net[192.0.2.1] said: 550 5.7.1\n    Service unavailable; Client host [198.51.100.1] blocked using\n    \
             zen.spamhaus.org (in reply to RCPT TO command)\n\n<ann@example.com> (expanded from <staff@example.net>): unknown user:\n    \
             \"ann\"\n",
        );
        assert_eq!(
            told(&incoming),
            [
                (Some("bob@example.net"), Some(550), Some(EnhancedCode(5, 7, 1)), 51),
                (Some("ann@example.com"), None, None, 10),
            ]
        );
        assert_eq!(incoming.recipients[0].remote_mta.as_deref(), Some("mail.example.net"));
    }

    #[test]
    fn exchange_is_understood() {
        let old = bounce(
            "From: System Administrator <postmaster@example.net>\r\nSubject: Undeliverable: Hello\r\nIn-Reply-To: <4@example.org>",
            "Your message did not reach some or all of the intended recipients.\n\n      Subject:\tHello\n      Sent:\t11/21/2026 1:09 \
             AM\n\nThe following recipient(s) could not be reached:\n\n      'bob@example.net' on 11/21/2026 1:09 AM\n            The \
             e-mail account does not exist at the organization this message was sent to.\n            <mx.example.net #5.1.1>\n",
        );
        assert_eq!(told(&old), [(Some("bob@example.net"), None, Some(EnhancedCode(5, 1, 1)), 10)]);
        assert_eq!(old.message_id.as_deref(), Some("4@example.org"));
        let new = bounce(
            "From: <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@example.net>\r\nSubject: Undeliverable: Hello",
            "Delivery has failed to these recipients or groups:\n\nBob B. (bob@example.net)\nThe email address you entered couldn't be \
             found.\n\nDiagnostic information for administrators:\n\nGenerating server: mx.example.net\n\nbob@example.net\nRemote \
             Server returned '550 5.1.1 RESOLVER.ADR.RecipNotFound; not found'\n\nOriginal message headers:\n\nMessage-ID: <5@example.org>\n",
        );
        assert_eq!(told(&new), [(Some("bob@example.net"), Some(550), Some(EnhancedCode(5, 1, 1)), 10)]);
        assert_eq!(
            (new.reporting_mta.as_deref(), new.message_id.as_deref()),
            (Some("mx.example.net"), Some("5@example.org"))
        );
    }

    #[test]
    fn sendmail_is_understood() {
        let incoming = bounce(
            "From: Mail Delivery Subsystem <MAILER-DAEMON@mx.example.net>\r\nSubject: Returned mail: see transcript for details",
            "The original message was received at Sat, 21 Nov 2026 01:09:39 GMT\nfrom mail.example.org [198.51.100.1]\n\n   ----- The \
             following addresses had permanent fatal errors -----\n<bob@example.net>\n    (reason: 552 5.2.2 Over quota)\n\n   ----- \
             Transcript of session follows -----\n... while talking to mail.example.net.:\n>>> RCPT To:<bob@example.net>\n<<< 552 5.2.2 \
             Over quota\n",
        );
        assert_eq!(told(&incoming), [(Some("bob@example.net"), Some(552), Some(EnhancedCode(5, 2, 2)), 22)]);
    }

    #[test]
    fn free_words_give_what_they_have() {
        let incoming = bounce(
            "From: postmaster@example.net\r\nSubject: Delivery failure",
            "Dear sender,\nthe server answered 550 user unknown for bob@example.net, so we gave up.\nRegards\n",
        );
        assert_eq!(told(&incoming), [(Some("bob@example.net"), Some(550), None, 10)]);
        let nobody =
            bounce("Return-Path: <>\r\nFrom: postmaster@example.net\r\nSubject: Undeliverable mail", "Sorry.\n");
        assert_eq!(nobody.recipients, []);
    }

    #[test]
    fn people_who_talk_of_bounces_are_not_bounces() {
        for message in [
            "From: bob@example.org\r\nSubject: Fwd: failure notice\r\n\r\nLook: <ann@example.com>:\r\nno such user\r\n",
            "From: postmaster@example.org\r\nSubject: Maintenance on Sunday\r\n\r\nThe server is down.\r\n",
            "Return-Path: <>\r\nFrom: bob@example.org\r\nSubject: Out of office\r\n\r\nWrite to ann@example.org.\r\n",
        ] {
            assert_eq!(crate::read(message.as_bytes()), None, "{message}");
        }
    }
}
