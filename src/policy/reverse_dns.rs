//! What the DNS calls a client: nothing, something that does not lead back, or a name that is refused.

use posthorn_config::{DomainRange, PolicyReverseDns};
use posthorn_model::{EnhancedCode, Refusal};

use crate::facts::{Facts, Relation};
use crate::outcome::Outcome;

/// Judges the client.
pub(crate) async fn judge(settings: &PolicyReverseDns, facts: &Facts<'_>) -> Outcome {
    let is_on = settings.missing.is_on() || settings.unconfirmed.is_on() || !settings.refused.is_empty();
    let Some(client) = facts.client().filter(|_| is_on && facts.relation == Relation::Outside) else {
        return Outcome::Silent;
    };
    if let Some(network) = settings.exempt.iter().find(|network| network.contains(client)) {
        return Outcome::Pass(format!("{client} is not asked: {network}"));
    }
    let names = facts.client_names().await;
    if let Some(name) = &names.confirmed
        && let Some(range) = within(&settings.allowed, name)
    {
        return Outcome::Pass(format!("{name} is allowed: {range}"));
    }
    let refused =
        names.reverse.iter().chain(&names.confirmed).find_map(|name| Some((name, within(&settings.refused, name)?)));
    if let Some((name, range)) = refused {
        let refusal = Refusal::new(550, EnhancedCode(5, 7, 1), format!("clients named {name} do not send mail here"));
        return Outcome::of(posthorn_config::PolicyVerdict::Reject, refusal, format!("{name} is refused: {range}"));
    }
    // RFC 7372 §3.3: X.7.25 is a reverse look-up that failed.
    let refusal = |text: String| Refusal::new(550, EnhancedCode(5, 7, 25), text);
    match (&names.confirmed, &names.unknown, names.reverse.first()) {
        (Some(name), ..) => Outcome::Pass(format!("{client} is {name}")),
        (None, Some(why), _) => Outcome::Pass(format!("the name of {client} cannot be told now: {why}")),
        (None, None, Some(name)) => {
            let text = format!("{name}, the name of your address {client}, does not lead back to it");
            Outcome::of(settings.unconfirmed, refusal(text), format!("{name} does not lead back to {client}"))
        }
        (None, None, None) => Outcome::of(
            settings.missing,
            refusal(format!("your address {client} has no name")),
            format!("{client} has no name"),
        ),
    }
}

/// The first of these ranges that a name is in.
pub(crate) fn within<'r>(ranges: &'r [DomainRange], name: &str) -> Option<&'r DomainRange> {
    ranges.iter().find(|range| range.contains(name))
}
