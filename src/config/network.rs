//! Networks that clients come from.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A CIDR block or a single address. A v4-mapped IPv6 block is kept as the IPv4 block that it means, so v4 and
/// v4-mapped clients are one and the same.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Network(IpNet);

/// Why a text is not a network.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NetworkError {
    /// Neither an address nor a CIDR block.
    #[error("\"{0}\" is not a network; write 192.0.2.0/24, 2001:db8::/32 or a single address")]
    Malformed(String),
    /// The address part is inside the block instead of at its start.
    #[error("\"{0}\" has bits set behind its prefix; write \"{1}\"")]
    HostBits(String, IpNet),
}

impl Network {
    /// Whether the client is inside, v4-mapped clients counting as IPv4.
    #[must_use]
    pub fn contains(&self, client: IpAddr) -> bool {
        // The block's own address is cut to its prefix, so that one comparison under the mask is enough.
        match (self.0, client.to_canonical()) {
            (IpNet::V4(net), IpAddr::V4(client)) => client & net.netmask() == net.addr(),
            (IpNet::V6(net), IpAddr::V6(client)) => client & net.netmask() == net.addr(),
            _ => false,
        }
    }

    /// The length of the prefix: the longer, the more specific.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether it is one address.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.0.prefix_len() == self.0.max_prefix_len()
    }

    /// Whether every client of its family is inside.
    #[must_use]
    pub fn is_everybody(&self) -> bool {
        self.0.prefix_len() == 0
    }

    /// Whether it is larger than any network that one organisation has: shorter than /8, or /7 for IPv6.
    #[must_use]
    pub fn is_vast(&self) -> bool {
        match self.0 {
            IpNet::V4(net) => net.prefix_len() < 8,
            IpNet::V6(net) => net.prefix_len() < 7,
        }
    }

    /// The block itself.
    #[must_use]
    pub fn net(&self) -> IpNet {
        self.0
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self(IpNet::from(address.to_canonical()))
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::from(address));
        }
        let net: IpNet = text.parse().map_err(|_| NetworkError::Malformed(text.to_owned()))?;
        let net = unmapped(net);
        if net != net.trunc() {
            return Err(NetworkError::HostBits(text.to_owned(), net.trunc()));
        }
        Ok(Self(net))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() { self.0.addr().fmt(f) } else { self.0.fmt(f) }
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Network {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Network".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "network" })
    }
}

/// `::ffff:a.b.c.d/96+n` as `a.b.c.d/n`; anything else as it is.
fn unmapped(net: IpNet) -> IpNet {
    let mapped = |v6: Ipv6Addr| v6.to_ipv4_mapped().zip(net.prefix_len().checked_sub(96));
    let plain = match net {
        IpNet::V4(_) => None,
        IpNet::V6(v6) => mapped(v6.addr()),
    };
    match plain.map(|(v4, prefix): (Ipv4Addr, u8)| Ipv4Net::new(v4, prefix)) {
        Some(Ok(v4)) => IpNet::V4(v4),
        _ => net,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect("a network")
    }

    #[test]
    fn nine_spellings_are_one_client() {
        let spellings = [
            "fd82:7796:815b:af9d:230:48ff:fef2:aa4a",
            "FD82:7796:815B:AF9D:230:48FF:FEF2:AA4A",
            "fd82:7796:815b:af9d:0230:48ff:fef2:aa4a",
            "Fd82:7796:815B:aF9d:0230:48Ff:fEf2:Aa4A",
            "fd82:7796:815b:af9d:230:48ff:254.242.170.74",
            "fd82:7796:815b:af9d:0230:48FF:254.242.170.74",
            "fd82:7796:815b:af9d:230:48ff:fef2:aa4a/128",
            "FD82:7796:815b:af9d:0230:48ff:fef2:aa4a/128",
            "fd82:7796:815b:af9d:230:48ff:254.242.170.74/128",
        ];
        let client = spellings[0].parse().expect("an address");
        for spelling in spellings {
            assert_eq!(network(spelling), network(spellings[0]), "{spelling}");
            assert!(network(spelling).contains(client), "{spelling}");
        }
    }

    #[test]
    fn mapped_and_plain_are_the_same() {
        assert_eq!(network("::ffff:10.0.0.0/104"), network("10.0.0.0/8"));
        assert_eq!(network("::ffff:192.0.2.1").to_string(), "192.0.2.1");
        let client = "::ffff:10.1.2.3".parse().expect("an address");
        assert!(network("10.0.0.0/8").contains(client));
        assert!(!network("::/0").contains(client));
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

        #[test]
        fn inside_is_what_the_prefix_says(base: IpAddr, client: IpAddr, prefix in 0u8..=32) {
            let net = IpNet::new(base.to_canonical(), prefix).expect("a block").trunc();
            let network: Network = net.to_string().parse().expect("a network");
            proptest::prop_assert!(network.contains(base));
            proptest::prop_assert_eq!(network.contains(client), net.contains(&client.to_canonical()));
        }

        #[test]
        fn no_text_is_too_odd(text in "[:/.a-f0-9]{0,24}") {
            if let Ok(network) = text.parse::<Network>() {
                proptest::prop_assert_eq!(network.to_string().parse(), Ok(network));
            }
        }
    }

    #[test]
    fn refusals_say_what_to_write() {
        let refusal = |text: &str| text.parse::<Network>().expect_err(text).to_string();
        assert_eq!(refusal("10.0.0.1/8"), "\"10.0.0.1/8\" has bits set behind its prefix; write \"10.0.0.0/8\"");
        for text in ["10.0.0.0/33", "10.0.0/8", "example.org", "", "[::1]", "10.0.0.0/-1"] {
            assert!(refusal(text).contains("is not a network"), "{text}");
        }
    }
}
