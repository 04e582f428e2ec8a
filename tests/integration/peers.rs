//! What holds for clients of one network: the most specific wins, option by option.

use harness::server::{Server, ServerOptions, row};
use harness::trace::Trace;
use posthorn_config::{Endpoint, ListenAddress, Speaks};

use crate::rows::{client_from, greeted_from, peers};

const MESSAGE: &str = "Subject: hello\r\n\r\nHello.\r\n";

async fn server(rows: &'static [&'static str]) -> Server {
    let options = ServerOptions::new().with(|config| row(config, Speaks::Smtp).peer = peers(rows));
    let server = Server::start(options).await;
    server.mailbox_only("bob@example.org").await;
    server
}

#[tokio::test]
async fn ehlo_differs_by_address_and_what_is_not_offered_is_refused() {
    let server = server(&[
        "network = '127.0.0.2'\nsmtp_extensions = ['ENHANCEDSTATUSCODES', 'SIZE']",
        "network = '127.0.0.0/29'\nsmtp_extensions = ['8BITMIME']",
    ])
    .await;
    let port = server.port(Speaks::Smtp);
    let mut two = greeted_from(&server, 2, port).await;
    assert_eq!(two.hello("EHLO").await, ["SIZE 52428800", "ENHANCEDSTATUSCODES"]);
    two.expect("STARTTLS", "502 5.5.1").await;
    two.expect("AUTH PLAIN", "502 5.5.1").await;
    two.expect("XCLIENT ADDR=192.0.2.1", "502 5.5.1").await;
    two.expect("HELP", "502 5.5.1").await;
    two.expect("MAIL FROM:<a@example.net> BODY=8BITMIME", "555 5.5.4").await;
    two.expect("MAIL FROM:<a@example.net> SMTPUTF8", "555 5.5.4").await;
    two.expect("MAIL FROM:<a@example.net> RET=FULL", "555 5.5.4").await;
    two.expect("MAIL FROM:<a@example.net> SIZE=100", "250 2.1.0").await;
    two.expect("RCPT TO:<bob@example.org> NOTIFY=NEVER", "555 5.5.4").await;
    two.expect("RCPT TO:<bob@example.org>", "250").await;
    two.stream.send("BDAT 6 LAST\r\nNOOP\r\n").await;
    assert!(two.reply().await.starts_with("502 5.5.1"));
    // The octets of the chunk were not taken for a command.
    two.expect("VRFY bob", "252").await;
    let mut three = greeted_from(&server, 3, port).await;
    assert_eq!(three.hello("EHLO").await, ["8BITMIME"]);
    assert_eq!(three.ask("NONSENSE").await, "500 Command not recognized", "no enhanced codes where none are offered");
    let mut other = greeted_from(&server, 99, port).await;
    assert!(other.hello("EHLO").await.len() > 9);
}

#[tokio::test]
async fn denied_at_connect() {
    let server = server(&[
        "network = '127.0.0.0/24'\ndeny = true",
        // Deny beats allow, wherever that stands; only its own option lifts it.
        "network = '127.0.0.2'\nallow = true",
        "network = '127.0.0.3'\ndeny = false",
    ])
    .await;
    let port = server.port(Speaks::Smtp);
    for denied in [1, 2] {
        let mut client = client_from(&server, denied, port).await;
        let reply = client.reply().await;
        assert!(reply.starts_with("554 5.7.1"), "{reply}");
        assert_eq!(client.reply().await, "");
    }
    greeted_from(&server, 3, port).await;
}

