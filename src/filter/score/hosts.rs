//! Where addresses of links lead to.

use std::net::{IpAddr, Ipv4Addr};

/// The host of a link.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Host {
    /// A name, in small letters, in A-labels, without a final dot.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// The host that a browser would call for an address; `None` where there is none.
pub(crate) fn host_of(url: &str) -> Option<Host> {
    let (scheme, rest) = url.split_once(':')?;
    if !["http", "https", "ftp", "ftps"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return None;
    }
    // Browsers take any number of slashes, and backslashes for slashes.
    let rest = rest.trim_start_matches(['/', '\\']);
    let end = rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..end];
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some(v6) = host.strip_prefix('[') {
        let (v6, _) = v6.split_once(']')?;
        return v6.parse().ok().map(Host::Address);
    }
    let host = host.split_once(':').map_or(host, |(host, _)| host);
    named(host)
}

/// A name of a host, or a number that browsers take for an address.
pub(crate) fn named(host: &str) -> Option<Host> {
    let host = host.trim_end_matches('.');
    if host.is_empty() || host.len() > 253 {
        return None;
    }
    if let Some(address) = number(host) {
        return Some(Host::Address(IpAddr::V4(address)));
    }
    if host.is_ascii() && !host.contains('%') {
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'_');
        return host.bytes().all(plain).then(|| Host::Name(host.to_ascii_lowercase()));
    }
    idna::domain_to_ascii(host).ok().filter(|ascii| !ascii.is_empty()).map(Host::Name)
}

/// The address that a host of one to four decimal, octal or hexadecimal numbers means.
fn number(host: &str) -> Option<Ipv4Addr> {
    let mut parts = [0_u64; 4];
    let mut count = 0;
    for part in host.split('.') {
        *parts.get_mut(count)? = match part.as_bytes() {
            [b'0', b'x' | b'X', _, ..] => u64::from_str_radix(&part[2..], 16).ok()?,
            [b'0', _, ..] => u64::from_str_radix(&part[1..], 8).ok()?,
            [b'0'..=b'9', ..] => part.parse().ok()?,
            _ => return None,
        };
        count += 1;
    }
    let (&last, leading) = parts.get(..count)?.split_last()?;
    let mut value = 0_u64;
    for part in leading {
        if *part > 255 {
            return None;
        }
        value = value << 8 | part;
    }
    let bits = 8 * (4 - leading.len());
    if last >> bits != 0 {
        return None;
    }
    u32::try_from(value << bits | last).ok().map(Ipv4Addr::from)
}

/// The domain that somebody registered: two labels, or three where registries sell names below a second level such as
/// `co.uk`. A guess, as good as a filter needs.
pub(crate) fn registered(name: &str) -> &str {
    let mut dots = memchr::memrchr_iter(b'.', name.as_bytes());
    let Some(last) = dots.next() else { return name };
    let Some(second) = dots.next() else { return name };
    let (top, below) = (&name[last + 1..], &name[second + 1..last]);
    let shared = top.len() == 2 && (below.len() <= 2 || SHARED.contains(&below)) && !OWN_SHORT.contains(&top);
    if !shared {
        return &name[second + 1..];
    }
    dots.next().map_or(name, |third| &name[third + 1..])
}

/// Second levels that registries of countries sell names below.
const SHARED: [&str; 16] =
    ["com", "net", "org", "edu", "gov", "mil", "ac", "co", "or", "ne", "go", "gob", "gouv", "nom", "info", "web"];

/// Countries where short names are people's own.
const OWN_SHORT: [&str; 12] = ["de", "me", "io", "co", "tv", "cc", "ly", "to", "gl", "fr", "nl", "ch"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_the_one_that_a_browser_calls() {
        let name = |name: &str| Some(Host::Name(name.to_owned()));
        let address = |address: &str| Some(Host::Address(address.parse().expect("an address")));
        for (url, host) in [
            ("http://Example.ORG/x", name("example.org")),
            ("https://paypal.com@evil.example/", name("evil.example")),
            ("https:\\\\evil.example\\a", name("evil.example")),
            ("https://evil.example:8080?x", name("evil.example")),
            ("https://b\u{fc}cher.example/", name("xn--bcher-kva.example")),
            ("http://192.0.2.1/", address("192.0.2.1")),
            ("http://3221225985/", address("192.0.2.1")),
            ("http://0xC0.0.0x2.1/", address("192.0.2.1")),
            ("http://0300.0.2.1/", address("192.0.2.1")),
            ("http://[2001:db8::1]/", address("2001:db8::1")),
            ("mailto:a@example.org", None),
            ("http:///", None),
            ("javascript:alert(1)", None),
            ("http://1.2.3.4.5/", name("1.2.3.4.5")),
        ] {
            assert_eq!(host_of(url), host, "{url}");
        }
    }

    #[test]
    fn what_is_registered_is_guessed() {
        for (name, domain) in [
            ("www.example.org", "example.org"),
            ("a.b.example.co.uk", "example.co.uk"),
            ("shop.example.com.au", "example.com.au"),
            ("mail.xy.de", "xy.de"),
            ("example", "example"),
            ("co.uk", "co.uk"),
            ("t.co", "t.co"),
        ] {
            assert_eq!(registered(name), domain, "{name}");
        }
    }
}
