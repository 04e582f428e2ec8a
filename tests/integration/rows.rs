//! Pieces of configuration as people write them, and clients from other addresses.

use std::net::{Ipv4Addr, SocketAddr};

use harness::server::Server;
use harness::smtp_client::SmtpClient;
use harness::stream::Stream;
use posthorn_config::Peer;
use tokio::net::TcpSocket;

/// `[[listener.peer]]` rows, each of them a TOML text.
pub(crate) fn peers(rows: &[&str]) -> Vec<Peer> {
    rows.iter().map(|row| toml::from_str(row).unwrap_or_else(|error| panic!("{row}: {error}"))).collect()
}

/// A client of this port whose own address is 127.0.0.`last`; nothing is read.
pub(crate) async fn client_from(server: &Server, last: u8, port: u16) -> SmtpClient {
    SmtpClient::over(stream_from(last, port).await, server.tls())
}

/// The connection alone.
pub(crate) async fn stream_from(last: u8, port: u16) -> Stream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0))).expect("a loopback address");
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Stream::over(socket.connect(to).await.expect("the server listens"))
}

/// The same, greeted.
pub(crate) async fn greeted_from(server: &Server, last: u8, port: u16) -> SmtpClient {
    let mut client = client_from(server, last, port).await;
    let greeting = client.reply().await;
    assert!(greeting.starts_with("220 "), "{greeting}");
    client
}
