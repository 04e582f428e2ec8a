use std::net::TcpListener as StdListener;

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::*;

fn v4(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
}

/// A port where nobody listens.
fn refusing() -> SocketAddr {
    StdListener::bind(v4(0)).expect("free port").local_addr().expect("bound")
}

/// A port that takes no further connection and says nothing about it: its queue is full.
fn silent() -> (Socket, Vec<std::net::TcpStream>, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
    socket.bind(&v4(0).into()).expect("bound");
    socket.listen(0).expect("listening");
    let address = socket.local_addr().expect("bound").as_socket().expect("TCP");
    let mut waiting = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        waiting.push(stream);
    }
    (socket, waiting, address)
}

async fn listening() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(v4(0)).await.expect("free port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

#[tokio::test]
async fn who_refuses_is_passed_over_at_once() {
    let (_listener, address) = listening().await;
    let slow = DialOptions { stagger: Duration::from_hours(1), ..DialOptions::default() };
    let link = dial(&Target::Tcp(vec![refusing(), refusing(), address]), &slow).await.expect("link");
    assert_eq!(link.facts().peer, Some(address));
    assert!(link.facts().local.is_some() && link.facts().tls.is_none());
}

#[tokio::test]
async fn who_is_silent_is_overtaken() {
    let (_full, _waiting, dead) = silent();
    let (_listener, address) = listening().await;
    let began = Instant::now();
    let options = DialOptions { connect_time: Duration::from_hours(1), ..DialOptions::default() };
    let link = dial(&Target::Tcp(vec![dead, address]), &options).await.expect("link");
    assert_eq!(link.facts().peer, Some(address));
    assert!(began.elapsed() >= Duration::from_millis(250), "the first had its time");
}

#[tokio::test]
async fn all_that_failed_is_told() {
    let (_full, _waiting, dead) = silent();
    let gone = refusing();
    let options = DialOptions { connect_time: Duration::from_millis(50), ..DialOptions::default() };
    let failure = dial(&Target::Tcp(vec![dead, gone]), &options).await.expect_err("nobody answers");
    assert_eq!(failure.to_string(), format!("{dead}: connection timed out; {gone}: connection refused"));
    let nowhere = dial(&Target::Tcp(Vec::new()), &options).await.expect_err("no address");
    assert_eq!(nowhere.to_string(), "there is no address to connect to");
}

#[tokio::test]
async fn the_source_address_is_ours_to_choose() {
    let (_listener, address) = listening().await;
    let from = |v4, v6| DialOptions { source: Source { v4, v6 }, ..DialOptions::default() };
    let second = Ipv4Addr::new(127, 0, 0, 2);
    let link = dial(&Target::Tcp(vec![address]), &from(Some(second), None)).await.expect("link");
    assert_eq!(link.facts().local.map(|local| local.ip()), Some(second.into()));

    let foreign = from(Some(Ipv4Addr::new(192, 0, 2, 55)), None);
    let failure = dial(&Target::Tcp(vec![address]), &foreign).await.expect_err("not ours");
    assert_eq!(failure.to_string(), format!("{address}: 192.0.2.55 is no address of this machine"));

    let other_family = from(None, Some(Ipv6Addr::LOCALHOST));
    let failure = dial(&Target::Tcp(vec![address]), &other_family).await.expect_err("no way");
    assert_eq!(failure.to_string(), format!("{address}: {NO_SOURCE}"));
}

#[tokio::test]
async fn unix_sockets_too() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("lmtp.sock");
    let _listener = UnixListener::bind(&path).expect("bound");
    let link = dial(&Target::Unix(path.clone()), &DialOptions::default()).await.expect("link");
    assert_eq!(link.facts().peer, None);
    let failure = dial(&Target::Unix(folder.path().join("none")), &DialOptions::default()).await;
    assert!(failure.expect_err("missing").to_string().ends_with("none: there is no such socket"));
}
