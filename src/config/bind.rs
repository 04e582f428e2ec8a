//! Where a listener listens, and the one right way to write it.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Where one socket listens. Two spellings of one address are equal.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ListenAddress {
    /// A socket that the service manager hands over under this name.
    Systemd(String),
    /// A TCP address. An IPv6 one serves IPv6 only, the wildcard too; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// The absolute path of a Unix socket.
    Unix(PathBuf),
}

/// Why a text is not a listen address; each says what to write instead.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ListenAddressError {
    /// The brackets hold something else than an IPv6 address or `*`.
    #[error("\"{0}\" does not hold an IPv6 address between its brackets")]
    Brackets(String),
    /// No address form at all.
    #[error(
        "\"{0}\" is not an address to listen on; write \"*:25\", \"127.0.0.1:25\", \"[2001:db8::1]:25\", \"/run/posthorn/lmtp.sock\" or \"systemd:NAME\""
    )]
    Malformed(String),
    /// A host name instead of an address.
    #[error("\"{0}\" names a host; write its address, such as \"{1}\"")]
    Name(String, String),
    /// The port is missing.
    #[error("\"{0}\" has no port; write \"{1}\"")]
    NoPort(String, String),
    /// The port is not a number up to 65535.
    #[error("\"{0}\" has a port that is not a number between 0 and 65535")]
    Port(String),
    /// A scope (`%eth0`), which only means something on one machine.
    #[error("\"{0}\" has a scope; write an address without \"%\"")]
    Scope(String),
    /// The name behind `systemd:` is missing or malformed.
    #[error("\"{0}\" names no socket; write \"systemd:\" and the FileDescriptorName= of the socket unit")]
    Systemd(String),
    /// IPv6 without brackets.
    #[error("an IPv6 address needs brackets: write \"{1}\" instead of \"{0}\"")]
    Unbracketed(String, String),
    /// A path that names no file, is too long for a socket address, or holds a NUL.
    #[error("the socket path \"{0}\" names no file, is longer than 107 octets or holds a NUL")]
    UnixPath(String),
}

/// The longest path that fits `sockaddr_un` with its closing NUL.
const UNIX_PATH_LIMIT: usize = 107;

impl ListenAddress {
    /// A TCP address; a v4-mapped one is kept as the IPv4 address that it means.
    #[must_use]
    pub fn tcp(address: IpAddr, port: u16) -> Self {
        Self::Tcp(SocketAddr::new(address.to_canonical(), port))
    }

    /// Parses one of the forms that [`ListenAddressError::Malformed`] lists.
    ///
    /// # Errors
    /// [`ListenAddressError`] says what to write instead.
    pub fn parse(text: &str) -> Result<Self, ListenAddressError> {
        if text.starts_with('/') {
            return unix(text);
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            return systemd(text, name);
        }
        if let Some(inner) = text.strip_prefix('[') {
            return bracketed(text, inner);
        }
        match text.matches(':').count() {
            0 => Err(without_port(text)),
            1 => v4(text),
            _ => Err(unbracketed(text)),
        }
    }

    /// Whether only this machine can connect; `None` when that is known only once the socket is there.
    #[must_use]
    pub fn is_local(&self) -> Option<bool> {
        match self {
            Self::Systemd(_) => None,
            Self::Tcp(address) => Some(address.ip().is_loopback()),
            Self::Unix(_) => Some(true),
        }
    }

    /// Whether two sockets cannot be bound at once: same address, or a wildcard of the same family and port.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(two)) => {
                let wild = one.ip().is_unspecified() || two.ip().is_unspecified();
                one.port() != 0
                    && one.port() == two.port()
                    && one.is_ipv4() == two.is_ipv4()
                    && (wild || one.ip() == two.ip())
            }
            (one, two) => one == two,
        }
    }
}

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Systemd(name) => write!(f, "systemd:{name}"),
            Self::Tcp(address) if address.ip().is_unspecified() => {
                write!(f, "{}:{}", if address.is_ipv4() { "*" } else { "[*]" }, address.port())
            }
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl Serialize for ListenAddress {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}

