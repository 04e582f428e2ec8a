//! One address closes and opens while everything else goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::server::{Server, ServerOptions, row};
use harness::smtp_client::SmtpClient;
use posthorn_config::Speaks;
use posthorn_net::EndpointView;

fn endpoint(server: &Server, name: &str) -> EndpointView {
    let all = server.appliance().listeners().endpoints();
    all.into_iter().find(|endpoint| &*endpoint.listener == name).expect("it is configured")
}

#[tokio::test]
async fn one_closes_within_a_second_and_the_others_never_blink() {
    let mut server = Server::start(ServerOptions::new()).await;
    server.account("bob@example.org", "right horse").await;
    let (port, other) = (server.port(Speaks::Submission), server.port(Speaks::Smtp));
    let mut session = server.smtp(Speaks::Submission).await;
    let over = Arc::new(AtomicBool::new(false));
    let visitor = {
        let (over, tls) = (Arc::clone(&over), server.tls().clone());
        tokio::spawn(async move {
            let mut visits = 0_usize;
            while !over.load(Ordering::Relaxed) {
                assert!(SmtpClient::raw(other, &tls).await.reply().await.starts_with("220 "));
                visits += 1;
            }
            visits
        })
    };
    let listeners = server.appliance().listeners().clone();
    let id = endpoint(&server, "submission").id;
    let began = Instant::now();
    listeners.disable(id, "anna").await.expect("closed");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "nobody listens");
    session.expect("NOOP", "250").await;
    let seen = endpoint(&server, "submission");
    assert_eq!((seen.open, seen.sessions, seen.bound.len()), (false, 1, 0));
    let decree = seen.decree.expect("somebody said so");
    assert_eq!((decree.open, decree.by.as_str()), (false, "anna"));

    // Another configuration does not open it.
    let mut next = server.appliance().config().clone();
    next.smtp.banner = "renewed".to_owned();
    server.appliance_mut().reload(&next).await.expect("reloaded");
    assert!(!endpoint(&server, "submission").open);
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "it stays closed");
    session.expect("NOOP", "250").await;

    let began = Instant::now();
    listeners.enable(id, "anna").await.expect("opened");
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(server.port(Speaks::Submission), port, "where it was");
    let mut again = SmtpClient::raw(port, server.tls()).await;
    assert!(again.reply().await.contains("renewed"));
    assert!(endpoint(&server, "submission").decree.is_none());
    over.store(true, Ordering::Relaxed);
    assert!(visitor.await.expect("no visit failed") > 0);
    server.stop().await;
}

#[tokio::test]
async fn what_the_configuration_keeps_closed_can_be_opened() {
    let mut server = Server::start(ServerOptions::new().with(|config| row(config, Speaks::Imap).enable = false)).await;
    let listeners = server.appliance().listeners().clone();
    let id = endpoint(&server, "imap").id;
    assert!(!endpoint(&server, "imap").open);
    listeners.enable(id, "anna").await.expect("opened");
    let decree = endpoint(&server, "imap").decree.expect("somebody said so");
    assert!(decree.open);
    let mut next = server.appliance().config().clone();
    next.smtp.banner = "renewed".to_owned();
    server.appliance_mut().reload(&next).await.expect("reloaded");
    server.imap_plain().await;
    // The configuration wants it, too: nobody has to have said so.
    row(&mut next, Speaks::Imap).enable = true;
    server.appliance_mut().reload(&next).await.expect("reloaded");
    let seen = endpoint(&server, "imap");
    assert!(seen.open && seen.decree.is_none());
    server.stop().await;
}
