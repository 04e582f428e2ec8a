//! PostgreSQL is killed in the middle of deliveries: every 250 is there afterwards.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::server::{Server, ServerOptions};
use harness::smtp_client::SmtpClient;
use posthorn_config::Speaks;
use tokio::sync::Mutex;

#[derive(Default)]
struct Tally {
    /// Numbers of messages that were answered 250.
    taken: Mutex<HashSet<String>>,
    /// Numbers of messages whose every octet was sent.
    sent: Mutex<HashSet<String>>,
    count: AtomicUsize,
}

/// Sends until so many were taken by all together; a temporary refusal or a lost connection only means to go on.
async fn sender(who: usize, port: u16, tls: Arc<rustls::ClientConfig>, tally: Arc<Tally>, enough: usize) {
    let mut number = 0;
    while tally.count.load(Ordering::Relaxed) < enough {
        let mut client = SmtpClient::raw(port, &tls).await;
        if !client.reply().await.starts_with("220") || !client.ask("EHLO x").await.starts_with("250") {
            continue;
        }
        loop {
            number += 1;
            let name = format!("{who}-{number}");
            let message = format!("X-Number: {name}\r\n\r\nHello.\r\n");
            tally.sent.lock().await.insert(name.clone());
            let reply = client.deliver("a@example.net", &["bob@example.org", "eve@example.org"], &message).await;
            if reply.starts_with("250") {
                tally.taken.lock().await.insert(name);
                if tally.count.fetch_add(1, Ordering::Relaxed) >= enough {
                    return;
                }
            } else {
                assert!(!reply.starts_with('5'), "{reply}");
                tokio::time::sleep(Duration::from_millis(20)).await;
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_the_database() {
    // A private PostgreSQL with full durability, supervised by the appliance.
    let options = ServerOptions::new().on("postgres://unused").with(|config| config.database.url = None);
    let server = Server::start(options).await;
    for name in ["bob@example.org", "eve@example.org"] {
        server.mailbox_only(name).await;
    }
    let tally = Arc::new(Tally::default());
    let mut senders = tokio::task::JoinSet::new();
    for who in 0..8 {
        senders.spawn(sender(who, server.port(Speaks::Smtp), Arc::clone(server.tls()), Arc::clone(&tally), 300));
    }
    for kill_at in [60, 160] {
        let began = Instant::now();
        while tally.count.load(Ordering::Relaxed) < kill_at {
            assert!(began.elapsed() < Duration::from_secs(60), "only {}", tally.count.load(Ordering::Relaxed));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let pid = server.appliance().database().private().expect("ours").pid();
        let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill");
        assert!(killed.success());
    }
    senders.join_all().await;
    let (taken, sent) = (tally.taken.lock().await.clone(), tally.sent.lock().await.clone());
    for name in ["bob@example.org", "eve@example.org"] {
        let stored = server.messages(name, "INBOX").await;
        let numbers: Vec<String> = stored.iter().map(|octets| number_of(octets)).collect();
        let distinct: HashSet<String> = numbers.iter().cloned().collect();
        assert_eq!(numbers.len(), distinct.len(), "something is there twice");
        let lost: Vec<_> = taken.difference(&distinct).collect();
        assert!(lost.is_empty(), "acknowledged and lost for {name}: {lost:?}");
        let invented: Vec<_> = distinct.difference(&sent).collect();
        assert!(invented.is_empty(), "{invented:?}");
    }
    let findings = server.check().await;
    assert!(findings.is_empty(), "{findings:?}");
    server.stop().await;
}

fn number_of(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets).into_owned();
    text.split_once("X-Number: ").expect("ours").1.lines().next().expect("a line").to_owned()
}
