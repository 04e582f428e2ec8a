//! A gigabyte that is announced.

use posthorn_config::Speaks;

use crate::program::{MIB, Program, USER};

const GIGABYTE: u64 = 1 << 30;

#[tokio::test]
async fn an_announced_gigabyte_is_refused_before_it_comes() {
    let mut program = Program::start().await;
    program.works().await;
    let before = program.peak();
    for speaks in [Speaks::Smtp, Speaks::Lmtp] {
        let mut client = program.smtp(speaks).await;
        client.expect(&format!("MAIL FROM:<a@example.net> SIZE={GIGABYTE}"), "552 5.3.4").await;
        client.expect("MAIL FROM:<a@example.net> SIZE=99999999999999999999", "5").await;
        client.expect("MAIL FROM:<a@example.net>", "250").await;
        client.expect(&format!("RCPT TO:<{USER}>"), "250").await;
        // The chunk would have to be read to its end before anything else: 552, and nobody waits for it.
        client.stream.send(format!("BDAT {GIGABYTE}\r\n")).await;
        let mut sent = 0;
        let chunk = vec![b'x'; 1 << 20];
        while sent < 128 && client.stream.try_send(&chunk).await.is_ok() {
            sent += 1;
        }
        assert!(sent < 128, "{sent} MiB of a refused chunk were read");
    }
    let mut stranger = harness::imap_client::ImapClient::secure(program.port(Speaks::Imaps), program.tls()).await;
    let answer = stranger.ask(&format!("LOGIN {{{GIGABYTE}}}")).await;
    assert!(answer.tagged.starts_with("BAD [TOOBIG]"), "{answer:?}");
    let mut user = program.user().await;
    let answer = user.ask(&format!("APPEND INBOX {{{GIGABYTE}}}")).await;
    assert!(answer.tagged.starts_with("NO [TOOBIG]"), "{answer:?}");
    let answer = user.ask(&format!("APPEND INBOX {{{}}}", u64::MAX)).await;
    assert!(answer.tagged.starts_with("NO [TOOBIG]") || answer.tagged.starts_with("BAD"), "{answer:?}");
    user.ok("NOOP").await;
    // Nothing was asked: it comes whatever is said, and is thrown away as it comes.
    let tag = user.send(format!("APPEND INBOX {{{}+}}", 100 * MIB).as_bytes()).await;
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..100 {
        user.stream.send(&piece).await;
    }
    user.stream.send("\r\n").await;
    assert!(user.answer(&tag).await.tagged.starts_with("NO [TOOBIG]"));
    user.ok("NOOP").await;
    let grown = program.peak().saturating_sub(before);
    assert!(grown < 24 * MIB, "{grown} octets more than before at the peak");
    program.works().await;
}
