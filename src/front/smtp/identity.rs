//! XCLIENT and XFORWARD: what a listed front end says about the real client.

use std::net::IpAddr;

use posthorn_config::Access;
use posthorn_net::Overload;
use posthorn_smtp::{Attribute, AttributeName, AttributeValue};

use super::{Session, options};
use crate::overload;

impl Session {
    /// XCLIENT: from here on the session is the one of the client that was named.
    pub(super) async fn assume(&mut self, attributes: Vec<Attribute>) {
        let mut address = self.connection.peer().address;
        let mut port = self.connection.peer().port;
        self.transaction = None;
        self.hello = None;
        self.login = None;
        self.opinion.forget_client();
        for attribute in attributes {
            let AttributeValue::Known(value) = attribute.value else { continue };
            match attribute.name {
                AttributeName::Addr => match parse_address(&value) {
                    Some(stated) => address = stated,
                    None => return self.server.refuse(bad("malformed ADDR")),
                },
                AttributeName::Port => match value.parse() {
                    Ok(stated) => port = stated,
                    Err(_) => return self.server.refuse(bad("malformed PORT")),
                },
                AttributeName::Name => self.opinion.stated_name = Some(value),
                AttributeName::Helo => self.hello = Some((value, true)),
                AttributeName::Login => match self.mail.trusted_login(&value).await {
                    Ok(Some(login)) => self.login = Some(login),
                    Ok(None) => return self.server.refuse(bad("unknown LOGIN")),
                    Err(error) => {
                        let refusal = self.fault(&error);
                        return self.server.refuse(refusal);
                    }
                },
                _ => {}
            }
        }
        tracing::info!(session.id = %self.connection.id(), from.ip = %self.connection.peer().address, peer.ip = %address,
            "client restated by XCLIENT");
        self.connection.assume(address, port);
        if self.connection.options().access == Access::Denied {
            // Who may not connect may not be spoken for either; 521 ends the session.
            let words = overload::words(Overload::Denied);
            return self.server.refuse(posthorn_model::Refusal::new(521, posthorn_model::EnhancedCode(5, 7, 1), words));
        }
        let mut options = options::of(&self.connection, &self.settings, self.dialect, self.mail.now());
        options.auth_required &= self.login.is_none();
        self.server.accept_xclient_as(options);
    }
}

/// What is known of the attributes, for the trace.
pub(super) fn named(attributes: Vec<Attribute>) -> Vec<(&'static str, String)> {
    let known = |attribute: Attribute| match attribute.value {
        AttributeValue::Known(value) => Some((attribute.name.keyword(), value)),
        AttributeValue::TempUnavailable | AttributeValue::Unavailable => None,
    };
    attributes.into_iter().filter_map(known).collect()
}

/// IPv6 addresses bear the prefix `IPV6:`, as address literals do.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = match text.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPV6:") => &text[5..],
        _ => text,
    };
    bare.parse().ok()
}

fn bad(text: &str) -> posthorn_model::Refusal {
    posthorn_model::Refusal::new(501, posthorn_model::EnhancedCode(5, 5, 4), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_with_and_without_prefix() {
        assert_eq!(parse_address("IPV6:2001:db8::1"), "2001:db8::1".parse().ok());
        assert_eq!(parse_address("192.0.2.1"), "192.0.2.1".parse().ok());
        assert_eq!(parse_address("nobody"), None);
    }
}
