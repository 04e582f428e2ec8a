//! Who takes part: the words of rules and groups, such as `@example.org`, `192.0.2.0/24`, `%partners`, `!$*`.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use posthorn_model::Address;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::AddressRange;
use crate::{DomainRange, Network};

/// One word about who takes part, or its opposite.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Party {
    /// Whether it begins with `!`: everybody but these.
    pub not: bool,
    /// Who.
    pub who: Who,
}

/// Whom a word means.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Who {
    /// `any`.
    Any,
    /// `192.0.2.0/24`: clients.
    Network(Network),
    /// `user@example.org`, `@example.org`, `@.example.org`: the sender, or as a destination the recipient.
    Address(AddressRange),
    /// `<>`: the null sender.
    Null,
    /// `%name`: what a member of the group means.
    Group(String),
    /// `$user@example.org`: a login.
    Login(Address),
    /// `$*`: every login.
    AnyLogin,
    /// `$-`: nobody has logged in.
    NoLogin,
    /// `[192.0.2.1]`: the server that asks, by its address.
    Server(IpAddr),
    /// `~host.example.com`, `~.example.com`: the confirmed name of the client.
    Host(DomainRange),
}

/// Why a text means nobody.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "\"{0}\" means nobody; write any, user@example.org, @example.org, @.example.org, <>, 192.0.2.0/24, ~.example.com, %group, $login, $*, $- or [192.0.2.1], each with ! in front for the opposite"
)]
pub struct PartyError(String);

impl Party {
    /// Whether it says something about clients or logins, which no destination is.
    #[must_use]
    pub fn is_of_sources(&self) -> bool {
        !matches!(self.who, Who::Any | Who::Address(_) | Who::Group(_))
    }

    /// The group that it names.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        if let Who::Group(name) = &self.who { Some(name) } else { None }
    }
}

impl FromStr for Party {
    type Err = PartyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (not, word) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        Who::parse(word).map(|who| Self { not, who }).ok_or_else(|| PartyError(text.to_owned()))
    }
}

impl Who {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "any" => return Some(Self::Any),
            "<>" => return Some(Self::Null),
            "$*" => return Some(Self::AnyLogin),
            "$-" => return Some(Self::NoLogin),
            // The one word for everybody is `any`.
            DomainRange::EVERY => return None,
            _ => {}
        }
        if let Some(name) = word.strip_prefix('%') {
            return (!name.is_empty()).then(|| Self::Group(name.to_owned()));
        }
        if let Some(login) = word.strip_prefix('$') {
            return Address::parse(login).ok().map(Self::Login);
        }
        if let Some(host) = word.strip_prefix('~') {
            return host.parse().ok().map(Self::Host);
        }
        if let Some(server) = word.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return server.parse::<IpAddr>().ok().map(|address| Self::Server(address.to_canonical()));
        }
        if word.contains('@') { word.parse().ok().map(Self::Address) } else { word.parse().ok().map(Self::Network) }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.not { "!" } else { "" })?;
        match &self.who {
            Who::Any => f.write_str("any"),
            Who::Network(network) => network.fmt(f),
            Who::Address(range) => range.fmt(f),
            Who::Null => f.write_str("<>"),
            Who::Group(name) => write!(f, "%{name}"),
            Who::Login(login) => write!(f, "${login}"),
            Who::AnyLogin => f.write_str("$*"),
            Who::NoLogin => f.write_str("$-"),
            Who::Server(address) => write!(f, "[{address}]"),
            Who::Host(range) => write!(f, "~{range}"),
        }
    }
}

impl Serialize for Party {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Party {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Party {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Party".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "party" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_comes_back_as_written() {
        for text in [
            "any",
            "!any",
            "192.0.2.0/24",
            "!192.0.2.1",
            "2001:db8::/32",
            "user@example.org",
            "@example.org",
            "!@.example.org",
            "<>",
            "%partners",
            "!%partners",
            "$user@example.org",
            "$*",
            "!$-",
            "[192.0.2.1]",
            "[2001:db8::1]",
            "~mail.example.com",
            "!~.example.com",
        ] {
            let party: Party = text.parse().expect(text);
            assert_eq!(party.to_string(), text);
            assert_eq!(party.not, text.starts_with('!'));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "!",
            "!!any",
            "*",
            "%",
            "$",
            "$user",
            "@",
            "[example.org]",
            "[192.0.2.1",
            "192.0.2.1/24",
            "~",
            "example.org",
        ] {
            assert!(text.parse::<Party>().is_err(), "{text:?}");
        }
    }
}
