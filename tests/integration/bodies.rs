//! Octets come through as they were sent, or are refused; nothing is smuggled.

use harness::server::{Server, ServerOptions};
use harness::trace::Trace;
use posthorn_config::{Size, Speaks};

async fn server() -> Server {
    let server = Server::start(ServerOptions::new()).await;
    server.mailbox_only("bob@example.org").await;
    server
}

async fn last(server: &Server) -> Vec<u8> {
    server.messages("bob@example.org", "INBOX").await.pop().expect("a message")
}

#[tokio::test]
async fn eight_bits_are_kept() {
    let server = server().await;
    let mut client = server.smtp(Speaks::Smtp).await;
    let mut message = b"Subject: \xe4 in latin\r\n\r\n".to_vec();
    for octet in 0..=255_u8 {
        if !matches!(octet, b'\r' | b'\n' | 0) {
            message.extend([octet, octet, b'\r', b'\n']);
        }
    }
    message.extend_from_slice(b"..\r\n.dots\r\n");
    client.expect("MAIL FROM:<a@example.net> BODY=8BITMIME", "250").await;
    client.expect("RCPT TO:<bob@example.org>", "250").await;
    client.expect("DATA", "354").await;
    let mut stuffed = Vec::new();
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    client.stream.send([&stuffed[..], b".\r\n"].concat()).await;
    assert!(client.reply().await.starts_with("250"));
    assert!(last(&server).await.ends_with(&message));
}

