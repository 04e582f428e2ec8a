//! SEARCH: every key, results in all their forms, saved results.

use harness::imap_client::ImapClient;

use crate::rig::{Rig, message, number, put, refused, says, silent};

const FIRST: &str = "From: Bob <bob@example.org>\r\nTo: alice@example.org\r\nCc: carol@example.org\r\nSubject: Green apples\r\n\
    Date: Thu, 1 Jan 2026 12:00:00 +0000\r\nX-Mark: here\r\nX-Empty:\r\n\r\nThe apple text\r\n";
const SECOND: &str = "From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r\nTo: dave@example.org\r\nBcc: eve@example.org\r\n\
    Subject: =?iso-8859-1?q?Gr=FC=DFe?=\r\nDate: Mon, 2 Feb 2026 23:30:00 -0800\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Transfer-Encoding: base64\r\n\r\nS8O2bG4gYW0gUmhlaW4=\r\n";
const THIRD: &str = "From: list@example.com\r\nSubject: third\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n\
    --b\r\nContent-Type: text/html\r\n\r\n<p>Hyper<b>text</b></p>\r\n--b\r\nContent-Type: image/png\r\n\
    Content-Transfer-Encoding: base64\r\n\r\nbm9ib2R5IHNlZXMgdGhpcw==\r\n--b--\r\n";

async fn filled(rig: &Rig) -> ImapClient {
    let mut client = rig.inbox().await;
    for (text, rest) in [
        (FIRST, "(\\Seen \\Answered $Work) \" 1-Jan-2026 12:00:00 +0000\""),
        (SECOND, "(\\Flagged \\Draft) \" 3-Feb-2026 07:30:00 +0000\""),
        (THIRD, "(\\Deleted) \"15-Mar-2020 00:00:00 +0000\""),
    ] {
        client.ok(&format!("APPEND INBOX {rest} {{{}+}}\r\n{text}", text.len())).await;
    }
    client
}

/// The numbers that SEARCH answers.
async fn found(client: &mut ImapClient, keys: &str) -> String {
    let answer = client.ok(&format!("SEARCH {keys}")).await;
    let line = answer.find("* SEARCH").expect("an answer");
    line.trim_start_matches("* SEARCH").trim().to_owned()
}

#[tokio::test]
async fn every_key_finds_its_messages() {
    let rig = Rig::new().await;
    let mut client = filled(&rig).await;
    let email_id = client.ok("FETCH 2 EMAILID").await.lines().concat();
    let email_id = email_id.split(['(', ')']).nth(2).expect("an id").to_owned();
    for (keys, expected) in [
        ("ALL", "1 2 3"),
        ("ANSWERED", "1"),
        ("UNANSWERED", "2 3"),
        ("DELETED", "3"),
        ("UNDELETED", "1 2"),
        ("DRAFT", "2"),
        ("UNDRAFT", "1 3"),
        ("FLAGGED", "2"),
        ("UNFLAGGED", "1 3"),
        ("SEEN", "1"),
        ("UNSEEN", "2 3"),
        ("NEW", ""),
        ("OLD", "1 2 3"),
        ("RECENT", ""),
        ("KEYWORD $work", "1"),
        ("UNKEYWORD $Work", "2 3"),
        ("KEYWORD none", ""),
        ("UNKEYWORD none", "1 2 3"),
        ("FROM bob", "1"),
        ("FROM EXAMPLE.ORG", "1 2"),
        ("TO dave", "2"),
        ("CC carol", "1"),
        ("BCC eve", "2"),
        ("SUBJECT APPLES", "1"),
        ("SUBJECT \"n app\"", "1"),
        ("HEADER X-Mark her", "1"),
        ("HEADER x-empty \"\"", "1"),
        ("HEADER X-Mark \"\"", "1"),
        ("HEADER X-None \"\"", ""),
        ("BODY apple", "1"),
        ("BODY apples", ""),
        ("TEXT apples", "1"),
        ("TEXT rhein", "2"),
        ("BODY hypertext", "3"),
        ("BODY nobody", ""),
        ("BEFORE 1-Jan-2026", "3"),
        ("ON 1-Jan-2026", "1"),
        ("SINCE 1-Jan-2026", "1 2"),
        ("SINCE 3-Feb-2026", "2"),
        ("SENTBEFORE 2-Jan-2026", "1"),
        ("SENTON 2-Feb-2026", "2"),
        ("SENTSINCE 1-Jan-2026", "1 2"),
        ("LARGER 200", "2 3"),
        ("SMALLER 10", ""),
        ("UID 2:*", "2 3"),
        ("UID 9", ""),
        ("2:3", "2 3"),
        ("*", "3"),
        ("NOT 2", "1 3"),
        ("OR SEEN FLAGGED", "1 2"),
        ("OR (SEEN ANSWERED) (FLAGGED SEEN)", "1"),
        ("NOT (OR SEEN FLAGGED)", "3"),
        ("UNSEEN SUBJECT third", "3"),
        ("YOUNGER 60", ""),
        ("OLDER 60", "1 2 3"),
        ("SAVEDATESUPPORTED", "1 2 3"),
        ("SAVEDBEFORE 1-Jan-2020", ""),
        ("SAVEDSINCE 1-Jan-2020", "1 2 3"),
        ("THREADID x", ""),
        ("CHARSET US-ASCII SUBJECT apples", "1"),
        ("CHARSET UTF-8 SUBJECT {7+}\r\ngrüße", "2"),
        ("CHARSET UTF-8 FROM {7+}\r\nJÜRGEN", "2"),
        ("CHARSET UTF-8 BODY {5+}\r\nKöln", "2"),
    ] {
        assert_eq!(found(&mut client, keys).await, expected, "{keys}");
    }
    assert_eq!(found(&mut client, &format!("EMAILID {email_id}")).await, "2");
    assert_eq!(found(&mut client, "EMAILID Effff").await, "");
    says(&client.ok("UID SEARCH NOT SEEN").await, "* SEARCH 2 3");
    refused(&client.ask("SEARCH CHARSET KOI8-R SUBJECT x").await, "NO [BADCHARSET (US-ASCII UTF-8)]");
    for bad in [
        "SEARCH",
        "SEARCH FOO",
        "SEARCH SUBJECT",
        "SEARCH ON yesterday",
        "SEARCH (ALL",
        "SEARCH 9",
        "SEARCH RETURN (X) ALL",
    ] {
        refused(&client.ask(bad).await, "BAD");
    }
    let deep = format!("SEARCH {}ALL{}", "(".repeat(500), ")".repeat(500));
    refused(&client.ask(&deep).await, "BAD");
}

