//! Commands of a megabyte.

use harness::imap_client::ImapClient;
use harness::smtp_client::{SmtpClient, base64};
use posthorn_config::Speaks;

use crate::program::{MIB, PASSWORD, Program, USER};

const SESSIONS: usize = 64;
/// Less than the lines of all sessions; a login at a bad moment and newly read pages of the program's own file are in it.
const KEPT: u64 = 40 * MIB;

/// A megabyte in the middle of a command.
fn long(front: &str, back: &str) -> String {
    format!("{front}{}{back}\r\n", "x".repeat(1 << 20))
}

#[tokio::test]
async fn smtp_commands_of_a_megabyte_are_refused_line_by_line() {
    let mut program = Program::start().await;
    program.works().await;
    let before = program.peak();
    let mut clients = Vec::new();
    for speaks in [Speaks::Smtp, Speaks::Submission, Speaks::Submissions, Speaks::Lmtp] {
        for _ in 0..SESSIONS / 4 {
            clients.push(program.smtp(speaks).await);
        }
    }
    let refused = |reply: &str| assert!(reply.starts_with("500 5.5.6"), "{reply}");
    // All at once, and none of them whole yet.
    let begun = format!("EHLO {}", "x".repeat(1 << 20));
    for client in &mut clients {
        client.stream.send(&begun).await;
    }
    for client in &mut clients {
        client.stream.send("\r\n").await;
        refused(&client.reply().await);
        client.expect("NOOP", "250").await;
    }
    for client in clients.iter_mut().step_by(SESSIONS / 8) {
        for line in [long("", ""), long("EHLO ", ""), long("MAIL FROM:<", "@example.net>"), long("NOOP ", "")] {
            client.stream.send(line).await;
            refused(&client.reply().await);
        }
        client.expect("NOOP", "250").await;
    }
    let mut client = program.smtp(Speaks::Submissions).await;
    client.stream.send(long("AUTH PLAIN ", "")).await;
    refused(&client.reply().await);
    client.expect("AUTH PLAIN", "334").await;
    client.stream.send(long("", "")).await;
    let reply = client.reply().await;
    assert!(reply.starts_with('5'), "{reply}");
    let reply = client.ask(&format!("AUTH PLAIN {}", base64(format!("\0{USER}\0{PASSWORD}").as_bytes()))).await;
    assert!(reply.starts_with("235"), "{reply}");
    client.stream.send(long("RCPT TO:<", "@example.org>")).await;
    refused(&client.reply().await);
    client.expect("NOOP", "250").await;
    clients.push(client);
    let grown = program.peak().saturating_sub(before);
    assert!(grown < KEPT, "{grown} octets more than before at the peak");
    drop(clients);
    program.works().await;
}

#[tokio::test]
async fn a_line_without_an_end_is_not_kept() {
    let mut program = Program::start().await;
    program.works().await;
    let before = program.peak();
    let piece = vec![b'x'; 1 << 20];
    let mut client = program.smtp(Speaks::Smtp).await;
    for _ in 0..64 {
        client.stream.send(&piece).await;
    }
    let mut reader = ImapClient::plain(program.port(Speaks::Imap), program.tls()).await;
    while reader.stream.try_send(&piece).await.is_ok() {}
    let grown = program.peak().saturating_sub(before);
    assert!(grown < KEPT, "{grown} octets more than before at the peak");
    client.stream.send("\r\n").await;
    assert!(client.reply().await.starts_with("500 5.5.6"));
    program.works().await;
}

#[tokio::test]
async fn imap_commands_of_a_megabyte_end_the_session() {
    let mut program = Program::start().await;
    program.works().await;
    let before = program.peak();
    for _ in 0..SESSIONS / 8 {
        let stranger = ImapClient::plain(program.port(Speaks::Imap), program.tls()).await;
        dismissed(stranger, &long("a LOGIN ", " y")).await;
        dismissed(program.user().await, &long("a SELECT ", "")).await;
        dismissed(program.user().await, &long("a SEARCH SUBJECT \"", "\"")).await;
    }
    let grown = program.peak().saturating_sub(before);
    assert!(grown < 20 * MIB, "{grown} octets more than before at the peak");
    // The same megabyte as announced literals is refused without an end of the session.
    let mut user = program.user().await;
    let answer = user.ask("SELECT {1048576}").await;
    assert!(answer.tagged.starts_with("BAD [TOOBIG]"), "{answer:?}");
    user.ok("NOOP").await;
    program.works().await;
}

/// Sends it; the last word must be a goodbye that says why.
async fn dismissed(mut client: ImapClient, line: &str) {
    let _cut = client.stream.try_send(line).await;
    let mut last = Vec::new();
    while let Some(line) = client.line().await {
        last = line;
    }
    // A reset may overtake the goodbye, but nothing else may come.
    assert!(last.is_empty() || last.starts_with(b"* BYE [TOOBIG]"), "{}", last.escape_ascii());
}

#[tokio::test]
async fn junk_in_small_pieces_ends_as_well() {
    let mut program = Program::start().await;
    let mut client = SmtpClient::raw(program.port(Speaks::Smtp), program.tls()).await;
    assert!(client.reply().await.starts_with("220 "));
    let _cut = client.stream.try_send("nonsense\r\n".repeat(10_000)).await;
    let mut replies = Vec::new();
    loop {
        let reply = client.reply().await;
        if reply.is_empty() {
            break;
        }
        replies.push(reply);
    }
    assert!(replies.len() < 200, "{} replies to nonsense", replies.len());
    program.works().await;
}
