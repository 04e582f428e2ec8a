//! How many sessions may be, how long they last, and how they end.

use std::time::{Duration, Instant};

use harness::imap_client::ImapClient;
use harness::server::{Server, ServerOptions, listener, row};
use harness::stream::Stream;
use posthorn_config::{Config, ListenAddress, Listener, Span, Speaks};
use posthorn_net::{Overload, Scope};

use crate::rows::{client_from, greeted_from, peers};

const MESSAGE: &str = "Subject: hello\r\n\r\nHello.\r\n";

async fn server(alter: impl FnOnce(&mut Config) + 'static) -> Server {
    let server = Server::start(ServerOptions::new().with(alter)).await;
    server.mailbox_only("bob@example.org").await;
    server
}

/// The third session is refused, and welcome again when one of the first two has ended.
async fn two_and_no_more(server: &Server, from: [u8; 3], port: u16, why: Overload) {
    let mut one = greeted_from(server, from[0], port).await;
    let _two = greeted_from(server, from[1], port).await;
    let mut three = client_from(server, from[2], port).await;
    let reply = three.reply().await;
    assert!(reply.starts_with("421 4.4.5 "), "{why:?}: {reply}");
    assert_eq!(three.reply().await, "");
    let caps = server.appliance().listeners().caps();
    assert_eq!(caps.refused.get(&why), Some(&1), "{:?}", caps.refused);
    one.expect("QUIT", "221").await;
    assert_eq!(one.reply().await, "");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(10) {
        if client_from(server, from[2], port).await.reply().await.starts_with("220") {
            return;
        }
    }
    panic!("{why:?}: the place was not given back");
}

#[tokio::test]
async fn at_the_server() {
    let server = server(|config| config.limits.sessions = 2).await;
    two_and_no_more(&server, [2, 3, 4], server.port(Speaks::Smtp), Overload::Server).await;
}

#[tokio::test]
async fn at_the_service() {
    let server = server(|config| {
        config.listener.push(Listener { name: "second".to_owned(), ..listener(Speaks::Smtp) });
        row(config, Speaks::Smtp).service_sessions = 2;
    })
    .await;
    let _elsewhere = server.smtp(Speaks::Submission).await;
    two_and_no_more(&server, [2, 3, 4], server.port_of("second"), Overload::Service).await;
}

#[tokio::test]
async fn at_the_listener() {
    let server = server(|config| row(config, Speaks::Smtp).listener_sessions = 2).await;
    two_and_no_more(&server, [2, 3, 4], server.port(Speaks::Smtp), Overload::Listener).await;
    assert!(server.appliance().listeners().caps().held.contains_key(&Scope::Listener("smtp".into())));
}

#[tokio::test]
async fn at_the_address_that_listens() {
    let server = server(|config| row(config, Speaks::Smtp).listen[0].sessions = 2).await;
    two_and_no_more(&server, [2, 3, 4], server.port(Speaks::Smtp), Overload::Endpoint).await;
}

#[tokio::test]
async fn at_a_block() {
    let server =
        server(|config| row(config, Speaks::Smtp).peer = peers(&["network = '127.0.0.0/29'\nsessions = 2"])).await;
    // Hosts of the block share its places; others are not concerned.
    let _outside = greeted_from(&server, 99, server.port(Speaks::Smtp)).await;
    two_and_no_more(&server, [2, 3, 4], server.port(Speaks::Smtp), Overload::Block).await;
}

#[tokio::test]
async fn at_a_client() {
    let server =
        server(|config| row(config, Speaks::Smtp).peer = peers(&["network = '127.0.0.2'\nsessions_per_address = 2"]))
            .await;
    let _outside = greeted_from(&server, 3, server.port(Speaks::Smtp)).await;
    two_and_no_more(&server, [2, 2, 2], server.port(Speaks::Smtp), Overload::Address).await;
}

