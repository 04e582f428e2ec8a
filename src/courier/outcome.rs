//! What a reply, or the lack of one, means for the deliveries that it was about.

use posthorn_config::DeliveryPhase as Phase;
use posthorn_model::EnhancedCode;
use posthorn_smtp::Reply;

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    /// The host was willing, but not for so many recipients at once: those that are left follow in another transaction.
    Again,
    /// Later, by the schedule.
    Deferred,
    /// The next host took responsibility.
    Delivered,
    /// Never.
    Failed,
    /// This host will not do, which says nothing about the message: another host may.
    NextHost,
}

/// Judges a reply. `earlier` says whether an earlier recipient of the same transaction was accepted.
pub(crate) fn judge(phase: Phase, reply: &Reply, earlier: bool) -> Fate {
    // RFC 5321 §3.8: 421 means that the server goes away, whatever it was asked.
    if reply.code == 421 {
        return Fate::NextHost;
    }
    match (phase, reply.code) {
        (Phase::Connect | Phase::Greeting | Phase::Ehlo | Phase::Starttls | Phase::Auth, _) => Fate::NextHost,
        (_, 200..300) => Fate::Delivered,
        (Phase::Rcpt, 452 | 552) if too_many(reply) => {
            if earlier {
                Fate::Again
            } else {
                Fate::Deferred
            }
        }
        (_, 500..600) => Fate::Failed,
        _ => Fate::Deferred,
    }
}

/// RFC 5321 §4.5.3.1.10: 452 stands for too many recipients, and 552 from old servers is to be read as 452. Those that
/// mean a full mailbox or storage say so in their enhanced code.
fn too_many(reply: &Reply) -> bool {
    reply.enhanced.is_none_or(|EnhancedCode(_, subject, detail)| matches!((subject, detail), (5, 3) | (0, 0)))
}

/// A reply as reports and traces show it: code, enhanced code, text, on one line and of bounded length, without octets
/// that no text holds.
pub(crate) fn shown(reply: &Reply) -> String {
    written(reply, ' ')
}

/// The same on as many lines as the reply had, for those who want to read it as it was said.
pub(crate) fn shown_by_line(reply: &Reply) -> String {
    written(reply, '\n')
}

fn written(reply: &Reply, line_end: char) -> String {
    use std::fmt::Write as _;

    const MOST: usize = 1000;
    let mut text = format!("{} ", reply.code);
    if let Some(enhanced) = reply.enhanced {
        let _never_fails = write!(text, "{enhanced} ");
    }
    for c in reply.text.chars() {
        if text.len() >= MOST {
            text.push('…');
            break;
        }
        text.push(match c {
            '\n' => line_end,
            c if c.is_control() => ' ',
            c => c,
        });
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fate(phase: Phase, reply: Reply) -> Fate {
        judge(phase, &reply, false)
    }

    #[test]
    fn classes_decide() {
        assert_eq!(fate(Phase::Body, Reply::new(250, 0, 0, "taken")), Fate::Delivered);
        assert_eq!(fate(Phase::Rcpt, Reply::new(450, 2, 1, "busy")), Fate::Deferred);
        assert_eq!(fate(Phase::Rcpt, Reply::new(550, 1, 1, "unknown")), Fate::Failed);
        assert_eq!(fate(Phase::Mail, Reply::new(550, 7, 1, "no")), Fate::Failed);
        assert_eq!(fate(Phase::Data, Reply::new(451, 3, 0, "later")), Fate::Deferred);
        assert_eq!(fate(Phase::Data, Reply::plain(354, "odd at the end")), Fate::Deferred);
    }

    #[test]
    fn what_is_about_the_host_is_not_about_the_message() {
        for phase in [Phase::Connect, Phase::Greeting, Phase::Ehlo, Phase::Starttls, Phase::Auth] {
            assert_eq!(fate(phase, Reply::new(554, 7, 1, "go away")), Fate::NextHost);
        }
        for phase in [Phase::Mail, Phase::Rcpt, Phase::Data, Phase::Body] {
            assert_eq!(fate(phase, Reply::new(421, 3, 2, "shutting down")), Fate::NextHost);
        }
    }

    #[test]
    fn too_many_recipients_are_sent_in_turns() {
        let replies = [
            Reply::plain(452, "too many recipients"),
            Reply::plain(552, "too many recipients"),
            Reply::new(452, 5, 3, "too many recipients"),
        ];
        for reply in replies {
            assert_eq!(judge(Phase::Rcpt, &reply, true), Fate::Again);
            assert_eq!(judge(Phase::Rcpt, &reply, false), Fate::Deferred);
        }
        assert_eq!(judge(Phase::Rcpt, &Reply::new(452, 2, 2, "full"), true), Fate::Deferred);
        assert_eq!(judge(Phase::Rcpt, &Reply::new(552, 2, 2, "full"), true), Fate::Failed);
        assert_eq!(judge(Phase::Body, &Reply::plain(552, "too large"), true), Fate::Failed);
    }

    #[test]
    fn replies_are_shown_on_one_bounded_line() {
        assert_eq!(shown(&Reply::new(550, 1, 1, "no\nsuch\0user ")), "550 5.1.1 no such user");
        assert!(shown(&Reply::plain(550, "é".repeat(100_000))).len() < 1020);
        assert_eq!(shown_by_line(&Reply::new(550, 1, 1, "no\nsuch\0user\n")), "550 5.1.1 no\nsuch user");
    }
}
