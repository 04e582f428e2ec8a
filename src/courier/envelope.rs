//! Rows become the envelope that the client machine sends.

use chrono::{DateTime, Utc};
use posthorn_mail::queue::{Delivery, Outgoing};
use posthorn_model::{Address, BodyType, ByMode, Notify, Ret};
use posthorn_smtp::{By, Late, OriginalRecipient, Recipient, Sender, Target};

/// MAIL for an outgoing.
///
/// # Errors
/// Why the row cannot be sent.
pub(crate) fn sender(outgoing: &Outgoing, now: DateTime<Utc>) -> Result<Sender, String> {
    let path = outgoing.sender.as_deref().map(Address::parse).transpose();
    let path = path.map_err(|error| format!("its sender is no address: {error}"))?;
    Ok(Sender {
        path,
        size: Some(outgoing.size + outgoing.top.as_ref().map_or(0, |top| top.len() as u64)),
        body: match outgoing.body_type {
            BodyType::SevenBit => posthorn_smtp::BodyType::SevenBit,
            BodyType::EightBit => posthorn_smtp::BodyType::EightBit,
            BodyType::Binary => posthorn_smtp::BodyType::Binary,
        },
        smtputf8: outgoing.smtputf8,
        ret: outgoing.ret.map(|ret| match ret {
            Ret::Full => posthorn_smtp::Ret::Full,
            Ret::Headers => posthorn_smtp::Ret::Headers,
        }),
        envid: outgoing.envid.clone(),
        by: outgoing.deliver_by.map(|(by, mode)| left(by, mode, now)),
        priority: Some(outgoing.priority).filter(|priority| *priority != 0),
        require_tls: outgoing.require_tls,
        ..Sender::default()
    })
}

/// RFC 2852 §4.1.3: the time that is left. What is to be returned has a second for its last attempt, which is made when the
/// time is up: the next host must take this as a promise, too.
fn left(by: DateTime<Utc>, mode: ByMode, now: DateTime<Utc>) -> By {
    let seconds = (by - now).num_seconds();
    match mode {
        ByMode::Notify => By { seconds, late: Late::Notify, trace: false },
        ByMode::Return => By { seconds: seconds.max(1), late: Late::Return, trace: false },
    }
}

/// RCPT for a delivery.
///
/// # Errors
/// Why the row cannot be sent.
pub(crate) fn recipient(delivery: &Delivery) -> Result<Recipient, String> {
    let address =
        Address::parse(&delivery.recipient).map_err(|error| format!("its recipient is no address: {error}"))?;
    let orcpt = delivery.orcpt.as_deref().and_then(|orcpt| orcpt.split_once(';'));
    Ok(Recipient {
        target: Target::Address(address),
        notify: delivery.notify.map(|notify| posthorn_smtp::Notify {
            success: notify.wants(Notify::SUCCESS),
            failure: notify.wants(Notify::FAILURE),
            delay: notify.wants(Notify::DELAY),
        }),
        orcpt: orcpt.map(|(kind, address)| OriginalRecipient { kind: kind.to_owned(), address: address.to_owned() }),
    })
}