#[tokio::test]
async fn in_each_protocols_words() {
    let server = server(|config| {
        for speaks in Speaks::ALL {
            row(config, speaks).listener_sessions = 1;
        }
    })
    .await;
    let _lmtp = server.smtp(Speaks::Lmtp).await;
    assert!(client_from(&server, 2, server.port(Speaks::Lmtp)).await.reply().await.starts_with("421 4.4.5"));
    let _submission = server.smtp(Speaks::Submissions).await;
    let second = Stream::tcp(server.port(Speaks::Submissions)).await.secure(server.tls()).await;
    let mut second = harness::smtp_client::SmtpClient::over(second, server.tls());
    assert!(second.reply().await.starts_with("421 4.4.5"));
    let _imap = server.imap().await;
    let mut second = Stream::tcp(server.port(Speaks::Imaps)).await.secure(server.tls()).await;
    let line = String::from_utf8(second.line().await.expect("a line")).expect("text");
    assert!(line.starts_with("* BYE "), "{line}");
    let _plain: ImapClient = server.imap_plain().await;
    let mut second = Stream::tcp(server.port(Speaks::Imap)).await;
    let line = String::from_utf8(second.line().await.expect("a line")).expect("text");
    assert!(line.starts_with("* BYE "), "{line}");
}

#[tokio::test]
async fn silence_ends() {
    let server = server(|config| {
        for speaks in [Speaks::Smtp, Speaks::Imap] {
            row(config, speaks).options.idle_time = Some(Span::from_millis(300));
        }
        row(config, Speaks::Imap).options.require_tls = Some(false);
    })
    .await;
    server.account("eve@example.org", "right horse").await;
    let mut idle = server.smtp(Speaks::Smtp).await;
    let reply = idle.reply().await;
    assert!(reply.starts_with("421 4.4.2"), "{reply}");
    assert_eq!(idle.reply().await, "");
    // Before the login there is a limit of its own.
    let mut imap = server.imap_plain().await;
    assert!(imap.login("eve@example.org", "right horse").await.is_ok());
    let line = String::from_utf8(imap.line().await.expect("a line")).expect("text");
    assert!(line.starts_with("* BYE "), "{line}");
}

#[tokio::test]
async fn a_session_has_an_end_however_busy() {
    let server = server(|config| {
        for speaks in [Speaks::Lmtp, Speaks::Imap] {
            row(config, speaks).options.total_time = Some(Span::from_millis(700));
        }
    })
    .await;
    let mut busy = server.smtp(Speaks::Lmtp).await;
    let began = Instant::now();
    let mut last = String::new();
    while began.elapsed() < Duration::from_secs(5) {
        last = busy.ask("MAIL FROM:<>").await;
        if !last.starts_with("250") && !last.starts_with("503") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    assert!(last.starts_with("421 4."), "{last}");
    let mut imap = server.imap_plain().await;
    let began = Instant::now();
    let bye = loop {
        let answer = imap.ask("NOOP").await;
        if !answer.is_ok() {
            break answer;
        }
        assert!(began.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(40)).await;
    };
    assert!(bye.find("* BYE ").is_some(), "{bye:?}");
}

#[tokio::test]
async fn a_session_that_hangs_in_the_database_can_be_cut_and_frees_its_place() {
    let server = server(|config| row(config, Speaks::Smtp).listener_sessions = 1).await;
    let mut connection = server.mail().store().begin().await.expect("a transaction");
    sqlx::query("select 1 from mail_state for update").execute(&mut *connection).await.expect("locked");
    let mut stuck = server.smtp(Speaks::Smtp).await;
    stuck.expect("MAIL FROM:<>", "250").await;
    stuck.expect("RCPT TO:<bob@example.org>", "250").await;
    stuck.expect("DATA", "354").await;
    stuck.stream.send("Subject: x\r\n\r\n.\r\n").await;
    let listeners = server.appliance().listeners().clone();
    let began = Instant::now();
    let found = loop {
        let stuck = listeners.sessions().into_iter().find(|one| one.busy.is_some_and(|busy| busy.as_millis() > 200));
        match stuck {
            Some(view) => break view,
            None if began.elapsed() > Duration::from_secs(10) => panic!("nobody sees that it hangs"),
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    assert!(listeners.cut(found.id));
    assert_eq!(stuck.reply().await, "");
    server.smtp(Speaks::Smtp).await;
    drop(connection);
}

#[tokio::test]
async fn one_address_closes_and_opens_without_touching_the_rest() {
    let server = server(|config| {
        let second = ListenAddress::tcp([127, 0, 0, 1].into(), 0).into();
        row(config, Speaks::Smtp).listen.push(second);
    })
    .await;
    let bound = server.appliance().bound();
    let [first, second] = [&bound[0], &bound[1]];
    let port = |bound: &posthorn_net::Bound| match &bound.address {
        posthorn_net::Local::Tcp(address) => address.port(),
        posthorn_net::Local::Unix(_) => panic!("not TCP"),
    };
    let mut running = greeted_from(&server, 1, port(first)).await;
    running.hello("EHLO").await;
    running.expect("MAIL FROM:<>", "250").await;
    running.expect("RCPT TO:<bob@example.org>", "250").await;
    let listeners = server.appliance().listeners();
    let began = Instant::now();
    listeners.suspend(first.id).await.expect("closed");
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port(first))).await.is_err());
    greeted_from(&server, 1, port(second)).await;
    assert!(running.data(MESSAGE).await.starts_with("250"));
    listeners.resume(first.id).await.expect("opened");
    assert!(began.elapsed() < Duration::from_secs(1));
    greeted_from(&server, 1, port(first)).await;
    running.expect("NOOP", "250").await;
}

