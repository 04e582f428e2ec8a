//! What a rule says of an inquiry.

use posthorn_config::PolicyVerdict;
use posthorn_model::Refusal;
use posthorn_model::policy::Action;

/// What a rule says of an inquiry.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Nothing, and why.
    Pass(String),
    /// It does not apply; nobody needs to hear of it.
    Silent,
    /// What is to be done, and why.
    Act(Action, String),
    /// No further check of this inquiry, and why. That gives nobody the right to relay.
    Exempt(String),
}

impl Outcome {
    /// What the configuration wants done about a finding. `refusal` is what the client hears when it is refused.
    pub(crate) fn of(verdict: PolicyVerdict, refusal: Refusal, why: impl Into<String>) -> Self {
        let why = why.into();
        let text = refusal.text.to_string();
        let action = match verdict {
            PolicyVerdict::Off => return Self::Pass(why),
            PolicyVerdict::Warn => Action::Warn(Some(why.clone())),
            PolicyVerdict::Defer => {
                Action::Code { code: 450, text: format!("4.{}.{} {text}", refusal.enhanced.1, refusal.enhanced.2) }
            }
            PolicyVerdict::Reject => Action::Code { code: refusal.code, text: format!("{} {text}", refusal.enhanced) },
            PolicyVerdict::Hold => Action::Hold(Some(why.clone())),
            PolicyVerdict::Discard => Action::Discard(Some(why.clone())),
        };
        Self::Act(action, why)
    }
}
