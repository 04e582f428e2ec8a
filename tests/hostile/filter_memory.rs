//! Bodies for the content filter against `limits.memory`.

use std::time::{Duration, Instant};

use harness::smtp_client::SmtpClient;
use posthorn_config::Speaks;

use crate::program::{MIB, Program};

/// The limit that the program is started with. What is read of its file counts too, of which a debug build has 70 MiB.
const LIMIT: u64 = 224 * MIB;
/// Octets of each body; all of them together are more than the limit.
const BODY: usize = 5 << 20;
const SESSIONS: usize = 48;
/// A mail server's patience with a filter is twenty minutes; nobody is to need it.
const SOON: Duration = Duration::from_secs(30);
/// It was judged, and nobody is there who takes it.
const JUDGED: &str = "451 4.5.0";

/// Everything of a message but its final dot.
async fn begin(program: &mut Program, body: usize) -> SmtpClient {
    let block = format!("{}\r\n", "x".repeat(900)).repeat(64);
    let mut client = program.smtp(Speaks::Filter).await;
    client.expect("MAIL FROM:<a@example.net>", "250").await;
    client.expect("RCPT TO:<b@example.com>", "250").await;
    client.expect("DATA", "354").await;
    client.stream.send("Subject: large\r\n\r\n").await;
    for _ in 0..body.div_ceil(block.len()) {
        client.stream.send(&block).await;
    }
    client
}

async fn end(client: &mut SmtpClient) -> String {
    client.stream.send(".\r\n").await;
    client.reply().await
}

#[tokio::test]
async fn what_the_filter_has_no_memory_for_comes_again() {
    let mut program = Program::with(&format!("memory = '{} MiB'", LIMIT / MIB), "").await;
    program.works().await;
    let reply = end(&mut begin(&mut program, 64 << 10).await).await;
    assert!(reply.starts_with(JUDGED), "{reply}");
    let mut senders = Vec::new();
    for _ in 0..SESSIONS {
        senders.push(begin(&mut program, BODY).await);
    }
    let mut full = 0;
    for client in &mut senders {
        let began = Instant::now();
        let reply = end(client).await;
        assert!(began.elapsed() < SOON, "{:?}: {reply}", began.elapsed());
        assert!(reply.starts_with("452 4.3.1") || reply.starts_with(JUDGED), "{reply}");
        full += usize::from(reply.starts_with("452"));
        client.expect("NOOP", "250").await;
    }
    assert!(full > 0, "there was room for all of them");
    drop(senders);
    let peak = program.peak();
    assert!(peak <= LIMIT, "{} MiB were in use", peak / MIB);
    // There is room again.
    let reply = end(&mut begin(&mut program, 64 << 10).await).await;
    assert!(reply.starts_with(JUDGED), "{reply}");
    program.works().await;
}
