//! APPEND: one message or several, all or none.

use harness::imap_client::ImapClient;

use crate::rig::{Rig, appended, message, number, put, refused, says};

#[tokio::test]
async fn flags_and_date_are_kept() {
    let rig = Rig::new().await;
    let mut client = rig.inbox().await;
    let text = message("dated", "x");
    let answer = client
        .ok(&format!("APPEND INBOX (\\Seen $Work) \" 7-Feb-1994 21:52:25 -0800\" {{{}+}}\r\n{text}", text.len()))
        .await;
    says(&answer, "* 1 EXISTS");
    assert!(answer.tagged.starts_with("OK [APPENDUID "), "{answer:?}");
    let fetched = client.ok("FETCH 1 (FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])").await;
    let line = fetched.lines().concat();
    assert!(line.contains("FLAGS (\\Seen $Work) INTERNALDATE \" 8-Feb-1994 05:52:25 +0000\""), "{line}");
    assert_eq!(fetched.literal().as_deref(), Some(text.as_bytes()));
    for bad in ["APPEND INBOX (\\Seen", "APPEND INBOX hello", "APPEND", "APPEND INBOX \"yesterday\" {1+}\r\nx"] {
        refused(&client.ask(bad).await, "BAD");
    }
    assert_eq!(number(&client.ok("STATUS INBOX (MESSAGES)").await, "MESSAGES"), 1);
}

#[tokio::test]
async fn a_client_that_waits_is_asked_for_the_message() {
    let rig = Rig::new().await;
    let mut client = rig.user().await;
    let text = message("waiting", "x");
    let tag = client.send(format!("APPEND Drafts {{{}}}", text.len()).as_bytes()).await;
    assert_eq!(client.line().await.as_deref(), Some(&b"+ Ready"[..]));
    client.stream.send(format!("{text}\r\n")).await;
    assert!(client.answer(&tag).await.is_ok());
    let tag = client.send(b"APPEND none {9}").await;
    refused(&client.answer(&tag).await, "NO [TRYCREATE]");
    refused(&client.append("none", b"From: x\r\n\r\na LOGOUT\r\n").await, "NO [TRYCREATE]");
    client.ok("NOOP").await;
}

/// `APPEND mailbox {n+} message {n+} message …`
async fn several(client: &mut ImapClient, mailbox: &str, messages: &[&str]) -> harness::imap_client::Answer {
    let parts: Vec<String> = messages.iter().map(|text| format!(" {{{}+}}\r\n{text}", text.len())).collect();
    client.ask(&format!("APPEND {mailbox}{}", parts.concat())).await
}

#[tokio::test]
async fn several_messages_are_all_stored_or_none() {
    let rig = Rig::new().await;
    let mut client = rig.user().await;
    let (one, two, three) = (message("1", "x"), message("2", "yy"), message("3", "zzz"));
    let answer = several(&mut client, "Sent", &[&one, &two, &three]).await;
    assert!(answer.tagged.contains(" 1:3]") && appended(&answer) == 3, "{answer:?}");
    assert_eq!(rig.server.messages(crate::rig::USER, "Sent").await, [one.as_bytes(), two.as_bytes(), three.as_bytes()]);
    // The second announcement is malformed, the third message empty, the last too many octets for the quota.
    let text = format!("APPEND Sent {{{}+}}\r\n{one} (\\Seen {{1+}}\r\nx", one.len());
    refused(&client.ask(&text).await, "BAD");
    refused(&several(&mut client, "Sent", &[&one, ""]).await, "NO");
    rig.quota(Some(3 * 1024), None).await;
    let large = message("large", &"x".repeat(4000));
    refused(&several(&mut client, "Sent", &[&one, &large]).await, "NO [OVERQUOTA]");
    let (half, other) = (message("half", &"x".repeat(1400)), message("other", &"x".repeat(1400)));
    refused(&several(&mut client, "Sent", &[&half, &other]).await, "NO [OVERQUOTA]");
    assert_eq!(number(&client.ok("STATUS Sent (MESSAGES UIDNEXT)").await, "MESSAGES"), 3);
    put(&mut client, "Sent", half).await;
    rig.sound().await;
}

