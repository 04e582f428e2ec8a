//! The name of this machine: whether it leads here, and whether its addresses lead back.

use std::net::IpAddr;

use posthorn_net::dns::Answer;

use super::{Bag, Finding, Machine, addresses_of, listed};

const AREA: &str = "machine";

/// Where mail leaves from: the addresses of the bindings, else those that the machine's name has.
pub(super) async fn addresses(bag: &Bag<'_>) -> Vec<IpAddr> {
    let mut own: Vec<IpAddr> =
        bag.config.binding.iter().flat_map(|binding| binding.addresses.iter().copied()).collect();
    if own.is_empty() {
        own = addresses_of(&bag.dns, &bag.config.server.hostname).await.unwrap_or_default();
    }
    own.dedup();
    own
}

pub(super) async fn examine(bag: &Bag<'_>, machine: &Machine) -> Vec<Finding> {
    let name = &machine.hostname;
    let mut findings = Vec::new();
    if !name.contains('.') || name.ends_with(".localdomain") {
        findings.push(
            Finding::fault(AREA, "host name", format!("{name} is no name that others know"))
                .advise("set server.hostname to the name that the DNS has for this machine"),
        );
        return findings;
    }
    findings.push(match addresses_of(&bag.dns, name).await {
        Ok(found) if found.is_empty() => Finding::fault(AREA, "host name", format!("{name} has no address in the DNS"))
            .advise("many receivers refuse mail from a host whose name leads nowhere")
            .publish(format!("{name}. 3600 IN A 192.0.2.1 ; the address of this machine")),
        Ok(found) => Finding::fine(AREA, "host name", format!("{name} is at {}", listed(&found))),
        Err(why) => Finding::unknown(AREA, "host name", &why),
    });
    for address in &machine.addresses {
        findings.push(reverse(bag, name, *address).await);
    }
    findings
}

/// Whether the names of an address lead back to it, and whether one of them is ours (RFC 8601 §2.7.3).
async fn reverse(bag: &Bag<'_>, own: &str, address: IpAddr) -> Finding {
    const SUBJECT: &str = "reverse DNS";
    if is_private(address) {
        let found = format!("{address} is a private address: nobody outside knows it");
        return Finding::note(AREA, SUBJECT, found).advise("have mail leave through an address that has a name");
    }
    let ask = format!("ask whoever gave you {address} to name it {own}");
    let names = match bag.dns.names(address).await {
        Answer::Found(names) => names,
        Answer::None | Answer::NoSuchName => {
            return Finding::fault(AREA, SUBJECT, format!("{address} has no name (PTR)")).advise(ask);
        }
        Answer::Temporary(why) => return Finding::unknown(AREA, SUBJECT, &why),
    };
    for name in names.iter().take(5) {
        if addresses_of(&bag.dns, name).await.is_ok_and(|all| all.iter().any(|one| one.to_canonical() == address)) {
            let found = format!("{address} is {name}, and that leads back");
            let same = name.trim_end_matches('.').eq_ignore_ascii_case(own);
            return if same {
                Finding::fine(AREA, SUBJECT, found)
            } else {
                Finding::note(AREA, SUBJECT, format!("{found}; we call ourselves {own}")).advise(ask)
            };
        }
    }
    Finding::fault(AREA, SUBJECT, format!("{address} is {}, which does not lead back", listed(&names))).advise(ask)
}

/// Whether an address means something only in its own network.
pub(super) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local() || is_shared(v4.octets()),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// 100.64.0.0/10, between a provider and its customers (RFC 6598).
fn is_shared(octets: [u8; 4]) -> bool {
    octets[0] == 100 && octets[1] & 0xc0 == 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_known() {
        let private = |text: &str| is_private(text.parse().expect("address"));
        for text in
            ["10.1.2.3", "127.0.0.1", "::ffff:192.168.1.1", "100.64.0.1", "100.127.255.255", "fd00::1", "fe80::1"]
        {
            assert!(private(text), "{text}");
        }
        for text in ["192.0.2.1", "100.128.0.1", "100.63.255.255", "2001:db8::1"] {
            assert!(!private(text), "{text}");
        }
    }
}
