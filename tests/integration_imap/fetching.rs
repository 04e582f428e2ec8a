//! FETCH: everything of a message, whole and in windows.

use crate::rig::{Rig, idle, message, number, put, refused, says, silent};

const MULTIPART: &str = concat!(
    "From: \"Bob B.\" <bob@example.org>\r\nTo: alice@example.org, Carol <c@example.org>\r\nCc: d@example.org\r\n",
    "Date: Mon, 2 Feb 2026 10:00:00 +0100\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <m1@example.org>\r\n",
    "In-Reply-To: <m0@example.org>\r\nX-Long: one\r\n two\r\nMIME-Version: 1.0\r\n",
    "Content-Type: multipart/mixed; boundary=\"B\"\r\n\r\npreamble\r\n--B\r\nContent-Type: text/plain; charset=utf-8\r\n",
    "Content-Transfer-Encoding: quoted-printable\r\n\r\nHallo=20W=C3=B6lt\r\n--B\r\nContent-Type: message/rfc822\r\n\r\n",
    "From: inner@example.org\r\nSubject: inner\r\n\r\ninner text\r\n--B\r\n",
    "Content-Type: application/octet-stream; name=\"a.bin\"\r\nContent-Disposition: attachment; filename=\"a.bin\"\r\n",
    "Content-Transfer-Encoding: base64\r\nContent-ID: <p3@example.org>\r\n\r\nAAECAw==\r\n--B--\r\n",
);