impl JsonSchema for ListenAddress {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ListenAddress".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "listen-address" })
    }
}

fn unix(text: &str) -> Result<ListenAddress, ListenAddressError> {
    let folder = text.ends_with('/') || text.ends_with("/.");
    // Collected from components so that `/run//x` and `/run/./x` are one path.
    let path: PathBuf = PathBuf::from(text).components().collect();
    if text.len() > UNIX_PATH_LIMIT || text.contains('\0') || folder || path.file_name().is_none() {
        return Err(ListenAddressError::UnixPath(text.to_owned()));
    }
    Ok(ListenAddress::Unix(path))
}

fn systemd(text: &str, name: &str) -> Result<ListenAddress, ListenAddressError> {
    // sd_listen_fds_with_names(3): at most 255 printable ASCII characters without a colon.
    let valid = (1..=255).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
    if valid { Ok(ListenAddress::Systemd(name.to_owned())) } else { Err(ListenAddressError::Systemd(text.to_owned())) }
}

fn bracketed(text: &str, inner: &str) -> Result<ListenAddress, ListenAddressError> {
    let refuse = || ListenAddressError::Brackets(text.to_owned());
    let (address, rest) = inner.split_once(']').ok_or_else(refuse)?;
    if address.contains('%') {
        return Err(ListenAddressError::Scope(text.to_owned()));
    }
    let address = if address == "*" { Ipv6Addr::UNSPECIFIED } else { address.parse().map_err(|_| refuse())? };
    let Some(digits) = rest.strip_prefix(':') else {
        let better = format!("[{}]:25", if address.is_unspecified() { "*".into() } else { address.to_string() });
        return Err(ListenAddressError::NoPort(text.to_owned(), better));
    };
    Ok(ListenAddress::tcp(address.into(), port(text, digits)?))
}

fn v4(text: &str) -> Result<ListenAddress, ListenAddressError> {
    let (host, digits) = text.split_once(':').unwrap_or((text, ""));
    let address = match host {
        "" | "*" => Ipv4Addr::UNSPECIFIED,
        _ => host.parse().map_err(|_| not_v4(text, host, digits))?,
    };
    Ok(ListenAddress::tcp(address.into(), port(text, digits)?))
}

/// What stands before the only colon is no IPv4 address: a name, or a slip of the pen.
fn not_v4(text: &str, host: &str, digits: &str) -> ListenAddressError {
    let name = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        && host.bytes().any(|b| b.is_ascii_alphabetic());
    if !name {
        return ListenAddressError::Malformed(text.to_owned());
    }
    let address = if host.eq_ignore_ascii_case("localhost") { "127.0.0.1" } else { "192.0.2.1" };
    ListenAddressError::Name(text.to_owned(), format!("{address}:{digits}"))
}

fn without_port(text: &str) -> ListenAddressError {
    if text == "*" || text.parse::<Ipv4Addr>().is_ok() {
        return ListenAddressError::NoPort(text.to_owned(), format!("{text}:25"));
    }
    ListenAddressError::Malformed(text.to_owned())
}

/// Two or more colons without brackets: the last group is the port when the rest is an address by itself.
fn unbracketed(text: &str) -> ListenAddressError {
    if text.contains('%') {
        return ListenAddressError::Scope(text.to_owned());
    }
    let host = |host: &str| match host {
        // `::25` is an address too, but the wildcard with a port is what people mean by it.
        ":" | "*" => Some("*".to_owned()),
        _ => host.parse().ok().map(|v6: Ipv6Addr| if v6.is_unspecified() { "*".to_owned() } else { v6.to_string() }),
    };
    let with_port = text.rsplit_once(':').and_then(|(left, digits)| host(left).zip(digits.parse::<u16>().ok()));
    match (with_port, text.parse::<Ipv6Addr>()) {
        (Some((host, port)), _) => ListenAddressError::Unbracketed(text.to_owned(), format!("[{host}]:{port}")),
        (None, Ok(whole)) => ListenAddressError::Unbracketed(text.to_owned(), format!("[{whole}]:25")),
        (None, Err(_)) => ListenAddressError::Malformed(text.to_owned()),
    }
}

