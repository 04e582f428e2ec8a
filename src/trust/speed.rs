//! Numbers, not asserts: `cargo test --release -p posthorn-trust -- --ignored --nocapture speed`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::DateTime;
use posthorn_model::Domain;

use crate::resolver::Records;
use crate::verify::tests::keys_of;
use crate::{Found, KeyType, Keys, Signed, Signer, SigningKey, Verification, dmarc, sign, spf};

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

/// What checking a stranger's message costs once all keys and records are known.
#[test]
#[ignore = "prints numbers"]
fn checking_ten_kilobytes() {
    let at = DateTime::from_timestamp(1_795_223_379, 0).expect("in range");
    let header = b"Received: from a.example by b.example; Sat, 21 Nov 2026 01:09:39 +0000\r\nFrom: bob@example.org\r\n\
        To: ann@example.net\r\nSubject: speed\r\nMessage-ID: <1@example.org>\r\n\r\n";
    let text = "A line of text that has some sixty octets and no blank ends\r\n".repeat(160);
    for kind in [KeyType::Rsa, KeyType::Ed25519] {
        let key = Arc::new(SigningKey::generate(kind).expect("a key"));
        let signer = [Signer::new(Domain::parse("example.org").expect("a domain"), "k", key).expect("a signer")];
        let top = sign(&signer, header, text.as_bytes(), at).expect("signed");
        let message = [&top[..], header, text.as_bytes()].concat();
        let keys = keys_of(&signer);
        let found = best(|| Signed::parse(black_box(&message)).expect("a header").verify(&keys, at));
        show(&format!("one {kind} signature: {found:?} for {} octets", message.len()));
    }
    let plain = [&header[..], text.as_bytes()].concat();
    let found = best(|| Signed::parse(black_box(&plain)).expect("a header").verify(&Keys::new(), at));
    show(&format!("no signature: {found:?}"));

    let record = "v=spf1 include:_spf.example.org ip4:192.0.2.0/24 ip6:2001:db8::/32 a mx -all".to_owned();
    let included = "v=spf1 ip4:198.51.100.0/24 ip4:203.0.113.0/24 ~all".to_owned();
    let request = spf::Request {
        client: [192, 0, 2, 7].into(),
        helo: "mail.example.org",
        sender: "bob@example.org",
        receiver: "mx.example.net",
        at,
    };
    let spf = || {
        let mut check = spf::Check::new(black_box(&request));
        for text in [&record, &included] {
            check.answer(Found::Some(Records::Texts(vec![text.clone()])));
        }
        check.give_up("")
    };
    assert_eq!(spf().result, spf::SpfResult::Pass);
    show(&format!("SPF with one include: {:?}", best(spf)));
    let (spf, signatures) = (spf(), Verification::default());
    let dmarc = || {
        let mut check = dmarc::Check::new(black_box(header), [&spf.domain]);
        for text in ["v=DMARC1; p=reject; rua=mailto:dmarc@example.org", ""] {
            check.answer(Found::Some(Records::Texts(vec![text.to_owned()])));
        }
        check.verdict(&spf, &signatures, 0)
    };
    assert_eq!(dmarc().result, dmarc::DmarcResult::Pass);
    show(&format!("DMARC: {:?}", best(dmarc)));
}

fn best<T>(mut work: impl FnMut() -> T) -> Duration {
    let runs = (0..10).map(|_| {
        let begun = Instant::now();
        for _ in 0..100 {
            black_box(work());
        }
        begun.elapsed() / 100
    });
    runs.min().unwrap_or_default()
}

#[expect(clippy::print_stdout, reason = "the numbers are what this is for")]
fn show(line: &str) {
    println!("{line}");
}
