//! Connecting: to the first of several addresses that answers, from an address of our choice.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Link, LinkFacts};
use crate::stream::Stream;

/// Where to connect to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// The first of these that answers, tried in this order; see [`Addresses::in_turn`](crate::dns::Addresses::in_turn).
    Tcp(Vec<SocketAddr>),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Our own addresses to connect from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Source {
    /// For IPv4 targets.
    pub v4: Option<Ipv4Addr>,
    /// For IPv6 targets.
    pub v6: Option<Ipv6Addr>,
}

impl Source {
    /// The address to connect to `target` from: any (`Some(None)`) where nothing is declared at all, and no way
    /// (`None`) to a family that only the other one is declared for.
    fn toward(self, target: SocketAddr) -> Option<Option<SocketAddr>> {
        let chosen = match target {
            SocketAddr::V4(_) => self.v4.map(IpAddr::V4),
            SocketAddr::V6(_) => self.v6.map(IpAddr::V6),
        };
        match chosen {
            Some(ip) => Some(Some(SocketAddr::new(ip, 0))),
            None if self == Self::default() => Some(None),
            None => None,
        }
    }
}

/// How to connect.
#[derive(Clone, Copy, Debug)]
pub struct DialOptions {
    /// From where. When only one family is declared, addresses of the other are passed over.
    pub source: Source,
    /// Time for each address.
    pub connect_time: Duration,
    /// How long an address may be silent before the next is tried beside it (RFC 8305 §5).
    pub stagger: Duration,
}

impl Default for DialOptions {
    /// 30 seconds for each address, and the next after 250 milliseconds.
    fn default() -> Self {
        let (connect_time, stagger) = (Duration::from_secs(30), Duration::from_millis(250));
        Self { source: Source::default(), connect_time, stagger }
    }
}

/// Why nobody could be connected to: what each address came to.
#[derive(Clone, Debug, Default, Eq, PartialEq, thiserror::Error)]
pub struct DialFailure {
    /// The address or path, and why not.
    pub tried: Vec<(String, String)>,
}

impl fmt::Display for DialFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tried.is_empty() {
            return f.write_str("there is no address to connect to");
        }
        for (at, (target, reason)) in self.tried.iter().enumerate() {
            let comma = if at == 0 { "" } else { "; " };
            write!(f, "{comma}{target}: {reason}")?;
        }
        Ok(())
    }
}

/// Connects to the first address that answers.
///
/// # Errors
/// What each address came to.
pub async fn dial(target: &Target, options: &DialOptions) -> Result<Link, DialFailure> {
    let began = Instant::now();
    let (stream, peer, local) = match target {
        Target::Tcp(addresses) => {
            let stream = race(addresses, options).await?;
            let (peer, local) = (stream.peer_addr().ok(), stream.local_addr().ok());
            (Stream::Tcp(stream), peer, local)
        }
        Target::Unix(path) => {
            let failed = |reason: String| DialFailure { tried: vec![(path.display().to_string(), reason)] };
            match timeout(options.connect_time, UnixStream::connect(path)).await {
                Ok(Ok(stream)) => (Stream::Unix(stream), None, None),
                Ok(Err(error)) => return Err(failed(words(&error))),
                Err(_) => return Err(failed(SILENT.to_owned())),
            }
        }
    };
    let facts = LinkFacts { peer, local, connected_in: began.elapsed(), tls: None };
    Ok(Link { stream, facts, secured: None })
}

/// RFC 8305 §5: one attempt after the other, each beside those that are still silent.
async fn race(addresses: &[SocketAddr], options: &DialOptions) -> Result<TcpStream, DialFailure> {
    let mut failure = DialFailure::default();
    let mut waiting = addresses.iter().copied();
    let mut attempts = FuturesUnordered::new();
    let mut next_at = Instant::now();
    let mut more = true;
    loop {
        if more && (attempts.is_empty() || next_at <= Instant::now()) {
            match waiting.next() {
                None => more = false,
                Some(address) => match options.source.toward(address) {
                    None => failure.tried.push((address.to_string(), NO_SOURCE.to_owned())),
                    Some(source) => {
                        attempts.push(attempt(address, source, options.connect_time));
                        next_at = Instant::now() + options.stagger;
                    }
                },
            }
            continue;
        }
        tokio::select! {
            biased;
            ended = attempts.next() => match ended {
                None => return Err(failure),
                Some(Ok(stream)) => return Ok(stream),
                Some(Err((address, reason))) => {
                    failure.tried.push((address.to_string(), reason));
                    next_at = Instant::now();
                }
            },
            () = sleep_until(next_at), if more => {}
        }
    }
}

async fn attempt(
    address: SocketAddr,
    source: Option<SocketAddr>,
    time: Duration,
) -> Result<TcpStream, (SocketAddr, String)> {
    let connect = async {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_nodelay(true)?;
        if let Some(source) = source {
            socket.bind(source)?;
        }
        socket.connect(address).await
    };
    match timeout(time, connect).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if error.kind() == io::ErrorKind::AddrNotAvailable && source.is_some() => {
            Err((address, format!("{} is no address of this machine", source.unwrap_or(address).ip())))
        }
        Ok(Err(error)) => Err((address, words(&error))),
        Err(_) => Err((address, SILENT.to_owned())),
    }
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        io::ErrorKind::NotFound => "there is no such socket".to_owned(),
        io::ErrorKind::TimedOut => SILENT.to_owned(),
        _ => error.to_string(),
    }
}

const SILENT: &str = "connection timed out";
const NO_SOURCE: &str = "no source address of this family is declared";

#[cfg(test)]
mod tests;
