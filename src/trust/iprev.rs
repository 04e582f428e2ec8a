//! Whether a client's address has a name that leads back to it (RFC 8601 §2.7.3: the method `iprev`).

use std::fmt;
use std::net::IpAddr;

use crate::resolver::{Found, Resolver};

/// A result.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum IprevResult {
    /// A name of the address has the address.
    Pass,
    /// No name of it does.
    Fail,
    /// It cannot be told now.
    #[default]
    TempError,
    /// The address has no name.
    PermError,
}

/// What was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// The result.
    pub result: IprevResult,
    /// The client.
    pub address: IpAddr,
    /// The name that leads back, or else the first of its names, in small letters; empty when it has none.
    pub name: String,
}

/// More names of an address are not asked about: they say nothing more, and each costs questions.
const MOST: usize = 5;

impl IprevResult {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

impl fmt::Display for IprevResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Verdict {
    /// The result for an Authentication-Results field, such as `iprev=pass (mx.example.org) policy.iprev=192.0.2.1`.
    #[must_use]
    pub fn results(&self) -> String {
        let Self { result, address, name } = self;
        // What is in the DNS may be anything; in a comment only some of it may stand.
        let plain: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || ".-_".contains(*c)).collect();
        let comment = if plain.is_empty() { String::new() } else { format!(" ({plain})") };
        // A colon is no part of a token.
        match address.to_canonical() {
            IpAddr::V4(address) => format!("iprev={result}{comment} policy.iprev={address}"),
            IpAddr::V6(address) => format!("iprev={result}{comment} policy.iprev=\"{address}\""),
        }
    }
}

/// Finds it out.
pub async fn check(address: IpAddr, resolver: &dyn Resolver) -> Verdict {
    let address = address.to_canonical();
    let verdict = |result, name: &str| Verdict { result, address, name: name.to_owned() };
    let names: Vec<String> = match resolver.names(address).await {
        Found::Some(names) => {
            names.iter().take(MOST).map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect()
        }
        Found::Nothing | Found::NoSuchName => return verdict(IprevResult::PermError, ""),
        Found::Later(_) => return verdict(IprevResult::TempError, ""),
    };
    let mut result = IprevResult::Fail;
    for name in &names {
        match resolver.addresses_of(name, address.is_ipv6()).await {
            Found::Some(all) if all.iter().any(|one| one.to_canonical() == address) => {
                return verdict(IprevResult::Pass, name);
            }
            Found::Later(_) => result = IprevResult::TempError,
            Found::Some(_) | Found::Nothing | Found::NoSuchName => {}
        }
    }
    verdict(result, names.first().map_or("", String::as_str))
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::resolver::Asked;
    use crate::results::{AuthenticationResults, field};

    struct Zone(Found<Vec<String>>, fn(&str) -> Found<Vec<IpAddr>>);

    impl Resolver for Zone {
        fn addresses<'a>(&'a self, name: &'a str) -> Asked<'a, Vec<IpAddr>> {
            Box::pin(async { (self.1)(name) })
        }
        fn addresses_of<'a>(&'a self, name: &'a str, _: bool) -> Asked<'a, Vec<IpAddr>> {
            Box::pin(async { (self.1)(name) })
        }
        fn texts<'a>(&'a self, _: &'a str) -> Asked<'a, Vec<String>> {
            Box::pin(async { Found::NoSuchName })
        }
        fn exchangers<'a>(&'a self, _: &'a str) -> Asked<'a, Vec<String>> {
            Box::pin(async { Found::NoSuchName })
        }
        fn names(&self, _: IpAddr) -> Asked<'_, Vec<String>> {
            Box::pin(async { self.0.clone() })
        }
    }

    fn run(zone: &Zone, address: &str) -> Verdict {
        let mut check = pin!(check(address.parse().expect("an address"), zone));
        match check.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(verdict) => verdict,
            Poll::Pending => panic!("nobody is waited for"),
        }
    }

    #[test]
    fn a_name_must_lead_back() {
        let names = |names: &[&str]| Found::Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let addresses = |name: &str| match name {
            "mx.example" => Found::Some(vec!["192.0.2.1".parse().expect("an address")]),
            "late.example" => Found::Later("slow".to_owned()),
            _ => Found::NoSuchName,
        };
        for (zone, result, name) in [
            (names(&["other.example", "MX.Example."]), IprevResult::Pass, "mx.example"),
            (names(&["late.example", "mx.example"]), IprevResult::Pass, "mx.example"),
            (names(&["other.example"]), IprevResult::Fail, "other.example"),
            (names(&["late.example"]), IprevResult::TempError, "late.example"),
            (Found::NoSuchName, IprevResult::PermError, ""),
            (Found::Later("slow".to_owned()), IprevResult::TempError, ""),
        ] {
            let found = run(&Zone(zone, addresses), "::ffff:192.0.2.1");
            assert_eq!((found.result, found.name.as_str()), (result, name));
        }
        let found = run(&Zone(names(&["mx.example"]), addresses), "192.0.2.2");
        assert_eq!(found.results(), "iprev=fail (mx.example) policy.iprev=192.0.2.2");
    }

    #[test]
    fn results_are_read_again_whatever_the_name_is() {
        for address in ["192.0.2.1", "2001:db8::1"] {
            let address = address.parse().expect("an address");
            let found = Verdict { result: IprevResult::Pass, address, name: "a);x=(\"\\ b".to_owned() };
            let text = field("mx.example", &found.results());
            let (_, value) = text.split_once(':').expect("a field");
            let read = AuthenticationResults::parse(value.as_bytes()).expect("results");
            let property = read.of("iprev").next().and_then(|one| one.property("policy.iprev"));
            assert_eq!(property, Some(address.to_string().as_str()));
            assert_eq!(read.results.len(), 1);
        }
    }
}
