//! The next hop, as a route writes it.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use posthorn_model::Domain;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Where mail goes next. Displays as it is written, ports filled in.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub enum Next {
    /// The MX hosts of the recipient's domain (RFC 5321 §5.1).
    #[default]
    Mx,
    /// One host, whatever the domain: `smtp://HOST:PORT` or `smtps://HOST:PORT`.
    Smtp {
        /// Its name, looked up by A and AAAA, or its address.
        host: NextHost,
        /// The port; 25 unless written, 465 for `smtps`.
        port: u16,
        /// Whether TLS begins with the first byte (RFC 8314 §3).
        implicit_tls: bool,
    },
    /// One host that speaks LMTP (RFC 2033): `lmtp://HOST:PORT`.
    Lmtp {
        /// Its name or address.
        host: NextHost,
        /// The port; 24 unless written.
        port: u16,
    },
    /// A Unix socket that speaks LMTP: `lmtp:/PATH`.
    LmtpSocket(PathBuf),
    /// Nowhere: it counts as delivered.
    Discard,
    /// Back to its sender, with this text.
    Reject(String),
}

/// A host by name or address. Displays as URLs have it, IPv6 in brackets.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum NextHost {
    /// An address.
    Address(IpAddr),
    /// A name, folded.
    Name(Domain),
}

/// Why a text is no next hop.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NextError {
    /// None of the forms.
    #[error(
        "\"{0}\" is not a next hop; write mx, smtp://HOST:PORT, smtps://HOST:PORT, lmtp://HOST:PORT, lmtp:/SOCKET, discard or reject: TEXT"
    )]
    Form(String),
    /// The part behind `//` is neither a host nor a host with a port.
    #[error("\"{0}\" has no host that can be reached; write a name, an IPv4 address or an IPv6 address in brackets")]
    Host(String),
    /// The port is not between 1 and 65535.
    #[error("\"{0}\" has no port between 1 and 65535")]
    Port(String),
    /// The text of a rejection is missing, too long, or not one line of printable ASCII.
    #[error("\"{0}\" needs a text of one line in ASCII, at most 400 characters")]
    Text(String),
    /// A user or password in the address.
    #[error("a next hop holds no user or password; write them as user and password_file")]
    Secret,
}

/// The longest text of a rejection: it has to fit a reply line (RFC 5321 §4.5.3.1.5).
const LONGEST_TEXT: usize = 400;

impl FromStr for Next {
    type Err = NextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        match text {
            "mx" => return Ok(Self::Mx),
            "discard" => return Ok(Self::Discard),
            _ => {}
        }
        let (scheme, rest) = text.split_once(':').ok_or_else(|| NextError::Form(text.to_owned()))?;
        match (scheme, rest.strip_prefix("//")) {
            ("reject", _) => rejection(text, rest.trim()),
            ("smtp", Some(place)) => {
                let (host, port) = endpoint(text, place, 25)?;
                Ok(Self::Smtp { host, port, implicit_tls: false })
            }
            ("smtps", Some(place)) => {
                let (host, port) = endpoint(text, place, 465)?;
                Ok(Self::Smtp { host, port, implicit_tls: true })
            }
            ("lmtp", Some(place)) => {
                let (host, port) = endpoint(text, place, 24)?;
                Ok(Self::Lmtp { host, port })
            }
            ("lmtp", None) if rest.starts_with('/') && rest.len() > 1 => Ok(Self::LmtpSocket(rest.into())),
            _ => Err(NextError::Form(text.to_owned())),
        }
    }
}

fn rejection(whole: &str, text: &str) -> Result<Next, NextError> {
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if text.is_empty() || text.len() > LONGEST_TEXT || !plain {
        return Err(NextError::Text(whole.to_owned()));
    }
    Ok(Next::Reject(text.to_owned()))
}

/// `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`.
fn endpoint(whole: &str, place: &str, default: u16) -> Result<(NextHost, u16), NextError> {
    if place.contains('@') {
        return Err(NextError::Secret);
    }
    let host = || NextError::Host(whole.to_owned());
    let (name, port) = match place.strip_prefix('[') {
        Some(inside) => {
            let (name, behind) = inside.split_once(']').ok_or_else(host)?;
            let port = behind.strip_prefix(':');
            if port.is_none() && !behind.is_empty() {
                return Err(host());
            }
            (NextHost::from(IpAddr::V6(name.parse::<Ipv6Addr>().map_err(|_| host())?)), port)
        }
        None => {
            let (name, port) = place.split_once(':').map_or((place, None), |(name, port)| (name, Some(port)));
            let address = name.parse::<Ipv4Addr>().map(|ip| NextHost::from(IpAddr::V4(ip)));
            (address.or_else(|_| named(name)).map_err(|()| host())?, port)
        }
    };
    if matches!(&name, NextHost::Address(ip) if ip.is_unspecified() || ip.is_multicast()) {
        return Err(host());
    }
    let port = match port {
        None => default,
        Some(text) => {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let port = if digits { text.parse().ok() } else { None };
            port.filter(|port| *port != 0).ok_or_else(|| NextError::Port(whole.to_owned()))?
        }
    };
    Ok((name, port))
}

