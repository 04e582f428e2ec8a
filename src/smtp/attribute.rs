//! What XCLIENT and XFORWARD carry (Postfix's XCLIENT_README and XFORWARD_README).

use crate::xtext;

/// One `NAME=value` of XCLIENT or XFORWARD.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attribute {
    /// What is stated.
    pub name: AttributeName,
    /// Its value.
    pub value: AttributeValue,
}

/// What can be stated about a client.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AttributeName {
    /// `ADDR`: the client's address; IPv6 as `IPV6:` and the address.
    Addr,
    /// `DESTADDR`: the address that the client connected to (XCLIENT).
    DestAddr,
    /// `DESTPORT`: the port that the client connected to (XCLIENT).
    DestPort,
    /// `HELO`: what the client called itself.
    Helo,
    /// `IDENT`: the message's id at the front end (XFORWARD).
    Ident,
    /// `LOGIN`: the name the client logged in with (XCLIENT).
    Login,
    /// `NAME`: the client's verified host name.
    Name,
    /// `PORT`: the client's port.
    Port,
    /// `PROTO`: `SMTP` or `ESMTP`.
    Proto,
    /// `SOURCE`: `LOCAL` or `REMOTE` (XFORWARD).
    Source,
}

/// What is known of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AttributeValue {
    /// The decoded value; not empty.
    Known(String),
    /// `[TEMPUNAVAIL]`: the lookup failed for now.
    TempUnavailable,
    /// `[UNAVAILABLE]`, or nothing.
    Unavailable,
}

use AttributeName::{Addr, DestAddr, DestPort, Helo, Ident, Login, Name, Port, Proto, Source};

/// The names XCLIENT takes, in the order EHLO lists them.
pub(crate) const XCLIENT: [AttributeName; 8] = [Name, Addr, Port, Proto, Helo, Login, DestAddr, DestPort];

/// The names XFORWARD takes, in the order EHLO lists them.
pub(crate) const XFORWARD: [AttributeName; 7] = [Name, Addr, Proto, Helo, Source, Port, Ident];

impl AttributeName {
    /// The name on the wire.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Addr => "ADDR",
            DestAddr => "DESTADDR",
            DestPort => "DESTPORT",
            Helo => "HELO",
            Ident => "IDENT",
            Login => "LOGIN",
            Name => "NAME",
            Port => "PORT",
            Proto => "PROTO",
            Source => "SOURCE",
        }
    }
}

impl Attribute {
    /// Whether XFORWARD may carry it: at most 255 octets, decoded.
    pub(crate) fn is_short(&self) -> bool {
        !matches!(&self.value, AttributeValue::Known(value) if value.len() > LONGEST)
    }

    /// As XFORWARD writes it.
    pub(crate) fn written(&self) -> String {
        let value = match &self.value {
            AttributeValue::Known(value) if self.is_short() && !value.is_empty() => {
                // What needs more escapes than a line holds is not worth one.
                Some(xtext::encode(value)).filter(|coded| coded.len() < 480).unwrap_or_else(unavailable)
            }
            AttributeValue::TempUnavailable => "[TEMPUNAVAIL]".to_owned(),
            _ => unavailable(),
        };
        format!("{}={value}", self.name.keyword())
    }
}

fn unavailable() -> String {
    "[UNAVAILABLE]".to_owned()
}

/// The longest value that XFORWARD carries (XFORWARD_README).
const LONGEST: usize = 255;

/// Parses what follows the verb; `None` when a name is not in `allowed`, comes twice, or a value is malformed.
pub(crate) fn parse(text: &str, allowed: &[AttributeName]) -> Option<Vec<Attribute>> {
    let mut found: Vec<Attribute> = Vec::new();
    for item in text.split(' ').filter(|item| !item.is_empty()) {
        let (keyword, value) = item.split_once('=')?;
        let name = *allowed.iter().find(|name| name.keyword().eq_ignore_ascii_case(keyword))?;
        if found.iter().any(|known| known.name == name) {
            return None;
        }
        let value = match value {
            "" => AttributeValue::Unavailable,
            v if v.eq_ignore_ascii_case("[UNAVAILABLE]") => AttributeValue::Unavailable,
            v if v.eq_ignore_ascii_case("[TEMPUNAVAIL]") => AttributeValue::TempUnavailable,
            v => AttributeValue::Known(xtext::decode(v).filter(|text| !text.chars().any(char::is_control))?),
        };
        found.push(Attribute { name, value });
    }
    if found.is_empty() { None } else { Some(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded() {
        let found = parse("NAME=[unavailable] addr=192.0.2.7 LOGIN=bob+40example", &XCLIENT).expect("well-formed");
        assert_eq!(found[0].value, AttributeValue::Unavailable);
        assert_eq!(found[1], Attribute { name: Addr, value: AttributeValue::Known("192.0.2.7".to_owned()) });
        assert_eq!(found[2].value, AttributeValue::Known("bob@example".to_owned()));
    }

    #[test]
    fn foreign_and_double_names_are_refused() {
        for text in ["", "ADDR", "LOGIN=x", "ADDR=1 ADDR=2", "HELO=a+0D+0Ab", "ADDR=+4"] {
            assert_eq!(parse(text, &XFORWARD), None, "{text:?}");
        }
    }
}
