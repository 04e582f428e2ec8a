//! The networks that a domain's records let send, as a list: for those who want to know them all beforehand.
//!
//! What depends on a client (macros, `exists`, `ptr`, `all`) names no networks and is passed over, and so is what does
//! not pass.

use std::collections::HashSet;
use std::net::IpAddr;

use super::SpfResult;
use super::record::{Mechanism, Prefixes, Record, is_record};
use crate::resolver::{Found, Resolver};

/// Questions about one domain. Large senders need more than a check may ask (RFC 7208 §4.6.4).
const QUESTIONS: usize = 100;
/// Networks of one domain.
const NETWORKS: usize = 5000;
/// A network shorter than this is nobody's own.
const SHORTEST: (u8, u8) = (8, 16);

/// The networks of a domain's SPF record, of the records that it includes, and of its mail exchangers; each as
/// `192.0.2.0/24`, in order.
///
/// # Errors
/// Why they cannot be told now, or at all.
pub async fn networks(domain: &str, resolver: &dyn Resolver) -> Result<Vec<String>, String> {
    let mut walk = Walk { resolver, questions: 0, found: HashSet::new() };
    let domain = &domain.to_ascii_lowercase();
    let mut open = vec![domain.clone()];
    let mut seen = HashSet::new();
    walk.exchangers(domain, Prefixes { v4: 32, v6: 128 }).await?;
    while let Some(name) = open.pop() {
        if seen.insert(name.clone()) {
            walk.record(&name, &mut open).await?;
        }
    }
    if walk.found.is_empty() {
        return Err(format!("{domain} names no networks"));
    }
    let mut all: Vec<String> = walk.found.into_iter().collect();
    all.sort_unstable();
    Ok(all)
}

struct Walk<'r> {
    resolver: &'r dyn Resolver,
    questions: usize,
    found: HashSet<String>,
}

impl Walk<'_> {
    async fn record(&mut self, name: &str, open: &mut Vec<String>) -> Result<(), String> {
        self.ask()?;
        let texts = told(name, self.resolver.texts(name).await)?;
        let Some(text) = texts.iter().find(|text| is_record(text)) else { return Ok(()) };
        let record = Record::parse(text).map_err(|why| format!("the record of {name}: {why}"))?;
        for directive in record.directives.iter().filter(|directive| directive.result == SpfResult::Pass) {
            match &directive.mechanism {
                Mechanism::Include(domain) => open.extend(domain.literal()),
                Mechanism::Ip4(address, prefix) => self.add(IpAddr::V4(*address), *prefix),
                Mechanism::Ip6(address, prefix) => self.add(IpAddr::V6(*address), *prefix),
                Mechanism::A(domain, prefixes) => {
                    let domain = domain.as_ref().map_or_else(|| Some(name.to_owned()), |domain| domain.literal());
                    if let Some(domain) = domain {
                        self.addresses(&domain, *prefixes).await?;
                    }
                }
                Mechanism::Mx(domain, prefixes) => {
                    let domain = domain.as_ref().map_or_else(|| Some(name.to_owned()), |domain| domain.literal());
                    if let Some(domain) = domain {
                        self.exchangers(&domain, *prefixes).await?;
                    }
                }
                Mechanism::All | Mechanism::Ptr(_) | Mechanism::Exists(_) => {}
            }
        }
        open.extend(record.redirect.as_ref().and_then(|domain| domain.literal()));
        Ok(())
    }

    async fn exchangers(&mut self, name: &str, prefixes: Prefixes) -> Result<(), String> {
        self.ask()?;
        for host in told(name, self.resolver.exchangers(name).await)?.iter().filter(|host| !host.is_empty()) {
            self.addresses(host, prefixes).await?;
        }
        Ok(())
    }

    async fn addresses(&mut self, name: &str, prefixes: Prefixes) -> Result<(), String> {
        self.ask()?;
        for address in told(name, self.resolver.addresses(name).await)? {
            let address = address.to_canonical();
            self.add(address, if address.is_ipv4() { prefixes.v4 } else { prefixes.v6 });
        }
        Ok(())
    }

    fn add(&mut self, address: IpAddr, prefix: u8) {
        let (network, shortest) = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                (IpAddr::V4((v4.to_bits() & mask).into()), SHORTEST.0)
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                (IpAddr::V6((v6.to_bits() & mask).into()), SHORTEST.1)
            }
        };
        if prefix >= shortest && self.found.len() < NETWORKS {
            self.found.insert(format!("{network}/{prefix}"));
        }
    }

    fn ask(&mut self) -> Result<(), String> {
        self.questions += 1;
        if self.questions > QUESTIONS { Err(format!("more than {QUESTIONS} questions")) } else { Ok(()) }
    }
}

