//! Numbers, not asserts: `cargo test --release -p posthorn-contents -- --ignored --nocapture speed`.

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;

use crate::samples::{ZipMember, with_attachment, zip};
use crate::{Contents, Limits};

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

#[test]
#[ignore = "prints numbers"]
fn speed() {
    let header = "Received: from mail.example.net (mx.example.net [192.0.2.1])\r\n\tby mx.example.org with ESMTPS\r\n\
        \tid 4abc; Sat, 21 Nov 2026 01:09:39 +0000\r\nDate: Sat, 21 Nov 2026 01:09:39 +0000\r\nFrom: a@example.net\r\n\
        To: b@example.org\r\nSubject: numbers\r\nMessage-ID: <abc.123@example.net>\r\nMIME-Version: 1.0\r\n";
    let line = "This line stands for many like it: it has words, numbers (12), and ends.\r\n";
    let text = Bytes::from(format!(
        "{header}Content-Type: text/plain; charset=utf-8\r\n\r\n{}see https://www.example.org/a?b=c\r\n",
        line.repeat(135)
    ));
    let html = Bytes::from(format!(
        "{header}Content-Type: text/html; charset=utf-8\r\n\r\n<html><body>{}</body></html>\r\n",
        "<p style=\"color: red\">Words &amp; more <a href=\"https://example.org/\">here</a>.</p>\r\n".repeat(125)
    ));
    let archive = with_attachment("a.zip", &zip(&[ZipMember::deflated("a.txt", line.repeat(1400).as_bytes())]));
    let limits = Limits::default();
    for (name, message) in [("text", &text), ("html", &html), ("zip of 100 KB", &archive)] {
        let name = format!("{name}, {} octets", message.len());
        measured(&name, 5000, || drop(black_box(Contents::of(black_box(message), &limits))));
    }
}