/// A name whose last label is not a number, which would be an address with a slip of the pen.
fn named(name: &str) -> Result<NextHost, ()> {
    let domain = Domain::parse(name).map_err(|_| ())?;
    let numeric = domain.as_str().rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
    if numeric || domain.is_literal() { Err(()) } else { Ok(NextHost::Name(domain)) }
}

impl From<IpAddr> for NextHost {
    fn from(address: IpAddr) -> Self {
        Self::Address(address.to_canonical())
    }
}

impl fmt::Display for NextHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Address(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Name(name) => write!(f, "{name}"),
        }
    }
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mx => f.write_str("mx"),
            Self::Smtp { host, port, implicit_tls: false } => write!(f, "smtp://{host}:{port}"),
            Self::Smtp { host, port, implicit_tls: true } => write!(f, "smtps://{host}:{port}"),
            Self::Lmtp { host, port } => write!(f, "lmtp://{host}:{port}"),
            Self::LmtpSocket(path) => write!(f, "lmtp:{}", path.display()),
            Self::Discard => f.write_str("discard"),
            Self::Reject(text) => write!(f, "reject: {text}"),
        }
    }
}

impl Serialize for Next {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Next {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Next {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Next".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "next-hop" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_comes_back_with_its_port() {
        for (written, shown) in [
            ("mx", "mx"),
            ("smtp://Relay.Example", "smtp://relay.example:25"),
            ("smtp://192.0.2.1:2525", "smtp://192.0.2.1:2525"),
            ("smtp://[2001:DB8::1]", "smtp://[2001:db8::1]:25"),
            ("smtp://[::ffff:192.0.2.1]:26", "smtp://192.0.2.1:26"),
            ("smtps://relay.example", "smtps://relay.example:465"),
            ("smtps://[::1]:4650", "smtps://[::1]:4650"),
            ("lmtp://127.0.0.1", "lmtp://127.0.0.1:24"),
            ("lmtp:/run/dovecot/lmtp", "lmtp:/run/dovecot/lmtp"),
            ("discard", "discard"),
            ("reject:  no such place ", "reject: no such place"),
            (" mx ", "mx"),
        ] {
            let next: Next = written.parse().unwrap_or_else(|error| panic!("{written}: {error}"));
            assert_eq!(next.to_string(), shown, "{written}");
            assert_eq!(shown.parse(), Ok(next));
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        let form: &[&str] =
            &["", "MX", "smtp", "smtp:host", "smtp:/run/x", "lmtp:run/x", "lmtp:/", "http://a", "reject"];
        let host: &[&str] = &[
            "smtp://",
            "smtp://:25",
            "smtp://a b",
            "smtp://2001:db8::1",
            "smtp://[2001:db8::1",
            "smtp://[2001:db8::1]25",
            "smtp://[192.0.2.1]",
            "smtp://192.0.2.256",
            "smtp://0.0.0.0",
            "smtp://224.0.0.1",
            "lmtp:///run/x",
        ];
        let port: &[&str] =
            &["smtp://a.example:", "smtp://a.example:0", "smtp://a.example:65536", "smtp://a.example:+5"];
        let text: &[&str] = &["reject:", "reject: ", "reject: a\u{e4}", "reject: a\r\n250 fine"];
        let kind = |text: &str| match text.parse::<Next>() {
            Err(NextError::Form(_)) => "form",
            Err(NextError::Host(_)) => "host",
            Err(NextError::Port(_)) => "port",
            Err(NextError::Text(_)) => "text",
            Err(NextError::Secret) => "secret",
            Ok(_) => "fine",
        };
        for (expected, texts) in [("form", form), ("host", host), ("port", port), ("text", text)] {
            for text in texts {
                assert_eq!(kind(text), expected, "{text:?}");
            }
        }
        assert_eq!(kind("smtp://user:s3cret@relay.example"), "secret");
        assert!(!"smtp://u:s3cret@x".parse::<Next>().expect_err("refused").to_string().contains("s3cret"));
        assert_eq!(kind(&format!("reject: {}", "a".repeat(401))), "text");
    }
}
