//! Mail from outside to this machine's own name: nobody lives there but postmaster, and what comes back to return paths
//! that we wrote.

use posthorn_config::PolicyVerdict;
use posthorn_model::{EnhancedCode, Refusal};

use crate::facts::{Facts, Relation};
use crate::outcome::Outcome;

/// Judges one recipient.
pub(crate) fn judge(verdict: PolicyVerdict, facts: &Facts<'_>) -> Outcome {
    let Some(recipient) = facts.recipient.as_ref().filter(|_| verdict.is_on()) else { return Outcome::Silent };
    let ours = recipient.domain().as_str().eq_ignore_ascii_case(facts.hostname());
    if facts.relation != Relation::Outside || !ours {
        return Outcome::Silent;
    }
    // RFC 5321 §4.5.1: postmaster is always there.
    if recipient.local().eq_ignore_ascii_case("postmaster") {
        return Outcome::Pass("postmaster is always there".to_owned());
    }
    if facts.mail.is_return_path(recipient) {
        return Outcome::Pass("a return path that we wrote".to_owned());
    }
    let refusal = Refusal::new(550, EnhancedCode(5, 1, 1), format!("there is no mailbox {recipient}"));
    Outcome::of(verdict, refusal, format!("{recipient} is at this machine's own name"))
}