#[tokio::test]
async fn extended_results() {
    let rig = Rig::new().await;
    let mut client = filled(&rig).await;
    let body = |answer: &harness::imap_client::Answer| {
        let line = answer.find("* ESEARCH").expect("an answer");
        line.split_once(") ").map(|(_, rest)| rest.to_owned()).unwrap_or_default()
    };
    for (command, expected) in [
        ("SEARCH RETURN () ALL", "ALL 1:3"),
        ("SEARCH RETURN (MIN MAX COUNT ALL) NOT 2", "MIN 1 MAX 3 ALL 1,3 COUNT 2"),
        ("UID SEARCH RETURN (MIN) UNSEEN", "UID MIN 2"),
        ("SEARCH RETURN (COUNT) KEYWORD none", "COUNT 0"),
        ("SEARCH RETURN (ALL MIN) KEYWORD none", ""),
    ] {
        assert_eq!(body(&client.ok(command).await), expected, "{command}");
    }
    let plain = client.ok("SEARCH ALL").await;
    says(&plain, "* SEARCH 1 2 3");
    let highest = number(&client.ok("FETCH 3 MODSEQ").await, "MODSEQ");
    let first = number(&client.ok("FETCH 1 MODSEQ").await, "MODSEQ");
    says(&client.ok("SEARCH MODSEQ 1").await, &format!("* SEARCH 1 2 3 (MODSEQ {highest})"));
    says(&client.ok(&format!("SEARCH MODSEQ {highest}")).await, &format!("* SEARCH 3 (MODSEQ {highest})"));
    says(&client.ok("SEARCH MODSEQ 9999999").await, "* SEARCH");
    assert_eq!(body(&client.ok("SEARCH RETURN (MIN) MODSEQ 1").await), format!("MIN 1 MODSEQ {first}"));
    assert_eq!(body(&client.ok("SEARCH RETURN (MIN COUNT) MODSEQ 1").await), format!("MIN 1 COUNT 3 MODSEQ {highest}"));

    client.ok("ENABLE IMAP4rev2").await;
    let new = client.ok("SEARCH UNSEEN").await;
    assert_eq!(body(&new), "ALL 2:3");
    silent(&new, "* SEARCH");
}

#[tokio::test]
async fn results_are_saved() {
    let rig = Rig::new().await;
    let mut client = filled(&rig).await;
    assert!(client.ok("SEARCH RETURN (SAVE) UNSEEN").await.untagged.is_empty());
    assert_eq!(client.ok("FETCH $ UID").await.lines(), ["* 2 FETCH (UID 2)", "* 3 FETCH (UID 3)"]);
    assert_eq!(found(&mut client, "$ FLAGGED").await, "2");
    assert_eq!(found(&mut client, "NOT $").await, "1");
    client.ok("STORE $ +FLAGS.SILENT (\\Answered)").await;
    assert_eq!(found(&mut client, "UID $ ANSWERED").await, "2 3");
    client.ok("SEARCH RETURN (SAVE MIN) ALL").await;
    assert_eq!(client.ok("UID FETCH $ UID").await.lines(), ["* 1 FETCH (UID 1)"]);
    client.ok("SEARCH RETURN (SAVE COUNT) $").await;
    client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    client.ok("EXPUNGE").await;
    assert!(client.ok("FETCH $ UID").await.untagged.is_empty(), "what is expunged leaves the saved result");
    client.ok("SEARCH RETURN (SAVE) ALL").await;
    refused(&client.ask("SEARCH RETURN (ALL) CHARSET KOI8-R ALL").await, "NO");
    assert!(!client.ok("FETCH $ UID").await.untagged.is_empty(), "what was not to be saved changes nothing");
    refused(&client.ask("SEARCH RETURN (SAVE) CHARSET KOI8-R ALL").await, "NO");
    assert!(client.ok("FETCH $ UID").await.untagged.is_empty(), "a refused search leaves an empty result");
    client.ok("SEARCH RETURN (SAVE) ALL").await;
    client.ok("SELECT INBOX").await;
    assert!(client.ok("FETCH $ UID").await.untagged.is_empty(), "a result belongs to one selection");
    let uid = put(&mut client, "INBOX", message("more", "x")).await;
    client.ok(&format!("UID SEARCH RETURN (SAVE) UID {uid}")).await;
    assert!(client.ok("MOVE $ Trash").await.find("COPYUID").is_some());
    rig.sound().await;
}