#[tokio::test]
async fn a_stop_lets_a_message_finish_and_says_goodbye() {
    let server = server(|_| {}).await;
    server.account("eve@example.org", "right horse").await;
    let mut idle = server.smtp(Speaks::Smtp).await;
    let mut imap = server.imap().await;
    assert!(imap.login("eve@example.org", "right horse").await.is_ok());
    imap.ok("SELECT INBOX").await;
    let mut chunks = server.smtp(Speaks::Smtp).await;
    chunks.stream.send("MAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nBDAT 11\r\nSubject: \r\n").await;
    for _ in 0..3 {
        chunks.reply().await;
    }
    let mut busy = server.smtp(Speaks::Smtp).await;
    busy.expect("MAIL FROM:<>", "250").await;
    busy.expect("RCPT TO:<bob@example.org>", "250").await;
    busy.expect("DATA", "354").await;
    busy.stream.send("Subject: late\r\n\r\nfirst half\r\n").await;

    let port = server.port(Speaks::Smtp);
    server.appliance().shutdown().stop();
    assert!(idle.reply().await.starts_with("421 4.3.2"));
    assert_eq!(idle.reply().await, "");
    let line = String::from_utf8(imap.line().await.expect("a line")).expect("text");
    assert!(line.starts_with("* BYE "), "{line}");
    let began = Instant::now();
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
        assert!(began.elapsed() < Duration::from_secs(5), "it still accepts");
    }
    busy.stream.send("second half\r\n.\r\n").await;
    assert!(busy.reply().await.starts_with("250 2.0.0 stored"));
    assert!(busy.reply().await.starts_with("421 4.3.2"));
    chunks.stream.send("BDAT 4 LAST\r\n\r\n\r\n").await;
    assert!(chunks.reply().await.starts_with("250 2.0.0 stored"));
    assert_eq!(server.messages("bob@example.org", "INBOX").await.len(), 2);
    tokio::time::timeout(Duration::from_secs(10), server.stop()).await.expect("it stops");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let server = server(|config| config.server.grace = Span::from_millis(500)).await;
    let mut busy = server.smtp(Speaks::Smtp).await;
    busy.expect("MAIL FROM:<>", "250").await;
    busy.expect("RCPT TO:<bob@example.org>", "250").await;
    busy.expect("DATA", "354").await;
    let began = Instant::now();
    server.stop().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