#[tokio::test]
async fn metadata() {
    let rig = Rig::new().await;
    let mut client = rig.holding(&[MULTIPART]).await;
    let line = client.ok("FETCH 1 (UID FLAGS RFC822.SIZE ENVELOPE)").await.lines().concat();
    let envelope = "ENVELOPE (\"Mon, 2 Feb 2026 10:00:00 +0100\" \"=?utf-8?q?Gr=C3=BC=C3=9Fe?=\" \
        ((\"Bob B.\" NIL \"bob\" \"example.org\")) ((\"Bob B.\" NIL \"bob\" \"example.org\")) \
        ((\"Bob B.\" NIL \"bob\" \"example.org\")) \
        ((NIL NIL \"alice\" \"example.org\")(\"Carol\" NIL \"c\" \"example.org\")) ((NIL NIL \"d\" \"example.org\")) NIL \
        \"<m0@example.org>\" \"<m1@example.org>\")";
    assert_eq!(line, format!("* 1 FETCH (UID 1 FLAGS () RFC822.SIZE {} {envelope})", MULTIPART.len()));

    let line = client.ok("FETCH 1 BODYSTRUCTURE").await.lines().concat().to_uppercase();
    for part in [
        "\"QUOTED-PRINTABLE\"",
        "\"MESSAGE\" \"RFC822\"",
        "\"INNER\"",
        "\"<P3@EXAMPLE.ORG>\"",
        "\"ATTACHMENT\"",
        "\"MIXED\"",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let line = client.ok("FETCH 1 BODY").await.lines().concat().to_uppercase();
    assert!(line.contains("\"MIXED\")") && !line.contains("ATTACHMENT"), "{line}");
    for (short, long) in [
        ("FAST", "(FLAGS INTERNALDATE RFC822.SIZE)"),
        ("ALL", "(FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)"),
        ("FULL", "(FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY)"),
    ] {
        let short = client.ok(&format!("FETCH 1 {short}")).await.lines();
        assert_eq!(short, client.ok(&format!("FETCH 1 {long}")).await.lines());
    }
    let line = client.ok("FETCH 1 (EMAILID THREADID SAVEDATE MODSEQ PREVIEW)").await;
    assert!(line.find("EMAILID (E").is_some() && line.find("THREADID NIL SAVEDATE \"").is_some(), "{line:?}");
    assert!(line.lines().concat().contains("PREVIEW") && number(&line, "MODSEQ") > 1, "{line:?}");
    assert!(String::from_utf8_lossy(&line.untagged.concat()).contains("Hallo W"), "{line:?}");
}

#[tokio::test]
async fn sections_and_windows() {
    let rig = Rig::new().await;
    let mut client = rig.holding(&[MULTIPART]).await;
    let header_end = MULTIPART.find("\r\n\r\n").expect("a header") + 4;
    let inner = "From: inner@example.org\r\nSubject: inner\r\n\r\ninner text";
    let cases: [(&str, &str); 16] = [
        ("BODY.PEEK[]", MULTIPART),
        ("BODY.PEEK[HEADER]", &MULTIPART[..header_end]),
        ("BODY.PEEK[TEXT]", &MULTIPART[header_end..]),
        ("BODY.PEEK[]<0.10>", &MULTIPART[..10]),
        ("BODY.PEEK[]<5.7>", &MULTIPART[5..12]),
        ("BODY.PEEK[TEXT]<3.4>", &MULTIPART[header_end + 3..header_end + 7]),
        ("BODY.PEEK[]<99999.5>", ""),
        ("BODY.PEEK[HEADER.FIELDS (CC \"message-id\")]", "Cc: d@example.org\r\nMessage-ID: <m1@example.org>\r\n\r\n"),
        ("BODY.PEEK[HEADER.FIELDS (X-Long)]", "X-Long: one\r\n two\r\n\r\n"),
        ("BODY.PEEK[HEADER.FIELDS (X-None)]", "\r\n"),
        ("BODY.PEEK[1]", "Hallo=20W=C3=B6lt"),
        (
            "BODY.PEEK[1.MIME]",
            "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
        ),
        ("BODY.PEEK[2]", inner),
        ("BODY.PEEK[2.HEADER]", "From: inner@example.org\r\nSubject: inner\r\n\r\n"),
        ("BODY.PEEK[2.1]", "inner text"),
        ("BODY.PEEK[3]<2.3>", "ECA"),
    ];
    for (item, expected) in cases {
        let answer = client.ok(&format!("FETCH 1 {item}")).await;
        assert_eq!(
            answer.literal().map(|octets| String::from_utf8_lossy(&octets).into_owned()).as_deref(),
            Some(expected),
            "{item}"
        );
        assert_eq!(answer.untagged.len(), 1, "{item}: {answer:?}");
    }
    let not =
        client.ok("FETCH 1 BODY.PEEK[HEADER.FIELDS.NOT (From To Cc Date Subject Message-ID In-Reply-To X-Long)]").await;
    let expected = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"B\"\r\n\r\n";
    assert_eq!(not.literal().as_deref(), Some(expected.as_bytes()));
    says(&client.ok("FETCH 1 (BODY.PEEK[4] BODY.PEEK[1.1.1])").await, "* 1 FETCH (BODY[4] NIL BODY[1.1.1] NIL)");
    let named = client.ok("FETCH 1 BODY.PEEK[HEADER.FIELDS (\"Cc\")]<0.2>").await;
    assert!(named.lines()[0].starts_with("* 1 FETCH (BODY[HEADER.FIELDS (Cc)]<0> {2}"), "{named:?}");
    for bad in [
        "FETCH 1 BODY[MIME]",
        "FETCH 1 BODY[0]",
        "FETCH 1 BODY[]<0.0>",
        "FETCH 1 FOO",
        "FETCH 2 UID",
        "FETCH 0 UID",
        "FETCH 1",
    ] {
        refused(&client.ask(bad).await, "BAD");
    }
    says(&client.ok("UID FETCH 1:* UID").await, "* 1 FETCH (UID 1)");
    assert!(client.ok("UID FETCH 7:9 UID").await.untagged.is_empty());
}

#[tokio::test]
async fn decoded_parts() {
    let rig = Rig::new().await;
    let odd = "Content-Type: text/plain\r\nContent-Transfer-Encoding: x-odd\r\n\r\nodd\r\n";
    let mut client = rig.holding(&[MULTIPART, odd]).await;
    let answer = client.ok("FETCH 1 (BINARY.PEEK[1] BINARY.SIZE[1])").await;
    assert_eq!(answer.literal().as_deref(), Some("Hallo Wölt".as_bytes()));
    assert_eq!(number(&answer, "BINARY.SIZE[1]"), 11);
    let answer = client.ok("FETCH 1 BINARY.PEEK[3]").await;
    assert!(answer.lines()[0].contains("BINARY[3] ~{4}"), "{answer:?}");
    assert_eq!(answer.literal().as_deref(), Some(&[0, 1, 2, 3][..]));
    let answer = client.ok("FETCH 1 BINARY.PEEK[3]<1.2>").await;
    assert_eq!(answer.literal().as_deref(), Some(&[1, 2][..]));
    let unknown = client.ask("FETCH 2 BINARY.PEEK[1]").await;
    refused(&unknown, "NO [UNKNOWN-CTE]");
    client.ok("NOOP").await;
}

#[tokio::test]
async fn reading_sets_seen_once_and_everybody_hears() {
    let rig = Rig::new().await;
    let mut client = rig.holding(&[&message("one", "x"), &message("two", "x"), &message("three", "x")]).await;
    for peek in
        ["BODY.PEEK[]", "RFC822.HEADER", "ENVELOPE", "BINARY.PEEK[1]", "BINARY.SIZE[1]", "BODYSTRUCTURE", "PREVIEW"]
    {
        silent(&client.ok(&format!("FETCH 1 {peek}")).await, "\\Seen");
    }
    let mut other = rig.inbox().await;
    let tag = idle(&mut other).await;
    let read = client.ok("FETCH 1 BODY[TEXT]").await;
    assert_eq!(read.lines(), ["* 1 FETCH (BODY[TEXT] {3}\r\nx\r\n FLAGS (\\Seen))"], "told once");
    assert_eq!(other.line().await.as_deref(), Some(&b"* 1 FETCH (FLAGS (\\Seen))"[..]));
    crate::rig::done(&mut other, &tag).await;
    silent(&client.ok("FETCH 1 BODY[]").await, "\\Seen");
    for (item, uid) in [("RFC822", 2), ("BINARY[1]", 3)] {
        let read = client.ok(&format!("UID FETCH {uid} {item}")).await;
        assert!(read.find("FLAGS (\\Seen)").is_some(), "{item}: {read:?}");
    }
    client.ok("STORE 1:3 -FLAGS.SILENT (\\Seen)").await;
    let mut reader = rig.user().await;
    reader.ok("EXAMINE INBOX").await;
    silent(&reader.ok("FETCH 1 BODY[]").await, "\\Seen");
    let all = client.ok("FETCH 1:3 (FLAGS RFC822.TEXT)").await;
    assert_eq!(all.untagged.len(), 3);
    assert!(all.lines().iter().all(|line| line.contains("FLAGS (\\Seen)")), "{all:?}");
    rig.sound().await;
}

/// Text that shows where a window begins.
fn large() -> Vec<u8> {
    let mut text = b"Subject: large\r\nContent-Type: text/plain\r\n\r\n".to_vec();
    let mut line = 0;
    while text.len() < 6 << 20 {
        text.extend_from_slice(format!("{line:08} Grüße and what else fills a line of some length\r\n").as_bytes());
        line += 1;
    }
    text
}

#[tokio::test]
async fn six_megabytes_stream_octet_by_octet() {
    let rig = Rig::new().await;
    let text = large();
    let mut client = rig.inbox().await;
    put(&mut client, "INBOX", &text).await;
    put(&mut client, "INBOX", message("small", "x")).await;
    let header = text.windows(4).position(|at| at == b"\r\n\r\n").expect("a header") + 4;
    for (item, expected) in [
        ("BODY.PEEK[]", &text[..]),
        ("RFC822", &text[..]),
        ("BODY.PEEK[TEXT]", &text[header..]),
        ("BODY.PEEK[1]", &text[header..]),
        ("BODY.PEEK[HEADER]", &text[..header]),
        ("BODY.PEEK[]<1000000.2000000>", &text[1_000_000..3_000_000]),
        ("BODY.PEEK[]<40.10>", &text[40..50]),
        ("BODY.PEEK[TEXT]<1048570.20>", &text[header + 1_048_570..header + 1_048_590]),
        ("BODY.PEEK[]<6291400.99999999>", &text[6_291_400..]),
        ("BODY.PEEK[]<99999999.9>", &[]),
    ] {
        let answer = client.ok(&format!("FETCH 1 ({item} UID)")).await;
        assert!(answer.literal().as_deref() == Some(expected), "{item}");
        assert!(answer.untagged[0].ends_with(b" UID 1)") || item == "RFC822", "{item}");
    }
    // Window after window, as mail programs read.
    let (mut whole, mut at) = (Vec::new(), 0);
    while at < text.len() {
        let piece = client.ok(&format!("FETCH 1 BODY.PEEK[]<{at}.700001>")).await.literal().expect("a window");
        at += 700_001;
        whole.extend(piece);
    }
    assert!(whole == text);
    let both = client.ok("FETCH 1:2 BODY.PEEK[]").await;
    assert_eq!((both.untagged.len(), both.literal().map(|octets| octets.len())), (2, Some(text.len())));
    rig.sound().await;
}

#[tokio::test]
async fn three_hundred_messages_in_one_answer() {
    let rig = Rig::new().await;
    let mut client = rig.inbox().await;
    let messages: Vec<String> = (0..300).map(|n| message(&format!("number {n}"), &"line\r\n".repeat(n))).collect();
    for some in messages.chunks(100) {
        let parts: Vec<String> = some.iter().map(|text| format!(" {{{}+}}\r\n{text}", text.len())).collect();
        client.ok(&format!("APPEND INBOX{}", parts.concat())).await;
    }
    let all = client.ok("UID FETCH 1:* (FLAGS ENVELOPE BODY.PEEK[])").await;
    assert_eq!(all.untagged.len(), 300);
    for (n, (line, text)) in all.untagged.iter().zip(&messages).enumerate() {
        let line = String::from_utf8_lossy(line);
        assert!(line.starts_with(&format!("* {} FETCH (UID {} FLAGS () ENVELOPE (", n + 1, n + 1)), "{line}");
        assert!(line.ends_with(&format!("{{{}}}\r\n{text})", text.len())), "{line}");
    }
    let metadata = client.ok("FETCH 1:300 (UID RFC822.SIZE BODYSTRUCTURE PREVIEW SAVEDATE)").await;
    assert_eq!(metadata.untagged.len(), 300);
    let headers = client.ok("FETCH 300,1,150:160 BODY.PEEK[HEADER.FIELDS (Subject)]").await;
    assert_eq!(headers.untagged.len(), 13);
}
