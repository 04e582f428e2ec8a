//! Bodies against `limits.memory`.

use harness::dice::Dice;
use harness::imap_client::ImapClient;
use harness::smtp_client::SmtpClient;
use posthorn_config::Speaks;

use crate::program::{MIB, Program, USER, greets};

/// The limit that the program is started with. What is read of its file counts too, of which a debug build has 70 MiB.
const LIMIT: u64 = 224 * MIB;
/// Octets of each body; all of them together are more than the limit.
const BODY: usize = 5 << 20;
const SESSIONS: usize = 48;

/// Lines that begin without a dot, each the same.
fn block() -> String {
    let mut dice = Dice::new(0x3e3);
    let line: String = (0..900).map(|_| char::from(b'!' + dice.below(90) as u8)).collect();
    format!("{}\r\n", line.replace('.', "x")).repeat(64)
}

/// A session in the middle of a body.
async fn sending(program: &Program) -> SmtpClient {
    let mut client = program.smtp(Speaks::Smtp).await;
    client.expect("MAIL FROM:<a@example.net>", "250").await;
    client.expect(&format!("RCPT TO:<{USER}>"), "250").await;
    client.expect("DATA", "354").await;
    client
}

/// An APPEND that waits for its answer.
async fn appending(program: &Program, line: &str) -> (ImapClient, String) {
    let mut client = program.user().await;
    let tag = client.send(format!("APPEND INBOX {{{BODY}+}}\r\nSubject: large\r\n").as_bytes()).await;
    let left = BODY - "Subject: large\r\n\r\n".len();
    for _ in 0..left / line.len() {
        client.stream.send(line).await;
    }
    client.stream.send(format!("{}\r\n", "x".repeat(left % line.len()))).await;
    (client, tag)
}

#[tokio::test]
async fn what_would_exceed_the_memory_is_refused_for_now() {
    let mut program = Program::with(&format!("memory = '{} MiB'", LIMIT / MIB), "").await;
    program.works().await;
    let block = block();
    let mut senders = Vec::new();
    for _ in 0..SESSIONS {
        let mut client = sending(&program).await;
        client.stream.send("Subject: large\r\n\r\n").await;
        for _ in 0..BODY / block.len() {
            client.stream.send(&block).await;
        }
        senders.push(client);
    }
    let (mut reader, tag) = appending(&program, &block).await;
    let (mut taken, mut refused) = (0, 0);
    let answer = reader.answer(&tag).await;
    assert!(answer.tagged.starts_with("NO [UNAVAILABLE]"), "all memory is in use: {answer:?}");
    for mut client in senders {
        client.stream.send(".\r\n").await;
        let reply = client.reply().await;
        if reply.starts_with("250") {
            taken += 1;
        } else {
            assert!(reply.starts_with("452 4.3.1"), "{reply}");
            refused += 1;
        }
        // The session itself goes on.
        client.expect("NOOP", "250").await;
    }
    assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused");
    let peak = program.peak();
    assert!(peak <= LIMIT, "{} MiB were in use", peak / MIB);
    // What was given back serves the next.
    let mut client = sending(&program).await;
    client.stream.send(format!("Subject: large\r\n\r\n{}.\r\n", block.repeat(BODY / block.len()))).await;
    let reply = client.reply().await;
    assert!(reply.starts_with("250"), "{reply}");
    assert!(program.peak() <= LIMIT, "{} MiB were in use", program.peak() / MIB);
    program.works().await;
}

#[tokio::test]
async fn readers_of_large_parts_stay_within_the_memory() {
    let mut program = Program::with(&format!("memory = '{} MiB'", LIMIT / MIB), "").await;
    let mut client = sending(&program).await;
    let block = block();
    client.stream.send(format!("Subject: large\r\n\r\n{}.\r\n", block.repeat(BODY / block.len()))).await;
    let reply = client.reply().await;
    assert!(reply.starts_with("250"), "{reply}");
    let mut readers = Vec::new();
    for _ in 0..SESSIONS {
        let mut reader = program.user().await;
        reader.ok("SELECT INBOX").await;
        // Asked for, and left unread for now.
        let tag = reader.send(b"FETCH 1 BODY.PEEK[1]").await;
        readers.push((reader, tag));
    }
    for (reader, tag) in &mut readers {
        let answer = reader.answer(tag).await;
        let whole = answer.literal().is_some_and(|part| part.len() == BODY / block.len() * block.len());
        assert!(whole || answer.tagged.starts_with("NO "), "{}", answer.tagged);
    }
    let peak = program.peak();
    assert!(peak <= LIMIT, "{} MiB were in use", peak / MIB);
    drop(readers);
    program.works().await;
}

#[tokio::test]
async fn above_the_mark_new_sessions_are_put_off_in_every_protocol() {
    // Less than the program needs for itself.
    let program = Program::with("memory = '4 MiB'", "").await;
    program.says("limits.memory is too small to work with: it is 4 MiB").await;
    // A few are served all the same.
    let mut few = Vec::new();
    for _ in 0..4 {
        few.push(program.smtp(Speaks::Smtp).await);
    }
    let began = std::time::Instant::now();
    for speaks in Speaks::ALL.into_iter().filter(greets) {
        loop {
            let first = program.stream(speaks).await.line().await.unwrap_or_default();
            if first.starts_with(b"421 4.3.") || first.starts_with(b"* BYE [UNAVAILABLE] ") {
                break;
            }
            let shown = first.escape_ascii();
            assert!(began.elapsed() < std::time::Duration::from_secs(20), "{}: {shown}", speaks.name());
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn near_the_idle_size_there_are_refusals_and_no_end() {
    let idle = {
        let mut program = Program::start().await;
        program.works().await;
        program.memory() / MIB
    };
    let large = block().repeat(BODY / block().len());
    for room in [-8_i64, 0, 3, 12] {
        let limit = idle.saturating_add_signed(room).max(1);
        let mut program = Program::with(&format!("memory = '{limit} MiB'"), "").await;
        program.says(&format!("is {limit} MiB, and ")).await;
        // Whoever comes alone is served, however much the program has kept of what came before.
        for text in ["Hello.\r\n", &large, "Hello.\r\n", &large, &large, "Hello.\r\n"] {
            let mut client = program.smtp(Speaks::Smtp).await;
            let message = format!("Subject: x\r\n\r\n{text}");
            let reply = client.deliver("a@example.net", &[USER], &message).await;
            let right = reply.starts_with("250 ") || reply.starts_with("452 4.3.1 ");
            assert!(right, "{limit} of {idle} MiB: {reply}");
            // The mark is looked at once a second.
            tokio::time::sleep(std::time::Duration::from_millis(250)).await;
        }
        program.user().await.ok("SELECT INBOX").await;
        program.runs();
    }
}
