//! Commands behind STARTTLS, in all protocols that have it.

use harness::imap_client::ImapClient;
use harness::smtp_client::SmtpClient;
use posthorn_config::Speaks;

use crate::program::{PASSWORD, Program, USER};

#[tokio::test]
async fn commands_behind_starttls_are_never_obeyed() {
    let mut program = Program::start().await;
    let evil =
        format!("MAIL FROM:<evil@example.net>\r\nRCPT TO:<{USER}>\r\nDATA\r\nSubject: evil\r\n\r\n.\r\nNOOP\r\n");
    for speaks in [Speaks::Smtp, Speaks::Submission, Speaks::Lmtp] {
        let hello = if speaks == Speaks::Lmtp { "LHLO x\r\n" } else { "EHLO x\r\n" };
        // One octet is enough, and what would open a session under TLS as well.
        for injected in [&*evil, "\r\n", "x", &format!("{hello}{evil}")] {
            let mut client = program.smtp(speaks).await;
            client.stream.send(format!("STARTTLS\r\n{injected}")).await;
            let reply = client.reply().await;
            assert!(reply.is_empty() || reply.starts_with("220 "), "{speaks:?}: {reply}");
            assert_eq!(client.reply().await, "", "{speaks:?}: the session goes on");
        }
    }
    for injected in [&*format!("b LOGIN {USER} {PASSWORD}\r\nc NOOP\r\n"), "\r\n", "b"] {
        let mut client = ImapClient::plain(program.port(Speaks::Imap), program.tls()).await;
        client.stream.send(format!("a STARTTLS\r\n{injected}")).await;
        while let Some(line) = client.line().await {
            assert!(line.starts_with(b"a OK"), "{}", line.escape_ascii());
        }
    }
    let mut reader = program.user().await;
    let answer = reader.ok("STATUS INBOX (MESSAGES)").await;
    assert!(answer.find("MESSAGES 0").is_some(), "{answer:?}");
    program.works().await;
}

#[tokio::test]
async fn commands_that_arrive_during_the_handshake_are_no_handshake() {
    let mut program = Program::start().await;
    for speaks in [Speaks::Smtp, Speaks::Submission] {
        let mut client: SmtpClient = program.smtp(speaks).await;
        client.expect("STARTTLS", "220 ").await;
        client.stream.send("EHLO x\r\nNOOP\r\n").await;
        while let Some(line) = client.stream.line().await {
            assert!(!line.starts_with(b"2"), "{}", line.escape_ascii());
        }
    }
    program.works().await;
}
