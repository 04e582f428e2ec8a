//! How many recipients one message may have.

use posthorn_config::PolicyRecipients;
use posthorn_model::policy::{Action, Stage};

use crate::facts::{Facts, Relation, Sender};
use crate::outcome::Outcome;

/// Judges the recipients so far, or when the text comes all of them.
pub(crate) fn judge(settings: &PolicyRecipients, facts: &Facts<'_>) -> Outcome {
    let (most, whose) = match (facts.relation, &facts.sender) {
        (Relation::Outside, Sender::Null) if settings.null > 0 => (settings.null, "the null sender"),
        (Relation::Login, _) => (settings.login, "a login"),
        (Relation::Relay, _) => (settings.relay, "a client that may relay"),
        (Relation::Outside, _) => (settings.outside, "a client from outside"),
    };
    if most == 0 {
        return Outcome::Silent;
    }
    let asked = facts.inquiry;
    let so_far = u32::try_from(asked.recipients.len()).unwrap_or(u32::MAX);
    let why = |count| format!("{count} recipients; {whose} may name {most}");
    if asked.stage == Stage::Rcpt {
        // Those so far, and the one that is asked about.
        let count = so_far.saturating_add(1);
        if count <= most {
            return Outcome::Pass(why(count));
        }
        // RFC 5321 §4.5.3.1.10: the client sends to the rest in another transaction.
        return Outcome::Act(refused(452, "4.5.3"), why(count));
    }
    let count = asked.recipient_count.max(so_far);
    if count <= most { Outcome::Pass(why(count)) } else { Outcome::Act(refused(552, "5.5.3"), why(count)) }
}

fn refused(code: u16, enhanced: &str) -> Action {
    Action::Code { code, text: format!("{enhanced} too many recipients in one message") }
}
