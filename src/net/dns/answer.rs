//! What the DNS says, as values that keep "there is none", "no such name" and "cannot be told now" apart.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::Tlsa;

/// The answer to a question for records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer<T> {
    /// Records of the kind asked for.
    Found(T),
    /// The name has no records of this kind (NODATA).
    None,
    /// The name does not exist (NXDOMAIN).
    NoSuchName,
    /// It cannot be told now: no server answered, a server failed (SERVFAIL), or an answer that should be signed is
    /// not (bogus). The text says which.
    Temporary(String),
}

impl<T> Answer<T> {
    /// The records, if there are any.
    pub fn found(self) -> Option<T> {
        if let Self::Found(records) = self { Some(records) } else { None }
    }
}

/// Where mail for a domain goes (RFC 5321 §5.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MxAnswer {
    /// To these hosts.
    Hosts(Mx),
    /// Nowhere: the domain says that it takes no mail (RFC 7505 §3).
    Null,
    /// The domain does not exist, or it has neither MX nor address records.
    NoSuchDomain,
    /// It cannot be told now; the text says why.
    Temporary(String),
}

/// The mail exchangers of a domain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mx {
    /// Sorted by preference, lowest (best) first; names in lower case without the final dot. Equal preferences stay
    /// in the order of the answer: shuffling them is the caller's business (RFC 5321 §5.1).
    pub hosts: Vec<MxHost>,
    /// DNSSEC proves the whole way from the domain to this answer, CNAMEs included; for an implicit MX it proves
    /// that there is no MX record.
    pub secure: bool,
    /// There is no MX record: the domain itself is the host (RFC 5321 §5.1).
    pub implicit: bool,
    /// When the answer must be asked for anew.
    pub expires: Instant,
}

/// One mail exchanger.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MxHost {
    /// Lower is better.
    pub preference: u16,
    /// A host name in lower case, A-labels, without the final dot.
    pub host: String,
}

/// The addresses of a host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Addresses {
    /// A records, in the order of the answer.
    pub v4: Vec<Ipv4Addr>,
    /// AAAA records, in the order of the answer.
    pub v6: Vec<Ipv6Addr>,
    /// DNSSEC proves both sets (or that one of them is empty), CNAMEs included.
    pub secure: bool,
    /// The host's own name when the name asked for is an alias (CNAME) of it.
    pub canonical: Option<String>,
    /// When the answer must be asked for anew.
    pub expires: Instant,
}

impl Addresses {
    /// All addresses with `port`, the families in turn, beginning with IPv6 if it is preferred (RFC 8305 §4).
    #[must_use]
    pub fn in_turn(&self, port: u16, prefer_ipv6: bool) -> Vec<SocketAddr> {
        let mut v4 = self.v4.iter().map(|ip| SocketAddr::new(IpAddr::V4(*ip), port));
        let mut v6 = self.v6.iter().map(|ip| SocketAddr::new(IpAddr::V6(*ip), port));
        let mut all = Vec::with_capacity(self.v4.len() + self.v6.len());
        loop {
            let (first, second) = if prefer_ipv6 { (v6.next(), v4.next()) } else { (v4.next(), v6.next()) };
            if first.is_none() && second.is_none() {
                return all;
            }
            all.extend(first.into_iter().chain(second));
        }
    }
}

/// The TLSA records of a host's port. Only secure ones are ever told: insecure ones mean nothing (RFC 7672 §2.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsaSet {
    /// At least one record, usable or not; see [`Tlsa::is_usable`].
    pub records: Vec<Tlsa>,
    /// The name that the records stand under and that certificates are matched against (RFC 7672 §2.2.3): the host's
    /// name, or its canonical name where it is an alias. Also the server name of the handshake (RFC 7672 §8.1).
    pub base: String,
    /// When the answer must be asked for anew.
    pub expires: Instant,
}

/// Strings of TXT records, each joined from its pieces.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Texts {
    /// One per record; octets that are not UTF-8 are replaced.
    pub texts: Vec<String>,
    /// DNSSEC proves the answer.
    pub secure: bool,
    /// When the answer must be asked for anew.
    pub expires: Instant,
}

/// How long answers are believed at most, whatever their TTL says.
pub(super) const LONGEST: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let addresses = Addresses {
            v4: vec![Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)],
            v6: vec!["2001:db8::1".parse().expect("address")],
            secure: false,
            canonical: None,
            expires: Instant::now(),
        };
        let text = |prefer| addresses.in_turn(25, prefer).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(text(true), ["[2001:db8::1]:25", "192.0.2.1:25", "192.0.2.2:25"]);
        assert_eq!(text(false), ["192.0.2.1:25", "[2001:db8::1]:25", "192.0.2.2:25"]);
    }
}
