//! What a mail server says of its client with XFORWARD: it holds for one message.

use std::net::IpAddr;

use posthorn_mail::envelope::Client;
use posthorn_model::policy::{ClientFacts, Inquiry};
use posthorn_smtp::{Attribute, AttributeName, AttributeValue};

/// What is known of a message's original client.
#[derive(Clone, Debug, Default)]
pub(super) struct Forwarded(Vec<Attribute>);

impl Forwarded {
    /// Takes what one command said; what was said before stands unless it is said anew.
    pub(super) fn add(&mut self, attributes: Vec<Attribute>) {
        for attribute in attributes {
            self.0.retain(|known| known.name != attribute.name);
            self.0.push(attribute);
        }
    }

    /// All of it, for the next hop.
    pub(super) fn attributes(&self) -> &[Attribute] {
        &self.0
    }

    /// Whether ADDR names an address, or there is none.
    pub(super) fn is_sound(attributes: &[Attribute]) -> bool {
        attributes.iter().all(|one| match (&one.name, &one.value) {
            (AttributeName::Addr, AttributeValue::Known(text)) => address(text).is_some(),
            (AttributeName::Port, AttributeValue::Known(text)) => text.parse::<u16>().is_ok(),
            (AttributeName::Source, AttributeValue::Known(text)) => {
                text.eq_ignore_ascii_case("LOCAL") || text.eq_ignore_ascii_case("REMOTE")
            }
            _ => true,
        })
    }

    /// One value, as far as it is known.
    pub(super) fn value(&self, name: AttributeName) -> Option<&str> {
        self.0.iter().find(|one| one.name == name).and_then(|one| match &one.value {
            AttributeValue::Known(value) => Some(value.as_str()),
            AttributeValue::TempUnavailable | AttributeValue::Unavailable => None,
        })
    }

    /// The client's address.
    pub(super) fn client_address(&self) -> Option<IpAddr> {
        self.value(AttributeName::Addr).and_then(address)
    }

    /// The client, where its address is known.
    pub(super) fn client(&self) -> Option<Client> {
        let helo = self.value(AttributeName::Helo).unwrap_or_default().to_owned();
        self.client_address().map(|address| Client { address, helo })
    }

    /// The same in the words of policy.
    pub(super) fn inquiry(&self) -> Inquiry {
        let text = |name| self.value(name).map(str::to_owned);
        Inquiry {
            protocol: text(AttributeName::Proto).unwrap_or_else(|| "SMTP".to_owned()),
            client: ClientFacts {
                address: self.client_address(),
                port: self.value(AttributeName::Port).and_then(|port| port.parse().ok()),
                name: text(AttributeName::Name),
                reverse_name: text(AttributeName::Name),
            },
            helo: text(AttributeName::Helo),
            queue_id: text(AttributeName::Ident),
            ..Inquiry::default()
        }
    }
}

/// IPv6 addresses bear the prefix `IPV6:`.
fn address(text: &str) -> Option<IpAddr> {
    let tagged = text.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("IPV6:"));
    let bare = if tagged { &text[5..] } else { text };
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: AttributeName, value: &str) -> Attribute {
        Attribute { name, value: AttributeValue::Known(value.to_owned()) }
    }

    #[test]
    fn several_commands_add_up() {
        let mut forwarded = Forwarded::default();
        forwarded.add(vec![known(AttributeName::Addr, "IPV6:2001:db8::1"), known(AttributeName::Ident, "A")]);
        forwarded.add(vec![known(AttributeName::Ident, "B"), known(AttributeName::Helo, "mx")]);
        assert_eq!(forwarded.client().map(|client| client.helo).as_deref(), Some("mx"));
        assert_eq!(forwarded.client_address(), "2001:db8::1".parse().ok());
        assert_eq!(forwarded.inquiry().queue_id.as_deref(), Some("B"));
        assert_eq!(forwarded.attributes().len(), 3);
    }

    #[test]
    fn what_is_unavailable_is_unknown_and_nonsense_is_refused() {
        let none = Attribute { name: AttributeName::Addr, value: AttributeValue::Unavailable };
        assert!(Forwarded::is_sound(&[none.clone(), known(AttributeName::Source, "remote")]));
        let mut forwarded = Forwarded::default();
        forwarded.add(vec![none]);
        assert!(forwarded.client().is_none());
        for (name, value) in
            [(AttributeName::Addr, "somewhere"), (AttributeName::Port, "70000"), (AttributeName::Source, "elsewhere")]
        {
            assert!(!Forwarded::is_sound(&[known(name, value)]), "{value}");
        }
    }
}
