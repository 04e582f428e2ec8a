//! Senders of one octet a second, five hundred on each protocol, while others work.

use std::time::Duration;

use harness::imap_client::ImapClient;
use harness::smtp_client::SmtpClient;
use posthorn_config::Speaks;
use tokio::task::JoinSet;

use crate::program::{MIB, PASSWORD, Program, USER};

const SLOW: usize = 500;
const BUSY: usize = 10;
const MESSAGES: usize = 5;

#[tokio::test]
async fn a_thousand_slow_senders_hold_up_nobody() {
    let mut program = Program::start().await;
    program.works().await;
    let (memory, files) = (program.peak(), program.open_files());
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut client = SmtpClient::raw(program.port(Speaks::Smtp), program.tls()).await;
        assert!(client.reply().await.starts_with("220 "));
        slow.push((client, ImapClient::plain(program.port(Speaks::Imap), program.tls()).await));
    }
    let dripping = async {
        for (smtp_octet, imap_octet) in b"EHLO slow.example.net".iter().zip(b"a ID (\"name\" \"sl\")   ").cycle() {
            for (smtp, imap) in &mut slow {
                smtp.stream.send([*smtp_octet]).await;
                imap.stream.send([*imap_octet]).await;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let work = tokio::time::timeout(Duration::from_secs(30), normal(&program));
    tokio::select! {
        () = dripping => unreachable!("they never come to an end"),
        done = work => done.expect("the others get their work done"),
    }
    let grown = program.peak().saturating_sub(memory);
    assert!(grown < 64 * MIB, "{grown} octets for {SLOW} slow sessions of each protocol and {BUSY} others");
    // Nor were the slow ones thrown out: slowness within the time for a command is no fault.
    for (smtp, imap) in &mut slow {
        smtp.stream.send("\r\n").await;
        assert!(smtp.reply().await.starts_with(['2', '5']));
        imap.stream.send("\r\n").await;
        assert!(imap.line().await.is_some());
    }
    drop(slow);
    program.closes_all_but(files).await;
    program.works().await;
}

/// Ten sessions that deliver and read.
async fn normal(program: &Program) {
    let mut sessions = JoinSet::new();
    for who in 0..BUSY {
        let (smtp, imaps) = (program.port(Speaks::Smtp), program.port(Speaks::Imaps));
        let tls = std::sync::Arc::clone(program.tls());
        sessions.spawn(async move {
            let mut sender = SmtpClient::raw(smtp, &tls).await;
            assert!(sender.reply().await.starts_with("220 "));
            sender.hello("EHLO").await;
            let mut reader = ImapClient::secure(imaps, &tls).await;
            assert!(reader.login(USER, PASSWORD).await.is_ok());
            reader.ok("SELECT INBOX").await;
            for number in 0..MESSAGES {
                let subject = format!("from-{who}-{number}-");
                let message = format!("Subject: {subject}\r\n\r\nHello.\r\n");
                let reply = sender.deliver("a@example.net", &[USER], &message).await;
                assert!(reply.starts_with("250"), "{reply}");
                reader.ok("NOOP").await;
                let found = reader.ok(&format!("UID SEARCH SUBJECT {subject}")).await;
                let uid = found.find("SEARCH").expect("an answer");
                let uid = uid.rsplit(' ').next().expect("a number");
                let body = reader.ok(&format!("UID FETCH {uid} BODY.PEEK[]")).await.literal().expect("the message");
                assert!(body.ends_with(message.as_bytes()), "{}", body.escape_ascii());
            }
        });
    }
    while let Some(done) = sessions.join_next().await {
        done.expect("a session that is served");
    }
}
