//! Numbers, not asserts: `cargo test --release -p posthorn-mime -- --ignored --nocapture speed`.

use std::hint::black_box;
use std::time::Instant;

use crate::{Facts, Structure, base_subject, contains_fold, envelope, fields, fold, html, preview};

fn measured(name: &str, times: u32, mut work: impl FnMut()) {
    work();
    let start = Instant::now();
    for _ in 0..times {
        work();
    }
    show(&format!("{name}: {:?}", start.elapsed() / times));
}

#[expect(clippy::print_stdout, reason = "the numbers are what this is for")]
fn show(line: &str) {
    println!("{line}");
}

fn header(kind: &str) -> String {
    let received =
        "Received: from mail.example.net (mx.example.net [192.0.2.1])\r\n\tby mx.example.org with ESMTPS\r\n\
        \tid 4abc; Sat, 21 Nov 2026 01:09:39 +0000\r\n"
            .repeat(4);
    format!(
        "{received}DKIM-Signature: v=1; a=rsa-sha256; {}\r\nDate: Sat, 21 Nov 2026 01:09:39 +0000\r\n\
        From: =?utf-8?Q?J=C3=BCrgen?= Example <j@example.net>\r\nTo: \"Doe, Jane\" <jane@example.org>, bob@example.org\r\n\
        Cc: list@example.org\r\nSubject: Re: [list] =?utf-8?Q?gr=C3=BCne?= numbers\r\nMessage-ID: <abc.123@example.net>\r\n\
        In-Reply-To: <abc.122@example.net>\r\nReferences: <abc.1@example.net> <abc.122@example.net>\r\nMIME-Version: 1.0\r\n\
        X-Mailer: example 1.0\r\n{kind}\r\n\r\n",
        "b=abcdefghij".repeat(30)
    )
}

fn at_delivery(raw: &[u8]) {
    let structure = Structure::of(black_box(raw));
    black_box(envelope(&raw[..structure.header_size()]));
    black_box(structure.bodystructure(raw));
    black_box(Facts::of(raw));
}

#[test]
#[ignore = "prints numbers"]
fn speed_of_what_is_done_at_delivery() {
    let line = "The quick brown fox jumps over the lazy dog, again and again.\r\n";
    let simple =
        header("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit") + &line.repeat(135);
    let base64 = format!("{}\r\n", "QUJD".repeat(19)).repeat(2500);
    let multi = header("Content-Type: multipart/mixed; boundary=\"=_next\"")
        + &format!("--=_next\r\nContent-Type: text/plain\r\n\r\n{}\r\n--=_next\r\n", line.repeat(30))
        + "Content-Type: application/pdf; name=x.pdf\r\nContent-Transfer-Encoding: base64\r\n\
           Content-Disposition: attachment; filename=x.pdf\r\n\r\n"
        + &base64
        + "--=_next--\r\n";
    for (name, raw) in [("simple", simple.as_bytes()), ("multipart", multi.as_bytes())] {
        let structure = Structure::of(raw);
        let bytes = structure.to_bytes();
        show(&format!("{name}: {} octets, structure of {} octets", raw.len(), bytes.len()));
        measured("  structure", 2000, || drop(black_box(Structure::of(black_box(raw)))));
        measured("  envelope", 2000, || drop(black_box(envelope(black_box(&raw[..structure.header_size()])))));
        measured("  bodystructure", 2000, || drop(black_box(structure.bodystructure(black_box(raw)))));
        measured("  facts", 2000, || drop(black_box(Facts::of(black_box(raw)))));
        measured("  all at delivery", 2000, || at_delivery(raw));
        measured("  preview", 2000, || drop(black_box(preview(&structure, black_box(raw)))));
        measured("  from_bytes", 2000, || drop(black_box(Structure::from_bytes(black_box(&bytes)))));
    }
}

#[test]
#[ignore = "prints numbers"]
fn speed_on_hostile_messages() {
    let size = 50 << 20;
    let mut nested = String::new();
    for level in 0..100 {
        nested += &format!("Content-Type: multipart/mixed; boundary=b{level:02}\r\n\r\n--b{level:02}\r\n");
    }
    for (name, front, piece) in [
        ("plain", "", "text\n"),
        ("dashes", "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\n", "--\n"),
        ("nested, near misses", nested.as_str(), "--b0x\n"),
        ("nested, hits", nested.as_str(), "--b50\n\n"),
        ("parts", "Content-Type: multipart/mixed; boundary=a\r\n\r\n", "--a\n\n"),
        ("messages", "", "Content-Type: message/rfc822\n\n"),
        ("fields", "", "a:\n"),
        ("content fields", "", "Content-Description: x\n"),
        ("parameters", "Content-Type: text/plain", ";a=\"\\b\""),
        ("addresses", "To: ", "<@\"@\":a:"),
        ("groups", "To: ", "a:b;"),
        ("quotes", "From: ", "\"a"),
        ("words", "Subject: ", "=?a?q?x "),
        ("references", "References: ", "<a>"),
    ] {
        let raw = front.to_owned() + &piece.repeat(size / piece.len());
        measured(&format!("{name} (50 MB)"), 1, || at_delivery(raw.as_bytes()));
    }
    for piece in ["<", "<a '", "&a", "<!--", "</", "&#x41;"] {
        let raw = piece.repeat((8 << 20) / piece.len());
        measured(&format!("html {piece} (8 MB)"), 1, || drop(black_box(html::text(&raw))));
    }
    let raw = "Ä=?x".repeat(2 << 20);
    let needle = fold(&"=?XÄ".repeat(1000));
    measured("search (10 MB)", 1, || assert!(black_box(contains_fold(&raw, &needle))));
    measured("base subject", 1, || drop(black_box(base_subject(&raw))));
    measured("field values", 1, || {
        drop(black_box(fields(raw.as_bytes()).map(|field| field.text()).collect::<Vec<_>>()))
    });
}
