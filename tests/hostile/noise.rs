//! HTTP, TLS and nothing in particular on every port.

use harness::dice::Dice;
use posthorn_config::Speaks;

use crate::program::{Program, greets, is_http, is_imap, is_implicit, shout};

/// What scanners say, and the beginning of a TLS handshake.
const WORDS: [&[u8]; 9] = [
    b"GET / HTTP/1.1\r\nHost: mail.example.org\r\nUser-Agent: x\r\n\r\n",
    b"POST /cgi HTTP/1.1\r\nHost: x\r\nContent-Length: 60\r\n\r\nEHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n",
    b"CONNECT mx.example.org:25 HTTP/1.0\r\n\r\n",
    b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\x00\x00\x02\x13\x01\x01\x00",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00",
    b"\0\0\0\0\0\0\0\0\r\n\0\r\n",
    b"\r\n\r\n\r\n\r\n",
    b"",
];

#[tokio::test]
async fn other_protocols_are_answered_in_the_ports_own_or_not_at_all() {
    let mut program = Program::start().await;
    program.works().await;
    let files = program.open_files();
    for speaks in Speaks::ALL {
        for words in WORDS {
            check(speaks, words, &shout(program.port(speaks), words).await);
        }
    }
    program.closes_all_but(files).await;
    program.works().await;
}

#[tokio::test]
async fn random_octets_are_answered_in_the_ports_own_or_not_at_all() {
    let mut program = Program::start().await;
    let mut dice = Dice::new(0xbad_cafe);
    for round in 0..20 {
        for speaks in Speaks::ALL {
            let count = 1 + dice.below(if round % 5 == 0 { 200_000 } else { 500 });
            let octets = dice.octets(count);
            check(speaks, &octets, &shout(program.port(speaks), &octets).await);
        }
    }
    program.works().await;
}

fn check(speaks: Speaks, sent: &[u8], heard: &[u8]) {
    let shown = heard[..heard.len().min(300)].escape_ascii();
    let whole_lines = || heard.is_empty() || heard.ends_with(b"\r\n");
    let well_formed = if is_implicit(speaks) {
        // An alert, a retry request, or nothing; never a word of the protocol within.
        heard.is_empty() || matches!(heard, [0x14..=0x16, 3, ..])
    } else if is_imap(speaks) {
        whole_lines() && (heard.is_empty() || heard.starts_with(b"* "))
    } else if speaks == Speaks::Policy {
        heard.is_empty()
    } else if is_http(speaks) {
        heard.is_empty() || heard.starts_with(b"HTTP/1.1 4") || heard.starts_with(b"HTTP/1.0 4")
    } else if !greets(&speaks) {
        // A table answers in lines that end in LF.
        heard.is_empty() || heard.ends_with(b"\n") && heard.starts_with(b"400 ")
    } else {
        let mut lines = heard.split(|octet| *octet == b'\n').filter(|line| !line.is_empty());
        whole_lines() && lines.all(|line| line.len() > 3 && line[..3].iter().all(u8::is_ascii_digit))
    };
    assert!(well_formed, "{}: {} was answered {shown}", speaks.name(), sent[..sent.len().min(80)].escape_ascii());
    assert!(heard.len() < 20_000, "{}: {} octets in answer to noise", speaks.name(), heard.len());
}