fn port(text: &str, digits: &str) -> Result<u16, ListenAddressError> {
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let number = if plain { digits.parse().ok() } else { None };
    number.ok_or_else(|| ListenAddressError::Port(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ListenAddress {
        ListenAddress::parse(text).expect(text)
    }

    fn refusal(text: &str) -> String {
        ListenAddress::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn nine_spellings_are_one_address() {
        let spellings = [
            "[fd82:7796:815b:af9d:230:48ff:fef2:aa4a]:587",
            "[FD82:7796:815B:AF9D:230:48FF:FEF2:AA4A]:587",
            "[fd82:7796:815b:af9d:0230:48ff:fef2:aa4a]:587",
            "[Fd82:7796:815b:aF9d:0230:48fF:feF2:aa4A]:587",
            "[fd82:7796:815b:af9d:230:48ff:254.242.170.74]:587",
            "[FD82:7796:815B:AF9D:230:48FF:254.242.170.74]:587",
            "[fd82:7796:815b:af9d:0230:48ff:254.242.170.74]:587",
            "[FD82:7796:815B:AF9D:0230:48FF:FEF2:AA4A]:587",
            "[fd82:7796:815b:af9d:230:48ff:fef2:aa4a]:0587",
        ];
        for spelling in spellings {
            assert_eq!(parse(spelling), parse(spellings[0]), "{spelling}");
            assert_eq!(parse(spelling).to_string(), spellings[0]);
        }
    }

    #[test]
    fn zeros_may_be_suppressed_anywhere() {
        let spellings = [
            "[2001:db8:0:0:0:0:0:1]:25",
            "[2001:0db8:0000:0000:0000:0000:0000:0001]:25",
            "[2001:DB8::1]:25",
            "[2001:db8::0:1]:25",
            "[2001:db8:0::1]:25",
            "[2001:db8:0:0::1]:25",
            "[2001:db8::0:0:1]:25",
            "[2001:db8::0.0.0.1]:25",
            "[2001:db8:0:0:0:0:0.0.0.1]:25",
        ];
        for spelling in spellings {
            assert_eq!(parse(spelling).to_string(), "[2001:db8::1]:25", "{spelling}");
        }
    }

    #[test]
    fn wildcards_are_told_apart_by_family() {
        for text in ["*:25", ":25", "0.0.0.0:25", "[::ffff:0.0.0.0]:25"] {
            assert_eq!(parse(text).to_string(), "*:25", "{text}");
        }
        for text in ["[*]:25", "[::]:25", "[0:0::0]:25"] {
            assert_eq!(parse(text).to_string(), "[*]:25", "{text}");
        }
        assert_eq!(parse("*:0"), parse(":0"));
    }

    #[test]
    fn mapped_addresses_are_the_ipv4_address() {
        assert_eq!(parse("[::ffff:127.0.0.1]:25"), parse("127.0.0.1:25"));
        assert_eq!(parse("[::FFFF:7f00:1]:25"), parse("127.0.0.1:25"));
        assert_eq!(parse("[::ffff:127.0.0.1]:25").is_local(), Some(true));
    }

    #[test]
    fn sockets_have_paths_and_names() {
        assert_eq!(parse("/run/posthorn//lmtp.sock"), ListenAddress::Unix("/run/posthorn/lmtp.sock".into()));
        assert_eq!(parse("systemd:smtp"), ListenAddress::Systemd("smtp".into()));
        assert_eq!(parse("systemd:smtp").is_local(), None);
        for text in ["systemd:", "systemd:a:b", "systemd:a b"] {
            assert!(refusal(text).contains("names no socket"), "{text}");
        }
        for text in [
            "/run/".to_owned(),
            "//.".into(),
            "/run/.".into(),
            "/run/..".into(),
            format!("/{}", "x".repeat(107)),
            "/a\0b".into(),
        ] {
            assert!(refusal(&text).contains("socket path"), "{text:?}");
        }
    }

    #[test]
    fn unbracketed_ipv6_is_refused_with_the_right_spelling() {
        for (written, right) in [
            ("fd82::1:587", "[fd82::1]:587"),
            ("FD82:0::1:587", "[fd82::1]:587"),
            ("::1:25", "[::1]:25"),
            ("::25", "[*]:25"),
            (":::25", "[*]:25"),
            ("fd82:7796:815b:af9d:230:48ff:fef2:aa4a:587", "[fd82:7796:815b:af9d:230:48ff:fef2:aa4a]:587"),
            ("fd82:7796:815b:af9d:230:48ff:fef2:aa4a", "[fd82:7796:815b:af9d:230:48ff:fef2:aa4a]:25"),
            ("2001:db8::abcd", "[2001:db8::abcd]:25"),
        ] {
            let expected = format!("an IPv6 address needs brackets: write \"{right}\" instead of \"{written}\"");
            assert_eq!(refusal(written), expected);
        }
    }

    #[test]
    fn every_other_slip_has_its_words() {
        for (written, words) in [
            ("localhost:25", "names a host; write its address, such as \"127.0.0.1:25\""),
            ("mx.example.org:587", "names a host"),
            ("127.0.0.1", "has no port; write \"127.0.0.1:25\""),
            ("[::1]", "has no port; write \"[::1]:25\""),
            ("[*]", "has no port; write \"[*]:25\""),
            ("*", "has no port; write \"*:25\""),
            ("*:70000", "a number between 0 and 65535"),
            ("*:+25", "a number between 0 and 65535"),
            ("*:", "a number between 0 and 65535"),
            ("[::1]:smtp", "a number between 0 and 65535"),
            ("[127.0.0.1]:25", "between its brackets"),
            ("[::1:25", "between its brackets"),
            ("[fe80::1%eth0]:25", "has a scope"),
            ("fe80::1%eth0:25", "has a scope"),
            ("1.2.3:25", "is not an address"),
            ("300.1.1.1:25", "is not an address"),
            ("25", "is not an address"),
            ("", "is not an address"),
            ("a:b:c:d", "is not an address"),
            ("run/x.sock", "is not an address"),
        ] {
            assert!(refusal(written).contains(words), "{written}: {}", refusal(written));
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

        #[test]
        fn no_text_is_too_odd(text in "[\\[\\]:*/%.a-f0-9 ö-]{0,24}") {
            if let Ok(address) = ListenAddress::parse(&text) {
                proptest::prop_assert_eq!(ListenAddress::parse(&address.to_string()), Ok(address));
            }
        }

        #[test]
        fn every_address_comes_back(ip: IpAddr, port: u16) {
            let address = ListenAddress::tcp(ip, port);
            proptest::prop_assert_eq!(ListenAddress::parse(&address.to_string()), Ok(address));
        }
    }

    #[test]
    fn overlap_is_family_port_and_wildcard() {
        let overlap = |one: &str, two: &str| parse(one).overlaps(&parse(two)) && parse(two).overlaps(&parse(one));
        assert!(overlap("*:25", "127.0.0.1:25"));
        assert!(overlap("127.0.0.1:25", "[::ffff:127.0.0.1]:25"));
        assert!(overlap("[*]:25", "[::1]:25"));
        assert!(overlap("/run/x", "/run/./x"));
        assert!(overlap("systemd:a", "systemd:a"));
        assert!(!overlap("*:25", "[*]:25"));
        assert!(!overlap("*:0", "*:0"));
        assert!(!overlap("127.0.0.1:25", "127.0.0.2:25"));
        assert!(!overlap("127.0.0.1:25", "127.0.0.1:26"));
    }
}
