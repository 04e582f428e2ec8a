//! The listen-address parser: what it accepts, it writes in a way that it reads as the same address.

use posthorn_config::{ListenAddress, Network};

/// Reads the text as a listen address and as a network.
pub fn target(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    match ListenAddress::parse(&text) {
        Ok(address) => same_again(&address),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(network) = text.parse::<Network>() {
        assert_eq!(network.to_string().parse().ok(), Some(network), "{text:?}");
        assert!(network.contains(network.net().network()), "{text:?}");
    }
}

fn same_again(address: &ListenAddress) {
    let written = address.to_string();
    assert_eq!(ListenAddress::parse(&written).as_ref(), Ok(address), "written as {written:?}");
    // Port 0 is another port each time.
    let free = matches!(address, ListenAddress::Tcp(address) if address.port() == 0);
    assert_eq!(address.overlaps(address), !free, "{written:?}");
    if let ListenAddress::Tcp(tcp) = address {
        assert_eq!(address.is_local(), Some(tcp.ip().is_loopback()), "{written:?}");
        assert_eq!(tcp.ip(), tcp.ip().to_canonical(), "{written:?} is an IPv4 address in disguise");
    }
}
