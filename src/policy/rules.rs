//! The rules of the configuration: source × destination → action, as policy servers of the Cluebringer kind have them.

use posthorn_config::{PolicyGroup, PolicyRule};
use posthorn_model::policy::Action;

use crate::facts::Facts;
use crate::matching::{Groups, Seen, Side};
use crate::outcome::Outcome;

/// The rules, in the order in which they are tried.
pub(crate) struct Rules {
    groups: Groups,
    rules: Vec<Compiled>,
}

struct Compiled {
    rule: PolicyRule,
    needs_names: bool,
}

impl Rules {
    pub(crate) fn new(groups: &[PolicyGroup], rules: &[PolicyRule]) -> Self {
        let groups = Groups::new(groups);
        let needs = |rule: &PolicyRule| groups.need_names(&rule.source);
        let mut rules: Vec<_> =
            rules.iter().map(|rule| Compiled { needs_names: needs(rule), rule: rule.clone() }).collect();
        rules.sort_by_key(|compiled| compiled.rule.priority);
        Self { groups, rules }
    }

    /// What the rules of this stage say: any number of additions, and at most one verdict, which is the last.
    pub(crate) async fn judge(&self, facts: &Facts<'_>) -> Vec<Outcome> {
        let mut said = Vec::new();
        for compiled in &self.rules {
            let rule = &compiled.rule;
            if rule.stage.stage() != facts.inquiry.stage {
                continue;
            }
            let name = if compiled.needs_names { facts.client_names().await.confirmed.as_deref() } else { None };
            if let Some(why) = self.misfit(rule, facts, name) {
                if facts.dry {
                    said.push(Outcome::Pass(format!("rule {}: {why}", rule.name)));
                }
                continue;
            }
            let why = format!("rule {}: source and destination fit", rule.name);
            let action = rule.action.action();
            match action {
                Action::Ok => said.push(Outcome::Exempt(why)),
                Action::Dunno => said.push(Outcome::Pass(why)),
                _ => said.push(Outcome::Act(action.clone(), why)),
            }
            if !is_addition(action) {
                break;
            }
        }
        said
    }

    /// Why a rule does not fit.
    fn misfit(&self, rule: &PolicyRule, facts: &Facts<'_>, name: Option<&str>) -> Option<String> {
        let inquiry = facts.inquiry;
        if let Some(size) = rule.larger
            && inquiry.size <= size.octets()
        {
            return Some(format!("{} octets are not more than {size}", inquiry.size));
        }
        let seen = Seen {
            client: facts.client(),
            name,
            login: facts.login(),
            server: inquiry.server.address,
            sender: &facts.sender,
            recipient: facts.recipient.as_ref(),
        };
        if let Some(party) = self.groups.misfit(&rule.source, Side::Source, &seen) {
            return Some(format!("its source is not {party}"));
        }
        let party = self.groups.misfit(&rule.destination, Side::Destination, &seen)?;
        Some(format!("its destination is not {party}"))
    }
}

/// Whether further rules are tried behind an action.
fn is_addition(action: &Action) -> bool {
    matches!(action, Action::Bcc(_) | Action::Info(_) | Action::Prepend { .. } | Action::Warn(_))
}
