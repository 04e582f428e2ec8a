//! A hundred thousand recipients in one go.

use posthorn_config::Speaks;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::program::{MIB, Program, USER};

const RECIPIENTS: usize = 100_000;

#[tokio::test]
async fn a_hundred_thousand_pipelined_recipients_are_answered_one_by_one() {
    let mut program = Program::start().await;
    program.works().await;
    let before = program.peak();
    let stream = TcpStream::connect(("127.0.0.1", program.port(Speaks::Smtp))).await.expect("the server listens");
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    let send = async move {
        let mut all = "EHLO client.example.net\r\nMAIL FROM:<a@example.net>\r\n".to_owned();
        for _ in 0..RECIPIENTS {
            all += &format!("RCPT TO:<{USER}>\r\n");
        }
        all += "DATA\r\n";
        // The server may have had enough.
        let _cut = writer.write_all(all.as_bytes()).await;
        writer
    };
    let hear = async {
        let (mut taken, mut refused) = (0, 0);
        while let Ok(Some(line)) = lines.next_line().await {
            match line.get(..4) {
                Some("250 ") if line.contains("2.1.5") => taken += 1,
                Some("452 ") => refused += 1,
                Some("354 " | "421 ") => return (taken, refused, line),
                _ => assert!(line.starts_with("2"), "{line}"),
            }
        }
        (taken, refused, String::new())
    };
    let (writer, (taken, refused, last)) = tokio::join!(send, hear);
    assert_eq!(taken, 1000, "smtp.max_recipients");
    if last.starts_with("354") {
        assert_eq!(refused, RECIPIENTS - 1000, "temporary refusals, so that the rest is tried again");
    }
    let grown = program.peak().saturating_sub(before);
    assert!(grown < 32 * MIB, "{grown} octets more than before at the peak");
    drop(writer);
    program.works().await;
}
