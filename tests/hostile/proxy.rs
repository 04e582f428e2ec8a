//! PROXY headers that are none, from a peer that is listed.

use harness::dice::Dice;
use harness::stream::Stream;
use posthorn_config::Speaks;

use crate::program::{Program, greets, is_imap, is_implicit, shout};

const LISTED: &str = "[[listener.peer]]\nnetwork = '127.0.0.0/8'\nproxy_protocol = true";

#[tokio::test]
async fn damaged_headers_end_in_silence_or_are_headers() {
    let program = Program::with("proxy_time = '1 s'", LISTED).await;
    let files = program.open_files();
    let mut second = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x18\xc0\x00\x02\x07\x0a\x00\x00\x01\x12\x67\x00\x19".to_vec();
    second.extend(b"\x20\x00\x05\x01\x00\x00\x00\x00\x05\x00\x01x");
    let first = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 25\r\n".to_vec();
    for header in [&first, &second] {
        for speaks in Speaks::ALL.into_iter().filter(|speaks| !is_implicit(*speaks) && greets(speaks)) {
            // Whoever hangs up before the banner gets none: this one waits.
            let mut stream = Stream::tcp(program.port(speaks)).await;
            stream.send(header).await;
            let heard = stream.line().await.unwrap_or_default();
            assert!(greeted(speaks, &heard), "{}: {}", speaks.name(), heard.escape_ascii());
        }
    }
    let mut dice = Dice::new(0x9409);
    let (mut silent, mut taken) = (0, 0);
    let greeting: Vec<Speaks> = Speaks::ALL.into_iter().filter(greets).collect();
    for round in 0..300 {
        let speaks = greeting[round % greeting.len()];
        let whole = if dice.below(2) == 0 { &first } else { &second };
        let mut header = dice.damaged(whole);
        match dice.below(4) {
            0 => header.truncate(dice.below(header.len())),
            1 => header.extend(dice.octets(5000)),
            _ => {}
        }
        let heard = shout(program.port(speaks), &header).await;
        if heard.is_empty() {
            silent += 1;
        } else {
            let tls = is_implicit(speaks) && matches!(heard[0], 0x14..=0x16);
            assert!(tls || greeted(speaks, &heard), "{}: {}", speaks.name(), heard.escape_ascii());
            taken += 1;
        }
    }
    assert!(silent > 100 && taken > 0, "{silent} silent, {taken} taken");
    for endless in [b"PROXY TCP4 ".repeat(10_000), b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".repeat(1000)] {
        assert_eq!(shout(program.port(Speaks::Smtp), &endless).await, b"");
    }
    program.closes_all_but(files).await;
    assert!(!program.log().contains("panicked"));
}

fn greeted(speaks: Speaks, heard: &[u8]) -> bool {
    heard.starts_with(if is_imap(speaks) { b"* OK" } else { b"220 " })
        || heard.starts_with(if is_imap(speaks) { b"* BYE" } else { b"5" })
}
