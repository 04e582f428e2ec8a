//! Name servers, written `192.0.2.53`, `127.0.0.1:5353` or `[2001:db8::53]:53`.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The address of a resolver; port 53 unless one is written.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct NameServer(SocketAddr);

/// Why a text is not the address of a resolver.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("\"{0}\" is not the address of a name server; write 192.0.2.53, 127.0.0.1:5353 or [2001:db8::53]:53")]
pub struct NameServerError(String);

/// The port of DNS (RFC 1035 §4.2).
const DOMAIN_PORT: u16 = 53;

impl NameServer {
    /// Where it listens.
    #[must_use]
    pub const fn address(self) -> SocketAddr {
        self.0
    }
}

impl From<SocketAddr> for NameServer {
    fn from(address: SocketAddr) -> Self {
        Self(address)
    }
}

impl FromStr for NameServer {
    type Err = NameServerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let alone = bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DOMAIN_PORT));
        let address = text.parse().or(alone).map_err(|_| NameServerError(text.to_owned()))?;
        let usable = address.port() != 0 && !address.ip().is_unspecified() && !address.ip().is_multicast();
        if usable { Ok(Self(address)) } else { Err(NameServerError(text.to_owned())) }
    }
}

impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for NameServer {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NameServer {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for NameServer {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "NameServer".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "name-server" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_may_be_left_out() {
        for (written, address) in [
            ("192.0.2.53", "192.0.2.53:53"),
            ("127.0.0.1:5353", "127.0.0.1:5353"),
            ("2001:db8::53", "[2001:db8::53]:53"),
            ("[2001:db8::53]", "[2001:db8::53]:53"),
            ("[2001:db8::53]:5353", "[2001:db8::53]:5353"),
        ] {
            assert_eq!(written.parse::<NameServer>().map(|server| server.to_string()), Ok(address.to_owned()));
        }
    }

    #[test]
    fn names_and_nonsense_are_refused() {
        for text in ["", "dns.example", "192.0.2.53:", "192.0.2.53:0", "0.0.0.0", "224.0.0.1", "192.0.2.53:99999"] {
            assert!(text.parse::<NameServer>().is_err(), "{text:?}");
        }
    }
}
