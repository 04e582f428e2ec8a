//! `[[policy.service]]`: policy servers of others, such as postgrey, that our own SMTP asks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PolicyAction, PolicyStage, ServiceAddress};
use crate::Span;
use crate::check::{Checker, Names};

/// A policy server of somebody else that our own SMTP asks, after its own rules, by the Postfix policy delegation protocol.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyService {
    /// The name in traces and logs; unique.
    #[schemars(example = &"postgrey")]
    pub name: String,
    /// Where it listens: `127.0.0.1:10023`, `[::1]:10023` or the path of a Unix socket.
    #[schemars(example = &"127.0.0.1:10023")]
    pub address: ServiceAddress,
    /// When it is asked.
    #[serde(default = "at_rcpt")]
    pub stages: Vec<PolicyStage>,
    /// Whether it is asked about logins and clients that may relay, too.
    #[serde(default)]
    pub ask_about_all: bool,
    /// How long a connection or an answer may take.
    #[serde(default = "ten_seconds")]
    pub time: Span,
    /// What is done when there is no answer, in the words of a rule's action.
    #[serde(default = "later")]
    #[schemars(example = &"DUNNO")]
    pub default_action: PolicyAction,
    /// The most connections at once; who needs one more waits.
    #[serde(default = "twenty")]
    #[schemars(range(min = 1, max = 1000))]
    pub connections: u32,
    /// A connection that was not used for so long is closed.
    #[serde(default = "five_minutes")]
    pub idle_time: Span,
    /// A connection that is older is closed.
    #[serde(default = "thousand_seconds")]
    pub total_time: Span,
    /// What it is told as `policy_context`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"incoming")]
    pub context: Option<String>,
}

impl PolicyService {
    /// A server that is asked at RCPT, with everything else at its default.
    #[must_use]
    pub fn new(name: &str, address: ServiceAddress) -> Self {
        Self {
            name: name.to_owned(),
            address,
            stages: at_rcpt(),
            ask_about_all: false,
            time: ten_seconds(),
            default_action: later(),
            connections: twenty(),
            idle_time: five_minutes(),
            total_time: thousand_seconds(),
            context: None,
        }
    }
}

/// Judges the services: unique names, stages, times that are some, actions that can be done.
pub(crate) fn check(checker: &mut Checker<'_>) {
    let mut names = Names::new("service");
    for (at, service) in checker.config().policy.service.iter().enumerate() {
        let key = format!("policy.service[{at}]");
        names.take(checker, &format!("{key}.name"), &service.name);
        if service.stages.is_empty() {
            checker.refuse(&format!("{key}.stages"), "a service without a stage is never asked");
        }
        if service.time.limit().is_none() {
            checker.refuse(&format!("{key}.time"), "without a limit a silent service would keep clients waiting");
        }
        for stage in &service.stages {
            if let Err(fault) = service.default_action.at(*stage) {
                checker.refuse(&format!("{key}.default_action"), fault);
            }
        }
    }
}

fn at_rcpt() -> Vec<PolicyStage> {
    vec![PolicyStage::Rcpt]
}

const fn ten_seconds() -> Span {
    Span::from_secs(10)
}

const fn five_minutes() -> Span {
    Span::from_secs(300)
}

const fn thousand_seconds() -> Span {
    Span::from_secs(1000)
}

const fn twenty() -> u32 {
    20
}

/// What Postfix does, too.
fn later() -> PolicyAction {
    PolicyAction::refusing(451, "4.3.5 policy service problem, try again later")
}

#[cfg(test)]
mod tests {
    use crate::load::tests::problems;

    /// One service with some more lines, which begin with line 4.
    fn service(lines: &str) -> Vec<String> {
        problems(&format!("[[policy.service]]\nname = 'a'\naddress = '127.0.0.1:10023'\n{lines}\n"))
    }

    #[test]
    fn a_service_that_works_is_fine() {
        for lines in ["", "stages = ['connect', 'end-of-message']", "default_action = 'DUNNO'\ntime = '2 s'"] {
            assert_eq!(service(lines), [""; 0], "{lines}");
        }
    }

    #[test]
    fn one_that_cannot_work_is_refused_where_it_is_wrong() {
        for (lines, expected) in [
            ("stages = []", "4: policy.service[0].stages: a service without a stage is never asked"),
            ("time = 0", "4: policy.service[0].time: without a limit"),
            ("default_action = 'HOLD'\nstages = ['helo']", "4: policy.service[0].default_action: at the stage helo"),
            ("connections = 0", "4: policy.service[0].connections: "),
            ("stages = ['quit']", "4: policy.service[0].stages[0]: "),
        ] {
            let found = service(lines);
            assert_eq!(found.len(), 1, "{lines}\n{found:#?}");
            assert!(found[0].starts_with(&format!("posthorn.toml:{expected}")), "{lines}\n{found:#?}");
        }
    }
}
