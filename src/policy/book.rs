//! What is written down about patterns, found for somebody from the most specific on.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use posthorn_config::PolicyPattern;

/// Values by patterns.
#[derive(Clone, Debug)]
pub(crate) struct Book<T> {
    addresses: HashMap<String, T>,
    null: Option<T>,
    locals: HashMap<String, T>,
    networks: HashMap<IpNet, T>,
    /// The lengths of prefixes that occur, the longest first.
    v4: Vec<u8>,
    v6: Vec<u8>,
    hosts: HashMap<String, T>,
    domains: HashMap<String, T>,
    everyone: Option<T>,
}

/// Somebody who is looked for. What is not known fits nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Somebody<'a> {
    /// An address, folded; empty is the null sender.
    pub(crate) address: Option<&'a str>,
    pub(crate) client: Option<IpAddr>,
    /// A name of the client, folded.
    pub(crate) host: Option<&'a str>,
}

impl<'a> Somebody<'a> {
    /// One with this address.
    pub(crate) fn of(address: &'a str) -> Self {
        Self { address: Some(address), ..Self::default() }
    }

    /// Local part and domain.
    fn parts(&self) -> Option<(&'a str, &'a str)> {
        self.address?.rsplit_once('@')
    }
}

impl<T> Default for Book<T> {
    fn default() -> Self {
        Self {
            addresses: HashMap::new(),
            null: None,
            locals: HashMap::new(),
            networks: HashMap::new(),
            v4: Vec::new(),
            v6: Vec::new(),
            hosts: HashMap::new(),
            domains: HashMap::new(),
            everyone: None,
        }
    }
}

impl<T> Book<T> {
    /// The value of a pattern, made where there is none.
    pub(crate) fn at(&mut self, pattern: &PolicyPattern, new: impl FnOnce() -> T) -> &mut T {
        match pattern {
            PolicyPattern::Address(address) => self.addresses.entry(address.clone()).or_insert_with(new),
            PolicyPattern::Null => self.null.get_or_insert_with(new),
            PolicyPattern::Local(local) => self.locals.entry(local.clone()).or_insert_with(new),
            PolicyPattern::Network(network) => {
                let lengths = if network.net().addr().is_ipv4() { &mut self.v4 } else { &mut self.v6 };
                if !lengths.contains(&network.prefix()) {
                    lengths.push(network.prefix());
                    lengths.sort_unstable_by(|one, other| other.cmp(one));
                }
                self.networks.entry(network.net()).or_insert_with(new)
            }
            PolicyPattern::Host(range) => self.hosts.entry(range.as_str().to_owned()).or_insert_with(new),
            PolicyPattern::Domain(range) => self.domains.entry(range.as_str().to_owned()).or_insert_with(new),
            PolicyPattern::Everyone => self.everyone.get_or_insert_with(new),
        }
    }

    /// Puts a value in the place of an earlier one.
    pub(crate) fn put(&mut self, pattern: &PolicyPattern, value: T) {
        let mut value = Some(value);
        let place = self.at(pattern, || value.take().expect(NEW));
        if let Some(value) = value {
            *place = value;
        }
    }

