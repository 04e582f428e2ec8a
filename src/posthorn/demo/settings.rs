//! The demo's configuration.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::Context;
use posthorn_config::{Config, FilterPort, ListenAddress, Listener, Peer, PeerOptions, Route, ServiceAddress, Speaks};

use super::PortChoice;
use super::environment::Ports;

/// The services of the demo with their standard ports.
const SERVICES: [(Speaks, u16); 15] = [
    (Speaks::Smtp, 25),
    (Speaks::Submission, 587),
    (Speaks::Submissions, 465),
    (Speaks::Lmtp, 24),
    (Speaks::Imap, 143),
    (Speaks::Imaps, 993),
    (Speaks::Policy, 7777),
    (Speaks::SrsForward, 7778),
    (Speaks::SrsReverse, 7779),
    (Speaks::Filter, 10_024),
    (Speaks::Reinject, 10_025),
    (Speaks::ReinjectExpand, 10_028),
    (Speaks::AmPdp, 9998),
    (Speaks::Milter, 2500),
    (Speaks::Metrics, 9464),
];

/// Everything on loopback; loopback clients may restate who they are and log in without TLS.
/// Mail for other hosts goes to `relay`, or comes back: a demo must not write to the world.
pub(super) fn config(data: &Path, choice: PortChoice, relay: Option<&str>) -> anyhow::Result<Config> {
    let mut config = Config::default();
    let to = match relay {
        Some(relay) => format!("smtp://{relay}"),
        None => "reject: this is a demo, it sends nothing to other hosts (see --relay)".to_owned(),
    };
    let next = to.parse().with_context(|| format!("--relay {}", relay.unwrap_or_default()))?;
    config.route = vec![Route { name: Some("demo".to_owned()), ..Route::to(next) }];
    // Nor need it ask the world.
    config.checks.enable = false;
    config.server.data = data.to_owned();
    config.server.hostname = "localhost".to_owned();
    config.limits.sessions_per_address = 0;
    config.imap.sessions_per_account = 0;
    let kept = kept_ports(data);
    let mut ports = std::collections::BTreeMap::new();
    config.listener = SERVICES
        .iter()
        .map(|(speaks, standard)| {
            let port = match choice {
                PortChoice::Standard => *standard,
                PortChoice::Free => {
                    let kept = kept.get(speaks.name()).copied().filter(|port| is_free(*port));
                    // The filter must know where its mail goes before anything is bound.
                    kept.unwrap_or_else(|| if *speaks == Speaks::Reinject { free_port() } else { 0 })
                }
            };
            ports.insert(speaks.name(), port);
            listener(*speaks, port)
        })
        .collect::<anyhow::Result<_>>()?;
    let back = ports.get(Speaks::Reinject.name()).copied().filter(|port| *port > 0);
    if let Some(row) = config.listener.iter_mut().find(|row| row.speaks == Speaks::Filter) {
        let next_hop = back.map(|port| ServiceAddress::Tcp((Ipv4Addr::LOCALHOST, port).into()));
        row.filter = Some(FilterPort { next_hop, ..FilterPort::default() });
    }
    Ok(config)
}

/// Remembers the ports, so that the next start on this folder has the same.
pub(super) fn keep_ports(data: &Path, choice: PortChoice, ports: &Ports) -> anyhow::Result<()> {
    if choice == PortChoice::Standard {
        return Ok(());
    }
    let file = data.join("demo-ports.json");
    std::fs::write(&file, serde_json::to_string_pretty(ports)?)
        .with_context(|| format!("{} cannot be written", file.display()))
}

fn kept_ports(data: &Path) -> std::collections::BTreeMap<String, u16> {
    let text = std::fs::read_to_string(data.join("demo-ports.json")).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    socket.and_then(|socket| socket.local_addr()).map_or(0, |address| address.port())
}

fn is_free(port: u16) -> bool {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn listener(speaks: Speaks, port: u16) -> anyhow::Result<Listener> {
    let mut listener =
        Listener::new(speaks.name(), speaks, [ListenAddress::tcp(IpAddr::from(Ipv4Addr::LOCALHOST), port)]);
    listener.peer = vec![Peer {
        network: "127.0.0.0/8".parse().map_err(|_| anyhow::anyhow!("127.0.0.0/8 is no network"))?,
        sessions: None,
        options: PeerOptions {
            xclient: Some(true),
            xforward: Some(true),
            require_tls: Some(false),
            ..PeerOptions::default()
        },
    }];
    Ok(listener)
}
