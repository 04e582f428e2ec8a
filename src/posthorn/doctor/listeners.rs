//! Listeners: who is believed, and who may relay.

use std::net::{IpAddr, Ipv4Addr};

use posthorn_config::{Config, Listener, Network, Peer, Speaks};

use super::Finding;

const AREA: &str = "machine";

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    judge(config, &gateways())
}

fn judge(config: &Config, routers: &[IpAddr]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for listener in config.listener.iter().filter(|listener| listener.enable) {
        for peer in listener.peer.iter().chain(listener.listen.iter().flat_map(|endpoint| &endpoint.peer)) {
            findings.extend(proxies(listener, peer));
            findings.extend(relays(listener, peer, routers));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::fine(AREA, "listeners", "nobody is believed or relayed for beyond one network"));
    }
    let open = |speaks| config.listener.iter().any(|listener| listener.enable && listener.speaks == speaks);
    if !config.listener.is_empty() && !open(Speaks::Submission) && !open(Speaks::Submissions) && open(Speaks::Imaps) {
        findings.push(
            Finding::note(
                AREA,
                "listeners",
                "people read mail here, but there is no submission listener to send it by",
            )
            .advise("add a listener that speaks submissions on *:465"),
        );
    }
    findings
}

/// Whoever may say whose connection it is can be anybody.
fn proxies(listener: &Listener, peer: &Peer) -> Option<Finding> {
    (peer.options.proxy_protocol == Some(true) && is_wide(&peer.network)).then(|| {
        let found = format!("any of {} is believed whose connection it is (PROXY) at {}", peer.network, listener.name);
        Finding::warning(AREA, "PROXY trust", found).advise("name the addresses of your proxies only")
    })
}

fn relays(listener: &Listener, peer: &Peer, routers: &[IpAddr]) -> Option<Finding> {
    if peer.options.relay != Some(true) {
        return None;
    }
    if let Some(gateway) = routers.iter().find(|router| peer.network.contains(**router)) {
        let found =
            format!("{} may relay at {}, and {gateway} is the router of this machine", peer.network, listener.name);
        return Some(Finding::warning(AREA, "relaying", found).advise(
            "if that router rewrites the addresses of clients, everybody outside may relay: leave its address out of the block",
        ));
    }
    is_wide(&peer.network).then(|| {
        let found = format!("all of {} may relay at {} without a login", peer.network, listener.name);
        Finding::warning(AREA, "relaying", found).advise("name the hosts that need it, or have them log in")
    })
}

/// More than what one site has.
fn is_wide(network: &Network) -> bool {
    let longest = if network.net().addr().is_ipv4() { 16 } else { 48 };
    network.prefix() < longest
}

/// The routers that this machine sends through, as the kernel lists them (IPv4).
fn gateways() -> Vec<IpAddr> {
    std::fs::read_to_string("/proc/net/route").map(|table| routers(&table)).unwrap_or_default()
}

fn routers(table: &str) -> Vec<IpAddr> {
    let rows = table.lines().skip(1).filter_map(|line| {
        let mut columns = line.split_ascii_whitespace().skip(2);
        // Addresses stand in the machine's own order of octets.
        u32::from_str_radix(columns.next()?, 16).ok().filter(|gateway| *gateway != 0)
    });
    rows.map(|gateway| Ipv4Addr::from(gateway.to_ne_bytes()).into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        let config: Config = toml::from_str(text).expect("a configuration");
        judge(&config, &[Ipv4Addr::new(172, 17, 0, 1).into()]).into_iter().map(|finding| finding.found).collect()
    }

    #[test]
    fn wide_trust_is_told() {
        let row = "[[listener]]\nname = 'smtp'\nspeaks = 'smtp'\nlisten = ['*:25']\n[[listener.peer]]\n";
        let found = told(&format!("{row}network = '10.0.0.0/8'\nrelay = true\nproxy_protocol = true\n"));
        assert!(found[0].contains("10.0.0.0/8 is believed"), "{found:?}");
        assert!(found[1].contains("may relay at smtp"), "{found:?}");
        let found = told(&format!("{row}network = '192.0.2.0/24'\nrelay = true\n"));
        assert_eq!(found, ["nobody is believed or relayed for beyond one network"]);
        let found = told(&format!("{row}network = '172.17.0.0/24'\nrelay = true\n"));
        assert!(found[0].contains("172.17.0.1 is the router"), "{found:?}");
    }

    #[test]
    fn routers_are_read_from_the_kernels_table() {
        let gateway = u32::from_ne_bytes([172, 17, 0, 1]);
        let table =
            format!("Iface\tDestination\tGateway\tFlags\neth0\t00000000\t{gateway:08X}\t0003\neth0\t1\t00000000\t1\n");
        assert_eq!(routers(&table), ["172.17.0.1".parse::<IpAddr>().expect("address")]);
    }
}
