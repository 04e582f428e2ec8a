//! What the engine answers.

use posthorn_model::policy::Action;

/// What is to be done, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What decides about the mail; DUNNO when nothing speaks against it.
    pub action: Action,
    /// What goes with it: BCC, PREPEND, WARN, INFO.
    pub additions: Vec<Action>,
    /// What each check found, in the order in which they were made.
    pub findings: Vec<Finding>,
}

impl Decision {
    /// The one action for a server that takes no more: what decides, or else the first addition.
    #[must_use]
    pub fn reply(&self) -> &Action {
        match &self.action {
            Action::Dunno => self.additions.first().unwrap_or(&self.action),
            action => action,
        }
    }
}

/// What one check found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The check, by its name in the table of `lib.rs`.
    pub rule: &'static str,
    /// What it says.
    pub said: Said,
    /// Why, in a sentence without a final stop.
    pub why: String,
}

/// What a check says.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// Nothing against it.
    Nothing,
    /// This is to be done.
    Act(Action),
    /// The checks for spam are not to be made. It gives nobody the right to relay.
    Exempt,
    /// It could not find out.
    Unknown,
}

/// What every check says of an inquiry.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// What would be decided, with the findings of all checks, those behind the one that decides too.
    pub decision: Decision,
    /// The check that decides, if one does.
    pub decided_by: Option<&'static str>,
}

/// Nothing can be told at all.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It takes too long to find out.
    #[error("the policy cannot be told in time")]
    Late,
    /// The duties cannot be done.
    #[error(transparent)]
    Mail(#[from] posthorn_mail::Error),
}
