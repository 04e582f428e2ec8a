//! Messages that are meant to take all time and all memory of whoever looks into them, over the whole server.

use std::time::{Duration, Instant};

use harness::archives::{Member, attached, gzip, tar, zip};
use posthorn_config::Speaks;

use crate::program::{MIB, Program, USER};

/// What cannot be looked at is refused with its name, and so are archives that lie.
const STRICT: &str = "[filter]\nbanned = ['strict', 'default']\n[filter.destiny]\nunchecked = 'refuse'\n\
    [[filter.file_rule]]\nset = 'strict'\nname = 'lies'\n\
    attributes = ['lying-size', 'absolute-path', 'upwards', 'symbolic-link', 'overlapping', 'damaged']\n";

/// Long for one message, and short for a build without optimization on a busy machine.
const SOON: Duration = Duration::from_secs(30);

fn usual() -> String {
    "From: ann@sender.test\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\nSubject: hello\r\n".to_owned()
}

/// 16³ times 8 MiB of zeros: 32 GiB in some KiB.
fn nested() -> Vec<u8> {
    let layer = |inner: &[u8]| zip(&(0..16).map(|at| Member::packed(&format!("{at}.zip"), inner)).collect::<Vec<_>>());
    layer(&layer(&layer(&zip(&[Member::packed("zeros", &vec![0; 8 << 20])]))))
}

/// Each bomb with what is said of it.
fn bombs() -> Vec<(&'static str, String, &'static str)> {
    let file = |octets: &[u8]| attached(&usual(), "filename=\"a.bin\"", octets);
    let deep = (0..15).fold(b"x".to_vec(), |inner, _| gzip(&inner));
    let parts = format!(
        "{}MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{}--b--\r\n",
        usual(),
        "--b\r\n\r\nx\r\n".repeat(3001)
    );
    let multiparts: String =
        (0..15).map(|at| format!("Content-Type: multipart/mixed; boundary=m{at}\r\n\r\n--m{at}\r\n")).collect();
    let lying = zip(&[
        Member { claimed: Some(1), ..Member::packed("tiny", &vec![b'a'; 1 << 20]) },
        Member { claimed: Some(u32::MAX - 1), ..Member::stored("huge", b"abc") },
    ]);
    let zeros = gzip(&vec![0; 8 << 20]);
    vec![
        ("a nested bomb", file(&nested()), "expansion"),
        ("a flat bomb", file(&gzip(&zeros.repeat(300))), "cannot be looked at"),
        ("15 levels of archives", file(&deep), "too-deep"),
        ("15 levels of multiparts", format!("{}{multiparts}\r\nx", usual()), "too-deep"),
        ("3001 parts", parts, "nodes"),
        ("sizes that lie", file(&lying), "lies of strict"),
        ("an absolute path", file(&zip(&[Member::stored("/etc/passwd", b"x")])), "lies of strict"),
        ("a way upwards", file(&zip(&[Member::stored("../../x", b"x")])), "lies of strict"),
        ("a link", file(&tar("link", b'2', "/etc/shadow", b"")), "lies of strict"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_are_named_in_time_and_disturb_nobody() {
    let mut program = Program::judging(STRICT).await;
    for (what, message, said) in bombs() {
        let mut client = program.smtp(Speaks::Smtp).await;
        let began = Instant::now();
        let reply = client.deliver("ann@sender.test", &[USER], &message).await;
        assert!(reply.starts_with("554 5.7.0 ") && reply.contains(said), "{what}: {reply}");
        assert!(began.elapsed() < SOON, "{what}: {:?}", began.elapsed());
        client.expect("NOOP", "250").await;
    }
    program.works().await;
    let before = program.peak();

    // Many at once: somebody beside them is served all the while.
    let bomb = attached(&usual(), "filename=42.zip", &nested());
    let mut clients = Vec::new();
    for _ in 0..12 {
        let mut client = program.smtp(Speaks::Smtp).await;
        client.expect("MAIL FROM:<ann@sender.test>", "250").await;
        client.expect(&format!("RCPT TO:<{USER}>"), "250").await;
        clients.push(client);
    }
    let mut senders = tokio::task::JoinSet::new();
    for mut client in clients {
        let bomb = bomb.clone();
        senders.spawn(async move { client.data(&bomb).await });
    }
    let mut beside = program.smtp(Speaks::Smtp).await;
    let mut slowest = Duration::ZERO;
    while !senders.is_empty() {
        let began = Instant::now();
        let reply = beside.deliver("ann@sender.test", &[USER], &format!("{}\r\nHello.\r\n", usual())).await;
        assert!(reply.starts_with("250 "), "{reply}");
        slowest = slowest.max(began.elapsed());
        while let Some(reply) = senders.try_join_next() {
            let reply = reply.expect("it ends");
            assert!(reply.contains("expansion"), "{reply}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(slowest < Duration::from_secs(5), "a small message took {slowest:?}");
    let grown = program.peak().saturating_sub(before);
    assert!(grown < 320 * MIB, "{} MiB more were in use", grown / MIB);
    program.works().await;
}