#[tokio::test]
async fn each_option_falls_back_outward() {
    let options = ServerOptions::new().with(|config| {
        let row = row(config, Speaks::Smtp);
        row.options.max_recipients = Some(5);
        row.options.context.insert("site".into(), "everywhere".into());
        row.peer = peers(&[
            "network = '127.0.0.0/8'\nmax_message_size = '50 KiB'\nmax_recipients = 4\ncontext = { site = 'loopback', rack = '1' }",
            "network = '127.0.0.2'\nmax_recipients = 2\ncontext = { site = 'two' }",
        ]);
        let mut second = Endpoint::from(ListenAddress::tcp([127, 0, 0, 1].into(), 0));
        second.peer = peers(&["network = '127.0.0.0/30'\nmax_recipients = 1"]);
        row.listen.push(second);
    });
    let trace = Trace::listen();
    let server = Server::start(options).await;
    server.mailbox_only("bob@example.org").await;
    let ports: Vec<u16> = server
        .appliance()
        .bound()
        .iter()
        .filter(|bound| bound.speaks == Speaks::Smtp)
        .map(|bound| if let posthorn_net::Local::Tcp(address) = &bound.address { address.port() } else { 0 })
        .collect();
    let offered = async |last, port| {
        let lines = greeted_from(&server, last, port).await.hello("EHLO").await;
        let find = |word: &str| lines.iter().find(|line| line.starts_with(word)).expect("offered").clone();
        (find("SIZE"), find("LIMITS"))
    };
    let kib50 = || "SIZE 51200".to_owned();
    assert_eq!(offered(2, ports[0]).await, (kib50(), "LIMITS RCPTMAX=2".to_owned()));
    assert_eq!(offered(3, ports[0]).await, (kib50(), "LIMITS RCPTMAX=4".to_owned()));
    // The address's own block is nearer than the listener's, however narrow that is.
    assert_eq!(offered(2, ports[1]).await, (kib50(), "LIMITS RCPTMAX=1".to_owned()));
    assert_eq!(offered(9, ports[1]).await, (kib50(), "LIMITS RCPTMAX=4".to_owned()));

    let mut client = greeted_from(&server, 2, ports[0]).await;
    client.hello("EHLO").await;
    client.expect("MAIL FROM:<>", "250").await;
    client.expect("RCPT TO:<bob@example.org>", "250").await;
    client.expect("RCPT TO:<postmaster@example.org>", "250").await;
    client.expect("RCPT TO:<postmaster>", "452 4.5.3").await;
    assert!(client.data(MESSAGE).await.starts_with("250"));
    let line = trace.line("message taken");
    assert!(line.contains(r#""rack": "1""#) && line.contains(r#""site": "two""#), "{line}");
}

#[tokio::test]
async fn tls_can_be_demanded_of_some() {
    let server = server(&["network = '127.0.0.2'\nrequire_tls = true"]).await;
    let port = server.port(Speaks::Smtp);
    let mut client = greeted_from(&server, 2, port).await;
    client.hello("EHLO").await;
    client.expect("MAIL FROM:<>", "530 5.7.0").await;
    let mut client = client.starttls().await;
    client.expect("MAIL FROM:<>", "250").await;
    let mut client = greeted_from(&server, 3, port).await;
    client.hello("EHLO").await;
    client.expect("MAIL FROM:<>", "250").await;
}

#[tokio::test]
async fn xclient_restates_the_client_for_listed_peers_alone() {
    let server = server(&[
        "network = '127.0.0.2'\nxclient = true",
        "network = '10.0.0.0/8'\nmax_message_size = '10 KiB'",
        "network = '192.0.2.0/24'\nmax_recipients = 3",
    ])
    .await;
    let port = server.port(Speaks::Smtp);
    let mut stranger = greeted_from(&server, 3, port).await;
    assert!(!stranger.hello("EHLO").await.iter().any(|line| line.starts_with("XCLIENT")));
    stranger.expect("XCLIENT ADDR=10.0.0.1", "502 5.5.1").await;

    for (stated, size) in [("10.1.2.3", true), ("IPV6:::ffff:10.1.2.3", true), ("IPV6:2001:db8::1", false)] {
        let mut client = greeted_from(&server, 2, port).await;
        assert!(client.hello("EHLO").await.iter().any(|line| line.starts_with("XCLIENT")));
        client.expect("XCLIENT ADDR=nonsense", "501 5.5.4").await;
        client.expect(&format!("XCLIENT ADDR={stated} PORT=4711 HELO=real.example"), "220 ").await;
        let offered = client.hello("EHLO").await;
        assert_eq!(offered.iter().any(|line| line == "SIZE 10240"), size, "{stated}: {offered:?}");
        assert!(!offered.iter().any(|line| line.starts_with("XCLIENT")), "the real client may not: {offered:?}");
        assert!(client.deliver("", &["bob@example.org"], MESSAGE).await.starts_with("250"));
    }
    let stored = server.messages("bob@example.org", "INBOX").await;
    let text = String::from_utf8_lossy(&stored[0]).into_owned();
    assert!(text.contains("([10.1.2.3])"), "{text}");
    let text = String::from_utf8_lossy(&stored[2]).into_owned();
    assert!(text.contains("([IPv6:2001:db8::1])"), "{text}");
}

#[tokio::test]
async fn a_restated_client_is_nobody_until_vouched_for() {
    let options = ServerOptions::new().with(|config| {
        let row = row(config, Speaks::Submission);
        row.peer = peers(&["network = '127.0.0.0/8'\nxclient = true\nrequire_tls = false"]);
    });
    let server = Server::start(options).await;
    server.account("bob@example.org", "right horse").await;
    server.mailbox_only("eve@example.org").await;
    let mut client = server.smtp(Speaks::Submission).await;
    assert!(client.login("bob@example.org", "right horse").await.starts_with("235"));
    client.expect("XCLIENT ADDR=127.0.0.9", "220 ").await;
    client.hello("EHLO").await;
    client.expect("MAIL FROM:<eve@example.org>", "530 5.7.0").await;
    client.expect("XCLIENT LOGIN=nobody@example.org", "501 5.5.4").await;
    client.expect("XCLIENT LOGIN=eve@example.org", "220 ").await;
    client.hello("EHLO").await;
    client.expect("MAIL FROM:<bob@example.org>", "553 5.7.1").await;
    client.expect("MAIL FROM:<eve@example.org>", "250").await;
}

#[tokio::test]
async fn nobody_speaks_for_the_denied() {
    let server = server(&["network = '127.0.0.2'\nxclient = true", "network = '192.0.2.66'\ndeny = true"]).await;
    let mut client = greeted_from(&server, 2, server.port(Speaks::Smtp)).await;
    client.expect("XCLIENT ADDR=192.0.2.66", "521 5.7.1").await;
    assert_eq!(client.reply().await, "");
}

#[tokio::test]
async fn xforward_is_for_the_trace_of_listed_peers_alone() {
    let trace = Trace::listen();
    let server = server(&["network = '127.0.0.2'\nxforward = true"]).await;
    let port = server.port(Speaks::Smtp);
    greeted_from(&server, 3, port).await.expect("XFORWARD ADDR=10.0.0.1", "502 5.5.1").await;
    let mut client = greeted_from(&server, 2, port).await;
    client.hello("EHLO").await;
    client.expect("XFORWARD NAME=real.example ADDR=192.0.2.77 IDENT=4ABC", "250").await;
    assert!(client.deliver("", &["bob@example.org"], MESSAGE).await.starts_with("250"));
    let line = trace.line("message taken");
    assert!(line.contains("192.0.2.77") && line.contains("4ABC") && line.contains("peer.ip=127.0.0.2"), "{line}");
    let stored = String::from_utf8_lossy(&server.messages("bob@example.org", "INBOX").await[0]).into_owned();
    assert!(stored.contains("([127.0.0.2])") && !stored.contains("192.0.2.77"), "{stored}");
}

#[tokio::test]
async fn early_talkers_are_refused_unless_allowed() {
    let options = ServerOptions::new().with(|config| {
        config.smtp.banner_delay = posthorn_config::Span::from_millis(300);
        row(config, Speaks::Smtp).peer = peers(&["network = '127.0.0.2'\nallow = true"]);
    });
    let server = Server::start(options).await;
    let port = server.port(Speaks::Smtp);
    let mut early = client_from(&server, 3, port).await;
    early.stream.send("EHLO client.example.net\r\n").await;
    let reply = early.reply().await;
    assert!(reply.starts_with("554 5.5.1"), "{reply}");
    assert_eq!(early.reply().await, "");
    let began = std::time::Instant::now();
    greeted_from(&server, 3, port).await;
    assert!(began.elapsed() >= std::time::Duration::from_millis(300));
    // Allowed clients are spared the checks of strangers.
    let mut allowed = client_from(&server, 2, port).await;
    allowed.stream.send("EHLO client.example.net\r\n").await;
    let reply = allowed.reply().await;
    assert!(reply.starts_with("220 "), "{reply}");
}
