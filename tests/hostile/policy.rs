//! The policy port and the tables under clients that mean no good.

use std::time::{Duration, Instant};

use posthorn_config::Speaks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::program::{MIB, Program, shout};

const REQUEST: &str = "request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=192.0.2.7\nsender=a@example.net\n\
                       recipient=bob@example.org\n\n";

async fn connect(program: &Program) -> TcpStream {
    TcpStream::connect(("127.0.0.1", program.port(Speaks::Policy))).await.expect("the server listens")
}

/// One question, and how long it took.
async fn ask(stream: &mut TcpStream) -> Duration {
    let begun = Instant::now();
    stream.write_all(REQUEST.as_bytes()).await.expect("the server reads");
    let mut heard = [0; 14];
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_exact(&mut heard)).await;
    read.expect("in time").expect("an answer");
    assert_eq!(&heard, b"action=DUNNO\n\n");
    begun.elapsed()
}

#[tokio::test]
async fn what_never_ends_costs_little_and_is_closed() {
    let mut program = Program::start().await;
    program.works().await;
    let (memory, files) = (program.peak(), program.open_files());
    let endless: [Vec<u8>; 6] = [
        // Values of one megabyte: of something known, of something unknown, and no end of them.
        format!("request=smtpd_access_policy\nsender={}\n\n", "x".repeat(1 << 20)).into_bytes(),
        format!("unknown={}\n", "x".repeat(1 << 20)).repeat(10).into_bytes(),
        b"a=b\n".repeat(1 << 20),
        b"request=smtpd_access_policy\n".repeat(1 << 18),
        vec![b'x'; 8 << 20],
        b"a=\0\n".repeat(1000),
    ];
    for octets in &endless {
        let mut all = JoinSet::new();
        for _ in 0..10 {
            let (port, octets) = (program.port(Speaks::Policy), octets.clone());
            all.spawn(async move { shout(port, &octets).await });
        }
        while let Some(heard) = all.join_next().await {
            assert_eq!(heard.expect("it ended"), b"", "garbage has no answer");
        }
    }
    let grown = program.peak().saturating_sub(memory);
    assert!(grown < 48 * MIB, "{grown} octets more than before at the peak");
    ask(&mut connect(&program).await).await;
    program.closes_all_but(files).await;
    program.works().await;
    assert!(!program.log().contains("panicked"));
}

#[tokio::test]
async fn a_long_value_of_no_meaning_is_no_fault() {
    let program = Program::start().await;
    let request = REQUEST.replace("sender=", &format!("unknown={}\nsender=", "x".repeat(1 << 20)));
    assert_eq!(shout(program.port(Speaks::Policy), request.repeat(3).as_bytes()).await, b"action=DUNNO\n\n".repeat(3));
}

#[tokio::test]
async fn slow_clients_hold_up_nobody() {
    let mut program = Program::start().await;
    program.works().await;
    let memory = program.peak();
    let mut slow = Vec::new();
    for _ in 0..500 {
        slow.push(connect(&program).await);
    }
    let mut quick = connect(&program).await;
    for octet in &REQUEST.as_bytes()[..8] {
        for stream in &mut slow {
            stream.write_all(&[*octet]).await.expect("within its time nobody is thrown out");
        }
        for _ in 0..20 {
            let took = ask(&mut quick).await;
            assert!(took < Duration::from_secs(2), "{took:?}");
        }
    }
    // Who asks and never listens, too.
    let mut deaf = connect(&program).await;
    let many = REQUEST.repeat(200);
    for _ in 0..200 {
        let sent = tokio::time::timeout(Duration::from_millis(500), deaf.write_all(many.as_bytes())).await;
        if sent.is_err() {
            break;
        }
    }
    ask(&mut quick).await;
    let grown = program.peak().saturating_sub(memory);
    assert!(grown < 64 * MIB, "{grown} octets for 500 slow clients and a deaf one");
    drop((slow, deaf));
    program.works().await;
}