#[tokio::test]
async fn a_full_account_is_told_before_the_message_is_sent() {
    let rig = Rig::new().await;
    rig.quota(None, Some(1)).await;
    let mut client = rig.inbox().await;
    put(&mut client, "INBOX", message("only", "x")).await;
    let tag = client.send(b"APPEND INBOX {100000}").await;
    refused(&client.answer(&tag).await, "NO [OVERQUOTA]");
    refused(&client.append("INBOX", message("late", "x").as_bytes()).await, "NO [OVERQUOTA]");
    refused(&client.ask("COPY 1 Trash").await, "NO [OVERQUOTA]");
    let moved = client.ok("MOVE 1 Trash").await;
    assert!(moved.find("COPYUID").is_some(), "{moved:?}");
    rig.quota(Some(90_000), Some(0)).await;
    let tag = client.send(b"APPEND INBOX {100000}").await;
    refused(&client.answer(&tag).await, "NO [OVERQUOTA]");
    rig.sound().await;
}

#[tokio::test]
async fn messages_beyond_the_limit_are_refused_and_the_session_goes_on() {
    let rig = Rig::with(|config| {
        harness::server::row(config, posthorn_config::Speaks::Imaps).options.max_message_size =
            Some(posthorn_config::Size::kibibytes(4));
    })
    .await;
    let mut client = rig.user().await;
    assert_eq!(number(&client.ok("STATUS INBOX (APPENDLIMIT)").await, "APPENDLIMIT"), 4096);
    let tag = client.send(b"APPEND INBOX {4097}").await;
    refused(&client.answer(&tag).await, "NO [TOOBIG]");
    refused(&client.append("INBOX", &vec![b'x'; 100_000]).await, "NO [TOOBIG]");
    put(&mut client, "INBOX", message("fits", &"x".repeat(3900))).await;
}

#[tokio::test]
async fn utf8_and_binary_messages() {
    let rig = Rig::new().await;
    let mut client = rig.inbox().await;
    let text = "From: Jürgen <j@example.org>\r\nSubject: Grüße\r\n\r\nHallo\r\n";
    refused(&client.ask(&format!("APPEND INBOX UTF8 (~{{{}+}}\r\n{text})", text.len())).await, "BAD");
    client.ok("ENABLE UTF8=ACCEPT").await;
    client.ok(&format!("APPEND INBOX UTF8 (~{{{}+}}\r\n{text})", text.len())).await;
    let fetched = client.ok("FETCH 1 (ENVELOPE BODY.PEEK[])").await;
    let line = fetched.lines().concat();
    assert!(
        line.contains("ENVELOPE (NIL {7}\r\nGrüße ((") && line.contains("Jürgen NIL \"j\" \"example.org\""),
        "{line}"
    );
    assert!(line.contains(&format!("BODY[] {{{}}}\r\n{text}", text.len())), "{line}");
    refused(&client.ask("SEARCH CHARSET UTF-8 SUBJECT x").await, "BAD");
    says(&client.ok("SEARCH SUBJECT \"GRÜSSE\"").await, "* SEARCH");
    says(&client.ok("SEARCH SUBJECT \"GRÜßE\"").await, "* SEARCH 1");

    let binary = b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\x01\xff\0";
    let head = format!("APPEND INBOX ~{{{}+}}\r\n", binary.len());
    let tag = client.send(&[head.as_bytes(), binary].concat()).await;
    assert!(client.answer(&tag).await.is_ok());
    let fetched = client.ok("FETCH 2 (BINARY.SIZE[1] BINARY.PEEK[1])").await;
    assert!(fetched.lines().concat().contains("BINARY.SIZE[1] 4 BINARY[1] ~{4}"), "{fetched:?}");
    assert_eq!(fetched.literal().as_deref(), Some(&b"\0\x01\xff\0"[..]));
}