    /// Whether nothing is written.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { addresses, null, locals, networks, hosts, domains, everyone, .. } = self;
        addresses.is_empty()
            && null.is_none()
            && locals.is_empty()
            && networks.is_empty()
            && hosts.is_empty()
            && domains.is_empty()
            && everyone.is_none()
    }

    /// Whether anything is written about names of clients.
    pub(crate) fn names_hosts(&self) -> bool {
        !self.hosts.is_empty()
    }

    /// All values.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        let several = [&self.addresses, &self.locals, &self.hosts, &self.domains];
        several
            .into_iter()
            .flat_map(HashMap::values)
            .chain(self.networks.values())
            .chain(&self.null)
            .chain(&self.everyone)
    }

    /// What is written about somebody, the most specific first.
    pub(crate) fn find<'b>(&'b self, who: Somebody<'b>) -> impl Iterator<Item = &'b T> {
        let address = who.address.filter(|address| !address.is_empty()).and_then(|address| self.addresses.get(address));
        let null = self.null.as_ref().filter(|_| who.address == Some(""));
        let parts = who.parts();
        let local = parts.filter(|_| !self.locals.is_empty()).and_then(|(local, _)| self.locals.get(local));
        let lengths = match who.client {
            Some(IpAddr::V4(_)) => self.v4.as_slice(),
            Some(IpAddr::V6(_)) => self.v6.as_slice(),
            None => &[],
        };
        let networks = lengths.iter().filter_map(move |length| {
            let net = IpNet::new(who.client?, *length).ok()?;
            self.networks.get(&net.trunc())
        });
        let hosts = who.host.filter(|_| !self.hosts.is_empty());
        let hosts = hosts.into_iter().flat_map(ranges).filter_map(|range| self.hosts.get(range));
        let domains = parts.filter(|_| !self.domains.is_empty()).map(|(_, domain)| domain);
        let domains = domains.into_iter().flat_map(ranges).filter_map(|range| self.domains.get(range));
        address.into_iter().chain(null).chain(local).chain(networks).chain(hosts).chain(domains).chain(&self.everyone)
    }
}

const NEW: &str = "it is taken only where there was nothing";

/// A domain, and what it is below, the nearest first: `a.example`, `.example`.
fn ranges(domain: &str) -> impl Iterator<Item = &str> {
    let named = !domain.starts_with('[');
    let dots = domain.bytes().enumerate().filter(move |(_, byte)| named && *byte == b'.').map(|(at, _)| at);
    std::iter::once(domain).chain(dots.map(move |at| &domain[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(patterns: &[&'static str]) -> Book<&'static str> {
        let mut book = Book::default();
        for text in patterns {
            book.put(&text.parse().expect(text), *text);
        }
        book
    }

    #[test]
    fn the_most_specific_comes_first() {
        let book = book(&[
            "*",
            "@.example",
            "@.b.example",
            "@a.b.example",
            "~.example.net",
            "~mail.example.net",
            "192.0.0.0/16",
            "192.0.2.0/24",
            "192.0.2.1",
            "user@*",
            "user@a.b.example",
            "<>",
        ]);
        let who = Somebody {
            address: Some("user@a.b.example"),
            client: "192.0.2.1".parse().ok(),
            host: Some("mail.example.net"),
        };
        let found: Vec<_> = book.find(who).copied().collect();
        let expected = [
            "user@a.b.example",
            "user@*",
            "192.0.2.1",
            "192.0.2.0/24",
            "192.0.0.0/16",
            "~mail.example.net",
            "~.example.net",
            "@a.b.example",
            "@.b.example",
            "@.example",
            "*",
        ];
        assert_eq!(found, expected);
        // Their order is that of the weights.
        let weights: Vec<u8> =
            expected.iter().map(|text| text.parse::<PolicyPattern>().expect(text).weight()).collect();
        assert!(weights.is_sorted_by(|one, other| one >= other));
    }

    #[test]
    fn the_null_sender_is_nobody_else() {
        let book = book(&["<>", "@example", "user@*"]);
        assert_eq!(book.find(Somebody::of("")).copied().collect::<Vec<_>>(), ["<>"]);
        assert_eq!(book.find(Somebody::default()).count(), 0);
        assert_eq!(book.find(Somebody::of("user@[192.0.2.1]")).copied().collect::<Vec<_>>(), ["user@*"]);
        assert_eq!(book.values().count(), 3);
    }

    #[test]
    fn what_is_put_again_replaces() {
        let mut book = book(&["@example"]);
        book.put(&"@example".parse().expect("a pattern"), "other");
        assert_eq!(book.find(Somebody::of("a@example")).copied().collect::<Vec<_>>(), ["other"]);
        assert!(!book.is_empty() && Book::<()>::default().is_empty());
    }
}
