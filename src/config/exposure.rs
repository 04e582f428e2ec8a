//! Internal services stay internal.

use std::net::IpAddr;

use crate::{ClientCertificate, Endpoint, Listener, Peer};

/// Why an internal service may not listen here.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Exposure {
    /// Not loopback, and nobody said that this is meant.
    #[error(
        "{0} trusts its clients and so listens on loopback or a Unix socket; to open it on purpose set exposed = true and name the peers or require client certificates"
    )]
    Unmeant(&'static str),
    /// Meant, but everybody could connect.
    #[error(
        "exposed = true opens {0} to everybody; name the peers (not a /0 network) or set client_certificate = \"required\""
    )]
    WideOpen(&'static str),
}

/// Whether an endpoint may be bound: an internal service on another than a loopback address or Unix socket needs
/// `exposed = true` with peers or client certificates. `bound` is the socket's own address once it is known, which
/// for `systemd:` sockets is the only way to tell; `None` asks about the address as configured.
///
/// # Errors
/// [`Exposure`] says what is missing.
pub fn exposure(listener: &Listener, endpoint: &Endpoint, bound: Option<IpAddr>) -> Result<(), Exposure> {
    let local = match bound {
        Some(address) => address.to_canonical().is_loopback(),
        None => endpoint.address.is_local().unwrap_or(true),
    };
    if !listener.is_internal() || local {
        return Ok(());
    }
    if !listener.exposed {
        return Err(Exposure::Unmeant(listener.speaks.name()));
    }
    let peers = || listener.peer.iter().chain(&endpoint.peer);
    // A /0 block lets everybody in, whatever other blocks stand beside it.
    let everybody = peers().any(|peer| peer.network.is_everybody() && !denies(peer));
    let certified = listener.client_certificate == ClientCertificate::Required;
    let named = peers().any(|peer| !denies(peer));
    if certified || (named && !everybody) { Ok(()) } else { Err(Exposure::WideOpen(listener.speaks.name())) }
}

fn denies(peer: &Peer) -> bool {
    peer.options.deny == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ListenAddress, PeerOptions, Speaks};

    fn lmtp(address: &str) -> Listener {
        Listener::new("lmtp", Speaks::Lmtp, [ListenAddress::parse(address).expect("an address")])
    }

    fn peer(network: &str, deny: bool) -> Peer {
        let options = PeerOptions { deny: Some(deny), ..PeerOptions::default() };
        Peer { network: network.parse().expect("a network"), sessions: None, options }
    }

    fn judge(listener: &Listener) -> Result<(), Exposure> {
        exposure(listener, &listener.listen[0], None)
    }

    #[test]
    fn loopback_and_sockets_are_fine() {
        for address in
            ["127.0.0.1:24", "127.9.9.9:24", "[::1]:24", "/run/lmtp", "systemd:lmtp", "[::ffff:127.0.0.1]:24"]
        {
            assert_eq!(judge(&lmtp(address)), Ok(()), "{address}");
        }
    }

    #[test]
    fn wider_needs_both_the_will_and_the_names() {
        for address in ["*:24", "[*]:24", "192.0.2.1:24", "[2001:db8::1]:24"] {
            let mut listener = lmtp(address);
            assert_eq!(judge(&listener), Err(Exposure::Unmeant("lmtp")), "{address}");
            listener.peer = vec![peer("10.0.0.0/8", false)];
            assert_eq!(judge(&listener), Err(Exposure::Unmeant("lmtp")));
            listener.exposed = true;
            assert_eq!(judge(&listener), Ok(()));
            listener.peer = vec![peer("10.0.0.0/8", true)];
            assert_eq!(judge(&listener), Err(Exposure::WideOpen("lmtp")));
            listener.peer = vec![peer("10.0.0.0/8", false), peer("0.0.0.0/0", false)];
            assert_eq!(judge(&listener), Err(Exposure::WideOpen("lmtp")));
            listener.client_certificate = ClientCertificate::Required;
            assert_eq!(judge(&listener), Ok(()));
        }
    }

    #[test]
    fn a_socket_handed_over_is_judged_by_its_own_address() {
        let listener = lmtp("systemd:lmtp");
        let judge = |ip: &str| exposure(&listener, &listener.listen[0], Some(ip.parse().expect("an address")));
        assert_eq!(judge("::1"), Ok(()));
        assert_eq!(judge("0.0.0.0"), Err(Exposure::Unmeant("lmtp")));
    }

    #[test]
    fn release_is_public_with_tls_only() {
        let plain = Listener { speaks: Speaks::Release, ..lmtp("*:8025") };
        assert_eq!(judge(&plain), Err(Exposure::Unmeant("release")));
        assert_eq!(judge(&Listener { tls: Some(crate::TlsMode::Implicit), ..plain.clone() }), Ok(()));
        assert_eq!(
            judge(&Listener { speaks: Speaks::Lmtp, tls: Some(crate::TlsMode::Implicit), ..plain }),
            Err(Exposure::Unmeant("lmtp"))
        );
    }

    #[test]
    fn public_services_may_listen_anywhere() {
        assert_eq!(judge(&Listener { speaks: Speaks::Smtp, ..lmtp("*:25") }), Ok(()));
    }
}
