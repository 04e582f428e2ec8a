//! The lines that a client sends.

use super::Capabilities;
use crate::{Attribute, BodyType, Extension, Late, Notify, Recipient, Ret, Sender, xtext};

/// `MAIL FROM:<...>` with the parameters that the server offered.
pub(super) fn mail(sender: &Sender, server: &Capabilities) -> String {
    let offers = |extension| server.offers(extension);
    let mut line = format!("MAIL FROM:<{}>", sender.path.as_ref().map(ToString::to_string).unwrap_or_default());
    let mut add = |text: String| {
        line.push(' ');
        line.push_str(&text);
    };
    if let Some(size) = sender.size.filter(|_| offers(Extension::Size)) {
        add(format!("SIZE={size}"));
    }
    match sender.body {
        BodyType::EightBit if offers(Extension::EightBitMime) => add("BODY=8BITMIME".to_owned()),
        BodyType::Binary if offers(Extension::BinaryMime) => add("BODY=BINARYMIME".to_owned()),
        _ => {}
    }
    if sender.smtputf8 && offers(Extension::SmtpUtf8) {
        add("SMTPUTF8".to_owned());
    }
    if offers(Extension::Dsn) {
        match sender.ret {
            Some(Ret::Full) => add("RET=FULL".to_owned()),
            Some(Ret::Headers) => add("RET=HDRS".to_owned()),
            None => {}
        }
        if let Some(envid) = &sender.envid {
            add(format!("ENVID={}", xtext::encode(envid)));
        }
    }
    if let Some(auth) = sender.auth.as_ref().filter(|_| offers(Extension::Auth)) {
        add(format!("AUTH={}", xtext::encode(auth)));
    }
    if let Some(by) = sender.by.filter(|_| offers(Extension::DeliverBy)) {
        let late = if by.late == Late::Return { "R" } else { "N" };
        let trace = if by.trace { "T" } else { "" };
        add(format!("BY={};{late}{trace}", by.seconds.clamp(-999_999_999, 999_999_999)));
    }
    if let Some(priority) = sender.priority.filter(|_| offers(Extension::MtPriority)) {
        add(format!("MT-PRIORITY={priority}"));
    }
    if sender.require_tls && offers(Extension::RequireTls) {
        add("REQUIRETLS".to_owned());
    }
    line.push_str("\r\n");
    line
}

/// `XFORWARD` with what the server wants to know, in as many lines as that takes.
pub(super) fn xforward(attributes: &[Attribute], server: &Capabilities) -> Vec<String> {
    const LINE: usize = 512;
    let mut lines: Vec<String> = Vec::new();
    for word in attributes.iter().filter(|one| server.xforward.contains(&one.name)).map(Attribute::written) {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() + 2 <= LINE => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(format!("XFORWARD {word}")),
        }
    }
    lines.iter_mut().for_each(|line| line.push_str("\r\n"));
    lines
}

/// `RCPT TO:<...>` with the parameters that the server offered.
pub(super) fn rcpt(recipient: &Recipient, server: &Capabilities) -> String {
    let mut line = format!("RCPT TO:<{}>", recipient.target);
    if server.offers(Extension::Dsn) {
        if let Some(notify) = recipient.notify {
            line.push_str(&format!(" NOTIFY={}", notify_words(notify)));
        }
        if let Some(original) = &recipient.orcpt {
            line.push_str(&format!(" ORCPT={};{}", original.kind, xtext::encode(&original.address)));
        }
    }
    line.push_str("\r\n");
    line
}

fn notify_words(notify: Notify) -> String {
    let words = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
    let set: Vec<_> = words.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
    if set.is_empty() { "NEVER".to_owned() } else { set.join(",") }
}
