//! What other servers asked about the same message before, by its instance: at the end of a message they tell how many
//! recipients there are, and not who.

use std::sync::Arc;
use std::time::Duration;

use posthorn_model::policy::{Inquiry, Stage};

/// Octets of names that are remembered.
const OCTETS: u64 = 32 << 20;
/// A message that nobody asked about for so long is over.
const IDLE: Duration = Duration::from_secs(600);
/// Recipients of one message that are remembered.
const RECIPIENTS: usize = 2000;

/// Recipients of messages that are under way.
pub(crate) struct Instances(moka::sync::Cache<String, Arc<Vec<String>>>);

impl Default for Instances {
    fn default() -> Self {
        let weight = |key: &String, names: &Arc<Vec<String>>| {
            let octets = names.iter().map(|name| name.len() + 32).sum::<usize>() + key.len() + 64;
            u32::try_from(octets).unwrap_or(u32::MAX)
        };
        Self(moka::sync::Cache::builder().max_capacity(OCTETS).weigher(weight).time_to_idle(IDLE).build())
    }
}

impl Instances {
    /// The inquiry with the recipients that were asked about before; `None` when it says all that is known.
    pub(crate) fn complete(&self, inquiry: &Inquiry) -> Option<Inquiry> {
        if !inquiry.recipients.is_empty() {
            return None;
        }
        let known = self.0.get(&key(inquiry)?)?;
        let is_whole = match inquiry.stage {
            Stage::Rcpt => true,
            // Of those that were asked about, others may have been refused by the asking server itself.
            Stage::Data | Stage::EndOfMessage => usize::try_from(inquiry.recipient_count) == Ok(known.len()),
            _ => false,
        };
        is_whole.then(|| Inquiry { recipients: known.to_vec(), ..inquiry.clone() })
    }

    /// Remembers a recipient against whom nothing was said.
    pub(crate) fn note(&self, inquiry: &Inquiry) {
        let (Stage::Rcpt, Some(recipient), Some(key)) = (inquiry.stage, &inquiry.recipient, key(inquiry)) else {
            return;
        };
        let mut names = self.0.get(&key).map(|names| names.to_vec()).unwrap_or_default();
        if names.len() < RECIPIENTS && !names.contains(recipient) {
            names.push(recipient.clone());
            self.0.insert(key, Arc::new(names));
        }
    }
}

/// Instances are unique for one server alone.
fn key(inquiry: &Inquiry) -> Option<String> {
    let (server, client) = (inquiry.server.address, inquiry.client.address?);
    let server = server.map(|server| server.to_string()).unwrap_or_default();
    (!inquiry.instance.is_empty()).then(|| format!("{server} {client} {}", inquiry.instance))
}

#[cfg(test)]
mod tests {
    use posthorn_model::policy::ClientFacts;

    use super::*;

    fn inquiry(stage: Stage, recipient: Option<&str>, count: u32) -> Inquiry {
        Inquiry {
            stage,
            client: ClientFacts { address: "192.0.2.1".parse().ok(), ..ClientFacts::default() },
            recipient: recipient.map(str::to_owned),
            recipient_count: count,
            instance: "1.2.3".to_owned(),
            ..Inquiry::default()
        }
    }

    #[test]
    fn recipients_are_known_at_the_end() {
        let instances = Instances::default();
        for name in ["a@example.org", "b@example.org", "a@example.org"] {
            instances.note(&inquiry(Stage::Rcpt, Some(name), 0));
        }
        let both = ["a@example.org", "b@example.org"];
        let end = instances.complete(&inquiry(Stage::EndOfMessage, None, 2)).expect("known");
        assert_eq!(end.recipients, both);
        assert_eq!(
            instances.complete(&inquiry(Stage::Rcpt, Some("c@example.org"), 0)).expect("known").recipients,
            both
        );
        // The asking server refused one of them.
        assert_eq!(instances.complete(&inquiry(Stage::EndOfMessage, None, 1)), None);
        let other = Inquiry { instance: "4.5.6".to_owned(), ..inquiry(Stage::EndOfMessage, None, 2) };
        assert_eq!(instances.complete(&other), None);
    }
}
