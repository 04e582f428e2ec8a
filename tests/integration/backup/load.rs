//! A backup while mail comes in: it is one moment, and everything acknowledged before is in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::postgres::empty;
use harness::server::{Server, ServerOptions};
use parking_lot::Mutex;
use posthorn::backup::restore::Options;
use posthorn_config::Speaks;

use super::{backed_up, findings, restored};

const WRITERS: usize = 4;

fn subject(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    text.lines().find_map(|line| line.strip_prefix("Subject: ")).expect("a subject").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_has_everything_acknowledged_before_it() {
    let server = Server::start(ServerOptions::new()).await;
    for who in 0..WRITERS {
        server.mailbox_only(&format!("u{who}@example.org")).await;
    }
    let url = server.config().database.url.as_ref().expect("a URL").reveal().to_owned();
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let enough = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for who in 0..WRITERS {
        let mut client = server.smtp(Speaks::Smtp).await;
        let (acknowledged, enough) = (Arc::clone(&acknowledged), Arc::clone(&enough));
        writers.spawn(async move {
            for number in 0.. {
                if enough.load(Ordering::Relaxed) {
                    break;
                }
                let subject = format!("{who}-{number}");
                let text = format!("Subject: {subject}\r\n\r\n{}", "some words\r\n".repeat(1 + number % 700));
                let to = [format!("u{who}@example.org"), format!("u{}@example.org", (who + 1) % WRITERS)];
                let to: Vec<&str> = to[..1 + number % 2].iter().map(String::as_str).collect();
                let reply = client.deliver("eve@example.com", &to, &text).await;
                assert!(reply.starts_with("250"), "{reply}");
                acknowledged.lock().push((who, subject));
            }
        });
    }
    let seconds = Duration::from_secs(1);
    tokio::time::sleep(seconds).await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut rounds = Vec::new();
    for round in 0..3 {
        let before = acknowledged.lock().clone();
        let inner = folder.path().join(round.to_string());
        std::fs::create_dir(&inner).expect("a folder");
        let (path, manifest) = backed_up(&url, &inner).await;
        rounds.push((before, path, manifest));
        tokio::time::sleep(seconds / 4).await;
    }
    enough.store(true, Ordering::Relaxed);
    while let Some(writer) = writers.join_next().await {
        writer.expect("it wrote");
    }
    assert!(rounds[0].0.len() > 10 && rounds[2].0.len() > rounds[0].0.len(), "no load");
    for (before, path, manifest) in rounds {
        let copy = empty().await;
        restored(&copy.url, &path, Options::default()).await.expect("restored");
        assert!(findings(&copy.url).await.is_empty(), "{:?}", findings(&copy.url).await);
        let again = Server::start(ServerOptions::new().on(&copy.url)).await;
        let mut count = 0;
        for who in 0..WRITERS {
            let address = format!("u{who}@example.org");
            let was = server.messages(&address, "INBOX").await;
            let is = again.messages(&address, "INBOX").await;
            // One moment: what is there is a beginning of what came, byte for byte.
            assert_eq!(is, was[..is.len()], "{address}");
            count += is.len();
            let subjects: std::collections::HashSet<_> = is.iter().map(|octets| subject(octets)).collect();
            let mine: Vec<_> = before.iter().filter(|(to, _)| *to == who).collect();
            for (_, subject) in &mine {
                assert!(subjects.contains(subject), "{subject} was acknowledged before the backup began");
            }
        }
        let rows = manifest.tables.iter().find(|sum| sum.name == "membership").expect("a table").rows;
        assert_eq!(u64::try_from(count).expect("a count"), rows);
        again.stop().await;
    }
    server.stop().await;
}
