//! Whatever comes, reading returns, and what it returns is bounded and clean.

use proptest::prelude::*;

use crate::{Incoming, classify_reply, read};

fn assert_clean(incoming: &Incoming) {
    assert!(incoming.recipients.len() <= 1000);
    let texts = incoming.recipients.iter().flat_map(|one| {
        [&one.recipient, &one.original_recipient, &one.diagnostic, &one.remote_mta].into_iter().flatten()
    });
    let of_message = [&incoming.reporting_mta, &incoming.envelope_id, &incoming.message_id];
    for text in texts.chain(of_message.into_iter().flatten()) {
        assert!(text.len() <= 2100 && !text.is_empty() && !text.chars().any(char::is_control), "{text:?}");
    }
}

/// Pieces that reports are made of, in any order.
const PIECES: &[&str] = &[
    "From: MAILER-DAEMON@a.example\r\n",
    "Subject: failure notice\r\n",
    "X-Failed-Recipients: a@b.example, c@d.example\r\n",
    "Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n",
    "Content-Type: message/delivery-status\r\n",
    "Content-Type: message/feedback-report\r\n",
    "Content-Type: message/rfc822\r\n",
    "Content-Transfer-Encoding: base64\r\n",
    "\r\n",
    "--x\r\n",
    "--x--\r\n",
    "Final-Recipient: rfc822; a@b.example\r\n",
    "Final-Recipient: utf-8; \\x{FC\\x{D800}@b\r\n",
    "Action: failed\r\nStatus: 5.9999.1\r\n",
    "Diagnostic-Code: smtp; 550\r\n",
    "Feedback-Type:\r\n",
    "Hi. This is the qmail-send program at a.example.\r\n",
    "<a@b.example>:\r\n",
    "<@>:\r\n<\r\n",
    "'x@y.example' on 1.1.\r\n",
    "host mx.example.net[192.0.2.1] said: 550 5.1.1 no\r\n",
    "--- Below this line is a copy of the message.\r\n",
    "Message-ID: <1@a.example>\r\n",
    "Łİẞ ﬁ\r\n",
    "\0\u{1}\r\r\n\n",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_octets_are_read(octets in prop::collection::vec(any::<u8>(), 0..400)) {
        read(&octets).iter().for_each(assert_clean);
        std::hint::black_box(classify_reply(&String::from_utf8_lossy(&octets)));
    }

    #[test]
    fn any_order_of_pieces_is_read(order in prop::collection::vec(0..PIECES.len(), 0..40)) {
        let message: String = order.into_iter().map(|at| PIECES[at]).collect();
        read(message.as_bytes()).iter().for_each(assert_clean);
    }

    #[test]
    fn any_reply_has_a_class(reply in "\\PC{0,200}") {
        let verdict = classify_reply(&reply);
        prop_assert_eq!(verdict, classify_reply(&reply));
        prop_assert!(!verdict.rule.is_empty());
    }
}

#[test]
fn large_and_deep_messages_take_no_time() {
    let begun = std::time::Instant::now();
    let start = "From: MAILER-DAEMON@a.example\r\nSubject: failure notice\r\n\r\n";
    for flood in [
        "<a@b.example>:\r\n",
        "a@b.example",
        "(",
        "550 5.1.1 ",
        "--x\r\nContent-Type: multipart/x; boundary=x\r\n\r\n",
        "@",
        "\r\n",
    ] {
        let message = format!("{start}{}", flood.repeat((2 << 20) / flood.len()));
        read(message.as_bytes()).iter().for_each(assert_clean);
        std::hint::black_box(classify_reply(&message));
    }
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}
