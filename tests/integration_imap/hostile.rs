//! What no well-meaning client or sender does.

use crate::rig::{Rig, message, number, put, refused};

/// Stores it and reads everything of it; every octet must come back.
async fn survives(text: &[u8]) {
    let rig = Rig::new().await;
    let mut client = rig.inbox().await;
    put(&mut client, "INBOX", text).await;
    put(&mut client, "INBOX", message("after it", "x")).await;
    let items = "ENVELOPE BODYSTRUCTURE BODY PREVIEW RFC822.SIZE BODY.PEEK[HEADER] BODY.PEEK[TEXT] BODY.PEEK[1] \
                 BODY.PEEK[1.1.1.1.1.1.1.1.1.1.1.1] BODY.PEEK[1.MIME] BODY.PEEK[HEADER.FIELDS (Subject X-1 X-2)]";
    let answer = client.ok(&format!("FETCH 1:2 (UID {items})")).await;
    assert_eq!(answer.untagged.len(), 2, "one response for each message");
    let whole = client.ok("FETCH 1 BODY.PEEK[]").await;
    assert!(whole.literal().as_deref() == Some(text), "the message came back otherwise");
    assert_eq!(number(&client.ok("FETCH 1 RFC822.SIZE").await, "RFC822.SIZE"), text.len() as u64);
    for keys in ["SUBJECT x", "TEXT needle", "BODY needle", "FROM bob", "SENTSINCE 1-Jan-2020", "HEADER X-1 \"\""] {
        client.ok(&format!("SEARCH {keys}")).await;
    }
    let _any = client.ask("FETCH 1 (BINARY.PEEK[1] BINARY.SIZE[1])").await;
    client.ok("COPY 1 Trash").await;
    rig.sound().await;
}

#[tokio::test]
async fn ten_thousand_header_fields() {
    let mut text = String::new();
    for n in 0..10_000 {
        text.push_str(&format!("X-{n}: value {n}\r\n"));
    }
    survives(format!("{text}Subject: many\r\n\r\nneedle\r\n").as_bytes()).await;
}

#[tokio::test]
async fn a_thousand_parts_in_each_other() {
    let mut text = String::from("Subject: deep\r\n");
    for n in 0..1000 {
        text.push_str(&format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"));
    }
    text.push_str("Content-Type: text/plain\r\n\r\nneedle\r\n");
    survives(text.as_bytes()).await;
    let mut text = String::new();
    for _ in 0..1000 {
        text.push_str("Subject: deeper\r\nContent-Type: message/rfc822\r\n\r\n");
    }
    survives(text.as_bytes()).await;
}

#[tokio::test]
async fn ten_thousand_parts_beside_each_other() {
    let mut text = String::from("Subject: wide\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n");
    text.push_str(&"--b\r\nContent-Type: text/plain; name=\"x\"\r\n\r\nneedle\r\n".repeat(10_000));
    survives(text.as_bytes()).await;
}

#[tokio::test]
async fn octets_that_are_no_text() {
    survives(b"Subject: \xff\xfe \0 x\r\nFrom: \xc3\x28 <bob@example.org>\r\nContent-Type: text/plain; charset=\xff\r\n\r\n\0\0needle\xff\r\n").await;
    survives(&(0..=255).cycle().take(70_000).collect::<Vec<u8>>()).await;
    survives(b"\r\n").await;
    survives(b"x").await;
    survives(b"\n").await;
    survives(b"no header at all\nonly bare lines\n\nneedle").await;
    survives(b"Subject: \"\\\"(){}%*\\\r\nFrom: \"\\\\\"\" <a\"b@c>, (((((, <<<>>>, :;,\r\nDate: 99 Foo 99999\r\n\r\n")
        .await;
}

#[tokio::test]
async fn addresses_without_end() {
    let many = "a@b.example, ".repeat(20_000);
    survives(format!("Subject: x\r\nTo: {many}z@b.example\r\nCc: {}\r\n\r\nneedle\r\n", "(".repeat(50_000)).as_bytes())
        .await;
}

#[tokio::test]
async fn an_empty_message_is_not_one() {
    let rig = Rig::new().await;
    let mut client = rig.user().await;
    refused(&client.append("INBOX", b"").await, "NO");
    client.ok("NOOP").await;
}

#[tokio::test]
async fn commands_without_end() {
    let rig = Rig::new().await;
    let mut client = rig.user().await;
    let long = format!("SELECT \"{}\"", "x".repeat(200_000));
    let _sent = client.stream.try_send(format!("a {long}\r\n")).await;
    let mut last = None;
    while let Some(line) = client.line().await {
        last = Some(line);
    }
    assert!(last.is_some_and(|line| line.starts_with(b"* BYE [TOOBIG]")));

    let mut client = rig.inbox().await;
    refused(&client.ask("SELECT {900000000}").await, "BAD [TOOBIG]");
    refused(&client.ask(&format!("SELECT \"{}\"", "x".repeat(2000))).await, "NO");
    client.ok("SELECT INBOX").await;
    let set = (1..=9000).map(|n| (n * 2).to_string()).collect::<Vec<_>>().join(",");
    client.ok(&format!("UID FETCH {set} UID")).await;
    refused(&client.ask(&format!("SEARCH {}ALL", "NOT ".repeat(2000))).await, "BAD");
    client.ok(&format!("LIST \"\" \"{}\"", "*a%".repeat(300))).await;
}
