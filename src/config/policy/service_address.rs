//! Where another policy server listens.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Where another server listens: an address with a port, or the path of a Unix socket.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ServiceAddress {
    /// `127.0.0.1:10023`, `[::1]:10023`; also written with the prefix `inet:`.
    Tcp(SocketAddr),
    /// `/run/postgrey/socket`; also written with the prefix `unix:`.
    Unix(PathBuf),
}

/// Why a text is not the address of a server.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("\"{0}\" is not the address of a server; write 127.0.0.1:10023, [::1]:10023 or the path of a socket")]
pub struct ServiceAddressError(String);

impl FromStr for ServiceAddress {
    type Err = ServiceAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ServiceAddressError(text.to_owned());
        let bare = text.strip_prefix("unix:").or_else(|| text.strip_prefix("inet:")).unwrap_or(text);
        if bare.starts_with('/') {
            return Ok(Self::Unix(PathBuf::from(bare)));
        }
        let address: SocketAddr = bare.parse().map_err(|_| refused())?;
        if address.port() == 0 || address.ip().is_unspecified() { Err(refused()) } else { Ok(Self::Tcp(address)) }
    }
}

impl fmt::Display for ServiceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl Serialize for ServiceAddress {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ServiceAddress {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for ServiceAddress {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ServiceAddress".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "server-address" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_written() {
        for text in ["127.0.0.1:10023", "[::1]:10023", "/run/postgrey/socket"] {
            assert_eq!(text.parse::<ServiceAddress>().map(|address| address.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("inet:127.0.0.1:1".parse(), "127.0.0.1:1".parse::<ServiceAddress>());
        assert_eq!("unix:/run/x".parse(), "/run/x".parse::<ServiceAddress>());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "10023", "127.0.0.1", "127.0.0.1:0", "0.0.0.0:25", "localhost:10023", "unix:run/x", "*:25"] {
            assert!(text.parse::<ServiceAddress>().is_err(), "{text}");
        }
    }
}