#[tokio::test]
async fn chunks_and_binary() {
    let server = server().await;
    let mut client = server.smtp(Speaks::Smtp).await;
    let text = b"Content-Transfer-Encoding: binary\r\n\r\n";
    let binary: Vec<u8> = (0..200_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    client.expect("MAIL FROM:<a@example.net> BODY=BINARYMIME", "250").await;
    client.expect("RCPT TO:<bob@example.org>", "250").await;
    client.expect("DATA", "503 5.5.1").await;
    client.stream.send([format!("BDAT {}\r\n", text.len()).as_bytes(), text].concat()).await;
    assert!(client.reply().await.starts_with("250"));
    client.stream.send([format!("BDAT {} LAST\r\n", binary.len()).as_bytes(), &binary].concat()).await;
    assert!(client.reply().await.starts_with("250 2.0.0 stored"));
    assert!(last(&server).await.ends_with(&[&text[..], &binary].concat()));
    // A whole conversation in one write.
    let all = "MAIL FROM:<a@example.net>\r\nRCPT TO:<bob@example.org>\r\nBDAT 6\r\nA: b\r\nBDAT 9 LAST\r\n\r\nQUIT\r\n.QUIT\r\n";
    client.stream.send(all).await;
    for expected in ["250 2.1.0", "250 2.1.5", "250 2.0.0", "250 2.0.0 stored", "221"] {
        let reply = client.reply().await;
        assert!(reply.starts_with(expected), "{expected}: {reply}");
    }
    assert!(last(&server).await.ends_with(b"A: b\r\n\r\nQUIT\r\n."));
}

#[tokio::test]
async fn names_and_fields_in_utf8() {
    let server = server().await;
    server.domain("b\u{fc}cher.example", None).await;
    server.mailbox_only("j\u{fc}rgen@b\u{fc}cher.example").await;
    let mut client = server.smtp(Speaks::Smtp).await;
    client.expect("MAIL FROM:<\u{fc}@example.net>", "553 5.6.7").await;
    client.expect("MAIL FROM:<\u{fc}@example.net> SMTPUTF8 BODY=8BITMIME", "250").await;
    client.expect("RCPT TO:<j\u{fc}rgen@b\u{fc}cher.example>", "250").await;
    client.expect("RCPT TO:<J\u{dc}RGEN@xn--bcher-kva.example>", "250").await;
    assert!(client.data("Subject: gr\u{fc}\u{df}e\r\n\r\n\u{2709}\r\n").await.starts_with("250"));
    let stored = server.messages("j\u{fc}rgen@b\u{fc}cher.example", "INBOX").await;
    assert_eq!(stored.len(), 1);
    let text = String::from_utf8(stored[0].clone()).expect("UTF-8");
    assert!(text.starts_with("Return-Path: <\u{fc}@example.net>\r\n"), "{text}");
    assert!(text.contains(" with UTF8SMTP\r\n"), "{text}");
    assert!(text.ends_with("Subject: gr\u{fc}\u{df}e\r\n\r\n\u{2709}\r\n"));
}

#[tokio::test]
async fn reports_asked_for_are_kept_with_the_envelope() {
    let trace = Trace::listen();
    let server = server().await;
    let mut client = server.smtp(Speaks::Smtp).await;
    client.expect("MAIL FROM:<a@example.net> RET=HDRS ENVID=QQ+2B314159", "250").await;
    client.expect("RCPT TO:<bob@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+40example.com", "250").await;
    client.expect("RCPT TO:<bob@example.org> NOTIFY=SOMETIMES", "501").await;
    assert!(client.data("Subject: x\r\n\r\n").await.starts_with("250"));
    let line = trace.line("message taken");
    for part in ["QQ+314159", "ret=Some(Headers)", "Bob@example.com", "SUCCESS,DELAY"] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[tokio::test]
async fn false_ends_smuggle_nothing() {
    let server = server().await;
    let ends = [
        "\n.\n",
        "\n.\r\n",
        "\r\n.\n",
        "\r.\r",
        "\r.\r\n",
        "\r\n.\r",
        "\r.\n",
        "\n.\r",
        "\r\n\0.\r\n",
        "\r\r\n.\r\r\n",
        "\n\n.\r\n",
        "\r\n.\r\r\n",
    ];
    for speaks in [Speaks::Smtp, Speaks::Lmtp] {
        for end in ends {
            let mut client = server.smtp(speaks).await;
            client.expect("MAIL FROM:<a@example.net>", "250").await;
            client.expect("RCPT TO:<bob@example.org>", "250").await;
            client.expect("DATA", "354").await;
            let smuggled = "MAIL FROM:<evil@example.net>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\nsmuggled\r\n";
            client.stream.send(format!("Subject: innocent\r\n\r\ntext{end}{smuggled}.\r\n")).await;
            let reply = client.reply().await;
            let harmless = end.contains('\0');
            assert!(reply.starts_with(if harmless { "250" } else { "550 5.6.0" }), "{end:?}: {reply}");
            client.expect("NOOP", "250 2.0.0 Ok").await;
        }
    }
    for octets in server.messages("bob@example.org", "INBOX").await {
        let text = String::from_utf8_lossy(&octets).into_owned();
        assert!(text.contains("Subject: innocent") && text.contains("RCPT TO"), "a second message: {text}");
    }
}

#[tokio::test]
async fn sizes_are_limits() {
    let server = Server::start(ServerOptions::new().with(|config| {
        config.mail.max_message_size = Size::kibibytes(100);
        config.smtp.max_header_size = Size::kibibytes(8);
    }))
    .await;
    server.mailbox_only("bob@example.org").await;
    let mut client = server.smtp(Speaks::Smtp).await;
    assert!(client.hello("EHLO").await.iter().any(|line| line == "SIZE 102400"));
    client.expect("MAIL FROM:<a@example.net> SIZE=102401", "552 5.3.4").await;
    let line = format!("{}\r\n", "x".repeat(998));
    let deliver = |count: usize| format!("Subject: x\r\n\r\n{}", line.repeat(count));
    assert!(client.deliver("", &["bob@example.org"], &deliver(100)).await.starts_with("250"));
    let reply = client.deliver("", &["bob@example.org"], &deliver(110)).await;
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
    let reply = client.deliver("", &["bob@example.org"], &format!("\r\n{}\r\n", "x".repeat(999))).await;
    assert!(reply.starts_with("550 5.6.0"), "{reply}");
    let reply = client.deliver("", &["bob@example.org"], &format!("{}\r\n\r\n", "X: y\r\n".repeat(1600))).await;
    assert!(reply.starts_with("550 5.6.0") || reply.starts_with("552 5.3.4"), "{reply}");
    assert_eq!(server.messages("bob@example.org", "INBOX").await.len(), 1);
}

#[tokio::test]
async fn large_messages_come_back_octet_by_octet() {
    let server = server().await;
    let mut client = server.smtp(Speaks::Smtp).await;
    let mut message = "Subject: large\r\n\r\n".to_owned();
    let mut state = 1_u32;
    while message.len() < 5 << 20 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        message.push_str(&format!("{state:x}\r\n"));
    }
    assert!(client.deliver("", &["bob@example.org"], &message).await.starts_with("250"));
    assert!(last(&server).await.ends_with(message.as_bytes()));
    assert!(server.check().await.is_empty());
}

#[tokio::test]
async fn without_memory_for_bodies_the_answer_is_temporary() {
    let config = posthorn_config::Config::default();
    let mail = posthorn_mail::Settings { body_memory: 100_000, ..posthorn_mail::Settings::of(&config) };
    let database = harness::postgres::database(posthorn_store::migrate).await;
    let options = posthorn_store::Options { url: database.url.clone(), connections: 2, writers: 1, batch: 10 };
    let store = posthorn_store::Store::open(&options).await.expect("open");
    let mail = posthorn_mail::Mail::new(store, mail).await.expect("mail");
    let mut one = mail.intake();
    let mut refused = None;
    for _ in 0..100 {
        if let Err(refusal) = one.push(&[b'x'; 10_000]) {
            refused = Some(refusal);
            break;
        }
    }
    let refusal = refused.expect("refused");
    assert_eq!((refusal.code, refusal.enhanced.to_string().as_str()), (452, "4.3.1"));
    mail.store().close().await;
}
