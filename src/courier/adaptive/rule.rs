//! The built-in rules, in the words of the configuration's own.

use posthorn_config::{DeliveryPhase, DeliveryRule};
use posthorn_smtp::Reply;
use toml::{Table, Value};

/// What was said, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard<'a> {
    pub phase: DeliveryPhase,
    pub reply: &'a Reply,
    /// The reply with its codes, on one line.
    pub text: &'a str,
    /// The recipient's domain.
    pub domain: &'a str,
    /// Not the first try: what greylists has let it pass.
    pub tried: bool,
    /// Others of the same transaction were told so before.
    pub repeated: bool,
}

impl Heard<'_> {
    /// Whether it tells how the site as a whole is, and not what it thinks of one recipient or one message.
    pub(crate) fn is_about_site(&self) -> bool {
        let subject = self.reply.enhanced.map_or(0, |enhanced| enhanced.1);
        match self.phase {
            _ if self.repeated => false,
            // No words of the site's: it could not be reached, or nothing secret could be said to it.
            DeliveryPhase::Connect | DeliveryPhase::Starttls | DeliveryPhase::Auth => false,
            // A mailbox, an address, the network, the protocol.
            _ if matches!(subject, 1 | 2 | 4 | 5) => false,
            DeliveryPhase::Greeting | DeliveryPhase::Ehlo | DeliveryPhase::Mail => true,
            _ => self.tried || self.reply.code == 421 || subject == 3,
        }
    }
}

/// Whether a rule that concerns the site matches what was said.
pub(crate) fn matches(rule: &DeliveryRule, heard: Heard<'_>) -> bool {
    rule.phase.is_none_or(|phase| phase == heard.phase)
        && rule.code.as_ref().is_none_or(|code| code.fits_reply(heard.reply.code))
        && rule
            .enhanced
            .as_ref()
            .is_none_or(|pattern| heard.reply.enhanced.is_some_and(|enhanced| pattern.fits_enhanced(enhanced)))
        && (rule.domains.is_empty() || rule.domains.iter().any(|range| range.contains(heard.domain)))
        && rule.when.as_ref().is_none_or(|when| when.is_match(heard.text))
}

/// The built-in rules, in order.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn built_in() -> Result<Vec<DeliveryRule>, String> {
    read(include_str!("rules.toml"))
}

/// Reads providers with their rules. Each rule becomes a row of the configuration whose provider is that of its table.
fn read(text: &str) -> Result<Vec<DeliveryRule>, String> {
    let file: Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let mut rules = Vec::new();
    for provider in file.get("provider").and_then(Value::as_array).ok_or("no providers")? {
        let name = provider.get("name").and_then(Value::as_str).ok_or("a provider without a name")?;
        let rows = provider.get("rule").and_then(Value::as_array).ok_or("a provider without rules")?;
        for row in rows {
            let mut row = row.as_table().cloned().ok_or("a rule that is no table")?;
            let own = row.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            row.insert("name".to_owned(), Value::from(format!("{name}: {own}")));
            if let Some(hosts) = provider.get("hosts") {
                row.insert("provider".to_owned(), hosts.clone());
            }
            let rule: DeliveryRule = row.try_into().map_err(|error| format!("{name}: {own}: {error}"))?;
            if let Some((key, fault)) = rule.fault() {
                return Err(format!("{}: {key}: {fault}", rule.name));
            }
            rules.push(rule);
        }
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use posthorn_config::DeliveryAction as Action;
    use std::collections::BTreeSet;

    use super::*;
    use crate::outcome::shown;

    fn acting<'a>(
        rules: &'a [DeliveryRule],
        host: &str,
        phase: DeliveryPhase,
        reply: &Reply,
    ) -> Option<&'a DeliveryRule> {
        let text = shown(reply);
        let heard = Heard { phase, reply, text: &text, domain: "example.com", tried: false, repeated: false };
        rules.iter().find(|rule| rule.concerns(heard.domain, [host]) && matches(rule, heard))
    }

    #[test]
    fn built_in_rules_are_read_and_know_twenty_receivers() {
        let rules = built_in().expect("sound");
        let providers: BTreeSet<_> = rules.iter().filter_map(|rule| Some(rule.provider.as_ref()?.as_str())).collect();
        assert!(providers.len() >= 20, "{}", providers.len());
        for rule in &rules {
            assert!(rule.when.is_some() || rule.enhanced.is_some() || rule.code.is_some(), "{} matches all", rule.name);
            assert!(rule.action != Action::Throttle || rule.value.is_some(), "{}", rule.name);
        }
        let names: BTreeSet<_> = rules.iter().map(|rule| &rule.name).collect();
        assert_eq!(names.len(), rules.len());
    }

    #[test]
    fn known_replies_find_their_rule() {
        use DeliveryPhase::{Body, Greeting, Mail, Rcpt};
        let rules = built_in().expect("sound");
        let unusual = "Gmail has detected an unusual rate of mail originating from your IP address";
        let cases = [
            ("gmail-smtp-in.l.google.com", Body, Reply::new(421, 7, 28, unusual), Some(Action::Throttle)),
            (
                "example-com.mail.protection.outlook.com",
                Mail,
                Reply::new(451, 7, 650, "The mail server [192.0.2.1] has been temporarily rate limited"),
                Some(Action::Suspend),
            ),
            (
                "mta5.am0.yahoodns.net",
                Greeting,
                Reply::new(421, 7, 0, "[TSS04] Messages temporarily deferred due to unexpected volume"),
                Some(Action::Suspend),
            ),
            ("mx1.example.net", Rcpt, Reply::new(451, 7, 1, "Greylisting in action"), Some(Action::Greylisted)),
            (
                "mx1.example.net",
                Greeting,
                Reply::plain(421, "too many concurrent SMTP connections"),
                Some(Action::ReduceConnections),
            ),
            ("mx1.example.net", Rcpt, Reply::new(550, 1, 1, "no such user"), None),
            ("notgoogle.example", Body, Reply::new(421, 7, 28, "odd"), Some(Action::Suspend)),
            ("notgoogle.example", Body, Reply::new(521, 7, 28, "odd"), None),
        ];
        for (host, phase, reply, action) in cases {
            assert_eq!(acting(&rules, host, phase, &reply).map(|rule| rule.action), action, "{host} {reply:?}");
        }
    }

    #[test]
    fn every_condition_is_heeded() {
        let mut rule = built_in().expect("sound").pop().expect("a rule");
        let reply = Reply::plain(451, "greylisted");
        let heard = Heard {
            phase: DeliveryPhase::Rcpt,
            reply: &reply,
            text: "451 greylisted",
            domain: "example.com",
            tried: false,
            repeated: false,
        };
        assert!(matches(&rule, heard));
        rule.phase = Some(DeliveryPhase::Data);
        assert!(!matches(&rule, heard));
        rule.phase = None;
        rule.domains = vec!["example.org".parse().expect("a range")];
        assert!(!matches(&rule, heard));
        rule.domains = Vec::new();
        rule.enhanced = Some("4.7.x".parse().expect("a pattern"));
        assert!(!matches(&rule, heard), "a reply without enhanced code");
    }
}
