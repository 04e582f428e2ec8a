//! Connections that come and go.

use std::time::Duration;

use posthorn_config::Speaks;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::program::{MIB, Program};

const CONNECTIONS: usize = 2000;

#[tokio::test]
async fn two_thousand_connections_leave_nothing_behind() {
    let mut program = Program::start().await;
    program.works().await;
    let (memory, files) = (program.peak(), program.open_files());
    for round in 0..CONNECTIONS {
        let speaks = Speaks::ALL[round % Speaks::ALL.len()];
        let connected = TcpStream::connect(("127.0.0.1", program.port(speaks))).await;
        let mut stream = connected.expect("the server listens");
        match round % 4 {
            // Gone without a word, with half a word, by a reset, and after a moment.
            0 => {}
            1 => {
                let _gone = stream.write_all(b"EHL").await;
            }
            2 => stream.set_zero_linger().expect("an open socket"),
            _ => tokio::time::sleep(Duration::from_micros(200)).await,
        }
    }
    program.closes_all_but(files).await;
    let grown = program.peak().saturating_sub(memory);
    assert!(grown < 32 * MIB, "{grown} octets more than before at the peak");
    program.works().await;
}
