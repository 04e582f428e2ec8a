//! What MAIL and RCPT ask of a message's further way, in the words of the queue.

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use posthorn_mail::envelope::Terms;
use posthorn_model::{BodyType, ByMode, EnhancedCode, Notify, Refusal, Ret};
use posthorn_smtp::{Hold, Late, LongestHold, OriginalRecipient, Recipient, Sender, Target};

/// The longest that a message is kept back: 30 days.
const LONGEST_HOLD: u32 = 30 * 86_400;

/// What FUTURERELEASE announces now.
pub(crate) fn longest_hold(now: DateTime<Utc>) -> LongestHold {
    LongestHold { seconds: LONGEST_HOLD, until: now + TimeDelta::seconds(i64::from(LONGEST_HOLD)) }
}

/// The terms of a message whose MAIL came now.
pub(crate) fn of(sender: &Sender, now: DateTime<Utc>) -> Result<Terms, Refusal> {
    let hold_until = sender.hold.map(|hold| match hold {
        Hold::For(seconds) => now + TimeDelta::seconds(i64::from(seconds)),
        Hold::Until(moment) => moment,
    });
    let deliver_by = sender.by.map(|by| {
        let mode = match by.late {
            Late::Return => ByMode::Return,
            Late::Notify => ByMode::Notify,
        };
        (now + TimeDelta::seconds(by.seconds), mode)
    });
    if let (Some(hold), Some((by, _))) = (hold_until, deliver_by)
        && by <= hold
    {
        let text = "delivery is wanted before the message may leave";
        return Err(Refusal::new(501, EnhancedCode(5, 5, 4), text));
    }
    Ok(Terms {
        body_type: match sender.body {
            posthorn_smtp::BodyType::SevenBit => BodyType::SevenBit,
            posthorn_smtp::BodyType::EightBit => BodyType::EightBit,
            posthorn_smtp::BodyType::Binary => BodyType::Binary,
        },
        smtputf8: sender.smtputf8,
        require_tls: sender.require_tls,
        envid: sender.envid.clone(),
        ret: sender.ret.map(ret),
        priority: sender.priority.unwrap_or(0),
        deliver_by,
        hold_until,
        held: None,
        route: None,
        junk: false,
    })
}

/// The terms of a message that another server takes and tells of, from the parameters of its MAIL.
pub(crate) fn told(parameters: &[Bytes], now: DateTime<Utc>) -> Result<Terms, Refusal> {
    let words = parameters.iter().filter_map(|word| std::str::from_utf8(word).ok());
    of(&Sender::taken_elsewhere(None, words), now)
}

/// NOTIFY and ORCPT of a recipient of such a message.
pub(crate) fn reports(parameters: &[Bytes]) -> (Option<Notify>, Option<String>) {
    let words = parameters.iter().filter_map(|word| std::str::from_utf8(word).ok());
    // Who it is is known already.
    let asked = Recipient::taken_elsewhere(Target::Postmaster, words);
    (asked.notify.map(notify), asked.orcpt.as_ref().map(original))
}

pub(crate) fn ret(ret: posthorn_smtp::Ret) -> Ret {
    match ret {
        posthorn_smtp::Ret::Full => Ret::Full,
        posthorn_smtp::Ret::Headers => Ret::Headers,
    }
}

pub(crate) fn notify(asked: posthorn_smtp::Notify) -> Notify {
    let flags = [(asked.success, Notify::SUCCESS), (asked.failure, Notify::FAILURE), (asked.delay, Notify::DELAY)];
    flags.into_iter().filter(|(set, _)| *set).fold(Notify::NEVER, |all, (_, flag)| all.and(flag))
}

/// ORCPT with its type.
pub(crate) fn original(asked: &OriginalRecipient) -> String {
    format!("{};{}", asked.kind, asked.address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use posthorn_smtp::By;

    #[test]
    fn times_become_moments() {
        let now = DateTime::from_timestamp(1_795_000_000, 0).expect("a moment");
        let hour = TimeDelta::hours(1);
        let by = |seconds| Some(By { seconds, late: Late::Return, trace: false });
        let sender = Sender { by: by(7200), hold: Some(Hold::Until(now + hour)), ..Sender::default() };
        let terms = of(&sender, now).expect("in order");
        assert_eq!(terms.deliver_by, Some((now + hour * 2, ByMode::Return)));
        assert_eq!(terms.hold_until, Some(now + hour));
        let late = Sender { by: by(3600), ..sender };
        assert_eq!(of(&late, now).err().map(|refusal| refusal.code), Some(501));
    }

    #[test]
    fn nothing_set_is_never() {
        assert_eq!(notify(posthorn_smtp::Notify::default()), Notify::NEVER);
        let asked = posthorn_smtp::Notify { success: true, failure: false, delay: true };
        assert_eq!(notify(asked), Notify::SUCCESS.and(Notify::DELAY));
    }
}
