//! Clients that hang up behind the final dot: what nobody was told of is not stored, because it comes again (RFC 1047).

use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::dns::DnsServer;
use harness::server::{Server, ServerOptions};
use harness::smtp_client::SmtpClient;
use posthorn_config::{Config, Scanner, ScannerKind, Span, Speaks};
use posthorn_mail::trace::TraceOf;
use posthorn_model::Address;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};

const EVE: &str = "eve@example.org";

const MESSAGE: &str = "From: ann@sender.test\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\nSubject: hello\r\n\
    Message-ID: <m1@sender.test>\r\n\r\nHello.\r\n";

/// A clamd that answers when it is let.
struct Slow {
    row: Scanner,
    asked: Arc<Semaphore>,
    go_on: Arc<Notify>,
}

impl Slow {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string().parse().expect("an address");
        let row = Scanner { time: Span::from_secs(60), ..Scanner::new("slow", ScannerKind::Clamd, address) };
        let (asked, go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
        let (told, wait) = (Arc::clone(&asked), Arc::clone(&go_on));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(session(stream, Arc::clone(&told), Arc::clone(&wait)));
            }
        });
        Self { row, asked, go_on }
    }

    async fn until_asked(&self) {
        self.asked.acquire().await.expect("open").forget();
    }
}

/// Reads messages to their ends, which are an empty piece each.
async fn session(mut stream: TcpStream, asked: Arc<Semaphore>, go_on: Arc<Notify>) {
    for number in 1.. {
        let mut got = Vec::new();
        while !got.ends_with(b"\0\0\0\0") {
            match stream.read_u8().await {
                Ok(octet) => got.push(octet),
                Err(_) => return,
            }
        }
        asked.add_permits(1);
        go_on.notified().await;
        if stream.write_all(format!("{number}: stream: OK\0").as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn server(alter: impl FnOnce(&mut Config) + 'static) -> Server {
    let server = Server::start(ServerOptions::new().with(alter)).await;
    server.mailbox_only(EVE).await;
    server
}

/// A client that has sent all of a message, and `behind` it.
async fn sent(server: &Server, speaks: Speaks, behind: &str) -> SmtpClient {
    let mut client = server.smtp(speaks).await;
    client.expect("MAIL FROM:<ann@sender.test>", "250").await;
    client.expect(&format!("RCPT TO:<{EVE}>"), "250").await;
    client.expect("DATA", "354").await;
    client.stream.send(format!("{MESSAGE}.\r\n{behind}")).await;
    client
}

/// What the trace says last of a message to Eve, when it says something.
async fn told(server: &Server) -> String {
    let eve = TraceOf::To(Address::parse(EVE).expect("an address"));
    let began = Instant::now();
    loop {
        server.mail().store().chronicle().flush().await;
        let traces = server.mail().trace(&eve, 10).await.expect("the store works");
        if let Some(entry) = traces.first().and_then(|trace| trace.entries.first()) {
            return format!("{}: {}", entry.kind, entry.detail);
        }
        assert!(began.elapsed() < Duration::from_secs(20), "nothing is told");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hangs_up_while_a_scanner_looks_has_nothing_stored() {
    for (speaks, behind) in [(Speaks::Smtp, ""), (Speaks::Smtp, "NOOP\r\n"), (Speaks::Lmtp, "")] {
        let slow = Slow::new().await;
        let row = slow.row.clone();
        let server = server(move |config| {
            (config.filter.enable, config.filter.lmtp) = (true, true);
            config.scanner = vec![row];
        })
        .await;
        let client = sent(&server, speaks, behind).await;
        slow.until_asked().await;
        drop(client);
        // The scanner has said nothing yet: that the client is gone is seen by itself.
        let told = told(&server).await;
        assert!(told.starts_with("dropped: ") && told.contains("hung up before it was answered"), "{told}");
        slow.go_on.notify_waiters();
        assert!(server.messages(EVE, "INBOX").await.is_empty());
        assert!(server.check().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_is_answered_whatever_it_sends_meanwhile() {
    let slow = Slow::new().await;
    let row = slow.row.clone();
    let server = server(move |config| {
        config.filter.enable = true;
        config.scanner = vec![row];
    })
    .await;
    let mut client = sent(&server, Speaks::Smtp, "NOOP\r\n").await;
    slow.until_asked().await;
    // As scripts do, which still read: their own direction is closed.
    client.stream.send("QUIT\r\n").await;
    client.stream.close_half().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    slow.go_on.notify_one();
    let replies = [client.reply().await, client.reply().await, client.reply().await];
    assert!(
        replies.iter().zip(["250 2.0.0 stored", "250 ", "221 "]).all(|(one, wanted)| one.starts_with(wanted)),
        "{replies:?}"
    );
    assert_eq!(server.messages(EVE, "INBOX").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hangs_up_while_the_dns_is_asked_has_nothing_stored() {
    let dns = DnsServer::start().await;
    dns.down(true);
    let address = dns.address();
    let server = server(move |config| {
        config.checks.enable = true;
        config.checks.timeout = Span::from_secs(60);
        config.policy.enable = false;
        config.dns.servers = vec![address.to_string().parse().expect("a server")];
    })
    .await;
    let client = sent(&server, Speaks::Smtp, "").await;
    let began = Instant::now();
    while dns.asked("sender.test", "TXT") == 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "nobody is asked");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(client);
    let told = told(&server).await;
    assert!(told.starts_with("dropped: "), "{told}");
    assert!(server.messages(EVE, "INBOX").await.is_empty());
}
