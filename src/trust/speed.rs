//! Numbers, not asserts: `cargo test --release -p posthorn-trust -- --ignored --nocapture speed`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use chrono::DateTime;
use posthorn_model::Domain;

use crate::{KeyType, Signer, SigningKey, sign};

#[test]
#[ignore = "prints numbers"]
fn signing_ten_kilobytes() {
    let header =
        b"From: bob@example.org\r\nTo: ann@example.net\r\nSubject: speed\r\nMessage-ID: <1@example.org>\r\n\r\n";
    let text = "A line of text that has some sixty octets and no blank ends\r\n".repeat(160);
    let at = DateTime::from_timestamp(1_795_223_379, 0).expect("in range");
    for kind in [KeyType::Rsa, KeyType::Ed25519] {
        let key = Arc::new(SigningKey::generate(kind).expect("a key"));
        let signer = [Signer::new(Domain::parse("example.org").expect("a domain"), "k", key).expect("a signer")];
        let best = (0..5).map(|_| {
            let begun = Instant::now();
            for _ in 0..20 {
                black_box(sign(&signer, black_box(header), black_box(text.as_bytes()), at).expect("signed"));
            }
            begun.elapsed() / 20
        });
        let best = best.min().unwrap_or_default();
        show(&format!("{kind}: {best:?} for {} octets", text.len()));
    }
}

#[expect(clippy::print_stdout, reason = "the numbers are what this is for")]
fn show(line: &str) {
    println!("{line}");
}