fn told<T: Default>(name: &str, found: Found<T>) -> Result<T, String> {
    match found {
        Found::Some(value) => Ok(value),
        Found::Nothing | Found::NoSuchName => Ok(T::default()),
        Found::Later(why) => Err(format!("{name} cannot be looked up now: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::resolver::Asked;

    #[derive(Default)]
    struct Zone {
        texts: HashMap<&'static str, &'static str>,
        addresses: HashMap<&'static str, &'static str>,
        exchangers: HashMap<&'static str, &'static str>,
    }

    fn found<T>(value: Option<T>) -> Found<Vec<T>> {
        value.map_or(Found::NoSuchName, |value| Found::Some(vec![value]))
    }

    impl Resolver for Zone {
        fn addresses<'a>(&'a self, name: &'a str) -> Asked<'a, Vec<IpAddr>> {
            Box::pin(async move { found(self.addresses.get(name).map(|text| text.parse().expect("an address"))) })
        }

        fn addresses_of<'a>(&'a self, name: &'a str, _: bool) -> Asked<'a, Vec<IpAddr>> {
            self.addresses(name)
        }

        fn texts<'a>(&'a self, name: &'a str) -> Asked<'a, Vec<String>> {
            Box::pin(async move {
                if name == "later.example" {
                    return Found::Later("no answer".to_owned());
                }
                found(self.texts.get(name).map(|text| (*text).to_owned()))
            })
        }

        fn exchangers<'a>(&'a self, name: &'a str) -> Asked<'a, Vec<String>> {
            Box::pin(async move { found(self.exchangers.get(name).map(|text| (*text).to_owned())) })
        }

        fn names(&self, _: IpAddr) -> Asked<'_, Vec<String>> {
            Box::pin(async { Found::Nothing })
        }
    }

    fn run(domain: &str, zone: &Zone) -> Result<Vec<String>, String> {
        let mut walk = pin!(networks(domain, zone));
        match walk.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("nothing here waits"),
        }
    }

    #[test]
    fn records_are_followed_to_their_networks() {
        let zone = Zone {
            texts: HashMap::from([
                (
                    "big.example",
                    "v=spf1 ip4:192.0.2.9/24 include:_spf.big.example a:%{i}.big.example -ip4:198.51.100.1 ~all",
                ),
                (
                    "_spf.big.example",
                    "v=spf1 a:out.big.example/28 ip6:2001:db8::1/48 ip4:0.0.0.0/0 redirect=big.example",
                ),
            ]),
            addresses: HashMap::from([("out.big.example", "203.0.113.77"), ("mx.big.example", "203.0.113.5")]),
            exchangers: HashMap::from([("big.example", "mx.big.example")]),
        };
        let networks = run("Big.example", &zone).expect("networks");
        assert_eq!(networks, ["192.0.2.0/24", "2001:db8::/48", "203.0.113.5/32", "203.0.113.64/28"]);
    }

    #[test]
    fn what_cannot_be_told_is_said() {
        let zone = Zone::default();
        assert!(run("later.example", &zone).is_err_and(|why| why.contains("no answer")));
        assert!(run("nothing.example", &zone).is_err_and(|why| why.contains("no networks")));
    }
}
