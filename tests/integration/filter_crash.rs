//! PostgreSQL is killed while messages are taken whose copies differ: delivered, held and leaving are one commit.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::server::{Server, ServerOptions};
use harness::smtp_client::SmtpClient;
use posthorn_config::Speaks;
use posthorn_filter::recipient::orders::Orders;
use tokio::sync::Mutex;

const BOB: &str = "bob@example.org";
const EVE: &str = "eve@example.org";
/// Leads to another host.
const CAROL: &str = "carol@example.org";

#[derive(Default)]
struct Tally {
    taken: Mutex<HashSet<String>>,
    count: AtomicUsize,
}

fn message(name: &str) -> String {
    format!(
        "From: ann@sender.test\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{name}@sender.test>\r\n\
         Subject: s\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream; name=a.exe\r\n\r\nx\r\n"
    )
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
            let name = format!("n{who}-{number}");
            let reply = client.deliver("ann@sender.test", &[BOB, EVE, CAROL], &message(&name)).await;
            if !reply.starts_with("250") {
                assert!(!reply.starts_with('5'), "{reply}");
                tokio::time::sleep(Duration::from_millis(20)).await;
                break;
            }
            tally.taken.lock().await.insert(name);
            if tally.count.fetch_add(1, Ordering::Relaxed) >= enough {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivered_held_and_leaving_are_there_together_or_not_at_all() {
    let options = ServerOptions::new().on("postgres://unused").with(|config| {
        config.database.url = None;
        config.filter.enable = true;
        // Nobody is asked for a way: what leaves waits.
        config.dns.servers = vec!["127.0.0.1:9".parse().expect("an address")];
    });
    let server = Server::start(options).await;
    for name in [BOB, EVE] {
        server.mailbox_only(name).await;
    }
    server.alias(CAROL, &["carol@elsewhere.test"]).await;
    let orders = Orders::new(server.mail(), &server.config().filter);
    for (who, field, value) in
        [(BOB, "bypass_banned", "true"), (CAROL, "bypass_banned", "true"), (EVE, "banned", "hold")]
    {
        let values = [(field.to_owned(), Some(value.to_owned()))];
        orders.set(who, &values).await.expect("the store works").expect("they fit");
    }
    // It would lie in Junk.
    let values = [("bypass_spam".to_owned(), Some("true".to_owned()))];
    orders.set("@example.org", &values).await.expect("the store works").expect("they fit");
    server.appliance().filter().reload().await.expect("the store works");
    let tally = Arc::new(Tally::default());
    let mut senders = tokio::task::JoinSet::new();
    for who in 0..8 {
        senders.spawn(sender(who, server.port(Speaks::Smtp), Arc::clone(server.tls()), Arc::clone(&tally), 200));
    }
    for kill_at in [40, 110] {
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
    let taken = tally.taken.lock().await.clone();

    let stored = server.messages(BOB, "INBOX").await;
    let delivered: Vec<String> = stored.iter().map(|octets| name_of(&String::from_utf8_lossy(octets))).collect();
    let mut connection = server.mail().store().acquire().await.expect("the store works");
    let names = |rows: Vec<(String,)>| rows.into_iter().map(|(id,)| bare(&id)).collect::<Vec<_>>();
    let held: Vec<(String,)> =
        sqlx::query_as("select header_id from held").fetch_all(&mut *connection).await.expect("rows");
    let leaving: Vec<(String,)> = sqlx::query_as("select header_id from outgoing where origin = 3")
        .fetch_all(&mut *connection)
        .await
        .expect("rows");
    let (held, leaving) = (names(held), names(leaving));
    drop(connection);
    let set = |names: &[String]| names.iter().cloned().collect::<HashSet<_>>();
    assert!(taken.is_subset(&set(&delivered)), "lost: {:?}", taken.difference(&set(&delivered)));
    assert_eq!(set(&delivered), set(&held), "what is delivered to one is held for the other");
    assert_eq!(set(&delivered), set(&leaving), "and leaves for the third");
    for names in [delivered, held, leaving] {
        assert_eq!(names.len(), set(&names).len(), "once each");
    }
    assert!(server.check().await.is_empty());
}

fn name_of(text: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix("Message-ID: ")).expect("a Message-ID");
    bare(line)
}

fn bare(id: &str) -> String {
    id.trim().trim_matches(['<', '>']).split('@').next().unwrap_or_default().to_owned()
}
